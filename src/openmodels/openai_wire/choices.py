"""The choices of a response: text, reasoning, tool calls and logprobs."""

import json
import re
from dataclasses import dataclass, field
from typing import Any

from openmodels.errors import InvalidResponse, UnsupportedFeature
from openmodels.openai_wire import logprobs
from openmodels.output import call_ids
from openmodels.output.text_scan import REASONING_FIELDS, ReasoningSplitter, ReasoningTags
from openmodels.types.messages import ToolCall, read_arguments
from openmodels.types.reply import Delta, TokenLogprob, Usage


class ChoiceDecoder:
    """Decodes the choices of one index, one chunk after the other; see `ChatDecoder`."""

    def __init__(self, index: int, tags: tuple[ReasoningTags, ...] = (), top_logprobs: int | None = None) -> None:
        self.reason: str | None = None  # why the answer ended, once it has
        self.reasoning_field: str | None = None  # the field in which the server sends the reasoning, once it has
        self._index = index
        self._splitter = ReasoningSplitter(*tags) if tags else None
        self._tools = ToolCallAssembler()
        self._high_surrogate = ""  # the first half of a character that came in two
        self._top_logprobs = top_logprobs
        self._has_text = self._has_logprobs = False

    @property
    def lacks_logprobs(self) -> bool:
        """Whether text came without the logprobs that were asked for."""
        return self._top_logprobs is not None and self._has_text and not self._has_logprobs

    def feed(self, choice: dict[str, Any], key: str, model: str | None = None, raw: Any = None) -> Delta | None:
        """Return the delta of a choice in a chunk or body; None where it is empty.

        `key` is the field with its content: "delta" or "message". `model` and `raw` become part of the delta.
        """
        message = _read_message(choice, key)
        self._add_calls(message, is_message=key == "message")
        text, reasoning = _read_content(message.get("content"), "content")
        if refusal := message.get("refusal"):
            text += _read_content(refusal, "refusal")[0]
        if name := next((name for name in REASONING_FIELDS if message.get(name)), None):
            reasoning, self.reasoning_field = "".join(_read_content(message[name], name)), name
        if self._high_surrogate or not text.isascii():
            text = self._encodable(text)
        likely: tuple[TokenLogprob, ...] = ()
        if self._top_logprobs is not None and (value := choice.get("logprobs")):
            # Some servers give more than were asked for.
            likely = tuple(
                entry._replace(top=entry.top[: self._top_logprobs]) for entry in logprobs.read_logprobs(value)
            )
        self._has_text, self._has_logprobs = self._has_text or bool(text), self._has_logprobs or bool(likely)
        if reason := choice.get("finish_reason"):
            self.reason = str(reason)
        if text and self._splitter is not None:
            inline, text = self._splitter.feed(text)
            reasoning += inline
        if not (text or reasoning or likely):
            return None
        return Delta(text, reasoning, model=model, raw=raw, logprobs=likely, index=self._index)

    def _add_calls(self, message: dict[str, Any], *, is_message: bool) -> None:
        if "tool_calls" in message:
            self._tools.add(message["tool_calls"], is_message=is_message)
        if isinstance(call := message.get("function_call"), dict):  # the form before `tool_calls`
            self._tools.add([{"index": 0, "function": call}], is_message=is_message)

    def finish(self, usage: Usage | None = None, model: str | None = None, raw: Any = None) -> Delta:
        """Return the last delta, with what was held back and the finish reason."""
        text, reasoning = "\ufffd" if self._high_surrogate else "", ""
        if self._splitter is not None:
            reasoning, text = self._splitter.feed(text)
            held_reasoning, held_text = self._splitter.flush()
            reasoning, text = reasoning + held_reasoning, text + held_text
        calls, reason = self._tools.calls(), self.reason
        return Delta(text, reasoning, calls, reason, usage, model, end=reason is None, raw=raw, index=self._index)

    def _encodable(self, text: str) -> str:
        """Join a surrogate pair sent as two halves, and replace halves that stay alone."""
        text, self._high_surrogate = self._high_surrogate + text, ""
        if text and 0xD800 <= ord(text[-1]) <= 0xDBFF:
            text, self._high_surrogate = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def read_choices(value: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices of a chunk or body, or raise InvalidResponse."""
    choices = value.get("choices")
    if choices is None:
        return []
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        raise InvalidResponse("The answer's choices are no list of objects.")
    return choices


def _read_message(choice: dict[str, Any], key: str) -> dict[str, Any]:
    """Return the message or delta of a choice; the text of a completion as one."""
    message = choice.get(key) or choice.get("delta") or choice.get("message")
    if message is None and "text" in choice:
        return {"content": choice["text"]}
    if message is None and key == "delta":
        return {}
    if not isinstance(message, dict):
        raise InvalidResponse("The answer's first choice has no message.")
    return message


def _read_content(content: Any, what: str) -> tuple[str, str]:
    """Return the text and the reasoning of a content: a string or list of parts."""
    if isinstance(content, str):
        return content, ""
    if content is None:
        return "", ""
    if isinstance(content, list):
        pairs = [_read_part(part, what) if isinstance(part, dict) else _read_content(part, what) for part in content]
        return "".join(text for text, _ in pairs), "".join(thought for _, thought in pairs)
    raise InvalidResponse(f"The answer's {what} is neither text nor a list of parts.")


def _read_part(part: dict[str, Any], what: str) -> tuple[str, str]:
    kind = part.get("type")
    if isinstance(kind, str) and kind.startswith(("thinking", "reasoning", "summary")):
        inner = part.get("thinking") or part.get("reasoning") or part.get("text") or part.get("summary")
        return "", "".join(_read_content(inner, what))
    if (inner := part.get("text") or part.get("refusal")) is not None:
        return _read_content(inner, what)
    if isinstance(kind, str) and re.search(r"image|audio|video|file", kind):
        raise UnsupportedFeature(
            f"The answer holds a part of the type {kind[:40]!r}, and only text is read.",
            next_step="Ask for text alone; the vendor's own client reads the rest.",
        )
    return "", ""


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
