"""Replies: the deltas of an answer, and the answer they become. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field, PlainSerializer

from openmodels import escaping
from openmodels.types.messages import Frozen, Message, ToolCall

CUT_SHORT = frozenset({"length", "repetition"})
"""Finish reasons of an answer that may lack its end: the length limit, or a cycle that was ended."""


class Usage(Frozen):
    """What a call consumed, in tokens; None where the backend does not say.

    Attributes:
        input_tokens: Tokens of the prompt, template included.
        output_tokens: Tokens generated, the end token included where the backend counts it.
        cached_tokens: Input tokens that were not computed again.
        reasoning_tokens: Output tokens that were reasoning.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None

    def __add__(self, other: Usage) -> Usage:
        """Return what both consumed; None where one of them does not say."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in type(self).model_fields}
        return Usage(**{name: None if None in pair else sum(pair) for name, pair in pairs.items()})


class TokenLogprob(NamedTuple):
    """How likely a token of the answer was.

    Attributes:
        token: The token's text; bytes of an incomplete character are "\ufffd".
        logprob: The natural logarithm of its probability.
        top: The likeliest tokens at this place with theirs, likeliest first.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


def _describe_error(error: Any) -> str | None:
    return f"{type(error).__name__}: {error}" if isinstance(error, Exception) else error


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to get an answer out of a member of a combined model.

    Attributes:
        model: The member's reference.
        seconds: Seconds from its start to its last delta or its failure.
        cost: US dollars, where the backend knows it.
        error: What it failed with; None where it answered. Of a reply read from a file, the error's text.
        usage: Tokens consumed, where the backend says it.
        is_answer: Whether the reply is, or is made from, what it said.
        note: What the combination made of it, in a few words ("2 of 3 votes").
    """

    model: str
    seconds: float = 0.0
    cost: float | None = None
    error: Annotated[Any, PlainSerializer(_describe_error, return_type=str | None)] = None
    usage: Usage | None = None
    is_answer: bool = False
    note: str = ""


@dataclass(slots=True)
class Delta:
    """A piece of an answer, as it arrives.

    Attributes:
        text: The new text; never half a character.
        reasoning: The new text of the model's reasoning.
        tool_calls: Calls that became complete with this delta.
        logprobs: How likely the tokens of this piece were, where that was asked for.
        index: Which of the `n` answers this is a piece of, from 0.
        cost: US dollars that the call costs, where the backend knows it.
        finish_reason: Why the answer ended; set once, on the last delta of the answer.
        usage: What the call consumed, where the backend says it; the last one counts.
        model: The model's name as the backend gives it.
        end: True when the protocol's end mark came without a finish reason.
        raw: The vendor's own object, or None.
        trace: The attempts of a combined model, on its last delta.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    end: bool = False
    raw: Any = None
    logprobs: tuple[TokenLogprob, ...] = ()
    index: int = 0
    cost: float | None = None
    trace: tuple[Attempt, ...] = ()

    def __str__(self) -> str:
        return self.text


class Reply(Frozen):
    """A model's answer.

    `print(reply)` shows the text, `"Paris" in reply` looks into it, and a reply equals its text.

    Attributes:
        text: The answer.
        reasoning: The model's reasoning, where the backend tells it apart.
        tool_calls: The function calls the model asks for.
        parsed: The answer as the type asked for by `schema`, or the chosen string of `choices`.
        logprobs: How likely the answer's tokens were, where that was asked for.
        alternatives: The other answers where more than one was asked for by `n`.
        finish_reason: "stop" when the answer is whole; "length" when `max_tokens` or the context ended it;
            "repetition" when it had become a cycle, which `local` ends; "tool_calls"; "content_filter"; or the
            vendor's own word. None when the backend gave none.
        usage: Tokens consumed.
        model: The model that answered, as the backend names it.
        seconds: Seconds from the call to the last delta, retries included.
        first_token_seconds: Seconds from the call to the first text, reasoning or tool call; None without any.
        cost: US dollars, where the provider publishes a price; else None.
        raw: The vendor's own last object, or None.
        trace: Every attempt of a combined model, oldest first; empty for any other.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    parsed: Any = None
    logprobs: tuple[TokenLogprob, ...] = ()
    alternatives: tuple[Reply, ...] = ()
    finish_reason: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    seconds: float = 0.0
    first_token_seconds: float | None = None
    cost: float | None = None
    raw: Any = Field(default=None, exclude=True, repr=False)
    trace: tuple[Attempt, ...] = ()

    def __str__(self) -> str:
        return self.text

    def __contains__(self, text: str) -> bool:
        return text in self.text

    def __eq__(self, other: object) -> bool:
        return self.text == other if isinstance(other, str) else super().__eq__(other)

    def __hash__(self) -> int:
        # Of the text alone: a reply equals its text, and what is equal has one hash.
        return hash(self.text)

    if not TYPE_CHECKING:  # a declared __getattr__ would make every misspelled name pass

        def __getattr__(self, name: str) -> Any:
            if name in {"content", "choices", "output", "output_text", "generated_text", "response"}:
                raise AttributeError(f"'Reply' object has no attribute {name!r}. The answer is `reply.text`.")
            return super().__getattr__(name)

    @property
    def message(self) -> Message:
        """The answer as an assistant message. Raises ValueError when it is empty.

        Its reasoning is left out, as models are trained; beside tool calls it is kept, since a model
        continues that train of thought once it has their results.
        """
        reasoning = self.reasoning if self.tool_calls else ""
        return Message(role="assistant", content=self.text, tool_calls=self.tool_calls, reasoning=reasoning)

    def _repr_html_(self) -> str:
        usage = self.usage
        facts = [self.model, self.finish_reason, f"{self.seconds:.2f} s"]
        if usage.input_tokens is not None and usage.output_tokens is not None:
            facts.append(f"{usage.input_tokens} → {usage.output_tokens} tokens")
        small = " · ".join(escaping.escape_html(str(fact)) for fact in facts if fact)
        return f"<div style='white-space:pre-wrap'>{escaping.escape_html(self.text)}</div><small>{small}</small>"
