"""Requests: what a backend gets, checked. Data only."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, create_model, field_validator, model_validator

from openmodels.types.messages import Frozen, Message, Text
from openmodels.types.options import OPTION_NAMES, CallOptions, request_fields


class ResponseFormat(Frozen):
    """What the answer must look like; one of the four ways is set."""

    kind: Literal["schema", "choices", "pattern", "grammar"]  # the option that asked for it
    name: str = "answer"  # a name for the schema, of letters, digits, "_" and "-"; some vendors want one
    json_schema: dict[str, Any] | None = None  # the answer is a JSON value that this JSON Schema accepts
    choices: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = ()  # the answer is one of these strings
    pattern: Text | None = None  # the answer matches this regular expression as a whole
    grammar: Text | None = None  # the answer follows this grammar, in the backend's own notation


class ToolSpec(Frozen):
    """A tool as the model sees it."""

    # What the model calls it, of letters, digits, "_" and "-".
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,128}$")]
    description: Text = ""  # what it does and when to use it
    # The JSON Schema of its arguments, of type "object".
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool | None = None  # whether a server has to keep the arguments to the schema, where a definition says so


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

    The other fields are the rows of `CallOptions`; None means that the caller did not set it.
    """

    messages: tuple[Message, ...] = ()  # the conversation; empty when `prompt` is given
    prompt: Text | None = None  # the text to continue without a chat template, for `complete`
    stop: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = ()  # the strings that end the answer
    output: ResponseFormat | None = None  # what the answer must look like: `schema`, `choices`, `pattern` or `grammar`
    tools: tuple[ToolSpec, ...] = ()  # the tools that the model may call, as it sees them
    extra: dict[str, Any] = Field(default_factory=dict)  # vendor options, passed through as they are
    stream: bool = True  # whether the caller wants deltas as they come; a backend may ignore it
    deadline: float | None = None  # when the call must be over, on the clock of `time.monotonic()`; None is never

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
