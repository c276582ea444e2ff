"""The Azure catalog's search on 127.0.0.1 for tests, in both shapes its services answer in.

Microsoft publishes no contract for it. The shapes are those of requests and answers that Microsoft's
own open-source clients and public notes record (`summaries` with flat items; `value` with
`annotations.systemCatalogData`, given for the header `x-ms-use-full-service-contracts: true`), and a
filter on an unknown field is refused with the list of fields, as it is there. Not modelled: free text,
regions, and the order by popularity.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from loopback_server import LoopbackServer, ReceivedRequest, Response

_FIELDS = {
    "name": "name",
    "version": "version",
    "labels": "labels",
    "publisher": "publisher",
    "author": "author",
    "inferencetasks": "inferenceTasks",
    "finetuningtasks": "fineTuningTasks",
    "modelcapabilities": "modelCapabilities",
    "azureoffers": "azureOffers",
    "license": "license",
    "displayname": "displayName",
    "summary": "summary",
}
_PATH = "/asset-gallery/v1.0"
_TYPED = (
    "publisher",
    "displayName",
    "inferenceTasks",
    "fineTuningTasks",
    "modelCapabilities",
    "license",
    "azureOffers",
)


class LoopbackGallery(LoopbackServer):
    """Serves models of the Azure catalog.

    Args:
        models: Flat items, as in `summaries`.
        nested: Answer in the `value` shape even without the header.
    """

    def __init__(self, models: Iterable[Mapping[str, Any]], *, nested: bool = False) -> None:
        super().__init__()
        self.rows: list[Any] = list(models)
        self.nested = nested

    def respond(self, request: ReceivedRequest) -> Response:
        """Return what the service would."""
        if request.method == "POST" and request.path == f"{_PATH}/models":
            return self._page(json.loads(request.body or b"{}"), request)
        parts = request.path.removeprefix(f"{_PATH}/").split("/")
        if request.method == "GET" and parts[1::2] == ["models", "version"]:
            registry, name, version = parts[0], parts[2], parts[4]
            for row in self.rows:
                if isinstance(row, Mapping) and (row.get("registryName"), row.get("name"), str(row.get("version"))) == (
                    registry,
                    name,
                    version,
                ):
                    return Response(dict(row))
        return Response({"error": {"code": "NotFound", "message": "The specified resource was not matches."}}, 404)

    def _page(self, body: Mapping[str, Any], request: ReceivedRequest) -> Response:
        for condition in body.get("filters", ()):
            if str(condition.get("field")).lower() not in _FIELDS:
                message = f"Unknown field {condition.get('field')}. Valid fields: {', '.join(_FIELDS.values())}"
                return Response({"error": {"code": "UserError", "message": message}}, 400)
        matches = [row for row in self.rows if not isinstance(row, Mapping) or _matches(row, body.get("filters", ()))]
        start, size = int(body.get("continuationToken") or 0), int(body.get("pageSize") or 25)
        shown = matches[start : start + size]
        token = str(start + size) if start + size < len(matches) else None
        nested = self.nested or request.headers.get("x-ms-use-full-service-contracts") == "true"
        key, items = ("value", [_nested(row) for row in shown]) if nested else ("summaries", shown)
        return Response({"totalCount": len(matches), key: items, "continuationToken": token})


def _matches(row: Mapping[str, Any], filters: Iterable[Mapping[str, Any]]) -> bool:
    for condition in filters:
        field = _FIELDS[str(condition["field"]).lower()]
        stated = row.get(field, ["latest"] if field == "labels" else None)
        here = [str(value).lower() for value in (stated if isinstance(stated, list) else [stated]) if value is not None]
        wanted = [str(value).lower() for value in condition["values"]]
        match condition["operator"]:
            case "eq":
                holds = any(value in here for value in wanted)
            case "ne":
                holds = not any(value in here for value in wanted)
            case "contains":
                holds = any(value in text for value in wanted for text in here)
            case _:
                holds = False
        if not holds:
            return False
    return True


def _nested(row: Any) -> Any:
    if not isinstance(row, Mapping):
        return row
    limits = row.get("modelLimits") or {}
    texts = limits.get("textLimits") or {}
    typed = {
        name: row[name] for name in (*_TYPED, "huggingFaceModelId", "deprecation", "licenseDescription") if name in row
    }
    typed |= {
        name: value
        for name, value in (
            ("textContextWindow", texts.get("inputContextWindow")),
            ("maxOutputTokens", texts.get("maxOutputTokens")),
            ("languages", limits.get("supportedLanguages")),
        )
        if value is not None
    }
    into, out = limits.get("supportedInputModalities") or (), limits.get("supportedOutputModalities") or ()
    tags = {"inputModalities": ", ".join(into), "outputModalities": ", ".join(out)}
    made = f"azureml://registries/{row.get('registryName')}/models/{row.get('name')}/versions/{row.get('version')}"
    asset = row.get("assetId") or (made if "name" in row else None)
    return {
        "relevancyScore": 1.0,
        "entityResourceName": row.get("registryName"),
        "entityId": asset,
        "kind": "Versioned",
        "version": row.get("version"),
        "annotations": {"name": row.get("name"), "labels": ["latest"], "tags": tags, "systemCatalogData": typed},
        "properties": {},
    }
