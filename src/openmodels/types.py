"""The data that flows through openmodels: messages and requests in, deltas up, replies out.

Data only: nothing here does I/O, and nothing here knows a backend. What crosses a boundary is a
frozen pydantic model; `Delta` is made once per token and is a slotted dataclass.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator
from typing_extensions import TypedDict

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks in a message."""


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a surrogate pair at character {error.start}; this text cannot be encoded") from None
    return text


Text = Annotated[str, StringConstraints(strict=True), AfterValidator(_encodable)]


class Frozen(BaseModel):
    """The base of our own data: immutable, and a misspelled field is an error."""

    # Without it, pydantic's error, which ours is chained to, would print the prompt.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ToolCall(Frozen):
    """A function call that the model asks for.

    Attributes:
        id: The call's id, to be repeated in the tool's answer.
        name: The function's name.
        arguments: The arguments by name, or None if `raw` is no JSON object.
        raw: The arguments as the model wrote them.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str


class Message(Frozen):
    """One turn of a conversation.

    Attributes:
        role: Who speaks: "system", "user", "assistant" or "tool".
        content: What is said; may be empty only beside tool calls.
        tool_calls: The calls an assistant message asks for.
        tool_call_id: For role "tool": the call that this message answers.
    """

    role: Role
    content: Text = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content and not self.tool_calls and self.role != "tool":
            raise ValueError("content is empty")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls belong to the role 'assistant', not {self.role!r}")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("tool_call_id goes with the role 'tool', and only with it")
        return self


def user(content: str) -> Message:
    """Return a message from the user."""
    return Message(role="user", content=content)


def system(content: str) -> Message:
    """Return a message that instructs the model."""
    return Message(role="system", content=content)


def assistant(content: str) -> Message:
    """Return a message from the model."""
    return Message(role="assistant", content=content)


Prompt = str | Message | Mapping[str, Any] | Sequence[str | Message | Mapping[str, Any]]
"""What `chat` and `stream` take: a string, a message (object or dict), or a list of them."""


class CallOptions(TypedDict, total=False):
    """The options shared by every call.

    Attributes:
        temperature: 0 is greedy; higher is more random. Default: the model's or provider's own.
        top_p: Sample from the smallest set of tokens whose probability sums to this (0 to 1].
        top_k: Sample from the k likeliest tokens.
        max_tokens: The answer's length limit in tokens. Default: what is left of the context.
        stop: A string or strings that end the answer; they are not part of it.
        seed: The same seed, request and model give the same text where the backend can.
        frequency_penalty: Lowers tokens by how often they came, -2 to 2.
        presence_penalty: Lowers tokens that came at all, -2 to 2.
        repetition_penalty: Divides the score of tokens that came (prompt included); 1 is none.
        timeout: Total seconds for the call, retries included; None lifts the limit.
        max_retries: How often a failed call is tried again before the first token.
        extra: Vendor options, passed through as they are.
    """

    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    stop: str | Sequence[str]
    seed: int
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    timeout: float | None
    max_retries: int
    extra: Mapping[str, Any]


def _number(**limits: Any) -> Any:
    # Strict: no bool, no text. NaN and infinity are outside of any limits.
    return Field(default=None, strict=True, **limits)


class ChatRequest(Frozen):
    """One checked request: what a backend gets.

    Attributes:
        messages: The conversation; empty when `prompt` is given.
        prompt: The text to continue without a chat template, for `complete`.
        stream: Whether the caller wants deltas as they come; a backend may ignore it.
        deadline: When the call must be over, on the clock of `time.monotonic()`; None is never.

    The other fields are those of `CallOptions`; None means that the caller did not say.
    """

    messages: tuple[Message, ...] = ()
    prompt: Text | None = None
    temperature: float | None = _number(ge=0, le=100)
    top_p: float | None = _number(gt=0, le=1)
    top_k: int | None = _number(ge=1, lt=2**31)
    max_tokens: int | None = _number(ge=1, lt=2**31)
    stop: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = ()
    seed: int | None = _number(ge=0, lt=2**63)
    frequency_penalty: float | None = _number(ge=-2, le=2)
    presence_penalty: float | None = _number(ge=-2, le=2)
    repetition_penalty: float | None = _number(gt=0, le=100)
    extra: dict[str, Any] = Field(default_factory=dict)
    stream: bool = True
    deadline: float | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.prompt is None and not self.messages:
            raise ValueError("messages is empty")
        if self.prompt == "":
            raise ValueError("prompt is empty")
        return self

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that the caller set."""
        return frozenset(name for name in OPTION_NAMES if getattr(self, name) not in (None, (), {}))


