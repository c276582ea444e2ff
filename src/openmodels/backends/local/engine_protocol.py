"""The interface of an engine, which runs the weights of a model."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from openmodels.imports import is_installed
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest, Scores

if TYPE_CHECKING:
    from openmodels.output.grammar.notation import Notation

EngineRequest = ChatRequest | ScoreRequest
"""What an engine runs."""
Put = Callable[[Delta | Scores | BaseException], None]
"""Takes the deltas of an answer, the last with a finish reason, or the scores of a request for them, or the error that
ends it; called on any thread."""


class Submitted(Protocol):
    """A request that an engine has taken."""

    def cancel(self) -> object:
        """Drop the request before the engine's next step; nothing more is put."""


class Engine(Protocol):
    """Runs the weights of one model.

    An engine is made by calling its class with an `EngineConfig`, which loads nothing.
    """

    def load(self) -> None:
        """Load the model now, or wait until it is loaded.

        Raises:
            OpenModelsError: It cannot be loaded.
        """

    def submit(self, request: EngineRequest, put: Put) -> Submitted:
        """Take a request and return at once.

        `put` gets the deltas of its one answer, or its scores. Requests for scores come only where the capabilities
        say so.
        """

    def describe(self) -> dict[str, Any]:
        """Return how the model runs; None for what is not known until it is loaded."""

    def capabilities(self) -> "EngineCapabilities":
        """Return what the engine can do."""

    def close(self, timeout: float = 30.0) -> None:
        """End the work, free the weights, and wait up to `timeout` seconds for both."""


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How one model is to be run; other fields are as for `LocalBackend`."""

    model: str  # the model's name in its reference
    revision: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    command: str | None = None  # the engine's command, for one that is run by a command
    draft: str | None = None
    chat_template: str | None = None
    max_batch: int | None = None  # answers computed at the same time; None is as many as are of use
    max_kv_bytes: int | None = None  # bytes for keys and values; None is half of what is free once the model is loaded
    deterministic: bool = False
    repetition_stop: bool = True


@dataclass(frozen=True, slots=True)
class EngineCapabilities:
    """What an engine can do.

    Attributes:
        options: The call options that it honours.
        grammar: The grammars that it reads.
        scores: Whether it scores given continuations.
    """

    options: frozenset[str]
    grammar: "Notation"
    scores: bool = False


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """An engine by name, known before anything of it is imported."""

    path: str  # where its class is, as "module:Class"
    capabilities: EngineCapabilities
    package: str | None = None  # the module that must be installed; None where none must
    devices: tuple[str, ...] | None = None  # the devices that a caller may choose; None is any
    takes_dtype: bool = True  # whether a caller may choose the dtype
    takes_command: bool = False  # whether it is run by a command

    @property
    def is_installed(self) -> bool:
        """Whether the package is installed; imports nothing."""
        return self.package is None or is_installed(self.package)

    def make(self, config: EngineConfig) -> Engine:
        """Import the engine's class and return an engine for one model."""
        module, _, name = self.path.partition(":")
        engine: Engine = getattr(importlib.import_module(module), name)(config)
        return engine
