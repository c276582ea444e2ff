"""The backend `server`: addresses, keys, names, options and what is sent."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest

import openmodels as om
from openmodels.errors import InvalidReference, InvalidRequest, InvalidResponse, ModelNotFound, NotConfigured
from openmodels.http import status_errors
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer
from openmodels.testing.faults.answers import right
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault
from server_fixtures import Told


def _lists(name: str, *models: str) -> None:
    @fault(Fault(name, "lists models"))
    def _answer(wire: Wire, request: Request) -> None:
        if request.method == "GET":
            wire.answer({"data": [{"id": model} for model in models]})
        else:
            right(wire, request)


_lists("one-model", "only")
_lists("two-models", "a", "b")
_lists("no-models")


def test_no_name_takes_the_only_model(server: FaultServer) -> None:
    url = server.url("one-model")
    with om.Model("server:", base_url=url) as model:
        assert model.chat(PROMPT).text == TEXT
        assert asyncio.run(model.achat(PROMPT)).text == TEXT
    asked = server.seen(url)
    assert [request.method for request in asked] == ["GET", "POST", "POST"]
    assert json.loads(asked[1].body)["model"] == "only"


def test_no_name_lists_several_models(server: FaultServer) -> None:
    model = om.Model("server:", base_url=server.url("two-models"))
    with pytest.raises(InvalidReference, match=r"2 models: a, b.*server:a"):
        model.chat(PROMPT)
    with pytest.raises(InvalidReference, match=r"2 models: a, b.*server:a"):
        asyncio.run(model.achat(PROMPT))
    with pytest.raises(ModelNotFound):
        om.Model("server:", base_url=server.url("no-models")).load()


def test_what_is_sent(server: FaultServer) -> None:
    url = server.url("ok")
    with om.Model("server:tiny", base_url=url, api_key=KEY, headers={"X-Team": "blue"}) as model:
        model.chat(
            [om.system("be brief"), {"role": "user", "content": "grüß"}],
            temperature=0,
            top_p=0.5,
            top_k=3,
            max_tokens=7,
            stop="END",
            seed=1,
            repetition_penalty=1.1,
            extra={"min_p": 0.1},
        )
        with model.stream(PROMPT) as stream:
            list(stream)
    plain, streamed = server.seen(url)
    assert plain.path == "/v1/chat/completions"
    assert plain.headers["authorization"] == f"Bearer {KEY}"
    assert plain.headers["x-team"] == "blue"
    assert json.loads(plain.body) == {
        "model": "tiny",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "grüß"}],
        "temperature": 0,
        "top_p": 0.5,
        "max_tokens": 7,
        "stop": ["END"],
        "seed": 1,
        "top_k": 3,
        "repetition_penalty": 1.1,
        "repeat_penalty": 1.1,
        "min_p": 0.1,
    }
    assert json.loads(streamed.body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"messages": []}, "'messages' is set by openmodels"),
        ({"stream": True}, "'stream' is set by openmodels"),
        ({"n": 2}, "'n' belongs to the call.*n="),
        ({"x": float("nan")}, "extra"),
        ({"x": b"bytes"}, "extra: .*bytes"),
        ({"x": "\ud800"}, "surrogate"),
    ],
)
def test_extra_that_cannot_be_sent(server: FaultServer, extra: dict[str, object], says: str) -> None:
    url = server.url("ok")
    with pytest.raises(InvalidRequest, match=says):
        om.Model("server:tiny", base_url=url).chat(PROMPT, extra=extra)
    assert not server.seen(url)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://example.com/v1",
        "http://192.168.1.5:8000/v1",
        "http://user:pass-canary@127.0.0.1/v1",
        "https://pass-canary@host/v1",
        "ftp://host/v1",
        "127.0.0.1:8000",
        "http://",
        "http://127.0.0.1:99999/v1",
        "http://127.0.0.1:8000/v1\r\nX: y",
        "http://127.0.0.1\\@evil/v1",
        "http://[::1/v1",
        "https://grüße.de/v1",
        "https://a..b/v1",
        f"https://{'a' * 64}.example/v1",
        "",
        5,
    ],
)
def test_an_address_that_is_refused(base_url: object) -> None:
    with pytest.raises(InvalidRequest, match="base_url") as caught:
        om.Model("server:tiny", base_url=base_url)
    assert "pass-canary" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["localhost:11434", "127.0.0.1:8000/v1", "[::1]:8000"])
def test_an_address_without_its_scheme_is_written_out(base_url: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(f" http://{base_url}")):
        om.Model("server:tiny", base_url=base_url)


@pytest.mark.parametrize(
    ("base_url", "address"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("http://[::1]:8000/v1/", "http://[::1]:8000/v1"),
        ("https://host/v1/chat/completions", "https://host/v1"),
        ("https://host/api/v3", "https://host/api/v3"),
        ("https://xn--gre-6ka8i.de", "https://xn--gre-6ka8i.de/v1"),
    ],
)
def test_an_address_that_is_taken(base_url: str, address: str) -> None:
    assert om.Model("server:tiny", base_url=base_url).backend.describe()["address"] == address


def test_http_elsewhere_must_be_allowed() -> None:
    om.Model("server:tiny", base_url="http://192.168.1.5:8000/v1", allow_http=True)
    with pytest.raises(NotConfigured, match="base_url="):
        om.Model("server:tiny")


@pytest.mark.parametrize("key", [f"{KEY}\n", f"{KEY}\r\nX: y", f"ключ{KEY}", f"{KEY} x", "", 5])
def test_a_key_that_is_refused(key: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InvalidRequest, match="api_key") as caught:
        om.Model("server:tiny", base_url="http://127.0.0.1:1", api_key=key)
    told = (
        f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r} {caught.value.__context__!r} {caplog.text}"
    )
    assert KEY not in told


@pytest.mark.parametrize("headers", [{"X": f"{KEY}\n"}, {"X y": "z"}, {"Host": "evil"}, {"X": 5}, ["X"], {5: "x"}])
def test_headers_that_are_refused(headers: object) -> None:
    with pytest.raises(InvalidRequest, match="headers") as caught:
        om.Model("server:tiny", base_url="http://127.0.0.1:1", headers=headers)
    assert KEY not in str(caught.value)


def test_no_key_shows() -> None:
    model = om.Model("server:tiny", base_url="http://127.0.0.1:1", api_key=KEY, headers={"X-Key": KEY})
    assert KEY not in f"{model!r} {model.backend!r} {vars(model.backend)} {model.backend.describe()}"


def test_what_is_sent_for_embeddings(server: FaultServer) -> None:
    url = server.url("ok")
    with om.Model("server:tiny", base_url=url, api_key=KEY) as model:
        found = model.embed(["a", "grüß"], dimensions=3, extra={"encoding_format": "base64"})
    assert (found.model, found.usage.input_tokens, found.vectors.shape) == ("tiny", 7, (2, 3))
    (asked,) = server.seen(url)
    assert asked.path == "/v1/embeddings"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert json.loads(asked.body) == {
        "model": "tiny",
        "input": ["a", "grüß"],
        "dimensions": 3,
        "encoding_format": "base64",
    }


def test_embeddings_of_another_length_than_asked(server: FaultServer) -> None:
    with (
        om.Model("server:tiny", base_url=server.url("ok")) as model,
        pytest.raises(InvalidResponse, match="3 dimensions, not 2 as asked"),
    ):
        model.embed(["a", "b"], dimensions=2)


@pytest.mark.parametrize("extra", [{"input": "x"}, {"model": "x"}, {"x": float("nan")}])
def test_extra_that_cannot_be_sent_for_embeddings(server: FaultServer, extra: dict[str, object]) -> None:
    url = server.url("ok")
    with pytest.raises(InvalidRequest, match="extra: "):
        om.Model("server:tiny", base_url=url).embed("x", extra=extra)
    assert not server.seen(url)


def test_no_name_takes_the_only_model_for_embeddings_too(server: FaultServer) -> None:
    url = server.url("one-model")
    with om.Model("server:", base_url=url) as model:
        assert asyncio.run(model.aembed(["a", "b"])).vectors.shape == (2, 3)
        assert model.embed(["a", "b"]).vectors.shape == (2, 3)
    assert [json.loads(request.body)["model"] for request in server.seen(url)[1:]] == ["only", "only"]


def test_what_is_told_is_seen(told: Told) -> None:
    quiet = logging.getLogger("remote.quiet")
    quiet.propagate, quiet.level = False, logging.CRITICAL
    for tell in (
        lambda: quiet.debug("sent %s", KEY),
        lambda: om.ServerFailed(f"It said: {PROMPT}."),
        lambda: status_errors.FailedResponse(host="h", status=400, message=PROMPT),
    ):
        tell()
        assert len(told.leaks) == 1
        told.forget()


def test_what_an_error_is_chained_to_is_seen(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: object) -> None:
        raise om.ServerFailed("It said something.") from ValueError(PROMPT)

    model = om.Model("server:tiny", base_url="http://127.0.0.1:1", max_retries=0)
    monkeypatch.setattr(model.backend, "run", run)
    with pytest.raises(om.ServerFailed):
        model.chat(PROMPT)
    assert len(told.leaks) == 1
    told.forget()
