"""Texts as vectors: an encoder of transformers and its pooling.

The vectors are those of sentence-transformers. What differs: a text that is too long is an error unless the call says
`extra={"truncate": True}`, and a model made to generate is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from transformers import AutoModel, AutoModelForTextEncoding

from openmodels.backends.local.cancellable_thread import Steps
from openmodels.backends.local.encoders import pooling
from openmodels.backends.local.encoders.encoder import Encoder
from openmodels.backends.local.engines.torch import loader
from openmodels.backends.local.weights import checkpoint, task_detection
from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.reply import Usage

_TOKENIZED_AT_ONCE = 1024  # texts that are tokenized in one step


@dataclass(frozen=True, slots=True)
class Embedder(Encoder[EmbedRequest, Embeddings]):
    """A model that turns texts into vectors."""

    extra: ClassVar[tuple[str, ...]] = ("prompt_name", "prompt", "truncate")
    task: ClassVar[str] = "embed"

    head: pooling.PoolingHead  # the pooling and what follows it
    prompts: Mapping[str, str]  # texts to put before a text, by name, e.g. "query" and "document".
    default_prompt: str | None  # the name of the prompt where the caller names none, or None
    is_lower_case: bool  # whether texts are put into lower case first
    dimensions: tuple[int, ...] | bool  # the lengths to which vectors may be cut: these, any (True), or none (False)

    @classmethod
    def load(cls, folder: Path, *, device: str, dtype: str) -> Self:
        """Load a model for embeddings; see `Encoder.load`."""
        checkpoint.check_folder(folder)
        config = checkpoint.read_json(folder / "config.json")
        _check_kind(folder, config)
        # Only the encoder of a model that has one.
        kind = AutoModelForTextEncoding if str(config.get("model_type")) in ("t5", "mt5", "umt5") else AutoModel
        loaded = loader.load(folder, device=device, dtype=dtype, kind=kind, exact=True)
        bert = _read_first(folder, *(f"sentence_{name}_config.json" for name in ("bert", "roberta", "xlm-roberta")))
        settings = _read_first(folder, "config_sentence_transformers.json")
        prompts = settings.get("prompts")
        return cls(
            loader.limit_context(loaded, bert.get("max_seq_length")),
            pooling.read_head(folder, loaded.device, loaded.dtype),
            {str(name): str(text) for name, text in prompts.items()} if isinstance(prompts, Mapping) else {},
            name if isinstance(name := settings.get("default_prompt_name"), str) else None,
            bert.get("do_lower_case") is True,
            _read_dimensions(config),
        )

    @torch.inference_mode()
    def encode(self, request: EmbedRequest) -> Steps[Embeddings]:
        """Return the vectors of the texts; see `Encoder.encode`."""
        truncate = self.read_truncate(request.extra)
        self._check_dimensions(request.dimensions)
        prompt = self._prompt(request.extra)
        rows: list[list[int]] = []
        for begin in range(0, len(request.texts), _TOKENIZED_AT_ONCE):
            texts = [self._prepared(prompt + text) for text in request.texts[begin : begin + _TOKENIZED_AT_ONCE]]
            names = [f"texts[{at}]" for at in range(begin, begin + len(texts))]
            rows += self.tokenize(texts, names, truncate=truncate)["input_ids"]
            yield
        skipped = self._prompt_length(prompt) if prompt and not self.head.include_prompt else 0

        def compute(places: list[int]) -> torch.Tensor:
            return self._vectors([rows[at] for at in places], skipped, request.dimensions)

        vectors = yield from self.run_batches(rows, compute)
        return Embeddings(np.stack(vectors), Usage(input_tokens=sum(map(len, rows))))

    def _check_dimensions(self, dimensions: int | None) -> None:
        possible = self.dimensions
        if dimensions is None or possible is True or (possible is not False and dimensions in possible):
            return
        sizes = "" if possible is False else f" to {dimensions}, only to {', '.join(map(str, possible))}"
        raise UnsupportedFeature(
            f"The backend 'local' cannot honour the option 'dimensions': this model's config.json does not say "
            f"that its vectors may be shortened{sizes}.",
            next_step="Leave it out; where the model's card allows it, cut the vectors yourself.",
        )

    def _prompt(self, extra: Mapping[str, Any]) -> str:
        name, prompt = extra.get("prompt_name"), extra.get("prompt")
        if name is not None and not isinstance(name, str):
            raise InvalidRequest("extra: 'prompt_name' is text.")
        if prompt is not None:
            if name is not None or not isinstance(prompt, str):
                raise InvalidRequest("extra: 'prompt' is text, and goes without 'prompt_name'.")
            return prompt
        if name is None:
            return self.prompts.get(self.default_prompt or "", "")
        if name not in self.prompts:
            raise InvalidRequest(
                f"extra: this model has no prompt {name!r}.",
                next_step=f"It has: {', '.join(map(repr, self.prompts)) or 'none'}.",
            )
        return self.prompts[name]

    def _prepared(self, text: str) -> str:
        return text.lower() if self.is_lower_case else text

    def _prompt_length(self, prompt: str) -> int:
        tokenizer = self.loaded.tokenizer
        row = tokenizer(self._prepared(prompt))["input_ids"]
        return len(row) - (bool(row) and row[-1] in tokenizer.all_special_ids)

    def _vectors(self, rows: list[list[int]], skipped: int, dimensions: int | None) -> torch.Tensor:
        batch = self.pad({"input_ids": rows})
        tokens = self.loaded.model(**batch).last_hidden_state
        vectors = self.head(tokens, batch["attention_mask"], skipped).float()[:, :dimensions]
        is_cut = dimensions is not None and self.head.is_normalized
        return torch.nn.functional.normalize(vectors) if is_cut else vectors


def _check_kind(folder: Path, config: Mapping[str, Any]) -> None:
    kind = task_detection.classify_folder(folder, config)
    if kind.task in ("generate", "rerank", "other"):
        reason = ": nothing says which of its tokens' vectors stand for a text" if kind.task == "generate" else ""
        use = "Use `rerank`, or choose" if kind.task == "rerank" else "Choose"
        raise UnsupportedFeature(
            f"The model is {kind.description}, and the backend 'local' has no 'embed' for such a model{reason}.",
            next_step=f"{use} a model for sentence embeddings, e.g. 'local:sentence-transformers/all-MiniLM-L6-v2'.",
        )
    if (folder / "modules.json").exists():
        pooling.read_modules(folder)


def _read_dimensions(config: Mapping[str, Any]) -> tuple[int, ...] | bool:
    """Return the lengths to which vectors may be cut."""
    # The two entries of config.json that vLLM reads, too.
    listed = config.get("matryoshka_dimensions")
    if isinstance(listed, Sequence) and listed and all(type(length) is int for length in listed):
        return tuple(listed)
    return config.get("is_matryoshka") is True


def _read_first(folder: Path, *names: str) -> dict[str, Any]:
    return next((checkpoint.read_json(folder / name) for name in names if (folder / name).exists()), {})
