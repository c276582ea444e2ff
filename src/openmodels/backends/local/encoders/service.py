"""What `local` does beside conversation, on a thread of its own: embeddings and rankings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from openmodels.backends.local.encoders import embedder, reranker
from openmodels.backends.local.engines.torch.loader import typed_error
from openmodels.backends.local.engines.torch.worker import Steps, Worker
from openmodels.errors import OpenModelsError
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest


class Encoders:
    """Loads the model on first use and works call after call.

    Args:
        locate: Returns the model's folder, until a deadline on the clock of `time.monotonic()`.
        device: As for `loader.load`.
        dtype: As for `loader.load`.

    Attributes:
        loading: Whether the thread reads the model.
    """

    def __init__(self, locate: Callable[[float | None], Path], *, device: str, dtype: str) -> None:
        self._locate = locate
        self._device, self._dtype = device, dtype
        self._worker = Worker()
        self.loading = False
        self._embedder: embedder.Embedder | None = None
        self._reranker: reranker.Reranker | None = None

    def embed(self, request: EmbedRequest) -> Embeddings:
        """Return the vectors of the texts."""
        return self._worker.call(lambda: self._embedding(request), request.deadline)

    async def aembed(self, request: EmbedRequest) -> Embeddings:
        """The asynchronous twin of `embed`."""
        return await self._worker.acall(lambda: self._embedding(request), request.deadline)

    def rerank(self, request: RerankRequest) -> Ranking:
        """Return the ranking of the documents."""
        return self._worker.call(lambda: self._ranking(request), request.deadline)

    async def arerank(self, request: RerankRequest) -> Ranking:
        """The asynchronous twin of `rerank`."""
        return await self._worker.acall(lambda: self._ranking(request), request.deadline)

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread; wait up to `timeout` seconds for it."""
        self._worker.stop(timeout)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        self.loading = True
        try:
            yield
        finally:
            self.loading = False

    def _embedding(self, request: EmbedRequest) -> Steps[Embeddings]:
        with _explained():
            if self._embedder is None:
                with self._reading():
                    folder = self._locate(request.deadline)
                    self._embedder = embedder.load(folder, device=self._device, dtype=self._dtype)
            yield
            return (yield from self._embedder.embed(request))

    def _ranking(self, request: RerankRequest) -> Steps[Ranking]:
        with _explained():
            if self._reranker is None:
                with self._reading():
                    folder = self._locate(request.deadline)
                    self._reranker = reranker.load(folder, device=self._device, dtype=self._dtype)
            yield
            return (yield from self._reranker.rerank(request))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OpenModelsError:
        raise
    except Exception as error:
        raise typed_error(error, "run", "Give shorter texts.") from error
