"""Embeddings and rankings on a thread that loads the model on first use."""

from typing import Any

from openmodels.backends.local.cancellable_thread import CancellableThread, Steps
from openmodels.backends.local.encoders.embedder import Embedder
from openmodels.backends.local.encoders.encoder import Encoder
from openmodels.backends.local.encoders.reranker import Reranker
from openmodels.backends.local.engine_protocol import EngineConfig
from openmodels.backends.local.engines.torch.loader import translate_error
from openmodels.backends.local.weights.locate import locate_folder, names_gguf
from openmodels.errors import OpenModelsError, UnsupportedFeature
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest

_ENCODERS: dict[type, type[Encoder[Any, Any]]] = {EmbedRequest: Embedder, RerankRequest: Reranker}


class EncoderService(CancellableThread):
    """Runs the requests of a model that is not made to generate."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__()
        self._config = config
        self._loaded: dict[type, Encoder[Any, Any]] = {}
        self.is_loading = False  # whether the thread reads the model

    def encode(self, request: EmbedRequest | RerankRequest) -> Embeddings | Ranking:
        """Return the vectors of texts or the ranking of documents; see `Encoder`."""
        return self.call(self._steps(request), request.deadline)

    async def aencode(self, request: EmbedRequest | RerankRequest) -> Embeddings | Ranking:
        """The asynchronous twin of `encode`; cancelling it ends the work within a step."""
        return await self.acall(self._steps(request), request.deadline)

    def _steps(self, request: EmbedRequest | RerankRequest) -> Steps[Embeddings | Ranking]:
        kind = type(request)
        try:
            if kind not in self._loaded:
                self._loaded[kind] = self._load(_ENCODERS[kind], request.deadline)
            yield
            result: Embeddings | Ranking = yield from self._loaded[kind].encode(request)
        except OpenModelsError:
            raise
        except Exception as error:
            raise translate_error(error, "run", "Give shorter texts.") from error
        return result

    def _load(self, encoder: type[Encoder[Any, Any]], deadline: float | None) -> Encoder[Any, Any]:
        config = self._config
        if names_gguf(config.model):
            raise UnsupportedFeature(
                "The backend 'local' has no 'embed' and 'rerank' for GGUF files: it computes them with safetensors.",
                next_step="Name the folder or repository that holds the model's safetensors.",
            )
        self.is_loading = True
        try:
            folder = locate_folder(config.model, revision=config.revision, deadline=deadline, dtype=config.dtype)
            return encoder.load(folder, device=config.device, dtype=config.dtype)
        finally:
            self.is_loading = False
