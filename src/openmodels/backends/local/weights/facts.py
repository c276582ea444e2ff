"""Facts of a local model from its files: task, context, chat template.

Reading them uses no network and imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from openmodels import model_reference
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
class ModelFacts:
    """Facts of a model from its files.

    Attributes:
        context: Tokens of prompt and answer together at most, or None where that is unknown.
        template: The chat template, all of them where it has several; "" for a base model.
        images: Whether it reads images.
        task: The task that the model is made for; None where that is unknown.
    """

    context: int | None
    template: str
    images: bool = False
    task: Task | None = "generate"


def read(rest: str, revision: str | None) -> ModelFacts | None:
    """Return the facts of a model, or None where its files are missing or unreadable.

    Args:
        rest: The reference without "local:".
        revision: Branch, tag or commit on the Hub.
    """
    try:
        path = _find(rest.strip(), revision)
        if path is None:
            return None
        return _gguf(path) if path.is_file() else _folder(path)
    except (OpenModelsError, OSError, ValueError):
        return None  # opening the model raises what is wrong with them


def _find(rest: str, revision: str | None) -> Path | None:
    if locate.is_path(rest):
        return Path(rest).expanduser()
    model = model_reference.parse_hub_id(rest)
    revision = model.revision or revision
    if model.file is not None:
        return download.cached_file(model.repo, model.file, revision)
    folder = hub_download.cached(model.repo, revision)
    if folder is None and model.repo == default_model.REPO and revision is None:
        folders = cache.converted_folders(default_model.SHA256)
        folder = next((folder for folder in folders if folder.exists()), None)
    return folder if folder is not None and folder.exists() else None


def _folder(folder: Path) -> ModelFacts:
    config = checkpoint.read_json(folder / "config.json")
    kind = model_kind.of_config(config, sentence_transformers=(folder / "modules.json").exists())
    template = "\n".join(tokenizer_files.read_templates(folder).values())
    return ModelFacts(parse_context_length(config), template, reads_images(folder), kind.task)


def reads_images(folder: Path) -> bool:
    """Return whether a folder has an image processor and a model that reads images."""
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        return False
    return isinstance(checkpoint.read_json(folder / "config.json").get("vision_config"), Mapping)


def _gguf(file: Path) -> ModelFacts:
    header = gguf_header.read(file)
    template = header.metadata.get("tokenizer.chat_template")
    text = template if isinstance(template, str) else ""
    return ModelFacts(header.number("context_length"), text, task=model_kind.of_gguf(header).task)
