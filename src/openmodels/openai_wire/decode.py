"""From the bytes of a response to deltas: JSON bodies and event streams.

A decoder reads one response: `feed` what arrives, then call `finish`. The content type decides what kind of
response it is, and the first bytes where that is missing or wrong.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from pydantic_core import from_json
from typing_extensions import override

from openmodels import errors
from openmodels.http.messages import BodyCollector
from openmodels.http.sse import BOM, Event, SSEDecoder
from openmodels.openai_wire.choices import ChoiceDecoder, read_choices
from openmodels.output.text_scan import ReasoningTags
from openmodels.types.reply import Delta, Usage

LONGEST_BODY = 64 * 2**20  # bytes of a decompressed body at most
LONGEST_ERROR = 64 * 2**10  # bytes of an error's body that are read; the rest is not looked at

_FIELDS = (b"data:", b":", b"event:", b"id:", b"retry:")  # what an event stream begins with

TranslateError = Callable[[bytes | object], errors.OpenModelsError]
"""Turns an error body, or the error object of a stream, into the error to raise."""


class ResponseBody(BodyCollector):
    """Collects a response body, of an error as much as is looked at.

    As a context it ends quietly where the connection is lost in an error's body: the status says enough.
    """

    def __init__(self, status: int, headers: Mapping[str, str], translate_error: TranslateError) -> None:
        self.is_error = not 200 <= status < 300  # whether the status is an error
        self.translate_error = translate_error  # makes the error of a failed response
        longest = LONGEST_ERROR if self.is_error else LONGEST_BODY
        super().__init__(headers.get("content-encoding", ""), longest, truncate=self.is_error)

    def __bool__(self) -> bool:
        return bool(self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        return isinstance(error, errors.ConnectionFailed | errors.DeadlineExceeded) and self.is_error and bool(self)

    @override
    def decompress(self, data: bytes) -> Iterator[bytes]:
        if self.is_full:
            return
        try:
            yield from super().decompress(data)
        except errors.InvalidResponse:
            if not self.is_error:
                raise
            # The status says enough, and what was read of a damaged body is noise.
            self.is_full, self._pieces = True, []

    def finish(self) -> bytes:
        """Return the body, or raise the error that the response is."""
        if self.is_error:
            raise self.translate_error(b"".join(self._pieces)[:LONGEST_ERROR])
        return self.end()


class ChatDecoder:
    """Decodes one response of a chat or completions endpoint.

    `answers` were asked for, with `top_logprobs` likeliest tokens at each place (None is without logprobs). `tags`
    stand around reasoning that the server leaves in the text.
    """

    def __init__(
        self,
        status: int,
        headers: Mapping[str, str],
        translate_error: TranslateError,
        *,
        answers: int = 1,
        top_logprobs: int | None = None,
        tags: tuple[ReasoningTags, ...] = (),
    ) -> None:
        self.has_begun = False  # whether a delta has been given
        self.is_complete = False  # whether a finish reason of every answer, or the end mark, has come
        self.is_ended = False  # whether nothing more can come: after the end mark, or enough of an error's body
        self._answers = answers
        self._top_logprobs = top_logprobs
        self._tags = tags
        self._body = ResponseBody(status, headers, translate_error)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._events = SSEDecoder() if kind == "text/event-stream" and not self._body.is_error else None
        self._is_kind_known = self._body.is_error or kind in ("text/event-stream", "application/json")
        self._choices: dict[int, ChoiceDecoder] = {}
        self._usage: Usage | None = None
        self._model: str | None = None
        self._raw: Any = None
        self._start = b""  # held back until it decides what kind of response this is

    @property
    def reasoning_field(self) -> str | None:
        """The field in which the server sends the reasoning; None where none has come."""
        names = (choice.reasoning_field for choice in self._choices.values())
        return next((name for name in names if name), None)

    def feed(self, data: bytes) -> Iterator[Delta]:
        """Yield the deltas that these bytes complete, or raise the error that they hold."""
        for chunk in self._body.decompress(data):
            if not self._is_kind_known:
                chunk = self._sniff(chunk)  # noqa: PLW2901 - with what was held back
            if self._events is None:
                self._body.collect(chunk)
                continue
            for event in self._events.feed(chunk):
                yield from self._read_event(event)
        self.is_ended = self.is_ended or self._body.is_full

    def finish(self) -> Iterator[Delta]:
        """Yield what the end of the response completes, the finish reasons included.

        Raises:
            StreamInterrupted: The stream ends without finish reason or end mark.
            UnsupportedFeature: The server has ignored an option.
            InvalidResponse: The response is broken or holds no answer.
            OpenModelsError: The response is an error.
        """
        if self._events is None:
            self._body.collect(self._start)
            yield from self._read_body(self._body.finish())
        elif not self.is_complete:
            for event in self._events.end():
                yield from self._read_event(event, last=True)
        if not self.is_complete and not (self._choices and all(choice.reason for choice in self._choices.values())):
            raise self._interrupted()
        if not self._choices:
            raise errors.InvalidResponse("The stream ended without any answer in it.")
        self.has_begun = True
        for _, choice in sorted(self._choices.items()):
            yield choice.finish(self._usage, self._model, self._raw)
        self._check_honoured()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """End quietly where a connection is lost behind all that counts."""
        if not isinstance(error, errors.ConnectionFailed | errors.DeadlineExceeded):
            return False
        if self.is_complete or (self._body.is_error and self._body):
            return True
        if not self.has_begun or isinstance(error, TimeoutError):
            return False
        raise errors.StreamInterrupted(
            f"The answer was cut off. {error.cause}", next_step="What arrived is in the error's `partial`."
        ) from error

    def _sniff(self, chunk: bytes) -> bytes:
        """Decide by the first bytes what the response is; return them once it is."""
        start = (self._start + chunk).lstrip()
        bom = BOM if start.startswith(BOM) else b""
        stripped = start.removeprefix(bom).lstrip()
        self._start = bom + stripped
        if BOM.startswith(start) or any(field.startswith(stripped) for field in _FIELDS):
            return b""
        self._is_kind_known = True
        if stripped.startswith(_FIELDS):
            self._events = SSEDecoder()
        start, self._start = self._start, b""
        return start

    def _read_body(self, body: bytes) -> list[Delta]:
        value = json_object(body)
        self._raise_error(value)
        if not read_choices(value):
            raise errors.InvalidResponse("The answer has no choices.")
        deltas = self._read_chunk(value, key="message")
        self.is_complete = True
        return deltas

    def _read_event(self, event: Event, *, last: bool = False) -> Sequence[Delta]:
        data = event.data.strip()
        if self.is_ended or not data:
            return ()
        if data == b"[DONE]":
            self.is_complete = self.is_ended = True
            return ()
        try:
            value = json_value(event.data)
        except errors.InvalidResponse:
            if event.name == "error":
                raise self._body.translate_error(event.data) from None
            if last:
                return ()  # the body ends inside an event: `finish` reports the cut
            raise
        if event.name == "error":
            raise self._body.translate_error(value)
        if not isinstance(value, dict):
            return ()
        self._raise_error(value)
        return self._read_chunk(value, key="delta")

    def _raise_error(self, value: dict[str, Any]) -> None:
        is_error = value.get("error") or value.get("object") == "error"
        if is_error or ("choices" not in value and {"detail", "message", "errors", "Message"} & value.keys()):
            raise self._body.translate_error(value)

    def _read_chunk(self, value: dict[str, Any], key: str) -> list[Delta]:
        self._raw = value
        if isinstance(model := value.get("model"), str) and model:
            self._model = model
        if (usage := value.get("usage")) is not None:
            self._usage = read_usage(usage) or self._usage
        deltas = []
        for position, fields in enumerate(read_choices(value)):
            index = fields.get("index")
            index = index if isinstance(index, int) else position
            if not 0 <= index < self._answers:
                continue
            choice = self._choices.get(index)
            if choice is None:
                choice = self._choices[index] = ChoiceDecoder(index, self._tags, self._top_logprobs)
            delta = choice.feed(fields, key, self._model, value)
            if choice.reason:
                self.is_complete = len(self._choices) == self._answers and all(
                    choice.reason for choice in self._choices.values()
                )
            if delta is not None:
                self.has_begun = True
                deltas.append(delta)
        return deltas

    def _check_honoured(self) -> None:
        """Raise UnsupportedFeature for an option that the server took and ignored."""
        ignored = None
        if len(self._choices) < self._answers:
            ignored = f"'n': it gave {len(self._choices)} of {self._answers} answers"
        elif any(choice.lacks_logprobs for choice in self._choices.values()):
            ignored = "'logprobs': it gave none"
        if ignored:
            raise errors.UnsupportedFeature(
                f"The server ignored the option {ignored}.",
                next_step="Leave it out, or use another server; what arrived is in the error's `partial`.",
            )

    def _interrupted(self) -> errors.OpenModelsError:
        if self._choices or self.has_begun:
            return errors.StreamInterrupted(
                "The stream ended without a finish reason or end mark: the answer is cut off.",
                next_step="What arrived is in the error's `partial`; ask again for the whole.",
            )
        return errors.InvalidResponse("The stream ended without any answer in it: it is empty, or no event stream.")


def read_models(body: bytes) -> list[str]:
    """Return the ids that a `/models` endpoint lists."""
    value = json_value(body)
    rows = value.get("data", value.get("models")) if isinstance(value, dict) else value
    if not isinstance(rows, list):
        raise errors.InvalidResponse("The server's list of models has an unknown shape.")
    names = (row.get("id") or row.get("name") for row in rows if isinstance(row, dict))
    return [name for name in names if isinstance(name, str) and name]


def read_rows(value: Any, names: Sequence[str], translate_error: TranslateError) -> list[Any]:
    """Return the list that an answer is, or holds under the first of some names."""
    rows = value
    if isinstance(value, dict):
        name = next((name for name in names if name in value), None)
        if value.get("error") or name is None:
            if {"error", "detail", "message"} & value.keys():
                raise translate_error(value)
            raise errors.InvalidResponse(f"The answer has no {names[0]}.")
        rows = value[name]
    if not isinstance(rows, list):
        raise errors.InvalidResponse(f"The answer's {names[0]} are no list of objects.")
    return rows


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a body. Raises InvalidResponse for any other."""
    value = json_value(body)
    if not isinstance(value, dict):
        raise errors.InvalidResponse(f"The answer is JSON, but {type(value).__name__} where an object was expected.")
    return value


