"""Ids of tool calls: made where one is missing, rewritten for the receiver.

A conversation may move between backends, and each makes ids in a form of its own: OpenAI
"call_" and 24 characters, Mistral nine letters or digits, Kimi "functions.NAME:0", others none at all.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Any, Literal

from openmodels.types.messages import Message

IdFormat = Literal["general", "nine", "any"]
"""What ids a receiver takes: the common form, exactly nine letters or digits, or any."""

_PATTERNS = {"general": r"[A-Za-z0-9_-]{1,40}", "nine": r"[A-Za-z0-9]{9}", "any": r".+"}
_NINE = re.compile(r"mistral|mixtral|(magi|mini|code|dev|pix|vox)stral", re.IGNORECASE)


def make_id() -> str:
    """Return an id for a call without one, in a form that every receiver takes."""
    return secrets.token_hex(5)[:9]


def find_id_format(model: str | None) -> IdFormat:
    """Return the form of ids that a model takes, by its name, or None."""
    # Mistral's API and chat templates refuse every other id; Kimi's models continue the count in theirs.
    if _NINE.search(model or ""):
        return "nine"
    return "any" if "kimi" in (model or "").lower() else "general"


def rewrite_ids(messages: Sequence[Message], id_format: IdFormat) -> tuple[Message, ...]:
    """Return a conversation whose calls and results have unique ids of a form.

    An id that fits is kept; another is derived from it, so that the same conversation is always written
    the same way and a prefix cache still matches.
    """
    used: set[str] = set()
    unanswered: dict[str, list[str]] = {}  # the new ids of calls, by the old ones
    rewritten: list[Message] = []
    for message in messages:
        update: dict[str, Any] = {}
        if message.tool_calls:
            ids = [(call.id, _take_id(call.id, used, id_format)) for call in message.tool_calls]
            unanswered |= {old: [new for other, new in ids if other == old] for old, _ in ids}
            calls = zip(message.tool_calls, ids, strict=True)
            update["tool_calls"] = tuple(call.model_copy(update={"id": new}) for call, (_, new) in calls)
        elif message.tool_call_id is not None and (left := unanswered.get(message.tool_call_id)):
            update["tool_call_id"] = left.pop(0) if len(left) > 1 else left[0]
        rewritten.append(message.model_copy(update=update) if update else message)
    return tuple(rewritten)


def _take_id(call_id: str, used: set[str], id_format: IdFormat) -> str:
    new, number = call_id, 0
    while new in used or not re.fullmatch(_PATTERNS[id_format], new):
        digest = hashlib.sha256(f"{call_id}\0{number}".encode()).hexdigest()
        new, number = digest[:9] if id_format == "nine" else f"call_{digest[:24]}", number + 1
    used.add(new)
    return new
