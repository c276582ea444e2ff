"""The interface of a backend: one class, one required method, `run(request)`.

Everything else (checking the request, retries, the deadline, assembling deltas into a reply, the
sync and async surface) is written once, in `core` and `Model`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from openmodels import background
from openmodels.errors import UnsupportedFeature
from openmodels.types import capabilities
from openmodels.types.capabilities import Capabilities
from openmodels.types.decisions import DecideRequest, Decisions
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.rankings import Ranking, RerankRequest
from openmodels.types.reply import Delta, Reply
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest, Scores

Request = ChatRequest | EmbedRequest | RerankRequest | ScoreRequest | DecideRequest  # checked, as a backend gets it
Outcome = Reply | Embeddings | Ranking | Scores | Decisions  # the complete answer to a request


class Backend(ABC):
    """A place where a model runs.

    A subclass takes the reference's rest as its only positional argument and its own options as
    keyword-only ones. Making it is cheap; what is slow happens in `load` or in the first `run`.

    Attributes:
        name: The name in model references.
        features: What it can do: "chat", "complete", "embed", "rerank", "score", "decide", and "images" in messages.
        options: The call options that it honours, of `types.options.OPTION_NAMES`; any other that a
            caller sets raises `UnsupportedFeature` before `run` is called.
    """

    name: ClassVar[str]
    features: frozenset[str] = frozenset({"chat"})
    options: frozenset[str] = frozenset()

    def __init__(self, rest: str = "") -> None:
        """Take the reference's rest; subclasses add their own keyword-only options."""
        self.rest = rest

    @property
    def origin(self) -> str | None:
        """The server whose retries and pauses all its models share, or None."""
        return None

    @abstractmethod
    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the answer's deltas.

        The last one carries a `finish_reason` (or `end`). Closing the generator stops the work
        behind it. When `request.deadline` passes, raise `DeadlineExceeded`.

        Raises:
            OpenModelsError: The one class of the tree that says what happened, with `retryable`
                and `retry_after` set; whether to try again is decided elsewhere.
        """

    async def arun(self, request: ChatRequest) -> AsyncGenerator[Delta, None]:
        """Yield the answer's deltas without blocking the event loop.

        This default drives `run` on a thread of its own; override it where the work is natively
        asynchronous. Cancelling it closes `run` as soon as its current step returns.
        """
        deltas = self.run(request)
        loop = asyncio.get_running_loop()
        # A pool of its own: the loop's default pool has few threads, and slow streams would queue.
        pool = ThreadPoolExecutor(1, thread_name_prefix=f"openmodels-{self.name}")
        try:
            # Shielded: a cancelled step runs to its end, since a thread cannot be stopped.
            while (delta := await asyncio.shield(loop.run_in_executor(pool, next, deltas, None))) is not None:
                yield delta
        finally:
            # The pool's one thread closes the generator after the step that may still run in it.
            closed = loop.run_in_executor(pool, deltas.close)
            pool.shutdown(wait=False)
            await asyncio.shield(closed)

    def embed(self, request: EmbedRequest) -> Embeddings:  # noqa: ARG002 - a subclass reads it
        """Return the vectors of the texts; for a backend with the feature "embed".

        Raises:
            UnsupportedFeature: It has no embeddings, or cannot honour `dimensions` or `extra`.
            OpenModelsError: As for `run`.
        """
        raise UnsupportedFeature(f"The backend {self.name!r} has no 'embed'.")

    async def aembed(self, request: EmbedRequest) -> Embeddings:
        """Return the vectors without blocking the event loop.

        This default calls `embed` on a daemon thread of its own, which a cancelled call leaves to its end.
        """
        return await background.arun(self.embed, request)

    def rerank(self, request: RerankRequest) -> Ranking:  # noqa: ARG002 - a subclass reads it
        """Return the documents ranked by the query, with the feature "rerank".

        Raises:
            UnsupportedFeature: It has no rankings, or cannot honour `extra`.
            OpenModelsError: As for `run`.
        """
        raise UnsupportedFeature(f"The backend {self.name!r} has no 'rerank'.")

    async def arerank(self, request: RerankRequest) -> Ranking:
        """Return the ranking without blocking the event loop, as `aembed` does."""
        return await background.arun(self.rerank, request)

    def score(self, request: ScoreRequest) -> Scores:  # noqa: ARG002 - a subclass reads it
        """Return the log-probabilities of the continuations, with the feature "score".

        Raises:
            UnsupportedFeature: It cannot compute them exactly, or cannot honour `extra`.
            OpenModelsError: As for `run`.
        """
        raise UnsupportedFeature(f"The backend {self.name!r} has no 'score'.")

    async def ascore(self, request: ScoreRequest) -> Scores:
        """Return the log-probabilities without blocking the event loop, as `aembed` does."""
        return await background.arun(self.score, request)

    def decide(self, request: DecideRequest) -> Decisions:  # noqa: ARG002 - a subclass reads it
        """Return a decision for each question, with the feature "decide".

        Raises:
            UnsupportedFeature: It cannot compute the probabilities exactly, or cannot honour `extra`.
            OpenModelsError: As for `run`.
        """
        raise UnsupportedFeature(f"The backend {self.name!r} has no 'decide'.")

    async def adecide(self, request: DecideRequest) -> Decisions:
        """Return the decisions without blocking the event loop, as `aembed` does."""
        return await background.arun(self.decide, request)

    def load(self) -> None:
        """Do what the first call would do: download, read weights, connect.

        Idempotent.
        """

    def close(self) -> None:
        """Free what the backend holds. Idempotent; a later call opens it again."""

    def capabilities(self) -> Capabilities:
        """Return what the model can do, without loading it or using the network.

        This default returns what `features` and `options` declare.
        """
        return capabilities.declared_capabilities(self.features, self.options)

    def describe(self) -> dict[str, Any]:
        """Return facts about how the model runs: at least `backend` and `model`."""
        return {"backend": self.name}
