"""`Conversation`: a chat with history, whose model can be swapped in the middle."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

from pydantic import ValidationError
from typing_extensions import Unpack

from openmodels import files
from openmodels.core.stream import AsyncStream, Stream
from openmodels.errors import ErrorBoundary, InvalidRequest
from openmodels.model import Model
from openmodels.output import schema
from openmodels.types.messages import Frozen, Message, Text
from openmodels.types.options import CallOptions
from openmodels.types.reply import Reply


class _SavedConversation(Frozen):
    system: Text | None
    messages: list[Message]


class Conversation:
    """A chat with history: every `send` adds the message and the complete answer.

    A call that fails, is left early or gets an empty answer leaves the history unchanged, so the same message
    can be sent again.

    Args:
        model: The model, or its reference; assign to `conversation.model` to continue with another one.
        system: The instruction at the start, or None.

    Attributes:
        system: The instruction, or None; assign to change it for the next answer.
        messages: The turns so far, without the instruction.
    """

    def __init__(self, model: Model | str, *, system: str | None = None) -> None:
        self.model = model
        self.system = system
        self.messages: list[Message] = []

    @property
    def model(self) -> Model:
        """The model that answers next."""
        return self._model

    @model.setter
    def model(self, model: Model | str) -> None:
        self._model = model if isinstance(model, Model) else Model(model)

    def __repr__(self) -> str:
        return f"<Conversation with {self.model.reference}, {len(self.messages)} messages>"

    @ErrorBoundary()
    def send(self, content: str | Message, **options: Unpack[CallOptions]) -> Reply:
        """Send a message and return the answer.

        Raises:
            OpenModelsError: As for `Model.chat`; the history stays as it was.
        """
        turn = _make_message(content)
        reply = self.model.chat(self._prompt(turn), **options)
        self._append(turn, reply)
        return reply

    @contextmanager
    def stream(self, content: str | Message, **options: Unpack[CallOptions]) -> Iterator[Stream]:
        """Send a message and stream the answer, in a `with` block.

        Raises:
            OpenModelsError: As for `Model.stream`; the history stays as it was.
        """
        turn = _make_message(content)
        with ErrorBoundary(), self.model.stream(self._prompt(turn), **options) as stream:
            yield stream
        if stream.finished:
            self._append(turn, stream.reply)

    async def asend(self, content: str | Message, **options: Unpack[CallOptions]) -> Reply:
        """The asynchronous twin of `send`. Raises: what `send` does."""
        turn = _make_message(content)
        with ErrorBoundary():
            reply = await self.model.achat(self._prompt(turn), **options)
        self._append(turn, reply)
        return reply

    @asynccontextmanager
    async def astream(self, content: str | Message, **options: Unpack[CallOptions]) -> AsyncIterator[AsyncStream]:
        """The asynchronous twin of `stream`. Raises: what `stream` does."""
        turn = _make_message(content)
        with ErrorBoundary():
            async with self.model.astream(self._prompt(turn), **options) as stream:
                yield stream
        if stream.finished:
            self._append(turn, stream.reply)

    @ErrorBoundary()
    def save(self, path: str | Path) -> None:
        """Write instruction and messages to a JSON file that only the user may read.

        Raises:
            WriteFailed: The file cannot be written; a conversation saved there before is unchanged.
            InvalidRequest: The instruction is not a text; the file stays as it was.
        """
        try:
            saved = _SavedConversation(system=self.system, messages=self.messages)
        except ValidationError as error:
            raise InvalidRequest(f"The conversation cannot be saved: {schema.describe_errors(error)}") from error
        files.write_atomically(path, saved.model_dump_json(indent=1, exclude_defaults=True) + "\n", private=True)

    @classmethod
    @ErrorBoundary()
    def restore(cls, path: str | Path, model: Model | str) -> Self:
        """Return the conversation that `save` wrote.

        Raises:
            OSError: The file cannot be read.
            InvalidRequest: It is not such a file.
        """
        file = Path(path)
        # A device may have no end, and a pipe is waited for. No file has a NUL in its name.
        if not file.is_file() and (file.exists() or "\0" in str(file)):
            raise InvalidRequest(f"{str(file)!r} is not a plain file.")
        try:
            saved = _SavedConversation.model_validate_json(file.read_bytes())
        except ValidationError as error:
            raise InvalidRequest(f"{path} is no saved conversation: {schema.describe_errors(error)}") from error
        conversation = cls(model, system=saved.system)
        conversation.messages = saved.messages
        return conversation

    def _prompt(self, turn: Message) -> list[Message | dict[str, Any]]:
        # A dict: the model checks it with the rest of the request and raises InvalidRequest.
        start = [{"role": "system", "content": self.system}] if self.system is not None else []
        return [*start, *self.messages, turn]

    def _append(self, turn: Message, reply: Reply) -> None:
        # Two turns of the user in a row are refused by many chat templates, and so are empty ones.
        if reply.text or reply.tool_calls:
            self.messages += [turn, reply.message]


def _make_message(content: str | Message) -> Message:
    if isinstance(content, Message):
        return content
    try:
        return Message(role="user", content=content)
    except ValidationError as error:
        raise InvalidRequest(schema.describe_errors(error)) from error
