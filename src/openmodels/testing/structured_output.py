"""Conformance: structured output is checked, or refused before any work."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from openmodels.errors import InvalidRequest, OutputInvalid
from openmodels.model import Model
from openmodels.testing.driver import Answer, Driver, Spy
from openmodels.testing.suite import Suite
from openmodels.types.reply import Reply

_OBJECT = {
    "type": "object",
    "properties": {"sure": {"type": "boolean"}, "colour": {"enum": ["red", "blue"]}},
    "required": ["sure", "colour"],
}
_WRONG: tuple[dict[str, Any], ...] = (
    {"schema": {"type": "objekt"}},
    {"schema": {"$ref": "https://example.com/schema.json"}},
    {"schema": 5},
    {"schema": "Person"},
    {"schema": Model},
    {"choices": []},
    {"choices": "yes"},
    {"choices": ["yes", "yes"]},
    {"choices": ["yes", 1]},
    {"choices": [""]},
    {"pattern": "[a-z"},
    {"pattern": 5},
    {"grammar": 5},
    {"schema": _OBJECT, "choices": ["yes"]},
    {"schema": _OBJECT, "max_tokens": 1},
    {"schema": _OBJECT, "retries": -1},
    {"schema": _OBJECT, "retries": True},
    {"retries": 1},
)
_SHAPES: tuple[dict[str, Any], ...] = (
    {"schema": _OBJECT},
    {"schema": list[bool]},
    {"choices": ["yes", "perhaps so"]},
    {"pattern": "[0-9]{3}"},
)


class StructuredOutputTests(Suite):
    """Tests of `schema`, `choices`, `pattern`, `grammar` and `retries`."""

    @pytest.mark.parametrize("options", _WRONG, ids=range(len(_WRONG)))
    def test_wrong_shape_is_named(self, ask: Driver, spy: Spy, options: dict[str, Any]) -> None:
        """The error names an option and the model; the backend receives no request."""
        with pytest.raises(InvalidRequest, match="|".join(options)) as caught:
            ask(self.prompt, **options)
        assert caught.value.reference == ask.model.reference
        assert spy.requests == []

    def test_grammar_is_followed(self, ask: Driver) -> None:
        """An answer follows a grammar in the dialect of the backend."""
        grammar = self.digits_grammar or "start: /[0-9]{3}/"
        if not self.refuses(ask, grammar=grammar):
            text = ask(self.prompt, **self.calm(ask.model, grammar=grammar)).reply.text
            assert len(text) == 3
            assert text.isdigit()
            self.proves(ask.model, "grammar")

    @pytest.mark.parametrize("options", _SHAPES, ids=range(len(_SHAPES)))
    def test_shaped_answer_is_checked(self, ask: Driver, options: dict[str, Any]) -> None:
        """A valid answer comes parsed; an error holds an invalid one and its errors."""
        if self.refuses(ask, **options):
            return
        reply = _reply(ask, self.prompt, **self.calm(ask.model, max_tokens=64, **options))
        if isinstance(reply, OutputInvalid):
            assert reply.reference == ask.model.reference
            assert reply.reply.finish_reason
            assert reply.reply.parsed is None
            assert reply.errors
            assert self.prompt not in reply.cause
            self.proves(ask.model, next(iter(options)))
            return
        assert isinstance(reply, Reply)
        self.proves(ask.model, next(iter(options)))
        parsed = reply.parsed
        match options:
            case {"schema": dict()}:
                assert isinstance(parsed["sure"], bool)
                assert parsed["colour"] in {"red", "blue"}
            case {"schema": _}:
                assert all(isinstance(item, bool) for item in parsed)
            case {"choices": choices}:
                assert parsed == reply.text
                assert parsed in choices
            case _:
                assert parsed == reply.text
                assert len(parsed) == 3
                assert parsed.isdigit()

    @pytest.mark.parametrize("surface", ["chat", "achat"])
    def test_retries_show_the_faults(self, ask: Driver, spy: Spy) -> None:
        """An invalid answer is retried with its errors shown to the model."""
        options = {"schema": {"type": "object", "properties": {"a": {"not": {}}}, "required": ["a"]}, "retries": 1}
        if self.refuses(ask, schema=options["schema"]):
            return
        failed = _reply(ask, self.prompt, **self.calm(ask.model, max_tokens=24, **options))
        assert isinstance(failed, OutputInvalid | InvalidRequest)
        if isinstance(failed, OutputInvalid) and failed.reply.finish_reason != "length":
            first, second = spy.requests
            assert second.messages[: len(first.messages)] == first.messages
            assert second.messages[-1].role == "user"
            assert "JSON Schema" in second.messages[-1].text
            assert second.deadline == first.deadline

    @pytest.mark.parametrize("surface", ["stream", "astream"])
    def test_stream_cannot_ask_again(self, ask: Driver, spy: Spy) -> None:
        """A stream refuses `retries`, since deltas cannot be taken back."""
        if self.refuses(ask, schema=_OBJECT):
            return
        with pytest.raises(InvalidRequest, match="retries"):
            ask(self.prompt, schema=_OBJECT, retries=1)
        assert spy.requests == []

    @pytest.mark.parametrize("surface", ["stream", "astream"])
    def test_partial_grows_to_the_whole(self, ask: Driver) -> None:
        """`partial` is plain data at any time and equals `parsed` at the end."""
        if self.refuses(ask, schema=_OBJECT):
            return
        options = self.calm(ask.model, max_tokens=64, schema=_OBJECT)
        seen: list[Any] = []

        def read() -> Any:
            with ask.model.stream(self.prompt, **options) as stream:
                seen.extend(stream.partial() for _ in stream)
            return stream.partial(), stream.reply

        async def aread() -> Any:
            async with ask.model.astream(self.prompt, **options) as stream:
                seen.extend([stream.partial() async for _ in stream])
            return stream.partial(), stream.reply

        try:
            last, reply = read() if ask.surface == "stream" else asyncio.run(aread())
        except OutputInvalid:
            return  # its contents are checked by another test
        assert last == reply.parsed
        assert all(partial is None or partial.keys() <= last.keys() for partial in seen)

    def test_nothing_asked_is_no_partial(self, model: Model) -> None:
        """`partial` is an error where no schema is set."""
        with model.stream(self.prompt) as stream, pytest.raises(InvalidRequest, match="partial"):
            stream.partial()


def _reply(ask: Driver, prompt: str, **options: Any) -> Reply | OutputInvalid | InvalidRequest:
    try:
        answer: Answer = ask(prompt, **options)
    except (OutputInvalid, InvalidRequest) as error:
        return error
    return answer.reply
