"""Data goes to stdout, everything else to stderr; each error has its exit code."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Container, Iterable, Sequence
from typing import Any

import click

from openmodels import errors, escaping
from openmodels.cli.hints import translate

NOTHING_FOUND = 3
"""The exit code of a search without results, and of a model that is in no catalog."""

EXIT_CODES: dict[type[errors.OpenModelsError], int] = {
    errors.InvalidReference: 2,
    errors.InvalidRequest: 2,
    errors.AccessDenied: 4,
    errors.AuthenticationFailed: 4,
    errors.NotConfigured: 4,
    errors.ConnectionFailed: 5,
    errors.ModelNotFound: NOTHING_FOUND,
    errors.Offline: 5,
}
"""Exit codes by error class, subclasses included; every other error is 1."""

INTERRUPTED = 130
"""The exit code after Ctrl-C."""

_META = "openmodels.json"

json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=lambda ctx, _, value: ctx.meta.update({_META: value}),
    help="Print one JSON object, errors included.",
)
"""Adds `--json` to a command; `wants_json` tells whether it was given."""


def expect_json(ctx: click.Context, arguments: Sequence[str]) -> None:
    """Look for `--json` in arguments before they are parsed, for errors in parsing."""
    options = itertools.takewhile(lambda argument: argument != "--", arguments)
    ctx.meta[_META] = "--json" in options


def wants_json() -> bool:
    """Return whether `--json` was given."""
    ctx = click.get_current_context(silent=True)
    return bool(ctx and ctx.meta.get(_META))


def write(text: str) -> None:
    """Write text to stdout at once, without adding a newline."""
    click.echo(_shown(text, terminal=sys.stdout.isatty()), nl=False)


def terminal_columns() -> int | None:
    """Return the width of the terminal that stdout is, or None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def write_json(value: object) -> None:
    """Write one JSON value to stdout, on one line."""
    click.echo(escaping.dump_json(value))


def write_table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, folded: Container[int] = ()) -> None:
    """Write a table to stdout: framed on a terminal, one line a row elsewhere.

    A cell is a text or a `rich.text.Text`. Cells of `folded` columns may take several lines; others are cut, but for
    the first column, since an id is copied from there.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[Text(escaping.escape_line(cell)) if isinstance(cell, str) else cell for cell in row] for row in rows]
    is_terminal = sys.stdout.isatty()
    # Markup off: it would swallow the extra's name in an install command.
    width = None if is_terminal else 10_000
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False, width=width)
    table = Table(box=box.SIMPLE if is_terminal else None, pad_edge=False, show_edge=False)
    for place, head in enumerate(heads):
        is_folded = place in folded
        widest = max((len(row[0]) for row in cells), default=0) if place == 0 and not is_folded else None
        table.add_column(head, overflow="fold" if is_folded else "ellipsis", no_wrap=not is_folded, min_width=widest)
    for row in cells:
        table.add_row(*row)
    console.print(table)


def note(text: str, **style: Any) -> None:
    """Write a line to stderr, on a terminal in a style of `click.style`."""
    click.secho(escaping.escape_terminal(text), err=True, **style)


def show_error(error: errors.OpenModelsError) -> None:
    """Write an error to stderr, or with `--json` to stdout as `{"error": {…}}`."""
    if wants_json():
        write_json({"error": as_dict(error)})
        return
    where = f"{error.reference}: " if error.reference else ""
    request = f" (request {error.request_id})" if error.request_id else ""
    note(f"error: {where}{error.cause}{request}", fg="red")
    if step := next_step(error):
        note(f"hint: {step}")


def as_dict(error: errors.OpenModelsError) -> dict[str, Any]:
    """Return an error as JSON; `partial` holds what had arrived of the answer."""
    names = ("reference", "status", "request_id", "retryable", "retry_after")
    return {
        "type": type(error).__name__,
        "cause": error.cause,
        "next_step": next_step(error),
        **{name: getattr(error, name) for name in names},
        "partial": error.partial.model_dump(mode="json") if error.partial else None,
        "exit_code": exit_code(error),
    }


def next_step(error: errors.OpenModelsError) -> str | None:
    """Return what to do about an error, in the words of the command that shows it."""
    ctx = click.get_current_context(silent=True)
    command = ctx.command if ctx else None
    if isinstance(command, click.Group) and ctx and ctx.invoked_subcommand:
        command = command.get_command(ctx, ctx.invoked_subcommand)
    return translate(error.next_step, command) if error.next_step else None


def exit_code(error: errors.OpenModelsError) -> int:
    """Return the exit code of an error."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)


def _shown(text: str, *, terminal: bool) -> str:
    # An answer may hold escape sequences that retitle, recolour or rewrite the terminal.
    return escaping.escape_terminal(text) if terminal else text
