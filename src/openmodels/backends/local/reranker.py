"""Documents by how well they answer a query on this machine: a cross-encoder, as sentence-transformers runs it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification

from openmodels.backends.local import checkpoint, facts, loader
from openmodels.backends.local.embedder import by_length, too_long
from openmodels.backends.local.sampling import not_finite
from openmodels.backends.local.worker import Steps
from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.rankings import Ranking, RerankRequest
from openmodels.types import Usage


@dataclass(frozen=True, slots=True)
class Reranker:
    """A model that judges pairs of texts.

    Attributes:
        loaded: The model and its tokenizer; `context` is the longest pair in tokens.
        squashed: Whether scores go through a sigmoid, as its folder says.
    """

    loaded: loader.Loaded
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
        pairs = self.loaded.tokenizer(
            [request.query] * len(documents), documents, truncation=truncate, max_length=limit
        )
        rows = pairs["input_ids"]
        for at, row in enumerate(rows):
            if len(row) > limit:
                raise too_long(f"documents[{at}] with the query", len(row), limit)
        yield
        scores: dict[int, float] = {}
        for places in by_length(rows):
            batch = {name: [pairs[name][at] for at in places] for name in pairs}
            tensors = self.loaded.tokenizer.pad(batch, return_tensors="pt").to(self.loaded.device)
            found = self.loaded.model(**tensors).logits[:, 0].float()
            found = torch.sigmoid(found) if self.squashed else found
            if not found.isfinite().all():
                raise not_finite("scores")
            scores |= dict(zip(places, found.tolist(), strict=True))
            yield
        return Ranking.of(scores, request, Usage(input_tokens=sum(map(len, rows))))


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
    names = [str(name) for name in config.get("architectures") or ()]
    if not any(name.endswith(facts.JUDGES) for name in names):
        raise UnsupportedFeature(
            f"The model ({', '.join(names) or 'of unknown kind'}) is no cross-encoder, and the backend 'local' has no "
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
    said = config.get("sentence_transformers") or {}
    name = said.get("activation_fn") or config.get("sbert_ce_default_activation_function") or "Sigmoid"
    return Reranker(loader.bounded(loaded, None), not str(name).endswith("Identity"))
