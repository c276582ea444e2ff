"""A record as a row of the index, and back.

Most of a record is words that many models share ("license:MIT", "lang:ja"). Each such *term* is
stored once; a row holds its terms as numbers of one to three bytes, and the same numbers are tokens of
the full-text index. What is left goes into columns, and rarely into JSON: with made-up names and 60,000
models a row takes 170 bytes, its share of terms, full-text index and spelling included.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from math import log2
from typing import Any, NamedTuple

from openmodels.catalog import vocabulary
from openmodels.catalog.record import Base, Ids, License, ModelRecord, Parameters, Provenance, source_of
from openmodels.catalog.sources import base as sources
from openmodels.catalog.sources.base import Catalog
from openmodels.hub import model_names

_EPOCH = date(1970, 1, 1)
_FIRST_DAY, _LAST_DAY = (date.min - _EPOCH).days, (date.max - _EPOCH).days
_MOST_BITS = 62
_PRICE = re.compile(r"\d{1,40}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,3})?", re.ASCII)
_OPERATORS = re.compile(r" (?:AND|OR) |[()]")
_SINGLE = {
    "task": "task",
    "family": "family",
    "architecture": "arch",
    "library": "lib",
    "author": "by",
    "trained_from": "from",
}
_MANY = {
    "languages": "lang",
    "datasets": "data",
    "tags": "tag",
    "formats": "format",
    "capabilities": "cap",
    "fine_tuning_tasks": "tune",
    "deployments": "offer",
}
_SINGLES, _MANYS = ({short: name for name, short in table.items()} for table in (_SINGLE, _MANY))
_REST = (
    "files", "offers", "lifecycle", "version", "disabled", "renamed_from", "scores", "trending", "modalities", "local",
)  # fmt: skip

POPULARITY_BITS = 24  # room for models of equal popularity below the popularity in a row number


class IndexRow(NamedTuple):
    """A row of the table `models`; days count from 1970-01-01."""

    id: str
    key: int
    downloads: int | None
    likes: int | None
    parameters: int | None
    active: int | None
    context: int | None
    created: int | None
    updated: int | None
    as_of: int | None
    terms: bytes
    rest: str | None


def key(model_id: str) -> int:
    """Return the number an id is looked up by; different ids may share it.

    An index over 32-bit numbers is smaller than one over ids.
    """
    return zlib.crc32(model_id.lower().encode(errors="surrogatepass")) - 2**31


def today() -> date:
    """Return today's day in UTC: the day a listing is read."""
    return datetime.now(UTC).date()


def days(day: date | None) -> int | None:
    """Return a day as the table holds it."""
    return None if day is None else (day - _EPOCH).days


def popularity(downloads: int | None, likes: int | None) -> int:
    """Return 0 (most popular) to 127, the first bits of a row number.

    FTS5 gives matches by row number, so the popular ones come first and a search may stop early. A like
    counts as much as 20 downloads: what was once important stays in sight when few fetch it.
    """
    weight = (downloads or 0) + 20 * (likes or 0)
    return 127 - min(127, int(4.5 * log2(1 + weight)))


def encode(record: ModelRecord, intern: Callable[[str], int], parts: dict[str, Any] | None = None) -> IndexRow:
    """Return a record's row.

    `intern` returns the number of a term; `parts` holds the statements of each catalog, where several are to be
    joined again later.
    """
    rest = {name for name in _REST if getattr(record, name) is not None}
    if source_of(record, "modalities") == "task":
        rest.discard("modalities")
    model_id = record.id
    owner = sources.owner_of(model_id)
    further = {
        "license": [record.license.name, record.license.link]
        if record.license and (record.license.name or record.license.link)
        else None,
        "ids": _other_ids(record, owner),
        "sources": None if parts else _other_sources(record, owner),
        "conflicts": [conflict.model_dump(mode="json") for conflict in record.conflicts],
        "parts": parts,
    }
    stored: dict[str, Any] = record.model_dump(mode="json", include=rest, exclude_defaults=True) if rest else {}
    stored |= {name: value for name, value in further.items() if value}
    size = record.parameters or Parameters()
    return IndexRow(
        id=model_id,
        key=key(model_id),
        downloads=record.downloads,
        likes=record.likes,
        parameters=size.total,
        active=size.active,
        context=record.context_length,
        created=days(record.created),
        updated=days(record.updated),
        as_of=max((days(stated.as_of) or 0 for stated in record.provenance.values()), default=0) or None,
        terms=pack([intern(term) for term in terms(record)]),
        rest=json.dumps(stored, ensure_ascii=False, separators=(",", ":")) if stored else None,
    )


