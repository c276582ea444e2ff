"""The bodies of Anthropic's messages, and what they are as a call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.openai_wire.bodies import MAX_ITEMS, MAX_TOOLS, WireBody
from openmodels.types.messages import Text


class _WireObject(BaseModel):
    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, frozen=True)


class InputMessage(_WireObject):
    """A message of the request.

    Attributes:
        role: Who speaks.
        content: Text, or blocks.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    role: Literal["user", "assistant", "system"]
    content: Text | list[dict[str, Any]]


class ToolDefinition(_WireObject):
    """A tool of the request.

    Attributes:
        name: What the model calls it.
        type: "custom"; others are tools that Anthropic runs.
        description: What it does.
        input_schema: The JSON Schema of its arguments.
        strict: Whether the arguments have to keep to the schema.
    """

    name: Text
    type: str | None = None
    description: Text | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None

    @property
    def is_hosted(self) -> bool:
        """Whether Anthropic would run it."""
        return self.type not in (None, "custom")


class ChosenTool(_WireObject):
    """Whether and which tool the model calls.

    Attributes:
        type: How free the choice is.
        name: The tool, for the type "tool".
        disable_parallel_tool_use: Whether one call is the most.
    """

    type: Literal["auto", "any", "tool", "none"]
    name: Text | None = None
    disable_parallel_tool_use: bool | None = None


class OutputConfig(_WireObject):
    """The form and the effort of an answer.

    Attributes:
        format: A JSON Schema, with the type "json_schema".
        effort: How much the model thinks; a hint.
    """

    format: dict[str, Any] | None = None
    effort: str | None = None


