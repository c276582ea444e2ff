"""Filling the index from the catalogs; only ever when the user asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from openmodels import settings
from openmodels.catalog.index import codec
from openmodels.catalog.index.codec import today
from openmodels.catalog.index.reader import default_path
from openmodels.catalog.index.writer import Writer
from openmodels.catalog.record import ModelRecord, Offer, Provenance
from openmodels.catalog.sources import hub_rows
from openmodels.catalog.sources.azure import AzureCatalog
from openmodels.catalog.sources.hub import HubCatalog
from openmodels.errors import InvalidRequest, MissingExtra, Offline, OpenModelsError
from openmodels.hub import fields
from openmodels.settings import install_hint

TOP = 50_000
"""How many of the Hub's models a plain update takes, the most downloaded first."""

_STALE = timedelta(days=7)
_TRENDING_PAGES = 1
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Outcome:
    """What came of one catalog.

    Attributes:
        catalog: Its name.
        models: How many records it gave.
        removed: How many it lists no longer.
        skipped: Rows that could not be read, and why.
        failure: Why it could not be read to its end, or None.
    """

    catalog: str
    models: int = 0
    removed: int = 0
    skipped: list[str] = field(default_factory=list)
    failure: OpenModelsError | None = None


def update(
    *,
    path: Path | None = None,
    everything: bool = False,
    top: int = TOP,
    catalogs: Iterable[str] = ("hub", "azure"),
    progress: Progress | None = None,
) -> list[Outcome]:
    """Bring the index up to date; one that is not there yet is made.

    The Hub's most downloaded models and those trending are listed again once a week, in between
    only what changed; the Azure catalog always whole. An update cut short goes on where it stopped.

    Args:
        path: The index; default in the cache folder.
        everything: List all of the Hub: about 3 million models, half an hour without a token.
        top: How many of the Hub's models otherwise.
        catalogs: "hub" and "azure", or one of them.
        progress: Called with a catalog's name and how many of its models have come.

    Returns:
        What came of each catalog. One that cannot be reached does not keep the others from their update.

    Raises:
        Offline: The network is switched off.
        InvalidRequest: Another update is running.
    """
    wanted = list(catalogs)
    for name in wanted:
        if name not in ("hub", "azure"):
            raise InvalidRequest(f"catalogs: {name!r} is not one of hub, azure.")
    if settings.read().offline:
        raise Offline(
            "The network is switched off, so the index cannot be updated.",
            next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.",
        )
    tell = progress or (lambda _catalog, _count: None)
    with Writer(path or default_path()) as writer:
        outcomes: list[Outcome] = []
        for name in wanted:
            outcome = Outcome(name)
            if writer.discarded and not outcomes:
                outcome.skipped.append(f"the index that was there, which is made anew: {writer.discarded}")
            outcomes.append(outcome)
            source: Any = HubCatalog() if name == "hub" else AzureCatalog()
            try:
                if name == "hub":
                    _hub(writer, source, outcome, tell, top=None if everything else top)
                else:
                    _azure(writer, source, outcome, tell)
            except OpenModelsError as error:
                outcome.failure = error
                writer.flush()
            outcome.skipped += source.skipped
        if any(outcome.models for outcome in outcomes):
            writer.finish()
    return outcomes


def from_parquet(file: Path, *, path: Path | None = None, progress: Progress | None = None) -> Outcome:
    """Make the index from a public dump of the Hub's metadata, replacing the one that is there.

    Args:
        file: A parquet file with the Hub's columns (id, downloads, likes, tags, cardData …); nested
            values may be JSON text.
        path: The index; default in the cache folder.
        progress: Called with "hub" and how many models have come.

    Raises:
        MissingExtra: pyarrow is not installed.
        InvalidRequest: No such file, or no column "id".
    """
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "Reading parquet needs pyarrow, which is not installed.", next_step=f"Run: {install_hint('parquet')}"
        ) from error
    outcome = Outcome("hub")
    try:
        opened = parquet.ParquetFile(file)
    except (OSError, ArrowException) as error:
        raise InvalidRequest(f"{file} is no parquet file that can be read.", next_step="Check the path.") from error
    if "id" not in opened.schema_arrow.names:
        raise InvalidRequest(f"{file} has no column 'id'.", next_step="Take a dump of the Hub's models.")
    as_of = fields.day((opened.schema_arrow.metadata or {}).get(b"as_of", b"").decode()) or today()
    with Writer(path or default_path(), fresh=True) as writer:
        for batch in opened.iter_batches(batch_size=5_000):
            for row in batch.to_pylist():
                try:
                    writer.put(hub_rows.record(row, as_of))
                    outcome.models += 1
                except ValueError as error:
                    outcome.skipped.append(str(error).splitlines()[0][:200])
            if progress:
                progress("hub", outcome.models)
        writer.flush(hub__as_of=as_of.isoformat())
        writer.finish()
    return outcome


