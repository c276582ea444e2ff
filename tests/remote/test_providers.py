"""`om.providers`: read from a loopback router held to the shape that Hugging Face documents for its own.

https://huggingface.co/docs/inference-providers/hub-api, "List OpenAI-compatible models".
"""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

import openmodels as om
from openmodels import retry
from openmodels.testing.faults import FaultServer
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault

# The documentation's example, shortened: a provider with every field, and two that lack some.
_FULL = {
    "provider": "novita",
    "status": "live",
    "context_length": 1048576,
    "pricing": {"input": 1.69, "output": 3.38},
    "supports_tools": True,
    "supports_structured_output": False,
    "first_token_latency_ms": 1490,
    "throughput": 24.69124008437934,
    "is_model_author": False,
}
_NO_PRICE = {
    "provider": "fireworks-ai",
    "status": "live",
    "context_length": 1048576,
    "supports_tools": True,
    "supports_structured_output": True,
    "first_token_latency_ms": 588.4,
    "throughput": 45.42948747753918,
    "is_model_author": False,
}
_BARE = {"provider": "featherless-ai", "status": "error", "is_model_author": False}
_MODEL = {
    "id": "deepseek-ai/DeepSeek-V4-Pro",
    "object": "model",
    "created": 1776837885,
    "owned_by": "deepseek-ai",
    "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
    "providers": [_FULL, _NO_PRICE, _BARE],
}
_ODD = {
    "provider": "odd",
    "status": 5,
    "context_length": "many",
    "pricing": {"input": -1, "output": True},
    "supports_tools": "yes",
    "first_token_latency_ms": None,
    "throughput": {"x": 1},
    "is_free": True,
    "new_field": [1],
}


def _router(name: str, *rows: object) -> None:
    @fault(Fault(f"router-{name}", "lists models as the router does"))
    def _answer(wire: Wire, request: Request) -> None:
        wire.answer({"object": "list", "data": rows} if request.path == "/v1/models" else {}, 200)


_router("good", {"id": "org/other", "providers": [_BARE]}, _MODEL)
_router("odd", "text", {"x": 1}, {"id": 5}, {"id": "org/odd", "providers": ["x", {"provider": 5}, _ODD]})
_router("nobody", {"id": "org/model", "providers": []}, {"id": "org/none", "providers": None})


@fault(Fault("router-shapeless", "lists models in another shape"))
def _shapeless(wire: Wire, _: Request) -> None:
    wire.answer({"models": []})


@pytest.fixture(params=["providers", "aproviders"])
def ask(request: pytest.FixtureRequest, server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> object:
    """Asks the router that a fault plays, and returns what it answered and what it was asked."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)

    def call(name: str, model: str, **options: object) -> tuple[list[om.Provider], list[Request]]:
        url = server.url(name)
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", url)
        with retry.override_retries(attempts=3):
            found = getattr(om, request.param)(model, **options)
            found = asyncio.run(found) if request.param == "aproviders" else found
        assert server.wait_open(0)
        return found, server.seen(url)

    return call


@pytest.mark.parametrize(
    "model",
    [
        "deepseek-ai/DeepSeek-V4-Pro",
        "deepseek-ai/deepseek-v4-pro",
        "hf:deepseek-ai/DeepSeek-V4-Pro",
        "hf:deepseek-ai/DeepSeek-V4-Pro:novita",
    ],
)
def test_the_documented_shape_is_read(ask, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    found, asked = ask("router-good", model)
    assert [(request.method, request.path) for request in asked] == [("GET", "/v1/models")]
    assert "authorization" not in asked[0].headers
    first, second, third = found
    assert first == om.Provider(
        model="deepseek-ai/DeepSeek-V4-Pro",
        provider="novita",
        status="live",
        price_in=Decimal("1.69"),
        price_out=Decimal("3.38"),
        context_length=1048576,
        tools=True,
        structured_output=False,
        latency=1.49,
        throughput=24.69124008437934,
        is_model_author=False,
    )
    assert first.reference == "hf:deepseek-ai/DeepSeek-V4-Pro:novita"
    assert om.Model(first.reference).reference == first.reference
    assert (second.price_in, second.latency, second.structured_output) == (None, 0.5884, True)
    assert third == om.Provider(model=first.model, provider="featherless-ai", status="error", is_model_author=False)


def test_what_cannot_be_read_is_left_out(ask) -> None:
    (only,), _ = ask("router-odd", "org/odd")
    assert only == om.Provider(model="org/odd", provider="odd", is_free=True)


@pytest.mark.parametrize(
    ("name", "model", "kind", "says"),
    [
        ("router-good", "deepseek-ai/DeepSeek-V4", om.ModelNotFound, "Similar names: deepseek-ai/DeepSeek-V4-Pro"),
        ("router-good", "nobody/nothing-at-all", om.ModelNotFound, "2 other models are served"),
        ("router-nobody", "org/model", om.ModelNotFound, "No provider"),
        ("router-nobody", "org/none", om.ModelNotFound, "No provider"),
        ("router-shapeless", "org/model", om.InvalidResponse, "unknown shape"),
        ("html", "org/model", om.InvalidResponse, "HTML page"),
        ("json-cut", "org/model", om.InvalidResponse, "not JSON"),
        ("gzip-bomb", "org/model", om.InvalidResponse, "larger than"),
        ("error-endless", "org/model", om.ServerFailed, "aaa"),
        ("500-always", "org/model", om.ServerFailed, "boom"),
        ("429-always", "org/model", om.RateLimited, "slow down"),
        ("307-redirect", "org/model", om.InvalidResponse, "not followed"),
        ("reset-always", "org/model", om.ConnectionFailed, "reset|closed"),
    ],
)
def test_failures_are_typed(ask, name: str, model: str, kind: type, says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        ask(name, model)
    assert type(caught.value) is kind
    assert caught.value.reference == f"hf:{model}"


@pytest.mark.parametrize("name", ["silent", "slow-headers", "slow-body"])
def test_the_timeout_is_total(ask, name: str) -> None:
    with pytest.raises(om.DeadlineExceeded, match="time is up"):
        ask(name, "org/model", timeout=0.3)


def test_a_failure_is_tried_again(ask) -> None:
    with pytest.raises(om.InvalidResponse, match="unknown shape"):
        ask("503-empty-once", "org/model")  # its second answer is a chat's


@pytest.mark.parametrize("model", ["model", "", "hf:", "server:x/y", 5, None, "org/model@"])
def test_what_is_no_model_is_refused(ask, model: object) -> None:
    with pytest.raises(om.InvalidReference):
        ask("router-good", model)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), True, "long"])
def test_a_wrong_timeout_is_named(ask, timeout: object) -> None:
    with pytest.raises(om.InvalidRequest, match="timeout"):
        ask("router-good", "org/model", timeout=timeout)


def test_offline_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENMODELS_HF_ROUTER", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(om.Offline, match=r"^hf:org/model: router\.huggingface\.co"):
        om.providers("org/model")
    with pytest.raises(om.Offline):
        asyncio.run(om.aproviders("org/model"))
