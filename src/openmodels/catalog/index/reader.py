"""The index: one SQLite file that answers searches over millions of models.

Every filter is a term of one full-text index, so each search is an intersection of sorted lists. Row
numbers begin with the popularity: matches come in that order without sorting, and a search stops
after a few hundred. `benchmarks/catalog.py` compares it with a scan by LIKE and a loop in Python.

An index is never written in place: `writer` puts a new file where the old one was, so readers never wait
and never see half of it. A write-ahead log would leave files beside it that the next index must not meet.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Self

from openmodels import settings
from openmodels.catalog.index import codec
from openmodels.catalog.record import ModelRecord
from openmodels.errors import InvalidRequest

SCHEMA = 3  # changes whenever what a row or a token means changes

TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE TABLE models (row INTEGER PRIMARY KEY, id TEXT, key INTEGER, downloads INTEGER, likes INTEGER,
    parameters INTEGER, active INTEGER, context INTEGER, created INTEGER, updated INTEGER, as_of INTEGER,
    terms BLOB, rest TEXT);
CREATE INDEX by_key ON models (key);
CREATE TABLE terms (number INTEGER PRIMARY KEY, text TEXT UNIQUE);
CREATE VIRTUAL TABLE words USING fts5 (text, content='', detail=none, columnsize=0,
    tokenize="unicode61 remove_diacritics 0 tokenchars '~@=.'");
CREATE VIRTUAL TABLE vocabulary USING fts5vocab (words, 'row');
CREATE TABLE counted (number INTEGER PRIMARY KEY, models INTEGER);
CREATE TABLE spelling (number INTEGER PRIMARY KEY, word TEXT UNIQUE, names INTEGER);
CREATE TABLE pieces (piece TEXT, number INTEGER, PRIMARY KEY (piece, number)) WITHOUT ROWID;
"""

_COLUMNS = ", ".join(codec.IndexRow._fields)
_SHADOWS = ("words_data", "words_idx", "words_config", "words_content", "words_docsize")
_SECONDS, _COUNTING_SECONDS = 10.0, 60.0
"""Seconds a query may take, and one that counts over all models; the usual ones take milliseconds."""
_LARGEST_VALUE = 50 * 2**20
_WHOLE = int | None
_ROW = (str, int, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, bytes, str | None)
_TERMS_HELD, _ROWS_HELD, _RECORDS_HELD, _MATCHES_HELD = 200_000, 20_000, 1_000, 200


def default_path() -> Path:
    """Return where the index is kept: in the cache folder."""
    return settings.openmodels_cache_folder() / "catalog.sqlite"


