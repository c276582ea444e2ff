"""The Hugging Face Hub as a catalog, with the prices of its providers."""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmodels import licenses
from openmodels.catalog import vocabulary
from openmodels.catalog.index.codec import today
from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord, Offer, Provenance
from openmodels.catalog.search import synonyms
from openmodels.catalog.search.phrases import Phrase, parse_phrases
from openmodels.catalog.sources import hub_records
from openmodels.catalog.sources.base import Catalog, Page, register
from openmodels.errors import InvalidRequest, InvalidResponse, MissingExtra, OpenModelsError
from openmodels.hub import card, model_names, untrusted_fields as fields
from openmodels.hub.model_page import ModelPage
from openmodels.settings import install_hint

if TYPE_CHECKING:
    from openmodels.catalog.index.update import Listing

_FIELDS = """
author baseModels cardData config createdAt disabled downloads evalResults gated gguf inferenceProviderMapping
lastModified library_name likes pipeline_tag safetensors tags trendingScore
"""
_EXPAND = tuple(_FIELDS.split())
_PAGE_SIZE = 1000
_MAX_RECORDS = 400
_STALE = timedelta(days=7)
"""After so long everything is listed again: downloads and likes change without a change of the model."""
_TRENDING_PAGES = 1
_MOST_WORDS = 3  # words of a text that the Hub is asked for, one request each
_SORTS = {"likes": "likes", "trending": "trendingScore", "updated": "lastModified", "created": "createdAt"}


