"""Requests: what a backend gets, checked. Data only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, create_model, field_validator, model_validator

from openmodels.types.messages import Frozen, Message, Text
from openmodels.types.options import OPTION_NAMES, CallOptions, request_fields


class ResponseFormat(Frozen):
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
    """A tool as the model sees it.

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


if TYPE_CHECKING:  # a copy of the rows for type checkers; a test holds both equal

    class _ChatFields(Frozen):
        temperature: float | None = None
        top_p: float | None = None
        top_k: int | None = None
        max_tokens: int | None = None
        seed: int | None = None
        frequency_penalty: float | None = None
        presence_penalty: float | None = None
        repetition_penalty: float | None = None
        n: int | None = None
        logprobs: int | None = None
        tool_choice: str | None = None

else:
    _ChatFields = create_model("_ChatFields", __base__=Frozen, **request_fields(CallOptions))


_OPTIONS = frozenset(OPTION_NAMES)


class ChatRequest(_ChatFields):
    """A checked request for an answer: what `Backend.run` gets.

    Attributes:
        messages: The conversation; empty when `prompt` is given.
        prompt: The text to continue without a chat template, for `complete`.
        output: What the answer must look like: `schema`, `choices`, `pattern` or `grammar`.
        tools: The tools that the model may call, as it sees them.
        stop: The strings that end the answer.
        extra: Vendor options, passed through as they are.
        stream: Whether the caller wants deltas as they come; a backend may ignore it.
        deadline: When the call must be over, on the clock of `time.monotonic()`; None is never.

    The other fields are the rows of `CallOptions`; None means that the caller did not set it.
    """

    messages: tuple[Message, ...] = ()
    prompt: Text | None = None
    stop: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = ()
    output: ResponseFormat | None = None
    tools: tuple[ToolSpec, ...] = ()
    extra: dict[str, Any] = Field(default_factory=dict)
    stream: bool = True
    deadline: float | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_stop(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_input(self) -> Self:
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
        names = {name for name in self.model_fields_set & _OPTIONS if fields[name] not in (None, (), {})}
        return frozenset(names | {self.output.kind} if self.output else names)
