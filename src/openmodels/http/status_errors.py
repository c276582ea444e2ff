"""The meaning of a failed response: its status, headers and body as an error.

Pure functions. A vendor's text is quoted only after keys and prompts are taken out of it, cut to
`LONGEST_MESSAGE` characters.
"""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from openmodels.errors import (
    AccessDenied,
    AuthenticationFailed,
    ContentFiltered,
    ContextTooLong,
    EndpointRetired,
    GatedModel,
    InvalidRequest,
    InvalidResponse,
    ModelNotFound,
    NotConfigured,
    OpenModelsError,
    QuotaExceeded,
    RateLimited,
    ServerFailed,
)
from openmodels.files import json_or_none

LONGEST_MESSAGE = 300
"""Characters of a vendor's message that an error quotes."""

ECHO = 24
"""A vendor's text sharing this many characters in a row with the prompt quotes it."""
_SHORT = 8
"""A secret of fewer characters is taken out as a word only: a prompt "hi" must not spoil every "this"."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed answer, read but not yet judged.

    Attributes:
        host: The server's name and port.
        status: The HTTP status, or the one that an error inside a 200 answer gives; else None.
        code: The vendor's code and type, in lower case, joined by a space; may be "".
        message: The vendor's message, without keys and prompts, one line, cut; may be "".
        words: Code, parameter and message, not cut to a line; without keys and prompts.
        request_id: The vendor's id for the request.
        retry_after: Seconds that the vendor asks to wait.
        should_retry: What the server says of a retry (`x-should-retry`), or None.
        location: Where a redirect points to, without its query; or None.
        body: The parsed error object, uncut: for a dialect to look into, never to quote.
    """

    host: str
    status: int | None
    code: str = ""
    message: str = ""
    words: str = field(default="", repr=False)
    request_id: str | None = None
    retry_after: float | None = None
    should_retry: bool | None = None
    location: str | None = None
    body: Any = field(default=None, repr=False)

    @property
    def cause(self) -> str:
        """The failure in a sentence."""
        quote = f": {self.message}" if self.message else ""
        quote = quote if quote.endswith((".", "!", "?", "…")) else f"{quote}."
        if self.status is None:
            return f"The server {self.host} reports an error{quote}"
        phrase = f" {_PHRASES[self.status]}" if self.status in _PHRASES else ""
        return f"The server {self.host} answered {self.status}{phrase}{quote}"


def read(
    status: int, headers: Mapping[str, str], body: bytes | object, *, host: str, secrets: Iterable[str] = ()
) -> Failure:
    """Read a failed answer.

    Args:
        status: The HTTP status; of a 200 answer that holds an error, the error's own code counts.
        headers: By lower-case name.
        body: The raw body, or the parsed object of an error inside a stream.
        host: The server's name and port.
        secrets: Keys and prompts that the result must not contain.
    """
    secrets = tuple(secrets)
    if isinstance(body, bytes):
        text = body.decode(errors="replace")
        parsed = json_or_none(text)
        code, message = _parts(parsed) if isinstance(parsed, dict | list | str) else ("", _plain(text))
    else:
        parsed = body
        code, message = _parts(parsed)
    stated = _status_in(parsed)
    ids = (headers.get(name) for name in _REQUEST_ID)
    request_id = next((redact(value, secrets)[:128] for value in ids if value), None)
    advice = headers.get("x-should-retry", "").lower()
    return Failure(
        host=host,
        status=stated if 200 <= status < 300 else status,
        code=redact(code.lower(), secrets)[:LONGEST_MESSAGE],
        message=redact(message, secrets),
        words=_clean(" ".join(part for part in (code, _parameter(parsed), message) if part), secrets),
        request_id=request_id,
        retry_after=retry_after(headers, time.time(), limited=status == HTTPStatus.TOO_MANY_REQUESTS),
        should_retry={"true": True, "false": False}.get(advice),
        location=_location(headers.get("location"), secrets) if 300 <= status < 400 else None,
        body=parsed,
    )


