"""One request and its answer, within limits; a client that leaves is noticed."""

import asyncio
import logging
import re
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic_core import from_json
from starlette.types import Receive, Scope, Send

from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.serve.failures import EncodeFailure, ErrorAnswer, Refusal, describe, to_json
from openmodels.serve.keys import ApiKey
from openmodels.types.reply import Usage

LOG = logging.getLogger("openmodels.serve")
CLIENT_LEFT = 499
"""The status in logs and metrics of a request whose client left before the answer."""

_LONGEST_NOTE = 2000  # characters of a header that names fields
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]


class ClientLeft(Exception):
    """The client has closed the connection, or does not read what it asked for."""


@dataclass(frozen=True)
class RequestLimits:
    """What one request may take.

    Attributes:
        body_bytes: Bytes of its body.
        body_seconds: Seconds until its body has come.
        send_seconds: Seconds that a client may leave a part of the answer unread.
    """

    body_bytes: int = 32 * 2**20
    body_seconds: float = 30.0
    send_seconds: float = 120.0


class HttpExchange:
    """A request, and what is sent as its answer.

    Attributes:
        key: The key of the client.
        model: The name of the model that it asks, once that is known.
        status: The status that was sent; 0 before.
        usage: What the call consumed, once that is known.
        cost: US dollars that it cost, once that is known.
        ignored: The fields of the request that change nothing; a header of the answer names them.
        notes: Other headers of the answer.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        limits: RequestLimits,
        encode_failure: EncodeFailure,
        *,
        validation_status: int = 400,
    ) -> None:
        self.scope = scope
        self.id = f"req_{uuid4().hex}"
        self.began = time.perf_counter()
        self.first_byte: float | None = None
        self.key: ApiKey = scope["openmodels.key"]
        self.model = ""
        self.status = 0
        self.usage: Usage | None = None
        self.cost: float | None = None
        self.ignored: list[str] = []
        self.notes: dict[str, str] = {}
        self._receive = receive
        self._send_message = send
        self._limits = limits
        self._encode_failure = encode_failure
        self._validation_status = validation_status
        self._is_complete = False
        self._reserved: int | None = None

    def reserve(self, tokens: int) -> None:
        """Set tokens of the key's budget aside.

        Raises:
            Refusal: The budgets do not allow it.
        """
        self.key.reserve(tokens)
        self._reserved = tokens

    def settle(self, usage: Usage | None = None, cost: float | None = None) -> None:
        """Book what the call has consumed, once and before its answer ends."""
        if self._reserved is not None:
            self.usage, self.cost = usage, cost
            self.key.settle(self._reserved, usage, cost)
            self._reserved = None

    async def read_json(self) -> Any:
        """Return the JSON value of the body.

        Raises:
            Refusal: The body is too large, too slow or compressed.
            InvalidRequest: It is not JSON.
            ClientLeft: It has not come to its end.
        """
        body = await self._read_body()
        try:
            return from_json(body, allow_inf_nan=False)
        except ValueError as error:
            # The parser's message has a place in the text and nothing of the text itself.
            reason = str(error) if body.strip() else "it is empty"
            raise InvalidRequest(f"The body is not JSON: {reason}.", next_step="Send a JSON object.") from None

    async def _read_body(self) -> bytes:
        headers: dict[bytes, bytes] = dict(self.scope["headers"])
        if headers.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Refusal(415, "unsupported_encoding", "The body is compressed.", next_step="Send it as it is.")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limits.body_bytes:
            raise self._too_large()
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientLeft
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > self._limits.body_bytes:
                        raise self._too_large()
                    more = message.get("more_body", False)
        except TimeoutError:
            cause = f"The body has not come within {self._limits.body_seconds:g} seconds."
            raise Refusal(408, "body_timeout", cause) from None
        return b"".join(parts)

    def _too_large(self) -> Refusal:
        cause = f"The body is larger than {self._limits.body_bytes} bytes, which is the limit."
        return Refusal(413, "request_too_large", cause, next_step="Send less; scale images down.")

    @asynccontextmanager
    async def cancelled_with_client(self) -> AsyncGenerator[None, None]:
        """Run the block, and cancel it when the client leaves.

        Raises:
            ClientLeft: The client has left.
        """
        task = asyncio.current_task()
        has_left = False

        async def watch() -> None:
            nonlocal has_left
            while (await self._receive())["type"] != "http.disconnect":
                pass
            if task is not None and not self._is_complete:
                has_left = True
                task.cancel()

        watcher = asyncio.create_task(watch())
        try:
            yield
        except asyncio.CancelledError:
            if has_left and task is not None and not task.uncancel():
                raise ClientLeft from None
            raise
        finally:
            watcher.cancel()

    async def send_json(self, value: Any, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """Send a JSON value as the whole answer."""
        await self.send_bytes(to_json(value), status, [*_JSON, *headers])

    async def send_bytes(self, body: bytes, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send bytes as the whole answer."""
        await self._start(status, [*headers, (b"content-length", str(len(body)).encode())])
        self._is_complete = True
        await self._send({"type": "http.response.body", "body": body})

    async def send_events(self, events: AsyncIterator[bytes]) -> None:
        """Send events as they come; the answer begins with the first.

        Raises:
            OpenModelsError: What the events raise before the first; later it is the last event of the answer.
        """
        first = await anext(events, b"")
        await self._start(200, _EVENTS)
        self.first_byte = time.perf_counter()
        await self._send({"type": "http.response.body", "body": first, "more_body": True})
        async for event in events:
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
        self._is_complete = True
        await self._send({"type": "http.response.body", "body": b""})

    async def send_error(self, error: BaseException) -> None:
        """Send an error as the whole answer, where none has begun."""
        failure = describe(error)
        if failure.status == 400:
            failure = failure._replace(status=self._validation_status)
        if failure.status >= 500 and not isinstance(error, OpenModelsError):
            log_failure(error)
        if self.status:
            return
        headers = [*failure.headers, *([(b"connection", b"close")] if failure.status in (408, 413) else [])]
        await self.send_json(self.encode_failure(failure), failure.status, headers)

    def encode_failure(self, failure: ErrorAnswer) -> dict[str, Any]:
        """Return the body of a failure in the shape of the wire."""
        return self._encode_failure(failure)

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        headers = [*headers, (b"x-request-id", self.id.encode()), (b"x-content-type-options", b"nosniff")]
        headers += [(name.encode(), value.encode()) for name, value in self.notes.items()]
        if self.ignored:
            # The names are the client's: what could end a header is replaced.
            names = re.sub(r"[^ -~]", "?", ", ".join(self.ignored))[:_LONGEST_NOTE]
            headers.append((b"openmodels-ignored", names.encode()))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._limits.send_seconds):
                await self._send_message(message)
        except (TimeoutError, OSError):
            raise ClientLeft from None


def log_failure(error: BaseException) -> None:
    """Log an error of the server itself: its class and places, not what it says.

    Its text might quote a prompt.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames[-8:]))
    LOG.error("%s at %s", type(error).__name__, places)
