"""`openmodels search`: models from every catalog."""

from __future__ import annotations

from typing import Any

import click

from openmodels.catalog.sources import base as sources
from openmodels.cli import listing, output


@click.command()
@click.argument("query", nargs=-1)
@click.option("--task", help='In the words of the Hub or of Azure: "text-generation", "chat-completion".')
@click.option("--license", help='SPDX or hub id; several with "|" between them.')
@click.option("--license-class", help="open, restricted, non-commercial, unknown, or commercial (not forbidden).")
@click.option("--language", help='Code or English name; several with "|" between them.')
@click.option("--base-model", metavar="ID", help="Only what was made directly from this model.")
@click.option("--author", help='Account or nickname: "meta-llama", "ai2".')
@click.option("--parameters", metavar="RANGE", help='"1B..8B", "<=8B", "7B".')
@click.option("--context", metavar="TOKENS", help='At least this many: "32k".')
@click.option("--gated/--not-gated", default=None, help="Whether access must be asked for.")
@click.option(
    "--open/--not-open", default=None, help="Whether there is no gate and the stated license is OSI-approved."
)
@click.option("--fits", metavar="MEMORY", help='Weights that fit at two bytes a parameter: "24GB", or "here".')
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

    Typing errors are forgiven. Exit code 3 when nothing is found.
    """
    from openmodels.catalog.api import search as find

    filters["catalog"] = list(filters["catalog"]) or None
    results = find(" ".join(query), **filters)
    for note in results.notes:
        output.note(note, dim=True)
    if output.wants_json(ctx):
        output.write_json([record.model_dump(mode="json", exclude_none=True) for record in results])
    elif results:
        listing.table(results)
    if not results:
        output.note("hint: nothing found; use fewer words or filters")
        ctx.exit(output.NOTHING_FOUND)
    if not output.wants_json(ctx):
        output.note(f"hint: openmodels show {results[0].id}")
