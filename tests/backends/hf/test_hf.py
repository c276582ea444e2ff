"""The backend `hf`: references, the token and where it goes, the dialect of errors, embeddings."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

import openmodels as om
from openmodels import retry
from openmodels.backends.hf import backend as hf
from openmodels.backends.hf.backend import HfBackend
from openmodels.http.address import parse_address
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer
from openmodels.testing.faults.expect import VECTORS, Fault
from openmodels.testing.faults.server import Request, Wire, fault
from openmodels.types.embeddings import EmbedRequest
from server_fixtures import Told

TOKEN = "hf_canary0123456789abcdefghijklmnop"


@pytest.fixture(autouse=True)
def logged_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No token in the environment, and a place for a saved one; returns its file."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE", "OPENMODELS_HF_ROUTER", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    return tmp_path / "token"


@pytest.fixture(autouse=True)
def token_untold(told: Told) -> Iterator[None]:
    """The token is told no more than the key and the prompt are."""
    yield
    assert not [part for part in told.parts if TOKEN in part]


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return TOKEN


@pytest.fixture
def at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault server's address is taken for one of Hugging Face's."""
    monkeypatch.setattr(hf, "is_hugging_face", lambda _: True)


def routed(monkeypatch: pytest.MonkeyPatch, url: str, reference: str = "hf:org/model", **options: object) -> om.Model:
    """Return a model whose router is at the URL."""
    monkeypatch.setenv("OPENMODELS_HF_ROUTER", url)
    return om.Model(reference, timeout=10, **options)


# --- references


