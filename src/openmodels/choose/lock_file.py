"""The lock file: what was known of each model that a project uses, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from openmodels import files
from openmodels.errors import InvalidRequest
from openmodels.hub.model_page import Gate
from openmodels.licenses import LicenseClass
from openmodels.openness.findings import Verdict
from openmodels.output.schema import list_errors
from openmodels.types.messages import Frozen

VERSION = 1
DEFAULT_PATH = "openmodels.lock"
_MARK = "openmodels_lock"
"""The key of the version, which sets a lock file apart from another program's."""
_LARGEST = 50_000_000  # bytes

Part = Literal["model", "openness", "offers", "lifecycle"]
PARTS: dict[Part, tuple[str, ...]] = {
    "model": ("is_available", "current_id", "revision", "license", "gated", "disabled", "newer_version"),
    "openness": ("grade", "verdicts", "unread"),
    "offers": ("offers",),
    "lifecycle": ("status", "retires_on", "replacement"),
}
"""The fields that are read together, from one source on one day."""


class Source(Frozen):
    """Where a part of a model's state was read, and on which day."""

    source: str
    as_of: date


class LockedLicense(Frozen):
    """The license that the model's page states.

    Attributes:
        id: The SPDX id where there is one, else its name.
        kind: How free it is.
        restrictions: What it forbids or demands.
    """

    id: str
    kind: LicenseClass
    restrictions: tuple[str, ...] = ()


class LockedVerdict(Frozen):
    """How open one part of a model is.

    Attributes:
        verdict: The result.
        as_of: The day of the evidence that decided; None where it has no date.
    """

    verdict: Verdict
    as_of: date | None = None


_Price = Annotated[Decimal, Field(ge=0)]


class LockedOffer(Frozen):
    """The terms of a provider.

    Attributes:
        status: "live" or "error", by the router's last probe.
        price_in: US dollars for a million input tokens.
        price_out: US dollars for a million output tokens.
    """

    status: str | None = None
    price_in: _Price | None = None
    price_out: _Price | None = None


class LockedModel(Frozen):
    """The state of one model; a field of a part that `sources` lacks is not known.

    Attributes:
        id: The id that the project uses.
        is_available: Whether its catalog has it.
        current_id: The id that the former one leads to.
        revision: The commit on the Hub, or the version in Azure.
        license: The stated license; None where none is stated.
        gated: Whether access must be asked for.
        disabled: Whether the Hub has disabled it.
        newer_version: The model that its card names as the newer one.
        grade: The grade of the openness report.
        verdicts: The openness verdicts by criterion.
        unread: Pages that could not be read for the verdicts.
        offers: Who hosts it, by the provider's name.
        status: The vendor's word for where it stands.
        retires_on: The day inference is switched off.
        replacement: The vendor's successor.
        sources: Where each part comes from.
    """

    id: str
    is_available: bool = True
    current_id: str | None = None
    revision: str | None = None
    license: LockedLicense | None = None
    gated: Gate | None = None
    disabled: bool = False
    newer_version: str | None = None
    grade: str | None = None
    verdicts: dict[str, LockedVerdict] = Field(default_factory=dict)
    unread: tuple[str, ...] = ()
    offers: dict[str, LockedOffer] = Field(default_factory=dict)
    status: str | None = None
    retires_on: date | None = None
    replacement: str | None = None
    sources: dict[Part, Source] = Field(default_factory=dict)

    @property
    def successor(self) -> str | None:
        """Return what to use in its place, where a vendor or the card names it."""
        return self.replacement or self.newer_version or self.current_id

    def with_part(self, part: Part, other: LockedModel) -> LockedModel:
        """Return the state with a part of another one."""
        fields = {name: getattr(other, name) for name in PARTS[part]}
        return self.model_copy(update={**fields, "sources": {**self.sources, part: other.sources[part]}})

    def to_dict(self) -> dict[str, Any]:
        """Return what is known, as JSON takes it, in a stable order."""
        state = self.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        state |= {"offers": dict(sorted(state["offers"].items()))} if "offers" in state else {}
        order = [name for name in type(self).model_fields if name in state]
        return {name: state[name] for name in order}


def write(path: str | Path, models: Mapping[str, LockedModel], created: date) -> None:
    """Write a lock file: models by their ids in order."""
    content = {
        _MARK: VERSION,
        "created": created.isoformat(),
        "models": {name: models[name].to_dict() for name in sorted(models, key=lambda name: (name.lower(), name))},
    }
    files.write_atomically(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def read(path: str | Path) -> tuple[dict[str, LockedModel], date]:
    """Return the models of a lock file, and the day it was written.

    Raises:
        InvalidRequest: It cannot be read, is damaged, another program's or of a newer version.
    """
    name = str(path)
    if not Path(path).exists():
        raise InvalidRequest(f"There is no lock file {name!r}.", next_step="Write one: openmodels lock ID ...")
    try:
        content = files.read_json(path, largest=_LARGEST)
    except InvalidRequest as error:
        error.next_step = "Restore it from version control, or write it anew: openmodels lock ID ..."
        raise
    if not isinstance(content, dict) or _MARK not in content:
        raise InvalidRequest(
            f"{name} is not a lock file of openmodels: it lacks {_MARK!r}.",
            next_step="Name another file with path=.",
        )
    version = content[_MARK]
    if isinstance(version, int) and not isinstance(version, bool) and version > VERSION:
        raise InvalidRequest(
            f"{name} has version {version} of the lock file, this openmodels reads up to {VERSION}.",
            next_step="Update openmodels.",
        )
    damaged = "Restore it from version control, or write it anew: openmodels lock ID ..."
    models = content.get("models")
    if version != VERSION or not isinstance(models, dict):
        raise InvalidRequest(f"{name} is damaged: its version or its models cannot be read.", next_step=damaged)
    try:
        created = date.fromisoformat(str(content.get("created")))
    except ValueError as error:
        raise InvalidRequest(f"{name} is damaged: 'created' is not a day.", next_step=damaged) from error
    states: dict[str, LockedModel] = {}
    for key, value in models.items():
        try:
            states[key] = LockedModel.model_validate_json(json.dumps(value))
        except ValidationError as error:
            reason = list_errors(error)[0]
            raise InvalidRequest(f"{name} is damaged: {key[:60]!r}: {reason}.", next_step=damaged) from error
    if wrong := [key for key, state in states.items() if state.id != key]:
        raise InvalidRequest(f"{name} is damaged: {wrong[0]!r} holds another model.", next_step=damaged)
    return states, created
