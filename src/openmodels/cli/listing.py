"""Records on a terminal: tables and trees. Whatever a catalog says is shown as plain text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from openmodels import escaping
from openmodels.catalog.family import Family
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search.results import row, shown
from openmodels.catalog.sources import base as sources

_COLUMNS = ("model", "task", "parameters", "context", "license", "downloads", "updated")
_FIELDS_SKIPPED = ("files",)


def table(records: Iterable[ModelRecord]) -> None:
    """Write one line per model to stdout."""
    lines = []
    for record in records:
        cells = {**row(record), "task": record.task, "variants": None}
        name = record.id + (f" (+{record.variants} variants)" if record.variants else "")
        lines.append([name, *(shown(cells[column]) for column in _COLUMNS[1:])])
    _print(_COLUMNS, lines, folded=None)


def fields(record: ModelRecord) -> None:
    """Write what is known of a model to stdout, each field with its source and day."""
    lines = [["id", record.id, ""]]
    for catalog in sources.catalogs():
        model_id = record.ids.get(catalog.name)
        if model_id and catalog.prefix + model_id != record.id:
            lines.append([f"in {catalog.title}", model_id, ""])
    known = record.known()
    for name in type(record).model_fields:
        if name in known and name not in _FIELDS_SKIPPED:
            fact = record.provenance.get(name)
            lines.append(
                [name.replace("_", " "), _said(name, known[name]), f"{fact.source} {fact.as_of}" if fact else ""]
            )
    lines += [
        ["conflict", f"{one.field}: {one.other_source} says {one.other}", one.kept_source] for one in record.conflicts
    ]
    if record.variants:
        lines.append(["variants", str(record.variants), ""])
    _print(("field", "value", "source"), lines, folded=1)


def tree(family: Family) -> None:
    """Write a family to stdout as an indented tree, the model asked for marked with "*"."""
    for depth, model_id, edge in family.lines():
        how = ""
        if edge:
            sure = "" if edge.confidence == 1 else f", {edge.confidence:.0%}: {edge.evidence[0]}"
            how = f"  ({edge.relation or '-'}{sure})"
        mark = " *" if model_id.lower() == family.id.lower() else ""
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        shown_line = f"{branch}{model_id}{mark}  [{family.license_of(model_id) or '-'}]{how}"
        sys.stdout.write(escaping.line(shown_line) + "\n")


def _said(name: str, value: Any) -> str:
    match name:
        case "parameters":
            active = f", {shown(value.active)} active" if value.active else ""
            return f"{shown(value.total)}{active}"
        case "license":
            told = value.name if value.name and value.name != value.id else None
            return " ".join(
                part for part in (value.id, told and f"({told})", f"[{value.license_class}]", value.link) if part
            )
        case "modalities":
            return f"{', '.join(value.input or ('-',))} → {', '.join(value.output or ('-',))}"
        case "base_models":
            return ", ".join(f"{base.id} ({base.relation or '-'})" for base in value)
        case "offers":
            return ", ".join(
                f"{offer.provider} ${shown(offer.price_in)}/{shown(offer.price_out)} per M" for offer in value
            )
        case "lifecycle":
            successor = f", use {value.replacement}" if value.replacement else ""
            return f"{value.status or '-'}, retires {shown(value.retires_on)}{successor}"
        case "scores":
            return ", ".join(f"{score.benchmark} {score.value:g} ({score.source or '-'})" for score in value)
        case _ if isinstance(value, tuple):
            return ", ".join(str(one) for one in value)
        case _:
            return shown(value)


def _print(heads: Sequence[str], lines: list[list[str]], *, folded: int | None) -> None:
    """Write a table; the first column is never cut, since it is copied from."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(file=sys.stdout, markup=False, emoji=False, highlight=False, width=None if terminal else 10_000)
    made = Table(box=box.SIMPLE if terminal else None, pad_edge=False, show_edge=False)
    for place, head in enumerate(heads):
        widest = max((len(line[0]) for line in lines), default=0) if place == 0 else None
        fold = place == folded
        made.add_column(head, overflow="fold" if fold else "ellipsis", no_wrap=not fold, min_width=widest)
    for line in lines:
        made.add_row(*(Text(escaping.line(cell)) for cell in line))
    console.print(made)
