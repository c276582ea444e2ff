"""Documents by their relevance to a query, as a cross-encoder scores them."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from transformers import AutoModelForSequenceClassification

from openmodels.backends.local.cancellable_thread import Steps
from openmodels.backends.local.encoders.encoder import BATCH, Encoder
from openmodels.backends.local.engines.torch import loader
from openmodels.backends.local.weights import checkpoint, task_detection
from openmodels.errors import UnsupportedFeature
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Usage


@dataclass(frozen=True, slots=True)
class Reranker(Encoder[RerankRequest, Ranking]):
    """A model that scores pairs of texts."""

    extra: ClassVar[tuple[str, ...]] = ("truncate",)
    task: ClassVar[str] = "rerank"

    has_sigmoid: bool

    @classmethod
    def load(cls, folder: Path, *, device: str, dtype: str) -> Self:
        """Load a cross-encoder; see `Encoder.load`."""
        checkpoint.check_folder(folder)
        config = checkpoint.read_json(folder / "config.json")
        kind = task_detection.classify_folder(folder, config)
        if kind.task != "rerank":
            raise UnsupportedFeature(
                f"The model is {kind.description}, no cross-encoder with a single score, and the backend 'local' has "
                "no 'rerank' for it.",
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
        configured = entry.get("activation_fn") if isinstance(entry, Mapping) else None
        activation = configured or config.get("sbert_ce_default_activation_function") or "Sigmoid"
        return cls(loader.limit_context(loaded, None), not str(activation).endswith("Identity"))

    @torch.inference_mode()
    def encode(self, request: RerankRequest) -> Steps[Ranking]:
        """Return the ranking of the documents; see `Encoder.encode`."""
        truncate = self.read_truncate(request.extra)
        names = [f"documents[{at}] with the query" for at in range(len(request.documents))]
        query = self.shorten(request.query, "query", truncate=truncate)
        pairs = self.tokenize(request.documents, names, truncate=truncate, query=query)
        rows = pairs["input_ids"]
        yield
        inputs = self._input_names(pairs)

        def compute(places: list[int]) -> torch.Tensor:
            batch = self.pad({name: [pairs[name][at] for at in places] for name in inputs})
            logits: torch.Tensor = self.loaded.model(**batch).logits[:, 0].float()
            return logits

        # Models that find the end of a text by its padding need a token for it; without one, texts go one by one.
        size = BATCH if self.padding_id is not None else 1
        logits = yield from self.run_batches(rows, compute, size=size)
        # Behind the check for finite numbers: the sigmoid of infinity is one.
        scores = torch.sigmoid(torch.tensor(logits)) if self.has_sigmoid else torch.tensor(logits)
        usage = Usage(input_tokens=sum(map(len, rows)))
        return Ranking.of(dict(enumerate(scores.tolist())), request, usage)

    def _input_names(self, pairs: Mapping[str, Any]) -> list[str]:
        """Return which of the tokenizer's lists the model takes."""
        # Some tokenizers number the texts of a pair for models that know no such numbers.
        arguments = inspect.signature(self.loaded.model.forward).parameters
        kinds = getattr(self.loaded.model.config, "type_vocab_size", None)
        names = [name for name in pairs if name in arguments]
        if kinds is not None and "token_type_ids" in names and max(map(max, pairs["token_type_ids"])) >= kinds:
            names.remove("token_type_ids")
        return names
