"""The common parts of embedding and reranking: tokens, batches and their limits."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
from torch.nn.utils.rnn import pad_sequence

from openmodels.backends.local.cancellable_thread import Steps
from openmodels.backends.local.engines.torch.loader import LoadedModel
from openmodels.backends.local.engines.torch.sampling import not_finite
from openmodels.backends.local.prompt.length_check import find_overflow
from openmodels.backends.local.prompt.prepare import check_tokens
from openmodels.errors import ContextTooLong, InvalidRequest, UnsupportedFeature
from openmodels.types.embeddings import EmbedRequest
from openmodels.types.rankings import RerankRequest

BATCH = 32  # texts in one forward pass: what a cancelled call may still cost

_Request = TypeVar("_Request", EmbedRequest, RerankRequest)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Encoder(ABC, Generic[_Request, _Result]):
    """A model that reads texts of up to `loaded.context` tokens and generates none."""

    extra: ClassVar[tuple[str, ...]]  # the entries of a request's `extra` that are honoured
    task: ClassVar[str]  # the name of the method, for messages

    loaded: LoadedModel

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, *, device: str, dtype: str) -> Self:
        """Load a model, without a network and without code of the model's.

        `device` and `dtype` are as for `loader.load`; a dtype of "auto" is float32 on a CPU.

        Raises:
            UnsupportedFeature: The model is made for something else.
            OpenModelsError: As for `loader.load`.
        """

    @abstractmethod
    def encode(self, request: _Request) -> Steps[_Result]:
        """Return the result of a request, in steps.

        Raises:
            UnsupportedFeature: `extra` holds an unknown entry.
            InvalidRequest: An entry of `extra` has a wrong value, or a text has no tokens.
            ContextTooLong: A text does not fit, and may not be cut.
        """

    def read_truncate(self, extra: Mapping[str, Any]) -> bool:
        """Check the names in `extra`, and return its entry 'truncate'."""
        if unknown := sorted(set(extra) - set(self.extra)):
            *others, last = map(repr, self.extra)
            raise UnsupportedFeature(
                f"extra: {self.task!r} of the backend 'local' does not know {unknown[0]!r}.",
                next_step=f"It takes {', '.join(others)} and {last}." if others else f"It takes {last}.",
            )
        truncate = extra.get("truncate", False)
        if not isinstance(truncate, bool):
            raise InvalidRequest("extra: 'truncate' is True or False.")
        return truncate

    def tokenize(self, texts: Sequence[str], names: Sequence[str], *, truncate: bool, query: str | None = None) -> Any:
        """Return the tokenizer's lists of texts, each behind the query if there is one.

        Raises:
            ContextTooLong: A text does not fit, and may not be cut; the message has its name of `names`.
            InvalidRequest: A text has no tokens, or the model has no embedding for one of them.
        """
        texts = [self.shorten(text, name, truncate=truncate) for text, name in zip(texts, names, strict=True)]
        inputs = [texts] if query is None else [[query] * len(texts), texts]
        encoded = self.loaded.tokenizer(*inputs, truncation=truncate, max_length=self.loaded.context)
        for row, name in zip(encoded["input_ids"], names, strict=True):
            if len(row) > self.loaded.context:
                raise self._too_long(name, len(row))
            check_tokens(row, self.loaded.vocab_size, name)
            if not row:
                raise InvalidRequest(f"{name}: the model's tokenizer makes no token of it.")
        return encoded

    def shorten(self, text: str, name: str, *, truncate: bool) -> str:
        """Return a text without most of what the tokenizer would cut off."""
        # Tokenizing all of a text far beyond the context takes seconds and gigabytes.
        overflow = find_overflow(self.loaded.tokenizer, text, self.loaded.context)
        if overflow is None:
            return text
        if not truncate:
            raise self._too_long(name, f"more than {overflow.tokens}")
        return text[: overflow.end] if self.loaded.tokenizer.truncation_side == "right" else text

    def run_batches(
        self, rows: Sequence[Sequence[int]], compute: Callable[[list[int]], torch.Tensor], *, size: int = BATCH
    ) -> Steps[list[Any]]:
        """Return the NumPy value of each row, of which a step computes a batch.

        `compute` returns the values of the rows at some places, along the first dimension.

        Raises:
            LoadFailed: A value is not finite.
        """
        # Longest first, as in sentence-transformers: where memory is short, the first batch shows it.
        order = sorted(range(len(rows)), key=lambda at: len(rows[at]), reverse=True)
        values: list[Any] = [None] * len(rows)
        for begin in range(0, len(order), size):
            places = order[begin : begin + size]
            computed = compute(places)
            if not computed.isfinite().all():
                raise not_finite("scores" if computed.ndim == 1 else "vectors")
            for at, value in zip(places, computed.cpu().numpy(), strict=True):
                values[at] = value
            yield
        return values

    @property
    def padding_id(self) -> int | None:
        """The token that the model takes for padding; None without a valid one.

        The tokenizer may name another, or none: what a model computes from the padding follows its own config.
        """
        token = getattr(self.loaded.model.config.get_text_config(), "pad_token_id", None)
        return token if type(token) is int and 0 <= token < (self.loaded.vocab_size or 0) else None

    def pad(self, rows: Mapping[str, Sequence[Sequence[int]]]) -> dict[str, torch.Tensor]:
        """Return a batch as tensors of shape (texts, tokens), with its attention mask.

        The padding stands behind the text, where no position of the text depends on it. XLNet reads a text's last
        place, so there it stands before.
        """
        side = "left" if self.loaded.model.config.model_type == "xlnet" else "right"
        masks = {"attention_mask": [[1] * len(row) for row in rows["input_ids"]]}
        return {
            name: pad_sequence(
                [torch.tensor(row) for row in lists],
                batch_first=True,
                padding_value=(self.padding_id or 0) if name == "input_ids" else 0,
                padding_side=side,
            ).to(self.loaded.device)
            for name, lists in {**rows, **masks}.items()
        }

    def _too_long(self, name: str, tokens: int | str) -> ContextTooLong:
        return ContextTooLong(
            f"{name} has {tokens} tokens and the model takes {self.loaded.context}.",
            next_step='Split it, or say extra={"truncate": True} to leave its end out.',
        )
