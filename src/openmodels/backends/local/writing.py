"""From tokens to what a caller reads: text, reasoning apart from it, and stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from openmodels.backends.local.detokenise import Detokeniser
from openmodels.backends.local.thinking import Thinking
from openmodels.backends.stops import StopStrings
from openmodels.types import ChatRequest


class Said(NamedTuple):
    """What became complete with a token.

    Attributes:
        thought: Reasoning.
        text: Text of the answer that can be given out.
        size: Characters of the answer, those included that stop strings hold back.
    """

    thought: str
    text: str
    size: int


class Writing:
    """One answer's text in the making.

    Args:
        request: What is asked.
        prompt: The prompt's tokens.
        tokenizer: A transformers tokenizer.
    """

    def __init__(self, request: ChatRequest, prompt: Sequence[int], tokenizer: Any) -> None:
        self._text = Detokeniser(tokenizer, prompt if request.prompt is not None else ())
        # What must have a certain form has no room for reasoning before it.
        thinks = request.prompt is None and request.output is None
        self._thinking = Thinking(tokenizer, prompt if thinks else None)
        self._stops = StopStrings(request.stop)

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._stops.found is not None

    @property
    def answering(self) -> bool:
        """Whether the answer has begun: nothing is reasoning any more."""
        return self._thinking.done

    @property
    def reasoning_tokens(self) -> int | None:
        """How many tokens were reasoning; None for a model without tags."""
        return self._thinking.tokens

    def add(self, token: int, *, ended: bool, last: bool) -> Said:
        """Return what became complete with a token.

        Args:
            token: The token.
            ended: Whether it only ends the answer.
            last: Whether no other follows.
        """
        piece = "" if ended else self._text.add(token)
        if last:
            piece += self._text.flush()
        thought, answer = self._thinking.feed(piece, token, last=last)
        # Stop strings end the answer, not the reasoning that speaks of them.
        text = self._stops.feed(answer)
        if last and not self.stopped:
            text += self._stops.flush()
        return Said(thought, text, len(answer))
