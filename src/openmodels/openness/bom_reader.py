"""Evidence about a model from a bill of materials: CycloneDX or SPDX 3.

A bill states and proves nothing: what it says of licenses, bases, data sets and the card is evidence that
names the bill; what it cannot show, as whether the parameters can be downloaded, stays unknown. Fields that are
not read are named in the notes of the report.
"""

import base64
import binascii
import json
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from openmodels import files
from openmodels.errors import InvalidRequest
from openmodels.hub import untrusted_fields as fields
from openmodels.openness.evidence import LARGEST_FILE, Evidence
from openmodels.openness.evidence_pages import ID, items, objects

_Page = dict[str, Any]
_NAMESPACE = uuid.UUID("5c6f7a4e-90c4-5b0c-8d2e-626f6d726561")
_DATASET_URL = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)")
_MODEL_URL = re.compile(r"https://huggingface\.co/(?!datasets/|spaces/|docs/)([\w.-]+/[\w.-]+)/?$")
_PURL = re.compile(r"pkg:huggingface/([^@?#]+)(?:@([^?#]+))?")
_LISTED_LICENSE = re.compile(r"https?://spdx\.org/licenses/([\w.+-]+?)(?:\.html)?$")

_MODEL_TYPE = "machine-learning-model"
_LONGEST_ID = 96
_SHOWN = 20  # names that a note or an error lists at most
_FIELDS = json.loads((resources.files("openmodels.openness") / "data" / "bom_fields.json").read_text(encoding="utf-8"))
_CYCLONE_FIELDS, _SPDX_FIELDS, _HEADINGS = _FIELDS["cyclonedx"], _FIELDS["spdx"], _FIELDS["headings"]
_GATES = {"directDownload": False, "registration": "auto", "clickthrough": "auto"}


def read_bom(bom: str | Path | Mapping[str, Any], model: str | None = None) -> Evidence:
    """Return what a bill of materials states about a model.

    Args:
        bom: The path of a JSON file, or its content.
        model: The id or name of one of several models in the bill.

    Raises:
        InvalidRequest: A form that is not read, no such model in it, or several and none named.
    """
    if isinstance(bom, Mapping):
        name = "bill of materials"
        content = files.parse_json(_dump(bom), f"The {name}")
    elif isinstance(bom, str | Path):
        path = Path(os.path.expanduser(bom))  # noqa: PTH111 - Path's own raises where there is no such user
        name = f"bill of materials {path.name}"
        content = files.parse_json(files.read_bounded(path, largest=LARGEST_FILE), f"The {name}")
    else:
        raise InvalidRequest(f"A bill of materials is a path or its content, not {type(bom).__name__}.")
    if isinstance(content, dict) and content.get("bomFormat") == "CycloneDX":
        return _CycloneReader(name, content).read(model)
    if isinstance(content, dict) and isinstance(content.get("@graph"), list):
        return _SpdxReader(name, content).read(model)
    raise InvalidRequest(
        f"The {name} is in no form that is read.", next_step="Give CycloneDX 1.5 to 1.7 or SPDX 3.0, as JSON."
    )


