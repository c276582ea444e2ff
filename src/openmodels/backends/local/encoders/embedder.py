"""Texts as vectors on this machine: an encoder of transformers, and what its folder says of pooling.

The vectors are those of sentence-transformers. What differs: a text that is too long is an error
unless the call says `extra={"truncate": True}`, and a model made to write is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModel, AutoModelForTextEncoding

from openmodels.backends.local.encoders import pooling
from openmodels.backends.local.engines.torch import loader
from openmodels.backends.local.engines.torch.sampling import not_finite
from openmodels.backends.local.engines.torch.worker import Steps
from openmodels.backends.local.prompt import length_check as lengths
from openmodels.backends.local.prompt.prepare import check_tokens
from openmodels.backends.local.weights import checkpoint, model_kind
from openmodels.errors import ContextTooLong, InvalidRequest, UnsupportedFeature
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.reply import Usage

BATCH = 32
"""Texts in one forward pass: what a cancelled call may still cost."""
_READ = 1024
"""Texts that become tokens in one step."""

_EXTRA = ("prompt_name", "prompt", "truncate")


@dataclass(frozen=True, slots=True)
class Embedder:
    """A model that makes vectors.

    Attributes:
        loaded: The encoder and its tokenizer; `context` is the longest text in tokens.
        head: What makes one vector out of those of the tokens.
        prompts: Texts to put before a text, by name, e.g. "query" and "document".
        usual: The name of the prompt to use where the caller names none, or None.
        lower: Whether texts are put into lower case first.
        lengths: To what lengths vectors may be cut: these, any (True), or none (False).
    """

    loaded: loader.LoadedModel
    head: pooling.Head
    prompts: Mapping[str, str]
    usual: str | None
    lower: bool
    lengths: tuple[int, ...] | bool

    @torch.inference_mode()
    def embed(self, request: EmbedRequest) -> Steps[Embeddings]:
        """Return the vectors of the texts, in steps.

        Raises:
            UnsupportedFeature: `extra` holds something else, or the model cannot shorten its vectors.
            InvalidRequest: There is no such prompt.
            ContextTooLong: A text does not fit, and may not be cut.
        """
        prompt, truncate = self._asked(request)
        rows: list[list[int]] = []
        for begin in range(0, len(request.texts), _READ):
            rows += self._tokens(request.texts[begin : begin + _READ], prompt, begin, truncate=truncate)
            yield
        skip = self._length(prompt) if prompt and not self.head.include_prompt else 0
        vectors: list[Any] = [None] * len(rows)
        for places in by_length(rows):
            found = self._vectors([rows[at] for at in places], skip, request.dimensions)
            if not np.isfinite(found).all():
                raise not_finite("vectors")
            for at, vector in zip(places, found, strict=True):
                vectors[at] = vector
            yield
        usage = Usage(input_tokens=sum(map(len, rows)))
        return Embeddings(np.stack(vectors), usage)

    def _asked(self, request: EmbedRequest) -> tuple[str, bool]:
        if unknown := sorted(set(request.extra) - set(_EXTRA)):
            raise UnsupportedFeature(
                f"extra: 'embed' of the backend 'local' does not know {unknown[0]!r}.",
                next_step="It takes 'prompt_name', 'prompt' and 'truncate'.",
            )
        wanted, possible = request.dimensions, self.lengths
        if wanted is not None and (possible is False or (possible is not True and wanted not in possible)):
            sizes = "" if possible is False else f" to {wanted}, only to {', '.join(map(str, possible))}"
            raise UnsupportedFeature(
                f"The backend 'local' cannot honour the option 'dimensions': this model's config.json does not say "
                f"that its vectors may be shortened{sizes}.",
                next_step="Leave it out; where the model's card allows it, cut the vectors yourself.",
            )
        truncate = request.extra.get("truncate", False)
        if not isinstance(truncate, bool):
            raise InvalidRequest("extra: 'truncate' is True or False.")
        return self._prompt(request.extra), truncate

    def _prompt(self, extra: Mapping[str, Any]) -> str:
        name, prompt = extra.get("prompt_name"), extra.get("prompt")
        if name is not None and not isinstance(name, str):
            raise InvalidRequest("extra: 'prompt_name' is text.")
        if prompt is not None:
            if name is not None or not isinstance(prompt, str):
                raise InvalidRequest("extra: 'prompt' is text, and goes without 'prompt_name'.")
            return prompt
        if name is None:
            return self.prompts.get(self.usual or "", "")
        if name not in self.prompts:
            raise InvalidRequest(
                f"extra: this model has no prompt {name!r}.",
                next_step=f"It has: {', '.join(map(repr, self.prompts)) or 'none'}.",
            )
        return self.prompts[name]

    def _tokens(self, texts: Sequence[str], prompt: str, first: int, *, truncate: bool) -> list[list[int]]:
        given = [prompt + text for text in texts]
        if self.lower:
            given = [text.lower() for text in given]
        limit = self.loaded.context
        given = [
            shortened(self.loaded, text, f"texts[{at}]", truncate=truncate) for at, text in enumerate(given, first)
        ]
        rows: list[list[int]] = self.loaded.tokenizer(given, truncation=truncate, max_length=limit)["input_ids"]
        for at, row in enumerate(rows, first):
            if len(row) > limit:
                raise too_long(f"texts[{at}]", len(row), limit)
            check_tokens(row, self.loaded.vocab_size, f"texts[{at}]")
            if not row:
                raise InvalidRequest(f"texts[{at}]: the model's tokenizer makes no token of it.")
        return rows

    def _length(self, prompt: str) -> int:
        tokenizer = self.loaded.tokenizer
        row = tokenizer(prompt.lower() if self.lower else prompt)["input_ids"]
        return len(row) - (bool(row) and row[-1] in tokenizer.all_special_ids)

    def _vectors(self, rows: list[list[int]], skip: int, dimensions: int | None) -> Any:
        batch = padded(self.loaded, {"input_ids": rows})
        tokens = self.loaded.model(**batch).last_hidden_state
        vectors = self.head(tokens, batch["attention_mask"], skip).float()
        if dimensions is not None:
            vectors = vectors[:, :dimensions]
            if self.head.unit:
                vectors = torch.nn.functional.normalize(vectors, p=2, dim=1)
        return vectors.cpu().numpy()


def by_length(rows: Sequence[Sequence[int]], size: int = BATCH) -> Iterator[list[int]]:
    """Yield the places of each batch's rows: those of one length beside each other, so that little is padding."""
    order = sorted(range(len(rows)), key=lambda at: len(rows[at]), reverse=True)
    for begin in range(0, len(order), size):
        yield order[begin : begin + size]


