"""Conformance: an invalid request is refused by name before any work."""

from __future__ import annotations

from typing import Any

import pytest

from openmodels.errors import InvalidRequest
from openmodels.testing.driver import Driver, Spy
from openmodels.testing.suite import Suite

_NAN, _INF, _HUGE = float("nan"), float("inf"), 10**400

WRONG_OPTIONS: tuple[tuple[str, Any], ...] = (
    *(("temperature", value) for value in (_NAN, _INF, -0.1, 101, _HUGE, True, "hot")),
    *(("top_p", value) for value in (_NAN, 0, 1.01, True)),
    *(("top_k", value) for value in (0, 1.5, _HUGE, True)),
    *(("max_tokens", value) for value in (0, -1, 1.5, _HUGE, True, "many")),
    *(("stop", value) for value in ("", [""], [1], 5, b"x", "\ud800")),
    *(("seed", value) for value in (-1, 2**63, 0.5, True)),
    *(("n", value) for value in (0, 129, 1.5, True)),
    *(("logprobs", value) for value in (-1, 101, 0.5, True)),
    *(("frequency_penalty", value) for value in (_NAN, -2.1, 2.1)),
    *(("presence_penalty", value) for value in (_NAN, -2.1, 2.1)),
    *(("repetition_penalty", value) for value in (_NAN, 0, -1)),
    *(("timeout", value) for value in (_NAN, _INF, 0, -1, _HUGE, True, "long")),
    *(("max_retries", value) for value in (-1, 1.5, True)),
    ("extra", "text"),
)
"""Invalid values of options, as (option, value) pairs."""

WRONG_MESSAGES: tuple[Any, ...] = (
    "",
    [],
    None,
    5,
    b"bytes",
    [b"bytes"],
    [""],
    "half a \ud800 pair",
    [{"role": "user", "content": "half a \udc00 pair"}],
    [{"role": "robot", "content": "hello"}],
    [{"role": "user"}],
    [{"role": "user", "content": 5}],
    [{"role": "user", "content": "hello", "mood": "good"}],
    [{"role": "user", "content": "hello", "tool_call_id": "1"}],
    [{"content": "hello"}],
)
"""Invalid messages."""


class RequestValidationTests(Suite):
    """Tests of requests that are refused before any work."""

    @pytest.mark.parametrize(
        ("option", "value"),
        [pytest.param(option, value, id=f"{option}{at}") for at, (option, value) in enumerate(WRONG_OPTIONS)],
    )
    def test_wrong_option_is_named(self, ask: Driver, spy: Spy, option: str, value: Any) -> None:
        """The error names the option and the model; the backend receives no request."""
        with pytest.raises(InvalidRequest, match=rf"\b{option}\b") as caught:
            ask(self.prompt, **{option: value})
        assert caught.value.reference == ask.model.reference
        assert spy.requests == []

    @pytest.mark.parametrize("messages", WRONG_MESSAGES, ids=range(len(WRONG_MESSAGES)))
    def test_wrong_messages_are_named(self, ask: Driver, spy: Spy, messages: Any) -> None:
        """The error points at the message; the backend receives no request."""
        with pytest.raises(InvalidRequest, match=r"\bmessages\b") as caught:
            ask(messages)
        assert caught.value.reference == ask.model.reference
        assert spy.requests == []

    def test_unknown_option_is_named(self, ask: Driver, spy: Spy) -> None:
        """A misspelled option is refused with a suggestion."""
        with pytest.raises(InvalidRequest, match="'temperature'") as caught:
            ask(self.prompt, temperatur=1)
        assert "'temperatur'" in str(caught.value)
        assert spy.requests == []
