"""The Azure AI catalog, read by the anonymous search of Microsoft's own portal.

Microsoft does not document it; its requests and answers are known from Microsoft's open-source clients,
and it may change. A failure here is reported and never stops the other catalogs.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import date
from importlib.resources import files
from itertools import islice
from typing import TYPE_CHECKING, Any

from openmodels import licenses
from openmodels.catalog import vocabulary
from openmodels.catalog.index.codec import today
from openmodels.catalog.query import Query
from openmodels.catalog.record import Ids, License, Lifecycle, Modalities, ModelRecord, Parameters
from openmodels.catalog.sources.base import Catalog, Page, register
from openmodels.errors import InvalidRequest, InvalidResponse, ModelNotFound
from openmodels.hub import model_names, untrusted_fields as fields
from openmodels.hub.model_page import HUB_ID

if TYPE_CHECKING:
    from openmodels.catalog.index.update import Listing

_PATH = "/asset-gallery/v1.0"
_PAGE = 100
_VERSION_PAGES = 5
_TASKS = {
    "text-generation": ["text-generation", "chat-completion"],
    "feature-extraction": ["embeddings", "feature-extraction"],
    "automatic-speech-recognition": ["automatic-speech-recognition", "speech-to-text"],
}
_NAME = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_ASSET = re.compile(r"azureml://registries/([^/]+)/models/([^/]+)")
_LINK = re.compile(r"https://[^\s<>()\"'\x00-\x1f]+")

_NAMES = json.loads((files("openmodels.catalog.sources") / "azure_names.json").read_text(encoding="utf-8"))
ALIASES: dict[str, str] = _NAMES["aliases"]  # Azure's name in lower case -> hub id
LEGACY = {name: f"{account}/{name}" for account, names in _NAMES["legacy"].items() for name in names}


@register
class AzureCatalog(Catalog):
    """Lists models of the Azure AI catalog; no key is needed and none is sent.

    Args:
        endpoint: Its address; default OPENMODELS_AZURE_CATALOG, else Microsoft's.
        collection: A registry such as "HuggingFace" (the Hub's collection) or "azureml-meta"; None is all.
    """

    name = "azure"
    title = "Azure"
    description = "the Azure AI catalog"
    precedence = 10
    lookup_seconds = 12.0

    def __init__(self, endpoint: str | None = None, collection: str | None = None) -> None:
        super().__init__()
        address = endpoint or os.environ.get("OPENMODELS_AZURE_CATALOG") or "https://api.catalog.azureml.ms"
        # Imported late: a search of the index needs no HTTP client.
        from openmodels.http.json_client import JSONClient

        self.client = JSONClient(address, "the Azure catalog")
        self.collection = collection

    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield records that may match.

        The catalog filters by task, fine-tuning task, deployment, capability and publisher.
        """
        for page in self.pages(build_filters(query)):
            yield from page.records

    def get(self, model_id: str) -> ModelRecord:
        """Return one record, by "registry/name" with or without "azure:" before it.

        It states the license and its text more reliably than a listing.
        """
        registry, _, name = model_id.removeprefix("azure:").partition("/")
        if not name:
            raise InvalidRequest(f"{model_id!r} is no Azure model.", next_step='Write "azure:registry/name".')
        versions = [
            (row, record)
            for listed, _ in islice(self._raw_pages([_is("name", name)], _PAGE), _VERSION_PAGES)
            for row in listed
            if (record := self._record(row)) and (record.ids.azure or "").lower() == f"{registry}/{name}".lower()
        ]
        if not versions:
            raise ModelNotFound(f"The Azure catalog has no {registry}/{name}.", next_step="Check the spelling.")
        # The catalog lists every version of a model, in no order that it documents.
        row, record = max(versions, key=lambda version: _version_order(version[0]))
        version = _flat(row).get("version")
        if isinstance(version, str | int) and str(version).replace("-", "").isalnum():
            details = self.client.get_json(f"{_PATH}/{registry}/models/{name}/version/{version}")
            record = self._record({**row, **fields.mapping(details)}) or record
        return record

    def find(self, model_id: str) -> ModelRecord | None:
        """Return the model with a hub id that Azure or the table of pairs states."""
        alias = next((azure_id for azure_id, hub in ALIASES.items() if hub.lower() == model_id.lower()), model_id)
        named = {"field": "Name", "operator": "contains", "values": [alias.rpartition("/")[2]]}
        for listed, _ in self._raw_pages([_is("labels", "latest"), named], _PAGE):
            for row in sorted(listed, key=_version_order, reverse=True):
                record = self._record(row)
                if record and (record.ids.hub or "").lower() == model_id.lower():
                    return record
        return None

    def pages(self, filters: list[dict[str, Any]] | None = None) -> Iterator[Page]:
        """Yield pages of the listing, by name: popularity changes between pages."""
        for listed, token in self._raw_pages([_is("labels", "latest"), *(filters or [])], _PAGE):
            # Of several versions the latest is put last: of two statements of one catalog the later one counts.
            ordered = sorted(listed, key=_version_order)
            records = [record for row in ordered if (record := self._record(row))]
            kept = [
                record for record in records if self.collection in (None, (record.ids.azure or "").partition("/")[0])
            ]
            yield Page(kept, token)

    def fill(self, listing: "Listing") -> None:
        """Put the whole catalog into the index."""
        for page in self.pages():
            listing.put(page.records)
        listing.commit()
        if listing.count:
            # A model listed yesterday and not today is gone: the listing above was whole.
            listing.remove_older(today())

    def limit_time(self, seconds: float) -> None:
        """Limit the seconds that all requests from now on take together."""
        self.client.retries, self.client.deadline = 1, time.monotonic() + seconds

    @classmethod
    def alias(cls, model_id: str) -> str | None:
        """Return the hub id that the table of pairs holds for a model, or None."""
        return ALIASES.get(model_id.removeprefix(cls.prefix).lower())

    def _raw_pages(self, filters: list[dict[str, Any]], size: int) -> Iterator[tuple[list[Any], str | None]]:
        body: dict[str, Any] = {"filters": filters, "order": [{"field": "Name", "direction": "asc"}], "pageSize": size}
        seen: set[str] = set()
        while True:
            answer = fields.mapping(self.client.post_json(f"{_PATH}/models", body))
            listed = answer.get("summaries", answer.get("value"))
            if not isinstance(listed, list):
                raise InvalidResponse("The Azure catalog answered in a shape that is not known.")
            token = answer.get("continuationToken")
            # A repeated token would lead round in a circle.
            token = token if isinstance(token, str) and token.strip() and token not in seen else None
            yield listed, token
            if not token:
                return
            seen.add(token)
            body["continuationToken"] = token

    def _record(self, row: Any) -> ModelRecord | None:
        try:
            record, remark = build_record(row, today())
        except ValueError as error:
            self.skipped.append(str(error).splitlines()[0][:200])
            return None
        if remark:
            self.skipped.append(remark)
        return record


def _version_order(row: Any) -> tuple[bool, tuple[tuple[int, str], ...]]:
    """Return what sorts the versions of a model, the latest last.

    The label "latest" decides, else the numbers in the version: 24 comes after 3, "2024-11-20" after "2024-08-06".
    """
    flat = _flat(row) if isinstance(row, Mapping) else {}
    parts = re.findall(r"\d+|[a-z]+", str(flat.get("version") or "").lower())
    order = tuple((int(part[:18]), "") if part.isdecimal() else (-1, part) for part in parts)
    return "latest" in map(str.lower, _words(flat.get("labels"))), order


def build_filters(query: Query) -> list[dict[str, Any]]:
    """Return what the catalog itself can filter of a query."""
    tasks = ["chat-completion"] if query.conversational else _TASKS.get(query.task or "", [query.task])
    filters = [_is("InferenceTasks", *tasks)] if query.task else []
    values = {
        "FineTuningTasks": query.fine_tuning_task,
        "AzureOffers": query.deployment,
        "ModelCapabilities": query.capability,
    }
    filters += [_is(field, value) for field, value in values.items() if value]
    if query.author:
        filters.append({"field": "Publisher", "operator": "contains", "values": [query.author]})
    return filters


def _is(field: str, *values: str | None) -> dict[str, Any]:
    return {"field": field, "operator": "eq", "values": list(values)}


def hub_id(azure_id: str, stated: str | None) -> tuple[str | None, str | None]:
    """Return the hub id of an Azure model and, for an impossible one, why."""
    known = ALIASES.get(azure_id.lower())
    if not stated:
        return known, None
    if stated in LEGACY:
        return LEGACY[stated], None
    if "/" in stated and HUB_ID.fullmatch(stated) and "--" not in stated and ".." not in stated:
        return stated, None
    return known, f"{azure_id} states the hub id {stated[:120]!r}, which is none"


def build_record(row: Any, as_of: date | None) -> tuple[ModelRecord, str | None]:
    """Return the record of a row, and a remark on what was wrong and left out.

    A row is an item of `summaries` or of `value`, or the answer for one model.
    ValueError: it lacks a usable name, or is another value.
    """
    if not isinstance(row, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind of error for every bad row
            f"a row is {type(row).__name__}, not an object"
        )
    flat = _flat(row)
    asset = _ASSET.match(str(flat.get("assetId") or ""))
    name = flat.get("name") or (asset and asset[2])
    registry = flat.get("registryName") or (asset and asset[1]) or "azureml"
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"no usable name: {str(name)[:80]!r}")
    if not isinstance(registry, str) or not _NAME.fullmatch(registry):
        raise ValueError(f"no usable registry of {name}: {str(registry)[:80]!r}")
    azure_id = f"{registry}/{name}"
    hub, remark = hub_id(azure_id, fields.text(flat.get("huggingFaceModelId")))
    stated = _words(flat.get("inferenceTasks"))
    tasks = list(dict.fromkeys(map(vocabulary.task, stated)))
    tags = [*tasks[1:], *map(str.lower, _words(flat.get("keywords")))]
    if any(map(vocabulary.is_chat, stated)):
        tags.append(vocabulary.CONVERSATIONAL)
    limits = fields.mapping(flat.get("modelLimits"))
    tokens = fields.mapping(limits.get("textLimits")).get("inputContextWindow")
    inputs = _words(limits.get("supportedInputModalities"), flat.get("inputModalities"))
    outputs = _words(limits.get("supportedOutputModalities"), flat.get("outputModalities"))
    languages = map(vocabulary.language, _words(limits.get("supportedLanguages"), flat.get("languages")))
    total, active = model_names.parameter_counts(name)
    values = {
        "ids": Ids(hub=hub, azure=azure_id),
        "author": fields.text(flat.get("publisher")) or fields.text(flat.get("author")),
        "task": tasks[0] if tasks else None,
        "parameters": Parameters(total=total, active=active) if total or active else None,
        "context_length": _positive(tokens) or _positive(flat.get("textContextWindow")),
        "languages": fields.distinct(filter(None, languages)),
        "modalities": Modalities(input=fields.distinct(inputs), output=fields.distinct(outputs))
        if inputs or outputs
        else None,
        "capabilities": fields.distinct(_words(flat.get("modelCapabilities"))),
        "fine_tuning_tasks": fields.distinct(_words(flat.get("fineTuningTasks"))),
        "license": _license(flat),
        "tags": fields.distinct(tags),
        "datasets": fields.distinct(_words(flat.get("datasets"))),
        "deployments": fields.distinct(_words(flat.get("azureOffers"), flat.get("deploymentOptions"))),
        "created": fields.day(flat.get("createdTime")),
        "lifecycle": _lifecycle(flat),
        "version": str(flat["version"])[:40] if isinstance(flat.get("version"), str | int) else None,
    }
    return ModelRecord.sourced(AzureCatalog.name, as_of, values, {"parameters": "name"}), remark


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the nested shape as one object; typed values win over texts."""
    notes = fields.mapping(row.get("annotations"))
    if not notes:
        return dict(row)
    typed, texts = fields.mapping(notes.get("systemCatalogData")), fields.mapping(notes.get("tags"))
    flat: dict[str, Any] = {**fields.mapping(row.get("properties")), **texts}
    flat |= {name: value for name, value in typed.items() if value is not None}
    flat["name"] = notes.get("name") or flat.get("name")
    flat["version"] = row.get("version") or notes.get("version") or flat.get("version")
    flat["labels"] = row.get("labels") or notes.get("labels") or flat.get("labels")
    flat["assetId"] = row.get("assetId") or row.get("entityId")
    flat["registryName"] = row.get("entityResourceName") or flat.get("registryName")
    if "task" in flat and not flat.get("inferenceTasks"):
        flat["inferenceTasks"] = flat["task"]
    return flat


def _license(flat: Mapping[str, Any]) -> License | None:
    stated = fields.text(flat.get("license"))
    link = _LINK.search(fields.clean(str(flat.get("licenseDescription") or "")))
    if stated is None and link is None:
        return None
    return License(id=licenses.normalise(stated or "other"), link=link[0].rstrip(".,;") if link else None)


def _lifecycle(flat: Mapping[str, Any]) -> Lifecycle | None:
    gone, successor = fields.mapping(flat.get("deprecation")), fields.mapping(flat.get("replacementConfig"))
    lifecycle = Lifecycle(
        status=fields.text(flat.get("lifecycle")) or fields.text(flat.get("lifecycleStatus")),
        retires_on=fields.day(fields.text(gone.get("inferenceRetirementDate"))),
        replacement=fields.text(successor.get("targetModelName")) or fields.text(gone.get("replacement")),
    )
    return lifecycle if lifecycle.model_dump(exclude_none=True) else None


def _words(*values: Any) -> list[str]:
    """Return the words of the first value with any, a list or text with commas."""
    for value in values:
        listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
        if words := list(filter(None, map(fields.text, listed))):
            return words
    return []


def _positive(value: Any) -> int | None:
    return fields.positive_count(int(value) if isinstance(value, str) and value.strip().isdigit() else value)
