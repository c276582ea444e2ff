"""Errors as answers: the status, and the body in the shape of each wire."""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from openmodels import errors


class Refusal(errors.OpenModelsError):
    """The server itself refuses a request; `status` says how.

    Attributes:
        code: A word for programs.
    """

    def __init__(self, status: int, code: str, cause: str, **fields: Any) -> None:
        super().__init__(cause, status=status, **fields)
        self.code = code


class _Kind(NamedTuple):
    """How an error is answered."""

    status: int  # of HTTP
    type: str  # OpenAI's word
    code: str | None = None  # a word for programs


_INVALID = "invalid_request_error"
_KINDS: dict[type[errors.OpenModelsError], _Kind] = {
    errors.ContextTooLong: _Kind(400, _INVALID, "context_length_exceeded"),
    errors.ContentFiltered: _Kind(400, _INVALID, "content_filter"),
    errors.UnsupportedFeature: _Kind(400, _INVALID, "unsupported_feature"),
    errors.InvalidReference: _Kind(400, _INVALID),
    errors.InvalidRequest: _Kind(400, _INVALID),
    errors.ModelNotFound: _Kind(404, _INVALID, "model_not_found"),
    errors.EndpointRetired: _Kind(410, _INVALID, "endpoint_retired"),
    errors.OutputInvalid: _Kind(422, "output_error", "output_invalid"),
    # What is missing is the server's own key or file; 401 would blame the client's key.
    errors.AuthenticationFailed: _Kind(424, "upstream_error", "upstream_authentication"),
    errors.AccessDenied: _Kind(424, "upstream_error", "upstream_access"),
    errors.NotConfigured: _Kind(424, "upstream_error", "not_configured"),
    errors.MissingExtra: _Kind(424, "upstream_error", "not_installed"),
    errors.QuotaExceeded: _Kind(429, "insufficient_quota", "insufficient_quota"),
    errors.RateLimited: _Kind(429, "rate_limit_error", "rate_limit_exceeded"),
    errors.DeadlineExceeded: _Kind(504, "timeout_error", "deadline_exceeded"),
    errors.Offline: _Kind(503, "upstream_error", "offline"),
    errors.LoadFailed: _Kind(503, "server_error", "load_failed"),
    errors.OpenModelsError: _Kind(502, "upstream_error"),
}
"""How the errors of models are answered; an error without a row is answered as its base."""

_BY_STATUS = {400: _INVALID, 401: "authentication_error", 403: "permission_error", 404: "not_found_error"}
_BY_STATUS |= {402: "billing_error", 413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error"}
_BY_STATUS |= {503: "overloaded_error", 529: "overloaded_error"}
"""Anthropic's words by status; others below 500 are invalid requests, and above it errors of the API."""

EncodeFailure = Callable[["ErrorAnswer"], dict[str, Any]]
"""Returns the body of a failure in the shape of a wire."""


class ErrorAnswer(NamedTuple):
    """An error as it is answered.

    Attributes:
        status: The status of HTTP.
        type: OpenAI's word for the kind.
        code: A word for programs.
        message: The cause and the next step.
        param: The field of the request that is wrong.
        retry_after: Seconds to wait before the next try.
    """

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None
    retry_after: float | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that belong to it."""
        headers = []
        if self.retry_after is not None:
            headers.append((b"retry-after", str(max(1, math.ceil(self.retry_after))).encode()))
        if self.status == 401:
            headers.append((b"www-authenticate", b"Bearer"))
        return headers


def describe(error: BaseException) -> ErrorAnswer:
    """Return how an error is answered; one that is not ours shows nothing of itself."""
    if not isinstance(error, errors.OpenModelsError):
        message = "The server has failed; its log says where. Try again, and report it if it stays."
        return ErrorAnswer(500, "server_error", "internal_error", message)
    if isinstance(error, Refusal):
        status = error.status or 400
        kind = _Kind(status, _BY_STATUS.get(status, _INVALID if status < 500 else "server_error"), error.code)
    else:
        kind = next(_KINDS[base] for base in type(error).__mro__ if base in _KINDS)
    field, colon, _ = error.cause.partition(":")
    is_field = bool(colon) and kind.status == 400 and " " not in field
    return ErrorAnswer(kind.status, kind.type, kind.code, str(error), field if is_field else None, error.retry_after)


def encode_openai(failure: ErrorAnswer) -> dict[str, Any]:
    """Return the body of an error as OpenAI's API has it."""
    fields = {"message": failure.message, "type": failure.type, "param": failure.param, "code": failure.code}
    return {"error": fields}


def encode_anthropic(failure: ErrorAnswer) -> dict[str, Any]:
    """Return the body of an error as Anthropic's API has it."""
    kind = _BY_STATUS.get(failure.status, _INVALID if failure.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": failure.message}}


def to_json(value: Any) -> bytes:
    """Return the JSON of an answer, in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
