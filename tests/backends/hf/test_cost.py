"""What a call costs: by the list of Hugging Face's router where that was asked for, and never a guess."""

from __future__ import annotations

import json

import pytest

import openmodels as om
from openmodels.testing import SURFACES, Driver
from openmodels.testing.faults import PROMPT, FaultServer
from openmodels.testing.faults.answers import completion, stream
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault

_OFFERS = [
    {
        "provider": "novita",
        "pricing": {"input": 1.5, "output": 3},
        "context_length": 4096,
        "supports_tools": True,
        "supports_structured_output": False,
    },
    {"provider": "together", "pricing": {"input": 2, "output": 4}, "context_length": 8192},
    {"provider": "gratis", "is_free": True},
    {"provider": "silent"},
]


@fault(Fault("router-that-names-the-provider", "lists prices, and says who has answered"))
def _priced(wire: Wire, request: Request) -> None:
    if request.method == "GET":
        wire.answer({"data": [{"id": "org/model", "providers": _OFFERS}]})
        return
    chosen = json.loads(request.body)["model"].partition(":")[2]
    said = {} if chosen == "fastest" else {"X-Inference-Provider": "novita"}
    if request.stream:
        wire.head(200, {"Content-Type": "text/event-stream"} | said)
        for event in stream():
            wire.send(event)
        return
    body = json.dumps(completion()).encode()
    wire.head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))} | said)
    wire.send(body)


@pytest.fixture
def routed(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> str:
    url = server.url("router-that-names-the-provider")
    monkeypatch.setenv("OPENMODELS_HF_ROUTER", url)
    monkeypatch.setenv("HF_TOKEN", "hf_canary0123456789abcdefghijklmnop")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return url


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("reference", "cost"),
    [
        ("hf:org/model", (7 * 1.5 + 5 * 3) / 1e6),  # the header names the provider
        ("hf:org/model:together", (7 * 2 + 5 * 4) / 1e6),
        ("hf:org/model:gratis", 0.0),
        ("hf:org/model:silent", None),
        ("hf:org/model:nobody", None),
        ("hf:org/model:fastest", None),  # nothing says who has answered
        ("hf:org/other", None),  # the list does not have it
    ],
)
def test_by_the_list(server: FaultServer, routed: str, reference: str, cost: float | None, surface: str) -> None:
    with om.Model(reference, api_key="key-canary-0123", prices=True) as model:
        ask = Driver(model, surface)
        assert ask(PROMPT).reply.cost == (None if cost is None else pytest.approx(cost))
        ask(PROMPT)
    asked = [request.method for request in server.seen(routed)]
    assert asked == ["GET", "POST", "POST"], "the list is read once"


def test_unasked_nothing_is_read(server: FaultServer, routed: str) -> None:
    with om.Model("hf:org/model", api_key="key-canary-0123") as model:
        assert model.chat(PROMPT).cost is None
    assert [request.method for request in server.seen(routed)] == ["POST"]


def test_the_list_tells_capabilities(server: FaultServer, routed: str) -> None:
    with om.Model("hf:org/model", api_key="key-canary-0123", prices=True) as model:
        model.backend.options |= {"tools", "schema"}
        before = model.capabilities
        assert (before.context, before.tools, before.schema) == (None, True, True)
        assert server.seen(routed) == []
        model.load()
        after = model.capabilities
    assert (after.context, after.tools, after.schema) == (8192, True, False)


def test_other_servers_have_no_prices(server: FaultServer) -> None:
    with pytest.raises(om.UnsupportedFeature, match="prices"):
        om.Model("hf:x", base_url=server.url("ok"), prices=True)
    assert om.Model("server:x", base_url=server.url("ok")).chat(PROMPT).cost is None
    assert om.Model("echo:").chat("x").cost is None
