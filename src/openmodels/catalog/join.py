"""The same model in two catalogs is one record.

Joined are a hub id that Azure states and that can be one, and the pairs of the table below. Names
that merely look alike are never joined: a wrong join shows one model's license on another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any

from openmodels import licenses
from openmodels.catalog.record import Conflict, Ids, ModelRecord, Provenance
from openmodels.hub.model_page import HUB_ID

# Azure's name in lower case -> hub id: models whose publisher is the same in both catalogs and which
# Azure lists without their hub id. Source: the names in Azure/azureml-assets and the Hub.
ALIASES = {
    "azureml-meta/llama-2-7b": "meta-llama/Llama-2-7b-hf",
    "azureml-meta/llama-2-7b-chat": "meta-llama/Llama-2-7b-chat-hf",
    "azureml-meta/llama-2-13b": "meta-llama/Llama-2-13b-hf",
    "azureml-meta/llama-2-13b-chat": "meta-llama/Llama-2-13b-chat-hf",
    "azureml-meta/llama-2-70b": "meta-llama/Llama-2-70b-hf",
    "azureml-meta/llama-2-70b-chat": "meta-llama/Llama-2-70b-chat-hf",
    "azureml-meta/meta-llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
    "azureml-meta/llama-3.3-70b-instruct": "meta-llama/Llama-3.3-70B-Instruct",
    "azureml/phi-4": "microsoft/phi-4",
    "azureml/phi-4-mini-instruct": "microsoft/Phi-4-mini-instruct",
    "azureml/phi-3-mini-4k-instruct": "microsoft/Phi-3-mini-4k-instruct",
    "azureml/phi-3-mini-128k-instruct": "microsoft/Phi-3-mini-128k-instruct",
    "azureml/microsoft-phi-2": "microsoft/phi-2",
    "azureml-openai-oss/gpt-oss-120b": "openai/gpt-oss-120b",
    "azureml-openai-oss/gpt-oss-20b": "openai/gpt-oss-20b",
    "azureml-deepseek/deepseek-r1": "deepseek-ai/DeepSeek-R1",
    "azureml-deepseek/deepseek-v3": "deepseek-ai/DeepSeek-V3",
}

# Hub ids from before organisations, which Azure still states.
LEGACY = {
    "gpt2": "openai-community/gpt2",
    "gpt2-medium": "openai-community/gpt2-medium",
    "gpt2-large": "openai-community/gpt2-large",
    "gpt2-xl": "openai-community/gpt2-xl",
    "distilgpt2": "distilbert/distilgpt2",
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "bert-base-cased": "google-bert/bert-base-cased",
    "bert-large-uncased": "google-bert/bert-large-uncased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
    "roberta-base": "FacebookAI/roberta-base",
    "roberta-large": "FacebookAI/roberta-large",
    "t5-small": "google-t5/t5-small",
    "t5-base": "google-t5/t5-base",
    "t5-large": "google-t5/t5-large",
}

_UNKNOWN = Provenance(source="unknown")
_ORDER = ("hub", "azure", "cache")
_LISTS = ("languages", "capabilities", "fine_tuning_tasks", "formats", "deployments", "offers", "scores", "tags")
_COMPARED = ("task", "license", "parameters", "context_length")


def hub_id(azure_id: str, stated: str | None) -> tuple[str | None, str | None]:
    """Return the hub id of an Azure model and, where the catalog states one that cannot be, why not.

    Args:
        azure_id: "registry/name".
        stated: What Azure gives as `huggingFaceModelId`.
    """
    if stated:
        if "/" not in stated and stated in LEGACY:
            return LEGACY[stated], None
        if "/" in stated and HUB_ID.fullmatch(stated) and "--" not in stated and ".." not in stated:
            return stated, None
        wrong = f"{azure_id} states the hub id {stated[:120]!r}, which is none"
        return ALIASES.get(azure_id.lower()), wrong
    return ALIASES.get(azure_id.lower()), None


def merge_all(parts: Mapping[str, ModelRecord]) -> ModelRecord:
    """Return one record from the statements of several catalogs, the Hub's first."""
    ordered = [parts[name] for name in _ORDER if name in parts]
    merged = ordered[0]
    for part in ordered[1:]:
        merged = merge(merged, part)
    return merged


def merge(first: ModelRecord, second: ModelRecord) -> ModelRecord:
    """Return a record with what both say.

    Of two statements of the same catalog the newer counts; where different catalogs disagree the
    first is kept and the other noted.
    """
    fields: dict[str, Any] = dict(first.known())
    provenance: dict[str, Provenance] = dict(first.provenance)
    conflicts = {(one.field, one.other_source): one for one in first.conflicts}
    for name, value in second.known().items():
        fact, kept = second.provenance.get(name, _UNKNOWN), provenance.get(name, _UNKNOWN)
        ours = fields.get(name)
        says_nothing = name == "license" and ours is not None and licenses.is_unspecific(ours.id) and not ours.name
        if ours is None or says_nothing or (kept.source == fact.source and _day(fact) >= _day(kept)):
            fields[name], provenance[name] = value, fact
        elif kept.source == fact.source:
            continue
        elif name in _LISTS:
            fields[name] = tuple(dict.fromkeys([*ours, *value]))
        elif name in _COMPARED and not _same(name, ours, value):
            conflicts[name, fact.source] = Conflict(
                field=name, kept=said(ours), kept_source=kept.source, other=said(value), other_source=fact.source
            )
    ids = Ids(hub=first.ids.hub or second.ids.hub, azure=first.ids.azure or second.ids.azure)
    return ModelRecord(ids=ids, **fields, provenance=provenance, conflicts=tuple(conflicts.values()))


def parts_of(rest: str | None) -> dict[str, Any]:
    """Return the statements of each catalog that a row keeps."""
    found = json.loads(rest).get("parts", {}) if rest else {}
    return dict(found)


def said(value: Any) -> str:
    """Return a field's value as a short text."""
    if hasattr(value, "total"):
        return str(value.total)
    return str(getattr(value, "id", value))


def _day(fact: Provenance) -> date:
    return fact.as_of or date.min


def _same(name: str, ours: Any, theirs: Any) -> bool:
    if name == "license":
        # "custom" is no statement that could contradict.
        return bool(ours.id == theirs.id or licenses.is_unspecific(theirs.id))
    if name == "parameters":
        a, b = ours.total, theirs.total
        return a is None or b is None or abs(a - b) <= 0.1 * max(a, b)
    return bool(ours == theirs)
