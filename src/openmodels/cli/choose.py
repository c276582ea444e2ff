"""`openmodels choose` and `openmodels cost`: which model, at what price."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import click

from openmodels.catalog import query
from openmodels.cli import output
from openmodels.errors import InvalidRequest


@click.command()
@click.argument("text", nargs=-1)
@click.option("--among", multiple=True, metavar="ID", help="Choose among these models only; may be repeated.")
@click.option("--task", help='In the words of the Hub or of Azure: "text-generation".')
@click.option("--prefer", metavar="WEIGHTS", help='"quality=.5,price=.3,speed=.2", the default.')
@click.option("--license", help='SPDX or hub id; several with "|" between them.')
@click.option("--license-class", help="open, restricted, non-commercial, unknown, or commercial (not forbidden).")
@click.option("--openness", help='A profile of `openmodels openness` ("default"), or a criterion that must be open.')
@click.option("--fit", metavar="DEVICE", help='It fits there: "cuda:24GB", "cpu:16GB", "auto" for this machine.')
@click.option("--parameters", metavar="RANGE", help='"1B..8B", "<=8B", "7B".')
@click.option("--context", metavar="TOKENS", help='At least this many: "32k".')
@click.option("--languages", help='Codes or names, all of them; several with "|" between them.')
@click.option("--modalities", multiple=True, help="What goes in: text, image, audio, video; may be repeated.")
@click.option("--tools", is_flag=True, help="It can call tools.")
@click.option("--schema", is_flag=True, help="It keeps to a JSON schema.")
@click.option("--provider", help="Who hosts it.")
@click.option("--region", help="Where it is hosted; no source states that yet.")
@click.option("--max-price", metavar="USD", help="Most per million tokens, blended by --ratio.")
@click.option("--max-price-in", metavar="USD", help="Most per million input tokens.")
@click.option("--max-price-out", metavar="USD", help="Most per million output tokens.")
@click.option("--ratio", default="3:1", show_default=True, help="Input to output tokens in the blended price.")
@click.option("--table", "tables", multiple=True, type=click.Path(path_type=Path), help="A leaderboard's file.")
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="Models of each kind to show.")
@output.json_option
@click.pass_context
def choose(
    ctx: click.Context,
    /,
    *,
    text: tuple[str, ...],
    among: tuple[str, ...],
    task: str | None,
    prefer: str | None,
    ratio: str,
    tables: tuple[Path, ...],
    limit: int,
    **need: Any,
) -> None:
    """Rank models by quality, price and speed, and say why.

    \b
    openmodels choose "japanese chat" --license-class open --max-price 0.5
    openmodels choose --among org/a --among org/b --prefer score:gpqa=.6,price=.4
    openmodels choose "code" --fit cuda:24GB --table leaderboard.parquet --json

    What no source states is not known: it is not ranked as free and does not meet a need. The weights are printed, and
    each value stands with its percentile. Axes for --prefer: quality, price, price_in, price_out, speed, latency,
    context, parameters, downloads, likes, score:BENCHMARK. Exit code 3 when no model meets the needs.
    """
    from openmodels.choose.choosing import choose as select

    need["modalities"] = list(need["modalities"]) or None
    selection = select(
        " ".join(text),
        task=task,
        need={name: value for name, value in need.items() if value is not None and value is not False},
        prefer=None if prefer is None else _read_weights(prefer),
        among=list(among) or None,
        ratio=ratio,
        tables=tables,
    )
    if output.wants_json():
        output.write_json(selection.to_dict())
    else:
        output.write(selection.to_text(min(output.terminal_columns() or 80, 120), limit) + "\n")
    if not selection:
        output.note("hint: nothing meets the needs; the reasons are listed with each rejected model")
        ctx.exit(output.NOTHING_FOUND)


def _read_weights(text: str) -> dict[str, float]:
    """Return the weights of "quality=.5,price=.3"."""
    weights: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.rpartition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            raise InvalidRequest(
                f"prefer: {part[:60]!r} is no weight.", next_step='Write "quality=.5,price=.3,speed=.2".'
            ) from None
    return weights


@click.command()
@click.argument("model", metavar="ID")
@click.option("--in", "tokens_in", metavar="TOKENS", default="1k", show_default=True, help="Input tokens of a call.")
@click.option("--out", "tokens_out", metavar="TOKENS", default="1k", show_default=True, help="Output tokens of a call.")
@click.option("--calls", metavar="NUMBER", default="1", show_default=True, help="How many calls.")
@output.json_option
@click.pass_context
def cost(ctx: click.Context, *, model: str, tokens_in: str, tokens_out: str, calls: str) -> None:
    """Show what calls to a model cost at each provider.

    \b
    openmodels cost openai/gpt-oss-120b --in 5k --out 1k --calls 100k

    "5k" is 5,000. Each price has its source and day; providers that failed their last probe stand behind the others,
    and those whose price no source states come last. Exit code 3 where no provider or no price is known.
    """
    from openmodels.choose.costs import compute_costs

    counts = {
        name: query.parse_number(text, name=name)
        for name, text in (("in", tokens_in), ("out", tokens_out), ("calls", calls))
    }
    result = compute_costs(model, counts["in"], counts["out"], counts["calls"])
    for note in (*result.notes, *(f"{result.id} is {mark}" for mark in result.marks)):
        output.note(note, dim=True)
    if result.replacement:
        output.note(f"its vendor's replacement: {result.replacement}", dim=True)
    if output.wants_json():
        costs = [item.to_dict() for item in result.costs]
        facts = {
            "marks": list(result.marks),
            "retires_on": None if result.retires_on is None else str(result.retires_on),
            "replacement": result.replacement,
            "notes": list(result.notes),
        }
        output.write_json({"model": result.id, **counts, "currency": "USD", "costs": costs, **facts})
    else:
        heads = ("provider", "cost", "a call", "$/M in", "$/M out", "day", "source", "tok/s", "status")
        rows = [
            (
                item.offer.provider,
                _dollars(item.total, 2),
                _dollars(item.per_call, 6),
                *(_shown(price) for price in (item.offer.price_in, item.offer.price_out, item.offer.as_of)),
                item.offer.source or "-",
                _shown(item.offer.throughput),
                item.offer.status or "-",
            )
            for item in result.costs
        ]
        output.write_table(heads, rows, optional=(7, 8))
    if all(item.total is None for item in result.costs):
        output.note("hint: no source states a price; see the providers' own pages")
        ctx.exit(output.NOTHING_FOUND)


def _dollars(amount: Decimal | None, digits: int) -> str:
    return "-" if amount is None else f"${amount:,.{digits}f}"


def _shown(value: Any) -> str:
    return "-" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
