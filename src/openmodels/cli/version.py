"""`openmodels version`: installed versions, from metadata; imports none of them."""

import platform
import re
from importlib import metadata

import click

from openmodels.cli import output
from openmodels.settings import DISTRIBUTION


@click.command()
@output.json_option
def version() -> None:
    """Show the versions of openmodels, Python and the parts found."""
    version_, python, parts = metadata.version(DISTRIBUTION), platform.python_version(), _parts()
    if output.wants_json():
        output.write_json({"openmodels": version_, "python": python, "platform": platform.platform(), "parts": parts})
        return
    click.echo(f"openmodels {version_}\npython {python}\n{platform.platform()}")
    for name, installed in parts.items():
        click.echo(f"{name} {installed or '(not installed)'}")


def _parts() -> dict[str, str | None]:
    """Return the version of each dependency, or None; those of extras are included."""
    declared = (re.match(r"[\w.-]+", line) for line in metadata.requires(DISTRIBUTION) or ())
    names = sorted({match[0].lower() for match in declared if match} - {DISTRIBUTION})
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
