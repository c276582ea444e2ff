"""The body of a request for a response, and what it is as a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.openai_wire.bodies import MAX_ITEMS, MAX_TOOLS, StreamOptions, WireBody, select_tools
from openmodels.types.messages import Text

_STATELESS = "Nothing is kept between requests: send the whole conversation as `input`."
_CUSTOM_SCHEMA = {
    "type": "object",
    "properties": {"input": {"type": "string", "description": "The whole input of the tool, as it is."}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The arguments of a tool that takes a text."""
_HOSTED_ITEMS = ("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_")
"""Items about tools that a vendor ran, which another model cannot read."""


class TextFormat(BaseModel):
    """The form of an answer.

    Attributes:
        type: Text, any JSON object, or JSON of a schema.
        name: A name for the schema.
        description: What it is for; models do not see it.
        json_schema: The schema.
        strict: Whether the answer has to keep to it; here it always has to.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    json_schema: dict[str, Any] | None = Field(alias="schema", default=None)
    strict: bool | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("schema goes with the type 'json_schema', and only with it")
        return self


class TextConfig(BaseModel):
    """The form of an answer, and how long it is meant to be.

    Attributes:
        format: The form.
        verbosity: A hint.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    format: TextFormat | None = None
    verbosity: str | None = None


class ReasoningConfig(BaseModel):
    """How much the model thinks.

    Attributes:
        effort: A hint.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, frozen=True)

    effort: str | None = None


class ResponsesBody(WireBody):
    """The body of `/v1/responses`."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {
            *("client_metadata", "context_management", "max_tool_calls", "metadata", "prompt_cache_key"),
            *("prompt_cache_options", "prompt_cache_retention", "safety_identifier", "service_tier", "store", "user"),
        }
    )

    input: Text | Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ITEMS)]
    instructions: Text | None = None
    max_output_tokens: Annotated[int, Field(strict=True, ge=1, lt=2**31)] | None = None
    temperature: Annotated[float, Field(strict=True, ge=0, le=100)] | None = None
    top_p: Annotated[float, Field(strict=True, gt=0, le=1)] | None = None
    presence_penalty: Annotated[float, Field(strict=True, ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(strict=True, ge=-2, le=2)] | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    include: list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    background: Literal[False] | None = None
    previous_response_id: str | None = None
    conversation: Any = None
    prompt: None = None
    max_tool_calls: int | None = None
    metadata: dict[str, Any] | None = None
    client_metadata: dict[str, Any] | None = None
    context_management: Any = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    user: str | None = None
    extra: dict[str, Any] | None = None

    def ignored(self) -> list[str]:
        """Return the names of the fields that are set and change nothing."""
        names = super().ignored()
        names += [f"include.{name}" for name in self.include or () if name != "message.output_text.logprobs"]
        if self.truncation == "auto":
            names.append("truncation")
        names += [f"tools.{tool.get('type')}" for tool in self.tools or () if not _is_ours(tool)]
        if isinstance(self.input, list):
            kinds = {str(item.get("type")) for item in self.input if _is_hosted_item(item)}
            names += [f"input.{kind}" for kind in kinds]
        return sorted(name[:80] for name in names)

    def forwarded(self) -> dict[str, Any]:
        """Return the fields that only the server of a model acts on."""
        hints = {
            "reasoning_effort": self.reasoning and self.reasoning.effort,
            "verbosity": self.text and self.text.verbosity,
        }
        return {name: value for name, value in hints.items() if value}

    @property
    def custom_tools(self) -> frozenset[str]:
        """The names of the tools that take a text."""
        return frozenset(str(tool.get("name")) for tool in self.tools or () if tool.get("type") == "custom")

    def options(self) -> dict[str, Any]:
        """Return the options of the call.

        Raises:
            InvalidRequest: Fields contradict each other.
            UnsupportedFeature: The request refers to what was kept.
        """
        for name in ("previous_response_id", "conversation"):
            if getattr(self, name):
                raise UnsupportedFeature(f"{name}: the server keeps no conversations.", next_step=_STATELESS)
        fields = self.set_fields()
        names = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "extra")
        options = {name: fields[name] for name in names if name in fields}
        if self.max_output_tokens is not None:
            options["max_tokens"] = self.max_output_tokens
        if self.top_logprobs or "message.output_text.logprobs" in (self.include or ()):
            options["logprobs"] = self.top_logprobs or 0
        form = self.text.format if self.text else None
        if form is not None and form.type != "text":
            options["schema"] = form.json_schema or {"type": "object"}
        tools = [_read_tool(tool) for tool in self.tools or () if _is_ours(tool)]
        choice = self.tool_choice
        if isinstance(choice, dict) and choice.get("type") == "custom":
            choice = {"type": "function", "name": choice.get("name")}
        return options | select_tools(tools, choice)

    def chat_messages(self) -> list[dict[str, Any]]:
        """Return the messages in OpenAI's older spelling, the instructions first.

        Raises:
            InvalidRequest: An item is of a wrong or unknown kind.
            UnsupportedFeature: An item refers to what was kept.
        """
        messages: list[dict[str, Any]] = []
        if self.instructions:
            messages.append({"role": "system", "content": self.instructions})
        if isinstance(self.input, str):
            return [*messages, {"role": "user", "content": self.input}]
        thoughts: list[str] = []
        for at, item in enumerate(self.input):
            if _is_hosted_item(item):
                continue
            if item.get("type") == "reasoning":
                thoughts += _read_thoughts(item)
            else:
                _add_item(messages, item, f"input[{at}]", thoughts)
        return messages


