"""Messages, tool calls and images. Data only."""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    StringConstraints,
    field_serializer,
    field_validator,
    model_validator,
)
from pydantic_core import from_json

Role = Literal["system", "user", "assistant", "tool"]
"""Who speaks in a message."""


def _check_encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"half a surrogate pair at character {error.start}; this text cannot be encoded") from None
    return text


Text = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_encodable)]


class Frozen(BaseModel):
    """The base of our own data: immutable, and a misspelled field is an error."""

    # Without it, pydantic's error, which ours is chained to, would print the prompt.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def read_arguments(written: Any) -> dict[str, Any] | None:
    """Return the arguments of a tool call as a dict, or None for any other JSON.

    Servers write the arguments of a call without any as "", "null" or "{}"; some send the object itself,
    and some encode the JSON twice.
    """
    for _ in range(3):
        if written is None:
            return {}
        if isinstance(written, Mapping):
            return dict(written)
        if written == []:
            return {}  # how PHP writes an empty object
        if not isinstance(written, str):
            return None
        if not written.strip():
            return {}
        try:
            written = from_json(written)
        except ValueError:
            return None
    return None


class ToolCall(Frozen):
    """A function call that the model asks for.

    Attributes:
        id: The call's id, to be repeated in the tool's answer.
        name: The function's name.
        arguments: The arguments by name, or None if `raw` is not a JSON object.
        raw: The arguments as the model wrote them; the whole call where it could not be read.
        errors: What is wrong with it: no such tool, no JSON, arguments that its schema does not take.
    """

    id: str
    name: str
    arguments: dict[str, Any] | None
    raw: str
    errors: tuple[str, ...] = ()

    def answer(self, content: str) -> "Message":
        """Return the message that holds the result of this call."""
        return Message(role="tool", content=content, tool_call_id=self.id)


class ImagePart(Frozen):
    """An image in a message, made by `Image`.

    Attributes:
        data: The encoded image; empty where only the address is known.
        media_type: What it is, e.g. "image/png"; empty where only the address is known.
        url: Its address, which whoever answers has to fetch.
        detail: How closely to look, in the vendor's own words, e.g. "low"; "" leaves it to the vendor.
    """

    data: bytes = b""
    media_type: str = ""
    url: str = ""
    detail: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImagePart) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.data, self.url))

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return [(None, self.url or f"{self.media_type}, {len(self.data):,} bytes")]

    @field_validator("data", mode="before")
    @classmethod
    def _decoded(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return base64.b64decode(value, validate=True)
        except binascii.Error:
            raise ValueError("no base64") from None

    @field_serializer("data", when_used="json")
    def _encoded(self, data: bytes) -> str:
        return base64.b64encode(data).decode()

    @property
    def address(self) -> str:
        """The address to send: the image's own, or one that holds its data."""
        return self.url or f"data:{self.media_type};base64,{base64.b64encode(self.data).decode()}"


def _read_content(value: Any) -> Any:
    """Return text, or texts and images; JSON spells parts as OpenAI does."""
    if isinstance(value, str):
        return _check_encodable(value)
    if isinstance(value, ImagePart):
        return (value,)
    if not isinstance(value, Sequence) or isinstance(value, bytes | bytearray):
        raise ValueError("expected text, or a list of texts and images")  # noqa: TRY004 - pydantic's own kind
    return tuple(map(_read_part, value))


def _read_part(value: Any) -> str | ImagePart:
    if isinstance(value, str):
        return _check_encodable(value)
    if isinstance(value, ImagePart):
        return value
    if isinstance(value, Mapping) and value.get("type") == "text" and isinstance(value.get("text"), str):
        return _check_encodable(value["text"])
    if isinstance(value, Mapping) and value.get("type") == "image_url":
        image = value.get("image_url")
        fields = dict(image) if isinstance(image, Mapping) else {"url": image}
        url, detail = fields.pop("url", None), fields.pop("detail", None)
        if isinstance(url, str) and url and isinstance(detail, str | None) and not any(fields.values()):
            if not re.match(r"(https?://[^/]|data:)", url, re.IGNORECASE):
                raise ValueError("the url of an image is no http, https or data address")
            return ImagePart(url=url, detail="" if detail == "auto" else detail or "")
    if isinstance(value, Mapping) and value.keys() <= {"data", "media_type", "url", "detail"} and value:
        return ImagePart.model_validate(dict(value))
    raise ValueError("a part is neither text nor an image")


def _encode_content(value: str | tuple[str | ImagePart, ...]) -> Any:
    if isinstance(value, str):
        return value
    return [part if isinstance(part, str) else part.model_dump(mode="json", exclude_defaults=True) for part in value]


Content = Annotated[
    str | tuple[str | ImagePart, ...],
    PlainValidator(_read_content, json_schema_input_type=str | list[Any]),
    PlainSerializer(_encode_content, when_used="json"),
]
"""What a message says: text, or texts and images in their order."""


class Message(Frozen):
    """One turn of a conversation.

    Attributes:
        role: Who speaks: "system", "user", "assistant" or "tool".
        content: What is said: text, or for the user a tuple of texts and images; may be empty only beside
            tool calls.
        tool_calls: The calls an assistant message asks for.
        tool_call_id: For role "tool": the call that this message answers.
        reasoning: The reasoning behind an assistant's tool calls, to be shown to the model again.
        name: Who of several participants in the same role speaks; not every backend can show it.
    """

    role: Role
    content: Content = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: Text = ""
    name: Annotated[Text, StringConstraints(min_length=1)] | None = None

    def __contains__(self, text: str) -> bool:
        return text in self.text

    @property
    def text(self) -> str:
        """The text of the content, without its images."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part for part in self.content if isinstance(part, str))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images of the content."""
        return tuple(part for part in self.content if isinstance(part, ImagePart))

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.content and not self.tool_calls and self.role != "tool":
            raise ValueError("content is empty")
        if not isinstance(self.content, str) and self.role != "user":
            raise ValueError(f"images and lists of parts belong to the role 'user', not {self.role!r}")
        if self.tool_calls and self.role != "assistant":
            raise ValueError(f"tool_calls belong to the role 'assistant', not {self.role!r}")
        if self.reasoning and self.role != "assistant":
            raise ValueError(f"reasoning belongs to the role 'assistant', not {self.role!r}")
        if (self.role == "tool") != (self.tool_call_id is not None):
            raise ValueError("tool_call_id goes with the role 'tool', and only with it")
        return self


def user(*content: str | ImagePart) -> Message:
    """Return a message from the user: text, or texts and images in their order."""
    only = content[0] if len(content) == 1 else content
    return Message(role="user", content=only if isinstance(only, str) else content)


def system(content: str) -> Message:
    """Return a message that instructs the model."""
    return Message(role="system", content=content)


def assistant(content: str) -> Message:
    """Return a message from the model."""
    return Message(role="assistant", content=content)


Prompt = str | Message | Mapping[str, Any] | Sequence[str | Message | Mapping[str, Any]]
"""What `chat` and `stream` take: a string, a message (object or dict), or a list of them."""
