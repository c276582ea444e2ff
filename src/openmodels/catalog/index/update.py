"""Filling the index from the catalogs; only ever when the user asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from openmodels import settings
from openmodels.catalog.index import codec
from openmodels.catalog.index.codec import today
from openmodels.catalog.index.reader import default_path
from openmodels.catalog.index.writer import Writer
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources import base as sources
from openmodels.errors import InvalidRequest, Offline, OpenModelsError

TOP = 50_000  # how many of the Hub's models a plain update takes, the most downloaded first

Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Outcome:
    """What came of one catalog."""

    catalog: str
    models: int = 0  # how many records it gave
    removed: int = 0  # how many it lists no longer
    skipped: list[str] = field(default_factory=list)  # rows that could not be read, and why
    failure: OpenModelsError | None = None  # why it could not be read to its end, or None


class Listing:
    """Where a catalog puts its models during an update of the index."""

    def __init__(self, writer: Writer, outcome: Outcome, top: int | None, progress: Progress | None) -> None:
        self.top = top  # how many models to take of a catalog that has millions; None for all
        self._writer = writer
        self._outcome = outcome
        self._progress = progress

    @property
    def count(self) -> int:
        """Return how many models this update has put so far."""
        return self._outcome.models

    def put(self, records: Iterable[ModelRecord]) -> int:
        """Add records; return how many."""
        count = self._writer.put_all(records)
        self._outcome.models += count
        if self._progress:
            self._progress(self._outcome.catalog, self._outcome.models)
        return count

    def commit(self, **notes: str | None) -> None:
        """Write what was put, and notes for a later update; None removes a note."""
        self._writer.flush({f"{self._outcome.catalog}.{name}": value for name, value in notes.items()})

    def note(self, name: str) -> str | None:
        """Return a note of this catalog, or None."""
        return self._writer.get(f"{self._outcome.catalog}.{name}")

    def remove_older(self, day: date) -> None:
        """Remove the models that this catalog listed for the last time before a day."""
        self._outcome.removed = self._writer.remove_older(self._outcome.catalog, codec.days(day) or 0)


def update(
    *,
    path: Path | None = None,
    everything: bool = False,
    top: int = TOP,
    catalogs: Iterable[str] = (),
    progress: Progress | None = None,
) -> list[Outcome]:
    """Bring the index up to date; make one where there is none.

    The Hub's most downloaded models and those trending are listed again once a week, in between
    only what changed; every other catalog is listed completely. An update cut short continues where it stopped.

    Args:
        path: The index; default in the cache folder.
        everything: List all of the Hub: about 3 million models, half an hour without a token.
        top: How many of the Hub's models otherwise.
        catalogs: Names of catalogs; default all but those that are on this disk.
        progress: Called with a catalog's name and how many of its models have come.

    Returns:
        What came of each catalog. One that cannot be reached does not keep the others from their update.

    Raises:
        Offline: The network is switched off.
        InvalidRequest: Another update is running.
    """
    remote = [catalog.name for catalog in sources.catalogs() if not catalog.is_local]
    wanted = list(catalogs) or remote
    for name in wanted:
        if name not in remote:
            raise InvalidRequest(f"catalogs: {name!r} is not one of {', '.join(remote)}.")
    if settings.is_offline():
        raise Offline(
            "The network is switched off, so the index cannot be updated.",
            next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.",
        )
    with Writer(path or default_path()) as writer:
        outcomes: list[Outcome] = []
        for name in wanted:
            outcome = Outcome(name)
            if writer.discarded and not outcomes:
                outcome.skipped.append(f"the index that was there, which is made anew: {writer.discarded}")
            outcomes.append(outcome)
            source = sources.find(name)()
            listing = Listing(writer, outcome, None if everything else top, progress)
            try:
                source.fill(listing)
                listing.commit(as_of=today().isoformat())
            except OpenModelsError as error:
                outcome.failure = error
                writer.flush()
            outcome.skipped += source.skipped
        if any(outcome.models for outcome in outcomes):
            writer.finish()
    return outcomes


def from_parquet(file: Path, *, path: Path | None = None, progress: Progress | None = None) -> Outcome:
    """Make a new index from a public dump of the Hub's metadata.

    Args:
        file: A parquet file with the Hub's columns (id, downloads, likes, tags, cardData …); nested
            values may be JSON text.
        path: The index; default in the cache folder.
        progress: Called with "hub" and how many models have come.

    Raises:
        MissingExtra: pyarrow is not installed.
        InvalidRequest: No such file, or no column "id".
    """
    from openmodels.catalog.sources.hub import HubCatalog

    source = HubCatalog()
    as_of, batches = source.read_parquet(file)
    outcome = Outcome(source.name, skipped=source.skipped)
    with Writer(path or default_path(), fresh=True) as writer:
        listing = Listing(writer, outcome, None, progress)
        for records in batches:
            listing.put(records)
        listing.commit(as_of=as_of.isoformat())
        writer.finish()
    return outcome
