"""The config file of a server, and the models that it names."""

import os
import tomllib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

import openmodels
from openmodels.errors import InvalidRequest
from openmodels.model import Model
from openmodels.output.schema import describe_errors
from openmodels.serve import app
from openmodels.serve.exchange import RequestLimits
from openmodels.serve.keys import ApiKey, digest

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)


class ConfiguredModel(_Table):
    """A model of the file: a reference, or a combination of others by name.

    Attributes:
        ref: The reference.
        options: The backend's own options.
        combine: How other models are combined.
        models: The names of the models that are combined, in order.
        arguments: What the combination takes beside them.
    """

    ref: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    combine: Literal["fallback", "route", "vote", "cascade"] | None = None
    models: tuple[str, ...] = ()
    arguments: dict[str, Any] = Field(default_factory=dict)


class ConfiguredKey(_Table):
    """A key of the file.

    Attributes:
        key: The key itself.
        env: The environment variable that holds it instead.
        max_tokens: Tokens that it may spend while the server runs.
        max_usd: US dollars that it may spend.
    """

    key: str | None = None
    env: str | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = None
    max_usd: Annotated[float, Field(ge=0)] | None = None


class ServeConfig(_Table):
    """What the config file holds; every field has a default.

    Attributes:
        host: The address to listen on.
        port: The port; 0 is any that is free.
        hosts: Names of the server beside the loopback ones.
        timeout: Seconds that a call may take.
        grace: Seconds that running requests have to end after the signal to stop.
        max_running: Requests that run at the same time.
        max_waiting: Requests that wait for their turn.
        longest_wait: Seconds that a request waits for its turn.
        max_body: Bytes of a request's body, as a number or as "32MB".
        max_output_tokens: Tokens that an answer has at most.
        memory: Bytes that loaded models may take together, as a number or as "16GB".
        models: The models by name.
        keys: The keys by name.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    hosts: tuple[str, ...] = ()
    timeout: Annotated[float, Field(gt=0)] = app.TIMEOUT
    grace: Annotated[float, Field(ge=1, le=3600)] = 30.0
    max_running: Annotated[int, Field(ge=1)] = app.MAX_RUNNING
    max_waiting: Annotated[int, Field(ge=0)] = app.MAX_WAITING
    longest_wait: Annotated[float, Field(gt=0)] = app.LONGEST_WAIT
    max_body: int | str = RequestLimits.body_bytes
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    memory: int | str | None = None
    models: dict[str, str | ConfiguredModel] = Field(default_factory=dict)
    keys: dict[str, ConfiguredKey] = Field(default_factory=dict)

    def open_models(self) -> dict[str, Model]:
        """Return the models by name.

        Raises:
            InvalidRequest: A combination names a model that there is not, or itself.
            OpenModelsError: A reference cannot be opened.
        """
        opened: dict[str, Model] = {}
        for name in self.models:
            self._open(name, opened, ())
        return {name: opened[name] for name in self.models}

    def _open(self, name: str, opened: dict[str, Model], above: tuple[str, ...]) -> Model:
        if name in above:
            raise InvalidRequest(f"models.{name}: it is combined of itself: {' -> '.join((*above, name))}.")
        if name not in self.models:
            place = f"models.{above[-1]}.models" if above else "models"
            raise InvalidRequest(f"{place}: there is no model {name!r}.", next_step=f"Add [models.{name}].")
        if name not in opened:
            entry = self.models[name]
            entry = ConfiguredModel(ref=entry) if isinstance(entry, str) else entry
            if (entry.ref is None) == (entry.combine is None):
                raise InvalidRequest(f"models.{name}: it needs either `ref` or `combine`.")
            if entry.ref is not None:
                opened[name] = Model(entry.ref, **entry.options)
            else:
                parts = [self._open(part, opened, (*above, name)) for part in entry.models]
                opened[name] = _combine(name, entry, parts)
        return opened[name]

    def make_keys(self) -> Iterator[ApiKey]:
        """Yield the keys.

        Raises:
            InvalidRequest: One has no value.
        """
        for name, entry in self.keys.items():
            value = entry.key if entry.env is None else os.environ.get(entry.env)
            if not value:
                where = f"the environment variable {entry.env} is empty" if entry.env else "`key` or `env` is missing"
                raise InvalidRequest(f"keys.{name}: {where}.")
            yield ApiKey(name, digest(value), entry.max_tokens, entry.max_usd)

    def build_app(self, models: dict[str, Model], keys: Iterable[ApiKey], hosts: Collection[str]) -> app.ServedApp:
        """Return the application with the limits of the file."""
        return app.build_app(
            models,
            keys=keys,
            hosts=hosts,
            limits=RequestLimits(body_bytes=_read_size("max_body", self.max_body)),
            timeout=self.timeout,
            max_running=self.max_running,
            max_waiting=self.max_waiting,
            longest_wait=self.longest_wait,
            max_output_tokens=self.max_output_tokens,
            memory_bytes=None if self.memory is None else _read_size("memory", self.memory),
        )


def read_config(path: str | os.PathLike[str]) -> ServeConfig:
    """Return the config of a TOML file.

    Raises:
        InvalidRequest: It is not TOML, or a field is wrong.
    """
    try:
        with Path(path).open("rb") as file:
            return ServeConfig.model_validate(tomllib.load(file))
    except ValidationError as error:
        raise InvalidRequest(f"{path}: {describe_errors(error)}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequest(f"{path}: it cannot be read as TOML: {error}.") from error


def open_references(references: Iterable[str]) -> dict[str, Model]:
    """Return the models of `[NAME=]REF` by name; without a name, the reference is it.

    Raises:
        InvalidRequest: Two have the same name.
        OpenModelsError: A reference cannot be opened.
    """
    models: dict[str, Model] = {}
    for text in references:
        name, equals, reference = text.partition("=")
        if not equals or ":" in name:  # an address in a reference may hold the sign, too
            name = reference = text
        if name in models:
            raise InvalidRequest(f"-m: two models have the name {name!r}.", next_step="Write -m OTHER=REF.")
        models[name] = Model(reference)
    return models


def _combine(name: str, entry: ConfiguredModel, models: list[Model]) -> Model:
    function = getattr(openmodels, entry.combine or "", None)
    if function is None:
        raise InvalidRequest(f"models.{name}: this version has no om.{entry.combine}.")
    combined: Model = function(models, **entry.arguments)
    return combined


def _read_size(name: str, value: int | str) -> int:
    if isinstance(value, str):
        digits = value.strip().upper().rstrip("BIKMGT ")
        unit = value.strip().upper()[len(digits) :].strip()
        try:
            value = int(float(digits) * _UNITS[unit])
        except (KeyError, ValueError):
            raise InvalidRequest(f"{name}: {value!r} is no size.", next_step='Write "16GB" or "32MiB".') from None
    if value < 1:
        raise InvalidRequest(f"{name}: it must be more than 0.")
    return value