@pytest.mark.parametrize("rest", ["org/model", "org/model:together", "org/model:fastest", "org/model:cheapest"])
def test_the_router_gets_the_reference_as_it_is(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    url = server.url("ok")
    with routed(monkeypatch, url, f"hf:{rest}", api_key=KEY, bill_to="my-org") as model:
        assert model.chat("hi").text == TEXT
    (asked,) = server.seen(url)
    assert asked.path == "/v1/chat/completions"
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["x-hf-bill-to"] == "my-org"
    assert json.loads(asked.body)["model"] == rest


def test_the_router_is_the_default() -> None:
    assert om.Model("hf:org/model").backend.describe()["address"] == "https://router.huggingface.co/v1"
    assert hf.ROUTER == "https://router.huggingface.co/v1"


@pytest.mark.parametrize("base_url", [None, hf.ROUTER, f"{hf.ROUTER}/chat/completions"])
def test_a_revision_is_refused_with_the_reason(base_url: str | None) -> None:
    with pytest.raises(om.UnsupportedFeature, match=r"cannot choose the revision 'v1'.*local:org/model@v1"):
        om.Model("hf:org/model@v1", base_url=base_url)


@pytest.mark.parametrize("rest", ["", "model", "org/model/file.gguf", "org/model:", "org/model:a b", "a/b/c/d"])
def test_what_the_router_cannot_serve_is_refused(rest: str) -> None:
    with pytest.raises(om.InvalidReference, match=r"hf:|org/model"):
        om.Model(f"hf:{rest}")


def test_another_server_gets_its_own_names(server: FaultServer) -> None:
    url = server.url("ok")
    with om.Model("hf:any@name:x", base_url=url) as model:
        model.chat("hi", top_k=3, repetition_penalty=1.1)
        assert model.complete("hi").text == TEXT
    chat, complete = server.seen(url)
    assert json.loads(chat.body) | {"messages": []} == {
        "model": "any@name:x",
        "messages": [],
        "top_k": 3,
        "repetition_penalty": 1.1,
        "repeat_penalty": 1.1,
    }
    assert complete.path == "/v1/completions"


def test_the_router_honours_openais_options_only(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url = server.url("ok")
    with routed(monkeypatch, url, api_key=KEY) as model:
        with pytest.raises(om.UnsupportedFeature, match=r"'hf'.*'top_k'"):
            model.chat("hi", top_k=3)
        with pytest.raises(om.UnsupportedFeature, match=r"only chats.*'complete'"):
            model.complete("hi")
        with pytest.raises(om.UnsupportedFeature, match=r"only chats.*'complete'"):
            asyncio.run(model.acomplete("hi"))
        assert not server.seen(url)
        schema = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object"}}}
        model.chat("hi", temperature=0, extra={"response_format": schema})
    body = json.loads(server.seen(url)[0].body)
    assert body["response_format"] == schema
    assert body["temperature"] == 0


# --- the token


@pytest.mark.parametrize(
    ("base_url", "gets_token"),
    [
        ("https://router.huggingface.co/v1", True),
        ("https://huggingface.co/api", True),
        ("https://hf.co/v1", True),
        ("https://x1.us-east-1.aws.endpoints.huggingface.cloud/v1", True),
        ("https://org-space.hf.space/v1", False),
        ("https://ROUTER.HuggingFace.co/v1", True),
        ("http://router.huggingface.co/v1", False),
        ("https://router.huggingface.co:8443/v1", False),
        ("https://huggingface.co.evil.example/v1", False),
        ("https://evilhuggingface.co/v1", False),
        ("https://router-huggingface.co/v1", False),
        ("https://huggingface.co./v1", False),
        ("https://huggingface.com/v1", False),
        ("https://evil.example/huggingface.co/v1", False),
        ("https://evil.example/v1?x=.huggingface.co", False),
        ("https://evil.example/v1#.huggingface.co", False),
        ("https://evil.example%2f.huggingface.co/v1", False),
        ("https://evil.example%00.huggingface.co/v1", False),
        ("https://huggingface.cloud/v1", False),
        ("https://api.huggingface.cloud/v1", False),
        ("https://10.0.0.1/v1", False),
        ("http://127.0.0.1:8000/v1", False),
        ("http://localhost:8000/v1", False),
        ("http://huggingface.co.localhost:8000/v1", False),
        ("https://[::1]/v1", False),
    ],
)
def test_the_token_goes_to_hugging_face_only(token: str, base_url: str, gets_token: bool) -> None:
    backend = HfBackend("org/model", base_url=base_url, allow_http=True)
    assert backend.authorization() == ({"Authorization": f"Bearer {token}"} if gets_token else {})
    assert hf.is_hugging_face(parse_address(base_url, allow_http=True)) is gets_token


@pytest.mark.parametrize("saved", ["environment", "login"])
@pytest.mark.parametrize("name", ["ok", "307-redirect", "redirect-loop", "401", "reset-once", "json-cut"])
def test_another_server_never_sees_the_token(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, logged_out: Path, saved: str, name: str
) -> None:
    if saved == "environment":
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    else:
        logged_out.write_text(f"{TOKEN}\n")

    def ask(model: om.Model) -> None:
        for call in (model.chat, model.embed, lambda said: asyncio.run(model.achat(said))):
            try:
                call(PROMPT)
            except om.OpenModelsError as error:
                assert TOKEN not in f"{error!r} {vars(error)}"

    urls = [server.url(name), server.url(name)]
    with retry.override_retries(attempts=2):
        with om.Model("hf:org/model", base_url=urls[0], timeout=10) as model:
            ask(model)
        with om.Model("hf:org/model", base_url=urls[1], timeout=10, api_key=KEY) as model:
            ask(model)
    for url, key in zip(urls, (None, f"Bearer {KEY}"), strict=True):
        assert len(server.seen(url)) >= 3
        for request in server.seen(url):
            assert request.headers.get("authorization") == key
            assert TOKEN not in f"{request.headers} {request.path} {request.body!r}"


def test_a_redirect_takes_the_token_nowhere(
    server: FaultServer, token: str, at_home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = server.url("ok")
    here = server.url("moves-away")
    monkeypatch.setitem(_moves, "to", f"{elsewhere}/chat/completions")
    with om.Model("hf:org/model", base_url=here) as model:
        for call in (model.chat, lambda said: asyncio.run(model.achat(said))):
            with pytest.raises(om.InvalidResponse, match="redirects are not followed"):
                call("hi")
    assert [request.headers["authorization"] for request in server.seen(here)] == [f"Bearer {token}"] * 2
    assert not server.seen(elsewhere)


_moves = {"to": ""}


@fault(Fault("moves-away", "redirects where the test says"))
def _moves_away(wire: Wire, _: Request) -> None:
    wire.answer(b"", 307, {"Location": _moves["to"]})


def test_the_saved_login_is_found(logged_out: Path) -> None:
    logged_out.write_text(f" {TOKEN}\n")
    assert HfBackend("org/model").authorization() == {"Authorization": f"Bearer {TOKEN}"}


def test_what_the_caller_gives_comes_before_the_environment(token: str) -> None:
    assert HfBackend("org/model", api_key=KEY).authorization() == {"Authorization": f"Bearer {KEY}"}
    assert HfBackend("org/model", headers={"authorization": f"Bearer {KEY}"}).authorization() == {}


def test_a_new_login_is_found_after_a_refusal_and_after_closing(
    server: FaultServer, token: str, at_home: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = server.url("401")
    model = om.Model("hf:org/model", base_url=url)
    for new in ("hf_second", "hf_third"):
        with pytest.raises(om.AuthenticationFailed):
            model.chat("hi")
        monkeypatch.setenv("HF_TOKEN", new)
    assert model.backend.authorization() == {"Authorization": "Bearer hf_third"}
    monkeypatch.setenv("HF_TOKEN", "hf_fourth")
    assert model.backend.authorization() == {"Authorization": "Bearer hf_third"}
    model.close()
    assert model.backend.authorization() == {"Authorization": "Bearer hf_fourth"}


@pytest.mark.parametrize("call", ["chat", "achat", "embed", "aembed", "load"])
def test_without_a_token_nothing_is_sent(server: FaultServer, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    url = server.url("ok")
    model = routed(monkeypatch, url)
    with pytest.raises(om.NotConfigured, match=r"no token.*settings/tokens.*HF_TOKEN.*hf auth login.*api_key="):
        asyncio.run(getattr(model, call)("hi")) if call.startswith("a") else getattr(model, call)(
            *([] if call == "load" else ["hi"])
        )
    assert not server.seen(url)


@pytest.mark.parametrize("value", ["1", "TRUE", "yes"])
def test_implicit_tokens_can_be_switched_off(token: str, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", value)
    with pytest.raises(om.NotConfigured):
        HfBackend("org/model").authorization()


@pytest.mark.parametrize("value", [f"{TOKEN}\u00e4", f"{TOKEN} x", f"{TOKEN}\x00".replace("\x00", "\x7f")])
def test_a_broken_token_is_refused_unseen(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HF_TOKEN", value)
    with pytest.raises(om.InvalidRequest, match=r"^hf:org/model: HF_TOKEN: ") as caught:
        om.Model("hf:org/model").chat("hi")
    assert TOKEN not in f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r}"


def test_a_login_that_cannot_be_read_says_so(logged_out: Path) -> None:
    logged_out.mkdir()
    with pytest.raises(om.NotConfigured, match=r"cannot be read \(IsADirectoryError\).*HF_TOKEN"):
        HfBackend("org/model").authorization()


@pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "OPENMODELS_OFFLINE"])
def test_offline_is_honoured_but_for_this_machine(
    server: FaultServer, token: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(om.Offline, match=r"router\.huggingface\.co.*HF_HUB_OFFLINE"):
        om.Model("hf:org/model").chat("hi")
    with pytest.raises(om.Offline):
        om.Model("hf:org/model").load()
    with om.Model("hf:org/model", base_url=server.url("ok")) as model:
        assert model.chat("hi").text == TEXT


def test_nothing_shows_the_token(
    server: FaultServer, token: str, at_home: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = ""
    for name in ("ok", "echo-hf-token", "echo-prompt", "500-always"):
        with (
            retry.override_retries(attempts=1),
            om.Model("hf:org/model", base_url=server.url(name), bill_to="my-org") as model,
        ):
            try:
                model.chat(PROMPT)
            except om.OpenModelsError as error:
                told += f"{error} {error!r} {vars(error)} {error.__cause__!r}"
            told += f"{model!r} {vars(model)} {model.backend!r} {vars(model.backend)} {model.backend.describe()}"
    assert "echo" not in told or "[…]" in told
    assert token not in told + caplog.text
    assert PROMPT not in told + caplog.text


@fault(Fault("echo-hf-token", "repeats the token"))
def _echo_token(wire: Wire, request: Request) -> None:
    wire.answer({"error": f"echo: bad {request.headers['authorization']}"}, 401)


# --- the dialect of errors


def _says(name: str, status: int, body: object) -> None:
    @fault(Fault(f"hf-{name}", f"answers {status} as Hugging Face does"))
    def _answer(wire: Wire, _: Request) -> None:
        wire.answer(body, status)


_NOT_SERVED = "The requested model 'org/model' is not supported by any provider you have enabled."
_MAY_NOT = "This authentication method does not have sufficient permissions to call Inference Providers on behalf of u"
_OUT = "You have exceeded your monthly included credits for Inference Providers."
_GATED = "You cannot access this model unless the model owner gives you access."
_says("401", 401, {"error": "Invalid username or password."})
_says("403", 403, {"error": _MAY_NOT})
_says("403-object", 403, {"error": {"message": _MAY_NOT, "type": "permission_error"}})
_says("403-gated", 403, {"error": _GATED})
_says("402", 402, {"error": _OUT})
_says("400-model", 400, {"error": {"message": _NOT_SERVED, "param": "model", "code": "model_not_supported"}})
_says("400-provider", 400, {"error": "Model not supported by provider together"})
_says("404", 404, {"error": "Not Found"})
_says("404-model", 404, {"error": {"message": "The model `org/model` does not exist.", "code": "model_not_found"}})
_says("424", 424, {"error": "Request failed during generation", "error_type": "generation"})
_says("422", 422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096"})
_says("429", 429, {"error": "Model is overloaded", "error_type": "overloaded"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("401", (om.AuthenticationFailed, r"HF_TOKEN.*settings/tokens")),
        ("403", (om.AccessDenied, r"Make calls to Inference Providers.*settings/tokens")),
        ("403-object", (om.AccessDenied, r"Make calls to Inference Providers")),
        ("403-gated", (om.GatedModel, r"Accept the model's terms")),
        ("402", (om.QuotaExceeded, r"monthly included credits.*settings/billing.*bill_to=")),
        (
            "400-model",
            (om.ModelNotFound, r"is not supported by any provider.*om\.providers.*settings/inference-providers"),
        ),
        ("400-provider", (om.ModelNotFound, r"om\.providers")),
        ("404", (om.ModelNotFound, r"om\.providers")),
        ("404-model", (om.ModelNotFound, r"om\.providers")),
        ("424", (om.ServerFailed, r"another provider")),
        ("422", (om.ContextTooLong, r"max_tokens")),
        ("429", (om.RateLimited, r"overloaded")),
    ],
)
def test_what_the_router_means(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, name: str, meant: tuple[type, str]
) -> None:
    monkeypatch.setattr(hf, "is_hugging_face", lambda _: True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    kind, says = meant
    url = server.url(f"hf-{name}")
    with routed(monkeypatch, url) as model:
        for call in (model.chat, model.embed):
            with retry.override_retries(attempts=1), pytest.raises(kind, match=says) as caught:
                call("hi")
            assert type(caught.value) is kind
            assert caught.value.reference == "hf:org/model"
            assert caught.value.status in {int(name[:3]), 404}
            assert caught.value.retryable == (kind is om.RateLimited)


def test_a_refused_key_of_another_server_is_not_hugging_faces(server: FaultServer) -> None:
    with (
        om.Model("hf:org/model", base_url=server.url("hf-401")) as model,
        pytest.raises(om.AuthenticationFailed, match="api_key=; HF_TOKEN goes to Hugging Face only"),
    ):
        model.chat("hi")


@fault(Fault("loading", "is loading the model, and says for how long"))
def _loading(wire: Wire, request: Request) -> None:
    # The stated seconds are those of the request's own text.
    told = json.loads(json.loads(request.body)["messages"][0]["content"])
    wire.answer({"error": "Model org/model is currently loading", "estimated_time": told}, 503)


@pytest.mark.parametrize(
    ("estimate", "seconds"), [("20.5", 20.5), ("0", 0.0), ("-1", None), ("NaN", None), ("1e999", None), ("true", None)]
)
def test_a_loading_model_says_how_long(server: FaultServer, estimate: str, seconds: float | None) -> None:
    with (
        om.Model("hf:org/model", base_url=server.url("loading"), max_retries=0) as model,
        pytest.raises(om.ServerFailed, match="currently loading") as caught,
    ):
        model.chat(estimate)
    assert (caught.value.retry_after, caught.value.retryable) == (seconds, True)


# --- embeddings


@pytest.mark.parametrize("method", ["embed", "aembed"])
@pytest.mark.parametrize("suffix", ["", ":hf-inference"])
def test_embeddings_go_through_the_task_api(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, method: str, suffix: str
) -> None:
    url = server.url("ok")
    with routed(monkeypatch, url, f"hf:org/model{suffix}", api_key=KEY, bill_to="my-org") as model:
        found = getattr(model, method)(["a", "b"], extra={"normalize": True})
        found = asyncio.run(found) if method == "aembed" else found
    assert [tuple(row) for row in found.vectors.tolist()] == list(VECTORS)
    assert found.model == "org/model"
    (asked,) = server.seen(url)
    assert asked.path == "/hf-inference/models/org/model/pipeline/feature-extraction"
    assert asked.headers["x-hf-bill-to"] == "my-org"
    assert json.loads(asked.body) == {"inputs": ["a", "b"], "normalize": True}


def test_the_request_is_the_vendor_clients_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What huggingface_hub itself would send for the same call: address, body and headers."""
    from huggingface_hub.inference._providers import hf_inference

    monkeypatch.setattr(hf_inference, "_check_supported_task", lambda *_: None)  # it would ask the Hub
    theirs = hf_inference.HFInferenceFeatureExtractionTask().prepare_request(
        inputs=["a", "b"], parameters={"normalize": True}, headers={}, model="org/model", api_key=TOKEN
    )
    backend = HfBackend("org/model", api_key=TOKEN)
    request = EmbedRequest(texts=("a", "b"), extra={"normalize": True})
    target, body = backend.encode_embedding(request, "org/model")
    assert f"{backend.address.origin}{target}" == theirs.url
    assert body == theirs.json
    assert backend.authorization()["Authorization"] == theirs.headers["authorization"]


def test_embeddings_elsewhere_are_openais(server: FaultServer) -> None:
    url = server.url("ok")
    with om.Model("hf:org/model", base_url=url) as model:
        assert model.embed(["a", "b"], dimensions=3).vectors.shape == (2, 3)
    assert server.seen(url)[0].path == "/v1/embeddings"


@pytest.mark.parametrize(
    ("reference", "options", "says"),
    [
        ("hf:org/model:together", {}, "cannot be asked for 'together'.*hf:org/model"),
        ("hf:org/model:fastest", {}, "cannot be asked for 'fastest'"),
        ("hf:org/model", {"dimensions": 3}, "'dimensions'"),
        ("hf:org/model", {"extra": {"inputs": "x"}}, "extra: 'inputs'"),
    ],
)
def test_embeddings_that_the_router_cannot_give(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, reference: str, options: dict[str, object], says: str
) -> None:
    url = server.url("ok")
    with (
        routed(monkeypatch, url, reference, api_key=KEY) as model,
        pytest.raises(om.InvalidRequest, match=says),
    ):
        model.embed(["a"], **options)
    assert not server.seen(url)


def _embeds(name: str, body: object) -> None:
    @fault(Fault(f"task-{name}", "answers as the task API does not"))
    def _answer(wire: Wire, _: Request) -> None:
        wire.answer(body)


_embeds("object", {"embeddings": []})
_embeds("error", {"error": "Model too busy", "code": 503})
_embeds("tokens", [[[0.1, 0.2], [0.3, 0.4]], [[0.1, 0.2], [0.3, 0.4]]])
_embeds("one", [[0.1, 0.2]])
_embeds("flat", [0.1, 0.2])
_embeds("ragged", [[0.1], [0.2, 0.3]])
_embeds("empty", b"")


@pytest.fixture(params=["embed", "aembed"])
def embed(request: pytest.FixtureRequest) -> Iterator[object]:
    def call(model: om.Model, texts: list[str]) -> om.Embeddings:
        found = getattr(model, request.param)(texts)
        return asyncio.run(found) if request.param == "aembed" else found

    return call


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("object", (om.InvalidResponse, "dict where a list")),
        ("error", (om.ServerFailed, "too busy")),
        ("tokens", (om.InvalidResponse, "a vector for each token.*sentence")),
        ("one", (om.InvalidResponse, "1 vectors for 2 texts")),
        ("flat", (om.InvalidResponse, "vector 0 is no list")),
        ("ragged", (om.InvalidResponse, "different lengths")),
        ("empty", (om.InvalidResponse, "empty")),
    ],
)
def test_broken_answers_of_the_task_api(
    server: FaultServer, monkeypatch: pytest.MonkeyPatch, embed: object, name: str, meant: tuple[type, str]
) -> None:
    kind, says = meant
    with (
        retry.override_retries(attempts=1),
        routed(monkeypatch, server.url(f"task-{name}"), api_key=KEY) as model,
        pytest.raises(kind, match=says),
    ):
        embed(model, ["a", "b"])
