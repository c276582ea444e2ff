"""Microsoft Entra tokens: asked for, kept, refreshed, refused, and never told."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
import ssl
import sys
import threading
import time
from typing import Any

import pytest
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

import openmodels as om
from openmodels import retry, settings
from openmodels.backends.azure.credential import TokenSource
from openmodels.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    UnsupportedFeature,
)
from openmodels.http.connection import ConnectionSettings
from openmodels.testing.faults import KEY, PROMPT, TEXT, FaultServer
from openmodels.testing.faults.answers import right
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault

TOKEN = "eyJ0-canary-0123456789abcdef"


class Credential:
    """Gives numbered tokens that are good for `seconds`."""

    def __init__(self, seconds: float = 3600, fails: Exception | None = None) -> None:
        self.seconds = seconds
        self.fails = fails
        self.asked: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self.threads: set[threading.Thread] = set()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.asked.append((scopes, options))
        self.threads.add(threading.current_thread())
        if self.fails is not None:
            raise self.fails
        return AccessToken(f"{TOKEN}-{len(self.asked)}", int(time.time() + self.seconds))


class InfoCredential(Credential):
    """The newer form, which also says when to ask again."""

    def get_token_info(self, *scopes: str, options: Any = None) -> AccessTokenInfo:
        given = self.get_token(*scopes, **(options or {}))
        return AccessTokenInfo(given.token, given.expires_on)


class AsyncCredential(Credential):
    """Asynchronous, as those of azure.identity.aio."""

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().get_token(*scopes, **options)


class Endless(Credential):
    """Never answers, as a managed identity where there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.over = threading.Event()

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        self.over.wait(30)
        return super().get_token(*scopes, **options)


def _model(url: str, credential: Any, **options: Any) -> om.Model:
    return om.Model("azure:tiny", base_url=url, credential=credential, **{"timeout": 10, **options})


def _ask(model: om.Model, surface: str, times: int = 1) -> None:
    if surface == "chat":
        for _ in range(times):
            assert model.chat(PROMPT).text == TEXT
        return

    async def main() -> None:
        for _ in range(times):
            assert (await model.achat(PROMPT)).text == TEXT

    asyncio.run(main())


def _tokens(server: FaultServer, url: str) -> list[str]:
    assert all("api-key" not in request.headers for request in server.seen(url))
    return [request.headers["authorization"].removeprefix(f"Bearer {TOKEN}-") for request in server.seen(url)]


SERVED = [
    (Credential, "chat"),
    (InfoCredential, "chat"),
    (Credential, "achat"),
    (InfoCredential, "achat"),
    (AsyncCredential, "achat"),
]


@pytest.mark.parametrize(("kind", "surface"), SERVED)
def test_a_token_is_asked_for_once(server: FaultServer, kind: type[Credential], surface: str) -> None:
    url, credential = server.url("ok"), kind()
    with _model(url, credential) as model:
        _ask(model, surface, 3)
    assert _tokens(server, url) == ["1", "1", "1"]
    assert [scopes for scopes, _ in credential.asked] == [("https://ai.azure.com/.default",)]


@pytest.mark.parametrize(("kind", "surface"), SERVED)
def test_a_token_that_expires_is_renewed(server: FaultServer, kind: type[Credential], surface: str) -> None:
    url, credential = server.url("ok"), kind(seconds=1)
    with _model(url, credential, scope="api://gateway/.default") as model:
        _ask(model, surface, 2)
    assert _tokens(server, url) == ["1", "2"]
    assert credential.asked[0][0] == ("api://gateway/.default",)


def test_a_synchronous_credential_does_not_block_the_loop(server: FaultServer) -> None:
    credential = Credential()
    with _model(server.url("ok"), credential) as model:
        _ask(model, "achat")
    assert threading.main_thread() not in credential.threads


def test_many_tasks_and_many_loops_share_a_credential(server: FaultServer) -> None:
    async def main() -> None:
        replies = await asyncio.gather(*(model.achat("hi") for _ in range(10)))
        assert {reply.text for reply in replies} == {TEXT}

    credential = AsyncCredential()
    with _model(server.url("ok"), credential) as model:
        for _ in range(3):
            asyncio.run(main())
    assert len(credential.asked) == 3  # once for each loop


def test_an_asynchronous_credential_serves_no_synchronous_call(server: FaultServer) -> None:
    with (
        _model(server.url("ok"), AsyncCredential()) as model,
        pytest.raises(UnsupportedFeature, match=r"asynchronous.*azure\.identity"),
    ):
        model.chat("hi")


_UNREACHED = ServiceRequestError("no route to login.microsoftonline.com")


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize(
    "case",
    [
        (
            ClientAuthenticationError("AADSTS7000215:\nInvalid secret"),
            AuthenticationFailed,
            "AADSTS7000215: Inv.*az login",
            1,
        ),
        (ValueError("a-secret-of-its-own"), AuthenticationFailed, "ValueError", 1),
        (RuntimeError("Event loop is closed"), AuthenticationFailed, "RuntimeError", 1),
        (_UNREACHED, ConnectionFailed, "no route", 3),
    ],
)
def test_a_credential_that_fails(
    server: FaultServer, case: tuple[Exception, type[om.OpenModelsError], str, int], surface: str
) -> None:
    fails, kind, says, requests = case
    url, credential = server.url("ok"), Credential(fails=fails)
    with (
        retry.override_retries(attempts=3, wait=0),
        _model(url, credential) as model,
        pytest.raises(kind, match=says) as caught,
    ):
        _ask(model, surface)
    assert type(caught.value) is kind
    assert caught.value.__cause__ is fails
    assert "a-secret-of-its-own" not in str(caught.value)
    assert len(credential.asked) == requests
    assert not server.seen(url)


class Odd:
    """Gives what is no token."""

    def __init__(self, given: Any) -> None:
        self.given = given

    def get_token(self, *_: str, **__: Any) -> Any:
        return self.given


@pytest.mark.parametrize("surface", ["chat", "achat"])
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (None, AuthenticationFailed),
        (TOKEN, AuthenticationFailed),
        (AccessToken("", 2**31), AuthenticationFailed),
        (AccessToken(f"{TOKEN}\r\nX: y", 2**31), InvalidRequest),
        (AccessToken(f"ключ{TOKEN}", 2**31), InvalidRequest),
    ],
)
def test_a_token_that_is_none(server: FaultServer, given: Any, kind: type[om.OpenModelsError], surface: str) -> None:
    url = server.url("ok")
    with _model(url, Odd(given)) as model, pytest.raises(kind) as caught:
        _ask(model, surface)
    assert TOKEN not in str(caught.value)
    assert not server.seen(url)


@pytest.mark.parametrize("surface", ["chat", "achat"])
def test_a_credential_that_never_answers_is_bound_by_the_deadline(server: FaultServer, surface: str) -> None:
    credential = Endless()
    start = time.monotonic()
    with (
        _model(server.url("ok"), credential, timeout=0.3) as model,
        pytest.raises(DeadlineExceeded, match="time is up"),
    ):
        _ask(model, surface)
    assert time.monotonic() - start < 1.3
    credential.over.set()


