"""`cascade`: the first answer that is accepted, and nothing of the others."""

from __future__ import annotations

import asyncio
import math
import time

import pytest

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.backends.echo import EchoBackend
from openmodels.testing import PATHS, SURFACES, Driver
from openmodels.types.reply import TokenLogprob
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ContinuationScore, ScoredToken, Scores

DOWN = om.ServerFailed("It is down.")


def scripted(name, *turns, **options):
    return om.Model(EchoBackend(name, script=list(turns)), **{"max_retries": 0, **options})


def sure(chance, other=None):
    """Return an answer of one token, with its probability and that of the next likeliest."""
    top = (("small", math.log(chance)), ("other", math.log(other or 1e-9)))
    return [om.Delta(text="small", logprobs=(TokenLogprob("small", math.log(chance), top),), finish_reason="stop")]


@pytest.fixture(params=PATHS)
def surface(request):
    return request.param


@pytest.mark.parametrize("surface", SURFACES)
class TestFunction:
    def test_an_accepted_answer_is_shown(self, surface):
        large = scripted("large", "large")
        model = om.cascade([scripted("small", "small one"), large], accept=lambda reply: "small" in reply)
        answer = Driver(model, surface)("Which?")
        assert answer.reply.text == "small one"
        assert large.backend.requests == []
        assert [(attempt.note, attempt.is_answer) for attempt in answer.reply.trace] == [
            ("accepted: by the function", True)
        ]

    def test_nothing_of_another_is_shown(self, surface):
        model = om.cascade([scripted("small", "small"), scripted("large", "large one")], accept=lambda _: False)
        answer = Driver(model, surface)("Which?")
        assert answer.reply.text == "large one"
        assert all("small" not in delta.text for delta in answer.deltas)
        assert [attempt.is_answer for attempt in answer.reply.trace] == [False, True]

    def test_a_failure_is_passed_over(self, surface):
        model = om.cascade([scripted("a", [DOWN]), scripted("b", "yes"), "echo:c"], accept=lambda _: True)
        assert Driver(model, surface)("Which?").reply.text == "yes"

    def test_all_causes_are_held(self, surface):
        model = om.cascade([scripted("a", [DOWN]), scripted("b", [om.QuotaExceeded("x")])], accept="valid")
        with pytest.raises(om.AllModelsFailed) as caught:
            Driver(model, surface)("Which?")
        assert [type(error) for error in caught.value.errors] == [om.ServerFailed, om.QuotaExceeded]

    def test_a_wrong_request_ends_it(self, surface):
        large = scripted("large", "never")
        with pytest.raises(om.ContentFiltered):
            Driver(om.cascade([scripted("a", [om.ContentFiltered("x")]), large], accept="valid"), surface)("Which?")
        assert large.backend.requests == []

    def test_what_the_function_raises_is_raised(self, surface):
        model = om.cascade(["echo:a", "echo:b"], accept=lambda reply: reply.parsed["x"])
        with pytest.raises(TypeError):
            Driver(model, surface)("Which?")

    def test_the_deadline_holds(self, surface):
        model = om.cascade([scripted("slow", [5.0, "late"]), "echo:b"], accept=lambda _: True)
        start = time.monotonic()
        with pytest.raises(om.DeadlineExceeded):
            Driver(model, surface)("Which?", timeout=0.05)
        assert time.monotonic() - start < 1

    def test_the_trace_has_what_the_deadline_ended(self, surface):
        slow = scripted("slow", ["a", 0.2, "late"])
        for model in (om.cascade([slow, "echo:b"], accept="valid"), om.fallback([slow, "echo:b"])):
            with pytest.raises(om.DeadlineExceeded) as caught:
                Driver(model, surface)("Which?", timeout=0.05)
            assert [attempt.model for attempt in caught.value.trace] == ["echo:slow"]

    def test_an_answer_of_another_form_has_its_trace(self, surface):
        model = om.cascade([scripted("a", "no"), scripted("b", "perhaps")], accept="valid")
        with pytest.raises(om.OutputInvalid) as caught:
            Driver(model, surface)("Which?", choices=["yes", "never"])
        assert [attempt.model for attempt in caught.value.trace] == ["echo:a", "echo:b"]


class TestForm:
    def test_an_answer_of_another_form_is_not_accepted(self, surface):
        small, large = scripted("small", "no idea"), scripted("large", "[1]")
        for accept in ("valid", lambda _: True):
            reply = Driver(om.cascade([small, large], accept=accept), surface)("Which?", schema=list[int]).reply
            assert reply.parsed == [1]
        assert reply.trace[0].note.startswith("not accepted")

    def test_a_function_sees_plain_data(self):
        seen = []
        model = om.cascade(
            [scripted("a", '{"x": 1}'), "echo:b"], accept=lambda reply: seen.append(reply.parsed) or True
        )
        model.chat("Which?", schema={"type": "object"})
        assert seen == [{"x": 1}]

    def test_a_cut_answer_is_not_valid(self):
        model = om.cascade([scripted("a", "one two three"), scripted("b", "yes")], accept="valid")
        assert model.chat("Which?", max_tokens=2).text == "yes"

    def test_an_option_that_only_the_last_honours(self):
        class Plain(EchoBackend):
            options = frozenset()

        reply = om.cascade([Plain("plain"), "echo:b"], accept="valid").chat("yes", choices=["yes"])
        assert [type(attempt.error) for attempt in reply.trace] == [om.UnsupportedFeature, type(None)]