def terms(record: ModelRecord) -> list[str]:
    """Return the terms of a record; the last ones are for searching only."""
    model_id, catalogs = record.id, record.catalogs
    owner = sources.owner_of(model_id)
    # The account in an id is the author, so it is left out where the id's own catalog lists the model.
    account = model_id.rpartition("/")[0] if owner.name in catalogs else None
    listed = [
        f"{short}:{value}"
        for name, short in _SINGLE.items()
        if (value := getattr(record, name)) is not None and (name != "author" or value != account)
    ]
    for name, short in _MANY.items():
        listed += [f"{short}:{value}" for value in getattr(record, name) or ()]
    listed += [f"base:{base.relation or ''}:{base.id}" for base in record.base_models or ()]
    if record.license:
        # Each of several licenses can be searched for, and the one that a name beside "other" means; the last term
        # is read back.
        license_id = record.license.id
        names = dict.fromkeys([*filter(None, _OPERATORS.split(license_id)), record.license.label])
        listed += [f"license:{name}" for name in names if name != license_id]
        listed += [f"license:{license_id}", f"class:{record.license.license_class}"]
    if record.gated is not None:
        listed.append(f"gated:{record.gated or 'no'}")
    if record.parameters and source_of(record, "parameters") == "name":
        listed.append("src:parameters:name")
    listed += [f"provider:{offer.provider}" for offer in record.offers or ()]
    listed += [f"in:{name}" for name in catalogs]
    if other_ids := _other_ids(record, owner):
        listed += [
            id_term(other.prefix + other_ids[other.name]) for other in sources.catalogs() if other.name in other_ids
        ]
    listed += [id_term(former) for former in record.renamed_from or ()]
    marks = {
        "is:priced": any(offer.price_out is not None for offer in record.offers or ()),
        "is:trending": record.trending,
        "is:variant": is_variant(record),
        "is:based": record.base_models,
        "open:yes": record.open is True,
        "open:no": record.open is False,
    }
    listed += [mark for mark, holds in marks.items() if holds]
    return list(dict.fromkeys(listed))


def is_variant(record: ModelRecord) -> bool:
    """Return whether a model is a conversion, adapter, merge or copy of another one.

    The Hub calls some fine-tunes "quantized" that are not; without a sign in name, tags or files
    the relation is not believed here.
    """
    name = record.id.rpartition("/")[2] if record.ids.root else ""
    if record.formats == ("gguf",) or model_names.is_conversion(name):
        return True
    terms_of_name, owner = model_names.distinguishing_terms(name), (record.author or "").lower()
    for base in record.base_models or ():
        author, _, base_name = base.id.rpartition("/")
        if base.relation in ("adapter", "merge"):
            return True
        if model_names.distinguishing_terms(base_name) == terms_of_name and author.lower() != owner:
            return True
        if base.relation == "quantized" and model_names.has_conversion_tag(record.tags or ()):
            return True
    return False


def tokens(row: IndexRow) -> str:
    """Return the tokens of a row in the full-text index.

    The index keeps no text of its own (`content=''`): a row is removed by giving the same tokens again.
    """
    author, _, name = row.id.rpartition("/")
    listed = [*model_names.search_terms(name), *map(term_token, unpack(row.terms))]
    if author:
        listed.append(author_token(author.rpartition(":")[2]))
        parts = model_names.search_terms(author)
        listed += parts if len(parts) > 1 else ()
    # Steps of numbers are tokens too, so that a range is a union of lists: 9 % wide for parameters, 41 % for
    # likes, a day for dates. The columns make limits exact; the steps only keep SQLite from reading rows far outside.
    numbers = (
        ("p", parameters_bucket(row.parameters)),
        ("x", context_bucket(row.context)),
        ("k", None if row.likes is None else int(2 * log2(1 + row.likes))),
        ("u", month_of(row.updated)),
        ("v", row.updated),
        ("c", row.created),
    )
    listed += [f"={letter}{number}" for letter, number in numbers if number is not None]
    return " ".join(dict.fromkeys(listed))


def author_token(author: str) -> str:
    """Return the token an author is found by."""
    return "@" + "".join(char if char.isalnum() else "~" for char in author.lower())


def parameters_bucket(count: int | None) -> int | None:
    """Return the step of 9 % that a number of parameters is in."""
    return int(8 * log2(count)) if count else None


def context_bucket(length: int | None) -> int | None:
    """Return the step of 41 % that a context length is in."""
    return int(2 * log2(length)) if length else None


def month_of(day: int | None) -> int | None:
    """Return the month of a day of the table, counted from the year 0."""
    then = _day(day)
    return None if then is None else then.year * 12 + then.month - 1


