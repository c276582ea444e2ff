"""Faults of tool calls that come in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openmodels.testing.faults.answers import chunk, event, stream
from openmodels.testing.faults.expect import Fails, Right
from openmodels.testing.faults.streams import streamed


def _piece(
    arguments: Any = None, name: str | None = None, call: str | None = None, index: int | None = 0
) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {key: value for key, value in (("index", index), ("id", call), ("function", function)) if value is not None}


def _tools(name: str, what: str, pieces: Iterable[dict[str, Any]], *calls: tuple[str, object]) -> None:
    sent = [event(chunk({"tool_calls": [piece]})) for piece in pieces]
    streamed(
        f"sse-tools-{name}", what, stream(*sent, finish="tool_calls"), Right(text="", finish="tool_calls", tools=calls)
    )


_oslo = ("weather", {"city": "Oslo"})
_rome = ("weather", {"city": "Rome"})
_a = [_piece("", "weather", "a"), _piece('{"city": '), _piece('"Oslo"}')]
_b = [_piece("", "weather", "b", 1), _piece('{"city": ', index=1), _piece('"Rome"}', index=1)]

_tools("one", "calls a tool in pieces", _a, _oslo)
_tools("two", "calls two tools", _a + _b, _oslo, _rome)
_tools("woven", "weaves two calls together", [_a[0], _b[0], _a[1], _b[1], _a[2], _b[2]], _oslo, _rome)
_tools("no-index", "gives no index", [{**p, "index": None} for p in _a + _b], _oslo, _rome)
_tools("shared-index", "gives two calls one index", _a + [{**p, "index": 0} for p in _b], _oslo, _rome)
_tools(
    "gap", "leaves gaps in the index", [{**p, "index": 1} for p in _a] + [{**p, "index": 5} for p in _b], _oslo, _rome
)
_tools(
    "name-repeated",
    "repeats the name",
    [_piece("", "weather", "a"), _piece('{"city": ', "weather"), _piece('"Oslo"}', "weather")],
    _oslo,
)
_tools("id-repeated", "repeats id and name", [_piece(x, "weather", "a") for x in ("", '{"city": ', '"Oslo"}')], _oslo)
_tools(
    "id-only-repeated",
    "repeats the id without index",
    [
        _piece("", "weather", "a", None),
        _piece('{"city": ', call="a", index=None),
        _piece('"Oslo"}', call="a", index=None),
    ],
    _oslo,
)
_tools(
    "id-changing",
    "gives a new id with every piece",
    [_piece("", "weather", "a"), _piece('{"city": ', call="b"), _piece('"Oslo"}', call="c")],
    _oslo,
)
_tools(
    "id-woven",
    "weaves two calls told apart by id only",
    [{**p, "id": i, "index": None} for p, i in zip([_a[0], _b[0], _a[1], _b[1], _a[2], _b[2]], "ababab", strict=True)],
    _oslo,
    _rome,
)
_tools("no-id", "gives no ids", [{**p, "id": None} for p in _a + _b], _oslo, _rome)
_tools(
    "whole",
    "sends whole calls, all with index 0 and no id",
    [_piece('{"city": "Oslo"}', "weather"), _piece('{"city": "Rome"}', "weather")],
    _oslo,
    _rome,
)
_tools("object", "gives arguments as an object", [_piece({"city": "Oslo"}, "weather", "a")], _oslo)
_tools("no-arguments", "gives no arguments", [_piece(None, "now", "a")], ("now", {}))
_tools(
    "name-split", "splits the name", [_piece(None, "wea", "a"), _piece(None, "ther"), _piece('{"city": "Oslo"}')], _oslo
)
_tools("null-function", "sends null as function at the end", [*_a, {"index": 0, "function": None}], _oslo)
streamed(
    "sse-tools-cut",
    "ends inside a tool call",
    [event(chunk({"tool_calls": [p]})) for p in _a[:2]],
    Fails("StreamInterrupted", "cut off"),
)
