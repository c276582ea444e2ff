"""A chat session on a terminal: history, commands, and answers that Ctrl-C stops."""

import difflib
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

from openmodels import settings
from openmodels.cli import output
from openmodels.conversation import Conversation
from openmodels.core.stream import Stream
from openmodels.errors import OpenModelsError
from openmodels.model import Model
from openmodels.types.options import CallOptions

_PROMPT = "> "
_EXITS = frozenset(("exit", "quit", "/quit", "/bye"))
"""Lines that end a session beside /exit, as in other programs that read lines."""

_NOTES: dict[str | None, str] = {
    "length": "the answer was cut at its length limit; --max-tokens N raises it, 0 lifts it.",
    "repetition": "the answer repeated itself over and over and was ended; ask in other words or a larger model, "
    "or let it continue with -o repetition_stop=false.",
    "content_filter": "a content filter ended the answer.",
}
"""What to say of an answer by its finish reason."""


def write_answer(stream: Stream) -> None:
    """Write a streamed answer, or what arrived of it, to stdout; notes to stderr."""
    last = "\n"
    try:
        for delta in stream:
            if delta.text:
                output.write(delta.text)
                last = delta.text[-1]
    finally:
        if last != "\n":
            output.write("\n")
    reply = stream.reply
    if note := _NOTES.get(reply.finish_reason, "" if reply.text else "the answer is empty."):
        output.note(f"note: {note}")


class ChatSession:
    """Reads lines from the terminal, answers them, and runs commands.

    `backend_options` are for a model of the same backend that `/model` changes to; `opener` opens it.
    """

    def __init__(
        self,
        model: Model,
        *,
        system: str | None,
        options: CallOptions,
        backend_options: Mapping[str, str],
        opener: Callable[[str, Mapping[str, str]], Model],
    ) -> None:
        self._open = opener
        self._conversation = Conversation(model, system=system)
        self._options = options
        self._backend_options = backend_options
        self._commands: dict[str, tuple[str, str, Callable[[str], None]]] = {
            "model": ("[REF]", "continue with another model, or show the current one", self._model),
            "system": ("[TEXT]", "set the instruction; without TEXT, remove it", self._system),
            "save": ("FILE", "write the conversation to a JSON file", self._save),
            "load": ("FILE", "continue a saved conversation", self._load),
            "clear": ("", "forget the conversation; the instruction stays", self._clear),
            "help": ("", "show this", self._help),
            "exit": ("", "end the session, as Ctrl-D and the word exit do", self._exit),
        }

    def run(self) -> None:
        """Answer lines until /exit; only an error in loading the model is raised."""
        with suppress(ImportError):
            import readline  # noqa: F401 - importing it gives input() line editing and history
        output.note(f"{self._conversation.model.reference}: loading …", dim=True)
        self._conversation.model.load()
        output.note("Ready. /help shows the commands, Ctrl-C stops an answer, Ctrl-D ends the session.", dim=True)
        try:
            while True:
                self._turn()
        except EOFError:
            output.note("")
        finally:
            self._conversation.model.close()

    def _turn(self) -> None:
        try:
            line = _read()
        except KeyboardInterrupt:
            output.note("\n(Ctrl-D or /exit ends the session.)", dim=True)
            return
        try:
            if line.rstrip() in _EXITS:
                self._exit("")
            elif line.startswith("/"):
                self._run_command(line)
            elif line.strip():
                self._answer(line.strip())
        except KeyboardInterrupt:
            output.note("(Stopped; this turn is forgotten.)", dim=True)
        except OpenModelsError as error:
            output.show_error(error)

    def _answer(self, prompt: str) -> None:
        with self._conversation.stream(prompt, **self._options) as stream:
            write_answer(stream)

    def _run_command(self, line: str) -> None:
        name, _, argument = line[1:].partition(" ")
        if name not in self._commands:
            near = difflib.get_close_matches(name, self._commands, n=1)
            hint = f"Did you mean /{near[0]}?" if near else "/help shows the commands."
            output.note(
                f"There is no command /{name}. {hint} To send a line that begins with /, put a space before it."
            )
            return
        usage, _, action = self._commands[name]
        argument = argument.strip()
        if bool(argument) < (usage == "FILE") or (argument and not usage):
            output.note(f"usage: /{name} {usage}".rstrip())
            return
        try:
            action(argument)
        except OSError as error:
            output.note(f"error: {argument}: {error.strerror or error}", fg="red")

    def _model(self, reference: str) -> None:
        old = self._conversation.model
        if reference:
            same = reference.partition(":")[0] == old.reference.partition(":")[0]
            new = self._open(reference, self._backend_options if same else {})
            # Two models at once may not fit; the old one opens again if the new one fails.
            old.close()
            output.note(f"{new.reference}: loading …", dim=True)
            self._conversation.model = new.load()
        output.note(f"The model is {self._conversation.model.reference}.")

    def _system(self, text: str) -> None:
        self._conversation.system = text or None
        output.note("The instruction is set." if text else "There is no instruction.")

    def _save(self, file: str) -> None:
        self._conversation.save(file)
        output.note(f"Saved {len(self._conversation.messages)} messages to {file}.")

    def _load(self, file: str) -> None:
        self._conversation = Conversation.restore(file, self._conversation.model)
        output.note(f"Loaded {len(self._conversation.messages)} messages from {file}.")

    def _clear(self, _: str) -> None:
        self._conversation.messages.clear()
        output.note("The conversation is forgotten.")

    def _help(self, _: str) -> None:
        for name, (usage, summary, _action) in self._commands.items():
            output.note(f"  {f'/{name} {usage}':<16}{summary}")
        output.note(f"  {settings.DEFAULT_MODEL} is the default model.")

    def _exit(self, _: str) -> None:
        raise EOFError


def _read() -> str:
    if sys.stdout.isatty():
        return input(_PROMPT)
    # stdout is for answers alone, and input() would write its prompt there.
    sys.stderr.write(_PROMPT)
    sys.stderr.flush()
    return input()
