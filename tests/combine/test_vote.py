"""`vote`: one answer of several models, with every vote in the trace."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import pytest

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.backends.echo import EchoBackend
from openmodels.testing import PATHS, SURFACES, Driver
from openmodels.types.messages import ToolCall

DOWN = om.ServerFailed("It is down.")


def scripted(name, *turns, **options):
    return om.Model(EchoBackend(name, script=list(turns)), **{"max_retries": 0, **options})


def voters(*answers):
    return [scripted(chr(ord("a") + number), answer) for number, answer in enumerate(answers)]


def said(text, **usage):
    return om.Delta(text=text, finish_reason="stop", **usage)


@pytest.fixture(params=PATHS)
def surface(request):
    return request.param


class TestMajority:
    def test_most_votes_win_whatever_their_form(self, surface):
        model = om.vote(voters("London", "**paris**.", "PARIS "))
        reply = Driver(model, surface)("Which?").reply
        assert reply.text == "**paris**."
        assert [attempt.is_answer for attempt in reply.trace] == [False, True, False]
        assert [attempt.note for attempt in reply.trace] == ["outvoted", "2 of 3 votes", "2 of 3 votes"]

    @pytest.mark.parametrize(("a", "b"), [("-5", "5"), ("$5", "5"), ("yes", "no"), ("A1", "A")])
    def test_signs_and_units_are_part_of_an_answer(self, a, b):
        assert om.vote(voters(a, b, b)).chat("Which?").text == b

    def test_a_tie_is_said_and_the_earliest_model_wins(self, surface):
        reply = Driver(om.vote(voters("x", "y", "y", "x", "z")), surface)("Which?").reply
        assert reply.text == "x"
        assert reply.trace[0].note.startswith("tie of 2 answers with 2 of 5 votes")

    def test_what_fails_has_no_vote(self, surface):
        reply = Driver(om.vote([scripted("down", [DOWN]), *voters("no", "yes", "yes")]), surface)("Which?").reply
        assert reply.text == "yes"
        assert isinstance(reply.trace[0].error, om.ServerFailed)

    def test_all_causes_are_held(self, surface):
        with pytest.raises(om.AllModelsFailed) as caught:
            Driver(om.vote([scripted("a", [DOWN]), scripted("b", [om.QuotaExceeded("x")])]), surface)("Which?")
        assert [type(error) for error in caught.value.errors] == [om.ServerFailed, om.QuotaExceeded]

    def test_values_of_a_schema_are_compared(self, surface):
        @dataclass
        class Point:
            x: float
            y: float

        answers = '{"x": 9, "y": 9}', '{"x": 1, "y": 2}', '{ "y": 2.0, "x": 1.0 }', "no JSON"
        reply = Driver(om.vote(voters(*answers)), surface)("Where?", schema=Point).reply
        assert reply.parsed == Point(1, 2)
        assert reply.trace[1].note == "2 of 3 votes"

    def test_values_that_are_no_objects(self):
        assert om.vote(voters("[1]", "[2]", " [2] ")).chat("Which?", schema=list[int]).parsed == [2]

    def test_choices_are_compared(self, surface):
        model = om.vote(voters("maybe", "yes", " yes ", "no"))
        assert Driver(model, surface)("Which?", choices=["yes", "no"]).reply.parsed == "yes"

    def test_the_error_of_answers_of_another_form(self):
        with pytest.raises(om.OutputInvalid) as caught:
            om.vote(voters("x", "y", "y")).chat("Which?", choices=["yes", "no"])
        assert caught.value.reply.text == "y"

    def test_tool_calls_are_compared(self, surface):
        def call(city):
            arguments = {"city": city}
            return [
                om.Delta(
                    tool_calls=(ToolCall(id=city, name="look", arguments=arguments, raw="{}"),),
                    finish_reason="tool_calls",
                )
            ]

        def look(city: str) -> str:
            """Look."""
            return city

        model = om.vote([scripted("a", call("Rome")), scripted("b", call("Oslo")), scripted("c", call("Oslo"))])
        reply = Driver(model, surface)("Where?", tools=[look]).reply
        assert reply.tool_calls[0].arguments == {"city": "Oslo"}

    def test_usage_is_the_answers_and_cost_that_of_all(self, surface):
        usage = om.Usage(input_tokens=1, output_tokens=2)
        paid = [scripted(name, [said("x", usage=usage, cost=cost)]) for name, cost in (("a", 0.25), ("b", 0.5))]
        reply = Driver(om.vote(paid), surface)("Which?").reply
        assert (reply.usage, reply.cost) == (usage, 0.75)
        assert [attempt.cost for attempt in reply.trace] == [0.25, 0.5]
        assert Driver(om.vote([*paid, "echo:"]), surface)("Which?").reply.cost is None

    def test_they_are_asked_at_the_same_time(self, surface):
        model = om.vote([scripted(str(number), [0.1, "yes"]) for number in range(8)])
        start = time.monotonic()
        assert Driver(model, surface)("Which?").reply.text == "yes"
        assert time.monotonic() - start < 0.6

    @pytest.mark.parametrize("surface", SURFACES)
    def test_the_deadline_holds_for_all(self, surface):
        model = om.vote([*voters("quick"), scripted("slow", [5.0, "late"])])
        start = time.monotonic()
        with pytest.raises(om.DeadlineExceeded) as caught:
            Driver(model, surface)("Which?", timeout=0.05)
        assert time.monotonic() - start < 1
        assert caught.value.reference == model.reference

    def test_nests(self, surface):
        inner = om.vote(voters("x", "y", "y"))
        reply = Driver(om.vote([inner, om.fallback([scripted("d", [DOWN]), *voters("y")])]), surface)("Which?").reply
        assert reply.text == "y"
        assert [attempt.model[-1] for attempt in reply.trace] == ["a", "b", "c", "d", "a"]
        assert [attempt.is_answer for attempt in reply.trace] == [False, True, False, False, False]

    def test_several_answers_and_vectors_are_refused(self):
        model = om.vote(["echo:", "echo:"])
        for call in (lambda: model.chat("x", n=2), lambda: model.embed("x"), lambda: model.rerank("x", ["y"])):
            with pytest.raises(om.UnsupportedFeature, match="'vote'"):
                call()

    def test_attempts_are_bounded(self, surface):
        members = voters("x", "x", "x", "x")
        reply = Driver(om.vote(members, max_attempts=2), surface)("Which?").reply
        assert len(reply.trace) == sum(len(member.backend.requests) for member in members) == 2


class TestFirst:
    def test_the_others_are_cancelled(self, surface):
        slow = scripted("slow", ["late ", *["word ", 0.01] * 300])
        model = om.vote([slow, scripted("quick", "yes")], how="first")
        start = time.monotonic()
        reply = Driver(model, surface)("Which?").reply
        assert time.monotonic() - start < 1
        assert reply.text == "yes"
        assert [attempt.note for attempt in reply.trace] == ["cancelled", "first good answer"]
        assert isinstance(reply.trace[0].error, om.StreamInterrupted)

    def test_the_answer_does_not_wait_for_threads(self):
        async def ask():
            start = time.monotonic()
            reply = await om.vote([scripted("slow", [0.5, "late"]), "echo:b"], how="first").achat("Which?")
            return reply.model, time.monotonic() - start

        model, seconds = asyncio.run(ask())
        assert model == "b"
        assert seconds < 0.4

    def test_a_bad_answer_is_not_first(self, surface):
        model = om.vote([scripted("a", "maybe"), scripted("b", [0.02, "yes"]), scripted("c", [DOWN])], how="first")
        assert Driver(model, surface)("Which?", choices=["yes", "no"]).reply.parsed == "yes"


class Judge(EchoBackend):
    """Names the answer that holds a word, wherever it stands; or always the first."""

    arun = Backend.arun

    def __init__(self, rest="", word=None):
        super().__init__(rest)
        self.word = word

    def run(self, request):
        with self._lock:
            self.requests.append(request)
        text = request.messages[-1].text
        if self.word is not None:
            place = text[: text.index(self.word)].count("<answer")
        yield said(str(1 if self.word is None else place))


class TestJudge:
    def test_the_best_answer_is_shown(self, surface):
        judge = om.Model(Judge("judge", "good"))
        reply = Driver(om.vote(voters("bad", "bad", "good one"), how="judge", judge=judge), surface)("Which?").reply
        assert reply.text == "good one"
        assert [attempt.note for attempt in reply.trace[:3]] == ["not chosen", "not chosen", "chosen by the judge"]
        assert [attempt.model for attempt in reply.trace[3:]] == ["echo:judge"] * 2
        shown = [request.messages[-1].text for request in judge.backend.requests]
        assert {text.index("bad") < text.index("good one") for text in shown} == {True, False}
        assert all("Which?" in text for text in shown)

    def test_a_choice_that_hangs_on_the_order_is_a_tie(self):
        model = om.vote(voters("x", "y", "y"), how="judge", judge=om.Model(Judge("judge")))
        reply = model.chat("Which?")
        assert reply.text == "y"
        assert "order" in reply.trace[1].note

    def test_without_a_verdict_the_majority_decides(self, surface):
        for judge in (scripted("judge", [DOWN]), scripted("judge", "I cannot say.")):
            reply = Driver(om.vote(voters("x", "y", "y"), how="judge", judge=judge), surface)("Which?").reply
            assert reply.text == "y"
            assert reply.trace[1].note == "the judge gave no verdict, 2 of 3 votes"

    def test_equal_answers_need_no_judge(self):
        judge = om.Model(Judge("judge"))
        assert om.vote(voters("x", "X."), how="judge", judge=judge).chat("Which?").text == "x"
        assert judge.backend.requests == []

    def test_one_answer_is_made_of_all(self):
        judge = scripted("judge", "x and y")
        model = om.vote(voters("x", "y"), how="merge", judge=judge)
        with model.stream("Which?", temperature=0.5) as stream:
            assert [delta.text for delta in stream if delta.text] == ["x", " and", " y"]
        assert [attempt.note for attempt in stream.reply.trace] == ["merged", "merged", ""]
        (request,) = judge.backend.requests
        assert request.temperature == 0.5
        assert '<answer number="2">\ny\n' in request.messages[-1].text

    def test_without_a_merged_answer_the_majority_decides(self, surface):
        model = om.vote(voters("x", "y", "y"), how="merge", judge=scripted("judge", [DOWN]))
        assert Driver(model, surface)("Which?").reply.text == "y"

    @pytest.mark.parametrize(
        "options", [{"how": "loudest"}, {"how": "judge"}, {"how": "merge"}, {"judge": "echo:"}], ids=str
    )
    def test_a_wrong_option_is_named(self, options):
        with pytest.raises(om.InvalidRequest, match=list(options)[-1] if "loudest" in options.values() else "judge"):
            om.vote(["echo:"], **options)
