"""The data that flows through openmodels: requests in, deltas up, replies out.

Data only: nothing here does I/O, and nothing here knows a backend. What crosses a boundary is a
frozen pydantic model; `Delta` is made once per token and is a slotted dataclass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, StringConstraints, field_validator, model_validator
from typing_extensions import TypedDict

from openmodels import escaping
from openmodels.types.messages import Frozen, Message, Text, ToolCall


class ToolRunOptions(TypedDict, total=False):
    """The options of every call but `tools`, which `run_tools` takes by itself.

    Attributes:
        temperature: 0 is greedy; higher is more random. Default: the model's or provider's own.
        top_p: Sample from the smallest set of tokens whose probability sums to this (0 to 1].
        top_k: Sample from the k likeliest tokens.
        max_tokens: The answer's length limit in tokens. Default: what is left of the context.
        stop: A string or strings that end the answer; they are not part of it.
        seed: The same seed, request and model give the same text where the backend can.
        n: How many answers to give; the others are `Reply.alternatives`.
        logprobs: How many likeliest tokens to tell at each place of the answer, with their logarithmic
            probabilities; 0 tells only the chosen token's.
        schema: The type of the answer: a pydantic model, dataclass, `TypedDict`, any other type
            pydantic knows, or a JSON Schema as a dict. The value is in `Reply.parsed`.
        choices: The answer is one of these strings.
        pattern: The answer matches this regular expression as a whole.
        grammar: The answer follows this grammar, in the backend's own notation.
        retries: How often an answer that does not satisfy `schema` is asked for again, with what
            was wrong shown to the model.
        tool_choice: "auto", "none", "required" or the name of the tool to call. Default: "auto".
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
    n: int
    logprobs: int
    schema: Any
    choices: Sequence[str]
    pattern: str
    grammar: str
    retries: int
    tool_choice: str
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    timeout: float | None
    max_retries: int
    extra: Mapping[str, Any]


class CallOptions(ToolRunOptions, total=False):
    """The options shared by every call: those of `ToolRunOptions`, and the tools.

    Attributes:
        tools: Functions, pydantic models or JSON definitions that the model may call; see `tool`.
    """

    tools: Sequence[Any]


def number(**limits: Any) -> Any:
    """Return the field of an optional number within limits."""
    # Strict: no bool, no text. NaN and infinity are outside of any limits.
    return Field(default=None, strict=True, **limits)


class OutputFormat(Frozen):
    """What the answer must look like; one of the four ways is set.

    Attributes:
        kind: The option that asked for it.
        name: A name for the schema, of letters, digits, "_" and "-"; some vendors want one.
        json_schema: The answer is a JSON value that this JSON Schema accepts.
        choices: The answer is one of these strings.
        pattern: The answer matches this regular expression as a whole.
        grammar: The answer follows this grammar, in the backend's own notation.
    """

    kind: Literal["schema", "choices", "pattern", "grammar"]
    name: str = "answer"
    json_schema: dict[str, Any] | None = None
    choices: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = ()
    pattern: Text | None = None
    grammar: Text | None = None


class ToolSpec(Frozen):
    """What a model is told of a tool.

    Attributes:
        name: What the model calls it, of letters, digits, "_" and "-".
        description: What it does and when to use it.
        parameters: The JSON Schema of its arguments, of type "object".
        strict: Whether a server has to keep the arguments to the schema, where a definition says so.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    description: Text = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None


class ChatRequest(Frozen):
    """One checked request: what a backend gets.

    Attributes:
        messages: The conversation; empty when `prompt` is given.
        prompt: The text to continue without a chat template, for `complete`.
        output: What the answer must look like: `schema`, `choices`, `pattern` or `grammar`.
        tools: What the model is told of the tools it may call.
        stream: Whether the caller wants deltas as they come; a backend may ignore it.
        deadline: When the call must be over, on the clock of `time.monotonic()`; None is never.

    The other fields are those of `CallOptions`; None means that the caller did not say.
    """

    messages: tuple[Message, ...] = ()
    prompt: Text | None = None
    temperature: float | None = number(ge=0, le=100)
    top_p: float | None = number(gt=0, le=1)
    top_k: int | None = number(ge=1, lt=2**31)
    max_tokens: int | None = number(ge=1, lt=2**31)
    stop: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = ()
    seed: int | None = number(ge=0, lt=2**63)
    n: int | None = number(ge=1, le=128)
    logprobs: int | None = number(ge=0, le=100)
    output: OutputFormat | None = None
    tools: tuple[ToolSpec, ...] = ()
    tool_choice: Text | None = None
    frequency_penalty: float | None = number(ge=-2, le=2)
    presence_penalty: float | None = number(ge=-2, le=2)
    repetition_penalty: float | None = number(gt=0, le=100)
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
        if self.tool_choice is not None:
            names = {"auto", "none", "required", *(tool.name for tool in self.tools)}
            if not self.tools or self.tool_choice not in names:
                raise ValueError("tool_choice is 'auto', 'none', 'required' or the name of one of `tools`")
        return self

    @property
    def options(self) -> frozenset[str]:
        """The names of the options that the caller set."""
        fields = vars(self)  # not getattr: pydantic has a method `schema`
        given = {name for name in OPTION_NAMES if fields.get(name) not in (None, (), {})}
        return frozenset(given | ({self.output.kind} if self.output else set()))


SAMPLING_OPTIONS = (
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
)
"""How the next token is chosen, and when to stop."""

OPTION_NAMES = (
    *SAMPLING_OPTIONS,
    "n",
    "logprobs",
    "schema",
    "choices",
    "pattern",
    "grammar",
    "tools",
    "tool_choice",
    "extra",
)
"""Every option that a backend may or may not honour."""


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
        token: The token's text; bytes that are no whole character are "\ufffd".
        logprob: The natural logarithm of its probability.
        top: The likeliest tokens at this place with theirs, likeliest first.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


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
        cost: US dollars, where the provider publishes a price; else None.
        raw: The vendor's own last object, or None.
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
    cost: float | None = None
    raw: Any = Field(default=None, exclude=True, repr=False)

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
        """The answer as an assistant message, to go on with. Raises ValueError when it is empty.

        Its reasoning is left out, as models are trained; beside tool calls it is kept, since a model
        goes on with that train of thought once it has their results.
        """
        reasoning = self.reasoning if self.tool_calls else ""
        return Message(role="assistant", content=self.text, tool_calls=self.tool_calls, reasoning=reasoning)

    def _repr_html_(self) -> str:
        usage = self.usage
        facts = [self.model, self.finish_reason, f"{self.seconds:.2f} s"]
        if usage.input_tokens is not None and usage.output_tokens is not None:
            facts.append(f"{usage.input_tokens} → {usage.output_tokens} tokens")
        small = " · ".join(escaping.html(str(fact)) for fact in facts if fact)
        return f"<div style='white-space:pre-wrap'>{escaping.html(self.text)}</div><small>{small}</small>"
