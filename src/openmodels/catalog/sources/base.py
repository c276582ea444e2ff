"""The interface of a catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord


class Catalog(Protocol):
    """Where models are listed.

    Attributes:
        name: "hub", "azure" or "cache".
        skipped: The rows that could not be read since the catalog was opened, and why.
    """

    name: str
    skipped: list[str]

    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield records that may match; the caller filters again and ranks."""
        ...

    def get(self, model_id: str) -> ModelRecord:
        """Return one record, as full as the catalog has it.

        Raises:
            ModelNotFound: The catalog does not have it.
        """
        ...


@dataclass(slots=True)
class Page:
    """A page of a listing.

    Attributes:
        records: The rows that could be read.
        next: Where the next page is, or None on the last.
    """

    records: list[ModelRecord]
    next: str | None