class _BomReader:
    """Collects the pages of one model from a bill."""

    def __init__(self, name: str, content: _Page, address: str) -> None:
        self.name, self.content = name, content
        self.source = {"name": name, "url": address}
        self.notes: list[str] = []

    def page(self, identifier: str, **facts: Any) -> _Page:
        return {"id": identifier, "bom": self.source, "deep": False} | facts

    def choose(self, models: Sequence[_Page], model: str | None, subjects: Sequence[_Page]) -> _Page:
        """Return the model asked for, else the one that the bill is about.

        Raises:
            InvalidRequest: That is not one.
        """
        if not models:
            raise InvalidRequest(f"The {self.name} holds no model.", next_step="It must have a machine-learning model.")
        about = [entry for entry in models if any(entry is subject for subject in subjects)]
        wanted = [entry for entry in models if model.lower() in _references(entry)] if model else about or models
        if len(wanted) != 1:
            names = ", ".join(
                f"{_identify(entry)} ({_reference(entry)})" if _reference(entry) else _identify(entry)
                for entry in models[:_SHOWN]
            )
            raise InvalidRequest(
                f"The {self.name} holds {len(models)} models, and {repr(model[:100]) if model else 'none'} was asked "
                f"for{', which several are called' if len(wanted) > 1 and model else ''}.",
                next_step=f"Name one of: {names}.",
            )
        stated = str(wanted[0].get("name") or "")
        if _is_shortened(stated.rpartition("/")[2]):
            self.notes.append(f"“{stated[:100]}” is called {_identify(wanted[0])} here: an id has other letters.")
        return wanted[0]

    def note_unread(self, what: str, names: Iterable[str]) -> None:
        if unread := list(dict.fromkeys(names)):
            more = f" and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
            self.notes.append(f"Not read of {what} in the {self.name}: {', '.join(unread[:_SHOWN])}{more}.")

    def license_texts(self, component: _Page) -> dict[str, str]:
        """Return the license texts of a component of CycloneDX, by file name."""
        texts = {}
        for place, entry in enumerate(objects(component.get("licenses")), 1):
            text = fields.mapping(fields.mapping(entry.get("license")).get("text"))
            content = str(text.get("content") or "")
            if text.get("encoding") == "base64":
                try:
                    content = base64.b64decode(content, validate=True).decode("utf-8", "replace")
                except (binascii.Error, ValueError):
                    self.note_unread(f"the licenses of {component.get('name')}", ["a text that is not base64"])
                    continue
            if content:
                texts[f"LICENSE-{place}.txt"] = content
        return texts

    def evidence(self, page: _Page, bases: Iterable[_Page], datasets: Iterable[_Page]) -> Evidence:
        # A bill shows no files, no gate and no branches.
        unknown = ["gated", "siblings", "refs", "safetensors", "readme.links"]
        # A bill without a license leaves it out; that says nothing of the model's.
        unknown += [] if "license" in page["cardData"] else ["cardData.license"]
        page |= {"notes": self.notes, "unknown": unknown}
        evidence = Evidence(page["id"])
        for kind, pages in (("models", [*bases, page]), ("datasets", datasets)):
            evidence.pages[kind] |= {entry["id"].lower(): entry for entry in pages}
        evidence.finish(deep=False)  # it stands for no look at the model itself
        return evidence