def padding_id(loaded: loader.LoadedModel) -> int | None:
    """Return the token that a model takes for padding, or None where its config.json names none that it has.

    The tokenizer may name another, or none: what a model computes from the padding follows its own config.
    """
    token = getattr(loaded.model.config.get_text_config(), "pad_token_id", None)
    return token if type(token) is int and 0 <= token < (loaded.vocab_size or 0) else None


def padded(loaded: loader.LoadedModel, rows: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, torch.Tensor]:
    """Return a batch of lists as tensors of shape (texts, tokens), with a mask of what is no padding.

    The padding stands behind the text, where no position of the text depends on it. XLNet reads a text's last
    place, so there it stands before.
    """
    padding = padding_id(loaded) or 0
    first = loaded.model.config.model_type == "xlnet"
    most = max(map(len, rows["input_ids"]))
    batch: dict[str, torch.Tensor] = {}
    masks = {"attention_mask": [[1] * len(row) for row in rows["input_ids"]]}
    for name, lists in {**rows, **masks}.items():
        filler = padding if name == "input_ids" else 0
        made = [[filler] * (most - len(row)) for row in lists]
        filled = [space + list(row) if first else list(row) + space for row, space in zip(lists, made, strict=True)]
        batch[name] = torch.tensor(filled, device=loaded.device)
    return batch


