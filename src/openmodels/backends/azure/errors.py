"""Errors of Azure: what they say beyond the OpenAI dialect."""

import re
from dataclasses import replace
from typing import Any

from openmodels import errors
from openmodels.backends.azure.endpoint import V1_PATH
from openmodels.http import status_errors
from openmodels.http.address import Address


def translate_error(failure: status_errors.FailedResponse, to: Address, identity: str) -> errors.OpenModelsError:
    """Return the error for a failed response, with `identity` for a refused key."""
    if categories := _read_categories(failure.body):
        failure = replace(failure, message=f"{failure.message} (filtered: {', '.join(categories)})")
    error = status_errors.error_from_response(failure)
    if type(error) in (errors.NotConfigured, errors.EndpointRetired) and failure.status in (404, 410):
        error.next_step = (
            f"Check `base_url`, {to}. The address of an Azure resource that is still served is "
            f"https://RESOURCE.services.ai.azure.com{V1_PATH}."
        )
    elif type(error) is errors.ModelNotFound:
        error.next_step = "Check the deployment's name; `model.backend.list_deployments()` may list it."
    elif type(error) in (errors.AuthenticationFailed, errors.AccessDenied):
        error.next_step = identity
    return error


def _read_categories(body: Any) -> list[str]:
    """Return a content filter's categories, e.g. "hate: high", from an error's body."""
    inner = body.get("error") if isinstance(body, dict) else None
    inner = inner.get("innererror") or inner.get("inner_error") or inner if isinstance(inner, dict) else {}
    results = (
        (inner.get("content_filter_result") or inner.get("content_filter_results")) if isinstance(inner, dict) else None
    )
    categories = []
    for name, result in results.items() if isinstance(results, dict) else ():
        if not (isinstance(result, dict) and (result.get("filtered") or result.get("detected"))):
            continue
        words = [str(word) for word in (name, result.get("severity")) if word]
        if all(re.fullmatch(r"[\w-]{1,40}", word, re.ASCII) for word in words):
            categories.append(": ".join(words))
    return categories
