"""Values inside calls: where they end, and their cast by a JSON Schema."""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from openmodels.output import call_ids
from openmodels.types.messages import ToolCall, read_arguments
from openmodels.types.request import ToolSpec

_JSON = re.compile(r'"(?:[^"\\]|\\.)*(?P<open>"|\\?\Z)|[{}\[\]]', re.DOTALL)
_JSON_STRING = r'"(?:[^"\\]|\\.)*(?:"|\\?\Z)'
_PYTHON = re.compile(r"""(?P<quote>["'])(?:(?!(?P=quote))[^\\]|\\.)*(?P<open>(?P=quote)|\\?\Z)|[{}()\[\]]""", re.DOTALL)


def find_end(text: str, start: int, *, python: bool = False) -> int | None:
    """Return where the bracketed value at `start` ends; None while it is open."""
    depth = 0
    for item in (_PYTHON if python else _JSON).finditer(text, start):
        if item["open"] is not None:
            continue
        depth += 1 if item[0] in "{[(" else -1
        if depth <= 0:
            return item.end()
    return None


def find_outside(text: str, markers: Sequence[str], start: int, *, string: str = _JSON_STRING) -> int | None:
    """Return where the first of `markers` stands outside of strings, or None."""
    pattern = re.compile(rf"{string}|(?P<marker>{'|'.join(map(re.escape, markers))})", re.DOTALL)
    return next((item.start() for item in pattern.finditer(text, start) if item["marker"]), None)


def loads(text: str) -> Any:
    """Return the JSON value of a text, raw line breaks in strings allowed.

    Raises:
        ValueError: It is not JSON, or holds NaN or an infinity.
    """
    try:
        return json.loads(text, strict=False, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON value")


def make_call(name: str, arguments: dict[str, Any], raw: str | None = None, call_id: str | None = None) -> ToolCall:
    """Return a call; an id and the arguments' text are made where there are none."""
    raw = json.dumps(arguments, ensure_ascii=False) if raw is None else raw
    return ToolCall(id=call_id or call_ids.make_id(), name=name, arguments=arguments, raw=raw)


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


def argument_schemas(tools: Mapping[str, ToolSpec], name: str) -> Mapping[str, Any]:
    """Return the schemas of a tool's arguments by name; empty for an unknown tool."""
    properties = tools[name].parameters.get("properties") if name in tools else None
    return properties if isinstance(properties, dict) else {}


def cast(text: str, schema: Any) -> Any:
    """Return an untyped value as a type of its schema; the text if none fits.

    A schema that does not tell its type leaves JSON as what it is, and anything else a text.
    """
    kinds = _list_types(schema)
    stripped = text.strip()
    if "null" in kinds and stripped.lower() in {"null", "none"}:
        return None
    for kind in ("boolean", "integer", "number", "object", "array"):
        if kind in kinds or not kinds:
            with suppress(ValueError, TypeError, LookupError, SyntaxError, MemoryError, RecursionError):
                return _parse_as(stripped, kind)
    return text  # the schema's check names what is of none of its types


def _parse_as(text: str, kind: str) -> Any:
    if kind == "boolean":
        return {"true": True, "false": False}[text.lower()]
    value: Any
    try:
        value = loads(text)
    except ValueError:
        if kind not in {"object", "array"}:
            raise
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    allowed: tuple[type, ...] = {"object": (dict,), "array": (list,)}.get(kind, (int, float))
    is_fraction = kind == "integer" and isinstance(value, float) and not value.is_integer()
    is_allowed = isinstance(value, allowed) and not isinstance(value, bool)
    if is_fraction or not is_allowed:
        raise ValueError(f"no {kind}")
    return int(value) if kind == "integer" else value


def _list_types(schema: Any) -> set[str]:
    """Return the types that a schema allows; empty where it does not tell."""
    if not isinstance(schema, dict):
        return set()
    listed = schema.get("type") or ()
    kinds = {kind for kind in ([listed] if isinstance(listed, str) else listed) if isinstance(kind, str)}
    kinds = kinds.union(*(_list_types(part) for word in ("anyOf", "oneOf", "allOf") for part in schema.get(word) or ()))
    if not kinds:
        examples = [*(schema.get("enum") or ()), *([schema["const"]] if "const" in schema else [])]
        kinds = {_NAMES[type(value)] for value in examples if type(value) in _NAMES}
    return {"object", "array", *_NAMES.values()} if "$ref" in schema and not kinds else kinds


_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
