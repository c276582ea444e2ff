"""Documents by how well they answer a query on this machine: a cross-encoder, as sentence-transformers runs it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from openmodels.backends.local.encoders.embedder import BATCH, by_length, padded, padding_id, shortened, too_long
from openmodels.backends.local.engines.torch import loader
from openmodels.backends.local.engines.torch.sampling import not_finite
from openmodels.backends.local.engines.torch.worker import Steps
from openmodels.backends.local.prompt.prepare import check_tokens
from openmodels.backends.local.weights import checkpoint, model_kind
from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Usage


@dataclass(frozen=True, slots=True)
class Reranker:
    """A model that scores pairs of texts.

    Attributes:
        loaded: The model and its tokenizer; `context` is the longest pair in tokens.
        squashed: Whether scores go through a sigmoid, as its folder says.
    """

    loaded: loader.LoadedModel
    squashed: bool

    @torch.inference_mode()
    def rerank(self, request: RerankRequest) -> Steps[Ranking]:
        """Return the ranking, in steps.

        Raises:
            UnsupportedFeature: `extra` holds something else than 'truncate'.
            ContextTooLong: A pair does not fit, and may not be cut.
        """
        if unknown := sorted(set(request.extra) - {"truncate"}):
            raise UnsupportedFeature(
                f"extra: 'rerank' of the backend 'local' does not know {unknown[0]!r}.",
                next_step="It takes 'truncate'.",
            )
        truncate = request.extra.get("truncate", False)
        if not isinstance(truncate, bool):
            raise InvalidRequest("extra: 'truncate' is True or False.")
        documents, limit = list(request.documents), self.loaded.context
        documents = [
            shortened(self.loaded, text, f"documents[{at}] with the query", truncate=truncate)
            for at, text in enumerate(documents)
        ]
        query = shortened(self.loaded, request.query, "query", truncate=truncate)
        pairs = self.loaded.tokenizer([query] * len(documents), documents, truncation=truncate, max_length=limit)
        rows = pairs["input_ids"]
        for at, row in enumerate(rows):
            what = f"documents[{at}] with the query"
            if len(row) > limit:
                raise too_long(what, len(row), limit)
            check_tokens(row, self.loaded.vocab_size, what)
        yield
        scores: dict[int, float] = {}
        # What finds the end of a text by its padding needs a token for it; without one, texts go one by one.
        size = BATCH if padding_id(self.loaded) is not None else 1
        for places in by_length(rows, size):
            batch = padded(self.loaded, {name: [pairs[name][at] for at in places] for name in self._inputs(pairs)})
            logits = self.loaded.model(**batch).logits[:, 0].float()
            if not logits.isfinite().all():
                raise not_finite("scores")
            logits = torch.sigmoid(logits) if self.squashed else logits
            scores |= dict(zip(places, logits.tolist(), strict=True))
            yield
        return Ranking.of(scores, request, Usage(input_tokens=sum(map(len, rows))))

    def _inputs(self, pairs: Mapping[str, Any]) -> list[str]:
        """Return which of the tokenizer's tensors the model takes: some tokenizers number the texts for every model."""
        taken = inspect.signature(self.loaded.model.forward).parameters
        kinds = getattr(self.loaded.model.config, "type_vocab_size", None)
        names = [name for name in pairs if name in taken]
        if kinds is not None and "token_type_ids" in names and max(map(max, pairs["token_type_ids"])) >= kinds:
            names.remove("token_type_ids")
        return names


def load(folder: Path, *, device: str, dtype: str) -> Reranker:
    """Load a cross-encoder; takes no network and runs no code of the model's.

    Args:
        folder: What `weights.locate` returned.
        device: As for `loader.load`.
        dtype: As for `loader.load`; "auto" is float32 on a CPU.

    Raises:
        UnsupportedFeature: The model is none.
        OpenModelsError: As for `loader.load`.
    """
    checkpoint.check_folder(folder)
    config = checkpoint.read_json(folder / "config.json")
    kind = model_kind.of_config(config, sentence_transformers=(folder / "modules.json").exists())
    if kind.task != "rerank":
        raise UnsupportedFeature(
            f"The model is {kind.description}, no cross-encoder with a single score, and the backend 'local' has no "
            "'rerank' for it.",
            next_step="Choose one, e.g. 'local:cross-encoder/ms-marco-MiniLM-L6-v2', or compare embeddings.",
        )
    loaded = loader.load(folder, device=device, dtype=dtype, kind=AutoModelForSequenceClassification, exact=True)
    if loaded.model.config.num_labels != 1:
        raise UnsupportedFeature(
            f"The model sorts texts into {loaded.model.config.num_labels} classes, and the backend 'local' has "
            "no 'rerank' for it.",
            next_step="Choose a cross-encoder with a single score.",
        )
    entry = config.get("sentence_transformers")
    named = entry.get("activation_fn") if isinstance(entry, Mapping) else None
    name = named or config.get("sbert_ce_default_activation_function") or "Sigmoid"
    return Reranker(loader.limit_context(loaded, None), not str(name).endswith("Identity"))