OPTION_NAMES = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "extra",
)


class EmbedOptions(TypedDict, total=False):
    """The options of `embed`.

    Attributes:
        dimensions: The length of each vector; for models that can shorten theirs.
        timeout: Total seconds for the call, retries included; None lifts the limit.
        max_retries: How often a failed call is tried again.
        extra: Vendor options, passed through as they are.
    """

    dimensions: int
    timeout: float | None
    max_retries: int
    extra: Mapping[str, Any]


class EmbedRequest(Frozen):
    """One checked request for embeddings: what a backend gets.

    Attributes:
        texts: What to embed, in order.
        deadline: When the call must be over, on the clock of `time.monotonic()`; None is never.

    The other fields are those of `EmbedOptions`; None means that the caller did not say.
    """

    texts: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = Field(min_length=1)
    dimensions: int | None = _number(ge=1, lt=2**31)
    extra: dict[str, Any] = Field(default_factory=dict)
    deadline: float | None = None


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


@dataclass(slots=True)
class Delta:
    """A piece of an answer, as it arrives.

    Attributes:
        text: The new text; never half a character.
        reasoning: The new text of the model's reasoning.
        tool_calls: Calls that became complete with this delta.
        finish_reason: Why the answer ended; set once, on the last delta of the answer.
        usage: What the call consumed, where the backend says it; the last one counts.
        model: The model's name as the backend gives it.
        end: True when the protocol's end mark came without a finish reason.
        raw: The vendor's own object, or None.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage | None = None
    model: str | None = None
    end: bool = False
    raw: Any = None


class Reply(Frozen):
    """A model's answer.

    Attributes:
        text: The answer.
        reasoning: The model's reasoning, where the backend tells it apart.
        tool_calls: The function calls the model asks for.
        finish_reason: "stop", "length", "tool_calls", "content_filter" or the vendor's own word;
            None when the backend gave none.
        usage: Tokens consumed.
        model: The model that answered, as the backend names it.
        seconds: Seconds from the call to the last delta, retries included.
        cost: US dollars, where the provider publishes a price; else None.
        raw: The vendor's own last object, or None.
    """

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str | None = None
    usage: Usage = Usage()
    model: str | None = None
    seconds: float = 0.0
    cost: float | None = None
    raw: Any = Field(default=None, exclude=True, repr=False)

    def __str__(self) -> str:
        return self.text

    @property
    def message(self) -> Message:
        """The answer as an assistant message, to go on with. Raises ValueError when it is empty."""
        return Message(role="assistant", content=self.text, tool_calls=self.tool_calls)

    def _repr_html_(self) -> str:
        usage = self.usage
        facts = [self.model, self.finish_reason, f"{self.seconds:.2f} s"]
        if usage.input_tokens is not None and usage.output_tokens is not None:
            facts.append(f"{usage.input_tokens} → {usage.output_tokens} tokens")
        small = " · ".join(html.escape(str(fact)) for fact in facts if fact)
        return f"<div style='white-space:pre-wrap'>{html.escape(self.text)}</div><small>{small}</small>"


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The vectors of some texts, in the order of the texts.

    Attributes:
        vectors: A numpy array of float32, of shape (number of texts, dimensions).
        usage: Tokens consumed.
        model: The model that answered, as the backend names it.
        seconds: Seconds from the call to the answer, retries included.
    """

    vectors: NDArray[float32]
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        count, dimensions = self.vectors.shape
        return f"<Embeddings of {count} texts, {dimensions} dimensions, model {self.model!r}>"

    def similarity(self, other: Embeddings | None = None) -> NDArray[float32]:
        """Return the cosine of every vector with every one of `other`, or of these themselves.

        The result is of float32, of shape (len(self), len(other)), its values from -1 to 1. A vector
        of zeros is similar to nothing: 0.

        Raises:
            ValueError: The two have different dimensions.
        """
        return _units(self.vectors) @ _units((other or self).vectors).T


def _units(vectors: NDArray[float32]) -> NDArray[float32]:
    import numpy as np

    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)


__all__ = [
    "CallOptions",
    "ChatRequest",
    "Delta",
    "EmbedOptions",
    "EmbedRequest",
    "Embeddings",
    "Message",
    "Prompt",
    "Reply",
    "Role",
    "ToolCall",
    "Usage",
    "assistant",
    "system",
    "user",
]
