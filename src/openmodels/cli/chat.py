"""`openmodels chat`: one question and its answer, or a chat session."""

import difflib
import json
import select
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any, BinaryIO

import click

from openmodels import settings
from openmodels.backends import registry
from openmodels.cli import output
from openmodels.conversation import Conversation
from openmodels.core.stream import Stream
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.images import Image
from openmodels.model import Model
from openmodels.settings import DEFAULT_MODEL
from openmodels.types.options import CallOptions

STDIN_TIMEOUT = 3.0  # seconds to wait for the first byte on standard input when a prompt was given as well

MAX_TOKENS = 2048
"""The longest answer where the caller does not say: a model that cannot end would write until its context is full."""


def read_backend_options(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, str]:
    """Return the options of a backend that were given as KEY=VALUE, as text."""
    options: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{pair!r} is not KEY=VALUE.")
        if name in {"reference", "timeout", "max_retries"}:
            raise click.BadParameter(f"{name!r} is no backend option.")
        options[name] = value
    return options


def open_model(reference: str, backend_options: Mapping[str, str]) -> Model:
    """Return the model of a reference, its backend's options read by their types.

    A key, an address or a revision stays the text it is, even where it looks like a number; any
    other value is read as JSON where it can be.
    """
    try:
        backend = registry.find(reference.strip().partition(":")[0])
    except OpenModelsError:
        return Model(reference)  # which says what is wrong
    parameters = registry.list_parameters(backend)
    options: dict[str, Any] = dict(backend_options)
    for name, value in backend_options.items():
        annotation = parameters[name].annotation if name in parameters else ""
        kind_names = annotation.__name__ if isinstance(annotation, type) else str(annotation)
        kinds = kind_names.replace(" ", "").split("|")
        is_key = any(kind.endswith("Secret") for kind in kinds)
        if "str" not in kinds or (value[:1] in "[{" and len(kinds) > 2 and not is_key):
            with suppress(ValueError):
                options[name] = json.loads(value)
    return Model(reference, **options)


