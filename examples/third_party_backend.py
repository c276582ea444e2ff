"""A backend of your own: one class with one method, proved by the suite that openmodels ships.

pip install pytest
python examples/third_party_backend.py
pytest examples/third_party_backend.py
"""

import time
from collections.abc import Generator
from typing import ClassVar

import pytest

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.testing import Conformance
from openmodels.types import ChatRequest


class ShoutBackend(Backend):
    """Answers with what it was told, in capitals.

    Args:
        rest: Not used.
        pause: Seconds to wait before each word.
    """

    name: ClassVar[str] = "shout"
    options = frozenset({"max_tokens"})

    def __init__(self, rest: str = "", *, pause: float = 0.0) -> None:
        super().__init__(rest)
        self.pause = pause

    def run(self, request: ChatRequest) -> Generator[om.Delta, None, None]:
        """Yield a word at a time; the last delta says why the answer ended."""
        words = request.messages[-1].content.upper().split()
        given = words[: request.max_tokens]
        for word in given:
            time.sleep(self.pause)
            yield om.Delta(text=f"{word} ", model="shout")
        reason = "stop" if given == words else "length"
        told = sum(len(message.content.split()) for message in request.messages)
        yield om.Delta(finish_reason=reason, usage=om.Usage(input_tokens=told, output_tokens=len(given)))


# A package makes its backend known by an entry point in the group `openmodels.backends` instead.
om.register_backend("shout", ShoutBackend)


class TestShout(Conformance):
    """Everything that a backend promises, on every surface."""

    reference = "shout:"
    samples = False  # It has one possible answer.

    @pytest.fixture
    def slow_model(self) -> om.Model:
        """Slow enough to be stopped in the middle of an answer."""
        return om.Model("shout:", pause=0.06)


if __name__ == "__main__":
    print(om.Model("shout:").chat("any text is loud here"))
    raise SystemExit(pytest.main(["-q", __file__]))
