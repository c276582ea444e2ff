"""`openmodels search`, `show`, `tree` and `catalog`: models of every catalog."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from openmodels import licenses
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search.results import row, shown
from openmodels.catalog.sources import base as sources
from openmodels.cli import output

_REMOTE = [source.name for source in sources.catalogs() if not source.is_local]
_COLUMNS = {
    "model": "model", "task": "task", "size": "parameters", "license": "license", "open": "open",
    "downloads": "downloads", "context": "context", "updated": "updated", "variants": "variants",
}  # fmt: skip
"""The heads of a search's table and the fields under them."""
_ALWAYS_SHOWN = 6  # so many of these columns stand in the narrowest terminal


@click.command()
@click.argument("query", nargs=-1)
@click.option("--task", help='In the words of the Hub or of Azure: "text-generation", "chat-completion".')
@click.option("--license", help='SPDX or hub id; several with "|" between them.')
@click.option("--license-class", help="open, restricted, non-commercial, unknown, or commercial (not forbidden).")
@click.option("--language", help='Code, or name in any language; several with "|" between them.')
@click.option("--base-model", metavar="ID", help="Only what was made directly from this model.")
@click.option("--author", help='Account or nickname: "meta-llama", "ai2".')
@click.option("--parameters", metavar="RANGE", help='"1B..8B", "<=8B", "7B".')
@click.option("--context", metavar="TOKENS", help='At least this many: "32k".')
@click.option("--gated/--not-gated", default=None, help="Whether access must be asked for.")
@click.option(
    "--open/--not-open", default=None, help="Whether there is no gate and the stated license is OSI-approved."
)
@click.option("--fits", metavar="MEMORY", help='What may fit by its parameters: "24GB" of a GPU, or "here".')
@click.option("--max-price", metavar="USD", help="Most per million output tokens, at any provider.")
@click.option("--provider", help="Who hosts it.")
@click.option("--updated-after", metavar="DAY", help='"2026-01-31".')
@click.option("--fine-tuning-task", help="A task Azure offers to fine-tune for.")
@click.option("--deployment", help='How Azure runs it: "standard-paygo", "VM".')
@click.option("--capability", help='"tool-calling", "reasoning" and the like.')
@click.option("--catalog", multiple=True, help=f"{', '.join(sources.names())}; may be repeated.")
@click.option("--sort", help="relevance, downloads, likes, trending, updated, created, parameters, context, price.")
@click.option("--limit", type=int, default=20, show_default=True, help="How many models to show at most.")
@click.option("--live/--index", default=None, help="Ask the catalogs themselves, or never.")
@output.json_option
@click.pass_context
def search(ctx: click.Context, /, query: tuple[str, ...], **filters: Any) -> None:
    """Find models in every catalog and on this disk.

    \b
    openmodels search japanese llama chat --license llama2
    openmodels search "code model under 8B" --license-class open --sort downloads

    Typing errors are forgiven; a line on stderr says how the query was read. Exit code 3 when nothing is found.
    """
    from openmodels.catalog.api import search as find

    filters["catalog"] = list(filters["catalog"]) or None
    results = find(" ".join(query), **filters)
    for note in results.notes:
        output.note(note, dim=True)
    if output.wants_json():
        output.write_json([_as_json(record) for record in results])
    elif results:
        rows = []
        for record in results:
            fields = row(record)
            cells = [shown(fields[name]) for name in _COLUMNS.values()]
            marks = "".join(f" [{mark}]" for mark in record.marks)
            rows.append([output.MarkedId(record.id, marks), *cells[1:]])
        output.write_table(list(_COLUMNS), rows, optional=range(_ALWAYS_SHOWN, len(_COLUMNS)))
    if not results:
        output.note("hint: nothing found; use fewer words or filters")
        ctx.exit(output.NOTHING_FOUND)
    if not output.wants_json():
        output.note(f"hint: openmodels show {results[0].id}")


@click.command()
@click.argument("model", metavar="ID")
@click.option("--live/--index", default=None, help="Ask the catalogs themselves, or never.")
@output.json_option
def show(*, model: str, live: bool | None) -> None:
    """Show what the catalogs know of a model, each field with its source.

    \b
    openmodels show allenai/OLMo-7B
    openmodels show azure:azureml-meta/Llama-2-7b
    """
    from openmodels.catalog.api import info

    record = info(model, live=live)
    if output.wants_json():
        output.write_json(_as_json(record))
        return
    output.write_table(("field", "value", "source"), list(_fields(record)), folded=(1,))
    output.note(f"hint: openmodels tree {record.id}")


@click.command()
@click.argument("model", metavar="ID")
@click.option("--live/--index", default=None, help="Read cards on the Hub where a model declares nothing, or never.")
@click.option("--limit", type=int, default=500, show_default=True, help="How many models to show at most.")
@output.json_option
def tree(*, model: str, live: bool | None, limit: int) -> None:
    """Show a model's ancestors and descendants, with license, relation and evidence.

    \b
    openmodels tree meta-llama/Llama-2-7b-hf

    "~" and a percentage mark what is inferred and not declared; "with" names the other models of a merge.
    """
    from openmodels.catalog.family import family as find_family

    family = find_family(model, live=live, limit=limit)
    for note in family.notes:
        output.note(note, dim=True)
    if output.wants_json():
        output.write_json(
            {
                "id": family.id,
                "ancestors": family.ancestors,
                "descendants": family.descendants,
                "licenses": {name: family.license_of(name) for name in family.models},
                "edges": [edge.model_dump(mode="json") for edge in family.edges],
            }
        )
    else:
        for line in family.draw(output.terminal_columns()):
            click.echo(line)


