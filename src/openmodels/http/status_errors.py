"""The meaning of a failed response: its status, headers and body as an error.

Pure functions. A vendor's text is quoted only after keys and prompts are taken out of it, cut to
`LONGEST_MESSAGE` characters.
"""

import html
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, NamedTuple
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

LONGEST_MESSAGE = 300  # characters of a vendor's message that an error quotes

ECHO = 24  # a vendor's text sharing this many characters in a row with the prompt quotes it
_SHORT = 8  # a secret of fewer characters is taken out as a word only: a prompt "hi" must not spoil every "this"


@dataclass(frozen=True, slots=True)
class FailedResponse:
    """A failed answer, read but not yet judged."""

    host: str  # the server's name and port
    status: int | None  # the HTTP status, or the one that an error inside a 200 answer gives; else None
    code: str = ""  # the vendor's code and type, in lower case, joined by a space; may be ""
    message: str = ""  # the vendor's message, without keys and prompts, one line, cut; may be ""
    # Code, parameter and message, not cut to a line; without keys and prompts.
    words: str = field(default="", repr=False)
    request_id: str | None = None  # the vendor's id for the request
    retry_after: float | None = None  # seconds that the vendor asks to wait
    should_retry: bool | None = None  # what the server says of a retry (`x-should-retry`), or None
    location: str | None = None  # where a redirect points to, without its query; or None
    # The parsed error object, uncut: for a dialect to look into, never to quote.
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


class StatusMeaning(NamedTuple):
    """What a failed response means: its error's class, next step and cause.

    With "" as the cause, that is what the server says.
    """

    kind: type[OpenModelsError]
    next_step: str | None = None
    cause: str = ""


def read_failed_response(
    status: int, headers: Mapping[str, str], body: bytes | object, *, host: str, secrets: Iterable[str] = ()
) -> FailedResponse:
    """Read a failed response.

    Args:
        status: The HTTP status; of a 200 answer that holds an error, the error's own code counts.
        headers: By lower-case name.
        body: The raw body, or the parsed object of an error inside a stream.
        host: The server's name and port.
        secrets: Keys and prompts that the result must not contain.
    """
    secrets = tuple(secrets)
    text = ""
    if isinstance(body, bytes):
        text = body.decode(errors="replace")
        body = json_or_none(text)
    code, message = _code_and_message(body if isinstance(body, dict | list | str) else text)
    ids = (headers.get(name) for name in _REQUEST_ID)
    inner = body.get("error", body) if isinstance(body, dict) else None
    parameter = _join_words(inner.get("param")) if isinstance(inner, dict) else ""
    return FailedResponse(
        host=host,
        status=_status_in(body) if 200 <= status < 300 else status,
        code=redact(code.lower(), secrets)[:LONGEST_MESSAGE],
        message=redact(message, secrets),
        words=_clean(" ".join(part for part in (code, parameter, message) if part), secrets),
        request_id=next((redact(value, secrets)[:128] for value in ids if value), None),
        retry_after=retry_after(headers, time.time(), limited=status == HTTPStatus.TOO_MANY_REQUESTS),
        should_retry={"true": True, "false": False}.get(headers.get("x-should-retry", "").lower()),
        location=_read_location(headers.get("location"), secrets) if 300 <= status < 400 else None,
        body=body,
    )


