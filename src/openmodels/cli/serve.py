"""`openmodels serve`: models for clients of OpenAI's and Anthropic's APIs."""

import ipaddress
import os

import click

from openmodels import imports
from openmodels.cli import output
from openmodels.errors import InvalidRequest, MissingExtra
from openmodels.settings import DEFAULT_MODEL, install_hint


@click.command()
@click.option(
    "-m",
    "--model",
    "references",
    multiple=True,
    metavar="[NAME=]REF",
    help=f"A model to serve; may be given several times.  [default: {DEFAULT_MODEL}]",
)
@click.option("--host", metavar="ADDRESS", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 is any that is free.  [default: 8000]")
@click.option("--api-key", metavar="KEY", help="The key of clients; by default a new one, which is printed.")
@click.option("--no-auth", is_flag=True, help="Answer without a key; only on a loopback address.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="A name under which clients call it.")
@click.option("--config", "config_path", type=click.Path(exists=True, dir_okay=False), help="A TOML file.")
@output.json_option
def serve(
    *,
    references: tuple[str, ...],
    host: str | None,
    port: int | None,
    api_key: str | None,
    no_auth: bool,
    hosts: tuple[str, ...],
    config_path: str | None,
) -> None:
    """Serve models to clients of OpenAI's and Anthropic's APIs.

    \b
    openmodels serve
    openmodels serve -m small=local:HuggingFaceTB/SmolLM2-135M-Instruct -m hf:openai/gpt-oss-20b
    openmodels serve --config serve.toml

    When it answers, its address is printed to stdout, as one line. Clients send the key as `Authorization: Bearer
    KEY` or as `x-api-key: KEY`. The environment variable OPENMODELS_API_KEY may hold it.
    """
    needed = ("prometheus_client", "starlette", "uvicorn")
    if missing := [name for name in needed if not imports.is_installed(name)]:
        raise MissingExtra(
            f"`serve` needs the package {missing[0]!r}, which is not installed.",
            next_step=f"Run: {install_hint('serve')}",
        )
    from openmodels.serve import config as configs, run
    from openmodels.serve.keys import ApiKey, digest, make_key

    config = configs.read_config(config_path) if config_path else configs.ServeConfig()
    models = {**config.open_models(), **configs.open_references(references)}
    if not models:
        models = configs.open_references((DEFAULT_MODEL,))
    host, port = host or config.host, config.port if port is None else port
    keys, shown = list(config.make_keys()), None
    api_key = api_key or os.environ.get("OPENMODELS_API_KEY") or None
    if no_auth:
        _check_no_auth(host, has_key=bool(api_key or keys))
    elif api_key or not keys:
        shown = None if api_key else make_key()
        keys.append(ApiKey("default", digest(api_key or shown or "")))
    app = config.build_app(models, keys, hosts=(*config.hosts, *hosts))

    def announce(address: str) -> None:
        if output.wants_json():
            output.write_json({"address": address, "key": shown})
            return
        if shown is not None:
            output.note(f"The key of this launch is {shown}")
            output.note(f"Open {address}/#key={shown}")
        click.echo(address)

    server = run.make_server(app, host, port, announce, grace=config.grace)
    server.run()
    if not server.started:
        raise click.exceptions.Exit(1)


def _check_no_auth(host: str, *, has_key: bool) -> None:
    if has_key:
        raise InvalidRequest("--no-auth: there is a key, too.", next_step="Leave one of them out.")
    if not _is_loopback(host):
        raise InvalidRequest(
            f"--no-auth: {host} is not a loopback address, so anyone could call the models.",
            next_step="Leave --no-auth out, or listen on 127.0.0.1.",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
