"""Conformance: `score` and `decide` give probabilities or refuse with a reason."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from openmodels.errors import InvalidRequest, OpenModelsError, UnsupportedFeature
from openmodels.model import Model
from openmodels.testing.suite import Suite
from openmodels.types.decisions import Decision
from openmodels.types.scores import ContinuationScore

_PROMPT = "The capital of France is"
_CONTINUATIONS = [" Paris", " London, I believe", " 日本語"]
_STATE = {"subject": "Invoice", "body": "I was charged twice. Please send the money back."}
_QUESTIONS: dict[str, dict[str, Any]] = {
    "team": {
        "type": "choice",
        "instructions": "Which team handles this?",
        "criteria": {"Billing": "Payments and invoices", "Technical": None, "Sales": ["prices", "upgrades"]},
    },
    "refund": {"type": "noul", "instructions": "Does the customer want money back?"},
    "anger": {"type": "score", "instructions": "How angry is the customer?", "criteria": ["calm", "cross", "furious"]},
}
_WRONG_QUESTIONS: tuple[Any, ...] = (
    {},
    None,
    [],
    {"q": {}},
    {"q": {"type": "boolean"}},
    {"q": {"type": "choice", "criteria": {}}},
    {"q": {"type": "choice", "criteria": {f"option {number}": None for number in range(256)}}},
    {"q": {"type": "choice", "criteria": ["a", "b"]}},
    {"q": {"type": "choice", "criteria": {"a": 5}}},
    {"q": {"type": "score", "criteria": {"0": "low", "1": "high"}}},
    {"q": {"type": "score", "criteria": [str(level) for level in range(11)]}},
    {"q": {"type": "score", "criteria": ["low", None]}},
    {"q": {"type": "noul", "criteria": {"maybe": "unsure"}}},
    {"q": {"type": "noul", "instruction": "misspelled"}},
    {str(number): {"type": "noul"} for number in range(65)},
)


class ScoringTests(Suite):
    """Tests of `score` and `decide` and their asynchronous twins."""

    @pytest.fixture(params=["", "a"], ids=["sync", "async"])
    def twin(self, request: pytest.FixtureRequest) -> str:
        """What stands before the method's name."""
        prefix: str = request.param
        return prefix

    def test_continuations_are_scored_or_refused(self, model: Model, twin: str) -> None:
        """Each continuation gets the scores that it gets alone."""
        if not self._offers(model, "score"):
            self._refuses(model, twin, "score", _PROMPT, _CONTINUATIONS)
            return
        scores = score_texts(model, twin, _PROMPT, _CONTINUATIONS)
        assert [score.text for score in scores] == _CONTINUATIONS
        for score in scores:
            assert score.token_count == len(score.tokens) > 0
            assert score.logprob == pytest.approx(sum(token.logprob for token in score.tokens))
            assert all(token.logprob <= 1e-3 and math.isfinite(token.logprob) for token in score.tokens)
        assert "".join(token.text for token in scores[0].tokens) == _CONTINUATIONS[0]
        (alone,) = score_texts(model, twin, _PROMPT, _CONTINUATIONS[1:2])
        assert alone.logprob == pytest.approx(scores[1].logprob, abs=1e-3 if self.rounds_alike else 0.5)
        self.proves(model, "score")

    def test_a_longer_text_is_never_likelier(self, model: Model, twin: str) -> None:
        """The log-probability is a sum over tokens, not divided by their number."""
        if not self._offers(model, "score"):
            self._refuses(model, twin, "score", _PROMPT, _CONTINUATIONS)
            return
        short, long = score_texts(model, twin, _PROMPT, [" Paris", " Paris Paris Paris"])
        assert long.token_count > short.token_count
        assert long.logprob < short.logprob

    def test_wrong_continuations_are_named(self, model: Model, twin: str) -> None:
        """Invalid prompts and continuations are refused by name."""
        expected: tuple[type[OpenModelsError], str] = (InvalidRequest, "continuations|prompt|messages")
        if "score" not in model.backend.features:
            expected = (UnsupportedFeature, "score")
        for prompt, continuations in (
            *((_PROMPT, wrong) for wrong in ([], "text", [""], ["a", 5], None)),
            *((wrong, ["a"]) for wrong in ("", [], None, 5, [{"role": "robot", "content": "a"}])),
        ):
            with pytest.raises(expected[0], match=expected[1]) as caught:
                score_texts(model, twin, prompt, continuations)
            assert caught.value.reference == model.reference

    def test_questions_are_decided_or_refused(self, model: Model, twin: str) -> None:
        """Each question gets the distribution over its options that it gets alone."""
        if not self._offers(model, "decide"):
            self._refuses(model, twin, "decide", _STATE, _QUESTIONS)
            return
        decisions = decide_questions(model, twin, _STATE, _QUESTIONS)
        assert list(decisions) == list(_QUESTIONS)
        options = {"team": ["Billing", "Technical", "Sales"], "refund": ["yes", "no"], "anger": ["0", "1", "2"]}
        for name, decision in decisions.items():
            chances = decision.probabilities
            assert list(chances) == options[name]
            assert math.fsum(chances.values()) == pytest.approx(1)
            count, best = len(chances), max(chances.values())
            assert decision.confidence == pytest.approx((best - 1 / count) / (1 - 1 / count), abs=1e-6)
            assert decision.label_mass is None or 0 <= decision.label_mass <= 1
            if name == "anger":
                assert decision.value == pytest.approx(sum(int(level) * chances[level] for level in chances))
            else:
                assert chances[str(decision.value)] == best
        alone = decide_questions(model, twin, _STATE, {"anger": _QUESTIONS["anger"]})
        assert alone["anger"].probabilities == pytest.approx(
            decisions["anger"].probabilities, abs=1e-3 if self.rounds_alike else 0.2
        )
        self.proves(model, "decide")

    def test_wrong_questions_are_named(self, model: Model, twin: str) -> None:
        """Invalid questions and states are refused by name."""
        expected: tuple[type[OpenModelsError], str] = (InvalidRequest, "questions|state")
        if "decide" not in model.backend.features:
            expected = (UnsupportedFeature, "decide")
        for state, questions in (
            *((_STATE, wrong) for wrong in _WRONG_QUESTIONS),
            *((wrong, _QUESTIONS) for wrong in (None, 5, {"a": {1, 2}}, {"a": math.nan}, "half a \ud800 pair")),
        ):
            with pytest.raises(expected[0], match=expected[1]) as caught:
                decide_questions(model, twin, state, questions)
            assert caught.value.reference == model.reference

    def _offers(self, model: Model, feature: str) -> bool:
        return feature in model.backend.features and (self.scores if feature == "score" else self.decides)

    def _refuses(self, model: Model, twin: str, feature: str, *arguments: Any) -> None:
        call = score_texts if feature == "score" else decide_questions
        # A server may only tell when it is asked.
        kind = OpenModelsError if feature in model.backend.features else UnsupportedFeature
        with pytest.raises(kind, match=feature) as caught:
            call(model, twin, *arguments)
        assert caught.value.reference == model.reference


def score_texts(model: Model, twin: str, prompt: Any, continuations: Any) -> list[ContinuationScore]:
    """Return the result of `score`, or of `ascore` in an event loop of its own."""
    outcome: Any = getattr(model, f"{twin}score")(prompt, continuations)
    result: list[ContinuationScore] = asyncio.run(outcome) if twin else outcome
    return result


def decide_questions(model: Model, twin: str, state: Any, questions: Any) -> dict[str, Decision]:
    """Return the result of `decide`, or of `adecide` in an event loop of its own."""
    outcome: Any = getattr(model, f"{twin}decide")(state, questions)
    result: dict[str, Decision] = asyncio.run(outcome) if twin else outcome
    return result