class _CycloneReader(_BomReader):
    def __init__(self, name: str, content: _Page) -> None:
        serial = str(content.get("serialNumber") or "").removeprefix("urn:uuid:")
        serial = serial or str(uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True, default=str)))
        super().__init__(name, content, f"urn:cdx:{serial}/{content.get('version') or 1}")
        version = str(content.get("specVersion"))
        if version not in ("1.5", "1.6", "1.7"):
            self.notes.append(f"The {name} is CycloneDX {version}; it was read as 1.6.")
        self.by_reference: dict[str, _Page] = {}
        self.read_bases: set[int] = set()  # the `id()` of each component that was read as a base

    def read(self, model: str | None) -> Evidence:
        metadata = fields.mapping(self.content.get("metadata"))
        components = list(_components([metadata.get("component"), *items(self.content.get("components"))]))
        self.by_reference = {str(entry.get("bom-ref")): entry for entry in components if entry.get("bom-ref")}
        models = [entry for entry in components if entry.get("type") == _MODEL_TYPE]
        component = self.choose(models, model, objects(metadata.get("component")))
        self.note_unread("the bill", _unread(self.content, _CYCLONE_FIELDS["bill"]))
        self.note_unread("the model's fields", _unread(component, _CYCLONE_FIELDS["model"]))
        card = fields.mapping(component.get("modelCard"))
        parameters = fields.mapping(card.get("modelParameters"))
        data = {}
        for entry in items(parameters.get("datasets")):
            stated = self.by_reference.get(str(entry.get("ref")), entry) if isinstance(entry, dict) else {}
            if "ref" in stated:
                self.notes.append(f"The {self.name} names a data set {stated['ref']} that it does not hold.")
            elif stated:
                data[id(stated)] = stated
        data |= {id(entry): entry for entry in self._needed_by(component) if entry.get("type") == "data"}
        datasets = list(map(self._dataset, data.values()))
        pages: dict[str, _Page] = {}
        base_ids = self._add_bases(component, pages)
        read = {id(component), *data, *self.read_bases}
        others = (f"{entry.get('type')} {entry.get('name')}" for entry in components if id(entry) not in read)
        self.note_unread("the components", others)
        purl = _PURL.match(str(component.get("purl") or ""))
        front_matter = self._licenses(component) | {
            "datasets": [page["id"] for page in datasets],
            "base_model": base_ids,
        }
        considerations = fields.mapping(card.get("considerations"))
        analysis = fields.mapping(card.get("quantitativeAnalysis"))
        page = self.page(
            _identify(component),
            sha=unquote(purl[2]) if purl and purl[2] else component.get("version"),
            gathered_at=metadata.get("timestamp"),
            pipeline_tag=parameters.get("task"),
            config={"model_type": parameters.get("architectureFamily")},
            cardData={name: value for name, value in front_matter.items() if value},
            license_texts=self.license_texts(component),
            readme={
                "headings": _headings(parameters, considerations, analysis),
                "links": [
                    {
                        "url": str(entry.get("url")),
                        "text": str(entry.get("comment") or entry.get("type")),
                        "section": "",
                    }
                    for entry in objects(component.get("externalReferences"))
                ],
                "claims": list(_claims(component.get("description"), considerations.get("technicalLimitations"))),
            },
        )
        return self.evidence(page, pages.values(), datasets)

    def _needed_by(self, component: _Page) -> list[_Page]:
        """Return the components that one depends on."""
        reference = _reference(component)
        needed = [
            str(name)
            for entry in objects(self.content.get("dependencies"))
            if reference and str(entry.get("ref")) == reference
            for name in items(entry.get("dependsOn"))
        ]
        return [self.by_reference[name] for name in dict.fromkeys(needed) if name in self.by_reference]

    def _licenses(self, component: _Page) -> _Page:
        """Return the licenses of a component as the front matter of a card states them."""
        stated: list[str] = []
        link = None
        for entry in objects(component.get("licenses")):
            license_ = fields.mapping(entry.get("license"))
            name = license_.get("id") or license_.get("name") or entry.get("expression")
            link = license_.get("url") or link
            if isinstance(name, str):
                stated.append(name)
        return _front_matter_license(stated, link)

    def _add_bases(self, component: _Page, pages: dict[str, _Page]) -> list[str]:
        """Add the pages of a model's bases, up to the roots.

        Return the ids of the direct ones.
        """
        ancestors = objects(fields.mapping(component.get("pedigree")).get("ancestors"))
        ancestors += [entry for entry in self._needed_by(component) if entry.get("type") == _MODEL_TYPE]
        names = []
        for entry in ancestors:
            self.read_bases.add(id(entry))
            name = _identify(entry)
            names.append(name)
            if name.lower() not in pages:
                page = self.page(name, unknown=["gated", "siblings", "refs", "safetensors", "readme"])
                pages[name.lower()] = page | {"cardData": {}, "license_texts": {}}
                pages[name.lower()]["cardData"]["base_model"] = self._add_bases(entry, pages)
            # Named again, as an ancestor and as a component, it may state more.
            pages[name.lower()]["cardData"] |= self._licenses(entry)
            pages[name.lower()]["license_texts"] |= self.license_texts(entry)
        return list(dict.fromkeys(names))

    def _dataset(self, component: _Page) -> _Page:
        """Return a data set: a component of type "data", or the data itself."""
        self.note_unread(
            f"the data set {component.get('name')}", _unread(component, {**_CYCLONE_FIELDS["data"], "contents": None})
        )
        data = [component, *objects(component.get("data"))]
        urls = [str(fields.mapping(entry.get("contents")).get("url")) for entry in data]
        matches = list(filter(None, map(_DATASET_URL.match, urls)))
        terms = self._licenses(component)
        return self.page(
            matches[0][1] if matches else _identify(component),
            cardData=terms,
            **terms,
            unknown=["exists", "gated", *([] if terms else ["license"])],
        )


