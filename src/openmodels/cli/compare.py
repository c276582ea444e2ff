"""`openmodels compare`: models on the prompts of a file."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from openmodels.cli import output
from openmodels.cli.chat import backend_option, open_model, temperature_option
from openmodels.cli.side_by_side import options_of_model
from openmodels.compare.api import compare as compare_models
from openmodels.compare.comparison import Comparison


def _read_prices(_: click.Context, __: click.Parameter, prices: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    named = {}
    for price in prices:
        name, equals, amounts = price.rpartition("=")
        if not equals or amounts.count(",") != 1:
            raise click.BadParameter(f"{price!r} is not REF=IN,OUT, as in hf:org/model=0.1,0.4.")
        named[name] = tuple(amounts.split(","))
    return named


def _check_folder(_: click.Context, __: click.Parameter, path: str | None) -> str | None:
    """Refuse a file in no folder before the calls, not after them."""
    if path is not None and not Path(path).absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {Path(path).parent}.")
    return path


_output_path = partial(click.option, type=click.Path(dir_okay=False), callback=_check_folder)


@click.command()
@click.argument("source", metavar="PROMPTS", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("-m", "--model", "references", metavar="REF", multiple=True, required=True, help="Repeat it for each.")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="exact, contains, json, rouge_l, regex:PATTERN …",
)
@click.option("--judge", metavar="REF", help="A model that compares answers, in both orders.")
@click.option("--embedder", metavar="REF", help="A model with embeddings, for --metric embedding.")
@click.option("--repeats", type=int, metavar="N", help="Ask each prompt N times.")
@click.option("--cluster", metavar="FIELD", help='The field that names the group of a prompt; default "cluster".')
@_output_path("--html", "report", help="Write a report in HTML.")
@_output_path("--rows", help="Write every answer with its scores, JSONL.")
@click.option("--save", type=click.Path(dir_okay=False), help="Keep replies here; what is in it is not asked again.")
@click.option("--max-usd", type=float, metavar="USD", help="A call that could cost more than is left is not made.")
@click.option(
    "--price", "prices", multiple=True, metavar="REF=IN,OUT", callback=_read_prices, help="$ per million tokens."
)
@click.option("--dry-run", is_flag=True, help="Only say how many calls, tokens and dollars it would be.")
@click.option("-c", "--concurrency", type=int, help="How many calls at once; default 8.")
@temperature_option
@click.option("--max-tokens", type=int, help="The longest answer, in tokens; default 1024.")
@click.option("--seed", type=int, help="The same seed gives the same answers, where the backend can.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Total time for each answer.")
@backend_option("-o", "--option")
@output.json_option
@click.pass_context
def compare(
    ctx: click.Context,
    /,
    *,
    source: Path,
    references: tuple[str, ...],
    metrics: tuple[str, ...],
    report: str | None,
    rows: str | None,
    backend_options: Mapping[str, str],
    **options: Any,
) -> None:
    """Ask models the prompts of a file, and say which differences are real.

    \b
    openmodels compare -m local:org/a -m hf:org/b prompts.jsonl --html report.html
    openmodels compare -m local:org/a -m hf:org/b prompts.csv --metric exact --save answers.jsonl --max-usd 1

    PROMPTS is JSONL or CSV with the fields "prompt" (or "messages"), "reference", "cluster" and "tags". An option of a
    backend goes to each model that knows it. The exit code is 1 if some answers are missing.
    """
    chosen = {name: value for name, value in options.items() if value not in (None, (), {}, False)}
    models = [open_model(name, options_of_model(name, backend_options, references)) for name in references]
    try:
        comparison = compare_models(models, source, metrics=list(metrics) or None, **chosen)
    except KeyboardInterrupt as interrupt:
        partial: Comparison | None = getattr(interrupt, "comparison", None)
        if partial is not None:
            _write(partial, report, rows)
            done = sum(row["error"] is None for row in partial.rows)
            kept = f"; {options['save']} keeps them, run it again for the rest" if options["save"] else ""
            output.note(f"\nStopped: {done} of {len(partial.rows)} answers are there{kept}.")
        raise
    finally:
        for model in models:
            model.close()
    if output.wants_json():
        output.write_json(_as_dict(comparison))
    else:
        output.write(f"{comparison}\n")
    _write(comparison, report, rows)
    if report and comparison.rows and not output.wants_json():
        output.note(f"The report is {report}.", dim=True)
    ctx.exit(1 if any(row["error"] is not None for row in comparison.rows) else 0)


def _write(comparison: Comparison, report: str | None, rows: str | None) -> None:
    if not comparison.rows:
        return
    if report:
        comparison.html(report)
    if rows:
        comparison.save(rows)


def _as_dict(comparison: Comparison) -> dict[str, Any]:
    return {
        "models": comparison.models,
        "summary": comparison.summary,
        "pairs": [asdict(pair) for pair in comparison.pairs],
        "groups": comparison.groups,
        "judge": None if comparison.judge is None else asdict(comparison.judge),
        "estimate": [asdict(item) for item in comparison.estimate],
        "cost": comparison.cost,
        "rows": comparison.rows,
    }
