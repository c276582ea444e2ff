"""`om.search` and `om.info`: all catalogs at once."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from decimal import Decimal
from functools import lru_cache, reduce
from pathlib import Path

from openmodels import settings
from openmodels.catalog import query as queries, record_merging
from openmodels.catalog.index import codec
from openmodels.catalog.index.codec import today
from openmodels.catalog.index.reader import Index, default_path
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search import execute as searching, interpretation
from openmodels.catalog.search.filters import term_expression
from openmodels.catalog.search.results import FACETS, Results
from openmodels.catalog.sources import base as sources
from openmodels.catalog.sources.base import Catalog
from openmodels.errors import ErrorBoundary, InvalidRequest, ModelNotFound, Offline, OpenModelsError
from openmodels.hub import addresses

_SEARCH_SECONDS = 25.0  # seconds a catalog has in all for its part of a search, however many requests that takes


@ErrorBoundary()
def search(
    text: str = "",
    *,
    task: str | None = None,
    license: str | Sequence[str] | None = None,  # noqa: A002 - the ecosystem's word
    license_class: str | Sequence[str] | None = None,
    language: str | Sequence[str] | None = None,
    base_model: str | None = None,
    author: str | None = None,
    parameters: str | tuple[object, object] | float | None = None,
    context: str | int | None = None,
    gated: bool | None = None,
    open: bool | None = None,  # noqa: A002 - the word of the question
    fits: str | int | None = None,
    max_price: Decimal | float | str | None = None,
    provider: str | None = None,
    updated_after: date | str | None = None,
    fine_tuning_task: str | None = None,
    deployment: str | None = None,
    capability: str | None = None,
    catalog: str | Sequence[str] | None = None,
    sort: str | None = None,
    limit: int = 20,
    live: bool | None = None,
) -> Results:
    """Search every catalog for models.

    The index answers where there is one (`openmodels catalog update` makes it), else the catalogs
    themselves; models on this disk are always included. The notes of the results say how
    old the index is, what could not be reached and how the text was understood.

    Args:
        text: Words of names, tasks, tags, languages, sizes, memory ("japanese llama chat under 8B for 12 GB"), in
            English or another language; an id or an address; typing errors are forgiven. `interpretation` of the
            results says how it was read.
        task: In the words of the Hub or of Azure ("text-generation", "chat-completion").
        license: SPDX or hub ids; several in a list or with "|" between them.
        license_class: "open", "restricted", "non-commercial", "unknown", or "commercial" (not forbidden).
        language: Codes, or names in any language; "pt" finds "pt-BR" and "por" too.
        base_model: Hub id; only models made directly from it.
        author: Account or nickname ("meta-llama", "ai2").
        parameters: "1B..8B", "<=8B", "7B" (about so many), or a pair of numbers.
        context: At least so many tokens: ">=32k", 32768.
        gated: Whether access must be asked for.
        open: True for weights without a gate whose stated license the OSI approved; False for those known to
            have a gate or another license. An unknown gate or license is neither. `om.openness` looks closer.
        fits: Memory, "24GB" of a GPU or "here" for what is free on this machine now. Left out is what `om.fit` would
            refuse by the parameters alone: two bytes each, fewer where names or tags say so, beside what any process
            takes.
        max_price: US dollars per million output tokens, at any provider.
        provider: Who hosts it.
        updated_after: A day, "2026-01-31".
        fine_tuning_task: Azure's task to fine-tune for.
        deployment: Azure's way to run it ("standard-paygo", "VM").
        capability: "tool-calling", "reasoning" and the like.
        catalog: Names of catalogs: "hub", "azure", "cache" (this disk), or one that a package adds; default all.
        sort: "relevance", "downloads", "likes", "trending", "updated", "created", "parameters", "context", "price".
        limit: How many models to return at most, up to 1000.
        live: Ask the catalogs even though there is an index; False never asks them.

    Raises:
        InvalidRequest: An argument is wrong; the message names it.
        Offline: The network, the index and models on this disk are all missing.
    """
    arguments = {name: value for name, value in locals().items() if name not in ("text", "live")}
    query = queries.build_query(text, **arguments)
    wanted = [catalog for catalog in sources.catalogs() if catalog.name in (query.catalog or sources.names())]
    notes: list[str] = []
    if query.fits and query.fits_here:
        notes.append(f"here: {query.fits / 10**9:.1f} GB of memory are free")
    parts: list[Index] = []
    remote = [catalog for catalog in wanted if not catalog.is_local]
    index = open_index() if remote and live is not True else None
    if index:
        parts.append(index)
        notes.append(_age(index))
        missing = [catalog.name for catalog in remote if f"{catalog.name}.as_of" not in index.meta]
        notes += [f"{name} is not in the index; run `openmodels catalog update`" for name in missing]
    elif remote and (live is False or settings.is_offline()):
        notes.append("offline, and there is no index; run `openmodels catalog update` when connected")
    elif remote:
        records, is_reached = _collect(remote, query, notes)
        parts += [in_memory(records)] if records or is_reached else []
    local, _ = _collect([catalog for catalog in wanted if catalog.is_local], query, notes)
    if local:
        parts.append(in_memory(local))
    if not parts:
        raise Offline(
            "There is no index of models, the Hub's cache on this disk has none, and no catalog can be reached.",
            next_step="Connect, then run: openmodels catalog update",
        )
    return _merge_parts(query, parts, {record.id.lower(): record for record in local}, notes)


@ErrorBoundary()
def info(model_id: str, *, live: bool | None = None) -> ModelRecord:
    """Return all that the catalogs know of a model, joined.

    Args:
        model_id: "org/model", "azure:registry/model" or a folder; a bare "model" where only one account has it; or
            the address of a page or file of the model.
        live: Ask the catalogs; default only with a network; False reads index and disk only.

    Raises:
        ModelNotFound: No catalog has it; the message names models with a similar name.
        Offline: It is neither in the index nor on this disk, and the network is off.
    """
    check_id(model_id)
    model_id = addresses.model_id_of(model_id.strip())
    online = live if live is not None else not settings.is_offline()
    index = open_index()
    known = find_in_index(index, model_id) if index else None
    failures: list[OpenModelsError] = []
    parts = [*([known] if known else []), *(_look_up(model_id, known, failures) if online else [])]
    for catalog in sources.catalogs():
        if catalog.is_local:
            with suppress(ModelNotFound):
                parts.append(catalog().get(parts[0].id if parts else model_id))
    if not parts:
        similar = _similar_ids(model_id, live=live)
        if "/" not in model_id and len(similar) == 1 and _has_name(similar[0], model_id):
            return info(similar[0], live=live)
        raise _not_found(model_id, failures, similar, online=online)
    record = reduce(record_merging.merge, parts)
    counts = searching.variants(index, [record.id]) if index else {}
    return record.model_copy(update={"variants": counts.get(record.id)})


def open_index() -> Index | None:
    """Return the index, or None where none was made; a damaged one raises."""
    path = default_path()
    try:
        stat = path.stat()
    except OSError:
        return None
    # A process searches often; an update puts another file in its place.
    return _opened(path, stat.st_ino, stat.st_mtime_ns)


@lru_cache(maxsize=1)
def _opened(path: Path, _inode: int, _changed: int) -> Index:
    return Index(path)


def _look_up(model_id: str, known: ModelRecord | None, failures: list[OpenModelsError]) -> list[ModelRecord]:
    """Return what the remote catalogs state now, by precedence; failures are added.

    The catalog that the id belongs to is asked first: its record may state the id in another one.
    """
    owner = sources.owner_of(model_id)
    ids = {owner.name: model_id}
    answers: dict[str, ModelRecord | OpenModelsError | None] = {}
    remote = [catalog for catalog in sources.catalogs() if not catalog.is_local]
    for catalog in sorted(remote, key=lambda catalog: catalog is not owner):
        source = catalog()
        source.limit_time(catalog.lookup_seconds)
        try:
            if catalog.name in ids:
                record: ModelRecord | None = source.get(ids[catalog.name])
            else:
                record = None if known else source.find(model_id)
        except OpenModelsError as error:
            answers[catalog.name] = error
            continue
        answers[catalog.name] = record
        ids = {**record.ids.root, **ids} if record else ids
    # What the Hub says counts more than what another catalog could not say.
    ordered = [answers[catalog.name] for catalog in remote]
    failures += [answer for answer in ordered if isinstance(answer, OpenModelsError)]
    return [answer for answer in ordered if isinstance(answer, ModelRecord)]


def _collect(catalogs: Iterable[type[Catalog]], query: Query, notes: list[str]) -> tuple[list[ModelRecord], bool]:
    """Return what catalogs answer to a query, and whether one came to its end."""
    records: list[ModelRecord] = []
    is_reached = False
    for catalog in catalogs:
        source = catalog()
        source.limit_time(_SEARCH_SECONDS)
        before = len(records)
        try:
            # Not in one step: what came before a failure is kept.
            for record in source.search(query):
                records.append(record)  # noqa: PERF402
            is_reached = True
        except OpenModelsError as error:
            used = " What it had given before is used." if len(records) > before else ""
            notes.append(f"{catalog.name}: {error.cause}{used}")
        if source.skipped:
            kind = "damaged models or files" if catalog.is_local else "rows could not be read"
            notes.append(f"{catalog.name}: {len(source.skipped)} {kind}, the first: {source.skipped[0]}")
    return records, is_reached


def _merge_parts(query: Query, parts: list[Index], local: dict[str, ModelRecord], notes: list[str]) -> Results:
    matches = [searching.search(part, query) for part in parts]
    hits = [hit for part in matches for hit in part.hits]
    if len(matches) > 1 and query.sort in (None, "relevance"):
        hits.sort(key=lambda hit: -hit[0])
    shown: dict[str, ModelRecord] = {}
    for _, record in hits:
        at = record.id.lower()
        if at not in shown:
            here = local.get(at)
            is_elsewhere = here and here is not record and here.local != record.local
            shown[at] = record_merging.merge(record, here) if here and is_elsewhere else record
    return Results(
        list(shown.values())[: query.limit],
        notes=notes,
        interpretation=interpretation.join(part.parsed.interpretation for part in matches),
        total=lambda: sum(part.count() for part in matches),
        facets=lambda field: _facets(matches, field),
    )


def _facets(matches: list[searching.Matches], field: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for part in matches:
        authors, terms = part.counts()
        if field == "author":
            counts += authors
        else:
            kind = f"{FACETS[field]}:"
            counts.update({term[len(kind) :]: count for term, count in terms.items() if term.startswith(kind)})
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def find_in_index(index: Index, model_id: str) -> ModelRecord | None:
    """Return a model from an index by its id in any catalog, or a former one."""
    alias = sources.owner_of(model_id).alias(model_id)
    if known := index.get(model_id) or (index.get(alias) if alias else None):
        return known
    expression = term_expression(index, codec.id_term(model_id))
    joined = index.match(expression, limit=1) if expression else []
    return next(iter(index.records(joined).values()), None)


def _age(index: Index) -> str:
    as_of = index.as_of
    if as_of is None:
        return f"from the index of {len(index):,} models"
    days = (today() - as_of).days
    old = "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
    return f"from the index of {len(index):,} models, updated {old} ({as_of})"


def check_id(model_id: str) -> None:
    """Raise `InvalidRequest` for what cannot be a model's id."""
    if not isinstance(model_id, str) or not model_id.strip() or any(ord(char) < 32 for char in model_id):
        raise InvalidRequest(f"model_id: {str(model_id)[:100]!r} is no model.", next_step='Write "org/model".')


def _similar_ids(model_id: str, *, live: bool | None) -> list[str]:
    """Return the ids of up to five models with this name, else of three similar ones."""
    if sources.owner_of(model_id).prefix:
        return []
    try:
        ids = [record.id for record in search(model_id.replace("/", " "), limit=20, live=live)]
    except OpenModelsError:
        return []  # why the model itself was not there says more
    return [other for other in ids if _has_name(other, model_id)][:5] or ids[:3]


def _has_name(other: str, model_id: str) -> bool:
    return other.rpartition("/")[2].lower() == model_id.rpartition("/")[2].lower()


def _not_found(model_id: str, failures: list[OpenModelsError], similar: list[str], *, online: bool) -> OpenModelsError:
    suggestion = f"Did you mean {' or '.join(similar)}?" if similar else None
    if not online:
        return Offline(
            f"{model_id} is neither in the index nor on this disk, and the network is switched off.",
            next_step=suggestion or "Connect, or run `openmodels catalog update` when connected.",
        )
    if failures and not isinstance(failures[0], ModelNotFound):
        return failures[0]
    return ModelNotFound(f"No catalog has {model_id}.", next_step=suggestion or "Check the spelling.")