class _SpdxReader(_BomReader):
    def __init__(self, name: str, content: _Page) -> None:
        graph = objects(content["@graph"])
        self.elements = {_reference(entry) or f"_:unnamed-{place}": entry for place, entry in enumerate(graph)}
        self.relationships = [
            entry for entry in graph if _kind(entry) in ("Relationship", "LifecycleScopedRelationship")
        ]
        documents = [entry for entry in graph if _kind(entry) in ("SpdxDocument", "Bom", "Sbom")]
        address = next((_reference(entry) for entry in documents if _kind(entry) == "SpdxDocument"), "")
        if not re.match(r"https://|urn:", address):
            address = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True, default=str)).urn
        super().__init__(name, content, address)
        self.read_bases: set[int] = set()  # the `id()` of each element that was read as a base
        self.created = max((str(entry["created"]) for entry in graph if entry.get("created")), default=None)
        self.roots = [
            self.elements.get(str(root), {}) for entry in documents for root in items(entry.get("rootElement"))
        ]
        versions = {str(entry["specVersion"]) for entry in graph if entry.get("specVersion")}
        for version in sorted(version for version in versions if not version.startswith("3.0")):
            self.notes.append(f"The {name} is SPDX {version}; it was read as 3.0.")

    def read(self, model: str | None) -> Evidence:
        models = [entry for entry in self.elements.values() if _kind(entry) == "AIPackage"]
        package = self.choose(models, model, self.roots)
        self.note_unread("the model's fields", (name for name in package if name not in _SPDX_FIELDS["model"]))
        linked = [
            *self._related(package, "trainedOn", "Training"),
            *self._related(package, "testedOn", "Evaluation"),
            *self._related(package, "dependsOn", "Training"),
        ]
        linked = [(entry, section) for entry, section in linked if _kind(entry) == "DatasetPackage"]
        datasets = [(self._dataset(entry), section) for entry, section in linked]
        pages: dict[str, _Page] = {}
        base_ids = self._add_bases(package, pages)
        read = {id(package), *self.read_bases, *(id(entry) for entry, _ in linked)}
        others = [entry for entry in self.elements.values() if id(entry) not in read]
        self.note_unread(
            "the elements",
            (
                f"{_kind(entry)} {entry.get('name') or _reference(entry)}"
                for entry in others
                if _kind(entry) not in _SPDX_FIELDS["frame"]
            ),
        )
        links = [
            {"url": package[name], "text": name.removeprefix("software_")}
            for name in ("software_downloadLocation", "software_homePage")
            if isinstance(package.get(name), str)
        ]
        front_matter = self._licenses(package) | {
            "datasets": [page["id"] for page, section in datasets if section == "Training"],
            "base_model": base_ids,
        }
        self._note_relationships(package)
        page = self.page(
            _identify(package),
            sha=package.get("software_packageVersion"),
            gathered_at=self.created,
            cardData={name: value for name, value in front_matter.items() if value},
            license_texts=self._license_texts(package),
            readme={
                "headings": _headings(package),
                "links": links,
                "claims": list(
                    _claims(
                        package.get("description"),
                        package.get("ai_informationAboutTraining"),
                        package.get("ai_limitation"),
                    )
                ),
            },
        )
        return self.evidence(page, pages.values(), [page for page, _ in datasets])

    def _add_bases(self, package: _Page, pages: dict[str, _Page]) -> list[str]:
        """Add the pages of a model's bases, up to the roots.

        Return the ids of the direct ones.
        """
        names = []
        for entry in self._ancestors(package):
            name = _identify(entry)
            names.append(name)
            if id(entry) not in self.read_bases:
                self.read_bases.add(id(entry))
                front_matter = self._licenses(entry) | {"base_model": self._add_bases(entry, pages)}
                unseen = ["gated", "siblings", "refs", "safetensors", "readme"]
                texts = self._license_texts(entry)
                pages[name.lower()] = self.page(name, cardData=front_matter, license_texts=texts, unknown=unseen)
        return list(dict.fromkeys(names))

    def _related(self, package: _Page, kind: str, section: str) -> Iterator[tuple[_Page, str]]:
        for relationship in self.relationships:
            if relationship.get("relationshipType") == kind and self._is_from(relationship, package):
                for target in items(relationship.get("to")):
                    if isinstance(target, dict) or str(target) in self.elements:
                        yield (target if isinstance(target, dict) else self.elements[str(target)]), section

    @staticmethod
    def _is_from(relationship: _Page, element: _Page) -> bool:
        """Return whether a relationship starts at an element."""
        start = relationship.get("from")
        return bool(_reference(element)) and _reference(element) == (
            _reference(start) if isinstance(start, dict) else str(start)
        )

    def _ancestors(self, package: _Page) -> Iterator[_Page]:
        yield from (entry for entry, _ in self._related(package, "descendantOf", "") if _kind(entry) == "AIPackage")
        for relationship in self.relationships:
            if relationship.get("relationshipType") == "ancestorOf" and _reference(package) in items(
                relationship.get("to")
            ):
                parent = self.elements.get(str(relationship.get("from")), {})
                if _kind(parent) == "AIPackage":
                    yield parent

    def _licenses(self, package: _Page) -> _Page:
        """Return the concluded and the declared license of a package: both bind."""
        stated = map(self._license, self._license_targets(package))
        return _front_matter_license([name for name in dict.fromkeys(stated) if name], None)

    def _license_texts(self, package: _Page) -> dict[str, str]:
        """Return the texts of its licenses that the bill holds, by names of files."""
        elements = [
            target if isinstance(target, dict) else self.elements.get(str(target), {})
            for target in self._license_targets(package)
        ]
        # An expression names the elements that hold its own licenses by addresses.
        mapped = [entry for element in elements for entry in objects(element.get("simplelicensing_customIdToUri"))]
        elements += [self.elements.get(str(entry.get("value")), {}) for entry in mapped]
        texts = [str(element.get("simplelicensing_licenseText") or "") for element in elements]
        return {f"LICENSE-{place}.txt": text for place, text in enumerate(texts, 1) if text}

    def _license_targets(self, package: _Page) -> list[Any]:
        kinds = ("hasConcludedLicense", "hasDeclaredLicense")
        return [
            target
            for relationship in self.relationships
            if relationship.get("relationshipType") in kinds and self._is_from(relationship, package)
            for target in items(relationship.get("to"))
        ]

    def _license(self, target: Any) -> str:
        element = target if isinstance(target, dict) else self.elements.get(str(target), {})
        expression = element.get("simplelicensing_licenseExpression") or element.get("name")
        if isinstance(expression, str):
            return expression
        listed = _LISTED_LICENSE.match(str(target))
        return listed[1] if listed else "" if str(target).endswith(("NoAssertionLicense", "NoneLicense")) else "other"

    def _dataset(self, package: _Page) -> _Page:
        self.note_unread(
            f"the data set {package.get('name')}", (name for name in package if name not in _SPDX_FIELDS["dataset"])
        )
        terms = self._licenses(package)
        availability = str(package.get("dataset_datasetAvailability"))
        stated = {"exists": True, "gated": _GATES[availability]} if availability in _GATES else {}
        unknown = [*([] if stated else ["exists", "gated"]), *([] if terms else ["license"])]
        return self.page(_identify(package), cardData=terms, **terms, **stated, unknown=unknown)

    def _note_relationships(self, package: _Page) -> None:
        read = {"trainedOn", "testedOn", "dependsOn", "hasConcludedLicense", "hasDeclaredLicense", "descendantOf"}
        kinds = {str(entry.get("relationshipType")) for entry in self.relationships if self._is_from(entry, package)}
        self.note_unread("the model's relationships", sorted(kinds - read))


