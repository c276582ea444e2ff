"""Requests as the JSON of the OpenAI API, for chat and for legacy completions."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from openmodels.errors import InvalidRequest
from openmodels.output import call_ids, schema as schemas
from openmodels.types.messages import ImagePart, Message, ToolCall
from openmodels.types.options import CALL_OPTIONS
from openmodels.types.request import ChatRequest, ResponseFormat, ToolSpec

OPENAI_OPTIONS = frozenset(
    {"temperature", "top_p", "max_tokens", "stop", "seed", "frequency_penalty", "presence_penalty", "n", "logprobs"}
)
"""The options that OpenAI's own API takes under their wire keys."""

OPEN_SERVER_OPTIONS = OPENAI_OPTIONS | {"top_k", "repetition_penalty"}
"""The options that the servers for open models take under their wire keys."""

FORM_OPTIONS = frozenset({"schema", "choices", "tools", "tool_choice"})
"""The options that every server of the dialect is asked for in the same way."""

_WIRE_KEYS = {
    name: tuple(filter(None, (option.wire_key, option.wire_alias)))
    for name, (_, option) in CALL_OPTIONS.items()
    if option.wire_key
}

_OURS = frozenset({"messages", "prompt", "model", "stream"})
_FORM_KEYS = {"response_format", "tools", "tool_choice"}
"""Keys that openmodels sets itself where the caller sets the option."""


def encode_chat(request: ChatRequest, model: str | None, options: Collection[str]) -> dict[str, Any]:
    """Return the body of a chat, or of a completion where there is a `prompt`.

    Only those options are sent that the server takes under their wire keys: `options`.

    Raises:
        InvalidRequest: `extra` touches what openmodels sets itself, or asks for several answers.
    """
    body: dict[str, Any] = {} if model is None else {"model": model}
    if request.prompt is not None:
        body["prompt"] = request.prompt
    else:
        messages = call_ids.rewrite_ids(request.messages, call_ids.find_id_format(model))
        body["messages"] = [_encode_message(message) for message in messages]
    fields = vars(request)
    for option, keys in _WIRE_KEYS.items():
        value = fields[option]
        if value is not None and value != () and option in options:
            body |= dict.fromkeys(keys, value)
    if request.prompt is None and "logprobs" in body:
        body["logprobs"] = True  # and the number is another field; completions take the number itself
        if request.logprobs:
            body["top_logprobs"] = request.logprobs
    body |= _encode_form(request)
    if request.stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    taken = _OURS & request.extra.keys() | (body.keys() & request.extra.keys() & _FORM_KEYS)
    if taken:
        raise InvalidRequest(f"extra: {min(taken)!r} is set by openmodels itself.")
    if request.extra.get("n", 1) != 1:
        raise InvalidRequest("extra: 'n' belongs to the call.", next_step="Pass n= itself.")
    return body | request.extra


def add_extra(body: dict[str, Any], extra: Mapping[str, Any], *more: str) -> dict[str, Any]:
    """Return a body with the caller's `extra`, which touches neither it nor `more`."""
    if taken := {*body, *more} & extra.keys():
        raise InvalidRequest(f"extra: {min(taken)!r} is set by openmodels itself.")
    return body | dict(extra)


def to_json(body: Mapping[str, Any]) -> bytes:
    """Return a body as JSON in UTF-8.

    Raises:
        InvalidRequest: It holds what JSON cannot (NaN, bytes, half a surrogate pair, …).
    """
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise InvalidRequest("extra: half a surrogate pair cannot be sent.") from None
    except (TypeError, ValueError, RecursionError) as error:
        # Only `extra` is unchecked so far, and the encoder's message names the type, not the value.
        raise InvalidRequest(f"extra: {error}.") from error


def _encode_form(request: ChatRequest) -> dict[str, Any]:
    """Return the keys of `FORM_OPTIONS`."""
    body: dict[str, Any] = {}
    if request.output is not None:
        body["response_format"] = _encode_response_format(request.output)
    if request.tools:
        body["tools"] = [{"type": "function", "function": _encode_function(tool)} for tool in request.tools]
    if (choice := request.tool_choice) is not None:
        named = {"type": "function", "function": {"name": choice}}
        body["tool_choice"] = choice if choice in ("auto", "none", "required") else named
    return body


def _encode_function(tool: ToolSpec) -> dict[str, Any]:
    about = {"description": tool.description} if tool.description else {}
    strict = {} if tool.strict is None else {"strict": tool.strict}
    return {"name": tool.name, **about, "parameters": tool.parameters, **strict}


def _encode_response_format(output: ResponseFormat) -> dict[str, Any]:
    """Return `schema` or `choices` as servers spell them, always as an object."""
    plain = {"type": "string", "enum": list(output.choices)} if output.choices else output.json_schema or {}
    schema = schemas.wrap_in_object(plain)
    # Strict modes refuse what they do not know. Without it, servers that decode with a grammar keep to
    # the schema all the same, and the answer is checked anyway.
    form = {"name": output.name, "schema": schema, "strict": schemas.is_strict(schema)}
    return {"type": "json_schema", "json_schema": form}


def _encode_arguments(call: ToolCall) -> str:
    # Servers refuse a history whose arguments are anything but a JSON object; the tool's answer tells what was wrong.
    if not call.arguments:
        return "{}"
    return call.raw if call.raw.lstrip().startswith("{") else json.dumps(call.arguments, ensure_ascii=False)


def _encode_part(part: str | ImagePart) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    detail = {"detail": part.detail} if part.detail else {}
    return {"type": "image_url", "image_url": {"url": part.address, **detail}}


def _encode_message(message: Message) -> dict[str, Any]:
    content = message.content if isinstance(message.content, str) else [*map(_encode_part, message.content)]
    body: dict[str, Any] = {"role": message.role, "content": content}
    if message.tool_calls:
        body["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": _encode_arguments(call)}}
            for call in message.tool_calls
        ]
    if message.name is not None:
        body["name"] = message.name
    if message.reasoning:
        body["reasoning_content"] = message.reasoning
    if message.tool_call_id is not None:
        body["tool_call_id"] = message.tool_call_id
    return body
