"""Faults and their expected results, as data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from openmodels import errors
from openmodels.errors import OpenModelsError
from openmodels.types.embeddings import Embeddings
from openmodels.types.reply import Reply

TEXT = "Bonjour, grüße, こんにちは 👋!"
"""The right answer, where a fault leaves room for one."""
TOKENS = ("Bonjour", ", grüße", ", こんに", "ちは", " 👋!")
"""The same in pieces."""
PROMPT = "canary-prompt: the quick brown fox jumps over the lazy dog"
"""What the tests ask; no error may repeat it."""
VECTORS = ((0.5, -1.0, 0.25), (0.0, 2.0, 1.0))
"""The right vectors of the two texts that the tests embed, `PROMPT` and `TEXT`."""
KEY = "sk-canary-0123456789abcdef"
"""The key that the tests send; no error may repeat it."""


@dataclass(frozen=True, slots=True)
class Right:
    """The right answer comes.

    Attributes:
        after: The number of requests that it takes.
        text: The text.
        finish: The finish reason.
        reasoning: The reasoning.
        tools: The tool calls, as (name, arguments) pairs.
    """

    after: int = 1
    text: str = TEXT
    finish: str | None = "stop"
    reasoning: str = ""
    tools: tuple[tuple[str, object], ...] = ()

    def check(self, reply: Reply, requests: int) -> None:
        """Assert that the reply is the right one."""
        assert reply.text == self.text
        assert reply.finish_reason == self.finish
        assert reply.reasoning == self.reasoning
        assert [(call.name, call.arguments) for call in reply.tool_calls] == list(self.tools)
        assert len({call.id for call in reply.tool_calls}) == len(self.tools)
        assert requests == self.after

    def __str__(self) -> str:
        if self.after > 1:
            return "the right answer after a retry"
        return "the right answer" if self.finish else "the answer, its finish reason unknown"


@dataclass(frozen=True, slots=True)
class Vectors:
    """The right vectors come.

    Attributes:
        after: The number of requests that it takes.
        rows: The vectors.
    """

    after: int = 1
    rows: tuple[tuple[float, ...], ...] = VECTORS

    def check(self, embeddings: Embeddings, requests: int) -> None:
        """Assert that the vectors are the right ones."""
        assert embeddings.vectors.dtype == "float32"
        assert [tuple(row) for row in embeddings.vectors.tolist()] == list(self.rows)
        assert requests == self.after

    def __str__(self) -> str:
        return "the right vectors after a retry" if self.after > 1 else "the right vectors"


@dataclass(frozen=True, slots=True)
class Fails:
    """A typed error comes.

    Attributes:
        kind: The name of its class in `openmodels.errors`.
        says: A pattern that its message must match, ignoring case: it names the cause.
        after: The number of requests made.
        partial: What must have arrived of the text, or None if nothing.
        tries: When it comes, where it takes several requests.
    """

    kind: str
    says: str
    after: int = 1
    partial: str | None = None
    tries: str = "after the last retry"

    def check(self, error: OpenModelsError, requests: int) -> None:
        """Assert that the error is the right one."""
        assert type(error) is getattr(errors, self.kind), repr(error)
        assert re.search(self.says, str(error), re.IGNORECASE), str(error)
        assert (error.partial.text if error.partial else None) == self.partial
        assert len(str(error)) < 1200
        assert str(error).isprintable()
        assert requests == self.after

    def __str__(self) -> str:
        tries = f" {self.tries}" if self.after > 1 else ""
        rest = ", with the part that came" if self.partial else ""
        return f"`{self.kind}`{tries}{rest}"


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to misbehave.

    Attributes:
        name: Its name, and its place in the server's URLs.
        what: What the server does, as a phrase.
        plain: What must come of a plain call; None if the fault has no plain form.
        streamed: What must come of a streamed call; None if the fault has no such form.
        embedded: What must come of a request for embeddings, where it is not what a plain call meets.
        timeout: The total seconds to allow, where the fault is about time; else None.
        hasty: The server answers before it has read the body.
    """

    name: str
    what: str
    plain: Right | Fails | None = None
    streamed: Right | Fails | None = None
    timeout: float | None = None
    hasty: bool = False
    embedded: Vectors | Fails | None = field(default=None, kw_only=True)
    group: str = field(default="", kw_only=True)


__all__ = ["KEY", "PROMPT", "TEXT", "TOKENS", "VECTORS", "Fails", "Fault", "Right", "Vectors"]