class Index:
    """A finished index, open for reading; safe to use from several threads.

    `connection` is an open one instead of the file, for an index in memory. `as_of` is the day of the latest
    listing in it, or None. InvalidRequest: the file is not an index, or one of another version of openmodels.
    """

    def __init__(self, path: Path, *, connection: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._terms: dict[int, str] = {}
        self._numbers: dict[str, int | None] = {}
        self._rows: dict[int, codec.IndexRow] = {}
        self._records: dict[int, ModelRecord] = {}
        self._values: dict[str, dict[str, int]] = {}
        self._matches: dict[tuple[Any, ...], tuple[int, list[int]]] = {}
        if connection is None and path.exists() and not path.is_file():  # a pipe would be waited for
            raise unreadable(path, "it is not a plain file")
        try:
            self._db = connection or sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            # It refers to the connection, which so outlives the index even where both are in one garbage cycle.
            self._close = weakref.finalize(self, self._db.close)
            protect(self._db)
            self._db.execute("PRAGMA cache_size = -16000")
            flaw = None if connection else flaw_of(self._db)
            if flaw:
                raise unreadable(path, flaw)
        except sqlite3.Error as error:
            raise unreadable(path, f"it cannot be read ({error})") from error
        self.meta = dict(self.query("SELECT name, value FROM meta LIMIT 1000", kinds=(str, str)))
        try:
            days = [date.fromisoformat(day) for name, day in self.meta.items() if name.endswith(".as_of")]
            self.as_of, self._count = max(days, default=None), int(self.meta.get("models", 0))
        except ValueError as error:
            raise unreadable(path, "its notes are damaged") from error

    def close(self) -> None:
        """Close the file."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def get(self, model_id: str) -> ModelRecord | None:
        """Return a model by its id, in any case, or None."""
        number = self.row_number(model_id)
        return next(iter(self.records([number]).values())) if number is not None else None

    def row_number(self, model_id: str) -> int | None:
        """Return a model's row number, or None."""
        candidates = self.query("SELECT row, id FROM models WHERE key = ?", codec.key(model_id), kinds=(int, str))
        return next((row for row, name in candidates if name.lower() == model_id.lower()), None)

    def records(self, numbers: Iterable[int]) -> dict[int, ModelRecord]:
        """Return records by row number, in the order of the numbers."""
        wanted = list(numbers)
        if len(self._records) > _RECORDS_HELD:
            self._records = {}
        held = self._records
        stored = self.rows_by_number(number for number in wanted if number not in held)
        self.term_texts({number for row in stored.values() for number in codec.unpack(row.terms)})
        try:
            held.update((number, codec.decode(row, self._terms.__getitem__)) for number, row in stored.items())
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise unreadable(self.path, "a row of it is damaged") from error
        return {number: held[number] for number in wanted if number in held}

    def rows_by_number(self, numbers: Iterable[int]) -> dict[int, codec.IndexRow]:
        """Return rows by number, in the order of the numbers."""
        # The popular models are among the candidates of most searches: reading them took half of a search's time.
        if len(self._rows) > _ROWS_HELD:
            self._rows = {}
        wanted, held = list(numbers), self._rows
        rows = {
            row[0]: codec.IndexRow(*row[1:])
            for chunk in _chunks([number for number in wanted if number not in held])
            for row in self.query(
                f"SELECT row, {_COLUMNS} FROM models WHERE row IN ({_placeholders(chunk)})", *chunk, kinds=(int, *_ROW)
            )
        }
        if not all(map(codec.is_sound, rows.values())):
            raise unreadable(self.path, "a row of it is damaged")
        held.update(rows)
        return {number: held[number] for number in wanted if number in held}

    def term_numbers(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the numbers of the terms that the index has, by term."""
        if len(self._numbers) > _TERMS_HELD:
            self._numbers = {}
        wanted, held = list(dict.fromkeys(texts)), self._numbers
        for part in _chunks([text for text in wanted if text not in held]):
            query = f"SELECT number, text FROM terms WHERE text IN ({_placeholders(part)})"
            held.update(dict.fromkeys(part))  # a term that the index lacks is asked for again and again, too
            held.update((text, number) for number, text in self.query(query, *part, kinds=(int, str)))
        return {text: number for text in wanted if (number := held.get(text)) is not None}

    def values(self, kind: str) -> dict[str, int]:
        """Return all values of a kind of term ("lang") with their numbers."""
        if kind not in self._values:
            query = "SELECT number, text FROM terms WHERE text >= ? AND text < ? LIMIT 100000"
            rows = self.query(query, f"{kind}:", f"{kind};", kinds=(int, str))
            self._values[kind] = {text[len(kind) + 1 :]: number for number, text in rows}
        return self._values[kind]

    def has_author(self, author: str) -> bool:
        """Return whether a model is in an account, in any case."""
        return bool(self.match(f'"{codec.author_token(author)}"', limit=1))

    def term_texts(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return at least the terms of these numbers; those read before are kept."""
        if len(self._terms) > _TERMS_HELD:
            self._terms = {}
        for part in _chunks([number for number in numbers if number not in self._terms]):
            query = f"SELECT number, text FROM terms WHERE number IN ({_placeholders(part)})"
            self._terms.update(self.query(query, *part, kinds=(int, str)))
            if any(number not in self._terms for number in part):
                raise unreadable(self.path, "its terms are damaged")
        return self._terms

    def terms_of(self, row: codec.IndexRow) -> list[str]:
        """Return the terms of a row."""
        numbers = codec.unpack(row.terms)
        texts = self.term_texts(numbers)
        return [texts[number] for number in numbers]

    def match(
        self, expression: str, *, where: str = "", values: Iterable[Any] = (), limit: int, after: int | None = None
    ) -> list[int]:
        """Return the row numbers that an expression matches, the most popular first.

        The expression is in the syntax of FTS5, "" for every model; `where` is a further condition on the columns of
        `models` in SQL, and `values` what its question marks stand for. `after` leaves out the rows up to a number.
        """
        order = "words.rowid" if expression else "models.row"
        if after is not None:
            where, values = f"{where} AND {order} > ?" if where else f"{order} > ?", [*values, after]
        # A search asks for the same matches more than once; where they were fewer than the limit, they are all.
        key = (expression, where, *values)
        limit_of_held, held = self._matches.get(key, (0, []))
        if len(held) == limit_of_held < limit:
            rows = self._select(order, expression, where, [*key[2:], limit], f"ORDER BY {order} LIMIT ?")
            held = [row for (row,) in rows]
            if len(self._matches) > _MATCHES_HELD:
                self._matches = {}
            self._matches[key] = limit, held
        return held[:limit]

    def count(self, expression: str, *, where: str = "", values: Iterable[Any] = ()) -> int:
        """Return how many models an expression matches."""
        rows = self._select("count(*)", expression, where, values, seconds=_COUNTING_SECONDS)
        return int(rows[0][0])

    def counts(
        self, expression: str, *, where: str = "", values: Iterable[Any] = ()
    ) -> tuple[Counter[str], Counter[str]]:
        """Return, over all matches, how often each author occurs and each term."""
        authors, numbers = Counter[str](), Counter[int]()
        rows = self._select(
            "models.id, models.terms", expression, where, values, kinds=(str, bytes), seconds=_COUNTING_SECONDS
        )
        try:
            for name, packed in rows:
                authors[name.rpartition("/")[0]] += 1
                numbers.update(codec.unpack(packed))
        except ValueError as error:
            raise unreadable(self.path, "a row of it is damaged") from error
        texts = self.term_texts(numbers)
        return authors, Counter({texts[number]: count for number, count in numbers.items()})

    def common_term_counts(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return how many models have a term, for those terms that many have."""
        wanted = list(numbers)
        query = f"SELECT number, models FROM counted WHERE number IN ({_placeholders(wanted)})"
        return dict(self.query(query, *wanted, kinds=(int, int)))

    def similar_words(self, word: str, trigrams: Iterable[str], at_least: int) -> list[tuple[str, int]]:
        """Return words that share trigrams with a word, and in how many names each is."""
        wanted = list(trigrams)
        return self.query(
            "SELECT word, names FROM spelling WHERE word != ? AND number IN (SELECT number FROM pieces WHERE piece IN "
            f"({_placeholders(wanted)}) GROUP BY number HAVING count(*) >= ? ORDER BY count(*) DESC, number LIMIT 400)",
            word, *wanted, at_least, kinds=(str, int),
        )  # fmt: skip

    def name_count(self, word: str) -> int:
        """Return in how many names a word is; 0 where it is too rare to be kept."""
        counts = self.query("SELECT names FROM spelling WHERE word = ?", word, kinds=(int,))
        return int(counts[0][0]) if counts else 0

    def completions(self, start: str, limit: int = 8) -> list[str]:
        """Return the commonest known words that begin so."""
        query = "SELECT word FROM spelling WHERE word >= ? AND word < ? ORDER BY names DESC LIMIT ?"
        return [word for (word,) in self.query(query, start, start + "\U0010ffff", limit, kinds=(str,))]

    def _select(
        self, columns: str, expression: str, where: str, values: Iterable[Any], tail: str = "", **options: Any
    ) -> list[Any]:
        """Return columns of the models that an expression and a condition match."""
        # The table is joined only where it is needed: most searches read the full-text index alone.
        if not expression:
            statement = f"SELECT {columns} FROM models {f'WHERE {where}' if where else ''} {tail}"
            return self.query(statement, *values, **options)
        join = "JOIN models ON models.row = words.rowid" if "models." in where + columns else ""
        condition = f"AND {where}" if where else ""
        statement = f"SELECT {columns} FROM words {join} WHERE words MATCH ? {condition} {tail}"
        return self.query(statement, expression, *values, **options)

    def query(
        self, statement: str, *values: Any, kinds: tuple[type | UnionType, ...] = (), seconds: float = _SECONDS
    ) -> list[Any]:
        """Return the rows of a query.

        `kinds` are the types of the columns: SQLite itself keeps any type in any column. InvalidRequest: the file is
        damaged, or the query takes more than `seconds`.
        """
        with self._lock:
            end = time.monotonic() + seconds
            self._db.set_progress_handler(lambda: time.monotonic() > end, 100_000)
            try:
                rows = self._db.execute(statement, values).fetchall()
            except sqlite3.Error as error:
                reason = "a query does not end" if time.monotonic() > end else f"it is damaged ({error})"
                raise unreadable(self.path, reason) from error
            finally:
                self._db.set_progress_handler(None, 0)
        if kinds and not all(all(map(isinstance, row, kinds)) for row in rows):
            raise unreadable(self.path, "a value of it has the wrong type")
        return rows


def protect(db: sqlite3.Connection) -> None:
    """Let a connection run no code of the file, and notice damaged pages."""
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)


def flaw_of(db: sqlite3.Connection) -> str | None:
    """Return why a database is not an index of this version, or None.

    Its tables must be those that this program makes: a view in the place of a table could compute
    endlessly, and a trigger could run at every change.
    """
    listed = db.execute("SELECT type, name, sql FROM sqlite_master LIMIT 100").fetchall()
    if not listed:
        return "it is empty"
    made = {
        (kind, name): " ".join(str(sql).split())
        for kind, name, sql in listed
        if name not in _SHADOWS and not (kind == "index" and sql is None)
    }
    if (meta := made.get(("table", "meta"))) is None:
        return "it holds no index of models"
    known = _expected()
    if meta == known["table", "meta"]:
        schema = db.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone()
        if schema is None or schema[0] != str(SCHEMA):
            return "it was made by another version of openmodels"
    if made != known or any(kind != "table" for kind, name, _ in listed if name in _SHADOWS):
        return "its tables are not those of an index"
    return None


@cache
def _expected() -> dict[tuple[str, str], str]:
    statements = [" ".join(statement.split()) for statement in TABLES.split(";\n") if statement.strip()]
    heads = [statement.removeprefix("CREATE ").removeprefix("VIRTUAL ").split(maxsplit=2) for statement in statements]
    return {(kind.lower(), name): statement for (kind, name, _), statement in zip(heads, statements, strict=True)}


def unreadable(path: Path, why: str) -> InvalidRequest:
    """Return the error for a file that cannot serve as an index."""
    return InvalidRequest(
        f"The index {path} cannot be used: {why}.", next_step="Make it anew: openmodels catalog update"
    )


def _chunks(values: list[Any], size: int = 900) -> Iterator[list[Any]]:
    # Older builds of SQLite take no more than 999 values in one statement.
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _placeholders(values: list[Any]) -> str:
    return ",".join("?" * len(values))