def _hub(writer: Writer, source: HubCatalog, outcome: Outcome, tell: Progress, *, top: int | None) -> None:
    offers: dict[str, tuple[Offer, ...]] = {}
    try:
        offers = source.offers()
    except OpenModelsError as error:
        source.skipped.append(f"prices of the providers: {error.cause}")
    kind = "all" if top is None else "top"
    now = today()
    changed_since = _incremental(writer, now) if top is not None else None
    if changed_since:
        for page in source.pages(sort="lastModified"):
            _take(writer, page.records, offers, outcome, tell)
            writer.flush()
            oldest = min((record.updated for record in page.records if record.updated), default=now)
            if oldest < changed_since or outcome.models >= (top or 0):
                break
    else:
        _whole(writer, source, offers, outcome, tell, kind=kind, top=top)
    for page, _ in zip(source.pages(sort="trendingScore"), range(_TRENDING_PAGES), strict=False):
        _take(writer, [record for record in page.records if record.trending], offers, outcome, tell)
    writer.flush(hub__as_of=now.isoformat())


def _whole(
    writer: Writer,
    source: HubCatalog,
    offers: dict[str, tuple[Offer, ...]],
    outcome: Outcome,
    tell: Progress,
    *,
    kind: str,
    top: int | None,
) -> None:
    """List from the most downloaded on, from where an interrupted listing of the same kind stopped."""
    start = writer.get("hub.next") if writer.get("hub.kind") == kind else None
    if start is None:
        writer.flush(hub__kind=kind, hub__begun=today().isoformat(), hub__taken="0")
    taken = int(writer.get("hub.taken") or 0)
    for page in source.pages(start):
        taken += _take(writer, page.records, offers, outcome, tell)
        writer.flush(hub__next=page.next, hub__taken=str(taken))
        if top is not None and taken >= top:
            break
    begun = fields.day(writer.get("hub.begun"))
    if top is None and begun:
        outcome.removed = writer.remove_older("hub", codec.days(begun) or 0)
    writer.flush(hub__next=None, hub__kind=None, hub__taken=None, hub__whole=today().isoformat())


def _incremental(writer: Writer, now: date) -> date | None:
    """Return since when changes are wanted, or None where everything must be listed again."""
    if writer.get("hub.next"):
        return None
    whole, last = fields.day(writer.get("hub.whole")), fields.day(writer.get("hub.as_of"))
    if whole is None or last is None or now - whole > _STALE:
        return None
    return last


def _azure(writer: Writer, source: AzureCatalog, outcome: Outcome, tell: Progress) -> None:
    for page in source.pages():
        outcome.models += writer.put_all(page.records)
        tell("azure", outcome.models)
    now = today()
    writer.flush()
    if outcome.models:
        # A model listed yesterday and not today is gone: the listing above was whole.
        outcome.removed = writer.remove_older("azure", codec.days(now) or 0)
    writer.flush(azure__as_of=now.isoformat())


def _take(
    writer: Writer, records: list[ModelRecord], offers: dict[str, tuple[Offer, ...]], outcome: Outcome, tell: Progress
) -> int:
    outcome.models += writer.put_all(_with_offers(records, offers))
    tell("hub", outcome.models)
    return len(records)


def _with_offers(records: Iterable[ModelRecord], offers: dict[str, tuple[Offer, ...]]) -> Iterator[ModelRecord]:
    for record in records:
        found = offers.get(record.id.lower())
        if not found:
            yield record
            continue
        fact = Provenance(source="router", as_of=today())
        changes: dict[str, Any] = {"offers": found, "provenance": {**record.provenance, "offers": fact}}
        lengths = [offer.context_length for offer in found if offer.context_length]
        with suppress(ValueError):
            if record.context_length is None:
                # What the most generous host allows; the model's own limit is not stated there.
                changes["context_length"] = max(lengths)
                changes["provenance"] = {**changes["provenance"], "context_length": fact}
        yield record.model_copy(update=changes)
