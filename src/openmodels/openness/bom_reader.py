"""Evidence about a model from a bill of materials: CycloneDX or SPDX 3.

A bill states and proves nothing: what it says of licenses, bases, data sets and the card is evidence that
names the bill; what it cannot show, as whether the parameters can be downloaded, stays unknown. Fields that are
not read are named in the notes of the report.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

from openmodels import files
from openmodels.errors import InvalidRequest
from openmodels.hub import fields
from openmodels.openness.evidence import LARGEST_FILE, Evidence
from openmodels.openness.pages import ID, items

_Page = dict[str, Any]
_NAMESPACE = uuid.UUID("5c6f7a4e-90c4-5b0c-8d2e-626f6d726561")
_DATASET_URL = re.compile(r"https://huggingface\.co/datasets/([\w.-]+/[\w.-]+)")
_MODEL_URL = re.compile(r"https://huggingface\.co/(?!datasets/|spaces/|docs/)([\w.-]+/[\w.-]+)/?$")
_PURL = re.compile(r"pkg:huggingface/([^@?#]+)(?:@([^?#]+))?")
_LISTED_LICENSE = re.compile(r"https?://spdx\.org/licenses/([\w.+-]+?)(?:\.html)?$")

# The fields of a component that are read: a nested mapping for those that hold others, None for the rest.
_MODEL_FIELDS: Mapping[str, Any] = {
    **dict.fromkeys(("type", "bom-ref", "name", "group", "version", "purl", "publisher", "description")),
    **dict.fromkeys(("licenses", "externalReferences", "mime-type")),
    "pedigree": {"ancestors": None},
    "modelCard": {
        "bom-ref": None,
        "modelParameters": dict.fromkeys(("task", "architectureFamily", "modelArchitecture", "datasets")),
        "quantitativeAnalysis": {"performanceMetrics": None},
        "considerations": dict.fromkeys(("useCases", "technicalLimitations", "ethicalConsiderations", "users")),
    },
}
_DATA_FIELDS: Mapping[str, Any] = {
    **dict.fromkeys(("type", "bom-ref", "name", "group", "licenses", "purl", "version", "description")),
    "data": dict.fromkeys(("type", "name", "contents")),
}
_AI_FIELDS = (
    "type", "spdxId", "name", "creationInfo", "description", "software_packageVersion", "software_packageUrl",
    "software_downloadLocation", "software_homePage", "software_primaryPurpose", "ai_typeOfModel", "ai_domain",
    "ai_informationAboutTraining", "ai_informationAboutApplication", "ai_limitation", "ai_metric",
    "ai_safetyRiskAssessment",
)  # fmt: skip
_DATASET_FIELDS = (
    "type", "spdxId", "name", "creationInfo", "description", "software_downloadLocation", "software_packageUrl",
    "software_primaryPurpose", "dataset_datasetAvailability", "dataset_datasetType",
)  # fmt: skip
# Statement of a bill -> the heading of a model card that it answers.
_HEADINGS = {
    "useCases": "Intended use", "users": "Intended users", "technicalLimitations": "Limitations",
    "ethicalConsiderations": "Ethical considerations", "performanceMetrics": "Evaluation results",
    "datasets": "Training data", "modelArchitecture": "Model architecture",
    "architectureFamily": "Model architecture", "ai_informationAboutTraining": "Training data",
    "ai_informationAboutApplication": "Intended use", "ai_limitation": "Limitations",
    "ai_metric": "Evaluation results", "ai_safetyRiskAssessment": "Risks", "ai_typeOfModel": "Model architecture",
}  # fmt: skip
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
        name, content = "bill of materials", dict(bom)
    else:
        path = Path(bom).expanduser()
        name = f"bill of materials {path.name}"
        content = files.parse_json(files.read(path, largest=LARGEST_FILE), f"The {name!r}")
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
        return {"id": identifier, "bom": self.source} | facts

    def choose(self, models: Sequence[_Page], model: str | None) -> _Page:
        """Return the model that is meant; raise `InvalidRequest` where that is not one."""
        names = [_identify(entry) for entry in models]
        if not models:
            raise InvalidRequest(f"The {self.name} holds no model.", next_step="It must have a machine-learning model.")
        wanted = [
            entry
            for entry, name in zip(models, names, strict=True)
            if model is None or model.lower() in (name.lower(), str(entry.get("name")).lower())
        ]
        if len(wanted) != 1:
            raise InvalidRequest(
                f"The {self.name} holds {len(models)} models, and {model or 'none'} was asked for.",
                next_step=f"Name one of: {', '.join(names[:20])}.",
            )
        return wanted[0]

    def note_unread(self, what: str, names: Iterable[str]) -> None:
        if unread := list(dict.fromkeys(names)):
            self.notes.append(f"Of {what} in the {self.name}: {', '.join(unread)}.")

    def evidence(self, page: _Page, bases: Iterable[_Page], datasets: Iterable[_Page]) -> Evidence:
        # A bill shows no files, no gate and no branches.
        unknown = ["gated", "siblings", "refs", "safetensors", "readme.links"]
        # A bill without a license leaves it out; that says nothing of the model's.
        unknown += [] if "license" in page["cardData"] else ["cardData.license"]
        page |= {"notes": self.notes, "unknown": unknown}
        evidence = Evidence(page["id"])
        for kind, pages in (("models", [*bases, page]), ("datasets", datasets)):
            evidence.pages[kind] |= {entry["id"].lower(): entry for entry in pages}
        return evidence


class _CycloneReader(_BomReader):
    def __init__(self, name: str, content: _Page) -> None:
        serial = str(content.get("serialNumber") or "").removeprefix("urn:uuid:")
        serial = serial or str(uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True, default=str)))
        super().__init__(name, content, f"urn:cdx:{serial}/{content.get('version') or 1}")
        version = str(content.get("specVersion"))
        if version not in ("1.5", "1.6", "1.7"):
            self.notes.append(f"The {name} is CycloneDX {version}; it was read as 1.6.")

    def read(self, model: str | None) -> Evidence:
        metadata = fields.mapping(self.content.get("metadata"))
        components = list(_components([metadata.get("component"), *items(self.content.get("components"))]))
        by_reference = {str(entry.get("bom-ref")): entry for entry in components if entry.get("bom-ref")}
        models = [entry for entry in components if entry.get("type") == "machine-learning-model"]
        component = self.choose(models, model)
        self.note_unread("the model's fields", _unread(component, _MODEL_FIELDS))
        card = fields.mapping(component.get("modelCard"))
        parameters = fields.mapping(card.get("modelParameters"))
        datasets = []
        for entry in items(parameters.get("datasets")):
            stated = by_reference.get(str(entry.get("ref")), entry) if isinstance(entry, dict) else {}
            if "ref" in stated:
                self.notes.append(f"The {self.name} names a data set {stated['ref']} that it does not hold.")
            elif stated:
                datasets.append(self._dataset(stated))
        bases = list(map(self._base, _objects(fields.mapping(component.get("pedigree")).get("ancestors"))))
        purl = _PURL.match(str(component.get("purl") or ""))
        front_matter = self._licenses(component) | {
            "datasets": [page["id"] for page in datasets],
            "base_model": [page["id"] for page in bases],
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
            license_texts=dict(_license_texts(component)),
            readme={
                "headings": _headings(parameters, considerations, analysis),
                "links": [
                    {
                        "url": str(entry.get("url")),
                        "text": str(entry.get("comment") or entry.get("type")),
                        "section": "",
                    }
                    for entry in _objects(component.get("externalReferences"))
                ],
                "claims": list(_claims(component.get("description"), considerations.get("technicalLimitations"))),
            },
        )
        return self.evidence(page, bases, datasets)

    def _licenses(self, component: _Page) -> _Page:
        """Return the licenses of a component as the front matter of a card states them."""
        stated: list[str] = []
        link = None
        for entry in _objects(component.get("licenses")):
            license_ = fields.mapping(entry.get("license"))
            name = license_.get("id") or license_.get("name") or entry.get("expression")
            link = license_.get("url") or link
            if isinstance(name, str):
                stated.append(name)
        return _front_matter_license(stated, link)

    def _base(self, component: _Page) -> _Page:
        return self.page(
            _identify(component),
            cardData=self._licenses(component),
            unknown=["gated", "siblings", "refs", "safetensors", "readme"],
        )

    def _dataset(self, component: _Page) -> _Page:
        """Return a data set: a component of type "data", or the data itself."""
        self.note_unread(
            f"the data set {component.get('name')}", _unread(component, {**_DATA_FIELDS, "contents": None})
        )
        data = [component, *_objects(component.get("data"))]
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
        graph = _objects(content["@graph"])
        self.elements = {str(entry.get("spdxId") or entry.get("@id")): entry for entry in graph}
        self.relationships = [
            entry for entry in graph if _kind(entry) in ("Relationship", "LifecycleScopedRelationship")
        ]
        document = next((entry for entry in graph if _kind(entry) == "SpdxDocument"), {})
        address = str(document.get("spdxId") or "")
        if not re.match(r"https://|urn:", address):
            address = uuid.uuid5(_NAMESPACE, json.dumps(content, sort_keys=True, default=str)).urn
        super().__init__(name, content, address)
        created = [str(entry["created"]) for entry in graph if entry.get("created")]
        self.created = max(created, default=None)

    def read(self, model: str | None) -> Evidence:
        models = [entry for entry in self.elements.values() if _kind(entry) == "AIPackage"]
        package = self.choose(models, model)
        self.note_unread("the model's fields", (name for name in package if name not in _AI_FIELDS))
        linked = [
            *self._related(package, "trainedOn", "Training"),
            *self._related(package, "testedOn", "Evaluation"),
            *self._related(package, "dependsOn", "Training"),
        ]
        datasets = [(self._dataset(entry), section) for entry, section in linked if _kind(entry) == "DatasetPackage"]
        bases = [
            self.page(_identify(entry), cardData=self._licenses(entry), unknown=["gated", "siblings", "refs", "readme"])
            for entry in self._ancestors(package)
        ]
        links = [
            {"url": package[name], "text": name.removeprefix("software_")}
            for name in ("software_downloadLocation", "software_homePage")
            if isinstance(package.get(name), str)
        ]
        front_matter = self._licenses(package) | {
            "datasets": [page["id"] for page, section in datasets if section == "Training"],
            "base_model": [page["id"] for page in bases],
        }
        self._note_relationships(package)
        page = self.page(
            _identify(package),
            sha=package.get("software_packageVersion"),
            gathered_at=self.created,
            cardData={name: value for name, value in front_matter.items() if value},
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
        return self.evidence(page, bases, [page for page, _ in datasets])

    def _related(self, package: _Page, kind: str, section: str) -> Iterator[tuple[_Page, str]]:
        for relationship in self.relationships:
            if relationship.get("relationshipType") == kind and relationship.get("from") == package.get("spdxId"):
                for target in items(relationship.get("to")):
                    if isinstance(target, dict) or str(target) in self.elements:
                        yield (target if isinstance(target, dict) else self.elements[str(target)]), section

    def _ancestors(self, package: _Page) -> Iterator[_Page]:
        yield from (entry for entry, _ in self._related(package, "descendantOf", "") if _kind(entry) == "AIPackage")
        for relationship in self.relationships:
            if relationship.get("relationshipType") == "ancestorOf" and package.get("spdxId") in items(
                relationship.get("to")
            ):
                parent = self.elements.get(str(relationship.get("from")), {})
                if _kind(parent) == "AIPackage":
                    yield parent

    def _licenses(self, package: _Page) -> _Page:
        """Return the concluded and the declared license of a package: both bind."""
        stated = []
        for relationship in self.relationships:
            kind = relationship.get("relationshipType")
            if kind in ("hasConcludedLicense", "hasDeclaredLicense") and relationship.get("from") == package["spdxId"]:
                stated += [self._license(target) for target in items(relationship.get("to"))]
        return _front_matter_license([name for name in dict.fromkeys(stated) if name], None)

    def _license(self, target: Any) -> str:
        element = target if isinstance(target, dict) else self.elements.get(str(target), {})
        expression = element.get("simplelicensing_licenseExpression") or element.get("name")
        if isinstance(expression, str):
            return expression
        listed = _LISTED_LICENSE.match(str(target))
        return listed[1] if listed else "" if str(target).endswith(("NoAssertionLicense", "NoneLicense")) else "other"

    def _dataset(self, package: _Page) -> _Page:
        self.note_unread(
            f"the data set {package.get('name')}", (name for name in package if name not in _DATASET_FIELDS)
        )
        terms = self._licenses(package)
        availability = str(package.get("dataset_datasetAvailability"))
        stated = {"exists": True, "gated": _GATES[availability]} if availability in _GATES else {}
        unknown = [*([] if stated else ["exists", "gated"]), *([] if terms else ["license"])]
        return self.page(_identify(package), cardData=terms, **terms, **stated, unknown=unknown)

    def _note_relationships(self, package: _Page) -> None:
        read = {"trainedOn", "testedOn", "dependsOn", "hasConcludedLicense", "hasDeclaredLicense", "descendantOf"}
        kinds = {
            str(entry.get("relationshipType"))
            for entry in self.relationships
            if entry.get("from") == package.get("spdxId")
        }
        self.note_unread("the model's relationships", sorted(kinds - read))


def _components(entries: Iterable[Any]) -> Iterator[_Page]:
    """Yield components and those within them."""
    for entry in _objects(list(entries)):
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
    parts = [re.sub(r"[^\w.-]+", "-", part, flags=re.ASCII).strip("-")[:96] for part in (owner, short or "unnamed")]
    identifier = "/".join(filter(None, parts))
    return identifier if ID.fullmatch(identifier) else "unnamed"


def _front_matter_license(stated: list[str], link: Any) -> _Page:
    if not stated:
        return {}
    if len(stated) == 1 and " " in stated[0] and not re.search(r"\b(?:AND|OR|WITH)\b", stated[0]):
        return {"license": "other", "license_name": stated[0], **({"license_link": link} if link else {})}
    return {"license": stated if len(stated) > 1 else stated[0]}


def _license_texts(component: _Page) -> Iterator[tuple[str, str]]:
    for place, entry in enumerate(_objects(component.get("licenses")), 1):
        text = fields.mapping(fields.mapping(entry.get("license")).get("text"))
        content = str(text.get("content") or "")
        if text.get("encoding") == "base64":
            try:
                content = base64.b64decode(content).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                continue
        if content:
            yield f"LICENSE-{place}.txt", content


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
    for entry in _objects(part):
        for name, value in entry.items():
            if name not in known:
                yield above + name
            elif known[name] is not None:
                yield from _unread(value, known[name], f"{above}{name}.")


def _kind(entry: _Page) -> str:
    """Return the type of an element of SPDX without its profile: "AIPackage"."""
    return str(entry.get("type") or entry.get("@type") or "").rpartition("_")[2].rpartition("/")[2]


def _objects(value: Any) -> list[_Page]:
    return [cast("_Page", entry) for entry in items(value) if isinstance(entry, dict)]
