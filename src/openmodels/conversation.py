"""`Conversation`: a talk with history, whose model can be swapped in the middle."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import Unpack

from openmodels.errors import InvalidRequest
from openmodels.model import Model
from openmodels.stream import AsyncStream, Stream
from openmodels.types import CallOptions, Message, Reply

_HISTORY = TypeAdapter(list[Message], config=ConfigDict(hide_input_in_errors=True))


class Conversation:
    """A talk: every `send` adds the message and the whole answer to the history.

    A call that fails or is left early changes nothing, so the same message can be sent again.

    Args:
        model: Who answers; assign to `conversation.model` to go on with another one.
        system: The instruction at the start, or None.

    Attributes:
        model: The model that answers next.
        system: The instruction, or None; assign to change it for the next answer.
        messages: The turns so far, without the instruction.
    """

    def __init__(self, model: Model, *, system: str | None = None) -> None:
        self.model = model
        self.system = system
        self.messages: list[Message] = []

    def __repr__(self) -> str:
        return f"<Conversation with {self.model.reference}, {len(self.messages)} messages>"

    def send(self, content: str | Message, **options: Unpack[CallOptions]) -> Reply:
        """Say something and return the answer.

        Raises:
            OpenModelsError: As for `Model.chat`; the history stays as it was.
        """
        turn = _turn(content)
        reply = self.model.chat(self._prompt(turn), **options)
        self._keep(turn, reply)
        return reply

    @contextmanager
    def stream(self, content: str | Message, **options: Unpack[CallOptions]) -> Iterator[Stream]:
        """Say something and stream the answer, in a `with` block.

        Raises:
            OpenModelsError: As for `Model.stream`; the history stays as it was.
        """
        turn = _turn(content)
        with self.model.stream(self._prompt(turn), **options) as stream:
            yield stream
        if stream.finished:
            self._keep(turn, stream.reply)

    async def asend(self, content: str | Message, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `send`.

        Raises:
            OpenModelsError: As for `send`.
        """
        turn = _turn(content)
        reply = await self.model.achat(self._prompt(turn), **options)
        self._keep(turn, reply)
        return reply

    @asynccontextmanager
    async def astream(self, content: str | Message, **options: Unpack[CallOptions]) -> AsyncIterator[AsyncStream]:
        """The asynchronous twin of `stream`.

        Raises:
            OpenModelsError: As for `stream`.
        """
        turn = _turn(content)
        async with self.model.astream(self._prompt(turn), **options) as stream:
            yield stream
        if stream.finished:
            self._keep(turn, stream.reply)

    def save(self, path: str | Path) -> None:
        """Write the talk to a JSON file: the instruction and the messages.

        Raises:
            OSError: The file cannot be written.
        """
        turns = _HISTORY.dump_python(self.messages, mode="json", exclude_defaults=True)
        text = json.dumps({"system": self.system, "messages": turns}, ensure_ascii=False, indent=1)
        # Encoded before the file is opened: what cannot be written must not empty an older file.
        Path(path).write_bytes((text + "\n").encode())

    @classmethod
    def restore(cls, path: str | Path, model: Model) -> Self:
        """Return the talk that `save` wrote.

        Raises:
            OSError: The file cannot be read.
            InvalidRequest: It is not such a file.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            talk = cls(model, system=data["system"])
            talk.messages = _HISTORY.validate_python(data["messages"])
        except (ValidationError, ValueError, KeyError, TypeError) as error:
            raise InvalidRequest(f"{path} is no saved conversation: {error}") from error
        return talk

    def _prompt(self, turn: Message) -> list[Message | dict[str, Any]]:
        # A dict: the model checks it with the rest of the request and raises InvalidRequest.
        start = [{"role": "system", "content": self.system}] if self.system is not None else []
        return [*start, *self.messages, turn]

    def _keep(self, turn: Message, reply: Reply) -> None:
        self.messages.append(turn)
        if reply.text or reply.tool_calls:
            self.messages.append(reply.message)


def _turn(content: str | Message) -> Message:
    if isinstance(content, Message):
        return content
    try:
        return Message(role="user", content=content)
    except ValidationError as error:
        raise InvalidRequest(f"content: {error.errors()[0]['msg'].removeprefix('Value error, ')}.") from error