def backend_option(*flags: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the decorator that gives a command the options of a backend."""
    return click.option(
        *flags,
        "backend_options",
        multiple=True,
        metavar="KEY=VALUE",
        callback=read_backend_options,
        help="An option of the backend, e.g. device=cpu; VALUE is read as JSON where the option takes no text.",
    )


model_option = click.option(
    "-m", "--model", "reference", metavar="REF", default=DEFAULT_MODEL, show_default=True, help="The model to ask."
)
temperature_option = click.option("--temperature", type=float, help="0 is greedy; higher is more random.")


@click.command()
@click.argument("prompt", nargs=-1)
@click.option(
    "-m",
    "--model",
    "references",
    metavar="REF",
    multiple=True,
    default=(DEFAULT_MODEL,),
    show_default=DEFAULT_MODEL,
    help="The model to ask; of several, the answers stand side by side.",
)
@click.option(
    "--image", "images", multiple=True, metavar="FILE", help="Shown before PROMPT; may be given several times."
)
@click.option(
    "--system",
    metavar="TEXT",
    help="An instruction for the model; the default model has one of its own, which -o system= leaves out.",
)
@temperature_option
@click.option("--top-p", type=float, help="Sample from the likeliest tokens up to this probability.")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"The longest answer, in tokens; default {MAX_TOKENS}, 0 lifts the limit.",
)
@click.option("--stop", multiple=True, metavar="TEXT", help="Ends the answer; may be given several times.")
@click.option("--seed", type=int, help="The same seed gives the same answer, where the backend can.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Total time for the answer, loading included.")
@backend_option("-o", "--option")
@output.json_option
def chat(
    *,
    prompt: tuple[str, ...],
    references: tuple[str, ...],
    images: tuple[str, ...],
    system: str | None,
    backend_options: dict[str, str],
    **call_options: Any,
) -> None:
    """Ask a model and print its answer as it comes.

    Without PROMPT the question is read from standard input; on a terminal a chat session begins;
    /help in it shows its commands. With both, the text of standard input follows PROMPT after an empty line:

        git diff | openmodels chat "TranslateError this change."

    Only the answer goes to stdout; notes and errors go to stderr.
    """
    options: CallOptions = {name: value for name, value in call_options.items() if value not in (None, ())}  # type: ignore[assignment]
    # Unquoted words are one prompt.
    question = " ".join(prompt) if prompt else None
    is_session = question is None and _on_terminal()
    if is_session and output.wants_json():
        raise click.UsageError("--json answers one prompt: give PROMPT, or pipe it in.")
    if is_session and images:
        raise click.UsageError("--image goes with a prompt: give PROMPT, or pipe it in.")
    if not is_session:
        question = _question(question)
    shown = [Image(image) for image in images]
    content = [*shown, question] if shown else question
    if len(references) > 1:
        _chat_side_by_side(references, content, system, options, backend_options)
        return
    with open_model(references[0], backend_options) as model:
        options = _limited(options, model)
        if question is None:
            ChatSession(model, system=system, options=options, backend_options=backend_options).run()
            return
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system is not None else []
        messages.append({"role": "user", "content": content})
        if output.wants_json():
            reply = model.chat(messages, **options)
            output.write_json(reply.model_dump(mode="json") | {"reference": model.reference})
            return
        with model.stream(messages, **options) as stream:
            write_answer(stream)


def _limited(options: CallOptions, model: Model) -> CallOptions:
    """Return the options with the limit of an answer's length: 0 lifts it."""
    limit = options.get("max_tokens")
    # A backend of another package may know no limit.
    if limit is None and "max_tokens" in model.backend.options:
        limit = MAX_TOKENS
    rest: CallOptions = {name: value for name, value in options.items() if name != "max_tokens"}  # type: ignore[assignment]
    return {**rest, "max_tokens": limit} if limit else rest


def _chat_side_by_side(
    references: Sequence[str],
    content: Any,
    system: str | None,
    options: CallOptions,
    backend_options: Mapping[str, str],
) -> None:
    from openmodels.cli.side_by_side import SideBySideChat, options_of_model

    with ExitStack() as stack:
        models = [
            stack.enter_context(open_model(name, options_of_model(name, backend_options, references)))
            for name in references
        ]
        session = SideBySideChat(models, system, lambda model: _limited(options, model))
        if content is None:
            session.run()
        elif not session.ask(content):
            click.get_current_context().exit(1)


def _question(prompt: str | None) -> str:
    """Return the prompt and what is piped in, whichever there is."""
    piped = "" if _on_terminal() else _piped(wait=None if prompt is None else STDIN_TIMEOUT)
    if prompt is None:
        if not piped.strip():
            raise click.UsageError("There is no prompt: give PROMPT, or pipe it in.")
        return piped
    return f"{prompt}\n\n{piped}" if piped.strip() else prompt


def _on_terminal() -> bool:
    # None: the parent closed it.
    return sys.stdin is not None and sys.stdin.isatty()


def _piped(wait: float | None) -> str:
    """Return what standard input holds, without its last newline.

    Its first byte must be there in `wait` seconds: programs often start others with a standard input that stays open
    and silent for ever.
    """
    if sys.stdin is None:
        return ""
    stream = sys.stdin.buffer
    if wait is not None and not _ready(stream, wait):
        output.note(
            f"note: nothing came on standard input within {wait:.0f} s; answering PROMPT alone. "
            "For a slow command, send its output through a file."
        )
        return ""
    try:
        return stream.read().decode("utf-8-sig").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"Standard input is not UTF-8 text: byte {error.start} is wrong.") from None


def _ready(stream: BinaryIO, wait: float) -> bool:
    try:
        return bool(select.select([stream], [], [], wait)[0])
    except (OSError, ValueError):
        # No file descriptor (a test), or Windows, where select knows only sockets.
        return True


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

    `backend_options` are for a model of the same backend that `/model` changes to.
    """

    def __init__(
        self, model: Model, *, system: str | None, options: CallOptions, backend_options: Mapping[str, str]
    ) -> None:
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
            new = open_model(reference, self._backend_options if same else {})
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