def shortened(loaded: loader.LoadedModel, text: str, what: str, *, truncate: bool) -> str:
    """Return a text without most of what its tokenizer would cut off: tokenizing it takes seconds and gigabytes.

    Args:
        loaded: The model.
        text: The text.
        what: What it is, for the error.
        truncate: Whether it may be cut.

    Raises:
        ContextTooLong: It certainly does not fit, and may not be cut.
    """
    end = lengths.end_of(loaded.tokenizer, text, loaded.context)
    if end is None:
        return text
    if not truncate:
        raise too_long(what, f"more than {end[1]}", loaded.context)
    return text[: end[0]] if loaded.tokenizer.truncation_side == "right" else text


def too_long(what: str, tokens: int | str, limit: int) -> ContextTooLong:
    """Return the error for a text that does not fit, lengths in tokens."""
    return ContextTooLong(
        f"{what} has {tokens} tokens and the model takes {limit}.",
        next_step='Split it, or say extra={"truncate": True} to leave its end out.',
    )


def load(folder: Path, *, device: str, dtype: str) -> Embedder:
    """Load a model for embeddings; takes no network and runs no code of the model's.

    Args:
        folder: What `weights.locate` returned.
        device: As for `loader.load`.
        dtype: As for `loader.load`; "auto" is float32 on a CPU.

    Raises:
        UnsupportedFeature: The model is none for embeddings.
        OpenModelsError: As for `loader.load`.
    """
    checkpoint.check_folder(folder)
    config = checkpoint.read_json(folder / "config.json")
    _check_kind(folder, config)
    # Only the encoder of a model that has one.
    kind = AutoModelForTextEncoding if str(config.get("model_type")) in ("t5", "mt5", "umt5") else AutoModel
    loaded = loader.load(folder, device=device, dtype=dtype, kind=kind, exact=True)
    own = _first(
        folder, "sentence_bert_config.json", "sentence_roberta_config.json", "sentence_xlm-roberta_config.json"
    )
    said = _first(folder, "config_sentence_transformers.json")
    prompts = said.get("prompts")
    return Embedder(
        loader.limit_context(loaded, own.get("max_seq_length")),
        pooling.read(folder, loaded.device, loaded.dtype),
        {str(name): str(text) for name, text in prompts.items()} if isinstance(prompts, Mapping) else {},
        usual if isinstance(usual := said.get("default_prompt_name"), str) else None,
        own.get("do_lower_case") is True,
        _lengths(config),
    )


def _check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    has_modules = (folder / "modules.json").exists()
    kind = model_kind.of_config(config, sentence_transformers=has_modules)
    if kind.task == "generate":
        raise UnsupportedFeature(
            f"The model is {kind.description}, and the backend 'local' has no 'embed' for such a model: "
            "nothing says which of its tokens' vectors stand for a text.",
            next_step="Choose a model for sentence embeddings, e.g. 'local:sentence-transformers/all-MiniLM-L6-v2'.",
        )
    if kind.task in ("rerank", "other"):
        use = "Use `rerank`, or choose" if kind.task == "rerank" else "Choose"
        raise UnsupportedFeature(
            f"The model is {kind.description}, and the backend 'local' has no 'embed' for such a model.",
            next_step=f"{use} a model for sentence embeddings.",
        )
    if has_modules:
        pooling.modules(folder)


def _lengths(config: Mapping[str, Any]) -> tuple[int, ...] | bool:
    """Return to what lengths config.json lets vectors be cut; its two entries are those that vLLM reads."""
    listed = config.get("matryoshka_dimensions")
    if isinstance(listed, Sequence) and listed and all(type(length) is int for length in listed):
        return tuple(listed)
    return config.get("is_matryoshka") is True


def _first(folder: Path, *names: str) -> dict[str, Any]:
    return next((checkpoint.read_json(folder / name) for name in names if (folder / name).exists()), {})
