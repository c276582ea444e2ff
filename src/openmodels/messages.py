"""What is said: messages, tool calls, and the text they are made of. Data only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator

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
        raw: The arguments as the model wrote them; the whole call where it could not be read.
        errors: What is wrong with it: no such tool, no JSON, arguments that its schema does not take.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str
    errors: tuple[str, ...] = ()

    def answer(self, content: str) -> Message:
        """Return the message that tells the model what came of this call."""
        return Message(role="tool", content=content, tool_call_id=self.id)


class Message(Frozen):
    """One turn of a conversation.

    Attributes:
        role: Who speaks: "system", "user", "assistant" or "tool".
        content: What is said; may be empty only beside tool calls.
        tool_calls: The calls an assistant message asks for.
        tool_call_id: For role "tool": the call that this message answers.
        reasoning: The reasoning behind an assistant's tool calls, to be shown to the model again.
    """

    role: Role
    content: Text = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: Text = ""

    @property
    def text(self) -> str:
        """The text of the content."""
        return self.content

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content and not self.tool_calls and self.role != "tool":
            raise ValueError("content is empty")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls belong to the role 'assistant', not {self.role!r}")
        if self.reasoning and self.role != "assistant":
            raise ValueError(f"reasoning belongs to the role 'assistant', not {self.role!r}")
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
