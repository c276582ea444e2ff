"""What a local model's files say before they are loaded: its context and its chat template.

Reads what is on this disk, never the network, and imports neither torch nor transformers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openmodels import ref
from openmodels.backends.local import bundled, cache, gguf_header, hub, template_files, weights
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


Kind = Literal["writes", "embeds", "judges"]


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files say.

    Attributes:
        context: Tokens of prompt and answer together at most, or None where they do not say.
        template: The chat template, all of them where it has several; "" for a base model.
        images: Whether it reads images.
        kind: What the model does: "writes", "embeds" or "judges"; None where they do not say.
    """

    context: int | None
    template: str
    images: bool = False
    kind: Kind | None = "writes"


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
    if weights.is_path(rest):
        return Path(rest).expanduser()
    model = ref.hub_id(rest)
    revision = model.revision or revision
    if model.file is not None:
        return hub.cached_file(model.repo, model.file, revision)
    found = hub.cached(model.repo, revision)
    if found is None and model.repo == bundled.REPO and revision is None:
        found = cache.place(bundled.SHA256)
    return found if found is not None and found.exists() else None


def _folder(folder: Path) -> Facts:
    config = json.loads((folder / "config.json").read_bytes())
    text = config.get("text_config") or config
    lengths = (text.get(name) for name in CONTEXT)
    context = next((length for length in lengths if isinstance(length, int) and length > 0), None)
    template = "\n".join(template_files.read(folder).values())
    return Facts(context, template, sees(folder), kind(folder, config))


WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration", "ForSeq2SeqLM")
"""How transformers' classes that write end."""
JUDGES = ("ForSequenceClassification",)
"""How those end that give scores."""


def kind(folder: Path, config: Mapping[str, Any]) -> Kind | None:
    """Return what a model does: its modules of sentence-transformers or its class say so."""
    names = [str(name) for name in config.get("architectures") or ()]
    if any(name.endswith(JUDGES) for name in names):
        return "judges"
    if (folder / "modules.json").exists():
        return "embeds"
    if any(name.endswith(WRITERS) for name in names):
        return "writes"
    return "embeds" if names else None


def sees(folder: Path) -> bool:
    """Return whether a folder holds what makes tensors of images, beside a model with a part for them."""
    if not any((folder / name).is_file() for name in ("preprocessor_config.json", "processor_config.json")):
        return False
    return isinstance(json.loads((folder / "config.json").read_bytes()).get("vision_config"), dict)


def _gguf(file: Path) -> Facts:
    metadata: dict[str, Any] = gguf_header.read(file).metadata
    context = metadata.get(f"{metadata.get('general.architecture')}.context_length")
    template = metadata.get("tokenizer.chat_template")
    return Facts(context if isinstance(context, int) else None, template if isinstance(template, str) else "")
