"""`openmodels version`: what is installed, read from metadata; nothing is imported."""

from __future__ import annotations

import platform
import re
from importlib import metadata

import click

from openmodels.cli import output
from openmodels.settings import DISTRIBUTION


@click.command()
@output.json_option
@click.pass_context
def version(ctx: click.Context) -> None:
    """Show the versions of openmodels, Python and the parts found."""
    own, python, parts = metadata.version(DISTRIBUTION), platform.python_version(), _parts()
    if output.wants_json(ctx):
        output.say_json({"openmodels": own, "python": python, "platform": platform.platform(), "parts": parts})
        return
    click.echo(f"openmodels {own}\npython {python}\n{platform.platform()}")
    for name, found in parts.items():
        click.echo(f"{name} {found or '(not installed)'}")


def _parts() -> dict[str, str | None]:
    """Return the version of each declared dependency, extras included; None where it is missing."""
    declared = (re.match(r"[\w.-]+", line) for line in metadata.requires(DISTRIBUTION) or ())
    names = sorted({found[0].lower() for found in declared if found} - {DISTRIBUTION})
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