def decode(row: IndexRow, text: Callable[[int], str]) -> ModelRecord:
    """Return the record of a row; `text` returns the term of a number."""
    listed = [text(number) for number in unpack(row.terms)]
    stored: dict[str, Any] = json.loads(row.rest) if row.rest else {}
    name, link = stored.pop("license", (None, None))
    other_ids, parts = stored.pop("ids", {}), stored.pop("parts", {})
    exceptions: dict[str, str] = stored.pop("sources", {})
    owner = sources.owner_of(row.id)
    derived: dict[str, str] = {"parameters": "name"} if "src:parameters:name" in listed else {}
    fields = _from_terms(listed)
    if (name or link) and "license" in fields:
        fields["license"] = License(id=fields["license"].id, name=name, link=link)
    # A model that only another catalog lists has the author that catalog states, or none.
    if "author" not in fields and f"in:{owner.name}" in listed and not owner.prefix:
        fields["author"] = row.id.rpartition("/")[0] or None
    if row.parameters is not None or row.active is not None:
        fields["parameters"] = Parameters(total=row.parameters, active=row.active)
    if "modalities" not in stored and (modalities := vocabulary.modalities(fields.get("task"))):
        fields["modalities"] = modalities
        derived["modalities"] = "task"
    fields |= {
        "ids": Ids({**owner.ids_of(row.id), **other_ids}),
        "downloads": row.downloads,
        "likes": row.likes,
        "context_length": row.context,
        "created": _day(row.created),
        "updated": _day(row.updated),
        **stored,
    }
    record = ModelRecord.sourced(owner.name, _day(row.as_of or None), fields, derived | exceptions)
    return record if not parts else record.model_copy(update={"provenance": _provenance_of_parts(record, parts)})


def is_sound(row: IndexRow) -> bool:
    """Return whether `encode` can have made the values read without `decode`."""
    try:
        unpack(row.terms)
        stored = json.loads(row.rest) if row.rest else None
    except (ValueError, RecursionError):
        return False
    counts = [count for count in (row.downloads, row.likes, row.parameters, row.active, row.context) if count]
    days = [day for day in (row.created, row.updated, row.as_of) if day is not None]
    if (counts and not 0 < min(counts) <= max(counts) < 2**62) or (
        days and not _FIRST_DAY <= min(days) <= max(days) <= _LAST_DAY
    ):
        return False
    if stored is None:
        return True
    offers = stored.get("offers", []) if isinstance(stored, dict) else None
    return (
        isinstance(offers, list)
        and all(isinstance(offer, dict) and _is_price(offer.get("price_out")) for offer in offers)
        and isinstance(stored.get("trending", 0), int | float | None)
    )


def _is_price(value: Any) -> bool:
    return value is None or (isinstance(value, str | int | float) and _PRICE.fullmatch(str(value)) is not None)


def pack(numbers: Iterable[int]) -> bytes:
    """Return numbers as bytes, seven bits in each."""
    out = bytearray()
    for number in numbers:
        while number > 127:
            out.append(number & 127 | 128)
            number >>= 7  # noqa: PLW2901 - what is left of it
        out.append(number)
    return bytes(out)


@lru_cache(maxsize=8_192)
def unpack(packed: bytes) -> tuple[int, ...]:
    """Return the numbers that `pack` packed, or raise ValueError."""
    numbers, number, shift = [], 0, 0
    for byte in packed:
        if byte < 128:
            numbers.append(number | byte << shift)
            number = shift = 0
        else:
            number |= (byte & 127) << shift
            shift += 7
            if shift > _MOST_BITS:
                raise ValueError("no number of a term")
    return tuple(numbers)


@lru_cache(maxsize=65_536)
def term_token(number: int) -> str:
    """Return the token of a term: its number, from 1 on, in digits and letters."""
    digits = ""
    while number:
        number, rest = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[rest] + digits
    return f"~{digits}"


def _from_terms(listed: Sequence[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    many: dict[str, list[Any]] = {}
    for term in listed:
        kind, _, value = term.partition(":")
        if name := _SINGLES.get(kind):
            fields[name] = value
        elif name := _MANYS.get(kind):
            many.setdefault(name, []).append(value)
        elif kind == "base":
            relation, _, base = value.partition(":")
            many.setdefault("base_models", []).append(Base.model_validate({"id": base, "relation": relation or None}))
        elif kind == "license":
            fields["license"] = License(id=value)
        elif kind == "gated":
            fields["gated"] = False if value == "no" else value
    return fields | {name: tuple(values) for name, values in many.items()}


def _provenance_of_parts(record: ModelRecord, parts: dict[str, Any]) -> dict[str, Provenance]:
    stated = {
        name: {field: Provenance.model_validate(source) for field, source in part["provenance"].items()}
        for name, part in parts.items()
    }
    order = [name for name in sources.names() if name in stated]
    return {
        field: next((stated[name][field] for name in order if field in stated[name]), source)
        for field, source in record.provenance.items()
    }


def _day(number: int | None) -> date | None:
    return None if number is None else _EPOCH + timedelta(days=number)


def id_term(model_id: str) -> str:
    """Return the term of an id that is not the one its record is called by."""
    return f"id:{model_id.lower()}"


def _other_ids(record: ModelRecord, owner: type[Catalog]) -> dict[str, str]:
    return {name: value for name, value in record.ids.items() if name != owner.name}


def _other_sources(record: ModelRecord, owner: type[Catalog]) -> dict[str, str]:
    """Return by field the sources other than the catalog that the id belongs to."""
    derived = {"parameters": "name", "modalities": "task"}
    return {
        name: stated.source
        for name, stated in record.provenance.items()
        if stated.source not in (owner.name, derived.get(name))
    }