class CountBody(WireBody):
    """The body of `/v1/messages/count_tokens`."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {"betas", "cache_control", "container", "context_management", "metadata", "service_tier", "thinking"}
        | {"inference_geo", "speed", "diagnostics"}
    )

    messages: Annotated[list[InputMessage], Field(min_length=1, max_length=MAX_ITEMS)]
    system: Text | list[dict[str, Any]] | None = None
    tools: Annotated[list[ToolDefinition], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ChosenTool | None = None
    thinking: dict[str, Any] | None = None
    output_config: OutputConfig | None = None
    output_format: dict[str, Any] | None = None
    cache_control: dict[str, Any] | None = None
    context_management: dict[str, Any] | None = None
    mcp_servers: Annotated[list[Any], Field(max_length=0)] | None = None
    betas: list[str] | None = None
    speed: str | None = None

    def ignored(self) -> list[str]:
        """Return the names of the fields that are set and change nothing."""
        names = super().ignored()
        if self.output_config is not None and self.output_config.effort:
            names.append("output_config.effort")
        return sorted([*names, *(f"tools.{tool.name}" for tool in self.tools or () if tool.is_hosted)])

    def chat_messages(self) -> list[dict[str, Any]]:
        """Return the messages in OpenAI's spelling, the system's first.

        Raises:
            InvalidRequest: A block is of a wrong or unknown kind.
            UnsupportedFeature: The last message is the beginning of the answer.
        """
        messages: list[dict[str, Any]] = []
        if self.system:
            messages.append({"role": "system", "content": _join_text(self.system, "system")})
        for at, message in enumerate(self.messages):
            content: list[dict[str, Any]] = (
                [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
            )
            place = f"messages[{at}].content"
            if message.role == "system":
                messages.append({"role": "system", "content": _join_text(content, place)})
            elif message.role == "assistant":
                messages.append(_read_answer(content, place))
            else:
                messages += _read_user(content, place)
        if self.messages[-1].role == "assistant":
            raise UnsupportedFeature(
                "messages: the last one is the model's, and an answer cannot be begun for it.",
                next_step="End with a message of the role 'user'.",
            )
        return messages

    def options(self) -> dict[str, Any]:
        """Return the options of the call.

        Raises:
            InvalidRequest: Fields contradict each other.
        """
        options: dict[str, Any] = {}
        tools = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description or "",
                    "parameters": tool.input_schema or {"type": "object", "properties": {}},
                },
            }
            for tool in self.tools or ()
            if not tool.is_hosted
        ]
        if tools:
            options["tools"] = tools
        if (choice := self.tool_choice) is not None and (tools or choice.type in ("any", "tool")):
            if not tools:
                raise InvalidRequest("tool_choice: it demands a call, and there is no tool to call.")
            options["tool_choice"] = {"any": "required", "tool": choice.name}.get(choice.type, choice.type)
        form = self.output_format or (self.output_config and self.output_config.format)
        if form:
            if form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict):
                raise InvalidRequest("output_config.format: it must be a JSON Schema of the type 'json_schema'.")
            options["schema"] = form["schema"]
        return options

    @property
    def calls_one_tool(self) -> bool:
        """Whether the answer may hold one call at most."""
        return self.tool_choice is not None and bool(self.tool_choice.disable_parallel_tool_use)


class MessagesBody(CountBody):
    """The body of `/v1/messages`."""

    max_tokens: Annotated[int, Field(strict=True, ge=1, lt=2**31)]
    stop_sequences: Annotated[list[Text], Field(max_length=64)] | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(strict=True, ge=0, lt=2**31)] | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    container: Any = None
    inference_geo: str | None = None
    diagnostics: Any = None

    def options(self) -> dict[str, Any]:
        """Return the options of the call.

        Raises:
            InvalidRequest: Fields contradict each other.
        """
        options = super().options()
        options["max_tokens"] = self.max_tokens
        fields = self.set_fields()
        options |= {name: fields[name] for name in ("temperature", "top_p", "top_k") if fields.get(name)}
        if self.temperature == 0:
            options["temperature"] = 0.0
        if self.stop_sequences:
            options["stop"] = tuple(self.stop_sequences)
        return options


def _join_text(content: str | list[dict[str, Any]], place: str) -> str:
    """Return the text of text blocks, a paragraph each."""
    if isinstance(content, str):
        return content
    return "\n".join(_text_of(block, f"{place}[{at}]") for at, block in enumerate(content))


def _text_of(block: Mapping[str, Any], place: str) -> str:
    if block.get("type") != "text" or not isinstance(block.get("text"), str):
        raise InvalidRequest(f"{place}: only text can stand here.")
    return str(block["text"])


def _read_answer(content: list[dict[str, Any]], place: str) -> dict[str, Any]:
    """Return an assistant's message: texts, thoughts and calls of tools."""
    texts, thoughts, calls = [], [], []
    for at, block in enumerate(content):
        kind, where = block.get("type"), f"{place}[{at}]"
        if kind == "tool_use":
            name, arguments, identity = block.get("name"), block.get("input"), block.get("id")
            if not isinstance(name, str) or not isinstance(arguments, dict) or not isinstance(identity, str):
                raise InvalidRequest(f"{where}: a tool_use needs an id, a name and an input.")
            calls.append({"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}})
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind != "redacted_thinking":  # which only Anthropic can read
            texts.append(_text_of(block, where))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    if calls:
        message["tool_calls"] = calls
        if thoughts:
            message["reasoning"] = "\n".join(thoughts)
    return message


def _read_user(content: list[dict[str, Any]], place: str) -> Iterator[dict[str, Any]]:
    """Yield the results of tools, then what the user says."""
    parts: list[dict[str, Any]] = []
    for at, block in enumerate(content):
        where = f"{place}[{at}]"
        if block.get("type") != "tool_result":
            parts.append(_read_part(block, where))
            continue
        inner = block.get("content") or ""
        blocks = [{"type": "text", "text": inner}] if isinstance(inner, str) else inner
        if not isinstance(blocks, list) or not all(isinstance(item, dict) for item in blocks):
            raise InvalidRequest(f"{where}.content: it must be text or blocks.")
        read = [_read_part(item, f"{where}.content[{number}]") for number, item in enumerate(blocks)]
        text = "\n".join(part["text"] for part in read if part["type"] == "text")
        if block.get("is_error") and not text.lower().startswith("error"):
            text = f"Error: {text}"
        if not isinstance(block.get("tool_use_id"), str):
            raise InvalidRequest(f"{where}: a tool_result needs a tool_use_id.")
        yield {"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}
        # A result is text; its images follow as the user's.
        parts += [part for part in read if part["type"] != "text"]
    if parts:
        texts = [part for part in parts if part["type"] == "text"]
        is_plain = len(texts) == len(parts) == 1
        yield {"role": "user", "content": texts[0]["text"] if is_plain else parts}


def _read_part(block: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return a block as a part in OpenAI's spelling."""
    kind = block.get("type")
    if kind == "text":
        return {"type": "text", "text": _text_of(block, place)}
    source = block.get("source")
    fields: Mapping[str, Any] = source if isinstance(source, Mapping) else {}
    if kind == "document" and fields.get("type") == "text" and isinstance(fields.get("data"), str):
        title = block.get("title")
        return {"type": "text", "text": f"{title}\n{fields['data']}" if title else fields["data"]}
    if kind == "image" and fields.get("type") == "base64":
        url = f"data:{fields.get('media_type')};base64,{fields.get('data')}"
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "image" and fields.get("type") == "url":
        return {"type": "image_url", "image_url": {"url": fields.get("url")}}
    raise InvalidRequest(f"{place}: a block of the type {str(kind)[:40]!r} has no place here.")
