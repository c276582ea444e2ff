"""The wire's pure functions: any split of the bytes gives the same events, and no garbage an untyped error."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, strategies as st

from openmodels.errors import OpenModelsError, StreamInterrupted
from openmodels.http import decompression, sse, status_errors
from openmodels.openai_wire import choices, decode
from openmodels.testing.faults import KEY, PROMPT
from openmodels.testing.faults.answers import chunk, event, stream

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


def _slowly(data: bytes) -> list[sse.Event]:
    """The standard's algorithm, word for word, on the whole text at once."""
    events, name, lines = [], "", []
    data = data.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in [*data.split(b"\n"), b""]:
        field, colon, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if not line:
            if lines:
                events.append(sse.Event(name, b"\n".join(lines)))
            name, lines = "", []
        elif field == b"event":
            name = value.decode(errors="replace")
        elif field == b"data":
            lines.append(value)
        elif field == b"error":  # not of the standard
            name, lines = "error", [*lines, value]
        assert colon or not value
    return events


@given(st.one_of(_streams, st.binary(max_size=200)), _places)
def test_events_are_those_of_the_standard(data: bytes, places: list[int]) -> None:
    assert _events(_cut(data, places)) == _slowly(data)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n\ufeff", exclude_categories=["Cs"])), max_size=5), _ends)
def test_events_come_back_as_they_were_sent(texts: list[str], end: bytes) -> None:
    sent = [text for text in texts if text]
    data = b"".join(b"data: " + text.encode() + end + end for text in sent)
    assert [event.data.decode() for event in _events([data])] == sent


def _decode(pieces: list[bytes]) -> tuple[list[Any], str]:
    decoder = decode.ChatDecoder(200, _EVENT_STREAM, lambda body: status_errors.error_from_response(_read(body)))
    deltas: list[Any] = []
    try:
        for piece in pieces:
            deltas += decoder.feed(piece)
        deltas += decoder.finish()
    except OpenModelsError as error:
        return [(delta.text, delta.tool_calls) for delta in deltas], f"{type(error).__name__} {error}"
    return [(delta.text, delta.tool_calls) for delta in deltas], ""


def _read(body: bytes | object) -> status_errors.FailedResponse:
    return status_errors.read_failed_response(200, {}, body, host="h")


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


_kinds = st.sampled_from(["", "application/json", "text/event-stream", "text/plain", "text/html"])
_encodings = st.sampled_from(["", "gzip", "deflate", "br", "gzip, gzip"])
_bodies = st.one_of(_json.map(lambda value: json.dumps(value).encode()), _streams, st.binary(max_size=100))


def _read_answer(status: int, headers: dict[str, str], pieces: list[bytes]) -> str:
    """Return what an answer is: its text, or its error."""

    def translate_error(body):
        return status_errors.error_from_response(status_errors.read_failed_response(status, headers, body, host="h"))

    decoder, text = decode.ChatDecoder(status, headers, translate_error), ""
    try:
        for piece in pieces:
            text += "".join(delta.text for delta in decoder.feed(piece))
        text += "".join(delta.text for delta in decoder.finish())
    except OpenModelsError as error:
        assert str(error).isprintable()
        return f"{text} {error!r} {error.retryable}"
    return text


@given(_bodies, st.sampled_from([200, 302, 400, 429, 500]), _kinds, _encodings, st.booleans(), _places)
def test_garbage_as_an_answer_is_a_typed_error_however_it_is_cut(  # noqa: PLR0917 - what an answer is made of
    body: bytes, status: int, kind: str, encoding: str, honest: bool, places: list[int]
) -> None:
    headers = {"content-type": kind, "content-encoding": encoding}
    if honest and encoding in ("gzip", "deflate"):
        body = zlib.compress(body, wbits=31 if encoding == "gzip" else 15)
    assert _read_answer(status, headers, _cut(body, places)) == _read_answer(status, headers, _cut(body, []))


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
    assembler = choices.ToolCallAssembler()
    names = []
    try:
        assembler.add(pieces)
        names = [call.name for call in assembler.calls()]
    except OpenModelsError:
        assert pieces
    assert all(names)


def _compressors() -> dict[str, Callable[[bytes], bytes]]:
    gzip, bare = (lambda data, bits=bits: zlib.compress(data, wbits=bits) for bits in (31, -15))
    return {
        "gzip": gzip,
        "gzip in members": lambda data: gzip(data[:3]) + gzip(data[3:]),
        "gzip, padded": lambda data: gzip(data) + b"\0" * 9,
        "deflate": zlib.compress,
        "deflate, bare": bare,
    }


