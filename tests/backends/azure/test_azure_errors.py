"""What Azure's errors become, and the option that it wants spelled in two ways."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import openmodels as om
from openmodels import errors, retry
from openmodels.errors import InvalidRequest, RateLimited
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer
from openmodels.testing.faults.answers import right
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault


def _model(url: str) -> om.Model:
    return om.Model("azure:tiny", base_url=url, api_key=KEY, timeout=10)


def _fails(name: str, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    @fault(Fault(name, "an error as Azure tells it"))
    def _answer(wire: Wire, _: Request) -> None:
        wire.answer(body, status, headers)


def _error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, **more}}


_HATE = {"hate": {"filtered": True, "severity": "high"}, "violence": {"filtered": False, "severity": "safe"}}
_FILTERED = "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
_THROTTLED = (
    "Requests to the ChatCompletions_Create Operation under Azure OpenAI API version 2024-10-21 have exceeded token "
    "rate limit of your current OpenAI S0 pricing tier. Please retry after 7 seconds. Please go here: "
    "https://aka.ms/oai/quotaincrease if you would like to further increase the default rate limit."
)
ERRORS: dict[str, tuple[int, Any, dict[str, str], str, str]] = {
    "filter": (
        400,
        _error(
            "content_filter",
            _FILTERED,
            param="prompt",
            status=400,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {**_HATE, "jailbreak": {"filtered": True, "detected": True}},
            },
        ),
        {},
        "ContentFiltered",
        r"\(filtered: hate: high, jailbreak\)",
    ),
    "filter-v1": (
        400,
        _error(
            "content_filter", _FILTERED, inner_error={"content_filter_results": {**_HATE, "\x1b[31m": {"filtered": 1}}}
        ),
        {},
        "ContentFiltered",
        r"\(filtered: hate: high\)",
    ),
    "filter-odd": (400, _error("content_filter", "no", innererror=[1]), {}, "ContentFiltered", "no"),
    "no-deployment": (
        404,
        _error("DeploymentNotFound", "The API deployment for this resource does not exist."),
        {},
        "ModelNotFound",
        "does not exist.*list_deployments",
    ),
    "unknown-model": (400, _error("unknown_model", "Unknown model: tiny"), {}, "ModelNotFound", "Unknown model"),
    "no-address": (404, _error("404", "Resource not found"), {}, "NotConfigured", r"Check `base_url`.*/openai/v1"),
    "gone": (410, {"error": {"message": "This service has been retired"}}, {}, "EndpointRetired", r"410.*/openai/v1"),
    "too-long": (
        400,
        _error("context_length_exceeded", "This model's maximum context length is 8192 tokens."),
        {},
        "ContextTooLong",
        "8192",
    ),
    "too-long-424": (
        424,
        {"error": {"code": "Failed Dependency", "message": '{"message": "prompt is too long", "status": 400}'}},
        {},
        "ContextTooLong",
        "too long",
    ),
    "model-failed": (424, _error("424", "CUDA out of memory"), {}, "ServerFailed", "424.*CUDA"),
    "throttled": (429, _error("429", _THROTTLED), {"retry-after": "7"}, "RateLimited", "rate limit"),
    "throttled-ms": (429, _error("RateLimitReached", "slow down"), {"retry-after-ms": "7000"}, "RateLimited", "slow"),
    "no-quota": (
        429,
        _error("insufficient_quota", "You exceeded your current quota", type="insufficient_quota"),
        {},
        "QuotaExceeded",
        "quota",
    ),
    "bad-key": (
        401,
        _error("401", "Access denied due to invalid subscription key or wrong API endpoint."),
        {},
        "AuthenticationFailed",
        r"Check the key.*AZURE_AI_API_KEY.*127\.0\.0\.1",
    ),
    "flat": (
        401,
        {"statusCode": 401, "message": "Unauthorized. Access token is missing"},
        {},
        "AuthenticationFailed",
        "token",
    ),
    "no-role": (403, _error("PermissionDenied", "lacks the required data action"), {}, "AccessDenied", "data action"),
    "extra": (
        422,
        _error("Invalid input", "invalid input", details=[{"loc": ["body", "n"], "type": "extra_forbidden"}]),
        {},
        "InvalidRequest",
        "invalid input",
    ),
}
for _name, (_status, _body, _headers, *_) in ERRORS.items():
    _fails(f"azure-{_name}", _status, _body, _headers)


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_azure(server: FaultServer, name: str) -> None:
    *_, kind, says = ERRORS[name]
    with retry.override_retries(attempts=1), _model(server.url(f"azure-{name}")) as model:
        for ask in (model.chat, lambda prompt: asyncio.run(model.achat(prompt)), model.embed):
            with pytest.raises(om.OpenModelsError, match=rf"(?s){says}") as caught:
                ask(PROMPT)
            assert type(caught.value) is getattr(errors, kind)
            assert str(caught.value).isprintable()
            if kind == "RateLimited":
                assert caught.value.retry_after == 7


def test_a_wait_too_long_is_refused_at_once(server: FaultServer) -> None:
    url = server.url("azure-throttled")
    with _model(url) as model, pytest.raises(RateLimited):
        model.chat("hi", timeout=5)
    assert len(server.seen(url)) == 1


@fault(Fault("azure-new-limit", "wants max_completion_tokens"))
def _new_limit(wire: Wire, request: Request) -> None:
    if "max_tokens" in json.loads(request.body):
        wire.answer(
            _error(
                "unsupported_parameter",
                "Unsupported parameter: 'max_tokens' is not supported with this model. "
                "Use 'max_completion_tokens' instead.",
                param="max_tokens",
            ),
            400,
        )
    else:
        right(wire, request)


_fails("azure-no-limit", 400, _error("unsupported_parameter", "Neither max_tokens nor max_completion_tokens."))


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_limit_is_spelled_as_the_model_wants_it(server: FaultServer, surface: str) -> None:
    def ask(**options: Any) -> str:
        reply = getattr(model, surface)("hi", **options)
        return (asyncio.run(reply) if surface == "achat" else reply).text

    url = server.url("azure-new-limit")
    with retry.override_retries(attempts=1), _model(url) as model:
        assert ask() == ask(max_tokens=5) == ask(max_tokens=6) == TEXT
    limits = [
        (body.get("max_tokens"), body.get("max_completion_tokens"))
        for body in (json.loads(request.body) for request in server.seen(url))
    ]
    assert limits == [(None, None), (5, None), (None, 5), (None, 6)]

    url = server.url("azure-no-limit")
    with retry.override_retries(attempts=1), _model(url) as model, pytest.raises(InvalidRequest, match="Neither"):
        ask(max_tokens=5)
    assert len(server.seen(url)) == 2
