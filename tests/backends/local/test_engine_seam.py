"""A new engine is one class and one line that registers it."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import sys
from types import SimpleNamespace

import pytest

import openmodels as om
from openmodels.backends.local.engine_protocol import Engine, EngineCapabilities, EngineSpec
from openmodels.backends.local.runtime import RUNTIME
from openmodels.backends.local.weights import model_metadata

TOY = '''
"""An engine that answers with the last words of the conversation, a word in each delta."""

from openmodels.backends.local.engine_protocol import EngineCapabilities
from openmodels.types.reply import Delta, Usage


class Answered:
    def cancel(self):
        pass


class ToyEngine:
    def __init__(self, config):
        self.config, self.is_loaded, self.is_closed = config, False, False

    def load(self):
        self.is_loaded = True

    def submit(self, request, put):
        *words, last = request.messages[-1].text.split()
        if last == "fail":
            put(RuntimeError("broken"))
            return Answered()
        for word in words:
            put(Delta(f"{word} "))
        put(Delta(last, finish_reason="stop", usage=Usage(output_tokens=len(words) + 1)))
        return Answered()

    def describe(self):
        return {"device": "toy", "loaded": self.is_loaded}

    def capabilities(self):
        return EngineCapabilities(frozenset({"max_tokens", "n"}), "gbnf")

    def close(self, timeout=30.0):
        self.is_closed = True
'''
SPEC = EngineSpec("toy_engine_package.engine:ToyEngine", EngineCapabilities(frozenset({"max_tokens", "n"}), "gbnf"))


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package with an engine, registered by one line."""
    package = tmp_path / "toy_engine_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "engine.py").write_text(TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(RUNTIME, "engines", dict(RUNTIME.engines))
    RUNTIME.register("toy", SPEC)
    with om.Model("local:some/model", engine="toy") as model:
        yield model
    for name in [name for name in sys.modules if name.startswith("toy_engine_package")]:
        del sys.modules[name]


class TestToy:
    def test_it_is_not_imported_before_it_is_needed(self, toy):
        assert toy.capabilities.tools is False
        assert "toy_engine_package" not in sys.modules

    def test_it_answers_every_kind_of_call(self, toy):
        assert toy.chat("The sea is wide").text == "The sea is wide"
        with toy.stream("The sea is wide") as stream:
            assert [delta.text for delta in stream] == ["The ", "sea ", "is ", "wide"]
        assert asyncio.run(toy.achat("wide")).usage.output_tokens == 1

    def test_several_answers_come_without_a_line_of_its_own(self, toy):
        reply = toy.chat("The sea", n=3)
        assert [answer.text for answer in (reply, *reply.alternatives)] == ["The sea"] * 3
        assert reply.usage.output_tokens == 6

    def test_an_option_that_it_does_not_name_is_refused(self, toy):
        with pytest.raises(om.UnsupportedFeature, match="'temperature'"):
            toy.chat("hi", temperature=0)

    def test_its_error_reaches_the_caller(self, toy):
        with pytest.raises(RuntimeError, match="broken"):
            toy.chat("please fail")

    def test_it_is_loaded_described_and_closed(self, toy):
        engine = toy.load().backend._engine
        assert toy.backend.describe()["loaded"] is True
        assert (toy.backend.describe()["engine"], toy.backend.describe()["device"]) == ("toy", "toy")
        toy.close()
        assert engine.is_closed

    def test_it_is_asked_what_it_can_do_once_it_is_there(self, toy, monkeypatch):
        facts = SimpleNamespace(task="generate", template="", has_vision=False, context=8)
        monkeypatch.setattr(model_metadata, "read_model_metadata", lambda *_: facts)
        assert toy.capabilities.score is False
        scoring = EngineCapabilities(frozenset({"max_tokens"}), "gbnf", scores=True)
        monkeypatch.setattr(toy.load().backend._engine, "capabilities", lambda: scoring)
        assert toy.capabilities.score is True

    def test_an_unknown_engine_names_it_among_the_others(self, toy):
        with pytest.raises(om.InvalidRequest, match="'vllm', 'toy'"):
            om.Model("local:some/model", engine="other")


@pytest.mark.parametrize("name", list(RUNTIME.engines))
def test_every_engine_has_the_methods_of_the_protocol(name):
    module, _, class_name = RUNTIME.engines[name].path.partition(":")
    engine = getattr(importlib.import_module(module), class_name)
    methods = {name: method for name, method in vars(Engine).items() if inspect.isfunction(method) and name[0] != "_"}
    assert methods.keys() == {"load", "submit", "describe", "capabilities", "close"}
    for method_name, method in methods.items():
        expected = [(p.name, p.default) for p in inspect.signature(method).parameters.values()]
        found = inspect.signature(getattr(engine, method_name)).parameters.values()
        assert [(p.name, p.default) for p in found] == expected