@register
class HubCatalog(Catalog):
    """Lists models of the Hub.

    Args:
        endpoint: Its address; default HF_ENDPOINT, else huggingface.co.
        token: An access token; default HF_TOKEN or the saved login, where it may go to this address; "" for none.
        router: The address of the providers' router; default OPENMODELS_HF_ROUTER, else Hugging Face's.
    """

    name = "hub"
    title = "the Hub"
    description = "the Hugging Face Hub"
    precedence = 0
    prefix = ""

    def __init__(self, endpoint: str | None = None, token: str | None = None, router: str | None = None) -> None:
        super().__init__()
        # Imported late: a search of the index needs no HTTP client.
        from openmodels.hub.client import HubClient, RouterClient

        self.client = HubClient(endpoint, token)
        self.router = RouterClient(router)

    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield records that may match.

        One request for each telling word of the query, since the Hub looks for one text only.
        """
        seen: set[str] = set()
        for params in _search_params(query):
            for record in self._limited(params, _MAX_RECORDS):
                if record.id not in seen:
                    seen.add(record.id)
                    yield record
        if not seen and query.text:
            # A misspelled word is in no id; among the most popular models it can be recognised.
            yield from self._limited(_filter_params(query, limit=_PAGE_SIZE), _PAGE_SIZE)

    def get(self, model_id: str) -> ModelRecord:
        """Return one record, with file sizes and the context length."""
        row = self.client.get_model(model_id)
        expanded = self.client.get_model(model_id, expand=(*_EXPAND, "model-index"))
        row |= {name: value for name, value in expanded.items() if value is not None}
        if any(file.name == "config.json" for file in ModelPage(row).files):
            with suppress(OpenModelsError):  # gated: what the listing states has to do
                config = self.client.get_json(f"/{model_id}/resolve/main/config.json")
                row["config"] = {**config, **(row.get("config") or {})}
        try:
            record = hub_records.build_record(row, today())
        except ValueError as error:
            raise InvalidResponse(f"The Hub's row of {model_id} cannot be read: {error}.") from error
        if record.id.lower() == model_id.lower():
            return record
        provenance = record.provenance | {"renamed_from": Provenance(source=self.name, as_of=today())}
        return record.model_copy(update={"renamed_from": (model_id,), "provenance": provenance})

    def card(self, model_id: str) -> str:
        """Return the text of a model's card; a missing one raises."""
        return self.client.get_file(model_id, "README.md", card.LONGEST)

    def pages(self, start: str | None = None, *, sort: Any = "downloads", **filters: Any) -> Iterator[Page]:
        """Yield pages of the listing; one that cannot be read raises in its turn."""
        params = {"sort": sort, "limit": str(_PAGE_SIZE), **filters, "expand": _EXPAND}
        for rows, next_page in self.client.list_models(params, start=start):
            yield Page(list(self._records(rows)), next_page)

    def offers(self) -> dict[str, tuple[Offer, ...]]:
        """Return who hosts which model at what price, by id in lower case."""
        listed = self.router.list_providers()
        return {name.lower(): hub_records.offers_of(providers, today()) for name, providers in listed.items()}

    def fill(self, listing: "Listing") -> None:
        """Put models and their prices into the index; after a short time, what changed.

        The most downloaded come first, from where an interrupted listing of the same kind stopped.
        """
        offers: dict[str, tuple[Offer, ...]] = {}
        try:
            offers = self.offers()
        except OpenModelsError as error:
            self.skipped.append(f"prices of the providers: {error.cause}")
        changed_since = None if listing.top is None else _last_listing(listing)
        if changed_since:
            for page in self.pages(sort="lastModified"):
                listing.put(_with_offers(page.records, offers))
                listing.commit()
                oldest = min((record.updated for record in page.records if record.updated), default=today())
                if oldest < changed_since or listing.count >= (listing.top or 0):
                    break
        else:
            self._fill_by_downloads(listing, offers)
        for page in islice(self.pages(sort="trendingScore"), _TRENDING_PAGES):
            listing.put(_with_offers([record for record in page.records if record.trending], offers))

    def _fill_by_downloads(self, listing: "Listing", offers: dict[str, tuple[Offer, ...]]) -> None:
        kind = "all" if listing.top is None else "top"
        start = listing.note("next") if listing.note("kind") == kind else None
        if start is None:
            listing.commit(kind=kind, begun=today().isoformat(), taken="0")
        taken = int(listing.note("taken") or 0)
        for page in self.pages(start):
            taken += listing.put(_with_offers(page.records, offers))
            listing.commit(next=page.next, taken=str(taken))
            if listing.top is not None and taken >= listing.top:
                break
        if listing.top is None and (begun := fields.day(listing.note("begun"))):
            listing.remove_older(begun)
        listing.commit(next=None, kind=None, taken=None, whole=today().isoformat())

    def read_parquet(self, file: Path) -> tuple[date, Iterator[Iterable[ModelRecord]]]:
        """Return the day of a dump of the Hub's metadata, and its records in batches.

        MissingExtra: pyarrow is not installed. InvalidRequest: no such file, or no column "id".
        """
        try:
            from pyarrow import ArrowException, parquet
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "Reading parquet needs pyarrow, which is not installed.", next_step=f"Run: {install_hint('parquet')}"
            ) from error
        try:
            dump = parquet.ParquetFile(file)
        except (OSError, ArrowException) as error:
            raise InvalidRequest(f"{file} is no parquet file that can be read.", next_step="Check the path.") from error
        if "id" not in dump.schema_arrow.names:
            raise InvalidRequest(f"{file} has no column 'id'.", next_step="Take a dump of the Hub's models.")
        as_of = fields.day((dump.schema_arrow.metadata or {}).get(b"as_of", b"").decode()) or today()
        return as_of, (self._records(batch.to_pylist(), as_of) for batch in dump.iter_batches(batch_size=5_000))

    def limit_time(self, seconds: float) -> None:
        """Limit the seconds that all requests from now on take together."""
        self.client.retries, self.client.deadline = 1, time.monotonic() + seconds

    def _limited(self, params: dict[str, Any], limit: int) -> Iterator[ModelRecord]:
        for page in self.pages(**params):
            yield from page.records[:limit]
            limit -= len(page.records)
            if limit <= 0:
                return

    def _records(self, rows: Any, as_of: date | None = None) -> Iterator[ModelRecord]:
        if not isinstance(rows, list):
            self.skipped.append("a page that is not a list")
            return
        for row in rows:
            try:
                yield hub_records.build_record(row, as_of or today())
            except ValueError as error:
                self.skipped.append(str(error).splitlines()[0][:200])


