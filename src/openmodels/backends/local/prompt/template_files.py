"""Where a model keeps its chat templates, and which of them is used.

A tokenizer holds one template or several by name; a processor may hold another; and they stand in up to
four kinds of files. Imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openmodels.backends.local.weights import checkpoint
from openmodels.errors import InvalidRequest, LoadFailed

DEFAULT = "default"
"""The name of the template that is used where none is named."""


def read(folder: Path) -> dict[str, str]:
    """Return the chat templates in a folder by name; empty for a base model.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is not UTF-8.
        LoadFailed: A file holds no JSON object.
    """
    templates: dict[str, str] = {}
    for name in ("tokenizer_config.json", "processor_config.json", "chat_template.json"):
        if (file := folder / name).is_file():
            templates |= named(checkpoint.read_json(file).get("chat_template"))
    if (file := folder / "chat_template.jinja").is_file():
        templates[DEFAULT] = file.read_text(encoding="utf-8")
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        templates[file.stem] = file.read_text(encoding="utf-8")
    return templates


def named(value: Any) -> dict[str, str]:
    """Return templates as files and transformers hold them, one or several, by name."""
    if isinstance(value, str):
        return {DEFAULT: value} if value else {}
    if isinstance(value, list):
        value = {item.get("name"): item.get("template") for item in value if isinstance(item, Mapping)}
    if not isinstance(value, Mapping):
        return {}
    return {str(name): template for name, template in value.items() if isinstance(template, str)}


def install(tokenizer: Any, folder: Path, *, choice: str | None = None, processor: Any = None) -> None:
    """Give a tokenizer the chat templates that the model is prompted with.

    Args:
        tokenizer: A transformers tokenizer, with the templates that transformers has read.
        folder: Where the model's files are.
        choice: The name of a template, the template itself, or None for the model's own default.
        processor: The model's transformers processor, whose templates come before the tokenizer's, or None.

    Raises:
        LoadFailed: A file of templates cannot be read.
        InvalidRequest: There is no template of that name.
    """
    templates = named(tokenizer.chat_template) | named(getattr(processor, "chat_template", None))
    if not templates:
        # transformers reads some of the files only together with a processor.
        try:
            templates = read(folder)
        except (OSError, ValueError) as error:
            raise LoadFailed("A file of the model's chat templates cannot be read.") from error
    if choice is not None:
        templates = {DEFAULT: _chosen(templates, choice)}
    tokenizer.chat_template = templates[DEFAULT] if [*templates] == [DEFAULT] else (templates or None)


def _chosen(templates: Mapping[str, str], choice: str) -> str:
    if choice in templates:
        return templates[choice]
    if "{" in choice:
        return choice
    raise InvalidRequest(
        f"chat_template: the model has no template of the name {choice[:80]!r}.",
        next_step=f"It has: {', '.join(sorted(templates))}." if templates else "Pass the text of a Jinja template.",
    )
