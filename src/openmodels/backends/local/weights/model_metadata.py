"""What a local model's files say of it: task, context, chat template.

Reading them uses no network and imports neither torch nor transformers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmodels import model_reference
from openmodels.backends.local.prompt import tokenizer_files
from openmodels.backends.local.weights import (
    cache,
    checkpoint,
    checkpoint_download,
    default_model,
    gguf_header,
    locate,
    task_detection,
)
from openmodels.backends.local.weights.task_detection import Task
from openmodels.errors import OpenModelsError
from openmodels.hub import download
from openmodels.hub.model_page import parse_context_length


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What a model's files say of it; None is unknown.

    The context is in tokens. Where a model has several chat templates, `template` is all of them; "" is a base model.
    """

    context: int | None
    template: str
    has_vision: bool = False
    task: Task | None = "generate"


def read_model_metadata(rest: str, revision: str | None) -> ModelMetadata | None:
    """Return what a model's files say, or None where they are missing or unreadable."""
    try:
        path = _find(rest.strip(), revision)
        if path is None:
            return None
        return _read_gguf(path) if path.is_file() else _read_folder(path)
    except (OpenModelsError, OSError, ValueError):
        return None  # opening the model raises what is wrong with them


def _find(rest: str, revision: str | None) -> Path | None:
    if locate.is_path(rest):
        return Path(rest).expanduser()
    model = model_reference.parse_hub_id(rest)
    revision = model.revision or revision
    if model.file is not None:
        return download.cached_file(model.repo, model.file, revision)
    folders = [checkpoint_download.find_cached(model.repo, revision)]
    if model.repo == default_model.REPO and revision is None:
        folders += cache.converted_folders(default_model.SHA256)
    return next((folder for folder in folders if folder is not None and folder.exists()), None)


def _read_folder(folder: Path) -> ModelMetadata:
    config = checkpoint.read_json(folder / "config.json")
    kind = task_detection.classify_folder(folder, config)
    template = "\n".join(tokenizer_files.read_templates(folder).values())
    return ModelMetadata(parse_context_length(config), template, has_vision(folder, config), kind.task)


def has_vision(folder: Path, config: Mapping[str, Any]) -> bool:
    """Return whether a folder has an image processor and a model that reads images."""
    processors = ("preprocessor_config.json", "processor_config.json")
    return isinstance(config.get("vision_config"), Mapping) and any((folder / name).is_file() for name in processors)


def _read_gguf(file: Path) -> ModelMetadata:
    header = gguf_header.read_header(file)
    template = header.metadata.get("tokenizer.chat_template")
    text = template if isinstance(template, str) else ""
    return ModelMetadata(header.read_number("context_length"), text, task=task_detection.classify_gguf(header).task)
