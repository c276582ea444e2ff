"""The group of commands, and how errors and interrupts become exit codes.

The module of a subcommand is imported only when it is called, so that `--help` and
`version` load neither pydantic nor anything heavier.
"""

import errno
import io
import os
import sys
from importlib import import_module
from typing import Any

import click
from typing_extensions import override

from openmodels.cli import output
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.settings import DISTRIBUTION

_COMMANDS = {
    "chat": "Ask a model, or chat with it.",
    "map": "Answer every line of a file.",
    "search": "Find models in every catalog and on this disk.",
    "show": "Show what the catalogs know of a model.",
    "tree": "Show what a model was made from, and what was made from it.",
    "choose": "Rank models by quality, price and speed, and say why.",
    "compare": "Ask models the same prompts, and say which differences are real.",
    "cost": "Show what calls to a model cost at each provider.",
    "fit": "Show whether a model fits in memory.",
    "catalog": "Make and describe the index that is searched.",
    "models": "Show what is ready on this machine.",
    "serve": "Serve models to clients of OpenAI's and Anthropic's APIs.",
    "lock": "Write down what a project relies on of its models.",
    "audit": "Compare a lock file with what holds now.",
    "openness": "Judge how open a model is, with evidence.",
    "version": "Show the versions of openmodels and its parts.",
}
_PLACES = {
    "map": "map:map_",
    "cost": "choose:cost",
    "audit": "lock:audit",
    **{name: f"catalog:{name}" for name in ("search", "show", "tree")},
}
"""Where a command is that is not the function of its name in the module of its name."""
_ALTERNATIVES = {
    **dict.fromkeys(("ask", "complete", "generate", "prompt", "run", "talk"), "chat"),
    **dict.fromkeys(("describe", "info"), "show"),
    **dict.fromkeys(("backends", "list", "ls"), "models"),
    **dict.fromkeys(("find", "list-models"), "search"),
    **dict.fromkeys(("fits", "memory"), "fit"),
    **dict.fromkeys(("price", "prices", "pricing"), "cost"),
    **dict.fromkeys(("pick", "rank", "recommend", "select"), "choose"),
    **dict.fromkeys(("family", "lineage"), "tree"),
    **dict.fromkeys(("index", "update"), "catalog update"),
    **dict.fromkeys(("eval", "evaluate"), "compare"),
    "batch": "map",
    "help": "--help",
}
"""The names of commands in other programs and in Python, and their names here."""


class LazyGroup(click.Group):
    """The subcommands in `_COMMANDS`; errors become a message and an exit code."""

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    @override
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, function = _PLACES.get(cmd_name, f"{cmd_name}:{cmd_name}").partition(":")
        command: click.Command = getattr(import_module(f"openmodels.cli.{module}"), function)
        return command

    @override
    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options before the subcommand, and whether `--json` stands after it."""
        output.expect_json(ctx, args)
        return super().parse_args(ctx, args)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in _COMMANDS and not args[0].startswith("-"):
            # Words with a space between them are a question, with the command left out.
            meant = "chat" if " " in args[0].strip() else _ALTERNATIVES.get(args[0])
            message = f"No such command {args[0]!r}. Did you mean {meant!r}?" if meant else None
            raise click.exceptions.NoSuchCommand(args[0], message, None if meant else _COMMANDS, ctx)
        return super().resolve_command(ctx, args)

    @override
    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OpenModelsError as error:
            output.show_error(error)
            ctx.exit(output.exit_code(error))
        except click.UsageError as error:
            if not output.wants_json():
                raise
            where = (error.ctx or ctx).command_path
            output.show_error(InvalidRequest(error.format_message(), next_step=f"Run `{where} --help`."))
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            output.note("")
            ctx.exit(output.INTERRUPTED)


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name=DISTRIBUTION, prog_name="openmodels", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """One interface to open models.

    \b
    openmodels chat "What is an open model?"   ask the small default model, on this machine
    openmodels chat                            chat with it
    openmodels search japanese llama           find a model
    openmodels models                          see what is ready here

    Exit codes: 0 done, 1 failed, 2 wrong usage or request, 3 nothing found, 4 key or access missing,
    5 no network, 6 a check of openness, memory or changes failed, 130 stopped by Ctrl-C, 143 by SIGTERM.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run() -> int:
    """Run the command with the process's arguments; return the exit code."""
    if sys.stdout is None:
        output.note("error: standard output is closed, so there is no place for the answer.", fg="red")
        return 1
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a character gets another instead of a traceback in mid-answer.
        sys.stdout.reconfigure(errors=output.IN_ASCII)
    try:
        try:
            code = _run()
        finally:
            # Here and not on the way out, whose failure would be a traceback.
            sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:  # then whoever read the answer has gone
            where = f"{error.filename}: " if error.filename else ""
            output.note(f"error: {where}{error.strerror or error}", fg="red")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run() -> int:
    try:
        code = cli.main(prog_name="openmodels", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            return output.INTERRUPTED
        output.note("Aborted!")
        return 1
    return code if isinstance(code, int) else 0
