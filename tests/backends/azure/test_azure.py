"""The backend `azure`: addresses, keys, what is sent, and what Azure's errors become."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import Any

import pytest

import openmodels as om
from openmodels.backends.azure import endpoint as azure_endpoint
from openmodels.errors import (
    EndpointRetired,
    InvalidReference,
    InvalidRequest,
    NotConfigured,
    UnsupportedFeature,
)
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault
from openmodels.types.request import ChatRequest

RESOURCE = "https://my-resource.services.ai.azure.com"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_AI_ENDPOINT", "AZURE_INFERENCE_ENDPOINT", "AZURE_AI_API_KEY", "AZURE_INFERENCE_CREDENTIAL"):
        monkeypatch.delenv(name, raising=False)


def _model(url: str, name: str = "tiny", **options: Any) -> om.Model:
    return om.Model(f"azure:{name}", base_url=url, api_key=KEY, timeout=10, **options)


@pytest.mark.parametrize(
    ("base_url", "kind", "address"),
    [
        (RESOURCE, "v1", f"{RESOURCE}/openai/v1"),
        (f"{RESOURCE}/", "v1", f"{RESOURCE}/openai/v1"),
        (f"{RESOURCE}/openai/v1/", "v1", f"{RESOURCE}/openai/v1"),
        (
            f"{RESOURCE}/openai/v1/chat/completions?api-version=preview",
            "v1",
            f"{RESOURCE}/openai/v1?api-version=preview",
        ),
        (f"{RESOURCE}/openai", "v1", f"{RESOURCE}/openai/v1"),
        (f"{RESOURCE}/models", "v1", f"{RESOURCE}/openai/v1"),
        (f"{RESOURCE}/models/chat/completions?api-version=2024-05-01-preview", "v1", f"{RESOURCE}/openai/v1"),
        (f"{RESOURCE}/api/projects/one", "v1", f"{RESOURCE}/api/projects/one/openai/v1"),
        (f"{RESOURCE}/api/projects/one/openai/v1", "v1", f"{RESOURCE}/api/projects/one/openai/v1"),
        ("https://r.openai.azure.com", "v1", "https://r.openai.azure.com/openai/v1"),
        ("https://r.cognitiveservices.azure.com/", "v1", "https://r.cognitiveservices.azure.com/openai/v1"),
        ("https://r.openai.azure.us", "v1", "https://r.openai.azure.us/openai/v1"),
        (
            "https://r.openai.azure.com/openai/deployments/tiny/chat/completions?api-version=2024-06-01",
            "deployment",
            "https://r.openai.azure.com/openai/deployments/tiny?api-version=2024-06-01",
        ),
        (
            "https://r.openai.azure.com/openai/deployments",
            "deployment",
            "https://r.openai.azure.com/openai/deployments/tiny?api-version=2024-10-21",
        ),
        (
            "https://m.eastus2.models.ai.azure.com",
            "serverless",
            "https://m.eastus2.models.ai.azure.com?api-version=2024-05-01-preview",
        ),
        (
            "https://m.eastus.inference.ml.azure.com/score?api-version=1",
            "serverless",
            "https://m.eastus.inference.ml.azure.com?api-version=1",
        ),
        ("http://127.0.0.1:5272", "other", "http://127.0.0.1:5272/v1"),
        ("http://127.0.0.1:5272/some/v1", "other", "http://127.0.0.1:5272/some/v1"),
        ("https://apim.example/models-gateway", "other", "https://apim.example/models-gateway"),
        ("https://apim.example", "v1", "https://apim.example/openai/v1"),
    ],
)
def test_an_address_is_led_where_models_are(base_url: str, kind: str, address: str) -> None:
    endpoint = azure_endpoint.parse_endpoint(base_url, "tiny")
    query = f"?{endpoint.address.query}" if endpoint.address.query else ""
    assert (endpoint.kind, f"{endpoint.address}{query}") == (kind, address)


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        (RESOURCE, "https://ai.azure.com/.default"),
        (f"{RESOURCE}/openai/deployments/x", "https://cognitiveservices.azure.com/.default"),
        ("https://r.openai.azure.us", "https://cognitiveservices.azure.us/.default"),
        ("https://m.eastus2.models.ai.azure.com", "https://ml.azure.com/.default"),
    ],
)
def test_a_token_is_for_the_endpoints_kind(host: str, scope: str) -> None:
    assert azure_endpoint.parse_endpoint(host).scope == scope


@pytest.mark.parametrize(
    ("base_url", "kind", "says"),
    [
        ("https://models.github.ai/inference", EndpointRetired, r"2026-07-30.*/openai/v1"),
        ("https://models.inference.ai.azure.com", EndpointRetired, r"GitHub Models.*/openai/v1"),
        (f"{RESOURCE}/nonsense", NotConfigured, rf"base_url='{RESOURCE}/openai/v1'"),
        ("https://r.openai.azure.com/openai/deployments/other", InvalidRequest, "'other'.*'tiny'"),
        ("http://r.openai.azure.com", InvalidRequest, "unencrypted"),
        (f"https://name:{KEY}@r.openai.azure.com", InvalidRequest, "password"),
        (5, InvalidRequest, "base_url"),
    ],
)
def test_an_address_that_is_refused(base_url: Any, kind: type[om.OpenModelsError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        _model(base_url)
    assert KEY not in str(caught.value)


def test_the_retired_address_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert _model(f"{RESOURCE}/models").backend.describe()["address"] == f"{RESOURCE}/openai/v1"
    assert "retired" in caplog.text


def test_no_address_and_no_deployment() -> None:
    with pytest.raises(NotConfigured, match=r"base_url=.*AZURE_AI_ENDPOINT"):
        om.Model("azure:x")
    with pytest.raises(InvalidReference, match=r"azure:DEPLOYMENT.*list_deployments"):
        _model(RESOURCE, "").chat("hi")
    with pytest.raises(NotConfigured, match="DEPLOYMENT"):
        _model(f"{RESOURCE}/openai/deployments", "")


_BAD_KEYS = (f"{KEY}\n", f"{KEY}\r\nX: y", f"ключ{KEY}", f"{KEY} x")


@pytest.mark.parametrize(
    ("way", "key"),
    [
        *itertools.product(["argument", "environment", "credential"], _BAD_KEYS),
        ("argument", ""),
        ("argument", 5),
    ],
)
def test_a_key_that_is_refused(
    way: str, key: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from azure.core.credentials import AzureKeyCredential

    caplog.set_level(logging.DEBUG)
    given: dict[str, Any] = {"api_key": key}
    if way == "environment":
        monkeypatch.setenv("AZURE_AI_API_KEY", key)
        given = {}
    elif way == "credential":
        given = {"credential": AzureKeyCredential(key)}
    with pytest.raises(InvalidRequest, match=r"api_key|AZURE_AI_API_KEY|credential") as caught:
        om.Model("azure:x", base_url=RESOURCE, **given)
    told = f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r} {caplog.text}"
    assert KEY not in told


def _sent(server: FaultServer, url: str) -> tuple[str | None, str | None]:
    headers = server.seen(url)[-1].headers
    return headers.get("api-key"), headers.get("authorization")


def test_the_environments_key_goes_to_the_environments_endpoint_only(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = server.url("ok"), server.url("ok")
    monkeypatch.setenv("AZURE_INFERENCE_ENDPOINT", own)
    monkeypatch.setenv("AZURE_INFERENCE_CREDENTIAL", KEY)
    with om.Model("azure:tiny") as model, om.Model("azure:tiny", base_url=other) as stranger:
        assert model.chat("hi").text == stranger.chat("hi").text == TEXT
        assert stranger.backend.api_key is None
    assert _sent(server, own) == (KEY, f"Bearer {KEY}")
    assert _sent(server, other) == (None, None)
    assert om.Model("azure:tiny", base_url=RESOURCE).backend.api_key.reveal() == KEY
    assert om.Model("azure:tiny", base_url=f"{RESOURCE}.evil.example").backend.api_key is None
    assert om.Model("azure:tiny", base_url="https://evil-openai.azure.com").backend.api_key is None


def test_arguments_come_before_the_environment(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.url("ok")
    monkeypatch.setenv("AZURE_AI_ENDPOINT", "https://env.openai.azure.com")
    monkeypatch.setenv("AZURE_AI_API_KEY", "sk-from-the-environment")
    with _model(url) as model:
        model.chat("hi")
    assert _sent(server, url) == (KEY, f"Bearer {KEY}")


def test_what_is_sent(server: FaultServer) -> None:
    url = server.url("ok")
    with _model(f"{url}?x={{a}}", headers={"X-Team": "blue"}) as model:
        model.chat(
            [om.system("be brief"), {"role": "user", "content": "grüß"}],
            temperature=0,
            max_tokens=7,
            stop="END",
            extra={"user": "me"},
        )
        with model.stream("hi") as stream:
            list(stream)
        for option in ("top_k", "repetition_penalty"):
            with pytest.raises(UnsupportedFeature, match=f"'azure'.*'{option}'"):
                model.chat("hi", **{option: 1})
        with pytest.raises(UnsupportedFeature, match=r"'azure'.*complete"):
            model.complete("hi")
    plain, streamed = server.seen(url)
    assert plain.path == "/v1/chat/completions?x=%7Ba%7D"
    assert plain.headers["x-team"] == "blue"
    assert plain.headers["user-agent"].startswith("openmodels/")
    assert plain.headers["x-ms-client-request-id"]
    assert "extra-parameters" not in plain.headers
    assert json.loads(plain.body) == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "grüß"}],
        "temperature": 0,
        "max_tokens": 7,
        "stop": ["END"],
        "user": "me",
    }
    assert json.loads(streamed.body)["stream_options"] == {"include_usage": True}


def test_a_serverless_endpoint_passes_extra_on() -> None:
    backend = _model("https://m.eastus2.models.ai.azure.com", "").backend
    request = ChatRequest(messages=(om.user("hi"),), extra={"min_p": 0.1})
    request_sent = backend._prepare_chat(request, backend.resolve_model(None)).http_request
    assert request_sent.url == "https://m.eastus2.models.ai.azure.com/chat/completions?api-version=2024-05-01-preview"
    assert dict(request_sent.headers)["extra-parameters"] == "pass-through"
    assert json.loads(request_sent.body) == {
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "min_p": 0.1,
    }


def _bodies(server: FaultServer, url: str) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.seen(url)]


@fault(Fault("azure-models", "lists models"))
def _models(wire: Wire, request: Request) -> None:
    assert request.method == "GET"
    wire.answer({"object": "list", "data": [{"id": "a"}, {"id": "b"}]})


def test_deployments_are_listed(server: FaultServer) -> None:
    url = server.url("azure-models")
    with _model(url, "") as model:
        assert model.backend.list_deployments() == ["a", "b"]
        assert asyncio.run(model.backend.alist_deployments()) == ["a", "b"]
    assert [request.path for request in server.seen(url)] == ["/v1/models"] * 2
    with _model(server.url("404-model"), "") as model, pytest.raises(om.ModelNotFound):
        model.backend.list_deployments()
    with pytest.raises(UnsupportedFeature, match="/openai/v1"):
        _model("https://m.eastus2.models.ai.azure.com").backend.list_deployments()


def test_embeddings(server: FaultServer) -> None:
    url = server.url("ok")
    with _model(url) as model:
        assert model.embed(["a", "b"]).vectors.shape == (2, 3)
        assert asyncio.run(model.aembed(["a", "b"])).vectors.shape == (2, 3)
    assert [request.path for request in server.seen(url)] == ["/v1/embeddings"] * 2
    assert _bodies(server, url)[0] == {"model": "tiny", "input": ["a", "b"]}
    assert _sent(server, url) == (KEY, f"Bearer {KEY}")


def test_a_redirect_carries_no_key_away(server: FaultServer) -> None:
    thief = server.url("ok")

    @fault(Fault(f"azure-redirect-{thief.split('/')[3]}", "redirects to another server"))
    def _redirect(wire: Wire, _: Request) -> None:
        wire.answer(b"", 307, {"Location": f"{thief}/chat/completions"})

    with _model(server.url(f"azure-redirect-{thief.split('/')[3]}")) as model:
        with pytest.raises(om.InvalidResponse, match="redirects are not followed"):
            model.chat(PROMPT)
        with pytest.raises(om.InvalidResponse, match="redirects are not followed"):
            asyncio.run(model.achat(PROMPT))
    assert not server.seen(thief)


def test_no_key_shows(server: FaultServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with _model(server.url("ok"), headers={"X-Key": f"{KEY}2"}) as model:
        model.chat(PROMPT)
        asyncio.run(model.achat(PROMPT))
        exchange = model.backend.exchange
        shown = [model, model.backend, vars(model.backend), model.backend.describe(), exchange, vars(exchange)]
    assert "azure.core.pipeline" in caplog.text  # so it has been listened to
    told = f"{caplog.text} {shown!r}"
    assert KEY not in told
    assert PROMPT not in told