def _is_ours(tool: Mapping[str, Any]) -> bool:
    return tool.get("type") in ("function", "custom")


def _is_hosted_item(item: Mapping[str, Any]) -> bool:
    return str(item.get("type")).startswith(_HOSTED_ITEMS)


def _read_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool in OpenAI's older spelling."""
    fields = {name: tool[name] for name in ("name", "description", "strict") if tool.get(name) is not None}
    parameters = tool.get("parameters") or {"type": "object", "properties": {}}
    if tool["type"] == "custom":
        form = tool.get("format")
        grammar = form.get("definition") if isinstance(form, Mapping) else None
        if grammar:
            fields["description"] = f"{fields.get('description', '')}\nThe input follows this grammar:\n{grammar}"
        parameters = _CUSTOM_SCHEMA
    return {"type": "function", "function": {**fields, "parameters": parameters}}


def _read_thoughts(item: Mapping[str, Any]) -> list[str]:
    """Return the texts of a reasoning item, without what is encrypted."""
    parts = item.get("content") or item.get("summary") or ()
    return [str(part["text"]) for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str)]


def _add_item(messages: list[dict[str, Any]], item: dict[str, Any], place: str, thoughts: list[str]) -> None:
    """Add an item to the messages; calls of one turn become one message."""
    kind = item.get("type", "message")
    if kind == "message":
        messages.append(_read_message_item(item, place))
        thoughts.clear()
    elif kind in ("function_call", "custom_tool_call"):
        arguments = item.get("arguments") if kind == "function_call" else {"input": item.get("input")}
        name, identity = item.get("name"), item.get("call_id")
        if not isinstance(name, str) or not isinstance(identity, str) or not isinstance(arguments, str | dict):
            raise InvalidRequest(f"{place}: a call needs a call_id, a name, and its arguments or input.")
        if not messages or messages[-1]["role"] != "assistant":
            messages.append({"role": "assistant", "content": ""})
        call = {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
        messages[-1].setdefault("tool_calls", []).append(call)
        if thoughts:
            messages[-1]["reasoning"] = "\n".join(thoughts)
            thoughts.clear()
    elif kind in ("function_call_output", "custom_tool_call_output"):
        if not isinstance(item.get("call_id"), str):
            raise InvalidRequest(f"{place}: an output needs the call_id of its call.")
        content = _read_content(item.get("output"), f"{place}.output")
        texts = [content] if isinstance(content, str) else [part["text"] for part in content if part["type"] == "text"]
        messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": "\n".join(texts)})
        images = [part for part in content if part["type"] != "text"] if isinstance(content, list) else []
        if images:  # a result is text; its images follow as the user's
            messages.append({"role": "user", "content": images})
    elif kind == "item_reference":
        raise UnsupportedFeature(f"{place}: an item_reference names what was kept.", next_step=_STATELESS)
    else:
        raise InvalidRequest(f"{place}: an item of the type {str(kind)[:40]!r} has no place here.")


def _read_message_item(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    role = item.get("role")
    if role not in ("user", "assistant", "system", "developer"):
        raise InvalidRequest(f"{place}.role: it must be 'user', 'assistant', 'system' or 'developer'.")
    content = _read_content(item.get("content"), f"{place}.content")
    if role != "user" and isinstance(content, list):
        if any(part["type"] != "text" for part in content):
            raise InvalidRequest(f"{place}.content: images belong to the role 'user'.")
        content = ("" if role == "assistant" else "\n").join(part["text"] for part in content)
    return {"role": role, "content": content}


def _read_content(content: Any, place: str) -> str | list[dict[str, Any]]:
    """Return the text of a content, or its parts in OpenAI's older spelling."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        raise InvalidRequest(f"{place}: it must be text or a list of parts.")
    parts: list[dict[str, Any]] = []
    for at, part in enumerate(content):
        kind = part.get("type")
        text = part.get("refusal") if kind == "refusal" else part.get("text")
        if kind in ("input_text", "output_text", "text", "refusal") and isinstance(text, str):
            parts.append({"type": "text", "text": text})
        elif kind == "input_image" and isinstance(part.get("image_url"), str):
            detail = {"detail": part["detail"]} if part.get("detail") else {}
            parts.append({"type": "image_url", "image_url": {"url": part["image_url"], **detail}})
        else:
            raise InvalidRequest(f"{place}[{at}]: a part of the type {str(kind)[:40]!r} has no place here.")
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts
