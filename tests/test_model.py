"""`Model`: what it checks, carries and promises, whatever the backend."""

from __future__ import annotations

import asyncio
import copy
import pickle
import threading
from types import MappingProxyType

import pytest

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.backends.echo import EchoBackend
from openmodels.settings import DEFAULT_TIMEOUT
from openmodels.testing import SURFACES, Driver

METHODS = ("chat", "stream", "complete", "achat", "astream", "acomplete")


def call(model, method, said="hello", **options):
    if method in SURFACES:
        return Driver(model, method)(said, **options).reply
    reply = getattr(model, method)(said, **options)
    return asyncio.run(reply) if method == "acomplete" else reply


@pytest.mark.parametrize(
    "messages",
    [
        "hello",
        om.user("hello"),
        {"role": "user", "content": "hello"},
        MappingProxyType({"role": "user", "content": "hello"}),
        ["hello"],
        (om.user("hello"),),
        [{"content": "hello", "role": "user"}],
    ],
)
def test_every_short_form_is_the_same_request(messages):
    model = om.Model("echo:")
    assert model.chat(messages).text == "hello"
    assert model.backend.requests[0].messages == (om.user("hello"),)


def test_mixed_list_keeps_its_order():
    model = om.Model("echo:")
    model.chat([om.system("brief"), "one", om.assistant("two"), {"role": "user", "content": "three"}])
    said = [(turn.role, turn.content) for turn in model.backend.requests[0].messages]
    assert said == [("system", "brief"), ("user", "one"), ("assistant", "two"), ("user", "three")]


@pytest.mark.parametrize("method", METHODS)
def test_request_says_how_it_was_asked(method, monkeypatch):
    monkeypatch.setattr("openmodels.deadline.time.monotonic", lambda: 1000.0)
    model = om.Model("echo:")
    call(model, method)
    request = model.backend.requests[0]
    assert request.stream == method.endswith("stream")
    assert (request.prompt == "hello") == ("complete" in method)
    assert request.deadline == 1000.0 + DEFAULT_TIMEOUT


@pytest.mark.parametrize("method", METHODS)
def test_timeout_of_the_call_before_that_of_the_model(method, monkeypatch):
    monkeypatch.setattr("openmodels.deadline.time.monotonic", lambda: 1000.0)
    monkeypatch.setattr("openmodels.core.stream.time.monotonic", lambda: 1000.0)
    model = om.Model("echo:", timeout=60)
    for options in ({}, {"timeout": 5}, {"timeout": None}):
        call(model, method, **options)
    assert [request.deadline for request in model.backend.requests] == [1060.0, 1005.0, None]


@pytest.mark.parametrize("method", METHODS)
def test_option_set_to_none_is_not_set(method):
    model = om.Model("echo:")
    call(model, method, temperature=None, stop=None, extra=None, max_tokens=None)
    assert model.backend.requests[0].options == frozenset()


@pytest.mark.parametrize("surface", ["stream", "astream", "achat"])
def test_arguments_are_checked_before_the_first_delta_is_wanted(surface):
    model = om.Model("echo:")
    if surface == "achat":
        with pytest.raises(om.InvalidRequest):
            asyncio.run(model.achat("hello", temperature=-1))
    else:
        with pytest.raises(om.InvalidRequest):
            getattr(model, surface)("hello", temperature=-1)
    assert model.backend.requests == []


@pytest.mark.parametrize("name", ["stream", "deadline", "messages", "schema_"])
def test_fields_of_the_request_are_no_options(name):
    with pytest.raises(om.UnsupportedFeature, match=f"no option '{name}'"):
        om.Model("echo:").complete("hello", **{name: "x"})


def test_all_faults_are_named_at_once():
    with pytest.raises(om.InvalidRequest) as caught:
        om.Model("echo:").chat([om.user("hi"), {"role": "robot", "content": 5}], temperature=-1)
    text = str(caught.value)
    assert text.startswith("echo: ")
    assert "messages[1].role: " in text
    assert "messages[1].content: " in text
    assert "temperature: " in text