def error_from_response(failure: FailedResponse, meaning: StatusMeaning | None = None) -> OpenModelsError:
    """Return the one error of the tree that a failed response is.

    `meaning` is what the failure means, where that is not what it means in OpenAI's dialect.
    """
    kind, next_step, cause = meaning or _openai_meaning(failure)
    retryable = failure.should_retry
    if retryable is None:
        retryable = failure.status in _RETRYABLE or ((failure.status or 500) >= 500 and failure.status != 501)
    return kind(
        cause or failure.cause,
        next_step=next_step,
        status=failure.status,
        request_id=failure.request_id,
        retryable=retryable and kind.default_retryable,
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
    for name, units in (("retry-after-ms", 1000), ("x-ms-retry-after-ms", 1000), ("retry-after", 1)):
        if (wait := _parse_seconds(headers.get(name))) is not None:
            return wait / units
    value = headers.get("retry-after")
    if value is not None and not re.fullmatch(r"\s*[-+]?[\d.]+\s*", value):
        try:
            return max(0.0, parsedate_to_datetime(value).timestamp() - now)
        except (ValueError, TypeError, IndexError, OverflowError, OSError):
            return None
    reset = re.search(r";\s*t=(\d{1,9})\b", headers.get("ratelimit", ""))
    if reset:
        return float(reset[1])
    return _reset_seconds(headers, now) if limited else None


def _reset_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Return when the limits that are used up are open again, in seconds from now."""
    waits = []
    for name, value in headers.items():
        if not re.fullmatch(r"(x-|anthropic-)?ratelimit-(\w+-)?reset(-\w+)?", name):
            continue
        left = headers.get(name.replace("reset", "remaining"))
        if left is None or re.fullmatch(r"0+(\.0*)?", left.strip()):
            waits.append(_seconds_until(value, now))
    return max((wait for wait in waits if wait is not None), default=None)


def _seconds_until(value: str, now: float) -> float | None:
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
            text = _without_secret(text, secret)
    text = _KEYS.sub("[…]", text)
    text = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(text.split())


_KEYS = re.compile(r"\b(sk|pk|rk|hf|gsk|xai|nvapi|key)[-_][A-Za-z0-9_-]{16,}|(?<=\bBearer )[A-Za-z0-9._~+/=-]{8,}")
"""What looks like a key, of whoever it is."""


def _without_secret(text: str, secret: str) -> str:
    if len(secret) < _SHORT:
        return re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "[…]", text)
    for form in (secret, html.escape(secret), repr(secret)[1:-1]):
        text = text.replace(form, "[…]")
    if len(secret) <= ECHO:
        return text
    kept, at = [], 0
    while at < len(text):
        end = at + ECHO
        if end <= len(text) and text[at:end] in secret:
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

_WRONG_KEY = StatusMeaning(AuthenticationFailed, "Check the key: `api_key=` or the backend's environment variable.")
_NO_CREDIT = StatusMeaning(QuotaExceeded, "Waiting does not help: add credit or raise the quota.")
_RULES: tuple[tuple[StatusMeaning, frozenset[int], str], ...] = (
    (
        StatusMeaning(
            ContextTooLong, "Shorten the conversation, lower `max_tokens`, or use a model with a longer context."
        ),
        frozenset({400, 413, 422, 424, 500}),
        (
            r"context_length|exceed_context|context (length|size|window)|(prompt|input)s? (is|are) too long|"
            r"maximum (input|model) length|inputs. tokens \+|input \(\d+ tokens\) is too large"
        ),
    ),
    (
        StatusMeaning(ContentFiltered, "Rephrase the request, or change the filter where the model is deployed."),
        frozenset({400, 403, 422, 424, 451}),
        r"content_filter|content.management.policy|responsibleaipolicy|content_policy|moderation",
    ),
    (
        _NO_CREDIT,
        frozenset({402, 403, 429}),
        (
            r"insufficient_quota|insufficient_balance|exceeded your (current|monthly) (quota|included)|billing|"
            r"quota_exceeded|out of credits|not enough credits|payment required"
        ),
    ),
    (
        StatusMeaning(GatedModel, "Accept the model's terms on its page, with the account whose key is used."),
        frozenset({401, 403}),
        r"gated|must (accept|agree)|accept the (terms|license|conditions)|awaiting (a )?review",
    ),
    (
        _WRONG_KEY,
        frozenset({400, 401, 403}),
        r"invalid.{0,3}api.?key|incorrect api key|invalid.{0,3}(access )?token|authentication_error|unauthorized",
    ),
    (
        StatusMeaning(ModelNotFound, "Check the model's name; `server:` without a name lists what the server has."),
        frozenset({400, 404, 410, 422}),
        (
            r"model_?not_?found|deployment_?not_?found|unknown_?model|no such model|"
            r"model\b.{0,200}\b(does not exist|not found|not exist|is not supported|not loaded)"
        ),
    ),
)
"""Meaning, statuses, and a pattern of code and message; the first that fits counts."""
_BY_STATUS = {
    401: _WRONG_KEY,
    402: _NO_CREDIT,
    403: StatusMeaning(AccessDenied, "The key is known but may not do this; ask for access or use another model."),
    404: StatusMeaning(NotConfigured, "Check `base_url`: the server has nothing at this address."),
    405: StatusMeaning(NotConfigured, "Check `base_url`: this address takes no such requests."),
    407: StatusMeaning(NotConfigured, "The proxy asks for a name and password; put them into the proxy's address."),
    408: StatusMeaning(ServerFailed),
    409: StatusMeaning(ServerFailed),
    410: StatusMeaning(EndpointRetired, "The server says this address is gone for good; look for its successor."),
    413: StatusMeaning(InvalidRequest, "Send less: the request is too large for the server."),
    424: StatusMeaning(ServerFailed, "The model behind the server failed; its own words are above."),
    425: StatusMeaning(ServerFailed),
    429: StatusMeaning(RateLimited, "Wait, send fewer requests at a time, or raise the limit."),
    451: StatusMeaning(AccessDenied),
}


def _openai_meaning(failure: FailedResponse) -> StatusMeaning:
    """Return what a failed response means in OpenAI's dialect."""
    text, status = f"{failure.code} {failure.message}", failure.status
    for meaning, statuses, pattern in _RULES:
        if (status is None or status in statuses) and re.search(pattern, text, re.IGNORECASE):
            return meaning
    if status is None:
        limited = re.search(r"rate.?limit|too many requests|overloaded_error", text, re.IGNORECASE)
        return StatusMeaning(RateLimited if limited else ServerFailed)
    if 300 <= status < 400:
        where = failure.location or "another address"
        next_step = (
            f"It redirects to {where}; redirects are not followed, since they would carry the key and the "
            "prompt there. If you trust it, set `base_url` to it."
        )
        return StatusMeaning(InvalidResponse, next_step)
    kind = InvalidRequest if 400 <= status < 500 else ServerFailed if status >= 500 else InvalidResponse
    return _BY_STATUS.get(status, StatusMeaning(kind))


def _code_and_message(body: Any, depth: int = 0) -> tuple[str, str]:
    """Return code and message of an error object, in any shape that servers use."""
    if depth > _DEEPEST:
        return "", ""
    if isinstance(body, str):
        # Gateways put the JSON of the server behind them into a string.
        inner = json_or_none(body) if body.lstrip()[:1] in ("{", "[") else None
        code, message = _code_and_message(inner, depth + 1) if isinstance(inner, dict | list) else ("", "")
        return (code, message) if message else (code, _plain_text(body))
    if isinstance(body, list):
        pairs = [_code_and_message(item, depth + 1) for item in body[:5]]
        return pairs[0][0] if len(pairs) == 1 else "", "; ".join(message for _, message in pairs if message)
    if not isinstance(body, dict):
        return "", ""
    if "loc" in body:  # a fault as FastAPI tells it; its `input` repeats the request
        place = body["loc"]
        where = ".".join(str(part) for part in place) if isinstance(place, list | tuple) else ""
        return "", ": ".join(part for part in (where, _join_words(body.get("msg"))) if part)
    codes = [_join_words(body.get("error_type"), body.get("code"), body.get("type"))]
    reasons: list[str] = []
    metadata = body.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None  # what the provider behind a router says
    for key, value in [*((key, body.get(key)) for key in _REASONS), ("raw", raw)]:
        if not isinstance(value, str | dict | list) or (reasons and key not in _MORE):
            continue
        code, message = _code_and_message(value, depth + 1)
        codes.append(code)
        if message and not any(message in reason for reason in reasons):
            reasons.append(message)
    if not reasons:  # fields by name, each with its faults
        fields = [
            (name, _code_and_message(value)[1]) for name, value in list(body.items())[:5] if isinstance(value, list)
        ]
        reasons = [f"{name}: {fault}" for name, fault in fields if fault]
    return " ".join(code for code in codes if code), ": ".join(reasons)


_DEEPEST = 6
_REASONS = (
    *("error", "errors", "message", "Message", "detail", "details", "msg", "error_message", "errorMessage"),
    *("error_description", "reason", "title", "fault", "faultstring", "text", "innererror", "inner_error"),
)
"""Where servers write what is wrong: the first that says something counts, and those of `_MORE`."""
_MORE = frozenset({"errors", "detail", "details", "innererror", "inner_error", "raw"})
"""What says more than the message before it."""


def _join_words(*values: Any) -> str:
    return " ".join(str(value) for value in values if isinstance(value, str | int) and not isinstance(value, bool))


def _plain_text(text: str) -> str:
    if text.lstrip()[:1] == "<":
        title = re.search(r"<(title|h1|message)[^>]*>(.{0,200}?)</\1>", text[:65536], re.IGNORECASE | re.DOTALL)
        words = html.unescape(re.sub(r"<[^>]*>", " ", title[2])).strip() if title else ""
        return f"an HTML page titled '{words}'" if words else "an HTML page"
    return text


def _status_in(body: Any) -> int | None:
    if isinstance(body, dict):
        for value in (body.get("code"), body.get("status"), body.get("status_code")):
            if isinstance(value, int | str) and re.fullmatch(r"[45]\d\d", str(value)):
                return int(value)
        return _status_in(body.get("error"))
    return None


def _read_location(value: str | None, secrets: tuple[str, ...]) -> str | None:
    try:
        parts = urlsplit(value or "")
    except ValueError:
        return None
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
    return redact(address, secrets) or None


def _parse_seconds(value: str | None) -> float | None:
    # Digits only: float() would also take "inf", "nan", "1e9" and digits of other scripts.
    if value is None or not re.fullmatch(r"\s*\+?\d{1,12}(\.\d{0,9})?\s*", value, re.ASCII):
        return None
    return float(value)
