"""An answer's bytes as deltas: JSON bodies, event streams, and errors wherever they hide.

One decoder reads one answer: `feed` what arrives, then call `end`. What kind of answer it is, the
content type says, and the first bytes where that is missing or wrong.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic_core import from_json

from openmodels.errors import InvalidResponse, OpenModelsError, StreamInterrupted, UnsupportedFeature
from openmodels.http.decompression import Inflater
from openmodels.http.sse import BOM, Event, SSEDecoder
from openmodels.openai_wire.choices import Choice, listed
from openmodels.output.text_scan import ReasoningTags
from openmodels.types.reply import Delta, Usage

LONGEST_BODY = 64 * 2**20
"""Bytes of a decompressed body at most."""
LONGEST_ERROR = 64 * 2**10
"""Bytes of an error's body that are read; the rest is not looked at."""

_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:")
"""What an event stream begins with."""

Explain = Callable[[bytes | object], OpenModelsError]
"""Turns an error body, or the error object of a stream, into the error to raise."""


class Body:
    """Collects a whole body, decompressed and capped.

    Args:
        status: The HTTP status.
        headers: By lower-case name.
        explain: Makes the error of a failed answer.

    Attributes:
        failed: The status is no success.
        full: Enough of an error's body has been read.
    """

    def __init__(self, status: int, headers: Mapping[str, str], explain: Explain) -> None:
        self.failed = not 200 <= status < 300
        self.full = False
        self._explain = explain
        self._inflater = Inflater(headers.get("content-encoding", ""))
        self._parts: list[bytes] = []
        self._size = 0

    def __bool__(self) -> bool:
        return bool(self._size)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decompresses to, without collecting it."""
        if self.full:
            return
        try:
            yield from self._inflater.feed(data)
        except InvalidResponse:
            if not self.failed:
                raise
            # The status says enough, and what was read of a damaged body is noise.
            self.full, self._parts = True, []

    def feed(self, data: bytes) -> None:
        """Take bytes as they came. Raises InvalidResponse when the body is too large or damaged."""
        for piece in self.pieces(data):
            self.collect(piece)

    def collect(self, piece: bytes) -> None:
        """Take decompressed bytes. Raises InvalidResponse when the body is too large."""
        room = (LONGEST_ERROR if self.failed else LONGEST_BODY) - self._size
        self._size += len(piece)
        if len(piece) > room:
            if not self.failed:
                raise InvalidResponse(f"The answer is larger than {LONGEST_BODY // 2**20} MiB.")
            self.full = True
            piece = piece[: max(room, 0)]
        self._parts.append(piece)

    def end(self) -> bytes:
        """Return the whole body.

        Raises:
            StreamInterrupted: Its compressed data is not whole.
            OpenModelsError: The answer is an error.
        """
        if self.failed:
            raise self._explain(b"".join(self._parts))
        self._inflater.end()
        return b"".join(self._parts)


class Decoder:
    """Reads one answer of a chat or completions endpoint.

    Args:
        status: The HTTP status.
        headers: By lower-case name.
        explain: Makes the error of a failed answer.
        answers: How many answers were asked for.
        likeliest: How many likeliest tokens were asked for at each place; None is no logprobs.
        tags: What stands around reasoning that the server leaves in the text, if it does.

    Attributes:
        finished: A finish reason or the end mark has come: the answer is whole.
        ended: Nothing more will come: the end mark has come, or enough of an error's body.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        explain: Explain,
        *,
        answers: int = 1,
        likeliest: int | None = None,
        tags: tuple[ReasoningTags, ...] = (),
    ) -> None:
        self.finished = False
        self.ended = False
        self._wanted = answers
        self._likeliest = likeliest
        self._tags = tags
        self._explain = explain
        self._body = Body(status, headers, explain)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._events = SSEDecoder() if kind == "text/event-stream" and not self._body.failed else None
        self._sure = self._body.failed or kind in ("text/event-stream", "application/json")
        self._given = False  # whether a delta has been given
        self._choices: dict[int, Choice] = {}
        self._usage: Usage | None = None
        self._model: str | None = None
        self._raw: Any = None
        self._start = b""  # held back until it tells what the answer is

    @property
    def reasoning_name(self) -> str | None:
        """The field in which the server sends the reasoning; None where none has come."""
        names = (choice.reasoning_name for choice in self._choices.values())
        return next((name for name in names if name), None)

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield the deltas that these bytes complete.

        Raises:
            InvalidResponse: The answer is broken, or too large.
            OpenModelsError: The stream holds an error object.
        """
        for piece in self._body.pieces(data):
            if not self._sure:
                piece = self._sniff(piece)  # noqa: PLW2901 - with what was held back
            if self._events is None:
                self._body.collect(piece)
                continue
            for event in self._events.feed(piece):
                yield from self._event(event)
        self.ended = self.ended or self._body.full

    def end(self) -> Iterator[Delta]:
        """Yield what the end of the answer completes, the finish reason among it.

        Raises:
            StreamInterrupted: The stream ends without finish reason or end mark.
            UnsupportedFeature: The server has ignored what it was asked for.
            InvalidResponse: The answer is broken or holds no answer.
            OpenModelsError: The answer is an error.
        """
        if self._events is None:
            self._body.collect(self._start)
            yield from self._whole(self._body.end())
        elif not self.finished:
            for event in self._events.end():
                yield from self._event(event, last=True)
        if not self.finished and not (self._choices and all(choice.reason for choice in self._choices.values())):
            raise self._cut()
        if not self._choices:
            raise InvalidResponse("The stream ended without any answer in it.")
        for _, choice in sorted(self._choices.items()):
            delta = choice.end()
            delta.usage, delta.model, delta.raw = self._usage, self._model, self._raw
            yield delta
        self._check_honoured()

    def lost(self, error: OpenModelsError) -> None:
        """Take the loss of the connection: nothing if the answer is whole, else raise what it means."""
        if self.finished or (self._body.failed and self._body):
            return
        if not self._given or isinstance(error, TimeoutError):
            raise error
        raise StreamInterrupted(
            f"The answer was cut off. {error.cause}", next_step="What arrived is in the error's `partial`."
        ) from error

    def _sniff(self, piece: bytes) -> bytes:
        """Decide by the first bytes whether an unlabelled answer is a stream; give them back once it is clear."""
        start = (self._start + piece).lstrip()
        bom = BOM if start.startswith(BOM) else b""
        bare = start.removeprefix(bom).lstrip()
        self._start = bom + bare
        if BOM.startswith(start) or any(field.startswith(bare) for field in _FIELDS):
            return b""
        self._sure = True
        if bare.startswith(_FIELDS):
            self._events = SSEDecoder()
        start, self._start = self._start, b""
        return start

    def _whole(self, body: bytes) -> Iterator[Delta]:
        value = json_value(body)
        if not isinstance(value, dict):
            raise InvalidResponse(f"The answer is JSON, but {type(value).__name__} where an object was expected.")
        self._raise_error(value)
        if not listed(value):
            raise InvalidResponse("The answer has no choices.")
        yield from self._chunk(value, key="message")
        self.finished = True

    def _event(self, event: Event, *, last: bool = False) -> Iterator[Delta]:
        data = event.data
        if self.ended or not data.strip():
            return
        if data.strip() == b"[DONE]":
            self.finished = self.ended = True
            return
        try:
            value = json_value(data)
        except InvalidResponse:
            if event.name == "error":
                raise self._explain(data) from None
            if last:
                return  # the body ends inside an event: `end` tells it as a cut
            raise
        if event.name == "error":
            raise self._explain(value)
        if isinstance(value, dict):
            self._raise_error(value)
            yield from self._chunk(value, key="delta")

    def _raise_error(self, value: dict[str, Any]) -> None:
        failed = value.get("error") or value.get("object") == "error"
        if failed or ("choices" not in value and {"detail", "message", "errors", "Message"} & value.keys()):
            raise self._explain(value)

    def _chunk(self, value: dict[str, Any], key: str) -> Iterator[Delta]:
        self._raw = value
        if isinstance(model := value.get("model"), str) and model:
            self._model = model
        if (usage := value.get("usage")) is not None:
            self._usage = usage_in(usage) or self._usage
        for at, said in enumerate(listed(value)):
            index = said.get("index")
            index = index if isinstance(index, int) else at
            if not 0 <= index < self._wanted:
                continue
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = Choice(index, self._tags, self._likeliest)
            delta = choice.feed(said, key)
            if choice.reason:
                self.finished = len(self._choices) == self._wanted and all(
                    choice.reason for choice in self._choices.values()
                )
            if delta is not None:
                self._given = True
                delta.model, delta.raw = self._model, value
                yield delta

    def _check_honoured(self) -> None:
        """Tell of an option that the server took and ignored."""
        ignored = None
        if len(self._choices) < self._wanted:
            ignored = f"'n': it gave {len(self._choices)} of {self._wanted} answers"
        elif any(choice.unmeasured for choice in self._choices.values()):
            ignored = "'logprobs': it gave none"
        if ignored:
            raise UnsupportedFeature(
                f"The server ignored the option {ignored}.",
                next_step="Leave it out, or use another server; what arrived is in the error's `partial`.",
            )

    def _cut(self) -> OpenModelsError:
        if self._choices or self._given:
            return StreamInterrupted(
                "The stream ended without a finish reason or end mark: the answer is cut off.",
                next_step="What arrived is in the error's `partial`; ask again for the whole.",
            )
        return InvalidResponse("The stream ended without any answer in it: it is empty, or no event stream.")


def models(body: bytes) -> list[str]:
    """Return the ids that a `/models` endpoint lists.

    Raises:
        InvalidResponse: The body is no such list.
    """
    value = json_value(body)
    rows = value.get("data", value.get("models")) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise InvalidResponse("The server's list of models has an unknown shape.")
    names = (row.get("id") or row.get("name") for row in rows if isinstance(row, dict))
    return [name for name in names if isinstance(name, str) and name]


def json_value(data: bytes) -> Any:
    """Return the value that a body or an event holds. Raises InvalidResponse when it is no JSON."""
    try:
        return from_json(data)
    except ValueError:
        pass  # the slower reader below decides
    if not data.strip():
        raise InvalidResponse("The answer is empty.")
    # Slower, but it takes what servers really send: a BOM, half a surrogate pair, NaN.
    try:
        return json.loads(data.decode("utf-8-sig"), parse_int=_integer)
    except UnicodeDecodeError:
        raise InvalidResponse("The answer is not UTF-8.") from None
    except RecursionError:
        raise InvalidResponse("The answer's JSON is nested too deeply.") from None
    except ValueError as error:
        page = data.lstrip()[:1] == b"<"
        where = f"character {error.pos}" if isinstance(error, json.JSONDecodeError) else "a number"
        what = "an HTML page where JSON was expected" if page else f"no valid JSON (at {where})"
        raise InvalidResponse(
            f"The answer is {what}.", next_step="Check that `base_url` is the address of an OpenAI-compatible API."
        ) from None


def _integer(digits: str) -> float:
    # Python refuses to read integers of more digits than this, for their cost.
    return int(digits) if len(digits) <= 4300 else math.inf


def usage_in(value: Any) -> Usage | None:
    """Return the tokens that a `usage` object counts, or None if it is no object."""
    if not isinstance(value, dict):
        return None
    return Usage(
        input_tokens=_count(value, "prompt_tokens"),
        output_tokens=_count(value, "completion_tokens"),
        cached_tokens=_count(value.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_count(value.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _count(value: Any, name: str) -> int | None:
    number = value.get(name) if isinstance(value, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None