@click.group()
def catalog() -> None:
    """Make, describe and find the index of models; each command takes --json.

    \b
    openmodels catalog update        the most downloaded models of the Hub, and all of Azure
    openmodels catalog update --all  every model of the Hub
    """


@catalog.command()
@click.option("--all", "everything", is_flag=True, help="Every model of the Hub; continues an interrupted update.")
@click.option("--top", type=int, default=None, help="So many of the Hub's models; default 50000.")
@click.option("--catalog", "catalogs", multiple=True, help=f"{' or '.join(_REMOTE)}; default all.")
@click.option(
    "--from-parquet", type=click.Path(path_type=Path), metavar="FILE", help="Make it from a dump of the Hub instead."
)
@output.json_option
@click.pass_context
def update(
    ctx: click.Context, /, *, everything: bool, top: int | None, catalogs: tuple[str, ...], from_parquet: Path | None
) -> None:
    """Bring the index up to date; the old one serves until the new one is whole."""
    from openmodels.catalog.index import update as updates

    progress = None if output.wants_json() else _show_progress
    if from_parquet:
        outcomes = [updates.from_parquet(from_parquet, progress=progress)]
    else:
        outcomes = updates.update(everything=everything, top=top or updates.TOP, catalogs=catalogs, progress=progress)
    if output.wants_json():
        output.write_json([_outcome_as_json(outcome) for outcome in outcomes])
    for outcome in outcomes:
        output.note(f"{outcome.catalog}: {outcome.models:,} models, {len(outcome.skipped)} rows skipped")
        for why in outcome.skipped[:3]:
            output.note(f"  skipped: {why}", dim=True)
        if outcome.failure and not output.wants_json():
            output.show_error(outcome.failure)
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    # One catalog out of reach is reported above; the index is there and newer than before.
    if failures and len(failures) == len(outcomes):
        ctx.exit(output.exit_code(failures[0]))


@catalog.command()
@output.json_option
@click.pass_context
def info(ctx: click.Context) -> None:
    """Show what the index holds and how old it is; exit code 3 if there is none."""
    from openmodels.catalog.api import open_index
    from openmodels.catalog.index.reader import default_path

    index = open_index()
    facts: dict[str, Any] = {"path": str(default_path()), "models": len(index) if index else 0}
    if index:
        days = {name.partition(".")[0]: day for name, day in index.meta.items() if name.endswith(".as_of")}
        facts |= {"bytes": default_path().stat().st_size, "as_of": days}
    if output.wants_json():
        output.write_json(facts)
    else:
        for name, value in facts.items():
            output.write(f"{name}: {value}\n")
    if not index:
        output.note("hint: openmodels catalog update")
        ctx.exit(output.NOTHING_FOUND)


@catalog.command()
@output.json_option
def path() -> None:
    """Print where the index is kept."""
    from openmodels.catalog.index.reader import default_path

    if output.wants_json():
        output.write_json({"path": str(default_path())})
    else:
        output.write(f"{default_path()}\n")


def _show_progress(name: str, count: int) -> None:
    output.note(f"{name}: {count:,} models", dim=True)


def _outcome_as_json(outcome: Any) -> dict[str, Any]:
    fields = {name: getattr(outcome, name) for name in ("catalog", "models", "removed", "skipped")}
    return {**fields, "failure": output.as_dict(outcome.failure) if outcome.failure else None}


def _as_json(record: ModelRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True)


def _fields(record: ModelRecord) -> Iterator[tuple[str, str, str]]:
    """Yield what is known of a model: a field, its value, its source and day."""
    yield "id", record.id, ""
    for source in sources.catalogs():
        model_id = record.ids.get(source.name)
        if model_id and source.prefix + model_id != record.id:
            yield f"in {source.title}", model_id, ""
    for mark in record.marks:
        yield "note", mark, ""
    yield "open", _explain_open(record), ""
    known = record.known()
    for name in type(record).model_fields:
        if name in known and name != "files":
            fact = record.provenance.get(name)
            yield name.replace("_", " "), _cell(name, known[name]), f"{fact.source} {fact.as_of}" if fact else ""
    for conflict in record.conflicts:
        yield "conflict", f"{conflict.field}: {conflict.other_source} says {conflict.other}", conflict.kept_source
    if record.variants:
        yield "variants", str(record.variants), ""


def _explain_open(record: ModelRecord) -> str:
    """Return whether a model is open, and which of its facts say so."""
    if record.open:
        return "yes: no gate, and the stated license is OSI-approved"
    unread = licenses.LicenseClass.UNKNOWN
    kind = licenses.license_class(record.license.id, record.license.name) if record.license else unread
    if record.open is False:
        reasons = ["gated"] if record.gated else []
        reasons += ["disabled"] if record.disabled else []
        if kind.is_known and kind is not licenses.LicenseClass.OSI_APPROVED:
            reasons.append("the stated license is not OSI-approved")
        return f"no: {', '.join(reasons)}"
    reasons = ["whether there is a gate"] if record.gated is None else []
    reasons += [] if kind.is_known else ["the terms of the license"]
    return f"not known: {' and '.join(reasons)}" if reasons else "not known: catalogs differ on the license"


def _cell(name: str, value: Any) -> str:
    match name:
        case "parameters":
            active = f", {shown(value.active)} active" if value.active else ""
            return f"{shown(value.total)}{active}"
        case "license":
            full_name = f"({value.name})" if value.name and value.name != value.label else None
            return " ".join(filter(None, (value.label, full_name, f"[{value.license_class}]", value.link)))
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
            return ", ".join(map(str, value))
    return shown(value)
