"""Conformance: tools are called and run, or refused before any work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openmodels.core.tool_loop import ToolRun
from openmodels.errors import InvalidRequest, OutputInvalid, ToolRoundsExceeded
from openmodels.testing.driver import Answer, Driver, Spy
from openmodels.testing.suite import Suite
from openmodels.types.messages import Message, ToolCall

_LOOK = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Look up the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Oslo", "Rome"]}, "tomorrow": {"type": "boolean"}},
            "required": ["city", "tomorrow"],
        },
    },
}
_ADD = {"name": "add", "description": "Add two numbers.", "parameters": {"type": "object", "properties": {}}}
_WRONG: tuple[dict[str, Any], ...] = (
    {"tools": 5},
    {"tools": "look_up"},
    {"tools": _ADD},
    {"tools": [5]},
    {"tools": [None]},
    {"tools": [{"description": "Nameless."}]},
    {"tools": [{"name": "two words"}]},
    {"tools": [{"name": "list", "parameters": {"type": "array"}}]},
    {"tools": [{"name": "odd", "parameters": {"type": "objekt"}}]},
    {"tools": [lambda: None]},
    {"tools": [_ADD, _ADD]},
    {"tool_choice": "required"},
    {"tools": [_ADD], "tool_choice": "subtract"},
    {"tools": [_ADD], "tool_choice": 5},
)
_PROMPT = '{"city": "Oslo", "tomorrow": true} is what the weather is wanted for. Look it up.'


def look_up(city: str, *, tomorrow: bool = False) -> str:
    """Look up the weather of a city."""
    return f"In {city} it will be {'sunny' if tomorrow else 'rainy'}."


class ToolTests(Suite):
    """Tests of `tools`, `tool_choice` and `run_tools`."""

    @pytest.mark.parametrize("options", _WRONG, ids=range(len(_WRONG)))
    def test_wrong_tool_is_named(self, ask: Driver, spy: Spy, options: dict[str, Any]) -> None:
        """The error names an option and the model; the backend receives no request."""
        with pytest.raises(InvalidRequest, match=r"tools|tool_choice") as caught:
            ask(self.prompt, **options)
        assert caught.value.reference == ask.model.reference
        assert spy.requests == []

    @pytest.mark.parametrize("choice", ["required", "look_up"])
    def test_demanded_call_comes(self, ask: Driver, choice: str) -> None:
        """A required tool is called with valid arguments, or an error holds the answer."""
        if self.refuses(ask, tools=[_LOOK], tool_choice=choice):
            return
        answer = self._ask(ask, tools=[_LOOK], tool_choice=choice)
        if answer is None:
            return
        (call, *_) = calls = answer.reply.tool_calls
        assert call.name == "look_up"
        assert call.id
        assert call.errors or call.arguments in [
            {"city": city, "tomorrow": tomorrow} for city in ("Oslo", "Rome") for tomorrow in (True, False)
        ]
        assert answer.reply.finish_reason in {"tool_calls", "stop", "length"}
        if answer.deltas:
            assert tuple(call for delta in answer.deltas for call in delta.tool_calls) == calls
        self.proves(ask.model, "tools")
        self.proves(ask.model, "tool_choice")

    def test_forbidden_call_does_not_come(self, ask: Driver) -> None:
        """With `tool_choice="none"` there is only text."""
        if self.refuses(ask, tools=[_LOOK], tool_choice="none"):
            return
        if (answer := self._ask(ask, tools=[_LOOK], tool_choice="none")) is not None:
            assert answer.reply.tool_calls == ()

    def test_free_choice_gives_text_or_calls(self, ask: Driver) -> None:
        """Each call that a model makes is valid or names its errors."""
        if self.refuses(ask, tools=[_LOOK]):
            return
        answer = self._ask(ask, tools=[_LOOK])
        assert answer is not None
        assert answer.reply.text or answer.reply.reasoning or answer.reply.tool_calls
        for call in answer.reply.tool_calls:
            assert call.errors or (call.name == "look_up" and call.arguments is not None)

    def test_answered_call_is_shown(self, ask: Driver, spy: Spy) -> None:
        """A call and its result reach the backend unchanged and count as input."""
        if self.refuses(ask, tools=[_LOOK]):
            return
        arguments = {"city": "Oslo", "tomorrow": False}
        call = ToolCall(id="abc123def", name="look_up", arguments=arguments, raw='{"city":"Oslo","tomorrow":false}')
        question = [Message(role="user", content=_PROMPT)]
        history = [*question, Message(role="assistant", tool_calls=(call,)), call.answer("It will be rainy.")]
        options = self.calm(ask.model)
        short = ask(question, **options, tools=[_LOOK], tool_choice="none").reply
        long = ask(history, **options, tools=[_LOOK], tool_choice="none").reply
        assert list(spy.requests[-1].messages) == history
        assert (long.usage.input_tokens or 0) > (short.usage.input_tokens or 0)

    @pytest.mark.parametrize("surface", ["chat", "achat"])
    def test_tools_are_run(self, ask: Driver, spy: Spy) -> None:
        """The required tool runs and its result is sent back to the model.

        The run ends with an answer, or an error holds its rounds.
        """
        if self.refuses(ask, tools=[look_up], tool_choice="look_up"):
            return
        options = self.calm(ask.model, max_tokens=64, tool_choice="look_up")
        try:
            if ask.surface == "chat":
                run = ask.model.run_tools(_PROMPT, [look_up], max_rounds=3, **options)
            else:
                run = asyncio.run(ask.model.arun_tools(_PROMPT, [look_up], max_rounds=3, **options))
        except (OutputInvalid, ToolRoundsExceeded) as error:
            run = error.run
        assert isinstance(run, ToolRun)
        assert spy.requests[0].tool_choice == "look_up"
        if run.rounds and run.rounds[0].results:
            result = run.rounds[0].results[0]
            assert result.message.tool_call_id == result.call.id
            assert result.error is not None or result.message.text.startswith("In ")
            assert spy.requests[1].tool_choice is None
            assert result.message in spy.requests[1].messages

    def _ask(self, ask: Driver, **options: Any) -> Answer | None:
        failure: OutputInvalid
        try:
            return ask(_PROMPT, **self.calm(ask.model, max_tokens=64), **options)
        except OutputInvalid as error:
            failure = error
        assert failure.reference == ask.model.reference
        assert failure.reply.finish_reason
        assert "tool_choice" in failure.cause
        return None
