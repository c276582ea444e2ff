"""`openmodels catalog`: the index that searches are answered from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from openmodels.catalog.sources import base as sources
from openmodels.cli import output

_REMOTE = [catalog.name for catalog in sources.catalogs() if not catalog.is_local]


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
    ctx: click.Context,
    everything: bool,  # noqa: FBT001 - click calls it so
    top: int | None,
    catalogs: tuple[str, ...],
    from_parquet: Path | None,
) -> None:
    """Bring the index up to date; the old one serves until the new one is whole."""
    from openmodels.catalog.index import update as updates

    progress = None if output.wants_json(ctx) else _show_progress
    if from_parquet:
        outcomes = [updates.from_parquet(from_parquet, progress=progress)]
    else:
        outcomes = updates.update(everything=everything, top=top or updates.TOP, catalogs=catalogs, progress=progress)
    if output.wants_json(ctx):
        output.write_json([_as_dict(outcome) for outcome in outcomes])
    for outcome in outcomes:
        output.note(f"{outcome.catalog}: {outcome.models:,} models, {len(outcome.skipped)} rows skipped")
        for why in outcome.skipped[:3]:
            output.note(f"  skipped: {why}", dim=True)
        if outcome.failure and not output.wants_json(ctx):
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
    if output.wants_json(ctx):
        output.write_json(facts)
    else:
        for name, value in facts.items():
            output.write(f"{name}: {value}\n")
    if not index:
        output.note("hint: openmodels catalog update")
        ctx.exit(output.NOTHING_FOUND)


@catalog.command()
@output.json_option
@click.pass_context
def path(ctx: click.Context) -> None:
    """Print where the index is kept."""
    from openmodels.catalog.index.reader import default_path

    if output.wants_json(ctx):
        output.write_json({"path": str(default_path())})
    else:
        output.write(f"{default_path()}\n")


def _show_progress(name: str, count: int) -> None:
    output.note(f"{name}: {count:,} models", dim=True)


def _as_dict(outcome: Any) -> dict[str, Any]:
    failure = output.as_dict(outcome.failure) if outcome.failure else None
    return {
        "catalog": outcome.catalog,
        "models": outcome.models,
        "removed": outcome.removed,
        "skipped": outcome.skipped,
        "failure": failure,
    }
