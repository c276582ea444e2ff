"""`openmodels tree`: what a model was made from, and what was made from it."""

from __future__ import annotations

import click

from openmodels.cli import listing, output


@click.command()
@click.argument("model", metavar="ID")
@click.option("--live/--index", default=None, help="Read cards on the Hub where a model declares nothing, or never.")
@click.option("--limit", type=int, default=500, show_default=True, help="How many models to show at most.")
@output.json_option
@click.pass_context
def tree(ctx: click.Context, model: str, live: bool | None, limit: int) -> None:  # noqa: FBT001 - click calls it so
    """Show a model's ancestors and descendants, with license, relation and evidence.

    \b
    openmodels tree meta-llama/Llama-2-7b-hf

    A percentage marks what is inferred and not declared.
    """
    from openmodels.catalog.family import family as find_family

    family = find_family(model, live=live, limit=limit)
    for note in family.notes:
        output.note(note, dim=True)
    if output.wants_json(ctx):
        output.write_json(
            {
                "id": family.id,
                "ancestors": family.ancestors,
                "descendants": family.descendants,
                "licenses": {name: family.license_of(name) for name in family.models},
                "edges": [edge.model_dump(mode="json") for edge in family.edges],
            }
        )
        return
    listing.tree(family)
