"""A backend as a third party would write it: one class, one method."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import ClassVar

from openmodels.backends.base import Backend
from openmodels.types.reply import Delta, Usage
from openmodels.types.request import ChatRequest


class ToyBackend(Backend):
    """Answers with the words of the conversation, last one first.

    Args:
        rest: Not used.
        pause: Seconds it takes to think of a word.
    """

    name: ClassVar[str] = "toy"
    options = frozenset({"max_tokens"})

    def __init__(self, rest: str = "", *, pause: float = 0.0) -> None:
        super().__init__(rest)
        self.pause = pause

    def run(self, request: ChatRequest) -> Generator[Delta, None, None]:
        """Yield the words backwards."""
        words = [word for message in request.messages for word in message.content.split()]
        answer = words[::-1][: request.max_tokens]
        for word in answer:
            time.sleep(self.pause)
            yield Delta(text=f"{word} ")
        reason = "length" if len(answer) < len(words) else "stop"
        yield Delta(finish_reason=reason, usage=Usage(input_tokens=len(words), output_tokens=len(answer)), model="toy")
