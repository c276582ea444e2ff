"""What the catalogs know of a model, each field with its source and date.

Unknown is None, never 0, False or a guess; an empty tuple means "known to be none".
"""

from collections.abc import ItemsView, Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, RootModel, computed_field, model_validator

from openmodels import escaping, licenses
from openmodels.catalog.sources import base as sources
from openmodels.hub.card import Relation
from openmodels.hub.model_page import Gate, RepositoryFile
from openmodels.hub.offers import HostedModel
from openmodels.types.messages import Frozen

Day = date
LicenseClass = Literal["open", "restricted", "non-commercial", "unknown"]
"""open: OSI-approved or an open content license. restricted: commercial use on conditions."""

_CLASSES: dict[licenses.LicenseClass, LicenseClass] = {
    licenses.LicenseClass.OSI_APPROVED: "open",
    licenses.LicenseClass.OPEN_DATA: "open",
    licenses.LicenseClass.OPEN_NOT_OSI: "open",
    licenses.LicenseClass.RESTRICTED: "restricted",
    licenses.LicenseClass.NON_COMMERCIAL: "non-commercial",
}
_UNREAD = (licenses.LicenseClass.UNKNOWN, licenses.LicenseClass.AMBIGUOUS)


class Ids(RootModel[dict[str, str]]):
    """The model's name in each catalog that has it, by the catalog's name.

    `ids["azure"]` and `ids.azure` are the same, but for a catalog that does not have the model the second is None.

    Attributes:
        hub: "org/model" on the Hugging Face Hub.
        azure: "registry/model" in the Azure AI catalog.
    """

    model_config = ConfigDict(frozen=True)
    root: dict[str, str] = Field(default_factory=dict)

    if TYPE_CHECKING:

        def __init__(self, root: Mapping[str, str | None] = ..., /, **ids: str | None) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _without_unknown(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data

    def __getattr__(self, name: str) -> str | None:
        if not name.startswith("_") and (name in self.root or name in sources.names()):
            return self.root.get(name)
        raise AttributeError(f"{name!r} is not the name of a catalog.")

    def __getitem__(self, name: str) -> str:
        return self.root[name]

    def __contains__(self, name: object) -> bool:
        return name in self.root

    def __hash__(self) -> int:
        return hash(frozenset(self.root.items()))

    def get(self, name: str) -> str | None:
        """Return the id in a catalog, or None."""
        return self.root.get(name)

    def items(self) -> ItemsView[str, str]:
        """Return pairs of a catalog's name and the id there."""
        return self.root.items()


class Parameters(Frozen):
    """The number of parameters, and of those active for one token."""

    total: int | None = None
    active: int | None = None

    def __str__(self) -> str:
        counts = {"": self.total, " active": self.active}
        return ", ".join(f"{count:,}{what}" for what, count in counts.items() if count is not None) or "-"


class License(Frozen):
    """The license as the catalog states it.

    Attributes:
        id: The SPDX id where there is one, else the Hub's id ("llama2", "other").
        name: Its name, where the id says nothing.
        link: Where its text is.
    """

    id: str
    name: str | None = None
    link: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _without_computed(cls, data: Any) -> Any:
        # A record reads back from its own JSON, which holds the class too.
        if not isinstance(data, dict):
            return data
        return {name: value for name, value in data.items() if name != "license_class"}

    @property
    def terms(self) -> licenses.LicenseTerms:
        """Return what it means, as reports on openness read it."""
        return licenses.find_stated(self.id, self.name)

    def __str__(self) -> str:
        return escaping.escape_line(self.label)

    @property
    def label(self) -> str:
        """Return what tables, trees and reports call it."""
        return self.terms.label or self.id

    @computed_field  # type: ignore[prop-decorator]
    @property
    def license_class(self) -> LicenseClass:
        """Return what kind of license it is; "unknown" where that takes reading its text."""
        return _CLASSES.get(licenses.license_class(self.id, self.name), "unknown")


class Base(Frozen):
    """A model this one was made from.

    Attributes:
        id: The base's hub id.
        relation: How; None where the catalog does not say.
    """

    id: str
    relation: Relation | None = None


class Modalities(Frozen):
    """What goes in and comes out: "text", "image", "audio", "video", "embeddings"."""

    input: tuple[str, ...] | None = None
    output: tuple[str, ...] | None = None


class Offer(HostedModel):
    """Where the model is hosted, with the terms of `HostedModel`.

    Attributes:
        as_of: When the price was read.
    """

    as_of: date | None = None


class Lifecycle(Frozen):
    """Where the model stands with its vendor.

    Attributes:
        status: The vendor's word: "Preview", "Generally available", "Retired".
        retires_on: The day inference is switched off.
        replacement: The vendor's successor.
    """

    status: str | None = None
    retires_on: date | None = None
    replacement: str | None = None

    @property
    def stage(self) -> Literal["retired", "deprecated"] | None:
        """Return "retired" from its last day on, "deprecated" before, None for neither."""
        status = (self.status or "").lower()
        if "retired" in status or (self.retires_on and self.retires_on <= datetime.now(UTC).date()):
            return "retired"
        return "deprecated" if "deprecat" in status or "legacy" in status or "retiring" in status else None


class Score(Frozen):
    """A reported benchmark result.

    Attributes:
        value: The number; its unit is the benchmark's.
        benchmark: The benchmark (a dataset id on the Hub) and its task.
        source: Who reported it, or where.
        date: When.
        verified: Whether the catalog checked the run; None where it does not say.
    """

    value: float
    benchmark: str
    source: str | None = None
    date: Day | None = None
    verified: bool | None = None


class Provenance(Frozen):
    """Where a field comes from, and from which day the statement is."""

    source: str
    as_of: date | None = None


class FieldConflict(Frozen):
    """Two catalogs disagree: the record keeps one statement, and this the other."""

    field: str
    kept: str
    kept_source: str
    other: str
    other_source: str


class ModelRecord(Frozen):
    """A model as the catalogs list it.

    Attributes:
        ids: Its names.
        author: The organisation or user on the Hub, or the publisher in Azure.
        task: In the Hub's vocabulary ("text-generation").
        family: The kind of model in transformers' words ("llama").
        architecture: The class in transformers ("LlamaForCausalLM").
        library: What loads it.
        parameters: How many.
        context_length: Tokens.
        languages: Codes of BCP 47.
        modalities: What goes in and out.
        capabilities: "tool-calling", "reasoning", "streaming" and the like.
        fine_tuning_tasks: Tasks the catalog offers to fine-tune it for.
        license: Its license.
        gated: False, or how access is granted.
        base_models: What it was made from.
        trained_from: The model that its config was loaded from (`_name_or_path`).
        datasets: What it was trained on, as far as declared.
        tags: The catalog's other tags.
        downloads: Of the last 30 days.
        likes: On the Hub.
        trending: The Hub's own score.
        created: The day.
        updated: The day of the last change.
        formats: Kinds of weight files.
        files: Names and sizes.
        offers: Who hosts it.
        deployments: How Azure offers to run it ("standard-paygo", "VM").
        lifecycle: Where it stands with its vendor.
        version: The version in Azure that the other fields are of.
        disabled: True where the Hub has disabled it: nothing can be downloaded.
        renamed_from: Ids that it had before on the Hub; asking for one leads here.
        scores: Benchmark results.
        local: The folder on this disk that holds it.
        variants: How many quantisations, adapters and merges of it the catalog lists.
        provenance: Source and day by field name.
        conflicts: What another catalog says instead.
    """

    ids: Ids
    author: str | None = None
    task: str | None = None
    family: str | None = None
    architecture: str | None = None
    library: str | None = None
    parameters: Parameters | None = None
    context_length: int | None = None
    languages: tuple[str, ...] | None = None
    modalities: Modalities | None = None
    capabilities: tuple[str, ...] | None = None
    fine_tuning_tasks: tuple[str, ...] | None = None
    license: License | None = None
    gated: Gate | None = None
    base_models: tuple[Base, ...] | None = None
    trained_from: str | None = None
    datasets: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    downloads: int | None = None
    likes: int | None = None
    trending: float | None = None
    created: date | None = None
    updated: date | None = None
    formats: tuple[str, ...] | None = None
    files: tuple[RepositoryFile, ...] | None = None
    offers: tuple[Offer, ...] | None = None
    deployments: tuple[str, ...] | None = None
    lifecycle: Lifecycle | None = None
    version: str | None = None
    disabled: bool | None = None
    renamed_from: tuple[str, ...] | None = None
    scores: tuple[Score, ...] | None = None
    local: str | None = None
    variants: int | None = None
    provenance: dict[str, Provenance] = Field(default_factory=dict)
    conflicts: tuple[FieldConflict, ...] = ()

    # `in` would compare with pairs of field and value, and never be true.
    __contains__: ClassVar[None] = None

    def __eq__(self, other: object) -> bool:
        return self.id == other if isinstance(other, str) else super().__eq__(other)

    def __hash__(self) -> int:
        # Of the id alone: a record equals its id, and what is equal has one hash.
        return hash(self.id)

    def __str__(self) -> str:
        size = f"{self.parameters.total:,} parameters" if self.parameters and self.parameters.total else None
        license_ = self.license.label if self.license else None
        return escaping.escape_line(", ".join(part for part in (self.id, self.task, size, license_) if part))

    @property
    def open(self) -> bool | None:
        """Return whether the weights are free to take under an OSI-approved license.

        Read from the catalogs' facts alone: the license is the stated one, its text, the data and the code
        are not looked at. True: no gate and OSI-approved. False: gated, disabled, or under a license known not to
        be OSI-approved. None: one of these is not known, is stated by another catalog, or the catalogs state
        different licenses.
        """
        kind = licenses.license_class(self.license.id, self.license.name) if self.license else _UNREAD[0]
        if self.gated or self.disabled or kind not in (licenses.LicenseClass.OSI_APPROVED, *_UNREAD):
            return False
        disputed = any(conflict.field == "license" for conflict in self.conflicts)
        # A license that only another catalog states is not the one of the weights that have no gate here.
        disputed |= self.license is not None and source_of(self, "license") != source_of(self, "gated")
        return None if self.gated is None or kind in _UNREAD or disputed else True

    @property
    def marks(self) -> tuple[str, ...]:
        """Return what to say beside its id ("disabled", "retired 2025-06-30")."""
        stage, day = (self.lifecycle.stage, self.lifecycle.retires_on) if self.lifecycle else (None, None)
        marks = [f"{'retires' if stage == 'deprecated' else 'retired'} {day}" if day else stage] if stage else []
        if stage == "deprecated" and day:
            marks.insert(0, "deprecated")
        marks += ["disabled"] if self.disabled else []
        return (*filter(None, marks), *(f"renamed from {old}" for old in self.renamed_from or ()))

    @property
    def id(self) -> str:
        """Return the id it is called by.

        It is the hub id, else "azure:registry/model" and the like, else its folder.
        """
        ids = self.ids.root
        for catalog in sources.catalogs() if ids else ():
            if (model_id := ids.get(catalog.name)) is not None:
                return catalog.prefix + model_id
        return self.local or ""

    @property
    def catalogs(self) -> tuple[str, ...]:
        """Return the names of the catalogs that list it."""
        stated = {provenance.source for provenance in self.provenance.values()}
        ids = self.ids.root
        # An id without a prefix may come from another catalog, which names its models by it too.
        return tuple(
            catalog.name
            for catalog in sources.catalogs()
            if catalog.name in stated or (catalog.prefix and catalog.name in ids)
        )

    def known(self) -> dict[str, Any]:
        """Return the fields that are known, by name, without provenance and conflicts."""
        skip = ("ids", "provenance", "conflicts", "variants")
        return {
            name: value
            for name in type(self).model_fields
            if name not in skip and (value := getattr(self, name)) is not None
        }

    @classmethod
    def sourced(
        cls, source: str, as_of: date | None, fields: Mapping[str, Any], other_sources: Mapping[str, str] | None = None
    ) -> Self:
        """Return a record whose known fields all come from one source on one day.

        Args:
            source: The catalog's name.
            as_of: The day.
            fields: The fields; those that are None are unknown.
            other_sources: Another source for single fields ("name" for a size read off the id).
        """
        known = {name: value for name, value in fields.items() if value is not None}
        exceptions = other_sources or {}
        provenance = {name: _provenance(exceptions.get(name, source), as_of) for name in known if name != "ids"}
        return cls(**known, provenance=provenance)


@lru_cache(maxsize=256)
def _provenance(source: str, as_of: date | None) -> Provenance:
    """Return the provenance that all fields of a row share."""
    return Provenance(source=source, as_of=as_of)


def source_of(record: ModelRecord, field: str) -> str | None:
    """Return where a field of a record comes from."""
    provenance = record.provenance.get(field)
    return provenance.source if provenance else None
