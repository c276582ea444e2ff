"""The Hugging Face Hub as a catalog, and the prices of the providers behind its router."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openmodels import licenses
from openmodels.catalog import vocabulary
from openmodels.catalog.index.codec import today
from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord, Offer, Provenance
from openmodels.catalog.search import synonyms
from openmodels.catalog.sources import hub_rows
from openmodels.catalog.sources.base import Catalog, Listing, Page, register
from openmodels.errors import InvalidRequest, InvalidResponse, MissingExtra, OpenModelsError
from openmodels.http import address as addresses
from openmodels.hub import fields, model_names, token as hub_token
from openmodels.hub.offers import parse_router_list
from openmodels.settings import install_hint

_FIELDS = """
author baseModels cardData config createdAt downloads evalResults gated gguf inferenceProviderMapping
lastModified library_name likes pipeline_tag safetensors tags trendingScore
"""
_EXPAND = _FIELDS.split()
_PAGE = 1000
_MOST = 400
_STALE = timedelta(days=7)
"""After so long everything is listed again: downloads and likes change without a change of the model."""
_TRENDING_PAGES = 1
_NEXT = re.compile(r'<([^>]+)>\s*;\s*rel="?next"?')
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
        address = endpoint or hub_token.endpoint()
        from openmodels.catalog.client import Client

        self.client = Client(address, "the Hub", _token(token, address))
        router = (router or os.environ.get("OPENMODELS_HF_ROUTER") or "https://router.huggingface.co").rstrip("/")
        router += "" if urlsplit(router).path else "/v1"
        # Its list is public: no token goes there.
        self.router = Client(router, "the router of the Hub")
        self.skipped: list[str] = []

    def search(self, query: Query) -> Iterator[ModelRecord]:
        """Yield records that may match; one request for each telling word, since the Hub looks for one text only."""
        seen: set[str] = set()
        for asked in _requests(query):
            for record in self._limited(asked, _MOST):
                if record.id not in seen:
                    seen.add(record.id)
                    yield record
        if not seen and query.text:
            # A misspelled word is in no id; among the most popular models it can be recognised.
            yield from self._limited(_fixed(query, most=_PAGE), _PAGE)

    def get(self, model_id: str) -> ModelRecord:
        """Return one record with file sizes, and the context length where the config can be read.

        Raises:
            ModelNotFound: The Hub does not have it.
            OpenModelsError: The Hub cannot be reached or refuses.
        """
        row, _ = self.client.json("GET", f"/api/models/{model_id}", params={"blobs": "true"})
        row = dict(row) if isinstance(row, Mapping) else {"id": model_id}
        more, _ = self.client.json("GET", f"/api/models/{model_id}", params=[("expand", name) for name in _EXPAND])
        row |= {name: value for name, value in more.items() if value is not None} if isinstance(more, Mapping) else {}
        names_here = {str(_named(one)) for one in row.get("siblings") or ()}
        if "config.json" in names_here:
            try:
                config, _ = self.client.json("GET", f"/{model_id}/resolve/main/config.json")
                row["config"] = {**config, **(row.get("config") or {})}
            except OpenModelsError:
                pass  # gated: the listing's own facts have to do
        try:
            return hub_rows.record(row, today())
        except ValueError as error:
            raise InvalidResponse(f"The Hub's row of {model_id} cannot be read: {error}.") from error

    def card(self, model_id: str) -> str:
        """Return the text of a model's card.

        Raises:
            OpenModelsError: There is none, or it cannot be read.
        """
        return self.client.text(f"/{model_id}/resolve/main/README.md")

    def pages(self, start: str | None = None, *, sort: str = "downloads", **asked: Any) -> Iterator[Page]:
        """Yield pages of the listing, following the links from one to the next.

        Args:
            start: The address of a page to go on from.
            sort: The Hub's name of an order.
            asked: Further parameters of the Hub.

        Raises:
            OpenModelsError: A page cannot be read; earlier pages have been given.
        """
        given = {"sort": sort, "limit": str(_PAGE), **asked, "expand": _EXPAND}
        address: str | None = start or "/api/models"
        seen: set[str] = set()
        while address and address not in seen:
            seen.add(address)
            listed, headers = self.client.json("GET", address, params=None if start or len(seen) > 1 else given)
            onward = _NEXT.search(headers.get("link", ""))
            address = onward[1] if onward else None
            yield Page(list(self._records(listed)), address)

    def offers(self) -> dict[str, tuple[Offer, ...]]:
        """Return who hosts which model at what price, by id in lower case.

        Raises:
            OpenModelsError: The router cannot be reached.
        """
        listed = parse_router_list(self.router.json("GET", "/models")[0])
        return {name.lower(): hub_rows.offers_of(providers, today()) for name, providers in listed.items()}

    def fill(self, listing: Listing) -> None:
        """Put models into the index, those of the last week only as far as they changed, and their prices.

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

    def _fill_by_downloads(self, listing: Listing, offers: dict[str, tuple[Offer, ...]]) -> None:
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
        try:
            dump = parquet.ParquetFile(file)
        except (OSError, ArrowException) as error:
            raise InvalidRequest(f"{file} is no parquet file that can be read.", next_step="Check the path.") from error
        if "id" not in dump.schema_arrow.names:
            raise InvalidRequest(f"{file} has no column 'id'.", next_step="Take a dump of the Hub's models.")
        as_of = fields.day((dump.schema_arrow.metadata or {}).get(b"as_of", b"").decode()) or today()
        return as_of, (self._records(batch.to_pylist(), as_of) for batch in dump.iter_batches(batch_size=5_000))

    def limit_time(self, seconds: float) -> None:
        """Let all requests from now on take at most so many seconds together."""
        self.client.retries, self.client.deadline = 1, time.monotonic() + seconds

    def _limited(self, asked: list[tuple[str, str]], most: int) -> Iterator[ModelRecord]:
        count = 0
        for page in self.pages(**_grouped(asked)):
            for record in page.records:
                yield record
                count += 1
                if count >= most:
                    return

    def _records(self, listed: Any, as_of: date | None = None) -> Iterator[ModelRecord]:
        if not isinstance(listed, list):
            self.skipped.append("a page that is no list")
            return
        for row in listed:
            try:
                yield hub_rows.record(row, as_of or today())
            except ValueError as error:
                self.skipped.append(str(error).splitlines()[0][:200])


