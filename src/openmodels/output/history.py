"""Turns of a conversation in OpenAI's spelling, converted to messages.

What the API returns beside the text (null fields, empty lists, ids of objects) is left out; a field
that is set and has no place in a `Message` is refused by its name.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from openmodels.errors import InvalidRequest
from openmodels.images import Image
from openmodels.output import call_ids
from openmodels.output.text_scan import REASONING_FIELDS
from openmodels.types.messages import Frozen, ImagePart, Message, ToolCall, read_arguments

_ROLES = {"developer": "system", "function": "tool"}
_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id", "reasoning", "name"})
_DESCRIPTIVE = frozenset({"id", "object", "type", "status", "index", "parsed", "created_at"})
"""Fields that describe the object or repeat its content."""
_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Parts that are text, and the field that holds it."""


def read_turns(items: Sequence[Any]) -> tuple[Any, ...]:
    """Return turns as messages, or as dicts with the fields of `Message`.

    Ids are invented for calls without any, and results without an id answer the calls in their order.

    Raises:
        InvalidRequest: A field or a part has no place in a message.
    """
    read: list[Any] = []
    open_calls: list[tuple[str, str]] = []  # id and name of the calls that have no result yet
    for at, item in enumerate(items):
        turn = _read_turn(item, f"messages[{at}]", open_calls)
        fields = vars(turn) if isinstance(turn, Message) else turn if isinstance(turn, dict) else {}
        open_calls = [call for call in open_calls if call[0] != fields.get("tool_call_id")]
        calls = fields.get("tool_calls")
        if isinstance(calls, tuple | list):
            open_calls += [(call.id, call.name) for call in calls if isinstance(call, ToolCall)]
        read.append(turn)
    return tuple(read)


def _read_turn(item: Any, place: str, open_calls: Sequence[tuple[str, str]]) -> Any:
    # A bare string is the user speaking; the check of the request names what cannot be a turn.
    if isinstance(item, str):
        return {"role": "user", "content": item}
    fields = _to_dict(item)
    if not isinstance(fields, dict):
        return item
    role = fields.get("role")
    turn = {name: value for name, value in _set_fields(fields).items() if name not in _DESCRIPTIVE}
    turn["content"] = "" if fields.get("content") is None and role != "user" else fields.get("content", "")
    if isinstance(role, str):
        turn["role"] = _ROLES.get(role, role)
    if isinstance(turn["content"], Sequence) and not isinstance(turn["content"], str | bytes):
        _read_parts(turn, list(turn["content"]), place)
    thoughts = [turn.pop(name) for name in REASONING_FIELDS if turn.get(name)]
    if thoughts:
        turn["reasoning"] = thoughts[0]
        turn.pop("reasoning_details", None)
    if not turn["content"]:
        turn["content"] = turn.pop("refusal", turn["content"])
    _read_calls(turn, place)
    if turn.get("role") == "tool":
        _read_result(turn, place, open_calls)
    for name, value in turn.items():
        if name not in _FIELDS and value not in ("", False):
            raise _refuse_field(place, name)
    return {name: value for name, value in turn.items() if name in _FIELDS}


def _set_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are neither null nor an empty list or object."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and (value or not isinstance(value, list | dict | tuple))
    }


def _to_dict(item: Any) -> Any:
    """Return a mapping or another client's object as a dict; else the value."""
    if isinstance(item, Mapping):
        return dict(item)
    if not isinstance(item, Frozen) and callable(getattr(item, "model_dump", None)):
        return item.model_dump()
    return item


