"""Keys: in no attribute, frame, representation or pickle, and sent only where they belong."""

from __future__ import annotations

import asyncio
import copy
import pickle
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

import openmodels as om
from openmodels import retry
from openmodels.catalog.sources.hub import HubCatalog
from openmodels.errors import InvalidRequest, InvalidResponse, OpenModelsError
from openmodels.http import secrets
from openmodels.http.address import parse_address
from openmodels.hub import token as hub_token
from openmodels.openness.gather import EvidenceSources
from openmodels.testing.faults import FaultServer
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault

SECRET = "key-of-a-test-0123456789"


def _places(value: Any, name: str = "", depth: int = 0, seen: set[int] | None = None) -> Iterator[str]:
    """Yield where a text holds the key, as a debugger that opens attributes finds it."""
    seen = set() if seen is None else seen
    if depth > 8 or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, str | bytes):
        if SECRET in str(value):
            yield name
    elif isinstance(value, dict):
        for key, inner in list(value.items()):
            yield from _places(inner, f"{name}[{key!r}]", depth + 1, seen)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in list(value):
            yield from _places(inner, f"{name}[]", depth + 1, seen)
    elif type(value).__module__.startswith(("openmodels", "azure")):
        for key, inner in list(getattr(value, "__dict__", {}).items()):
            yield from _places(inner, f"{name}.{key}", depth + 1, seen)


@fault(Fault("fails-badly", "fails, and repeats the key"))
def _fails(wire: Wire, request: Request) -> None:
    wire.answer({"error": {"message": f"failed for {request.headers.get('authorization')}"}}, 500)


@fault(Fault("echoes-a-key", "refuses a key, and repeats it without its scheme"))
def _echoes(wire: Wire, request: Request) -> None:
    wire.answer({"error": {"message": f"unknown: {str(request.headers.get('authorization')).split()[-1]}"}}, 401)


def _model(backend: str, url: str) -> om.Model:
    return om.Model(f"{backend}:m", base_url=url, api_key=SECRET, headers={"X-Team-Key": f"{SECRET}-team"})


def _ask(model: om.Model, surface: str) -> None:
    answer = getattr(model, surface)("x")
    if surface.startswith("a"):
        asyncio.run(answer)


def _shown(error: BaseException) -> list[str]:
    """Return the frames of openmodels and below whose variables show the key."""
    stack = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = []
    while stack is not None:
        frames += stack.stack
        stack = stack.__cause__ or stack.__context__
    return [
        f"{frame.filename}:{frame.name}:{name}"
        for frame in frames
        if "/tests/" not in frame.filename
        for name, value in (frame.locals or {}).items()
        if SECRET in value
    ]


@pytest.mark.parametrize("backend", ["server", "hf", "azure"])
@pytest.mark.parametrize("surface", ["chat", "achat", "embed", "aembed"])
@pytest.mark.parametrize("where", ["fails-badly", "refused"])
def test_no_attribute_and_no_frame_holds_a_key(server: FaultServer, backend: str, surface: str, where: str) -> None:
    url = "http://127.0.0.1:1/v1" if where == "refused" else server.url(where)
    with retry.override_retries(attempts=1), _model(backend, url) as model:
        with pytest.raises(OpenModelsError) as caught:
            _ask(model, surface)
        assert SECRET not in str(caught.value)
        assert not _shown(caught.value)
        assert not list(_places(model, "model"))
        assert SECRET not in repr(model)


def test_no_frame_of_a_constructor_holds_a_key() -> None:
    for options in ({"api_key": f"{SECRET}\n"}, {"headers": {"X": f"{SECRET}\n"}}, {"api_key": SECRET, "nope": 1}):
        with pytest.raises(OpenModelsError) as caught:
            om.Model("server:m", base_url="http://127.0.0.1:1", **options)
        assert not _shown(caught.value)


def test_copies_keep_the_key_and_pickles_only_here(caplog: pytest.LogCaptureFixture) -> None:
    model = _model("server", "http://127.0.0.1:1/v1")
    data = pickle.dumps(model)
    assert SECRET.encode() not in data
    for twin in (copy.copy(model), copy.deepcopy(model), pickle.loads(data)):
        assert twin.backend.api_key.reveal() == SECRET
        assert twin.backend.headers["X-Team-Key"].reveal() == f"{SECRET}-team"
    secrets._pickled.clear()  # as in another process
    stranger = pickle.loads(data)
    assert stranger.backend.api_key is None
    assert not stranger.backend.headers
    assert "environment has to provide it" in caplog.text


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    """A token in the environment, and no other setting of the Hub's."""
    for name in ("HF_ENDPOINT", "HF_HUB_DISABLE_IMPLICIT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return SECRET


@pytest.mark.parametrize(
    ("address", "endpoint", "goes"),
    [
        ("https://huggingface.co/api/models", None, True),
        ("https://router.huggingface.co/v1", None, True),
        ("https://hub.example/api", "https://hub.example", True),
        ("http://127.0.0.1:80/api", "http://127.0.0.1:80", True),
        ("http://hub.example/api", "http://hub.example", False),
        ("https://other.example/api", "https://hub.example", False),
        ("https://hub.example:8443/api", "https://hub.example", False),
        ("http://127.0.0.1:81/api", "http://127.0.0.1:80", False),
        ("http://huggingface.co/api", None, False),
        ("https://huggingface.co.example/api", None, False),
        ("https://user.hf.space/api", None, False),
        ("https://[::1", None, False),
    ],
)
def test_the_token_goes_to_its_origin_alone(
    token: str, monkeypatch: pytest.MonkeyPatch, address: str, endpoint: str | None, goes: bool
) -> None:
    if endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    sent = hub_token.token_for(address)
    assert (sent is not None and sent.reveal() == token) is goes
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1")
    assert hub_token.token_for(address) is None


def test_catalog_and_openness_follow_the_rule(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    assert HubCatalog().client.token is None
    assert EvidenceSources.connect().hub.token is None
    with pytest.raises(InvalidRequest, match="unencrypted"):
        HubCatalog(token=SECRET)
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example")
    catalog, sources = HubCatalog(), EvidenceSources.connect()
    assert catalog.client.token.reveal() == token
    assert sources.hub.token.reveal() == token
    assert sources.github.token is None
    with pytest.raises(InvalidResponse, match="another host"):
        sources.hub.get_json("https://elsewhere.example/")
    assert not list(_places(catalog, "catalog"))
    assert not list(_places(sources, "sources"))


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_credential_of_a_header_is_not_quoted_without_its_scheme(server: FaultServer, surface: str) -> None:
    model = om.Model(
        "server:m", base_url=server.url("echoes-a-key"), headers={"Authorization": "Token 7f3c-91-ab"}, max_retries=0
    )
    with pytest.raises(OpenModelsError) as caught:
        _ask(model, surface)
    assert "unknown" in str(caught.value)
    assert "7f3c-91-ab" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("name", ["key", "API-Key", "access_token", "subscription-key", "sig"])
def test_a_key_in_an_address_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="a key inside an address") as caught:
        om.Model("server:m", base_url=f"https://host.test/v1?{name}={SECRET}")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_other_parameters_of_an_address_are_sent() -> None:
    assert parse_address("https://host.test/v1?api-version=preview").query == "api-version=preview"