def json_value(data: bytes) -> Any:
    """Return the JSON value of a body or an event, or raise InvalidResponse."""
    try:
        return from_json(data)
    except ValueError:
        pass  # the slower reader below decides
    if not data.strip():
        raise errors.InvalidResponse("The answer is empty.")
    # Slower, but it takes what servers really send: a BOM, half a surrogate pair, NaN.
    try:
        return json.loads(data.decode("utf-8-sig"), parse_int=_parse_integer)
    except UnicodeDecodeError:
        raise errors.InvalidResponse("The answer is not UTF-8.") from None
    except RecursionError:
        raise errors.InvalidResponse("The answer's JSON is nested too deeply.") from None
    except ValueError as error:
        page = data.lstrip()[:1] == b"<"
        where = f"character {error.pos}" if isinstance(error, json.JSONDecodeError) else "a number"
        what = "an HTML page where JSON was expected" if page else f"no valid JSON (at {where})"
        raise errors.InvalidResponse(
            f"The answer is {what}.", next_step="Check that `base_url` is the address of an OpenAI-compatible API."
        ) from None


def _parse_integer(digits: str) -> float:
    # Python refuses to read integers of more digits than this, for their cost.
    return int(digits) if len(digits) <= 4300 else math.inf


def read_model_and_usage(value: Any) -> tuple[str | None, Usage]:
    """Return the model's name and the tokens that an answer gives."""
    fields = value if isinstance(value, dict) else {}
    model = fields.get("model")
    return model if isinstance(model, str) and model else None, read_usage(fields.get("usage")) or Usage()


def read_usage(value: Any) -> Usage | None:
    """Return the tokens that a `usage` object counts, or None for any other value."""
    if not isinstance(value, dict):
        return None
    return Usage(
        input_tokens=_read_count(value, "prompt_tokens"),
        output_tokens=_read_count(value, "completion_tokens"),
        cached_tokens=_read_count(value.get("prompt_tokens_details"), "cached_tokens"),
        reasoning_tokens=_read_count(value.get("completion_tokens_details"), "reasoning_tokens"),
    )


def _read_count(value: Any, name: str) -> int | None:
    number = value.get(name) if isinstance(value, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) and number >= 0 else None
