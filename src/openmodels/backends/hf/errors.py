"""Errors of Hugging Face's router, endpoints and servers."""

import math
import re
from dataclasses import replace

from openmodels import errors
from openmodels.http import status_errors
from openmodels.http.status_errors import StatusMeaning

TOKENS_PAGE = "https://huggingface.co/settings/tokens"  # where tokens are created

_WHO_SERVES = "Check the name; om.providers('org/model') lists who serves it."
_ENABLE = "om.providers('org/model') lists who serves it; https://huggingface.co/settings/inference-providers who may."

_Rule = tuple[type[errors.OpenModelsError], frozenset[int | None], str, str]
_RULES: tuple[_Rule, ...] = (
    (
        errors.GatedModel,
        frozenset({401, 403}),
        r"cannot access this model|access to model .{0,200} is restricted",
        "Accept the model's terms on its page, with the account whose token is used.",
    ),
    (
        errors.AccessDenied,
        frozenset({403}),
        r"sufficient permissions",
        f"Give the token the permission 'Make calls to Inference Providers' at {TOKENS_PAGE}.",
    ),
    (
        errors.AuthenticationFailed,
        frozenset({401}),
        "",
        f"Check HF_TOKEN, `hf auth whoami` or api_key=; tokens: {TOKENS_PAGE}.",
    ),
    (
        errors.QuotaExceeded,
        frozenset({402}),
        "",
        "Buy credit, free accounts have none: https://huggingface.co/settings/billing; or name who pays: bill_to=.",
    ),
    (
        errors.ModelNotFound,
        frozenset({400, 404, 422}),
        r"model_not_supported|not supported by (any )?provider",
        _ENABLE,
    ),
    (errors.ModelNotFound, frozenset({400, 404}), r"model.{0,200}(does not exist|not found)", _WHO_SERVES),
    # What a text-generation server answers when the model behind it fails.
    (errors.ServerFailed, frozenset({424}), "", "Ask again, or choose another provider."),
)
"""Class, statuses, pattern of code and message, next step; the first that fits counts."""


def translate_error(failure: status_errors.FailedResponse, *, is_routed: bool) -> errors.OpenModelsError:
    """Return the error for a failed response; the router's 404 is about the model."""
    if failure.retry_after is None:
        failure = replace(failure, retry_after=_loading_seconds(failure))
    general = status_errors.error_from_response(failure)
    if isinstance(general, errors.GatedModel | errors.ContextTooLong | errors.ContentFiltered):
        return general
    text = f"{failure.code} {failure.message}"
    for kind, statuses, pattern, next_step in _RULES:
        if failure.status in statuses and re.search(pattern, text, re.IGNORECASE):
            return status_errors.error_from_response(failure, StatusMeaning(kind, next_step))
    if is_routed and failure.status == 404 and type(general) is errors.NotConfigured:
        return status_errors.error_from_response(failure, StatusMeaning(errors.ModelNotFound, _WHO_SERVES))
    return general


def _loading_seconds(failure: status_errors.FailedResponse) -> float | None:
    """Return the seconds that the model takes to load, if the response says so."""
    seconds = failure.body.get("estimated_time") if isinstance(failure.body, dict) and failure.status == 503 else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds) or seconds < 0:
        return None
    return float(seconds)
