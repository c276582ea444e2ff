"""Data goes to stdout, everything else to stderr; each error has its exit code."""

import codecs
import itertools
import json
import os
import shutil
import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from openmodels import columns, errors, escaping
from openmodels.cli.hints import translate

if TYPE_CHECKING:
    from openmodels.choose.fit_report import Fit
    from openmodels.choose.lock_reports import Audit, Lock

NOTHING_FOUND = 3  # the exit code of a search without results, and of a model that is in no catalog

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

INTERRUPTED = 130  # the exit code after Ctrl-C

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


_ASCII = str.maketrans("✔◐✘…├└│─→“”’–", '+~x.|`|->""\'-')
"""What stands for a sign in an encoding that lacks it: as "?", every verdict would be "unknown"."""


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_ASCII)
    return text.encode("ascii", "replace").decode(), error.end


IN_ASCII = "openmodels"
"""The name of the handler of errors, for a stream's `errors`."""
codecs.register_error(IN_ASCII, _replace_unencodable)


def write(text: str) -> None:
    """Write text to stdout at once, without adding a newline."""
    click.echo(_shown(text, terminal=sys.stdout.isatty()), nl=False)


def terminal_columns() -> int | None:
    """Return the width of the terminal that stdout is, or None where it is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def write_json(value: object) -> None:
    """Write one JSON value to stdout, on one line."""
    click.echo(dump_json(value))


def write_report(report: "Audit | Fit | Lock") -> None:
    """Write a report to stdout, as JSON where `--json` was given."""
    if wants_json():
        write_json(report.to_dict())
    else:
        write(report.to_text(min(terminal_columns() or 80, 120)) + "\n")


def dump_json(value: object, *, indent: int | None = None) -> str:
    """Return a value as JSON that stdout can encode, by escapes where needed."""
    text = escaping.dump_json(value, indent=indent)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text


class MarkedId(NamedTuple):
    """A cell whose text is shortened if too long; the marks behind it are not."""

    text: str
    marks: str


def write_table(
    heads: Sequence[str], rows: Iterable[Sequence[Any]], *, folded: Container[int] = (), optional: Container[int] = ()
) -> None:
    """Write a table to stdout: framed on a terminal, one line a row elsewhere.

    A cell is a text, a `MarkedId` or a `rich.text.Text`. On a terminal, cells of `folded` columns may take several
    lines, `optional` columns are left out where the others need the room, the last first, and longer cells lose
    their middle. A line to stderr names the columns that were left out.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [[escaping.escape_line(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    is_terminal = sys.stdout.isatty()
    # Markup off: it would swallow the extra's name in an install command.
    width = terminal_columns() if is_terminal else 10_000
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False, width=width)
    table = Table(box=box.SIMPLE if is_terminal else None, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    natural = [max(map(_cell_width, column)) for column in zip(heads, *cells, strict=True)]
    widths = _fit(natural, width or 10_000, folded, optional)
    for place in widths:
        is_folded = place in folded
        table.add_column(heads[place], overflow="fold" if is_folded else "ellipsis", no_wrap=not is_folded)
    for row in cells:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in _shorten(row, widths)))
    console.print(table)
    if left_out := [head for place, head in enumerate(heads) if place not in widths]:
        note(f"left out on {width} columns: {', '.join(left_out)}; --json has every field", dim=True)


_GAP = 2  # columns between two cells of a framed table
_WANTED, _WANTED_ID = 16, 44
"""The width that a long cell, and one of the first column, has while optional columns stand beside it."""
_LEAST, _LEAST_ID = 12, 28
"""The width to which a long cell, and one of the first column, shrinks while others are longer."""


def _fit(natural: Sequence[int], total: int, folded: Container[int], optional: Container[int]) -> dict[int, int]:
    """Return the columns that are shown, each with its width."""
    shown = list(range(len(natural)))
    wanted = [min(width, _WANTED if place else _WANTED_ID) for place, width in enumerate(natural)]
    least = [min(width, _LEAST if place else _LEAST_ID) for place, width in enumerate(natural)]
    while sum(wanted[place] + _GAP for place in shown) - _GAP > total:
        if not (droppable := [place for place in shown if place in optional]):
            break
        shown.remove(droppable[-1])
    widths = {place: natural[place] for place in shown}
    if any(place in folded for place in shown):
        return widths  # rich gives a folded column what the others leave
    # The longest gives way first, so that the parts of an id that tell it from others stay as long as they can.
    for floors in (least, [1] * len(natural)):
        while sum(width + _GAP for width in widths.values()) - _GAP > total:
            longest = max(shown, key=lambda place: widths[place] - floors[place])
            if widths[longest] <= floors[longest]:
                break
            widths[longest] -= 1
    return widths


def _shorten(row: Sequence[Any], widths: dict[int, int]) -> Iterator[Any]:
    for place, width in widths.items():
        cell = row[place]
        if isinstance(cell, MarkedId):
            marks = escaping.escape_line(cell.marks)
            text = escaping.escape_line(cell.text)
            # A mark gives way where nothing of the id would be left.
            marks = columns.shorten(marks, max(0, width - 8))
            yield columns.shorten(text, width - columns.width(marks)) + marks
        elif isinstance(cell, str):
            yield columns.shorten(cell, width)
        else:
            yield cell


def _cell_width(cell: Any) -> int:
    text = "".join(cell) if isinstance(cell, MarkedId) else str(cell)
    return columns.width(escaping.escape_line(text))


_LONGEST_NOTE = 1_200
"""Characters."""


def note(text: str, **style: Any) -> None:
    """Write a line to stderr.

    On a terminal it has a style of `click.style`, unless NO_COLOR is set. A longer one, which quotes an argument, loses
    its middle; `--json` gives errors whole.
    """
    if len(text) > _LONGEST_NOTE:
        text = f"{text[: _LONGEST_NOTE // 2]} … {text[-_LONGEST_NOTE // 2 :]}"
    click.secho(escaping.escape_terminal(text), err=True, color=False if os.environ.get("NO_COLOR") else None, **style)


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