class TestLogprobs:
    @pytest.mark.parametrize(
        ("accept", "small", "text"),
        [
            ("probability", sure(0.9), "small"),
            ("probability", sure(0.4), "large"),
            ("margin", sure(0.8, 0.1), "small"),
            ("margin", sure(0.55, 0.4), "large"),
            ("probability", [om.Delta(text="small", finish_reason="stop")], "large"),
        ],
    )
    def test_a_measure_is_compared_with_the_threshold(self, accept, small, text, surface):
        model = om.cascade([scripted("small", small), scripted("large", "large")], accept=accept, threshold=0.6)
        reply = Driver(model, surface)("Which?").reply
        assert reply.text == text
        assert reply.logprobs == ()
        assert model.backend.members[0].backend.requests[0].logprobs == 2

    def test_what_was_asked_for_is_kept(self):
        model = om.cascade([scripted("small", sure(0.9)), "echo:"], accept="margin")
        (entry,) = model.chat("Which?", logprobs=1).logprobs
        assert len(entry.top) == 1

    def test_choices_are_compared_by_their_scores(self, surface):
        class Scoring(EchoBackend):
            features = EchoBackend.features | {"score"}

            def score(self, request):
                chances = {"yes": 0.9, "no": 0.05, "maybe": 0.05}
                return Scores(
                    tuple(
                        ContinuationScore(text, (ScoredToken(text, math.log(chances[text])),))
                        for text in request.continuations
                    )
                )

        choices = ["yes", "no", "maybe"]
        for text, threshold, answer in (("yes", 0.8, "yes"), ("yes", 0.9, "no"), ("maybe", 0.0, "no")):
            small, large = om.Model(Scoring("small", script=[text])), scripted("large", "no")
            model = om.cascade([small, large], accept="margin", threshold=threshold)
            assert Driver(model, surface)("Which?", choices=choices).reply.parsed == answer

    def test_a_member_without_them_is_refused(self):
        class Plain(EchoBackend):
            options = frozenset()

        with pytest.raises(om.UnsupportedFeature, match="echo:plain"):
            om.cascade([Plain("plain"), "echo:"], accept="margin")
        om.cascade(["echo:", Plain("last")], accept="margin")


class TestJudge:
    @pytest.mark.parametrize(("verdict", "text"), [("yes", "small"), ("no", "large"), ("well", "large")])
    def test_a_judge_is_asked(self, verdict, text, surface):
        judge = scripted("judge", verdict)
        model = om.cascade([scripted("small", "small"), scripted("large", "large")], accept=judge)
        reply = Driver(model, surface)("Which?").reply
        assert reply.text == text
        assert reply.trace[1].model == "echo:judge"
        assert "small" in judge.backend.requests[0].messages[-1].text

    def test_a_judge_may_be_a_reference(self):
        assert om.cascade(["echo:a", "echo:b"], accept="echo:judge").chat("Which?").model == "b"


@pytest.mark.parametrize(
    "options",
    [{"accept": "surely"}, {"accept": 5}, {"accept": None}, {"accept": "margin", "threshold": 2}],
    ids=str,
)
def test_a_wrong_option_is_named(options):
    with pytest.raises(om.InvalidRequest, match=list(options)[-1]):
        om.cascade(["echo:a", "echo:b"], **options)


def test_its_own_bound_does_not_end_a_combination_around_it(surface):
    inner = om.cascade([scripted("a", "no"), "echo:b"], accept=lambda _: False, max_attempts=1)
    reply = Driver(om.fallback([inner, scripted("c", "yes")]), surface)("Which?").reply
    assert reply.text == "yes"
    with pytest.raises(om.AllModelsFailed, match="bound of 1 attempts"):
        Driver(inner, surface)("Which?")


class Endless(Backend):
    """Words without end; `closed` counts the answers that were left."""

    name = "endless"

    def __init__(self):
        super().__init__("")
        self.closed = 0

    def run(self, request):
        try:
            while True:
                yield om.Delta(text="word ")
        finally:
            self.closed += 1

    async def arun(self, request):
        try:
            while True:
                yield om.Delta(text="word ")
        finally:
            self.closed += 1


def test_leaving_at_the_first_delta_ends_the_last_members_answer():
    member = Endless()
    combination = om.cascade([om.Model(member)], accept="valid").backend
    request = ChatRequest(messages=(om.user("Which?"),))

    async def leave():
        deltas = combination.arun(request)
        assert (await anext(deltas)).text == "word "
        await deltas.aclose()
        return member.closed

    deltas = combination.run(request)
    assert next(deltas).text == "word "
    deltas.close()
    assert member.closed == 1
    assert asyncio.run(leave()) == 2
