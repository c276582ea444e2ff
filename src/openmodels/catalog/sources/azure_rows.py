"""Models of the Azure AI catalog, in both shapes its services answer in, as records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from openmodels import licenses
from openmodels.catalog import join, vocabulary
from openmodels.catalog.record import Ids, License, Lifecycle, Modalities, ModelRecord, Parameters
from openmodels.hub import fields, model_names

_NAME = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
_ASSET = re.compile(r"azureml://registries/([^/]+)/models/([^/]+)")
_LINK = re.compile(r"https://[^\s<>()\"'\x00-\x1f]+")


def record(row: Any, as_of: date | None) -> tuple[ModelRecord, str | None]:
    """Return the record of a row, and a remark on what was wrong but could be left out.

    Args:
        row: An item of `summaries` or of `value`, or the answer for one model.
        as_of: The day it was read.

    Raises:
        ValueError: No object, or no usable name.
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
    where = f"{registry}/{name}"
    hub, remark = join.hub_id(where, _text(flat.get("huggingFaceModelId")))
    stated = _words(flat.get("inferenceTasks"))
    limits = _mapping(flat.get("modelLimits"))
    tokens = _mapping(limits.get("textLimits"))
    into = _words(limits.get("supportedInputModalities")) or _words(flat.get("inputModalities"))
    out = _words(limits.get("supportedOutputModalities")) or _words(flat.get("outputModalities"))
    tasks = list(dict.fromkeys(vocabulary.task(task) for task in stated))
    tags = [*(task for task in tasks[1:]), *(word.lower() for word in _words(flat.get("keywords")))]
    if any(vocabulary.is_chat(task) for task in stated):
        tags.append(vocabulary.CONVERSATIONAL)
    total, active = model_names.parameter_counts(name)
    languages = [
        vocabulary.language(one) for one in _words(limits.get("supportedLanguages")) or _words(flat.get("languages"))
    ]
    values = {
        "ids": Ids(hub=hub, azure=where),
        "author": _text(flat.get("publisher")) or _text(flat.get("author")),
        "task": tasks[0] if tasks else None,
        "parameters": Parameters(total=total, active=active) if total else None,
        "context_length": _positive(tokens.get("inputContextWindow")) or _positive(flat.get("textContextWindow")),
        "languages": _tuple([code for code in languages if code]),
        "modalities": Modalities(input=_tuple(into), output=_tuple(out)) if into or out else None,
        "capabilities": _tuple(_words(flat.get("modelCapabilities"))),
        "fine_tuning_tasks": _tuple(_words(flat.get("fineTuningTasks"))),
        "license": _license(flat),
        "tags": _tuple(tags),
        "datasets": _tuple(_words(flat.get("datasets"))),
        "deployments": _tuple(_words(flat.get("azureOffers")) or _words(flat.get("deploymentOptions"))),
        "created": fields.day(flat.get("createdTime")),
        "lifecycle": _lifecycle(flat),
    }
    return ModelRecord.sourced("azure", as_of, values, {"parameters": "name"}), remark


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one object of the nested shape's statements: typed ones before those made of text."""
    notes = _mapping(row.get("annotations"))
    if not notes:
        return dict(row)
    typed, texts = _mapping(notes.get("systemCatalogData")), _mapping(notes.get("tags"))
    flat: dict[str, Any] = {**_mapping(row.get("properties")), **texts}
    flat |= {name: value for name, value in typed.items() if value is not None}
    flat["name"] = notes.get("name") or flat.get("name")
    flat["assetId"] = row.get("assetId") or row.get("entityId")
    flat["registryName"] = row.get("entityResourceName") or flat.get("registryName")
    if "task" in flat and not flat.get("inferenceTasks"):
        flat["inferenceTasks"] = flat["task"]
    return flat


def _license(flat: Mapping[str, Any]) -> License | None:
    stated = _text(flat.get("license"))
    link = _LINK.search(_text(flat.get("licenseDescription")) or "")
    if stated is None and link is None:
        return None
    name = licenses.normalise(stated or "other")
    return License(id=name, link=link[0].rstrip(".,;") if link else None)


def _lifecycle(flat: Mapping[str, Any]) -> Lifecycle | None:
    gone = _mapping(flat.get("deprecation"))
    status = _text(flat.get("lifecycle")) or _text(flat.get("lifecycleStatus"))
    retires = fields.day(_text(gone.get("inferenceRetirementDate")))
    successor = _text(_mapping(flat.get("replacementConfig")).get("targetModelName")) or _text(gone.get("replacement"))
    if status or retires or successor:
        return Lifecycle(status=status, retires_on=retires, replacement=successor)
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return fields.clean(value) or None if isinstance(value, str) else None


def _words(value: Any) -> list[str]:
    """Return the words of a list, or of a text with commas as the nested shape has them."""
    listed = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return [text for one in listed if (text := _text(one))]


def _positive(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdigit():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _tuple(values: list[str]) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(values)) or None