def _last_listing(listing: Listing) -> date | None:
    """Return since when changes are wanted, or None where everything must be listed again."""
    if listing.note("next"):
        return None
    complete, latest = fields.day(listing.note("whole")), fields.day(listing.note("as_of"))
    if complete is None or latest is None or today() - complete > _STALE:
        return None
    return latest


def _with_offers(records: Iterable[ModelRecord], offers: dict[str, tuple[Offer, ...]]) -> Iterator[ModelRecord]:
    for record in records:
        hosts = offers.get(record.id.lower())
        if not hosts:
            yield record
            continue
        fact = Provenance(source="router", as_of=today())
        changes: dict[str, Any] = {"offers": hosts, "provenance": {**record.provenance, "offers": fact}}
        longest = max((offer.context_length for offer in hosts if offer.context_length), default=None)
        if record.context_length is None and longest is not None:
            # What the most generous host allows; the model's own limit is not stated there.
            changes["context_length"] = longest
            changes["provenance"]["context_length"] = fact
        yield record.model_copy(update=changes)


def _token(token: str | None, address: str) -> addresses.Secret | None:
    """Return the caller's token, else the user's own where it may go to this address."""
    if token is None:
        return hub_token.of(address)
    if token and not hub_token.is_confidential(address):
        raise InvalidRequest("token: http to another machine would send it unencrypted.", next_step="Use https.")
    return addresses.key(token or None, "token")


def _named(sibling: Any) -> Any:
    return sibling.get("rfilename") if isinstance(sibling, Mapping) else None


def _grouped(asked: list[tuple[str, str]]) -> dict[str, Any]:
    grouped: dict[str, Any] = {}
    for name, value in asked:
        grouped.setdefault(name, []).append(value)
    return {name: values if len(values) > 1 else values[0] for name, values in grouped.items()}


def _fixed(query: Query, most: int = 200) -> list[tuple[str, str]]:
    fixed: list[tuple[str, str]] = [("limit", str(most))]
    if query.sort in _SORTS:
        fixed.append(("sort", _SORTS[query.sort]))
    for name, value in (("pipeline_tag", query.task), ("inference_provider", query.provider)):
        if value:
            fixed.append((name, value))
    if query.author and query.author.lower() not in synonyms.AUTHORS:
        fixed.append(("author", query.author))
    gated = False if query.gated is None and query.open else query.gated
    if gated is not None:
        fixed.append(("gated", str(gated).lower()))
    # The Hub joins filters by "and" only: several values are left to the index.
    if query.license and len(query.license) == 1:
        fixed.append(("filter", f"license:{licenses.find(query.license[0]).id.lower()}"))
    if query.language and len(query.language) == 1:
        fixed.append(("filter", f"language:{query.language[0].lower()}"))
    if query.conversational:
        fixed.append(("filter", vocabulary.CONVERSATIONAL))
    if query.base_model:
        fixed.append(("filter", f"base_model:{query.base_model}"))
    return fixed


def _requests(query: Query) -> Iterator[list[tuple[str, str]]]:
    """Yield the Hub's parameters for a query: filters it knows exactly, and one word of the text at a time."""
    fixed = _fixed(query)
    telling = _telling(query.text)
    yield from ([*fixed, ("search", word)] for word in telling if word not in vocabulary.LANGUAGES)
    for word in telling:
        if code := vocabulary.LANGUAGES.get(word):
            yield [*fixed, ("filter", f"language:{code}")]
    if not telling:
        yield fixed


def _telling(text: str) -> list[str]:
    """Return at most three words of a text that may be in names."""
    pieces = [piece for piece in text.lower().split() if piece not in synonyms.STOP_WORDS | synonyms.WORDS.keys()]
    words = [word for piece in pieces for word in model_names.search_terms(piece.rpartition("/")[2])]
    return [word for word in dict.fromkeys(words) if len(word) > 2 and not word[0].isdigit()][:3]
