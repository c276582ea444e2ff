"""Faults of bodies: invalid JSON, wrong shapes, compression, sizes."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from openmodels.testing.faults.answers import completion, stream
from openmodels.testing.faults.expect import TEXT, Fails, Fault, Right
from openmodels.testing.faults.server import Request, Wire, fault

_WHOLE = json.dumps(completion()).encode()


def _plain(
    name: str, what: str, body: Any, expect: Right | Fails | None = None, headers: Mapping[str, str] | None = None
) -> None:
    described = Fault(name, what, expect or Right(), group="body")

    @fault(described)
    def _answer(wire: Wire, _: Request) -> None:
        wire.answer(body, 200, headers)


def _bad(name: str, what: str, body: Any, says: str, headers: Mapping[str, str] | None = None) -> None:
    _plain(name, what, body, Fails("InvalidResponse", says), headers)


_call = {"id": "call_a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Oslo"}'}}
_nested = json.dumps(completion()).replace('"stop"', '"stop", "logprobs": ' + "[" * 100_000 + "]" * 100_000)
_number = json.dumps(completion()).replace("12}", "1" * 5001 + "}")
_html = b"<!DOCTYPE html><html><body>Sign in</body></html>"

_bad("json-cut", "cuts the JSON, its length right", _WHOLE[:60], "no valid JSON")
_bad("json-two", "sends two JSON values", _WHOLE + _WHOLE, "no valid JSON")
_bad("json-nested", "nests the JSON 100,000 levels deep", _nested.encode(), "nested|JSON")
_bad("json-string", "sends a JSON string", "hello", "str where an object")
_bad("json-list", "sends a JSON list", [completion()], "list where an object")
_bad("json-null", "sends null", None, "NoneType where an object")
_bad("html", "sends an HTML page with status 200", _html, "HTML page", {"Content-Type": "text/html"})
_bad("html-as-json", "sends an HTML page as JSON", _html, "HTML page")
_bad("empty", "sends nothing with status 200", b"", "empty")
_bad("spaces", "sends only spaces", b" \n" * 50, "empty")
_bad(
    "not-utf8",
    "sends text in Latin-1",
    json.dumps(completion({"content": "é"}), ensure_ascii=False).encode("latin-1"),
    "UTF-8",
)
_bad("no-choices", "leaves the choices out", {"id": "x", "object": "chat.completion"}, "choices")
_bad("null-choices", "sends null as choices", completion() | {"choices": None}, "choices")
_bad("empty-choices", "sends an empty list of choices", completion() | {"choices": []}, "choices")
_bad("odd-choices", "sends choices of a wrong type", completion() | {"choices": {"0": 1}}, "choices")
_bad(
    "no-message", "sends a choice without a message", {"choices": [{"index": 0, "finish_reason": "stop"}]}, "no message"
)
_bad("odd-message", "sends a message of a wrong type", {"choices": [{"message": ["hi"]}]}, "message")
_bad("content-number", "sends a number as content", completion({"content": 5}), "content")
_bad("content-object", "sends an object as content", completion({"content": {"text": "hi"}}), "content")
_bad("brotli", "compresses with what was not asked for", b"\x0b\x02\x80", "encoded as 'br'", {"Content-Encoding": "br"})
_bad("gzip-bad", "breaks its gzip", b"\x1f\x8b\x08\x00garbage" * 9, "gzip", {"Content-Encoding": "gzip"})
_bad("gzip-not", "calls plain JSON gzip", _WHOLE, "gzip", {"Content-Encoding": "gzip"})
_bad("tools-odd", "sends tool calls of a wrong type", completion({"tool_calls": "weather()"}), "tool_calls")
_bad("tools-nameless", "sends a tool call without a name", completion({"tool_calls": [{"id": "a"}]}), "no name")
_plain(
    "gzip-cut",
    "cuts its gzip",
    gzip.compress(_WHOLE * 9)[:100],
    Fails("StreamInterrupted", "ends before"),
    {"Content-Encoding": "gzip"},
)
_plain(
    "error-in-200",
    "tells an error with status 200",
    {"error": {"message": "no GPU", "code": 500}},
    Fails("ServerFailed", "no GPU", after=3),
)
_plain(
    "error-in-200-limit",
    "tells a limit with status 200",
    {"error": {"message": "busy", "code": "429"}},
    Fails("RateLimited", "busy", after=3),
)
_plain(
    "error-in-200-text",
    "tells an error as text with status 200",
    {"error": "no GPU"},
    Fails("ServerFailed", "no GPU", after=3),
)
_plain(
    "error-in-200-object",
    "tells an error as vLLM did",
    {"object": "error", "message": "bad", "code": 400},
    Fails("InvalidRequest", "bad"),
)

_plain("gzip", "compresses with gzip", gzip.compress(_WHOLE), headers={"Content-Encoding": "gzip"})
_plain(
    "gzip-members",
    "compresses in two members",
    gzip.compress(_WHOLE[:50]) + gzip.compress(_WHOLE[50:]),
    headers={"Content-Encoding": "gzip"},
)
_plain("deflate", "compresses with deflate", zlib.compress(_WHOLE), headers={"Content-Encoding": "deflate"})
_plain(
    "deflate-bare",
    "compresses with deflate, the bare kind",
    zlib.compress(_WHOLE, wbits=-15),
    headers={"Content-Encoding": "deflate"},
)
_plain("text-plain", "calls its JSON text", _WHOLE, headers={"Content-Type": "text/plain"})
_plain("no-type", "gives no content type", _WHOLE, headers={"Content-Type": ""})
_plain(
    "latin1-type",
    "calls its UTF-8 Latin-1",
    json.dumps(completion(), ensure_ascii=False).encode(),
    headers={"Content-Type": "application/json; charset=latin-1"},
)
_plain("bom", "begins with a byte order mark", b"\xef\xbb\xbf" + _WHOLE)
_plain("nan", "sends NaN in a field nobody needs", _WHOLE.replace(b'"tiny"', b'"tiny", "score": NaN'))
_plain("huge-number", "sends a number of 5,001 digits", _number.encode())
_plain("unknown-fields", "sends fields nobody knows", completion() | {"x": {"y": [1]}, "timings": {"ms": 1.5}})
_plain(
    "content-parts",
    "sends its content in parts",
    completion({"content": [{"type": "text", "text": TEXT[:5]}, {"type": "text", "text": TEXT[5:]}]}),
)
_plain("null-content", "sends null as content", completion({"content": None}), Right(text=""))
_plain("half-pair", "sends half a surrogate pair", _WHOLE.replace(b"!", b"\\ud83d"), Right(text=TEXT[:-1] + "\ufffd"))
_plain("nul", "sends a NUL character", completion({"content": "a\x00b"}), Right(text="a\x00b"))
_plain("no-usage", "leaves the usage out", completion() | {"usage": None})
_plain(
    "odd-usage",
    "sends usage of a wrong type",
    completion() | {"usage": {"prompt_tokens": "7", "completion_tokens": -1}},
)
_plain("finish-null", "gives no finish reason", completion(finish_reason=None), Right(finish=None))
_plain("finish-length", "stops for the length", completion(finish_reason="length"), Right(finish="length"))
_plain(
    "finish-filter",
    "stops for its content filter",
    completion(finish_reason="content_filter"),
    Right(finish="content_filter"),
)
_plain(
    "finish-odd", "gives a finish reason of its own", completion(finish_reason="eos_token"), Right(finish="eos_token")
)
_plain(
    "refusal",
    "refuses in a field of its own",
    completion({"content": None, "refusal": "I would rather not."}),
    Right(text="I would rather not."),
)
_plain("reasoning", "gives reasoning", completion({"content": TEXT, "reasoning": "hm"}), Right(reasoning="hm"))
_plain(
    "reasoning-content",
    "gives reasoning, as vLLM does",
    completion({"content": TEXT, "reasoning_content": "hm"}),
    Right(reasoning="hm"),
)
_plain(
    "second-choice",
    "answers twice",
    completion() | {"choices": [*completion()["choices"], {"index": 1, "message": {"content": "other"}}]},
)
_plain(
    "tools",
    "calls a tool",
    completion({"content": None, "tool_calls": [_call]}, finish_reason="tool_calls"),
    Right(text="", finish="tool_calls", tools=(("weather", {"city": "Oslo"}),)),
)
_plain(
    "tools-object",
    "gives arguments as an object",
    completion({"content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]}),
    Right(text="", tools=(("weather", {"city": "Oslo"}),)),
)
_plain(
    "tools-junk",
    "gives arguments that are no JSON",
    completion({"content": "", "tool_calls": [{"id": "a", "function": {"name": "weather", "arguments": "{city: Os"}}]}),
    Right(text="", tools=(("weather", None),)),
)
_plain("body-10mb", "answers with 10 MB", completion({"content": "ä" * 5 * 2**20}), Right(text="ä" * 5 * 2**20))


@fault(Fault("stream-unasked", "streams although nobody asked", Right(), group="body"))
def _stream_unasked(wire: Wire, _: Request) -> None:
    wire.events(stream())


@fault(Fault("stream-unlabelled", "streams under the wrong label", Right(), Right(), group="body"))
def _stream_unlabelled(wire: Wire, _: Request) -> None:
    wire.events(stream(), {"Content-Type": "application/octet-stream"})


@fault(Fault("stream-unlabelled-bytes", "the same, one byte at a time", Right(), Right(), group="body"))
def _stream_unlabelled_bytes(wire: Wire, _: Request) -> None:
    wire.events((bytes([byte]) for byte in b"".join(stream())), {"Content-Type": "application/octet-stream"})


@fault(Fault("deflate-bare-bytes", "compresses with bare deflate, one byte at a time", Right(), group="body"))
def _deflate_bare_bytes(wire: Wire, _: Request) -> None:
    packed = zlib.compress(_WHOLE, wbits=-15)
    wire.events((bytes([byte]) for byte in packed), {"Content-Type": "application/json", "Content-Encoding": "deflate"})


@fault(Fault("body-endless", "sends a body without an end", Fails("InvalidResponse", "larger than"), group="body"))
def _endless(wire: Wire, _: Request) -> None:
    wire.begin({"Content-Type": "application/json"})
    while True:
        wire.chunk(b" " * 2**20)


_TOO_LARGE = Fails("InvalidResponse", "larger than")
_GZIP = {"Content-Encoding": "gzip"}


@fault(Fault("gzip-bomb", "sends 256 MiB of spaces in 250 KiB", _TOO_LARGE, group="body"))
def _bomb(wire: Wire, _: Request) -> None:
    wire.answer(bomb(), 200, _GZIP)


@fault(Fault("gzip-bomb-behind", "sends 256 MiB of spaces in 250 KiB behind its answer", _TOO_LARGE, group="body"))
def _bomb_behind(wire: Wire, _: Request) -> None:
    wire.answer(gzip.compress(_WHOLE) + bomb(), 200, _GZIP)


@fault(Fault("gzip-bomb-stream", "streams 256 MiB of one line in 250 KiB", None, _TOO_LARGE, group="stream"))
def _bomb_stream(wire: Wire, _: Request) -> None:
    wire.events([bomb()], _GZIP)


@fault(Fault("gzip-bomb-error", "sends an error of 256 MiB in 250 KiB", Fails("InvalidRequest", "400"), group="status"))
def _bomb_error(wire: Wire, _: Request) -> None:
    wire.answer(bomb(), 400, _GZIP)


@lru_cache(maxsize=1)
def bomb(megabytes: int = 256) -> bytes:
    """Return gzip data that decompresses to so many MiB."""
    engine = zlib.compressobj(9, wbits=31)
    piece = b" " * 2**20
    return b"".join([*(engine.compress(piece) for _ in range(megabytes)), engine.flush()])
