"""Values inside calls: where they end, and their cast by a JSON Schema."""

from __future__ import annotations

import ast
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from openmodels.types.messages import ToolCall, read_arguments
from openmodels.types.request import ToolSpec

_JSON = re.compile(r'"(?:[^"\\]|\\.)*(?P<open>"|\\?\Z)|[{}\[\]]', re.DOTALL)
_PYTHON = re.compile(r"""(?P<quote>["'])(?:(?!(?P=quote))[^\\]|\\.)*(?P<open>(?P=quote)|\\?\Z)|[{}()\[\]]""", re.DOTALL)


def balanced(text: str, start: int, *, python: bool = False) -> int | None:
    """Return where the bracketed value at `start` ends; None while it is open."""
    depth = 0
    for item in (_PYTHON if python else _JSON).finditer(text, start):
        if item["open"] is not None:
            continue
        depth += 1 if item[0] in "{[(" else -1
        if depth <= 0:
            return item.end()
    return None


def outside_strings(text: str, marker: str, start: int) -> int | None:
    """Return where `marker` stands outside of JSON strings, or None."""
    pattern = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)|(?P<marker>' + re.escape(marker) + ")", re.DOTALL)
    return next((item.start() for item in pattern.finditer(text, start) if item["marker"]), None)


def loads(text: str) -> Any:
    """Return the JSON value of a text, raw line breaks in strings allowed.

    Raises:
        ValueError: It is not JSON, or holds NaN or an infinity.
    """
    try:
        return json.loads(text, strict=False, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def make_call(name: str, arguments: dict[str, Any], raw: str, call_id: str | None = None) -> ToolCall:
    """Return a call, with an id that every template accepts if it has none."""
    # Mistral's templates insist on nine letters or digits.
    return ToolCall(id=call_id or secrets.token_hex(5)[:9], name=name, arguments=arguments, raw=raw)


def read_calls(value: Any) -> Iterator[ToolCall]:
    """Yield the calls of a JSON value: an object with "name", or a list of them.

    The arguments are under "arguments" or "parameters".

    Raises:
        ValueError: It is not a call.
    """
    for entry in value if isinstance(value, list) else [value]:
        item = entry.get("function", entry) if isinstance(entry, dict) else entry
        if not isinstance(item, dict) or not isinstance(item.get("name"), str) or not item["name"]:
            raise ValueError("no name")
        arguments = item.get("arguments", item.get("parameters", {}))
        raw = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        if isinstance(arguments, str) and read_arguments(arguments) is None:
            arguments = loads(arguments)  # JSON with the usual slips
        arguments = read_arguments(arguments)
        if arguments is None:
            raise ValueError("arguments are no object")
        call_id = item.get("id")
        yield make_call(item["name"], arguments, raw, call_id if isinstance(call_id, str) else None)


def schemas(tools: Mapping[str, ToolSpec], name: str) -> Mapping[str, Any]:
    """Return the schemas of a tool's arguments by name; empty for an unknown tool."""
    properties = tools[name].parameters.get("properties") if name in tools else None
    return properties if isinstance(properties, dict) else {}


def cast(text: str, schema: Any) -> Any:
    """Return an untyped value as a type of its schema; the text if none fits.

    A schema that does not tell its type leaves JSON as what it is, and anything else a text.
    """
    kinds = _kinds(schema)
    stripped = text.strip()
    if "null" in kinds and stripped.lower() in {"null", "none"}:
        return None
    for kind in ("boolean", "integer", "number", "object", "array"):
        if kind in kinds or not kinds:
            try:
                value = _read(stripped, kind)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue  # not of this kind; what is of none stays text, and the schema's check names it
            return value
    return text


def _read(text: str, kind: str) -> Any:
    if kind == "boolean":
        if text.lower() not in {"true", "false"}:
            raise ValueError("no boolean")
        return text.lower() == "true"
    value: Any
    try:
        value = loads(text)
    except ValueError:
        if kind not in {"object", "array"}:
            raise
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    allowed: tuple[type, ...] = {"object": (dict,), "array": (list,)}.get(kind, (int, float))
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ValueError(f"no {kind}")  # noqa: TRY004 - one kind of failure for the caller
    if kind == "integer" and isinstance(value, float):
        if not value.is_integer():
            raise ValueError("no integer")
        return int(value)
    return value


def _kinds(schema: Any) -> set[str]:
    if not isinstance(schema, dict):
        return set()
    kinds: set[str] = set()
    kind = schema.get("type")
    kinds.update([kind] if isinstance(kind, str) else [k for k in kind if isinstance(k, str)] if kind else [])
    for word in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(word) or ():
            kinds |= _kinds(part)
    names = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
    examples = [*(schema.get("enum") or ()), *([schema["const"]] if "const" in schema else [])]
    kinds |= {names[type(value)] for value in examples if not kinds and type(value) in names}
    if "$ref" in schema and not kinds:
        return {"string", "object", "array", "integer", "number", "boolean", "null"}
    return kinds