def _read_parts(turn: dict[str, Any], parts: list[Any], place: str) -> None:
    """Sort the parts of a content: texts, images, and an assistant's reasoning."""
    content: list[Any] = []
    thoughts: list[str] = []
    for at, part in enumerate(map(_to_dict, parts)):
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            content.append(part)
            continue
        kind = part["type"]
        fields = _set_fields(part)
        del fields["type"]
        where = f"{place}.content[{at}]"
        if kind in _TEXTS and isinstance(fields.get(_TEXTS[kind]), str):
            content.append(fields.pop(_TEXTS[kind]))
            fields.pop("logprobs", None)
        elif kind in ("thinking", "reasoning"):
            thoughts.append(_join_thoughts(fields.pop("thinking", None) or fields.pop("text", None) or ""))
            fields = {name: value for name, value in fields.items() if name not in ("signature", "closed")}
        elif kind in ("image_url", "input_image"):
            image, detail = fields.pop("image_url", None), fields.pop("detail", None)
            image = dict(image) if isinstance(image, Mapping) else {"url": image}
            content.append(_read_image(image | ({"detail": detail} if detail else {})))
        else:
            raise InvalidRequest(
                f"{where}: a part of the type {kind[:40]!r} is neither text nor an image.",
                next_step="A content holds texts and images: om.user(text, om.Image(…)).",
            )
        if fields:
            raise _refuse_field(where, min(fields))
    if thoughts and not turn.get("reasoning"):
        turn["reasoning"] = "\n".join(thoughts)
    texts = [part for part in content if isinstance(part, str)]
    typed = all(isinstance(_to_dict(part), dict) for part in parts)
    if not typed or len(texts) < len(content) or (turn.get("role") == "user" and len(texts) > 1):
        turn["content"] = content
    else:
        # The parts of an answer follow each other without a break; others are paragraphs.
        turn["content"] = ("" if turn.get("role") == "assistant" else "\n").join(texts)


def _read_image(fields: dict[str, Any]) -> Any:
    url = fields.get("url")
    if not isinstance(url, str) or url[:5].lower() != "data:" or not fields.keys() <= {"url", "detail"}:
        return {"type": "image_url", "image_url": fields}
    detail = fields.get("detail")
    part = Image(url)  # an image that models do not take is refused here, not by a server
    return ImagePart(data=part.data, media_type=part.media_type, detail="" if detail in (None, "auto") else detail)


def _join_thoughts(thinking: Any) -> str:
    if isinstance(thinking, str):
        return thinking
    pieces = thinking if isinstance(thinking, list) else [thinking]
    return "".join(str(piece.get("text") or "") if isinstance(piece, Mapping) else str(piece) for piece in pieces)


def _read_calls(turn: dict[str, Any], place: str) -> None:
    calls = turn.get("tool_calls") or ()
    if legacy := turn.pop("function_call", None):
        calls = [*calls, {"function": _to_dict(legacy)}]
    if isinstance(calls, Sequence) and not isinstance(calls, str) and calls:
        turn["tool_calls"] = tuple(_read_call(call, f"{place}.tool_calls[{at}]") for at, call in enumerate(calls))


def _read_call(item: Any, place: str) -> Any:
    call = _to_dict(item)
    if not isinstance(call, dict) or ("function" not in call and call.get("type", "function") == "function"):
        return call  # one of ours, or for the check of the request to name
    function = _to_dict(call.get("function"))
    if call.get("type") not in (None, "function") or not isinstance(function, dict):
        raise InvalidRequest(f"{place}: a call of the type {str(call.get('type'))[:40]!r} has no place in a message.")
    if others := _set_fields(call).keys() - {"id", "type", "function", "index"}:
        raise _refuse_field(place, min(others))
    arguments, name = function.get("arguments"), function.get("name")
    if not isinstance(name, str) or not isinstance(arguments, str | Mapping | None):
        raise InvalidRequest(f"{place}.function: it needs a name, and arguments as JSON.")
    raw = json.dumps(dict(arguments), ensure_ascii=False) if isinstance(arguments, Mapping) else arguments or ""
    call_id = call["id"] if isinstance(call.get("id"), str) and call["id"] else call_ids.make_id()
    return ToolCall(id=call_id, name=name, arguments=read_arguments(arguments), raw=raw)


def _read_result(turn: dict[str, Any], place: str, open_calls: Sequence[tuple[str, str]]) -> None:
    # The name of a result is that of its call, which the id says already.
    names = turn.pop("name", None), turn.pop("tool_name", None)
    name = names[0] or names[1]
    if turn.get("tool_call_id"):
        return
    matches = [identity for identity, called in open_calls if name in (None, called)]
    if not matches:
        raise InvalidRequest(
            f"{place}: a tool's result without tool_call_id, and no call before it that has no result."
        )
    turn["tool_call_id"] = matches[0]


def _refuse_field(place: str, name: str) -> InvalidRequest:
    return InvalidRequest(
        f"{place}: the field {name[:60]!r} has no place in a message.",
        next_step=f"Leave it out; a message has: {', '.join(sorted(_FIELDS))}.",
    )
