"""The interface of a catalog, and the registry that its file adds it to.

A catalog is one file: a class derived from `Catalog` with `@register` before it. Files of this package are
found by looking into it, those of other distributions by an entry point in the group `openmodels.catalogs`
whose value is the module or the class. Search, index, records and the command line read the registry, so
a new catalog changes none of them.
"""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, TypeVar

from openmodels.errors import InvalidRequest, MissingExtra

if TYPE_CHECKING:
    from openmodels.catalog.index.update import Listing
    from openmodels.catalog.query import Query
    from openmodels.catalog.record import ModelRecord

ENTRY_POINTS = "openmodels.catalogs"

_CatalogType = TypeVar("_CatalogType", bound="type[Catalog]")
_registered: dict[str, type[Catalog]] = {}
_ordered: tuple[type[Catalog], ...] | None = None


class Catalog(ABC):
    """Where models are listed.

    Attributes:
        name: What `catalog=` and the records call it.
        title: What messages and tables call it.
        description: What it lists, in a few words.
        precedence: Where catalogs disagree, the statement of the lowest counts.
        prefix: What stands before its ids, so that an id shows its catalog.
        is_local: It is read at each search, without a network, and is not part of the index.
        lookup_seconds: How many seconds `get` and `find` may take together, retries included.
        skipped: The rows that could not be read since the catalog was opened, and why.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    description: ClassVar[str]
    precedence: ClassVar[int] = 100
    prefix: ClassVar[str]
    is_local: ClassVar[bool] = False
    lookup_seconds: ClassVar[float] = 25.0

    def __init__(self) -> None:
        self.skipped: list[str] = []

    @abstractmethod
    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield records that may match; the caller filters again and ranks."""

    @abstractmethod
    def get(self, model_id: str) -> ModelRecord:
        """Return one record, as full as the catalog has it.

        Args:
            model_id: The id, with or without the prefix.

        Raises:
            ModelNotFound: The catalog does not have it.
        """

    def find(self, model_id: str) -> ModelRecord | None:
        """Return what the catalog has of a model by its id in another catalog, or None."""
        del model_id
        return None

    def fill(self, listing: Listing) -> None:
        """Put the models into the index; by default those of a search without words."""
        from openmodels.catalog.query import Query

        listing.put(self.search(Query()))

    def limit_time(self, seconds: float) -> None:
        """Limit the seconds that all requests from now on take together."""
        del seconds

    @classmethod
    def owns(cls, model_id: str) -> bool:
        """Return whether an id is one of this catalog's."""
        return model_id.startswith(cls.prefix)

    @classmethod
    def ids_of(cls, model_id: str) -> dict[str, str]:
        """Return the ids that a record has by the id it is called by."""
        return {cls.name: model_id.removeprefix(cls.prefix)}

    @classmethod
    def alias(cls, model_id: str) -> str | None:
        """Return the id in another catalog that is known to name the same model, or None."""
        del model_id
        return None


@dataclass(slots=True)
class Page:
    """A page of a listing: its records, and where the next page is, if any."""

    records: list[ModelRecord]
    next: str | None


def register(catalog: _CatalogType) -> _CatalogType:
    """Add a catalog to those that are searched: the decorator of its class."""
    global _ordered  # noqa: PLW0603 - the registry is one for the process
    if _registered.get(catalog.name, catalog).__qualname__ != catalog.__qualname__:
        raise InvalidRequest(f"name: there is another catalog called {catalog.name!r}.")
    if "prefix" not in vars(catalog):
        catalog.prefix = f"{catalog.name}:"
    _registered[catalog.name] = catalog
    _ordered = None
    return catalog


def catalogs() -> tuple[type[Catalog], ...]:
    """Return the classes of all catalogs, the one whose statements count most first."""
    global _ordered  # noqa: PLW0603 - as above
    if _ordered is None:
        _discover()
        _ordered = tuple(sorted(_registered.values(), key=lambda catalog: (catalog.precedence, catalog.name)))
    return _ordered


def names() -> tuple[str, ...]:
    """Return the names of all catalogs, the one whose statements count most first."""
    return tuple(catalog.name for catalog in catalogs())


def find(name: str) -> type[Catalog]:
    """Return a catalog's class by its name."""
    catalogs()
    return _registered[name]


def owner_of(model_id: str) -> type[Catalog]:
    """Return the catalog that an id belongs to; by default the first one."""
    first, *others = catalogs()
    return next((catalog for catalog in others if catalog.owns(model_id)), first)


def _discover() -> None:
    from importlib.metadata import entry_points

    from openmodels.catalog import sources

    # A file imports its HTTP client or SDK only when its catalog is opened: all files together take 2 ms.
    for module in pkgutil.iter_modules(sources.__path__, f"{sources.__name__}."):
        import_module(module.name)
    for point in entry_points(group=ENTRY_POINTS):
        owner = point.dist.name if point.dist else point.value
        try:
            point.load()
        except Exception as error:
            raise MissingExtra(
                f"The catalog {point.name!r} from the package {owner!r} does not import: "
                f"{type(error).__name__}: {error}.",
                next_step=f"Repair or remove {owner!r}.",
            ) from error
