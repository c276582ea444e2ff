"""`openmodels show`: one model, from all catalogs."""

from __future__ import annotations

import click

from openmodels.cli import listing, output


@click.command()
@click.argument("model", metavar="ID")
@click.option("--live/--index", default=None, help="Ask the catalogs themselves, or never.")
@output.json_option
@click.pass_context
def show(ctx: click.Context, model: str, live: bool | None) -> None:  # noqa: FBT001 - click calls it so
    """Show what the catalogs know of a model, each field with its source.

    \b
    openmodels show allenai/OLMo-7B
    openmodels show azure:azureml-meta/Llama-2-7b
    """
    from openmodels.catalog.api import info

    record = info(model, live=live)
    if output.wants_json(ctx):
        output.write_json(record.model_dump(mode="json", exclude_none=True))
        return
    listing.fields(record)
    output.note(f"hint: openmodels tree {record.id}")
