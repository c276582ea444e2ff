"""From tokens to what a caller reads: text, reasoning and tool calls apart from it, and stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from openmodels.backends.local.detokenizer import Detokeniser
from openmodels.backends.local.prompt.prepare import PreparedPrompt
from openmodels.backends.local.prompt.reasoning_tags import Thinking
from openmodels.backends.local.tool_calls import Caller
from openmodels.output.text_scan import StopStringFilter
from openmodels.types.messages import ToolCall
from openmodels.types.request import ChatRequest


class Said(NamedTuple):
    """What became complete with a token.

    Attributes:
        thought: Reasoning.
        text: Text of the answer that can be given out.
        size: Characters of the answer, those included that stop strings hold back.
        calls: Tool calls.
    """

    thought: str = ""
    text: str = ""
    size: int = 0
    calls: tuple[ToolCall, ...] = ()

    def then(self, other: Said) -> Said:
        """Return this with what came after it."""
        return Said(
            self.thought + other.thought, self.text + other.text, self.size + other.size, self.calls + other.calls
        )


class Writing:
    """One answer's text in the making.

    Args:
        request: What is asked.
        prompt: The same in the model's own terms.
        tokenizer: A transformers tokenizer.
        stops: Texts that end an answer beside those that the request names.
    """

    def __init__(
        self, request: ChatRequest, prompt: PreparedPrompt, tokenizer: Any, *, stops: Sequence[str] = ()
    ) -> None:
        self._text = Detokeniser(tokenizer, prompt.tokens if request.prompt is not None else ())
        # What must have a certain form has no room for reasoning before it.
        thinks = request.prompt is None and prompt.output is None and prompt.calling is None
        self._thinking = Thinking(tokenizer, prompt.tokens if thinks else None)
        self._caller = None if prompt.calling is None else Caller(prompt.calling)
        # Decoding leaves control tokens out, and a stop string may be, or hold, the text of one.
        control = tokenizer.added_tokens_decoder if request.stop or stops else {}
        self._control = {token: added.content for token, added in control.items() if added.special}
        self._stops = StopStringFilter((*request.stop, *stops))

    @property
    def stopped(self) -> bool:
        """Whether a stop string has ended the answer."""
        return self._stops.matched is not None

    @property
    def answering(self) -> bool:
        """Whether the answer has begun: nothing is reasoning any more."""
        return (self._caller or self._thinking).done

    @property
    def called(self) -> bool:
        """Whether a tool call was given out."""
        return self._caller is not None and self._caller.called

    @property
    def reasoning_tokens(self) -> int | None:
        """How many tokens were reasoning; None for a model without tags."""
        return (self._caller or self._thinking).tokens

    def add(self, token: int, *, ended: bool, last: bool, whole: bool = True) -> Said:
        """Return what became complete with a token.

        Args:
            token: The token.
            ended: Whether it only ends the answer.
            last: Whether no other follows.
            whole: Whether what the answer must look like is there; only asked with the last token.
        """
        begun = self.answering
        piece = "" if ended else self._text.add(token)
        if last:
            piece += self._text.flush()
        calls: tuple[ToolCall, ...] = ()
        if self._caller is None:
            thought, answer = self._thinking.feed(piece, token, last=last)
        else:
            thought, answer, calls = self._caller.feed(piece, -1 if ended else token, last=last, whole=whole)
        # Stop strings end the answer, not the reasoning that speaks of them.
        text = self._stops.feed(answer)
        if begun and not ended:
            text += self._stops.feed(self._control.get(token, ""), hidden=True)
        if last and not self.stopped:
            text += self._stops.flush()
        return Said(thought, text, len(answer), calls)