@pytest.mark.parametrize("prompt", [None, 5, b"x", ["x"], "", "\ud800", om.user("x")])
def test_complete_takes_text(prompt):
    with pytest.raises(om.InvalidRequest, match="prompt"):
        om.Model("echo:").complete(prompt)


@pytest.mark.parametrize(
    ("options", "fault"),
    [({"timeout": 0}, "timeout"), ({"timeout": True}, "timeout"), ({"max_retries": -1}, "max_retries")],
)
def test_model_checks_its_own_options(options, fault):
    with pytest.raises(om.InvalidRequest, match=fault):
        om.Model("echo:", **options)


def test_unknown_backend_option_names_the_nearest():
    with pytest.raises(om.UnsupportedFeature) as caught:
        om.Model("echo:x", scrip=["x"])
    assert "Did you mean 'script'?" in str(caught.value)
    assert caught.value.reference == "echo:x"


def test_backend_object_takes_no_more_options():
    with pytest.raises(om.InvalidRequest, match="script"):
        om.Model(EchoBackend(), script=["x"])


def test_longest_timeout_can_be_waited_for():
    om.Model("echo:", script=[[0.0, "x"]]).chat("hello", timeout=threading.TIMEOUT_MAX)


class OneTrackBackend(Backend):
    """Only chats, and honours nothing but a seed."""

    name = "onetrack"
    options = frozenset({"seed"})

    def run(self, request):
        yield om.Delta(text=f"seed {request.seed}", finish_reason="stop")


def test_backend_honours_nothing_until_it_says_so():
    model = om.Model(OneTrackBackend())
    assert model.chat("hello", seed=3).text == "seed 3"
    with pytest.raises(om.UnsupportedFeature, match=r"'onetrack'.*'max_tokens'"):
        model.chat("hello", max_tokens=3)
    with pytest.raises(om.UnsupportedFeature, match=r"'onetrack'.*'complete'"):
        model.complete("hello")
    with pytest.raises(om.InvalidRequest, match="temperature: "):
        model.chat("hello", temperature=-1)  # what is wrong everywhere is said first


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize(
    "model",
    [
        om.Model("echo:name", script=["one", "two"], timeout=7, max_retries=4),
        om.Model(EchoBackend("name", script=["one", "two"]), timeout=7, max_retries=4),
    ],
    ids=["by reference", "by backend"],
)
def test_copies_keep_every_option(clone, model):
    again = clone(model)
    assert (again.reference, again.timeout, again.max_retries) == ("echo:name", 7, 4)
    assert again.chat("x").text == "one"
    assert again.chat("x").model == "name"


def test_subclass_stays_itself():
    class Mine(om.Model):
        pass

    assert type(copy.copy(Mine("echo:"))) is Mine


def test_model_shows_no_options():
    assert repr(om.Model("echo:x", script=["a secret"])) == "Model('echo:x')"


def test_block_closes_the_backend():
    class Closing(OneTrackBackend):
        closes = 0

        def close(self):
            self.closes += 1

    with om.Model(Closing()) as model:
        assert model.load() is model
    assert model.backend.closes == 1


def test_error_while_loading_names_the_model():
    class Broken(OneTrackBackend):
        def load(self):
            raise om.LoadFailed("The file is broken.")

    with pytest.raises(om.LoadFailed, match="onetrack:x: The file is broken") as caught:
        om.Model(Broken("x")).load()
    assert caught.value.reference == "onetrack:x"


def test_interrupt_stops_the_work():
    class Interrupted(OneTrackBackend):
        closed = False

        def run(self, request):
            try:
                yield om.Delta(text="one")
                raise KeyboardInterrupt
            finally:
                self.closed = True

    model = om.Model(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        model.chat("hello")
    assert model.backend.closed


def test_seconds_span_the_call(monkeypatch):
    now = iter([10.0, 11.0, 12.5])
    monkeypatch.setattr("openmodels.core.stream.time.perf_counter", lambda: next(now))
    reply = om.Model("echo:").chat("hello")
    assert (reply.first_token_seconds, reply.seconds) == (1.0, 2.5)
