"""One vocabulary for the tasks, languages and kinds of model of all catalogs."""

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any

from openmodels.catalog import languages
from openmodels.catalog.record import Modalities

CONVERSATIONAL = "conversational"  # the Hub's tag for a text-generation model with a chat template

_LONGEST_LANGUAGE, _LEAST_NAME = 35, 4
_CHAT_TASKS = frozenset({"chat-completion", "chat-completions", "messages", "responses", "chat"})
_TABLES = json.loads((files("openmodels.catalog") / "vocabulary.json").read_text(encoding="utf-8"))
_AZURE_TASKS: dict[str, str] = {stated: name for name, words in _TABLES["azure_tasks"].items() for stated in words}
_MODALITIES = {
    name: Modalities(input=row["input"], output=row["output"]) for row in _TABLES["modalities"] for name in row["tasks"]
}
_MODEL_TYPES = frozenset(_TABLES["model_types"])
_RENAMED: dict[str, str] = _TABLES["renamed"]


def task(stated: str) -> str:
    """Return a task in the Hub's words."""
    return _AZURE_TASKS.get(stated.strip().lower(), stated.strip().lower())


def is_chat(stated: str) -> bool:
    """Return whether a catalog's task means a model to talk with."""
    return stated.strip().lower() in _CHAT_TASKS


def modalities(of_task: str | None) -> Modalities | None:
    """Return what a task takes and gives, or None for a task that does not say."""
    return _MODALITIES.get(of_task or "")


def language(stated: Any) -> str | None:
    """Return a stated code, or that of a stated name.

    YAML 1.1 reads Norwegian's "no" as False.
    """
    if stated is False:
        return "no"
    if not isinstance(stated, str) or not (text := stated.strip().lower()) or len(text) > _LONGEST_LANGUAGE:
        return None
    is_code = len(text) < _LEAST_NAME or "-" in text
    return text if is_code else languages.name_code(text) or text


def family(model_type: str | None, tags: Iterable[str] = ()) -> str | None:
    """Return the family: the config's model type, else the tag that is one.

    The Hub turns `model_type` into a tag, so the tag says the same where the config is not shown.
    """
    stated = model_type or next((tag for tag in tags if tag.lower() in _MODEL_TYPES), None)
    return _RENAMED.get(stated.lower(), stated.lower()) if stated else None
