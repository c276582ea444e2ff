"""What a search returns: a list of records that also shows itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from openmodels import escaping
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search.interpretation import Interpretation
from openmodels.errors import InvalidRequest, MissingExtra

FACETS = {
    "license": "license", "license_class": "class", "task": "task", "language": "lang", "family": "family",
    "library": "lib", "format": "format", "gated": "gated", "open": "open", "author": "", "catalog": "in",
}  # fmt: skip
"""Fields by which matches are counted, and the kind of their terms in the index; an author is part of the id."""


class Results(list[ModelRecord]):
    """Records, the best first.

    Attributes:
        notes: What could not be reached, how old the index is, how the text was read.
        interpretation: How the text was read: what its parts mean, and which words were left out.
    """

    def __init__(
        self,
        records: Iterable[ModelRecord] = (),
        *,
        notes: Iterable[str] = (),
        interpretation: Interpretation | None = None,
        total: Callable[[], int] | None = None,
        facets: Callable[[str], dict[str, int]] | None = None,
    ) -> None:
        super().__init__(records)
        self.interpretation = interpretation or Interpretation()
        clauses = [str(self.interpretation)] if self.interpretation else []
        self.notes = list(dict.fromkeys([*notes, *clauses]))
        self._total = total
        self._facets = facets

    def __contains__(self, model: object) -> bool:
        """Return whether a record, or the model of an id in any case, is among them."""
        if isinstance(model, str):
            return any(record.id.lower() == model.lower() for record in self)
        return super().__contains__(model)

    def __str__(self) -> str:
        heads = ("model", "task", "parameters", "license", "open", "downloads")
        lines = [heads, *(_cells(record, heads) for record in self)]
        widths = [max(len(line[place]) for line in lines) for place in range(len(heads))]
        table = ("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
        return "\n".join([*(line.rstrip() for line in table), *self.notes])

    def __repr__(self) -> str:
        return f"Results({[record.id for record in self]}, total={self.total})"

    @property
    def total(self) -> int:
        """Return how many models match, shown or not."""
        return max(len(self), self._total()) if self._total else len(self)

    def facets(self, field: str) -> dict[str, int]:
        """Return how many of all matches have which value, the commonest first.

        Args:
            field: One of `FACETS`.

        Raises:
            InvalidRequest: The field is not a facet.
        """
        if field not in FACETS:
            raise InvalidRequest(f"field: {field!r} is no facet.", next_step=f"There are: {', '.join(FACETS)}.")
        return self._facets(field) if self._facets else {}

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame with one row per model.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas  # noqa: ICN001 - for the one call below
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "to_pandas needs pandas, which is not installed.", next_step="Run: pip install pandas"
            ) from error
        return pandas.DataFrame([row(record) for record in self])

    def _repr_html_(self) -> str:
        heads = ("model", "task", "parameters", "license", "open", "downloads", "context", "updated")
        body = "".join(
            "<tr>" + "".join(f"<td>{escaping.escape_html(cell)}</td>" for cell in _cells(record, heads)) + "</tr>"
            for record in self
        )
        notes = "".join(f"<p><small>{escaping.escape_html(note)}</small></p>" for note in self.notes)
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in heads)}</tr>{body}</table>{notes}"


def _cells(record: ModelRecord, heads: Iterable[str]) -> list[str]:
    """Return a record's cells; its marks ("retired 2025-06-30") stand beside its id."""
    fields = row(record)
    fields["model"] = " ".join([record.id, *(f"[{mark}]" for mark in record.marks)])
    return [shown(fields[name]) for name in heads]


def row(record: ModelRecord) -> dict[str, Any]:
    """Return a record as a flat row."""
    return {
        "model": record.id,
        "task": record.task,
        "parameters": record.parameters.total if record.parameters else None,
        "context": record.context_length,
        "license": record.license.label if record.license else None,
        "license_class": record.license.license_class if record.license else None,
        "languages": ", ".join(record.languages) if record.languages else None,
        "gated": record.gated,
        "open": record.open,
        "downloads": record.downloads,
        "likes": record.likes,
        "updated": record.updated,
        "catalogs": ", ".join(record.catalogs),
        "variants": record.variants,
    }


def shown(value: Any) -> str:
    """Return a value for people: large numbers shortened, the unknown as "-"."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        for unit, name in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**4, "k")):
            if value >= unit:
                return f"{value / (unit if name != 'k' else 1000):.3g}{name}"
    return escaping.escape_line(str(value))
