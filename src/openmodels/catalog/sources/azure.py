"""The Azure AI catalog: the anonymous search behind Microsoft's own portal and tools.

Microsoft documents it nowhere; its requests and answers are known from Microsoft's open-source
clients. It may change: whatever goes wrong here is reported and never stops the other catalogs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from openmodels.catalog import join
from openmodels.catalog.client import Client
from openmodels.catalog.index.codec import today
from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources import azure_rows
from openmodels.catalog.sources.base import Page
from openmodels.errors import InvalidRequest, InvalidResponse, ModelNotFound

_PATH = "/asset-gallery/v1.0"
_PAGE = 100
_TASKS = {
    "text-generation": ["text-generation", "chat-completion"],
    "feature-extraction": ["embeddings", "feature-extraction"],
    "automatic-speech-recognition": ["automatic-speech-recognition", "speech-to-text"],
}


class AzureCatalog:
    """Lists models of the Azure AI catalog; no key is needed and none is sent.

    Args:
        endpoint: Its address; default OPENMODELS_AZURE_CATALOG, else Microsoft's.
        collection: A registry such as "HuggingFace" (the Hub's collection) or "azureml-meta"; None is all.
    """

    name = "azure"

    def __init__(self, endpoint: str | None = None, collection: str | None = None) -> None:
        address = endpoint or os.environ.get("OPENMODELS_AZURE_CATALOG") or "https://api.catalog.azureml.ms"
        self.client = Client(address, "the Azure catalog")
        self.collection = collection
        self.skipped: list[str] = []

    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield records that may match; task, fine-tuning task, license, offer and capability are filtered there."""
        for page in self.pages(filters(query)):
            yield from page.records

    def get(self, model_id: str) -> ModelRecord:
        """Return one record, which states the license and its text more reliably than a listing.

        Args:
            model_id: "registry/name", with or without "azure:" before it.

        Raises:
            ModelNotFound: The catalog does not have it.
            OpenModelsError: The catalog cannot be reached or refuses.
        """
        registry, _, name = model_id.removeprefix("azure:").partition("/")
        if not name:
            raise InvalidRequest(f"{model_id!r} is no Azure model.", next_step='Write "azure:registry/name".')
        listed = next(self._raw([_is("name", name)], 20), ([], None))[0]
        versions = [
            row
            for row in listed
            if (found := self._record(row)) and (found.ids.azure or "").lower() == f"{registry}/{name}".lower()
        ]
        if not versions:
            raise ModelNotFound(f"The Azure catalog has no {registry}/{name}.", next_step="Check the spelling.")
        version = _version(versions[0])
        record = self._record(versions[0])
        if version:
            whole, _ = self.client.json("GET", f"{_PATH}/{registry}/models/{name}/version/{version}")
            record = self._record({**versions[0], **whole} if isinstance(whole, Mapping) else None) or record
        if record is None:
            raise InvalidResponse(f"The Azure catalog's row of {registry}/{name} cannot be read.")
        return record

    def listing_of(self, hub_id: str) -> ModelRecord | None:
        """Return what the catalog has of a model of the Hub, if it states that id or the table of pairs holds it.

        Raises:
            OpenModelsError: The catalog cannot be reached or refuses.
        """
        alias = next((azure for azure, hub in join.ALIASES.items() if hub.lower() == hub_id.lower()), hub_id)
        named = {"field": "Name", "operator": "contains", "values": [alias.rpartition("/")[2]]}
        for listed, _ in self._raw([_is("labels", "latest"), named], _PAGE):
            for row in listed:
                record = self._record(row)
                if record and (record.ids.hub or "").lower() == hub_id.lower():
                    return record
        return None

    def pages(self, asked: list[dict[str, Any]] | None = None) -> Iterator[Page]:
        """Yield pages of the listing, in the order of names, which unlike popularity does not drift.

        Raises:
            OpenModelsError: A page cannot be read; earlier pages have been given.
        """
        for listed, token in self._raw([_is("labels", "latest"), *(asked or [])], _PAGE):
            found = [record for row in listed if (record := self._record(row))]
            kept = [one for one in found if self.collection in (None, (one.ids.azure or "").partition("/")[0])]
            yield Page(kept, token)

    def _raw(self, asked: list[dict[str, Any]], size: int) -> Iterator[tuple[list[Any], str | None]]:
        token: str | None = None
        seen: set[str] = set()
        while True:
            body: dict[str, Any] = {
                "filters": asked,
                "order": [{"field": "Name", "direction": "asc"}],
                "pageSize": size,
            }
            if token:
                body["continuationToken"] = token
            answer, _ = self.client.json("POST", f"{_PATH}/models", body=body)
            listed = _rows(answer)
            token = answer.get("continuationToken") if isinstance(answer, Mapping) else None
            # A repeated token would lead round in a circle.
            token = token if isinstance(token, str) and token.strip() and token not in seen else None
            yield listed, token
            if not token:
                return
            seen.add(token)

    def _record(self, row: Any) -> ModelRecord | None:
        try:
            record, remark = azure_rows.record(row, today())
        except ValueError as error:
            self.skipped.append(str(error).splitlines()[0][:200])
            return None
        if remark:
            self.skipped.append(remark)
        return record


def filters(query: Query) -> list[dict[str, Any]]:
    """Return what the catalog itself can filter of a query."""
    asked = []
    if query.task:
        tasks = ["chat-completion"] if query.conversational else _TASKS.get(query.task, [query.task])
        asked.append(_is("InferenceTasks", *tasks))
    if query.fine_tuning_task:
        asked.append(_is("FineTuningTasks", query.fine_tuning_task))
    if query.deployment:
        asked.append(_is("AzureOffers", query.deployment))
    if query.capability:
        asked.append(_is("ModelCapabilities", query.capability))
    if query.author:
        asked.append({"field": "Publisher", "operator": "contains", "values": [query.author]})
    return asked


def _is(field: str, *values: str) -> dict[str, Any]:
    return {"field": field, "operator": "eq", "values": list(values)}


def _rows(answer: Any) -> list[Any]:
    found = answer.get("summaries", answer.get("value")) if isinstance(answer, Mapping) else None
    if not isinstance(found, list):
        raise InvalidResponse("The Azure catalog answered in a shape that is not known.")
    return found


def _version(row: Mapping[str, Any]) -> str | None:
    version = row.get("version")
    return str(version) if isinstance(version, str | int) and str(version).replace("-", "").isalnum() else None
