"""Tool calls that arrive in chunks, assembled by id and index."""

import json
from dataclasses import dataclass, field
from typing import Any

from openmodels.errors import InvalidResponse
from openmodels.output import call_ids
from openmodels.types.messages import ToolCall, read_arguments


@dataclass(slots=True)
class _PartialCall:
    index: int | None
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)

    @property
    def raw(self) -> str:
        return "".join(self.arguments)

    @property
    def is_complete(self) -> bool:
        return bool(self.raw.strip()) and read_arguments(self.raw) is not None


class ToolCallAssembler:
    """Assembles the `tool_calls` of one delta after the other.

    Servers disagree: indexes may be missing, shared by several calls or have gaps; ids and names
    may come once, with every chunk, or never. A known id decides, then the index, then the latest call; a new id
    with a name, or a name after a complete call, begins another one.
    """

    def __init__(self) -> None:
        self._calls: list[_PartialCall] = []

    def add(self, pieces: Any, *, is_message: bool = False) -> None:
        """Add the `tool_calls` of a delta, or of a message, where each is another call."""
        if pieces is None:
            return
        if not isinstance(pieces, list):
            raise _protocol_error("'tool_calls' is no list")
        before = len(self._calls)
        for piece in pieces:
            if not isinstance(piece, dict):
                raise _protocol_error("a tool call is no object")
            self._add(piece, is_message=is_message, before=before)

    def calls(self) -> tuple[ToolCall, ...]:
        """Return the calls, each with an id; arguments other than a JSON object are None."""
        made: list[ToolCall] = []
        used: set[str] = set()
        for call in self._calls:
            if not call.name:
                raise _protocol_error("a tool call has no name")
            identity = call.id if call.id and call.id not in used else call_ids.make_id()
            used.add(identity)
            made.append(ToolCall(id=identity, name=call.name, arguments=read_arguments(call.raw), raw=call.raw))
        return tuple(made)

    def _add(self, piece: dict[str, Any], *, is_message: bool, before: int) -> None:
        function = piece.get("function") or {}
        if not isinstance(function, dict):
            raise _protocol_error("a tool call's 'function' is no object")
        index, name, arguments = piece.get("index"), function.get("name") or "", function.get("arguments")
        key = piece.get("id") or ""
        if isinstance(arguments, dict):  # as Ollama's own API sends them
            arguments = json.dumps(arguments, ensure_ascii=False)
        if not isinstance(name, str) or not isinstance(key, str) or not isinstance(arguments, str | None):
            raise _protocol_error("a tool call's id, name or arguments are no text")
        if isinstance(index, bool) or not isinstance(index, int | None):
            raise _protocol_error("a tool call's index is no number")
        call = None if is_message else self._find(index, key, name, arguments or "")
        if call is not None and name and call.name and call in self._calls[before:]:
            call = None  # two names in one list are two calls
        if call is None:
            call = _PartialCall(index)
            self._calls.append(call)
        call.id = call.id or key
        if name and call.name != name:
            call.name += name
        if arguments:
            call.arguments.append(arguments)

    def _find(self, index: int | None, key: str, name: str, arguments: str) -> _PartialCall | None:
        """Return the call that a piece continues, or None where it begins another one."""
        if key:
            for call in reversed(self._calls):
                if call.id == key and (index is None or call.index in (None, index)):
                    return call
        last = next((call for call in reversed(self._calls) if index is None or call.index == index), None)
        if last is None or not name or not last.name:
            return last
        if key and last.id:
            return None
        if name == last.name:
            # A server that repeats the name sends more of the arguments beside it, or another call.
            again = not arguments and index is None and not key
            return None if again or (last.is_complete and arguments.lstrip()[:1] in ("{", '"')) else last
        # A name in two pieces is odd but allowed; it can only be one before the arguments begin.
        return last if index is not None and not key and not last.arguments else None


def _protocol_error(what: str) -> InvalidResponse:
    return InvalidResponse(f"The answer breaks the protocol: {what}.")
