"""Faults of event streams: framing, endings, errors inside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from openmodels.testing.faults.answers import DONE, USAGE, chunk, completion, event, right, stream, texts
from openmodels.testing.faults.expect import TEXT, TOKENS, Fails, Fault, Right
from openmodels.testing.faults.server import Request, Wire, fault

_SOME = "".join(TOKENS[:3])
_CUT = Fails("StreamInterrupted", "cut off", partial=_SOME)


def streamed(
    name: str,
    what: str,
    pieces: Iterable[bytes],
    expect: Right | Fails | None = None,
    headers: Mapping[str, str] | None = None,
) -> None:
    """Register a fault that answers with these pieces of an event stream."""
    described = Fault(name, what, None, expect or Right(), group="stream")
    sent = list(pieces)

    @fault(described)
    def _answer(wire: Wire, _: Request) -> None:
        wire.events((piece for piece in sent if piece), headers)


def _joined(change: Mapping[bytes, bytes]) -> list[bytes]:
    body = b"".join(stream())
    for old, new in change.items():
        body = body.replace(old, new)
    return [body]


_some = list(texts(TOKENS[:3]))
_bytes = [bytes([byte]) for byte in b"".join(stream())]
_multiline = b"".join(
    b"data: " + line + b"\n" for line in json.dumps(chunk({"content": TEXT}), indent=1).encode().split(b"\n")
)
_odd_lines = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg"
_flood = [event(chunk({"content": "x"})) for _ in range(5000)]

streamed("sse-crlf", "ends lines with CRLF", _joined({b"\n": b"\r\n"}))
streamed("sse-cr", "ends lines with CR", _joined({b"\n": b"\r"}))
streamed("sse-crlf-split", "sends CR and LF apart", [bytes([b]) for b in _joined({b"\n": b"\r\n"})[0]])
streamed("sse-bytes", "sends one byte at a time", _bytes)
streamed("sse-burst", "sends everything at once", [b"".join(stream())])
streamed("sse-comments", "sends comments in between", [b": hello\n\n", *(e + b": ping\n\n:\n" for e in stream())])
streamed(
    "sse-fields",
    "sends event, id and retry fields",
    [b"event: message\nid: 1\nretry: 10\nfoo: bar\n" + e for e in stream()],
)
streamed("sse-bom", "begins with a byte order mark", [b"\xef", b"\xbb", b"\xbf" + b"".join(stream())])
streamed("sse-no-space", "puts no space behind `data:`", _joined({b"data: ": b"data:"}))
streamed("sse-multiline", "splits an event over lines", stream(_multiline + b"\n"))
streamed("sse-no-blank", "leaves the last blank line out", _joined({DONE: b"data: [DONE]"}))
streamed("sse-no-newline", "ends without a line end at the finish reason", [*texts(), event(chunk(finish="stop"))[:-2]])
streamed(
    "sse-odd-lines",
    "uses line separators that are text",
    stream(event(chunk({"content": _odd_lines}))),
    Right(text=_odd_lines),
)
streamed("sse-no-done", "sends no end mark", stream(done=False))
streamed("sse-no-finish", "sends an end mark but no finish reason", stream(finish=None), Right(finish=None))
streamed(
    "sse-finish-with-text",
    "sends the finish reason with the last text",
    [*texts(TOKENS[:-1]), event(chunk({"content": TOKENS[-1]}, "stop")), DONE],
)
streamed(
    "sse-finish-twice",
    "sends the finish reason twice",
    [*texts(), event(chunk(finish="stop")), event(chunk(finish="stop")), DONE],
)
streamed(
    "sse-after-done", "goes on after the end mark", [*stream(), event(chunk({"content": "ghost"})), b"data: {bad\n\n"]
)
streamed(
    "sse-azure-first",
    "begins with filter results and no choice",
    [event({"choices": [], "prompt_filter_results": [{"content_filter_results": {}}]}), *stream()],
)
streamed("sse-null-content", "sends null as content", [event(chunk({"role": "assistant", "content": None})), *stream()])
streamed(
    "sse-no-delta",
    "sends a choice without a delta",
    [event({"choices": [{"index": 0, "finish_reason": None}]}), *stream()],
)
streamed("sse-null-delta", "sends null as delta", [event({"choices": [{"index": 0, "delta": None}]}), *stream()])
streamed("sse-null-choices", "sends null as choices", [event({"choices": None}), *stream()])
streamed("sse-null-event", "sends null", [event(None), *stream()])
streamed(
    "sse-roles",
    "repeats the role in every chunk",
    stream(*(event(chunk({"role": "assistant", "content": t})) for t in TOKENS)),
)
streamed(
    "sse-usage-each", "sends usage in every chunk", stream(*(event(chunk({"content": t}, usage=USAGE)) for t in TOKENS))
)
streamed(
    "sse-messages",
    "sends messages instead of deltas",
    stream(*(event({"choices": [{"message": {"content": t}}]}) for t in TOKENS)),
)
streamed(
    "sse-parts",
    "sends its content in parts",
    stream(*(event(chunk({"content": [{"type": "text", "text": t}]})) for t in TOKENS)),
)
streamed("sse-empty-data", "sends empty data", [b"data:\n\n", b"data\n\n", *stream()])
streamed(
    "sse-split-pair",
    "splits a surrogate pair over two chunks",
    stream(
        *texts(TOKENS[:-1]),
        b'data: {"choices":[{"delta":{"content":" \\ud83d"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\udc4b!"}}]}\n\n',
    ),
)
streamed(
    "sse-half-pair",
    "ends with half a surrogate pair",
    [b'data: {"choices":[{"delta":{"content":"a\\ud83d"},"finish_reason":"stop"}]}\n\n'],
    Right(text="a\ufffd"),
)
streamed("sse-flood", "sends 5,000 tokens at once", stream(b"".join(_flood)), Right(text="x" * 5000))
streamed(
    "sse-10mb",
    "sends an event of 10 MB",
    stream(event(chunk({"content": "x" * 10 * 2**20}))),
    Right(text="x" * 10 * 2**20),
)
streamed(
    "sse-second-choice",
    "streams a second choice",
    stream(
        *(
            e
            for t in TOKENS
            for e in (event(chunk({"content": t})), event({"choices": [{"index": 1, "delta": {"content": "?"}}]}))
        )
    ),
)
streamed(
    "sse-reasoning",
    "gives reasoning",
    stream(event(chunk({"reasoning_content": "h"})), event(chunk({"reasoning": "m"})), *texts()),
    Right(reasoning="hm"),
)
streamed(
    "sse-reasoning-twice",
    "gives reasoning under both names",
    stream(event(chunk({"reasoning_content": "hm", "reasoning": "hm"})), *texts()),
    Right(reasoning="hm"),
)
streamed(
    "sse-refusal",
    "refuses in a field of its own",
    stream(event(chunk({"refusal": "No"})), event(chunk({"refusal": "!"}))),
    Right(text="No!"),
)

streamed("sse-cut", "ends well-formed after three tokens", _some, _CUT)
streamed("sse-cut-event", "ends inside an event", [*_some, event(chunk({"content": "never"}))[:40]], _CUT)
streamed("sse-empty", "streams nothing", [], Fails("InvalidResponse", "without any answer"))
streamed("sse-only-done", "streams only the end mark", [DONE], Fails("InvalidResponse", "without any answer"))
streamed(
    "sse-only-comments", "streams only comments", [b": ping\n\n"] * 3, Fails("InvalidResponse", "without any answer")
)
streamed(
    "sse-only-role",
    "streams a role and ends",
    [event(chunk({"role": "assistant"}))],
    Fails("StreamInterrupted", "cut off"),
)
streamed(
    "sse-html",
    "streams an HTML page",
    [b"<html>\n\n<body>no\n\n</body></html>"],
    Fails("InvalidResponse", "no event stream"),
)
streamed(
    "sse-bad-json",
    "sends an event that is no JSON",
    [*_some, b"data: {bad json}\n\n", DONE],
    Fails("InvalidResponse", "no valid JSON", partial=_SOME),
)
streamed(
    "sse-bad-utf8",
    "sends an event that is not UTF-8",
    [*_some, b'data: {"choices": "\xff"}\n\n', DONE],
    Fails("InvalidResponse", "UTF-8", partial=_SOME),
)
streamed(
    "sse-odd-choices",
    "sends choices of a wrong type",
    [*_some, event({"choices": "x"})],
    Fails("InvalidResponse", "choices", partial=_SOME),
)
streamed(
    "sse-odd-content",
    "sends a number as content",
    [*_some, event(chunk({"content": 5}))],
    Fails("InvalidResponse", "content", partial=_SOME),
)
for _name, _what, _error in (
    ("object", "an error object", event({"error": {"message": "CUDA broke", "code": 500}})),
    ("text", "an error as text", event({"error": "CUDA broke"})),
    ("event", "an event named error", b"event: error\n" + event({"message": "CUDA broke"})),
    ("event-text", "an event named error with text", b"event: error\ndata: CUDA broke\n\n"),
    ("field", "an error field (as llama.cpp did)", b'error: {"message": "CUDA broke", "code": 500}\n\n'),
    ("detail", "a detail", event({"detail": "CUDA broke"})),
    ("typed", "an error like TGI's", event({"error": "CUDA broke", "error_type": "generation"})),
    ("in-chunk", "an error inside a chunk", event(chunk({"content": ""}) | {"error": {"message": "CUDA broke"}})),
):
    streamed(
        f"sse-error-{_name}",
        f"tells {_what} in the middle",
        [*_some, _error],
        Fails("ServerFailed", "CUDA broke", partial=_SOME),
    )
streamed(
    "sse-error-done",
    "tells an error and an end mark",
    [*_some, event({"error": {"message": "broke"}}), DONE],
    Fails("ServerFailed", "broke", partial=_SOME),
)
streamed(
    "sse-error-limit",
    "tells a limit in the middle",
    [*_some, event({"error": {"message": "busy", "code": 429}})],
    Fails("RateLimited", "busy", partial=_SOME),
)


@fault(Fault("sse-error-first", "tells an error first, once", None, Right(after=2), group="stream"))
def _error_first(wire: Wire, request: Request) -> None:
    if request.number == 1:
        wire.events([event({"error": {"message": "busy", "code": 503}})])
    else:
        right(wire, request)


@fault(
    Fault(
        "sse-reset",
        "resets in the middle",
        None,
        Fails("StreamInterrupted", "cut off.*(reset|closed)", partial=_SOME),
        group="stream",
    )
)
def _reset(wire: Wire, _: Request) -> None:
    wire.begin()
    for piece in _some:
        wire.chunk(piece)
    wire.close()


@fault(Fault("sse-reset-first", "resets before the first token, once", None, Right(after=2), group="stream"))
def _reset_first(wire: Wire, request: Request) -> None:
    if request.number > 1:
        right(wire, request)
        return
    wire.begin()
    wire.chunk(_some[0])
    wire.reset()


@fault(Fault("sse-close-delimited", "gives no length and closes in the middle", None, _CUT, group="stream"))
def _close_delimited(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Type": "text/event-stream", "Connection": "close"})
    wire.send(b"".join(_some))
    wire.close()


@fault(Fault("sse-as-json", "answers a stream request with whole JSON", None, Right(), group="stream"))
def _as_json(wire: Wire, _: Request) -> None:
    wire.answer(completion())


@fault(
    Fault(
        "sse-error-as-json",
        "answers a stream request with a JSON error",
        None,
        Fails("InvalidRequest", "bad"),
        group="stream",
    )
)
def _error_as_json(wire: Wire, _: Request) -> None:
    wire.answer({"error": {"message": "bad", "code": 400}})
