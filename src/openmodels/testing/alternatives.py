"""Conformance: alternatives, logprobs, reasoning and declared capabilities."""

from __future__ import annotations

import math

from openmodels.model import Model
from openmodels.testing.driver import Driver, Spy
from openmodels.testing.suite import Suite


class AlternativeTests(Suite):
    """Tests of `n`, `logprobs`, `Reply.reasoning` and `Model.capabilities`."""

    def test_several_answers(self, pair_model: Model, surface: str) -> None:
        """Each alternative is complete; each delta of a stream has its index."""
        ask = Driver(pair_model, surface)
        if self.refuses(ask, n=2):
            return
        answer = ask(self.prompt, **self.calm(ask.model, n=2, max_tokens=4))
        replies = [answer.reply, *answer.reply.alternatives]
        assert len(replies) == 2
        for index, reply in enumerate(replies):
            assert reply.text.strip()
            assert reply.finish_reason in {"stop", "length"}
            if answer.deltas:
                assert "".join(delta.text for delta in answer.deltas if delta.index == index) == reply.text
        assert (answer.reply.usage.output_tokens or 0) >= 2
        self.proves(ask.model, "n")

    def test_one_answer_has_no_alternatives(self, ask: Driver) -> None:
        """Without `n` the reply has no alternatives, and every delta has the index 0."""
        answer = ask(self.prompt, **self.calm(ask.model))
        assert answer.reply.alternatives == ()
        assert {delta.index for delta in answer.deltas} <= {0}

    def test_logprobs_are_of_the_answers_tokens(self, ask: Driver) -> None:
        """Logprobs cover the tokens of the text, the likeliest first, none above 0."""
        if self.refuses(ask, logprobs=2):
            return
        answer = ask(self.prompt, **self.calm(ask.model, logprobs=2))
        logprobs = answer.reply.logprobs
        if not answer.reply.reasoning:
            assert "".join(entry.token for entry in logprobs).strip() == answer.reply.text.strip()
        for entry in logprobs:
            chances = [chance for _, chance in entry.top]
            assert 0 < len(chances) <= 2
            assert chances == sorted(chances, reverse=True)
            assert all(chance <= 1e-3 and not math.isnan(chance) for chance in [entry.logprob, *chances])
        if answer.deltas:
            assert tuple(entry for delta in answer.deltas for entry in delta.logprobs) == logprobs
        assert ask(self.prompt, **self.calm(ask.model)).reply.logprobs == ()
        self.proves(ask.model, "logprobs")

    def test_chosen_logprob_alone(self, ask: Driver) -> None:
        """`logprobs=0` gives the chosen tokens' and no others'."""
        if self.refuses(ask, logprobs=0):
            return
        logprobs = ask(self.prompt, **self.calm(ask.model, logprobs=0)).reply.logprobs
        assert logprobs
        assert {entry.top for entry in logprobs} == {()}

    def test_reasoning_is_not_in_the_text(self, ask: Driver) -> None:
        """Deltas add up to the reasoning, and neither it nor the text has its tags."""
        answer = ask(self.prompt, **self.calm(ask.model))
        assert not answer.reply.text.lstrip().startswith("<think>")
        assert "</think>" not in answer.reply.reasoning
        if answer.deltas:
            assert "".join(delta.reasoning for delta in answer.deltas) == answer.reply.reasoning

    def test_capabilities_are_known_before_a_call(self, model: Model, spy: Spy) -> None:
        """Capabilities are at most those that the backend declares, and send no request."""
        known = model.capabilities
        assert spy.requests == []
        assert known.options <= model.backend.options
        for name in ("chat", "complete", "embed", "score", "decide"):
            assert getattr(known, name) in {name in model.backend.features, False, None}
        for name in ("tools", "schema", "choices", "pattern", "grammar", "logprobs", "n", "seed"):
            assert getattr(known, name) in {name in model.backend.options, False, None}
        assert known.context is None or known.context > 0
        assert "logprobs" in repr(known)
