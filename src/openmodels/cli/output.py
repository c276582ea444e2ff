"""What goes where: data to stdout, everything else to stderr; and which error ends with which code."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from openmodels import escaping
from openmodels.cli.hints import translate
from openmodels.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConnectionFailed,
    InvalidReference,
    InvalidRequest,
    ModelNotFound,
    NotConfigured,
    Offline,
    OpenModelsError,
)

NOTHING_FOUND = 3
"""The exit code of a search without results, and of a model that is in no catalog."""

EXIT_CODES: dict[type[OpenModelsError], int] = {
    InvalidReference: 2,
    InvalidRequest: 2,
    AccessDenied: 4,
    AuthenticationFailed: 4,
    NotConfigured: 4,
    ConnectionFailed: 5,
    ModelNotFound: NOTHING_FOUND,
    Offline: 5,
}
"""Exit codes by error class, subclasses included; every other error is 1."""

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

_META = "openmodels.json"

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """Add `--json` to a command; `wants_json` tells whether it was given."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click calls it so
        ctx.meta[_META] = value

    return click.option(
        "--json", is_flag=True, expose_value=False, callback=remember, help="Print one JSON object, errors included."
    )(command)


def expect_json(ctx: click.Context, arguments: Sequence[str]) -> None:
    """Note `--json` among arguments that are not parsed yet, for an error before they are."""
    options = itertools.takewhile(lambda argument: argument != "--", arguments)
    ctx.meta[_META] = "--json" in options


def wants_json(ctx: click.Context) -> bool:
    """Return whether `--json` was given."""
    return bool(ctx.meta.get(_META))


def say(text: str) -> None:
    """Write a piece of the answer to stdout at once, without adding a newline."""
    click.echo(_shown(text, sys.stdout.isatty()), nl=False)


def say_json(value: object) -> None:
    """Write one JSON value to stdout, on one line."""
    click.echo(escaping.json(value))


def note(text: str, **style: Any) -> None:
    """Write a line to stderr; `style` is `click.style`'s and shows on a terminal only."""
    click.secho(escaping.terminal(text), err=True, **style)


def show_error(error: OpenModelsError, *, as_json: bool = False) -> None:
    """Tell an error: on stderr, or on stdout as `{"error": {…}}`."""
    if as_json:
        say_json({"error": as_dict(error)})
        return
    where = f"{error.reference}: " if error.reference else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    note(f"error: {where}{error.cause}{request}", fg="red")
    if step := next_step(error):
        note(f"hint: {step}")


def as_dict(error: OpenModelsError) -> dict[str, Any]:
    """Return an error's facts, ready for JSON; `partial` holds what had arrived of the answer."""
    return {
        "type": type(error).__name__,
        "cause": error.cause,
        "next_step": next_step(error),
        "reference": error.reference,
        "status": error.status,
        "request_id": error.request_id,
        "retryable": error.retryable,
        "retry_after": error.retry_after,
        "partial": error.partial.model_dump(mode="json") if error.partial else None,
        "exit_code": exit_code(error),
    }


def next_step(error: OpenModelsError) -> str | None:
    """Return what to do about an error, in the words of the command that shows it."""
    ctx = click.get_current_context(silent=True)
    command = ctx.command if ctx else None
    if isinstance(command, click.Group) and ctx and ctx.invoked_subcommand:
        command = command.get_command(ctx, ctx.invoked_subcommand)
    return translate(error.next_step, command) if error.next_step else None


def exit_code(error: OpenModelsError) -> int:
    """Return the exit code of an error."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def _shown(text: str, terminal: bool) -> str:  # noqa: FBT001 - one private call each
    # An answer may hold escape sequences that retitle, recolour or rewrite the terminal.
    return escaping.terminal(text) if terminal else text