def error_from_status(failure: Failure) -> OpenModelsError:
    """Return the one error of the tree that a failure is."""
    kind, next_step = _classify(failure)
    retryable = failure.status in _RETRYABLE or (failure.status or 500) >= 500
    if failure.status == 501 or not kind.default_retryable:
        retryable = False
    if failure.should_retry is not None and kind.default_retryable:
        retryable = failure.should_retry
    return kind(
        failure.cause,
        next_step=next_step,
        status=failure.status,
        request_id=failure.request_id,
        retryable=retryable,
        retry_after=failure.retry_after,
    )


def retry_after(headers: Mapping[str, str], now: float, *, limited: bool = False) -> float | None:
    """Return how many seconds the server asks to wait, or None.

    Reads `retry-after-ms` (also Azure's `x-ms-retry-after-ms`), `Retry-After` in seconds or as an
    HTTP date, and the reset time of a `RateLimit` field. Other values, and negative ones, are ignored.
    Where a rate limit was met, the headers of OpenAI's and Anthropic's kind that tell when it ends count too.

    Args:
        headers: By lower-case name.
        now: The time, in seconds since the epoch.
        limited: Whether a rate limit was met; other answers tell of limits too.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (wait := _seconds(headers.get(name))) is not None:
            return wait / 1000
    value = headers.get("retry-after")
    if (wait := _seconds(value)) is not None:
        return wait
    if value is not None and not re.fullmatch(r"\s*[-+]?[\d.]+\s*", value):
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now)
        except (ValueError, TypeError, IndexError, OverflowError, OSError):
            return None
    reset = re.search(r";\s*t=(\d{1,9})\b", headers.get("ratelimit", ""))
    if reset:
        return float(reset[1])
    return _reset(headers, now) if limited else None


def _reset(headers: Mapping[str, str], now: float) -> float | None:
    """Return when the limits that are used up are open again, in seconds from now."""
    waits = []
    for name, value in headers.items():
        if not re.fullmatch(r"(x-|anthropic-)?ratelimit-(\w+-)?reset(-\w+)?", name):
            continue
        left = headers.get(name.replace("reset", "remaining"))
        if (left is None or re.fullmatch(r"0+(\.0*)?", left.strip())) and (wait := _moment(value, now)) is not None:
            waits.append(wait)
    return max(waits, default=None)


def _moment(value: str, now: float) -> float | None:
    """Return the seconds until a moment: seconds, "6m0.5s", a time or a date."""
    if re.fullmatch(r"\s*\d{1,13}(\.\d{0,9})?\s*", value, re.ASCII):
        number = float(value)
        # Numbers as large as these are times: of the epoch in seconds, or in milliseconds.
        number = number / 1000 if number > 1e11 else number
        return max(0.0, number - now) if number > 1e8 else number
    pieces = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", value)
    if pieces and "".join(map("".join, pieces)) == value.strip():
        return sum(float(amount) * _UNITS[unit] for amount, unit in pieces)
    try:
        return max(0.0, datetime.fromisoformat(value.strip()).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def redact(text: str, secrets: Iterable[str]) -> str:
    """Return a vendor's text as one cut, printable line without any of the secrets.

    A run of `ECHO` characters of a secret counts as the secret, so a prompt echoed in part is
    taken out too.
    """
    text = _clean(text, secrets)
    return text if len(text) <= LONGEST_MESSAGE else text[: LONGEST_MESSAGE - 1] + "…"


def _clean(text: str, secrets: Iterable[str]) -> str:
    text = text[: 16 * LONGEST_MESSAGE]
    for secret in secrets:
        if secret.strip():
            text = _without(text, secret)
    text = _KEYS.sub("[…]", text)
    text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())


_KEYS = re.compile(r"\b(sk|pk|rk|hf|gsk|xai|nvapi|key)[-_][A-Za-z0-9_-]{16,}|(?<=\bBearer )[A-Za-z0-9._~+/=-]{8,}")
"""What looks like a key, of whoever it is."""


def _without(text: str, secret: str) -> str:
    if len(secret) < _SHORT:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "[…]", text)
    for form in (secret, html.escape(secret), repr(secret)[1:-1]):
        text = text.replace(form, "[…]")
    if len(secret) <= ECHO:
        return text
    kept, at = [], 0
    while at < len(text):
        if text[at : at + ECHO] in secret and at + ECHO <= len(text):
            end = at + ECHO
            while end < len(text) and text[at : end + 1] in secret:
                end += 1
            kept.append("[…]")
            at = end
        else:
            kept.append(text[at])
            at += 1
    return "".join(kept)


_PHRASES = {status.value: status.phrase for status in HTTPStatus} | {529: "Overloaded"}
_REQUEST_ID = ("x-request-id", "request-id", "apim-request-id", "x-ms-request-id", "x-amzn-requestid", "cf-ray")
_RETRYABLE = frozenset({408, 409, 425, 429, 529})

_Rule = tuple[type[OpenModelsError], str, frozenset[int], str | None]
_RULES: tuple[_Rule, ...] = (
    (
        ContextTooLong,
        (
            r"context_length|exceed_context|context (length|size|window)|(prompt|input)s? (is|are) too long|"
            r"maximum (input|model) length|inputs. tokens \+|input \(\d+ tokens\) is too large"
        ),
        frozenset({400, 413, 422, 424, 500}),
        "Shorten the conversation, lower `max_tokens`, or use a model with a longer context.",
    ),
    (
        ContentFiltered,
        r"content_filter|content.management.policy|responsibleaipolicy|content_policy|moderation",
        frozenset({400, 403, 422, 424, 451}),
        "Rephrase the request, or change the filter where the model is deployed.",
    ),
    (
        QuotaExceeded,
        (
            r"insufficient_quota|insufficient_balance|exceeded your (current|monthly) (quota|included)|billing|"
            r"quota_exceeded|out of credits|not enough credits|payment required"
        ),
        frozenset({402, 403, 429}),
        "Waiting does not help: add credit or raise the quota.",
    ),
    (
        GatedModel,
        r"gated|must (accept|agree)|accept the (terms|license|conditions)|awaiting (a )?review",
        frozenset({401, 403}),
        "Accept the model's terms on its page, with the account whose key is used.",
    ),
    (
        AuthenticationFailed,
        r"invalid.{0,3}api.?key|incorrect api key|invalid.{0,3}(access )?token|authentication_error|unauthorized",
        frozenset({400, 401, 403}),
        "Check the key: `api_key=` or the backend's environment variable.",
    ),
    (
        ModelNotFound,
        (
            r"model_?not_?found|deployment_?not_?found|unknown_?model|no such model|"
            r"model\b.{0,200}\b(does not exist|not found|not exist|is not supported|not loaded)"
        ),
        frozenset({400, 404, 410, 422}),
        "Check the model's name; `server:` without a name lists what the server has.",
    ),
)
_BY_STATUS: dict[int, tuple[type[OpenModelsError], str | None]] = {
    401: (AuthenticationFailed, "Check the key: `api_key=` or the backend's environment variable."),
    402: (QuotaExceeded, "Waiting does not help: add credit or raise the quota."),
    403: (AccessDenied, "The key is known but may not do this; ask for access or use another model."),
    404: (NotConfigured, "Check `base_url`: the server has nothing at this address."),
    405: (NotConfigured, "Check `base_url`: this address takes no such requests."),
    407: (NotConfigured, "The proxy asks for a name and password; put them into the proxy's address."),
    408: (ServerFailed, None),
    409: (ServerFailed, None),
    410: (EndpointRetired, "The server says this address is gone for good; look for its successor."),
    413: (InvalidRequest, "Send less: the request is too large for the server."),
    424: (ServerFailed, "The model behind the server failed; its own words are above."),
    425: (ServerFailed, None),
    429: (RateLimited, "Wait, send fewer requests at a time, or raise the limit."),
    451: (AccessDenied, None),
}


def _classify(failure: Failure) -> tuple[type[OpenModelsError], str | None]:
    text = f"{failure.code} {failure.message}"
    for kind, pattern, statuses, next_step in _RULES:
        if (failure.status is None or failure.status in statuses) and re.search(pattern, text, re.IGNORECASE):
            return kind, next_step
    status = failure.status
    if status is None:
        limited = re.search(r"rate.?limit|too many requests|overloaded_error", text, re.IGNORECASE)
        return (RateLimited if limited else ServerFailed), None
    if judgement := _BY_STATUS.get(status):
        return judgement
    if 300 <= status < 400:
        where = failure.location or "another address"
        return InvalidResponse, (
            f"It redirects to {where}; redirects are not followed, since they would carry the key and the "
            "prompt there. If you trust it, set `base_url` to it."
        )
    if 400 <= status < 500:
        return InvalidRequest, None
    return (ServerFailed, None) if status >= 500 else (InvalidResponse, None)


def _parts(body: Any, depth: int = 0) -> tuple[str, str]:
    """Return code and message of an error object, in any shape that servers use."""
    if depth > _DEEPEST:
        return "", ""
    if isinstance(body, str):
        # Gateways put the JSON of the server behind them into a string.
        inner = json_or_none(body) if body.lstrip()[:1] in ("{", "[") else None
        code, message = _parts(inner, depth + 1) if isinstance(inner, dict | list) else ("", "")
        return (code, message) if message else (code, _plain(body))
    if isinstance(body, list):
        pairs = [_parts(item, depth + 1) for item in body[:5]]
        return pairs[0][0] if len(pairs) == 1 else "", "; ".join(message for _, message in pairs if message)
    if not isinstance(body, dict):
        return "", ""
    if "loc" in body:  # a fault as FastAPI tells it; its `input` repeats the request
        place = body["loc"]
        where = ".".join(str(part) for part in place) if isinstance(place, list | tuple) else ""
        return "", ": ".join(part for part in (where, _words(body.get("msg"))) if part)
    codes = [_words(body.get("error_type"), body.get("code"), body.get("type"))]
    reasons: list[str] = []
    for key, value in _reasons(body):
        if reasons and key not in _MORE:
            continue
        code, message = _parts(value, depth + 1)
        codes.append(code)
        if message and not any(message in reason for reason in reasons):
            reasons.append(message)
    if not reasons:  # fields by name, each with its faults
        fields = [(name, _parts(value)[1]) for name, value in list(body.items())[:5] if isinstance(value, list)]
        reasons = [f"{name}: {fault}" for name, fault in fields if fault]
    return " ".join(code for code in codes if code), ": ".join(reasons)


def _reasons(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what may say what is wrong, with its place."""
    for key in _REASONS:
        if isinstance(value := body.get(key), str | dict | list):
            yield key, value
    metadata = body.get("metadata")
    if isinstance(metadata, dict) and isinstance(raw := metadata.get("raw"), str | dict | list):
        yield "raw", raw  # what the provider behind a router says


