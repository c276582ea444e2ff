"""Records and families on a terminal, without the control characters of catalogs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from openmodels import escaping
from openmodels.catalog.family import Family
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search.results import row, shown
from openmodels.catalog.sources import base as sources
from openmodels.cli import output

_COLUMNS = ("model", "task", "parameters", "context", "license", "downloads", "updated")
_FIELDS_SKIPPED = ("files",)


def table(records: Iterable[ModelRecord]) -> None:
    """Write one line per model to stdout."""
    lines = []
    for record in records:
        cells = {**row(record), "task": record.task, "variants": None}
        name = record.id + (f" (+{record.variants} variants)" if record.variants else "")
        lines.append([name, *(shown(cells[column]) for column in _COLUMNS[1:])])
    output.write_table(_COLUMNS, lines)


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
                [name.replace("_", " "), _cell(name, known[name]), f"{fact.source} {fact.as_of}" if fact else ""]
            )
    for conflict in record.conflicts:
        statement = f"{conflict.field}: {conflict.other_source} says {conflict.other}"
        lines.append(["conflict", statement, conflict.kept_source])
    if record.variants:
        lines.append(["variants", str(record.variants), ""])
    output.write_table(("field", "value", "source"), lines, folded=(1,))


def tree(family: Family) -> None:
    """Write a family to stdout as an indented tree, its model marked with "*"."""
    for depth, model_id, edge in family.lines():
        how = ""
        if edge:
            sure = "" if edge.confidence == 1 else f", {edge.confidence:.0%}: {edge.evidence[0]}"
            how = f"  ({edge.relation or '-'}{sure})"
        mark = " *" if model_id.lower() == family.id.lower() else ""
        branch = "   " * (depth - 1) + "└─ " if depth else ""
        shown_line = f"{branch}{model_id}{mark}  [{family.license_of(model_id) or '-'}]{how}"
        sys.stdout.write(escaping.line(shown_line) + "\n")


def _cell(name: str, value: Any) -> str:
    match name:
        case "parameters":
            active = f", {shown(value.active)} active" if value.active else ""
            return f"{shown(value.total)}{active}"
        case "license":
            full_name = value.name if value.name and value.name != value.id else None
            return " ".join(
                part
                for part in (value.id, full_name and f"({full_name})", f"[{value.license_class}]", value.link)
                if part
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
            return ", ".join(str(item) for item in value)
        case _:
            return shown(value)
