"""Ids of tool calls: made where one is missing, rewritten for the receiver.

A conversation may move between backends, and each makes ids in a form of its own: OpenAI
"call_" and 24 characters, Mistral nine letters or digits, Kimi "functions.NAME:0", others none at all.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Literal

from openmodels.types.messages import Message

Form = Literal["general", "nine", "any"]
"""What ids a receiver takes: the common form, exactly nine letters or digits, or any."""

_FORMS = {"general": r"[A-Za-z0-9_-]{1,40}", "nine": r"[A-Za-z0-9]{9}", "any": r".+"}
_NINE = re.compile(r"mistral|mixtral|(magi|mini|code|dev|pix|vox)stral", re.IGNORECASE)


def new() -> str:
    """Return an id for a call without one, in a form that every receiver takes."""
    return secrets.token_hex(5)[:9]


def form(model: str | None) -> Form:
    """Return the form of ids that a model takes, by its name, or None."""
    # Mistral's API and chat templates refuse every other id; Kimi's models continue the count in theirs.
    if _NINE.search(model or ""):
        return "nine"
    return "any" if "kimi" in (model or "").lower() else "general"


def consistent(messages: Sequence[Message], wanted: Form) -> tuple[Message, ...]:
    """Return a conversation whose calls and results have unique ids of a form.

    An id that fits is kept; another is derived from it, so that the same conversation is always written
    the same way and a prefix cache still matches.
    """
    used: set[str] = set()
    current: dict[str, list[str]] = {}
    read: list[Message] = []
    for message in messages:
        if message.tool_calls:
            fresh: dict[str, list[str]] = {}
            calls = []
            for call in message.tool_calls:
                identity = _free(call.id, used, wanted)
                used.add(identity)
                fresh.setdefault(call.id, []).append(identity)
                calls.append(call if identity == call.id else call.model_copy(update={"id": identity}))
            current |= fresh
            if any(new_call is not call for new_call, call in zip(calls, message.tool_calls, strict=True)):
                message = message.model_copy(update={"tool_calls": tuple(calls)})  # noqa: PLW2901 - the rewritten one
        elif message.tool_call_id is not None and (ids := current.get(message.tool_call_id)):
            identity = ids.pop(0) if len(ids) > 1 else ids[0]
            if identity != message.tool_call_id:
                message = message.model_copy(update={"tool_call_id": identity})  # noqa: PLW2901 - as above
        read.append(message)
    return tuple(read)


def _free(identity: str, used: set[str], wanted: Form) -> str:
    if identity not in used and re.fullmatch(_FORMS[wanted], identity):
        return identity
    for number in range(len(used) + 2):
        digest = hashlib.sha256(f"{identity}\0{number}".encode()).hexdigest()
        derived = digest[:9] if wanted == "nine" else f"call_{digest[:24]}"
        if derived not in used:
            return derived
    raise AssertionError("more ids are used than there are calls")
