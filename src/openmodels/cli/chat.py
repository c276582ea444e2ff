"""`openmodels chat`: one question and its answer, or a chat session."""

import json
import select
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

import click

from openmodels.backends import registry
from openmodels.cli import output
from openmodels.cli.chat_session import ChatSession, write_answer
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
@model_option
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
    reference: str,
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
    limit = options.pop("max_tokens", None)
    with open_model(reference, backend_options) as model:
        # A backend of another package may know no limit.
        if limit is None and "max_tokens" in model.backend.options:
            limit = MAX_TOKENS
        if limit:
            options["max_tokens"] = limit
        if question is None:
            ChatSession(model, system=system, options=options, backend_options=backend_options, opener=open_model).run()
            return
        messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system is not None else []
        shown = [Image(image) for image in images]
        messages.append({"role": "user", "content": [*shown, question] if shown else question})
        if output.wants_json():
            reply = model.chat(messages, **options)
            output.write_json(reply.model_dump(mode="json") | {"reference": model.reference})
            return
        with model.stream(messages, **options) as stream:
            write_answer(stream)


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
