"""One record of the same model in several catalogs.

Records are joined by an id that both state. Names that merely look alike are never joined: a wrong
join shows one model's license on another.
"""

from collections.abc import Mapping
from datetime import date
from functools import reduce
from typing import Any

from openmodels import licenses
from openmodels.catalog.record import FieldConflict, Ids, ModelRecord, Provenance
from openmodels.catalog.sources import base as sources

_UNKNOWN = Provenance(source="unknown")
_LISTS = (
    "languages", "capabilities", "fine_tuning_tasks", "formats", "deployments", "offers", "scores", "tags",
    "renamed_from",
)  # fmt: skip
_COMPARED = ("task", "license", "parameters", "context_length")


def merge_all(parts: Mapping[str, ModelRecord]) -> ModelRecord:
    """Return one record from the statements of several catalogs, by their precedence."""
    # What a catalog stated that is not installed any more counts least.
    return reduce(merge, (parts[name] for name in dict.fromkeys([*sources.names(), *parts]) if name in parts))


def merge(first: ModelRecord, second: ModelRecord) -> ModelRecord:
    """Return a record with what both say.

    Of two statements of the same catalog the newer counts; where different catalogs disagree the first is kept
    and the other noted.
    """
    fields: dict[str, Any] = dict(first.known())
    provenance: dict[str, Provenance] = dict(first.provenance)
    owner = sources.owner_of(first.id).name
    is_listed_by_owner = owner in first.catalogs
    conflicts = {(conflict.field, conflict.other_source): conflict for conflict in first.conflicts}
    for name, value in second.known().items():
        source, kept_source = second.provenance.get(name, _UNKNOWN), provenance.get(name, _UNKNOWN)
        kept: Any = fields.get(name)
        is_unknown = kept is None or (name == "license" and licenses.is_unspecific(kept.id) and not kept.name)
        is_same_source = kept_source.source == source.source
        if name == "license" and is_unknown and is_listed_by_owner and source.source != owner:
            # Reports read the model's own catalog: what only another one states is not its license.
            if value.name or not licenses.is_unspecific(value.id):
                conflicts[name, source.source] = _conflict(name, kept, owner, value, source.source)
        elif is_unknown or (is_same_source and (source.as_of or date.min) >= (kept_source.as_of or date.min)):
            fields[name], provenance[name] = value, source
        elif is_same_source:
            continue
        elif name in _LISTS:
            fields[name] = tuple(dict.fromkeys([*kept, *value]))
        elif name in _COMPARED and not _agree(name, kept, value):
            conflicts[name, source.source] = _conflict(name, kept, kept_source.source, value, source.source)
    # An index made before a renaming keeps the old id.
    former = {name.lower() for name in second.renamed_from or ()}
    current = {name: value for name, value in first.ids.items() if value.lower() not in former}
    ids = {**first.ids.root, **second.ids.root, **current}
    return ModelRecord(ids=Ids(ids), **fields, provenance=provenance, conflicts=tuple(conflicts.values()))


def _conflict(field: str, kept: Any, kept_source: str, other: Any, other_source: str) -> FieldConflict:
    return FieldConflict(
        field=field, kept=_text(kept), kept_source=kept_source, other=_text(other), other_source=other_source
    )


def _text(value: Any) -> str:
    """Return a field's value as a short text."""
    if value is None:
        return "none"
    return str(value.total if hasattr(value, "total") else getattr(value, "id", value))


def _agree(name: str, kept: Any, other: Any) -> bool:
    if name == "license":
        # "custom" is no statement that could contradict.
        return bool(kept.id == other.id or licenses.is_unspecific(other.id))
    if name == "parameters":
        a, b = kept.total, other.total
        return a is None or b is None or abs(a - b) <= 0.1 * max(a, b)
    return bool(kept == other)
