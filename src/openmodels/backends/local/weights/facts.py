"""What a local model's files say before they are loaded: its context and its chat template.

Reads what is on this disk, never the network, and imports neither torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmodels import ref
from openmodels.backends.local.prompt import template_files
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

CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "seq_length",
    "n_ctx",
    "max_sequence_length",
)
"""How the configs of models call the longest sequence, in tokens."""
UNBOUNDED = 2**31 - 1
"""The longest sequence that a model without a limit of its own is given."""


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
        return hub_download.cached_file(model.repo, model.file, revision)
    found = hub_download.cached(model.repo, revision)
    if found is None and model.repo == default_model.REPO and revision is None:
        found = next((place for place in cache.places(default_model.SHA256) if place.exists()), None)
    return found if found is not None and found.exists() else None


def _folder(folder: Path) -> Facts:
    config = checkpoint.read_json(folder / "config.json")
    kind = model_kind.of_config(config, sentence_transformers=(folder / "modules.json").exists())
    template = "\n".join(template_files.read(folder).values())
    return Facts(context(config), template, sees(folder), kind.task)


OFFSET_POSITIONS = frozenset(
    """
    camembert data2vec-text ibert lilt longformer luke markuplm mluke mpnet roberta roberta-prelayernorm
    xlm-roberta xlm-roberta-xl xmod
    """.split()  # noqa: SIM905 - forty lines otherwise
)
"""Model types whose first position is the one behind that of padding, so that the first ones are never used."""


def context(config: Mapping[str, Any]) -> int | None:
    """Return the longest sequence in tokens by a config.json, or None where it does not say."""
    nested = config.get("text_config")
    text = nested if isinstance(nested, Mapping) else config
    lengths = (text.get(name) for name in CONTEXT)
    length = next((length for length in lengths if type(length) is int and 0 < length < UNBOUNDED), None)
    padding = text.get("pad_token_id", 1)
    if length is not None and str(text.get("model_type")) in OFFSET_POSITIONS and type(padding) is int:
        length -= padding + 1
    return length


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