def test_a_task_that_waits_for_a_token_can_be_cancelled(server: FaultServer) -> None:
    credential = Endless()

    async def main() -> None:
        task = asyncio.create_task(model.achat("hi"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with _model(server.url("ok"), credential) as model:
        asyncio.run(main())
        credential.over.set()
        _ask(model, "achat")


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_AI_API_KEY", "AZURE_INFERENCE_CREDENTIAL"):
        monkeypatch.delenv(name, raising=False)


@fault(Fault("azure-token-refused", "refuses the token, repeating it"))
def _refused(wire: Wire, request: Request) -> None:
    said = request.headers["authorization"].removeprefix("Bearer ")
    wire.answer({"error": {"code": "401", "message": f"The token {said} is for another audience."}}, 401)


@pytest.mark.parametrize(("kind", "surface"), SERVED)
def test_a_token_that_is_refused_is_not_told(
    server: FaultServer, kind: type[Credential], surface: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with (
        _model(server.url("azure-token-refused"), kind()) as model,
        pytest.raises(AuthenticationFailed, match=r"audience.*https://ai\.azure\.com/\.default") as caught,
    ):
        _ask(model, surface)
    told = f"{caught.value} {vars(caught.value)} {caplog.text} {vars(model.backend)} {vars(model.backend.exchange)}"
    assert TOKEN not in told


_CLAIMS = base64.urlsafe_b64encode(b'{"access_token": {"nbf": {"value": "1"}}}').decode().rstrip("=")


@fault(Fault("azure-challenge", "challenges the first token"))
def _challenge(wire: Wire, request: Request) -> None:
    if request.number > 1:
        right(wire, request)
        return
    said = f'Bearer error="insufficient_claims", claims="{_CLAIMS}"'
    wire.answer({"error": {"message": "claims needed"}}, 401, {"WWW-Authenticate": said})


@fault(Fault("azure-challenge-odd", "challenges with what is no challenge"))
def _odd_challenge(wire: Wire, _: Request) -> None:
    wire.answer(b"x" * 99, 401, {"WWW-Authenticate": 'Bearer error="insufficient_claims", claims="_w"'})


@pytest.mark.parametrize(("kind", "surface"), SERVED)
def test_a_challenge_is_answered_with_another_token(server: FaultServer, kind: type[Credential], surface: str) -> None:
    url, credential = server.url("azure-challenge"), kind()
    with FaultServer() as own:
        url = own.url("azure-challenge")
        with _model(url, credential) as model:
            _ask(model, surface)
            assert _tokens(own, url) == ["1", "2"]
        assert own.wait_open(0)  # the challenge's own answer was closed too
    assert "nbf" in credential.asked[1][1]["claims"]


@pytest.mark.parametrize(("kind", "surface"), SERVED)
def test_a_challenge_that_is_none(kind: type[Credential], surface: str) -> None:
    with FaultServer() as own:
        with _model(own.url("azure-challenge-odd"), kind()) as model, pytest.raises(AuthenticationFailed):
            _ask(model, surface)
        assert own.wait_open(0)


def test_who_is_asked_by_default(monkeypatch: pytest.MonkeyPatch, server: FaultServer) -> None:
    import azure.identity

    made: list[Credential] = []

    def default() -> Credential:
        made.append(InfoCredential())
        return made[-1]

    monkeypatch.setattr(azure.identity, "DefaultAzureCredential", default)
    url = server.url("ok")
    with om.Model("azure:tiny", base_url=url) as model:
        _ask(model, "chat")  # to a host that is not Azure's nobody's token goes
    assert not made
    assert "authorization" not in server.seen(url)[0].headers
    backend = om.Model("azure:tiny", base_url="https://r.openai.azure.com").backend
    assert not made  # making a model asks for nothing
    assert backend._authentication.get_token_info("scope").token == f"{TOKEN}-1"
    assert backend._authentication.get_token_info("scope").token == f"{TOKEN}-2"
    assert len(made) == 1


def test_azure_identity_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    backend = om.Model("azure:tiny", base_url="https://r.openai.azure.com").backend
    with pytest.raises(om.MissingExtra, match=rf"azure\.identity.*{re.escape(settings.install_hint('azure'))}"):
        backend._authentication.get_token_info("scope")


def test_a_credential_that_is_none(server: FaultServer) -> None:
    with pytest.raises(InvalidRequest, match=r"credential: an object of int"):
        _model(server.url("ok"), 5)
    with pytest.raises(InvalidRequest, match=r"`api_key` exclude"):
        _model(server.url("ok"), Credential(), api_key=KEY)


@pytest.mark.parametrize(
    ("options", "passed_on"),
    [
        ({}, {}),
        ({"proxy": ""}, {"use_env_settings": False}),
        (
            {"proxy": "http://name:word@proxy.example:3128"},
            {
                "proxies": {
                    "http": "http://name:word@proxy.example:3128",
                    "https": "http://name:word@proxy.example:3128",
                }
            },
        ),
        ({"verify": False}, {"connection_verify": False}),
        ({"verify": "/a/b.pem"}, {"connection_verify": "/a/b.pem"}),
        ({"verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)}, {}),
        ({"cert": "/a/c.pem"}, {"connection_cert": "/a/c.pem"}),
        ({"cert": ("/a/c.pem", "/a/k.pem")}, {"connection_cert": ("/a/c.pem", "/a/k.pem")}),
    ],
)
def test_the_default_credential_gets_the_proxy_and_the_certificates(
    options: dict[str, Any], passed_on: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import azure.identity as azure_identity

    made: list[dict[str, Any]] = []
    plain = azure_identity.DefaultAzureCredential

    def make(**options: Any) -> Any:
        made.append(options)
        plain(**options).close()  # which takes them
        return Credential()

    monkeypatch.setattr(azure_identity, "DefaultAzureCredential", make)
    tokens = TokenSource(connection=ConnectionSettings.from_options(**options))
    assert tokens.get_token_info("scope").token == f"{TOKEN}-1"
    assert made == [passed_on]
