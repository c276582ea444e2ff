"""`openmodels lock` and `openmodels audit`: the lock file and its changes."""

import click

from openmodels.choose.lock_file import DEFAULT_PATH
from openmodels.cli import output

WORSE = 6
"""The exit code of an audit that finds a change for the worse."""
UNCHECKED = 5
"""The exit code of an audit without one that could not check everything."""

_FILE = click.option(
    "--file", "path", type=click.Path(dir_okay=False), default=DEFAULT_PATH, show_default=True, help="The lock file."
)


@click.command()
@click.argument("models", nargs=-1, metavar="[ID ...]")
@_FILE
@output.json_option
def lock(*, models: tuple[str, ...], path: str) -> None:
    """Write what holds now of the models that a project uses into a file.

    \b
    openmodels lock allenai/OLMo-2-1124-7B azure:azureml-meta/Llama-3.3-70B-Instruct
    openmodels lock        read the models of openmodels.lock again

    The file then holds these models only: revision, license, gating, openness, providers, prices, retirement.
    """
    from openmodels.choose.lock import lock as write

    result = write(models, path=path)
    output.write_report(result)


@click.command()
@_FILE
@click.option("--price-rise", default="0%", show_default=True, metavar="SHARE", help='A rise that is accepted: "10%".')
@output.json_option
@click.pass_context
def audit(ctx: click.Context, *, path: str, price_rise: str) -> None:
    """Compare a lock file with what holds now.

    \b
    openmodels audit
    openmodels audit --file models/openmodels.lock --price-rise 10% --json

    Exit code 6 where something is worse: a license less open, a gate, a model gone or disabled, an openness verdict
    fallen, an offer gone, a price risen, a date of retirement set or passed. Exit code 5 where nothing is, but
    something could not be checked. Without a network, what is kept of the last look is compared.
    """
    from openmodels.choose.lock import audit as compare

    result = compare(path, price_rise=price_rise)
    output.write_report(result)
    ctx.exit(WORSE if result.worse else UNCHECKED if result.unchecked else 0)
