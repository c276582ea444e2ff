"""Faults of connections and of HTTP itself."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

from openmodels.testing.faults.answers import DONE, chunk, correct_body, event, right, stream, texts
from openmodels.testing.faults.expect import TOKENS, Fails, Fault, Right
from openmodels.testing.faults.server import Request, Wire, fault

_RESET = Fails("ConnectionFailed", "reset|closed", after=3)
_ENOUGH = 1.0
"""Seconds for a call that shall run out of time, but not before it was sent: a large process may first pause
to collect its garbage."""
_LATE = Fails("DeadlineExceeded", "time is up")
_HTTP = Fails("InvalidResponse", "HTTP|answer to a request")


def both(name: str, what: str, expect: Right | Fails, *, timeout: float | None = None, hasty: bool = False) -> Fault:
    """Return a fault that plain and streamed calls meet alike."""
    return Fault(name, what, expect, expect, timeout, hasty, group="connection")


@fault(both("ok", "answers well", Right()))
def _ok(wire: Wire, request: Request) -> None:
    right(wire, request)


@fault(both("reset-once", "resets the first connection after the request", Right(after=2)))
def _reset_once(wire: Wire, request: Request) -> None:
    if request.number == 1:
        wire.reset()
    right(wire, request)


@fault(both("close-once", "closes the first connection without an answer", Right(after=2)))
def _close_once(wire: Wire, request: Request) -> None:
    if request.number == 1:
        wire.close()
    right(wire, request)


@fault(both("reset-always", "resets every connection", _RESET))
def _reset_always(wire: Wire, _: Request) -> None:
    wire.reset()


@fault(both("close-always", "closes every connection without an answer", _RESET))
def _close_always(wire: Wire, _: Request) -> None:
    wire.close()


@fault(both("reset-in-headers", "resets inside the headers, once", Right(after=2)))
def _reset_in_headers(wire: Wire, request: Request) -> None:
    if request.number == 1:
        wire.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
        wire.reset()
    right(wire, request)


@fault(both("close-in-headers", "closes inside the headers", _RESET))
def _close_in_headers(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
    wire.close()


@fault(Fault("close-in-body", "closes before Content-Length is reached", _RESET, group="connection"))
def _close_in_body(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Type": "application/json", "Content-Length": "500"})
    wire.send(b'{"choices": [')
    wire.close()


@fault(Fault("close-in-body-once", "closes inside the body, once", Right(after=2), group="connection"))
def _close_in_body_once(wire: Wire, request: Request) -> None:
    if request.number == 1:
        wire.head(200, {"Content-Type": "application/json", "Content-Length": "500"})
        wire.send(b'{"choices": [')
        wire.close()
    right(wire, request)


@fault(Fault("cut-chunks", "ends a chunked body without its last chunk", _RESET, group="connection"))
def _cut_chunks(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    wire.chunk(b'{"choices": [')
    wire.close()


@fault(
    Fault(
        "close-delimited",
        "gives no length and closes in the middle of the JSON",
        Fails("InvalidResponse", "JSON"),
        group="connection",
    )
)
def _close_delimited(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Type": "application/json", "Connection": "close"})
    wire.send(b'{"choices": [{"message": {"content": "Bonj')
    wire.close()


@fault(Fault("close-delimited-whole", "gives no length and closes at the end", Right(), Right(), group="connection"))
def _close_delimited_whole(wire: Wire, request: Request) -> None:
    kind = "text/event-stream" if request.stream else "application/json"
    wire.head(200, {"Content-Type": kind, "Connection": "close"})
    wire.send(b"".join(stream()) if request.stream else json.dumps(correct_body(request)).encode())
    wire.close()


@fault(both("no-http", "sends what is no HTTP", _HTTP))
def _no_http(wire: Wire, _: Request) -> None:
    wire.send(b"\x00\x01 SSH-2.0-OpenSSH_9.6\r\n\r\n")
    wire.stall()


@fault(both("http2-preface", "speaks HTTP/2 unasked", _HTTP))
def _http2(wire: Wire, _: Request) -> None:
    wire.send(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x80\x00\x04\x00\x01\x00\x00")
    wire.send(b"\r\n\r\n")
    wire.stall()


@fault(both("long-header", "sends a header without an end", _HTTP))
def _long_header(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nX-Long: ")
    for _piece in range(64):
        wire.send(b"a" * 65536)
    wire.stall()


@fault(both("header-flood", "sends headers without an end", _HTTP))
def _header_flood(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(100_000):
        wire.send(b"X-%d: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" % number)
    wire.stall()


@fault(both("bad-length", "gives a Content-Length that is no number", _HTTP))
def _bad_length(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Length": "many"})
    wire.stall()


@fault(both("two-lengths", "gives two different Content-Lengths", _HTTP))
def _two_lengths(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef")
    wire.stall()


@fault(both("bad-chunk", "sends a chunk whose size is no number", _HTTP))
def _bad_chunk(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    wire.send(b"zz\r\nabc\r\n")
    wire.stall()


@fault(both("bad-chunk-later", "sends a chunk whose size is no number, some time after its headers", _HTTP))
def _bad_chunk_later(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})
    wire.stopping.wait(0.05)
    wire.send(b"0x3\r\nabc\r\n")
    wire.stall()


@fault(both("continue-first", "sends 100 and 103 before its answer", Right()))
def _continue_first(wire: Wire, request: Request) -> None:
    wire.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    right(wire, request)


@fault(both("switch", "switches protocols unasked", _HTTP))
def _switch(wire: Wire, _: Request) -> None:
    wire.head(101, {"Upgrade": "websocket", "Connection": "upgrade"})
    wire.stall()


_TOO_LARGE = Fails("InvalidRequest", "413.*too large")


@fault(
    replace(
        both("early-413", "refuses before it has read the body", _TOO_LARGE, hasty=True),
        embedded=replace(_TOO_LARGE, after=2, tries="once the texts were sent one by one"),
    )
)
def _early(wire: Wire, _: Request) -> None:
    wire.answer({"error": {"message": "too large"}}, 413, {"Connection": "close"})
    wire.stall()


@fault(both("silent", "takes the request and says nothing", _LATE, timeout=_ENOUGH))
def _silent(wire: Wire, _: Request) -> None:
    wire.stall()


@fault(both("slow-headers", "sends its headers byte by byte", _LATE, timeout=_ENOUGH))
def _slow_headers(wire: Wire, _: Request) -> None:
    wire.trickle(itertools.chain(b"HTTP/1.1 200 OK\r\nX: ", itertools.repeat(b"a")))


@fault(both("continue-forever", "sends 100 Continue for ever", _LATE, timeout=_ENOUGH))
def _continue_forever(wire: Wire, _: Request) -> None:
    wire.trickle(itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"))


@fault(Fault("slow-body", "sends its body byte by byte", _LATE, timeout=_ENOUGH, group="connection"))
def _slow_body(wire: Wire, _: Request) -> None:
    wire.head(200, {"Content-Type": "application/json", "Content-Length": "100000"})
    wire.trickle(itertools.chain(b'{"choices": ', itertools.repeat(b" ")))


@fault(Fault("slow-whitespace", "keeps a plain call alive with spaces, then answers", Right(), group="connection"))
def _slow_whitespace(wire: Wire, request: Request) -> None:
    wire.head(200, {"Content-Type": "application/json", "Connection": "close"})
    wire.trickle([b" ", b" ", b"\n"], 0.01)
    wire.send(json.dumps(correct_body(request)).encode())
    wire.close()


@fault(
    Fault(
        "comments-forever",
        "sends only comments",
        None,
        Fails("DeadlineExceeded", "time is up"),
        timeout=_ENOUGH,
        group="connection",
    )
)
def _comments_forever(wire: Wire, _: Request) -> None:
    wire.begin()
    wire.trickle(itertools.repeat(b"d\r\n: keep-alive\n\r\n"))


@fault(
    Fault(
        "stall-in-stream",
        "stops in the middle of a stream",
        None,
        Fails("DeadlineExceeded", "time is up", partial="".join(TOKENS[:3])),
        timeout=_ENOUGH,
        group="connection",
    )
)
def _stall_in_stream(wire: Wire, _: Request) -> None:
    wire.begin()
    for piece in texts(TOKENS[:3]):
        wire.chunk(piece)
    wire.stall()


@fault(
    Fault("stall-before-token", "begins a stream and gives no token", None, _LATE, timeout=_ENOUGH, group="connection")
)
def _stall_before(wire: Wire, _: Request) -> None:
    wire.begin()
    wire.chunk(event(chunk({"role": "assistant"})))
    wire.stall()


@fault(Fault("hang-after-done", "never ends the body after the end mark", None, Right(), group="connection"))
def _hang_after_done(wire: Wire, _: Request) -> None:
    wire.begin()
    for piece in stream():
        wire.chunk(piece)
    wire.stall()


@fault(Fault("noise-after-done", "sends comments for ever after the end mark", None, Right(), group="connection"))
def _noise_after_done(wire: Wire, _: Request) -> None:
    wire.begin()
    for piece in stream():
        wire.chunk(piece)
    wire.trickle(itertools.repeat(b"3\r\n: \n\r\n"))


@fault(Fault("hang-after-finish", "says nothing after the finish reason", None, Right(), group="connection"))
def _hang_after_finish(wire: Wire, _: Request) -> None:
    wire.begin()
    for piece in stream(done=False):
        wire.chunk(piece)
    wire.stall()


@fault(Fault("reset-after-finish", "resets after the finish reason", None, Right(), group="connection"))
def _reset_after_finish(wire: Wire, _: Request) -> None:
    wire.begin()
    for piece in stream(done=False):
        wire.chunk(piece)
    wire.reset()


@fault(Fault("reset-after-done", "resets after the end mark", None, Right(), group="connection"))
def _reset_after_done(wire: Wire, _: Request) -> None:
    wire.begin()
    for piece in stream():
        wire.chunk(piece)
    wire.chunk(DONE)
    wire.reset()