def _components(entries: Iterable[Any]) -> Iterator[_Page]:
    """Yield components and those within them."""
    for entry in objects(list(entries)):
        yield entry
        yield from _components(items(entry.get("components")))


def _identify(entry: _Page) -> str:
    """Return "org/name" by the package URL or an address, else the name as an id."""
    purl = _PURL.match(str(entry.get("purl") or entry.get("software_packageUrl") or ""))
    address = str(entry.get("software_downloadLocation") or "")
    match = _MODEL_URL.match(address) or _DATASET_URL.match(address)
    name = unquote(purl[1]) if purl else match[1] if match else str(entry.get("name") or "unnamed")
    owner = str(entry.get("group") or entry.get("publisher") or "")
    if "/" not in name and owner:
        name = f"{owner}/{name}"
    owner, _, short = name.rpartition("/")
    identifier = "/".join(filter(None, (_in_id(owner), _in_id(short) or "unnamed")))
    return identifier if ID.fullmatch(identifier) else "unnamed"


def _in_id(text: str) -> str:
    """Return a name in the letters of an id.

    A number tells names apart that lose letters by it.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^\w.-]+", "-", plain, flags=re.ASCII).strip("-._")
    if _is_shortened(text):
        return f"{plain[:80]}-{uuid.uuid5(_NAMESPACE, text).hex[:8]}".lstrip("-")
    return plain


def _is_shortened(text: str) -> bool:
    """Return whether a name is too long for an id or has letters of other scripts."""
    letters = filter(str.isalnum, unicodedata.normalize("NFKD", text))
    return len(text) > _LONGEST_ID or not all(map(str.isascii, letters))


def _reference(entry: _Page) -> str:
    """Return what other parts of the bill call an entry, "" for nothing."""
    return str(entry.get("bom-ref") or entry.get("spdxId") or entry.get("@id") or "")


def _references(entry: _Page) -> set[str]:
    """Return all that an entry is called, in lower case."""
    names = (_identify(entry), entry.get("name"), entry.get("purl"), _reference(entry))
    return {str(name).lower() for name in names if name}


def _dump(bom: Mapping[str, Any]) -> str:
    try:
        return json.dumps(dict(bom))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"The bill of materials holds what JSON cannot: {error}.") from error


def _front_matter_license(stated: list[str], link: Any) -> _Page:
    if not stated:
        return {}
    if len(stated) == 1 and " " in stated[0] and not re.search(r"\b(?:AND|OR|WITH)\b", stated[0]):
        return {"license": "other", "license_name": stated[0], **({"license_link": link} if link else {})}
    return {"license": stated if len(stated) > 1 else stated[0]}


def _headings(*parts: Mapping[str, Any]) -> list[str]:
    """Return the headings of a card that the bill's statements would stand under."""
    return list(dict.fromkeys(_HEADINGS[name] for part in parts for name in part if name in _HEADINGS and part[name]))


def _claims(*texts: Any) -> Iterator[dict[str, str]]:
    for text in texts:
        for paragraph in items(text):
            if isinstance(paragraph, str):
                yield from ({"fact": sentence} for sentence in re.split(r"(?<=[.!?])\s+", paragraph)[:100] if sentence)


def _unread(part: Any, known: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the dotted names of fields that are not among the known ones."""
    for entry in objects(part):
        for name, value in entry.items():
            if name not in known:
                yield above + name
            elif known[name] is not None:
                yield from _unread(value, known[name], f"{above}{name}.")


def _kind(entry: _Page) -> str:
    """Return the type of an element of SPDX without its profile: "AIPackage"."""
    return str(entry.get("type") or entry.get("@type") or "").rpartition("_")[2].rpartition("/")[2]
