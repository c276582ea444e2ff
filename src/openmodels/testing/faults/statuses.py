"""Faults of statuses: retries, limits, refusals, redirects, errors with secrets."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from openmodels.testing.faults.answers import right
from openmodels.testing.faults.expect import KEY, PROMPT, Fails, Fault, Right
from openmodels.testing.faults.server import Request, Wire, fault

_HTML = b"<html><head><title>Bad\n gateway</title></head><body>" + b"x" * 5000 + b"</body></html>"


def _openai(message: str, code: str | None = None, kind: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def _always(  # noqa: PLR0917 - a table's row
    name: str,
    what: str,
    status: int,
    body: Any,
    expect: Fails,
    headers: Mapping[str, str] | None = None,
    embedded: Fails | None = None,
) -> None:
    described = Fault(name, what, expect, expect, group="status", embedded=embedded)

    @fault(described)
    def _answer(wire: Wire, _: Request) -> None:
        wire.answer(body, status, headers)


def _once(name: str, what: str, status: int, body: Any = None, headers: Mapping[str, str] | None = None) -> None:
    described = Fault(name, what, Right(after=2), Right(after=2), group="status")

    @fault(described)
    def _answer(wire: Wire, request: Request) -> None:
        if request.number == 1:
            wire.answer(_openai("try later") if body is None else body, status, headers)
        else:
            right(wire, request)


for _status in (408, 409, 425, 429, 500, 502, 503, 504, 529):
    _once(f"{_status}-once", f"answers {_status} once", _status)
_once("503-html-once", "answers 503 with an HTML page once", 503, _HTML, {"Content-Type": "text/html"})
_once("503-empty-once", "answers 503 with nothing once", 503, b"")
_once("503-loading-once", "is loading the model, once", 503, {"error": {"message": "Loading model", "code": 503}})
_once("429-seconds", "asks to wait 0 seconds", 429, headers={"Retry-After": "0"})
_once("429-ms", "asks to wait 5 milliseconds", 429, headers={"retry-after-ms": "5"})
_once(
    "429-date", "asks to wait until a date that is past", 429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}
)
for _name, _value in {
    "junk": "soon",
    "negative": "-5",
    "nan": "nan",
    "infinite": "inf",
    "exponent": "1e400",
    "empty": "",
    "bad-date": "Wed, 99 Foo 2015 07:28:00 GMT",
}.items():
    _once(f"429-{_name}", f"asks to wait {_value!r}", 429, headers={"Retry-After": _value})

_LIMITED = Fails("RateLimited", "429")
_DAY = format_datetime(datetime.now(UTC) + timedelta(days=1), usegmt=True)
_always("429-hour", "asks to wait an hour", 429, _openai("slow down"), _LIMITED, {"Retry-After": "3600"})
_always("429-tomorrow", "asks to wait until tomorrow", 429, _openai("slow down"), _LIMITED, {"Retry-After": _DAY})
_always(
    "429-always", "limits every request", 429, _openai("slow down"), Fails("RateLimited", "429.*slow down", after=3)
)
_always("500-always", "fails every time", 500, _openai("boom"), Fails("ServerFailed", "500.*boom", after=3))
_always(
    "503-html",
    "answers 503 with an HTML page",
    503,
    _HTML,
    Fails("ServerFailed", "HTML page titled 'Bad gateway'", after=3),
)
_always("501", "answers 501", 501, _openai("no such thing"), Fails("ServerFailed", "501"))
_always(
    "500-final",
    "fails and says not to retry",
    500,
    _openai("boom"),
    Fails("ServerFailed", "boom"),
    {"x-should-retry": "false"},
)
_always(
    "429-quota",
    "has no quota left",
    429,
    _openai("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
    Fails("QuotaExceeded", "quota"),
)
_always("402", "asks for payment", 402, _openai("Payment required"), Fails("QuotaExceeded", "402"))
_always("401", "refuses the key", 401, _openai("Invalid credentials"), Fails("AuthenticationFailed", "401.*key"))
_always("401-empty", "refuses the key without a body", 401, b"", Fails("AuthenticationFailed", "401"))
_always(
    "400-key",
    "refuses the key with 400",
    400,
    _openai("API key not valid", "invalid_api_key"),
    Fails("AuthenticationFailed", "key"),
)
_always("403", "denies access", 403, _openai("not for you"), Fails("AccessDenied", "403.*not for you"))
_always(
    "403-gated",
    "wants the model's terms accepted",
    403,
    {"error": "Access to model x is gated: accept the terms"},
    Fails("GatedModel", "terms"),
)
_always(
    "404-address", "has nothing at the address", 404, {"detail": "Not Found"}, Fails("NotConfigured", "404.*base_url")
)
_always(
    "404-model",
    "has no such model",
    404,
    _openai("The model `x` does not exist.", "model_not_found"),
    Fails("ModelNotFound", "does not exist"),
)
_always("405", "takes no POST here", 405, b"", Fails("NotConfigured", "405.*base_url"))
_always("410", "is gone", 410, _openai("gone"), Fails("EndpointRetired", "410"))
_always(
    "413",
    "finds the request too large",
    413,
    b"",
    Fails("InvalidRequest", "413.*too large"),
    # Two texts are sent again one by one.
    embedded=Fails("InvalidRequest", "413.*too large", after=2, tries="once the texts were sent one by one"),
)
_always("418", "answers a status nobody expects", 418, b"", Fails("InvalidRequest", "418"))
_always("451", "may not answer for legal reasons", 451, b"", Fails("AccessDenied", "451"))
_always("599", "answers a status that has no name", 599, b"", Fails("ServerFailed", "599", after=3))
_always("204", "answers with no content", 204, b"", Fails("InvalidResponse", "empty"), {"Content-Length": "0"})
_always("400", "rejects a parameter", 400, _openai("bad top_p"), Fails("InvalidRequest", "400.*bad top_p"))
_always("400-plain-text", "rejects in plain text", 400, b"no good", Fails("InvalidRequest", "no good"))
_always("400-string", "rejects with a string as error", 400, {"error": "no good"}, Fails("InvalidRequest", "no good"))
_always("400-message", "rejects with a bare message", 400, {"message": "no good"}, Fails("InvalidRequest", "no good"))
for _name, _message, _code in (
    ("openai", "This model's maximum context length is 8 tokens.", "context_length_exceeded"),
    ("llamacpp", "the request exceeds the available context size. try increasing it", "exceed_context_size_error"),
    ("tgi", "`inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000", "validation"),
    ("sglang", "The input (9000 tokens) is longer than the model's context length (8192 tokens).", None),
):
    _always(
        f"400-context-{_name}",
        f"finds the prompt too long, as {_name} says it",
        400,
        _openai(_message, _code),
        Fails("ContextTooLong", "context|inputs"),
    )
_always(
    "400-filtered",
    "filters the prompt, as Azure says it",
    400,
    {"error": {"message": "The response was filtered", "code": "content_filter", "innererror": {"code": "X"}}},
    Fails("ContentFiltered", "filtered"),
)
_always(
    "422-echo",
    "repeats the request in its validation error, as FastAPI does",
    422,
    {"detail": [{"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted", "input": {"p": PROMPT, "k": KEY}}]},
    Fails("InvalidRequest", r"body\.top_k: Extra inputs are not permitted"),
)
_always("echo-key", "repeats the key", 401, _openai(f"Incorrect API key: {KEY}"), Fails("AuthenticationFailed", "key"))
_always("echo-prompt", "repeats the prompt", 400, _openai(f"bad: {PROMPT}"), Fails("InvalidRequest", r"bad: \[…\]"))
_always(
    "echo-part",
    "repeats a part of the prompt",
    400,
    _openai(f"bad: {PROMPT[5:50]}"),
    Fails("InvalidRequest", r"bad: \[…\]"),
)
_always(
    "escapes",
    "sends terminal escapes",
    400,
    _openai("\x1b[31mred\x1b]0;own\x07\r\nline"),
    Fails("InvalidRequest", "red"),
)
_always("error-bytes", "sends an error that is no text", 400, bytes(range(256)), Fails("InvalidRequest", "400"))
_always(
    "error-brotli",
    "compresses an error as nobody asked",
    400,
    b"\x0b\x02\x80",
    Fails("InvalidRequest", "400"),
    {"Content-Encoding": "br"},
)
_always(
    "error-gzip",
    "compresses an error",
    400,
    gzip.compress(b'{"error": {"message": "too bad"}}'),
    Fails("InvalidRequest", "too bad"),
    {"Content-Encoding": "gzip"},
)
_always(
    "error-gzip-bad",
    "breaks an error's compression",
    400,
    b"\x1f\x8b\x08nonsense",
    Fails("InvalidRequest", "400"),
    {"Content-Encoding": "gzip"},
)
_always("error-3mb", "sends an error of 3 MB", 400, b"no " * 2**20, Fails("InvalidRequest", "no no"))
for _status in (301, 302, 303, 307, 308):
    _always(
        f"{_status}-redirect",
        f"redirects with {_status} to another host",
        _status,
        b"",
        Fails("InvalidResponse", r"redirects to https://other\.example/v1; redirects are not followed"),
        {"Location": f"https://user:{KEY}@other.example/v1?key={KEY}"},
    )
_always("redirect-nowhere", "redirects without an address", 302, b"", Fails("InvalidResponse", "redirect"))


_LOOP = Fails("InvalidResponse", "redirect")
_ENDLESS = Fails("ServerFailed", "aaa", after=3)


@fault(Fault("redirect-loop", "redirects to itself", _LOOP, _LOOP, group="status"))
def _redirect_loop(wire: Wire, request: Request) -> None:
    wire.answer(b"", 307, {"Location": request.path})


@fault(Fault("error-endless", "sends an error without an end", _ENDLESS, _ENDLESS, group="status"))
def _error_endless(wire: Wire, _: Request) -> None:
    wire.head(500, {"Transfer-Encoding": "chunked", "Content-Type": "text/plain"})
    while True:
        wire.chunk(b"a" * 16384)
