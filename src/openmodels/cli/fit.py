"""`openmodels fit`: whether a model fits in a device's memory."""

import click

from openmodels.catalog import query
from openmodels.cli import output

DOES_NOT_FIT = 6
"""The exit code of a model that does not fit, or may not."""


@click.command()
@click.argument("model", metavar="ID")
@click.option("--device", default="auto", show_default=True, help='"cpu", "cuda", "mps"; another machine: "cuda:24GB".')
@click.option("--context", metavar="TOKENS", help='Tokens of each sequence: 8192, "32k"; default 8192 or the limit.')
@click.option("--batch", type=int, default=1, show_default=True, help="Sequences at the same time.")
@click.option("--dtype", help="float32, bfloat16 or float16; default what would run there.")
@output.json_option
@click.pass_context
def fit(ctx: click.Context, *, model: str, device: str, context: str | None, batch: int, dtype: str | None) -> None:
    """Show whether a model fits in memory, and what it needs.

    \b
    openmodels fit HuggingFaceTB/SmolLM2-135M-Instruct
    openmodels fit meta-llama/Llama-3.1-8B --device cuda:24GB --context 32k

    ID is a model of the Hub, a folder or a .gguf file; only the headers of its weights are read. Exit code 6 where it
    does not fit, or may not.
    """
    from openmodels.choose.fit import fit as measure

    tokens = None if context is None else query.parse_number(context, binary=True, name="context")
    result = measure(model, context=tokens, batch=batch, device=device, dtype=dtype)
    output.write_report(result)
    ctx.exit(0 if result.fits else DOES_NOT_FIT)