def _last_listing(listing: "Listing") -> date | None:
    """Return the day of the last listing, or None where all must be listed again."""
    complete, latest = fields.day(listing.note("whole")), fields.day(listing.note("as_of"))
    is_due = listing.note("next") or complete is None or today() - complete > _STALE
    return None if is_due else latest


def _with_offers(records: Iterable[ModelRecord], offers: dict[str, tuple[Offer, ...]]) -> Iterator[ModelRecord]:
    for record in records:
        hosts = offers.get(record.id.lower())
        if not hosts:
            yield record
            continue
        changes: dict[str, Any] = {"offers": hosts}
        longest = max((offer.context_length or 0 for offer in hosts), default=0)
        if record.context_length is None and longest:
            # What the most generous host allows; the model's own limit is not stated there.
            changes["context_length"] = longest
        provenance = dict.fromkeys(changes, Provenance(source="router", as_of=today()))
        yield record.model_copy(update={**changes, "provenance": record.provenance | provenance})


def _filter_params(query: Query, limit: int = 200) -> dict[str, list[str]]:
    """Return the Hub's parameters for the filters that it knows exactly."""
    gated = False if query.gated is None and query.open else query.gated
    params: dict[str, str | None] = {
        "limit": str(limit),
        "sort": _SORTS.get(query.sort or ""),
        "pipeline_tag": query.task,
        "inference_provider": query.provider,
        "author": query.author if query.author and query.author.lower() not in synonyms.AUTHORS else None,
        "gated": None if gated is None else str(gated).lower(),
    }
    filters = [vocabulary.CONVERSATIONAL] if query.conversational else []
    # The Hub joins filters by "and" only: several values are left to the index.
    if query.license and len(query.license) == 1:
        filters.append(f"license:{licenses.find(query.license[0]).id.lower()}")
    if query.language and len(query.language) == 1:
        filters.append(f"language:{query.language[0].lower()}")
    if query.base_model:
        filters.append(f"base_model:{query.base_model}")
    return {name: [value] for name, value in params.items() if value} | ({"filter": filters} if filters else {})


def _search_params(query: Query) -> Iterator[dict[str, list[str]]]:
    """Yield the Hub's parameters for each telling word, task and language of a query."""
    params = _filter_params(query)
    phrases = parse_phrases(query.text).phrases
    words = list(dict.fromkeys(word for phrase in phrases for word in _telling_words(phrase)))[:_MOST_WORDS]
    yield from (params | {"search": [word]} for word in words)
    tasks = [phrase.tasks[0] for phrase in phrases if phrase.kind == "task"]
    codes = [phrase.code for phrase in phrases if phrase.kind == "language"]
    for task in tasks[:1] if "pipeline_tag" not in params else ():
        yield params | {"pipeline_tag": [task]} | _with_filters(params, codes)
    if codes and not tasks:
        yield params | _with_filters(params, codes)
    if not words and not tasks and not codes:
        yield params


def _with_filters(params: dict[str, list[str]], codes: list[str]) -> dict[str, list[str]]:
    filters = [*params.get("filter", []), *(f"language:{code}" for code in codes[:1])]
    return {"filter": filters} if filters else {}


def _telling_words(phrase: Phrase) -> list[str]:
    """Return the words of a part of a text that may be in names."""
    if phrase.kind != "word" or phrase.word in synonyms.WORDS:
        return []
    words = model_names.search_terms(phrase.word)
    return [word for word in words if len(word) > 2 and not word[0].isdigit()]
