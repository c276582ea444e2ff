"""The fields that openmodels adds by itself, and which of them a server refuses.

Servers differ in what they know beyond the core of the dialect, and strict ones refuse a whole request
for one field they do not know. A refusal that names a field that the caller has not asked for is
answered with the same request without it, or with its other spelling; each is learned once. What the
caller asked for is never left out: that refusal reaches the caller.
"""

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from openmodels.types.request import ChatRequest

Body = dict[str, Any]

_NO_FIELD = frozenset({401, 402, 403, 404, 408, 409, 410, 413, 429})
"""Statuses that are about something else than a field of the request."""
_SERVER_FAULTS = frozenset({500, 501})  # statuses above 499 with which some servers refuse a field


@dataclass(frozen=True, slots=True)
class RefusalRule:
    """One field or spelling that a server may refuse."""

    name: str  # what it is called here
    refusal: re.Pattern[str]  # what a refusal of it says
    change: Callable[[Body], Body]  # returns the body without it; the same body where it holds none
    keys: frozenset[str]  # the top-level fields it touches; one in the caller's `extra` is the caller's


class ParameterFallbacks:
    """What one server has shown; shared by all calls of a model and safe for threads."""

    def __init__(self) -> None:
        self._learned: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    @property
    def learned(self) -> frozenset[str]:
        """The names of the rules that are applied to every request."""
        return self._learned

    def adapt(self, body: Body, request: ChatRequest) -> Body:
        """Return a body as the server takes it, by all that is known."""
        for rule in _RULES:
            if rule.name in self._learned and not rule.keys & request.extra.keys():
                body = rule.change(body)
        return body

    def observe(self, reasoning: str | None) -> None:
        """Note the field in which reasoning came; the server takes it back there."""
        if reasoning == "reasoning" and "reasoning_content" not in self._learned:
            self._learn({"reasoning_content"})

    def learn(self, status: int | None, refusal: str, body: Body, request: ChatRequest) -> bool:
        """Take a refusal; return whether the request can be sent again in another form.

        The status is None for an error inside an answer.
        """
        if status is not None and (status in _NO_FIELD or (status >= 500 and status not in _SERVER_FAULTS)):
            return False
        named = {
            rule.name
            for rule in _RULES
            if rule.refusal.search(refusal) and not rule.keys & request.extra.keys() and rule.change(body) != body
        }
        self._learn(named)
        return bool(named)

    def _learn(self, names: set[str]) -> None:
        with self._lock:
            self._learned |= names


def _without(name: str, body: Body) -> Body:
    return {key: value for key, value in body.items() if key != name}


def _without_alias(alias: str, other: str, body: Body) -> Body:
    """Leave out one of two spellings of an option, never both."""
    return _without(alias, body) if other in body else body


def _renamed_in_chats(name: str, to: str, body: Body) -> Body:
    """Rename a field of chats; the older completions know the old name alone."""
    if "messages" not in body or to in body:
        return body
    return {to if key == name else key: value for key, value in body.items()}


def _in_messages(name: str, to: str | None, body: Body) -> Body:
    """Rename a field of the messages, or leave it out."""
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    fresh = []
    for message in messages:
        kept = _without(name, message)
        fresh.append(kept | {to: message[name]} if to is not None and name in message else kept)
    return body | {"messages": fresh}


def _not_strict(body: Body) -> Body:
    form = body.get("response_format")
    if not isinstance(form, dict) or not isinstance(schema := form.get("json_schema"), dict):
        return body
    return body | {"response_format": form | {"json_schema": _without("strict", schema)}}


def _tool_alone(body: Body) -> Body:
    """Demand a tool by offering it alone, with the word "required"."""
    choice = body.get("tool_choice")
    if not isinstance(choice, dict):
        return body
    name = choice.get("function", {}).get("name")
    tools = [tool for tool in body.get("tools", ()) if tool.get("function", {}).get("name") == name]
    return body | {"tools": tools, "tool_choice": "required"}


def _any_tool(body: Body) -> Body:
    return body | {"tool_choice": "any"} if body.get("tool_choice") == "required" else body


def _rule(name: str, refusal: str, change: Callable[[Body], Body], *keys: str) -> RefusalRule:
    return RefusalRule(name, re.compile(refusal, re.IGNORECASE | re.DOTALL), change, frozenset(keys or {name}))


_RULES = (
    _rule("stream_options", r"stream_options|include_usage", partial(_without, "stream_options")),
    _rule("strict", r"\bstrict\b", _not_strict, "response_format"),
    # First the other spelling is tried; a server that refuses both gets neither.
    _rule(
        "reasoning_content", "reasoning_content", partial(_in_messages, "reasoning_content", "reasoning"), "messages"
    ),
    _rule("reasoning", r"\breasoning\b", partial(_in_messages, "reasoning", None), "messages"),
    _rule("max_tokens", "max_completion_tokens", partial(_renamed_in_chats, "max_tokens", "max_completion_tokens")),
    _rule("repeat_penalty", "repeat_penalty", partial(_without_alias, "repeat_penalty", "repetition_penalty")),
    _rule("repetition_penalty", "repetition_penalty", partial(_without_alias, "repetition_penalty", "repeat_penalty")),
    _rule("tool_choice", r"tool_choice|tool choice", _tool_alone),
    _rule("required", r"(tool_choice|tool choice).*\bany\b", _any_tool, "tool_choice"),
)
"""In the order in which they are applied."""