@given(st.binary(max_size=300) | st.integers(0, 3000).map(bytes), st.sampled_from(sorted(_compressors())), _places)
def test_compressed_data_comes_back_however_it_is_cut(data: bytes, kind: str, places: list[int]) -> None:
    packed = _compressors()[kind](data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decompression, "PIECE", 16)
        inflater = decompression.Inflater(kind.partition(",")[0].partition(" ")[0])
        pieces = [piece for part in _cut(packed, places) for piece in inflater.feed(part)]
    assert b"".join(pieces) == data
    assert all(len(piece) <= 16 for piece in pieces)
    inflater.end()


@given(st.binary(max_size=100), st.sampled_from(sorted(_compressors())), st.integers(0, 100))
def test_compressed_data_cut_short_is_told(data: bytes, kind: str, length: int) -> None:
    packed = _compressors()[kind](data)
    whole = len(packed) if kind != "gzip, padded" else len(packed) - 9
    first = len(_compressors()["gzip"](data[:3]))
    inflater = decompression.Inflater(kind.partition(",")[0].partition(" ")[0])
    short = min(length, whole - 1)
    list(inflater.feed(packed[:short]))
    if short == 0 or (kind == "gzip in members" and first <= short <= first + 1):
        inflater.end()  # nothing at all, or a member less, cannot be told from a whole
    else:
        with pytest.raises(StreamInterrupted):
            inflater.end()


_STYLES = {
    "index and id once": lambda number, first: {"index": number} | ({"id": f"c{number}"} if first else {}),
    "index and id always": lambda number, _: {"index": number, "id": f"c{number}"},
    "index alone": lambda number, _: {"index": number},
    "gaps in the index": lambda number, _: {"index": 3 * number + 1},
    "id alone": lambda number, _: {"id": f"c{number}"},
}
"""How servers mark the pieces of a call."""


@given(
    st.lists(st.tuples(st.sampled_from(["f", "g"]), st.dictionaries(st.text(max_size=3), st.integers())), max_size=4),
    st.sampled_from(sorted(_STYLES)),
    st.booleans(),
    st.data(),
)
def test_calls_cut_and_woven_in_any_way_come_back_whole(
    calls: list[tuple[str, dict[str, int]]], style: str, repeats: bool, data: st.DataObject
) -> None:
    queues = []
    for number, (name, arguments) in enumerate(calls):
        raw = json.dumps(arguments)
        parts = [raw[start:end] for start, end in pairwise(sorted({0, len(raw), *data.draw(_cuts(len(raw)))}))]
        mark = _STYLES[style]
        queues.append(
            [
                mark(number, first) | {"function": {"arguments": part} | ({"name": name} if first or repeats else {})}
                for first, part in zip([True] + [False] * len(parts), parts, strict=False)
            ]
        )
    assembler = choices.ToolCallAssembler()
    begun = 0  # calls begin in their order; their pieces come in any
    while any(queues):
        ready = [queue for number, queue in enumerate(queues) if queue and number <= begun]
        queue = data.draw(st.sampled_from(ready))
        begun += queue is queues[begun] if begun < len(queues) else 0
        assembler.add([queue.pop(0)])
    assert [(call.name, call.arguments) for call in assembler.calls()] == calls
    assert len({call.id for call in assembler.calls()}) == len(calls)


def _cuts(length: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, max(1, length - 1)), max_size=4)


@given(st.text(), st.sampled_from(["retry-after", "retry-after-ms", "ratelimit", "x-ms-retry-after-ms"]))
def test_no_retry_after_is_negative_or_infinite(value: str, name: str) -> None:
    wait = status_errors.retry_after({name: value}, 1e9)
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
    assert status_errors.retry_after(headers, 1_000_000_000.0) == seconds


@given(st.text(max_size=80), st.integers(0, 40), st.text(max_size=80))
def test_no_part_of_a_secret_survives(before: str, start: int, after: str) -> None:
    told = status_errors.redact(f"{before}{PROMPT[start:]} {KEY}{after}", [PROMPT, KEY])
    assert KEY not in told
    assert len(told) <= status_errors.LONGEST_MESSAGE
    if len(PROMPT[start:]) >= 24:
        assert PROMPT[start:] not in told


def test_a_short_prompt_spoils_no_message() -> None:
    assert status_errors.redact("this is hi, not high: 'hi'", ["hi"]) == "this is […], not high: '[…]'"


def test_an_event_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "LONGEST_EVENT", 1000)
    text, error = _decode([b"data: " + b"x" * 600, b"x" * 600])
    assert text == []
    assert error.startswith("InvalidResponse")
    many = [event(chunk({"content": "x" * 500}))] * 10
    assert _decode(many)[1].startswith("StreamInterrupted")
