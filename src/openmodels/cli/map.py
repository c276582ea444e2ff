"""`openmodels map`: answer every line of a file, or continue an earlier run."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from openmodels.cli import output
from openmodels.cli.chat import backend_option, model_option, open_model, temperature_option
from openmodels.errors import InvalidRequest


@click.command("map")
@click.argument("source", metavar="INPUT", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@model_option
@click.option("-o", "--output", "save", metavar="FILE", required=True, help="JSONL; an existing one is continued.")
@click.option("-c", "--concurrency", type=int, help="How many calls at once; default 16.")
@click.option("--complete", is_flag=True, help="Continue texts, without a chat template.")
@click.option("--system", metavar="TEXT", help="An instruction for the model, before each prompt that is a text.")
@temperature_option
@click.option("--max-tokens", type=int, help="The longest answer, in tokens.")
@click.option("--seed", type=int, help="The same seed gives the same answers, where the backend can.")
@click.option("--timeout", type=float, metavar="SECONDS", help="Total time for each answer.")
@backend_option("--option")
@output.json_option
@click.pass_context
def map_(
    ctx: click.Context,
    /,
    *,
    source: Path,
    reference: str,
    save: str,
    complete: bool,
    system: str | None,
    backend_options: dict[str, str],
    **call_options: Any,
) -> None:
    """Answer every line of INPUT; the answers go to FILE as they become ready.

    In a file named *.jsonl a line is a JSON text, a list of messages, or an object with "messages"
    or "prompt"; in any other file it is the prompt itself. Empty lines are left out. An answer's
    "index" is the place of its line among the others, from 0.

    Run it again after an interruption: what is done stays, errors are tried again. The exit code is
    1 if some answers are missing.
    """
    if complete and system is not None:
        raise click.UsageError("--system is for chats: with --complete, write it into the texts.")
    options: Any = {name: value for name, value in call_options.items() if value is not None}
    prompts = _prompts(source, system)
    with (
        open_model(reference, backend_options) as model,
        model.map(prompts, save=save, method="complete" if complete else "chat", **options) as run,
    ):
        for item in run:
            if item.error is not None:
                output.note(f"item {item.index}: {type(item.error).__name__}: {item.error.cause}", dim=True)
    summary = run.summary
    if output.wants_json():
        output.write_json(asdict(summary) | {"reference": model.reference, "output": save})
    else:
        output.note(str(summary))
    ctx.exit(1 if summary.failed else 0)


def _prompts(source: Path, system: str | None) -> Iterator[Any]:
    is_json = source.suffix == ".jsonl"
    with source.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig").strip()
                if not text:
                    continue
                prompt = _prompt(json.loads(text)) if is_json else text
            except RecursionError as error:
                raise InvalidRequest(f"{source}, line {number}: its JSON is nested too deeply.") from error
            except ValueError as error:
                raise InvalidRequest(f"{source}, line {number}: not {'JSON' if is_json else 'UTF-8 text'}.") from error
            if system is not None and isinstance(prompt, str):
                prompt = [{"role": "system", "content": system}, {"role": "user", "content": prompt}]
            yield prompt


def _prompt(line: Any) -> Any:
    # What is there but empty stays: the run says what is wrong with it, and keeps the places of the others.
    if isinstance(line, dict):
        return next((line[name] for name in ("messages", "prompt") if line.get(name) is not None), line)
    return line
