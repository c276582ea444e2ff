"""Conformance: replies are complete, equal on every surface, and honour options."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openmodels.conversation import Conversation
from openmodels.errors import UnsupportedFeature
from openmodels.model import Model
from openmodels.testing.driver import PATHS, Driver, Spy
from openmodels.testing.suite import Suite
from openmodels.types.options import OPTION_NAMES, SAMPLING_OPTIONS

_HOT = 5.0

_TOOLS = [{"name": "look", "description": "Look around."}]
EXAMPLE_VALUES: dict[str, dict[str, Any]] = {
    "stop": {"stop": ["x"]},
    "extra": {"extra": {"an_option_of_the_vendor": 1}},
    "schema": {"schema": {"type": "object"}},
    "choices": {"choices": ["yes", "no"]},
    "pattern": {"pattern": "[a-z]+"},
    "grammar": {"grammar": 'start: "x"'},
    "tools": {"tools": _TOOLS},
    "tool_choice": {"tools": _TOOLS, "tool_choice": "auto"},
}
"""A valid value of each option for which 1 is invalid, with the options that it requires."""


class ReplyTests(Suite):
    """Tests of replies and of the options that shape them."""

    def test_answer_is_whole(self, ask: Driver) -> None:
        """A reply has text, a finish reason, token counts, a model name and a duration."""
        reply = ask(self.prompt, **self.calm(ask.model)).reply
        assert reply.text.strip()
        assert reply.finish_reason in {"stop", "length"}
        assert reply.usage.input_tokens
        assert reply.usage.output_tokens
        assert reply.model
        assert reply.seconds > 0
        self.proves(ask.model, "chat")

    def test_surfaces_agree(self, ask: Driver) -> None:
        """Every surface gives the text, finish reason and usage of `chat`.

        The deltas of a stream add up to its reply.
        """
        chat, answer = self.usual(ask.model), ask(self.prompt, **self.calm(ask.model))
        assert answer.reply.text == chat.text
        assert answer.reply.finish_reason == chat.finish_reason
        assert answer.reply.usage.output_tokens == chat.usage.output_tokens
        if answer.deltas:
            assert "".join(delta.text for delta in answer.deltas) == chat.text
            assert [delta.finish_reason for delta in answer.deltas if delta.finish_reason] == [chat.finish_reason]

    def test_streams_arrive_in_pieces(self, model: Model) -> None:
        """A stream has more than one delta with text."""
        deltas = Driver(model, "stream")(self.prompt, **self.calm(model)).deltas
        assert sum(bool(delta.text) for delta in deltas) > 1

    def test_characters_stay_whole(self, ask: Driver) -> None:
        """No delta ends in the middle of a character."""
        answer = ask(self.unicode_prompt, **self.calm(ask.model, max_tokens=2 * self.answer_tokens))
        for text in (answer.reply.text, *(delta.text for delta in answer.deltas)):
            assert text.encode().decode() == text
            assert "\N{REPLACEMENT CHARACTER}" not in text

    def test_stop_string_ends_the_answer(self, ask: Driver) -> None:
        """The reply ends before a stop string, even one that spans several deltas."""
        if self.refuses(ask, stop="x"):
            return
        options, full_text = self.calm(ask.model), self.usual(ask.model).text
        for start, length in ((len(full_text) // 2, 1), (len(full_text) // 3, 4), (len(full_text) // 2, 7)):
            stop = full_text[start : start + length]
            answer = ask(self.prompt, **options, stop=[stop, "\N{SNOWMAN} never said"])
            assert answer.reply.text == full_text[: full_text.index(stop)]
            assert answer.reply.finish_reason == "stop"

    def test_max_tokens_ends_the_answer(self, ask: Driver) -> None:
        """The reply ends at `max_tokens`, with the finish reason "length"."""
        if self.refuses(ask, max_tokens=3):
            return
        reply = ask(self.prompt, **self.calm(ask.model, max_tokens=3)).reply
        assert reply.finish_reason == "length"
        assert reply.usage.output_tokens == 3

    def test_seed_repeats_the_answer(self, ask: Driver) -> None:
        """The same seed gives the same text."""
        options = {"temperature": 1.0, "seed": 7}
        if self.refuses(ask, **options):
            return
        options |= self.calm(ask.model, **options)
        assert ask(self.prompt, **options).reply.text == ask(self.prompt, **options).reply.text

    @pytest.mark.parametrize("option", OPTION_NAMES)
    def test_option_is_honoured_or_refused(self, ask: Driver, option: str) -> None:
        """The backend honours an option, or refuses it with an error that names both."""
        refused = self.refuses(ask, **EXAMPLE_VALUES.get(option, {option: 1}))
        if not refused and ask.surface in PATHS and option in (*SAMPLING_OPTIONS, "extra"):
            self.check_option(ask, option)
            self.proves(ask.model, option)

    def check_option(self, ask: Driver, option: str) -> None:
        """Check that the backend honours an option that it declares.

        The default compares replies. Override it where they cannot show the effect, e.g. to inspect the request.
        """
        greedy = self.usual(ask.model).text

        def text(prompt: str, **more: Any) -> str:
            return ask(prompt, **{**self.calm(ask.model), **more}).reply.text

        if not self.samples:
            # One possible answer: whatever the sampling, it is that one.
            assert option in {"max_tokens", "stop", "extra"} or text(self.prompt, **{option: 1}) == greedy
        elif option == "temperature":
            assert text(self.prompt, temperature=_HOT) != greedy
        elif option in {"top_p", "top_k"}:
            assert text(self.prompt, temperature=_HOT, **{option: 1e-6 if option == "top_p" else 1}) == greedy
        elif option in {"frequency_penalty", "presence_penalty", "repetition_penalty"}:
            longer = {"max_tokens": 3 * self.answer_tokens}
            plain = self.usual(ask.model, self.repeating_prompt, **longer).text
            assert text(self.repeating_prompt, **longer, **{option: 2.0}) != plain

    def test_conversation_reaches_the_backend(self, ask: Driver, spy: Spy) -> None:
        """The system message and every turn arrive in order and count as input."""
        conversation = Conversation(ask.model, system="Answer briefly.")
        say = Driver(conversation, ask.surface)
        options = self.calm(ask.model)
        first = say("Name a colour.", **options).reply
        second = say("And another one?", **options).reply
        assert [turn.role for turn in spy.requests[-1].messages] == ["system", "user", "assistant", "user"]
        assert spy.requests[-1].messages[2].content == first.text
        assert [turn.content for turn in conversation.messages] == [
            "Name a colour.",
            first.text,
            "And another one?",
            second.text,
        ]
        assert (second.usage.input_tokens or 0) > (first.usage.input_tokens or 0)

    @pytest.mark.parametrize("surface", PATHS)
    def test_instruction_counts(self, ask: Driver) -> None:
        """A system message counts as input, like a user message."""
        options = self.calm(ask.model)
        plain = ask([{"role": "user", "content": "Hello."}], **options).reply
        instructed = ask(
            [
                {"role": "system", "content": "You are a pirate of the seven seas."},
                {"role": "user", "content": "Hello."},
            ],
            **options,
        ).reply
        assert instructed.usage.input_tokens != plain.usage.input_tokens

    @pytest.mark.parametrize("method", ["complete", "acomplete"])
    def test_complete_goes_on_or_is_refused(self, model: Model, method: str) -> None:
        """A backend with `complete` continues a text; any other refuses and names itself."""

        def complete() -> Any:
            reply = getattr(model, method)("Once upon a time", **self.calm(model))
            return asyncio.run(reply) if method == "acomplete" else reply

        if "complete" in model.backend.features:
            reply = complete()
            assert reply.text.strip()
            assert reply.finish_reason in {"stop", "length"}
            self.proves(model, "complete")
        else:
            with pytest.raises(UnsupportedFeature, match="complete") as caught:
                complete()
            assert model.backend.name in str(caught.value)
