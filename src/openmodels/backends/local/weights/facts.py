"""What a local model's files say before they are loaded: its context and its chat template.

Reads what is on this disk, never the network, and imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from openmodels import ref
from openmodels.backends.local.prompt import tokenizer_files
from openmodels.backends.local.weights import (
    cache,
    checkpoint,
    default_model,
    gguf_header,
    hub_download,
    locate,
    model_kind,
)
from openmodels.backends.local.weights.model_kind import Task
from openmodels.errors import OpenModelsError
from openmodels.hub import download
from openmodels.hub.model_page import parse_context_length


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files say.

    Attributes:
        context: Tokens of prompt and answer together at most, or None where they do not say.
        template: The chat template, all of them where it has several; "" for a base model.
        images: Whether it reads images.
        task: What the model is made for; None where they do not say.
    """

    context: int | None
    template: str
    images: bool = False
    task: Task | None = "generate"


def read(rest: str, revision: str | None) -> Facts | None:
    """Return what a model's files say, or None where they are not on this disk or cannot be read.

    Args:
        rest: What stands behind "local:".
        revision: Branch, tag or commit on the Hub.
    """
    try:
        path = _place(rest.strip(), revision)
        if path is None:
            return None
        return _gguf(path) if path.is_file() else _folder(path)
    except (OpenModelsError, OSError, ValueError):
        return None  # what is wrong with them is told when the model is opened


def _place(rest: str, revision: str | None) -> Path | None:
    if locate.is_path(rest):
        return Path(rest).expanduser()
    model = ref.hub_id(rest)
    revision = model.revision or revision
    if model.file is not None:
        return download.cached_file(model.repo, model.file, revision)
    found = hub_download.cached(model.repo, revision)
    if found is None and model.repo == default_model.REPO and revision is None:
        found = next((place for place in cache.places(default_model.SHA256) if place.exists()), None)
    return found if found is not None and found.exists() else None


def _folder(folder: Path) -> Facts:
    config = checkpoint.read_json(folder / "config.json")
    kind = model_kind.of_config(config, sentence_transformers=(folder / "modules.json").exists())
    template = "\n".join(tokenizer_files.read_templates(folder).values())
    return Facts(parse_context_length(config), template, sees(folder), kind.task)


def sees(folder: Path) -> bool:
    """Return whether a folder holds what makes tensors of images, beside a model with a part for them."""
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        return False
    return isinstance(checkpoint.read_json(folder / "config.json").get("vision_config"), Mapping)


def _gguf(file: Path) -> Facts:
    header = gguf_header.read(file)
    template = header.metadata.get("tokenizer.chat_template")
    text = template if isinstance(template, str) else ""
    return Facts(header.number("context_length"), text, task=model_kind.of_gguf(header).task)
