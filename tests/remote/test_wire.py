"""The wire's pure functions: any split of the bytes gives the same events, and no garbage an untyped error."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openmodels.errors import OpenModelsError
from openmodels.testing.faults import KEY, PROMPT
from openmodels.testing.faults.answers import chunk, event, stream
from openmodels.wire import classify, decode, sse, tools

_EVENT_STREAM = {"content-type": "text/event-stream"}


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(edges)]


def _events(pieces: list[bytes]) -> list[sse.Event]:
    decoder = sse.SSEDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.end()


_lines = st.sampled_from(
    [b"data: x", b"data:y", b"data", b": c", b"event: e", b"id: 1", b"\xef\xbb\xbfdata: z", b"", b""]
)
_ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
_streams = st.lists(st.tuples(_lines, _ends), max_size=12).map(lambda rows: b"".join(a + b for a, b in rows))
_places = st.lists(st.integers(0, 200), max_size=20)


@given(st.one_of(_streams, st.binary(max_size=200)), _places)
def test_any_split_gives_the_same_events(data: bytes, places: list[int]) -> None:
    assert _events(_cut(data, places)) == _events([data])


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"])), max_size=5), _ends)
def test_events_come_back_as_they_were_sent(texts: list[str], end: bytes) -> None:
    sent = [text for text in texts if text]
    data = b"".join(b"data: " + text.encode() + end + end for text in sent)
    assert [event.data.decode() for event in _events([data])] == sent


def _decode(pieces: list[bytes]) -> tuple[list[Any], str]:
    decoder = decode.Decoder(200, _EVENT_STREAM, lambda body: classify.error(_read(body)))
    deltas: list[Any] = []
    try:
        for piece in pieces:
            deltas += decoder.feed(piece)
        deltas += decoder.end()
    except OpenModelsError as error:
        return [(delta.text, delta.tool_calls) for delta in deltas], f"{type(error).__name__} {error}"
    return [(delta.text, delta.tool_calls) for delta in deltas], ""


def _read(body: bytes | object) -> classify.Failure:
    return classify.read(200, {}, body, host="h")


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["choices", "delta", "message", "content", "index", "finish_reason", "usage", "error", "tool_calls", "text",
             "function", "name", "arguments", "id", "detail", "code", "type", "refusal", "reasoning", "prompt_tokens"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.lists(_json, max_size=4), _places)
def test_garbage_in_a_stream_is_a_typed_error_however_it_is_cut(values: list[Any], places: list[int]) -> None:
    data = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
    assert _decode(_cut(data, places)) == _decode([data])


@given(st.one_of(_json.map(lambda value: json.dumps(value).encode()), st.binary(max_size=100)))
def test_garbage_as_a_body_is_a_typed_error(body: bytes) -> None:
    for status in (200, 400, 500):
        decoder = decode.Decoder(
            status, {}, lambda body, status=status: classify.error(classify.read(status, {}, body, host="h"))
        )
        told = ""
        try:
            list(decoder.feed(body))
            list(decoder.end())
        except OpenModelsError as error:
            told = str(error)
        assert told.isprintable()


@given(_places)
def test_a_good_stream_survives_any_split(places: list[int]) -> None:
    data = b"".join(stream())
    assert _decode(_cut(data, places)) == _decode([data])
    assert _decode([data])[1] == ""


_pieces = st.fixed_dictionaries(
    {},
    optional={
        "index": st.none() | st.integers(-1, 3),
        "id": st.none() | st.sampled_from(["", "a", "b"]),
        "function": st.none()
        | st.fixed_dictionaries(
            {},
            optional={
                "name": st.none() | st.sampled_from(["", "f", "g"]),
                "arguments": st.none() | st.text(max_size=3),
            },
        ),
    },
)


@given(st.lists(st.one_of(_pieces, _json), max_size=10))
def test_garbage_as_tool_calls_is_a_typed_error(pieces: list[Any]) -> None:
    assembler = tools.ToolAssembler()
    names = []
    try:
        assembler.add(pieces)
        names = [call.name for call in assembler.calls()]
    except OpenModelsError:
        assert pieces
    assert all(names)


@given(
    st.lists(st.tuples(st.sampled_from(["f", "g"]), st.dictionaries(st.text(max_size=3), st.integers())), max_size=4),
    st.data(),
)
def test_calls_in_any_order_of_pieces_come_back_whole(
    calls: list[tuple[str, dict[str, int]]], data: st.DataObject
) -> None:
    queues = []
    for index, (name, arguments) in enumerate(calls):
        raw = json.dumps(arguments)
        cut = data.draw(st.integers(0, len(raw)))
        parts = [{"index": index, "id": f"c{index}", "function": {"name": name, "arguments": raw[:cut]}}]
        queues.append([*parts, {"index": index, "function": {"arguments": raw[cut:]}}])
    assembler = tools.ToolAssembler()
    while any(queues):
        ready = [queue for queue in queues if queue]
        assembler.add([data.draw(st.sampled_from(ready)).pop(0)])
    got = {call.id: (call.name, call.arguments) for call in assembler.calls()}
    assert got == {f"c{index}": call for index, call in enumerate(calls)}


@given(st.text(), st.sampled_from(["retry-after", "retry-after-ms", "ratelimit", "x-ms-retry-after-ms"]))
def test_no_retry_after_is_negative_or_infinite(value: str, name: str) -> None:
    wait = classify.retry_after({name: value}, 1e9)
    assert wait is None or 0 <= wait < 1e12


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after": "Sun, 09 Sep 2001 01:46:50 GMT"}, 10.0),
        ({"retry-after": "Sun, 09 Sep 2001 01:46:30 GMT"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "junk", "retry-after": "9"}, 9.0),
        ({"x-ms-retry-after-ms": "500"}, 0.5),
        ({"ratelimit": '"api";r=0;t=55'}, 55.0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert classify.retry_after(headers, 1_000_000_000.0) == seconds


@given(st.text(max_size=80), st.integers(0, 40), st.text(max_size=80))
def test_no_part_of_a_secret_survives(before: str, start: int, after: str) -> None:
    told = classify.redact(f"{before}{PROMPT[start:]} {KEY}{after}", [PROMPT, KEY])
    assert KEY not in told
    assert len(told) <= classify.LONGEST_MESSAGE
    if len(PROMPT[start:]) >= 24:
        assert PROMPT[start:] not in told


def test_an_event_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 1000)
    text, error = _decode([b"data: " + b"x" * 600, b"x" * 600])
    assert text == []
    assert error.startswith("InvalidResponse")
    many = [event(chunk({"content": "x" * 500}))] * 10
    assert _decode(many)[1].startswith("StreamInterrupted")
