"""`route`: one model for each request, by a function or by facts."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.backends.echo import EchoBackend
from openmodels.catalog.record import Ids, License, ModelRecord, Offer
from openmodels.combine import facts as fact_table
from openmodels.testing import PATHS, Driver
from openmodels.types.capabilities import Capabilities
from openmodels.types.embeddings import Embeddings


def scripted(name, *turns, **options):
    return om.Model(EchoBackend(name, script=list(turns)), **{"max_retries": 0, **options})


@pytest.fixture(params=PATHS)
def surface(request):
    return request.param


class TestFunction:
    @pytest.mark.parametrize("choice", [1, "echo:b", "b"])
    def test_it_names_a_member(self, choice, surface):
        reply = Driver(om.route(lambda _: choice, ["echo:a", "echo:b"]), surface)("hi").reply
        assert reply.model == "b"
        assert [(attempt.model, attempt.note) for attempt in reply.trace] == [("echo:b", "chosen by the rule")]

    def test_it_sees_the_request(self):
        first, second = om.Model("echo:a"), om.Model("echo:b")
        model = om.route(
            lambda request: second if "code" in request.messages[-1].text else first, models=[first, second]
        )
        assert [model.chat(text).model for text in ("code", "prose")] == ["b", "a"]

    @pytest.mark.parametrize("choice", [2, -1, True, "echo:c", None, om.Model("echo:a")], ids=repr)
    def test_what_it_returns_must_be_a_member(self, choice, surface):
        with pytest.raises(om.InvalidRequest, match="echo:a, echo:b"):
            Driver(om.route(lambda _: choice, ["echo:a", "echo:b"]), surface)("hi")

    def test_a_member_that_cannot_is_named(self):
        class Plain(EchoBackend):
            options = frozenset()

        with pytest.raises(om.UnsupportedFeature, match="echo:plain"):
            om.route(lambda _: 0, [Plain("plain"), "echo:"]).chat("hi", seed=1)

    def test_a_failure_is_raised_with_its_attempts(self, surface):
        model = om.route(lambda _: 0, [scripted("a", [om.ServerFailed("x")]), "echo:b"])
        with pytest.raises(om.ServerFailed) as caught:
            Driver(model, surface)("hi")
        assert [attempt.model for attempt in caught.value.trace] == ["echo:a"]

    @pytest.mark.parametrize("method", ["embed", "aembed"])
    def test_other_calls_are_routed(self, method):
        class Vectors(Backend):
            name = "vectors"
            features = frozenset({"embed"})

            def run(self, request):
                raise NotImplementedError

            def embed(self, request):
                return Embeddings(np.ones((len(request.texts), 2), "float32"), model=self.rest)

        outcome = getattr(om.route(lambda request: len(request.texts) - 1, [Vectors("a"), Vectors("b")]), method)(
            ["x", "y"]
        )
        assert (asyncio.run(outcome) if method == "aembed" else outcome).model == "b"
        with pytest.raises(om.UnsupportedFeature, match="embed"):
            om.route(lambda _: 0, [Vectors("a"), "echo:"]).embed("x")

    def test_a_stream_passes_through_unchanged(self):
        given = [om.Delta(text=word) for word in "abc"] + [om.Delta(finish_reason="stop", raw={"id": 1})]
        with om.route(lambda _: 0, [scripted("a", given)]).stream("hi") as stream:
            assert all(delta is other for delta, other in zip(stream, given, strict=False))


PRICES = {
    "echo:dear": {"price_in": 3, "price_out": 15, "context": 200_000},
    "echo:cheap": {"price_in": 0.1, "price_out": 0.4, "context": 1_000},
}


class TestCheapest:
    def test_the_lowest_known_price_wins(self, surface):
        model = om.route("cheapest", ["echo:unknown", "echo:dear", "echo:cheap"], facts=PRICES)
        reply = Driver(model, surface)("hi").reply
        assert reply.model == "cheap"
        assert reply.trace[0].note.startswith("cheapest: $0.0000")

    def test_it_must_fit(self):
        model = om.route("cheapest", ["echo:dear", "echo:cheap"], facts=PRICES)
        assert model.chat("word " * 2_000).model == "dear"
        assert model.chat("hi", max_tokens=2_000).model == "dear"

    def test_the_price_is_that_of_the_request(self):
        facts = {"echo:a": {"price_in": 1, "price_out": 1}, "echo:b": {"price_in": 0.1, "price_out": 10}}
        model = om.route("cheapest", ["echo:a", "echo:b"], facts=facts)
        assert model.chat("word " * 500, max_tokens=1).model == "b"
        assert model.chat("word", max_tokens=500).model == "a"

    def test_an_unknown_price_is_never_cheapest(self, surface):
        model = om.route("cheapest", ["echo:a", "echo:b"])
        with pytest.raises(om.UnsupportedFeature) as caught:
            Driver(model, surface)("hi")
        for name in ("echo:a", "echo:b"):
            assert f"{name}: its price is not known" in caught.value.cause
        assert caught.value.reference == model.reference


class Limited(EchoBackend):
    """Says in its capabilities what it cannot do."""

    known = Capabilities(chat=True, options=EchoBackend.options)

    def capabilities(self):
        return self.known


class TestNeeds:
    def test_who_cannot_is_left_out(self):
        class Mute(Limited):
            known = Capabilities(chat=True, tools=False, schema=False, context=1_000_000)

        class Small(Limited):
            known = Capabilities(chat=True, context=1_000)

        model = om.route("longest_context", [Mute("mute"), Small("small")])
        assert model.chat("hi").model == "mute"
        assert model.chat("[1]", schema=list[int]).model == "small"
        with pytest.raises(om.UnsupportedFeature) as caught:
            model.chat("word " * 2_000, schema=list[int])
        assert "limited" not in caught.value.cause
        assert "echo:mute: it has no 'schema'" in caught.value.cause
        assert "echo:small: its context of 1,000 tokens is too short" in caught.value.cause

    def test_an_unknown_context_is_never_longest(self):
        assert (
            om.route("longest_context", ["echo:a", "echo:b"], facts={"echo:b": {"context": 5}}).chat("hi").model == "b"
        )


class TestFastest:
    def test_each_is_measured_once_and_then_the_fastest_asked(self):
        slow, quick = scripted("slow", [0.02, "one two"]), scripted("quick", "one two")
        model = om.route("fastest", [slow, quick])
        assert [model.chat("hi").model for _ in range(4)] == ["slow", "quick", "quick", "quick"]

    def test_a_failure_is_a_measure(self):
        model = om.route("fastest", [scripted("a", [om.ServerFailed("x")]), "echo:b"])
        with pytest.raises(om.ServerFailed):
            model.chat("hi")
        assert model.chat("hi").model == "b"


def record(name, license_id, *offers, context=None):
    return ModelRecord(ids=Ids(hub=name), license=License(id=license_id), offers=offers, context_length=context)


RECORDS = {
    "org/free": record("org/free", "apache-2.0", Offer(provider="p", price_in=1, price_out=2)),
    "org/shared": record("org/shared", "gpl-3.0"),
    "org/closed": record("org/closed", "cc-by-nc-4.0"),
}


@pytest.fixture
def catalog(monkeypatch):
    """A catalog of three models, asked as the real one; the list of what was asked."""
    asked = []

    def info(model_id):
        asked.append(model_id)
        if model_id not in RECORDS:
            raise om.ModelNotFound(f"No catalog has {model_id}.")
        return RECORDS[model_id]

    monkeypatch.setattr(fact_table, "info", info)
    monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
    return asked


IDS = {f"echo:{name}": {"id": f"org/{name}"} for name in ("free", "shared", "closed", "missing")}


class TestRequirements:
    def test_the_license_must_fit(self, catalog):
        facts = {reference: {**row, "context": 10 - number} for number, (reference, row) in enumerate(IDS.items())}
        models = ["echo:closed", "echo:shared", "echo:free", "echo:missing", "echo:other"]

        def choose(license_class):
            model = om.route("longest_context", models, require={"license_class": license_class}, facts=facts)
            return model.chat("hi").model

        assert choose("open") == "free"
        assert choose("non-commercial") == "closed"
        facts["echo:shared"]["context"] = 50
        assert choose("open") == "shared"
        assert choose("permissive") == "free"

    def test_each_member_and_its_reason_are_named(self, catalog):
        model = om.route(
            "longest_context",
            ["echo:closed", "echo:missing", "echo:x"],
            require={"license_class": "open"},
            facts={name: IDS[name] for name in ("echo:closed", "echo:missing")},
        )
        with pytest.raises(om.UnsupportedFeature) as caught:
            model.chat("hi")
        for part in (
            "echo:closed: license_class: non-commercial",
            "echo:missing: license_class: not known: No catalog",
            "echo:x: license_class: not known: what model",
        ):
            assert part in caught.value.cause

    def test_the_catalog_is_asked_once(self, catalog):
        model = om.route("longest_context", ["echo:free"], facts={"echo:free": {"id": "org/free", "context": 9}})
        for _ in range(3):
            model.chat("hi")
        assert catalog == ["org/free"]

    def test_the_most_open_wins(self, catalog, monkeypatch):
        def openness(model):
            if model.id == "org/shared":
                raise om.Offline("No network.")
            return [type("Finding", (), {"verdict": verdict}) for verdict in verdicts[model.id]]

        verdicts = {"org/closed": ["open", "closed", "unknown"], "org/free": ["open", "partial", "open"]}
        monkeypatch.setattr("openmodels.openness.api.openness", openness)
        names = ["echo:closed", "echo:free", "echo:shared"]
        reply = om.route("most_open", names, facts={name: IDS[name] for name in names}).chat("hi")
        assert reply.model == "free"
        assert reply.trace[0].note == "most_open: 2.5 criteria open"


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("best", {}),
        (5, {}),
        pytest.param(lambda _: 0, {"require": {"open": True}}, id="function"),
        ("cheapest", {"require": {"colour": "red"}}),
        ("cheapest", {"facts": {"echo:b": {}}}),
        ("cheapest", {"facts": {"echo:a": {"weight": 1}}}),
        ("cheapest", {"facts": {"echo:a": {"price_in": -1}}}),
    ],
    ids=str,
)
def test_a_wrong_argument_is_named(rule, options):
    with pytest.raises(om.InvalidRequest, match=next(iter(options), "rule").replace("require", "rule|need")):
        om.route(rule, ["echo:a"], **options)