_DEEPEST = 6
_REASONS = (
    "error",
    "errors",
    "message",
    "Message",
    "detail",
    "details",
    "msg",
    "error_message",
    "errorMessage",
    "error_description",
    "reason",
    "title",
    "fault",
    "faultstring",
    "text",
    "innererror",
    "inner_error",
)
"""Where servers write what is wrong: the first that says something counts, and those of `_MORE`."""
_MORE = frozenset({"errors", "detail", "details", "innererror", "inner_error", "raw"})
"""What says more than the message before it."""


def _words(*values: Any) -> str:
    return " ".join(str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool))


def _plain(text: str) -> str:
    if text.lstrip()[:1] == "<":
        title = re.search(r"<(title|h1|message)[^>]*>(.{0,200}?)</\1>", text[:65536], re.IGNORECASE | re.DOTALL)
        words = html.unescape(re.sub(r"<[^>]*>", " ", title[2])).strip() if title else ""
        return f"an HTML page titled '{words}'" if words else "an HTML page"
    return text


def _parameter(body: Any) -> str:
    """Return the name of the field that an error is about; "" if it names none."""
    inner = body.get("error", body) if isinstance(body, dict) else None
    return _words(inner.get("param")) if isinstance(inner, dict) else ""


def _status_in(body: Any) -> int | None:
    if isinstance(body, dict):
        for value in (body.get("code"), body.get("status"), body.get("status_code")):
            if isinstance(value, int | str) and re.fullmatch(r"[45]\d\d", str(value)):
                return int(value)
        return _status_in(body.get("error"))
    return None


def _location(value: str | None, secrets: tuple[str, ...]) -> str | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return None
    host = f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
    return redact(f"{host}{parts.path}", secrets)


def _seconds(value: str | None) -> float | None:
    # Digits only: float() would also take "inf", "nan", "1e9" and digits of other scripts.
    if value is None or not re.fullmatch(r"\s*\+?\d{1,12}(\.\d{0,9})?\s*", value, re.ASCII):
        return None
    return float(value)
