"""The index: one SQLite file that answers searches over millions of models without a network.

Row numbers begin with the popularity, so the full-text index gives the popular matches first and
a search can stop after a few hundred. Every filter is a term of that same index, which makes a
search an intersection of sorted lists whatever it asks for. An index is never written in place:
`writer` makes a new file and puts it where the old one was, so readers never wait and never see half.
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
from openmodels.catalog.index import codec as rows
from openmodels.catalog.record import ModelRecord
from openmodels.errors import InvalidRequest

SCHEMA = 3
"""Changes whenever what a row or a token means changes."""

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

_COLUMNS = ", ".join(rows.Row._fields)
_SHADOWS = ("words_data", "words_idx", "words_config", "words_content", "words_docsize")
_SECONDS, _COUNTING_SECONDS = 10.0, 60.0
"""Seconds a query may take, and one that counts over all models; the usual ones take milliseconds."""
_LARGEST_VALUE = 50 * 2**20
_WHOLE = int | None
_ROW = (str, int, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, _WHOLE, bytes, str | None)
_TERMS_HELD = 200_000


def default_path() -> Path:
    """Return where the index is kept: in the cache folder."""
    return settings.read().cache / "catalog.sqlite"


class Index:
    """A finished index, open for reading; safe to use from several threads.

    Args:
        path: Its file.
        connection: An open connection instead, for an index in memory.

    Attributes:
        as_of: The day of the newest listing in it, or None.

    Raises:
        InvalidRequest: The file is no index, or one of another version of openmodels.
    """

    def __init__(self, path: Path, *, connection: sqlite3.Connection | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._held: dict[int, str] = {}
        if connection is None and path.exists() and not path.is_file():  # a pipe would be waited for
            raise unreadable(path, "it is not a plain file")
        try:
            self._db = connection or sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            # It holds the connection, which so outlives the index even where both are in one cycle of garbage.
            self._close = weakref.finalize(self, self._db.close)
            protect(self._db)
            self._db.execute("PRAGMA cache_size = -16000")
            flaw = None if connection else flaw_of(self._db)
            if flaw:
                raise unreadable(path, flaw)
        except sqlite3.Error as error:
            raise unreadable(path, f"it cannot be read ({error})") from error
        self.meta = dict(self.rows("SELECT name, value FROM meta LIMIT 1000", kinds=(str, str)))
        try:
            self.as_of, self._count = _newest(self.meta), int(self.meta.get("models", 0))
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
        found = self.numbered(model_id)
        return next(iter(self.records([found]).values())) if found is not None else None

    def numbered(self, model_id: str) -> int | None:
        """Return a model's row number, or None."""
        found = self.rows("SELECT row, id FROM models WHERE key = ?", rows.key(model_id), kinds=(int, str))
        return next((row for row, name in found if name.lower() == model_id.lower()), None)

    def records(self, numbers: Iterable[int]) -> dict[int, ModelRecord]:
        """Return records by row number, in the order given."""
        stored = self.stored(numbers)
        self.hold({number for row in stored.values() for number in rows.unpack(row.terms)})
        try:
            return {number: rows.decode(row, self._held.__getitem__) for number, row in stored.items()}
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise unreadable(self.path, "a row of it is damaged") from error

    def stored(self, numbers: Iterable[int]) -> dict[int, rows.Row]:
        """Return rows by number, in the order given."""
        wanted = list(numbers)
        found = {
            row[0]: rows.Row(*row[1:])
            for part in _parts(wanted)
            for row in self.rows(
                f"SELECT row, {_COLUMNS} FROM models WHERE row IN ({_marks(part)})", *part, kinds=(int, *_ROW)
            )
        }
        if not all(rows.is_sound(row) for row in found.values()):
            raise unreadable(self.path, "a row of it is damaged")
        return {number: found[number] for number in wanted if number in found}

    def term_numbers(self, texts: Iterable[str]) -> dict[str, int]:
        """Return the numbers of the terms that the index has, by term."""
        return {
            text: number
            for part in _parts(list(dict.fromkeys(texts)))
            for number, text in self.rows(
                f"SELECT number, text FROM terms WHERE text IN ({_marks(part)})", *part, kinds=(int, str)
            )
        }

    def hold(self, numbers: Iterable[int]) -> dict[int, str]:
        """Return at least the terms of these numbers; they are kept for the next time."""
        if len(self._held) > _TERMS_HELD:
            self._held = {}
        for part in _parts([number for number in numbers if number not in self._held]):
            query = f"SELECT number, text FROM terms WHERE number IN ({_marks(part)})"
            self._held.update(self.rows(query, *part, kinds=(int, str)))
            if any(number not in self._held for number in part):
                raise unreadable(self.path, "its terms are damaged")
        return self._held

    def match(self, expression: str, *, where: str = "", values: Iterable[Any] = (), limit: int) -> list[int]:
        """Return the row numbers that a full-text expression finds, the most popular first.

        Args:
            expression: In the syntax of FTS5; "" is every model.
            where: A further condition on the columns of `models`, in SQL.
            values: What its question marks stand for.
            limit: At most so many.
        """
        if not expression:
            condition = f"WHERE {where}" if where else ""
            query = f"SELECT row FROM models {condition} ORDER BY row LIMIT ?"
            return [row for (row,) in self.rows(query, *values, limit)]
        join = f"JOIN models ON models.row = words.rowid WHERE words MATCH ? AND {where}"
        query = f"SELECT words.rowid FROM words {join if where else 'WHERE words MATCH ?'} ORDER BY words.rowid LIMIT ?"
        return [row for (row,) in self.rows(query, expression, *values, limit)]

    def count(self, expression: str, *, where: str = "", values: Iterable[Any] = ()) -> int:
        """Return how many models an expression finds."""
        if not expression:
            query = f"SELECT count(*) FROM models {f'WHERE {where}' if where else ''}"
            return int(self.rows(query, *values, seconds=_COUNTING_SECONDS)[0][0])
        join = f"JOIN models ON models.row = words.rowid WHERE words MATCH ? AND {where}"
        query = f"SELECT count(*) FROM words {join if where else 'WHERE words MATCH ?'}"
        return int(self.rows(query, expression, *values, seconds=_COUNTING_SECONDS)[0][0])

    def counts(
        self, expression: str, *, where: str = "", values: Iterable[Any] = ()
    ) -> tuple[Counter[str], Counter[str]]:
        """Return, over all matches, how often each author occurs and each term."""
        join = f"JOIN models ON models.row = words.rowid WHERE words MATCH ? {f'AND {where}' if where else ''}"
        plain = f"models {f'WHERE {where}' if where else ''}"
        given = [expression, *values] if expression else list(values)
        authors, numbers = Counter[str](), Counter[int]()
        query = f"SELECT models.id, models.terms FROM {f'words {join}' if expression else plain}"
        try:
            for name, packed in self.rows(query, *given, kinds=(str, bytes), seconds=_COUNTING_SECONDS):
                authors[name.rpartition("/")[0]] += 1
                numbers.update(rows.unpack(packed))
        except ValueError as error:
            if isinstance(error, InvalidRequest):
                raise
            raise unreadable(self.path, "a row of it is damaged") from error
        held = self.hold(numbers)
        return authors, Counter({held[number]: count for number, count in numbers.items()})

    def counted(self, numbers: Iterable[int]) -> dict[int, int]:
        """Return how many models have a term, for those terms that many have."""
        wanted = list(numbers)
        query = f"SELECT number, models FROM counted WHERE number IN ({_marks(wanted)})"
        return dict(self.rows(query, *wanted, kinds=(int, int)))

    def near(self, word: str, pieces: Iterable[str], at_least: int) -> list[tuple[str, int]]:
        """Return known words that share pieces of three letters with a word, and in how many names each is."""
        wanted = list(pieces)
        return self.rows(
            "SELECT word, names FROM spelling WHERE word != ? AND number IN (SELECT number FROM pieces WHERE piece IN "
            f"({_marks(wanted)}) GROUP BY number HAVING count(*) >= ? ORDER BY count(*) DESC, number LIMIT 400)",
            word, *wanted, at_least, kinds=(str, int),
        )  # fmt: skip

    def spelled(self, word: str) -> int:
        """Return in how many names a word is, 0 where it is too rare to be kept."""
        found = self.rows("SELECT names FROM spelling WHERE word = ?", word, kinds=(int,))
        return int(found[0][0]) if found else 0

    def completions(self, start: str, limit: int = 8) -> list[str]:
        """Return the commonest known words that begin so."""
        query = "SELECT word FROM spelling WHERE word >= ? AND word < ? ORDER BY names DESC LIMIT ?"
        return [word for (word,) in self.rows(query, start, start + "\U0010ffff", limit, kinds=(str,))]

    def rows(
        self, query: str, *values: Any, kinds: tuple[type | UnionType, ...] = (), seconds: float = _SECONDS
    ) -> list[Any]:
        """Return the rows of a query.

        Args:
            query: In SQL.
            values: What its question marks stand for.
            kinds: The types of the columns; SQLite itself keeps any type in any column.
            seconds: How many seconds it may take.

        Raises:
            InvalidRequest: The file is damaged.
        """
        with self._lock:
            end = time.monotonic() + seconds
            self._db.set_progress_handler(lambda: time.monotonic() > end, 100_000)
            try:
                found = self._db.execute(query, values).fetchall()
            except sqlite3.Error as error:
                late = time.monotonic() > end
                raise unreadable(self.path, "a query does not end" if late else f"it is damaged ({error})") from error
            finally:
                self._db.set_progress_handler(None, 0)
        for row in found if kinds else ():
            if not all(map(isinstance, row, kinds)):
                raise unreadable(self.path, "a value of it has the wrong type")
        return found


def protect(db: sqlite3.Connection) -> None:
    """Let a connection run nothing that a file brings along, and notice damaged pages."""
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA cell_size_check = ON")
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)


def flaw_of(db: sqlite3.Connection) -> str | None:
    """Return why a database cannot be an index of this version, or None for one that is.

    Its tables must be those that this program makes: a view in the place of a table could compute for
    ever, and a trigger could run at every change.
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
    known = {}
    for statement in statements:
        kind, name = statement.removeprefix("CREATE ").removeprefix("VIRTUAL ").split()[:2]
        known[kind.lower(), name] = statement
    return known


def _newest(meta: dict[str, str]) -> date | None:
    """Return the day of the newest listing."""
    return max((date.fromisoformat(day) for name, day in meta.items() if name.endswith(".as_of")), default=None)


def unreadable(path: Path, why: str) -> InvalidRequest:
    """Return the error for a file that cannot serve as an index."""
    return InvalidRequest(
        f"The index {path} cannot be used: {why}.", next_step="Make it anew: openmodels catalog update"
    )


def _parts(values: list[Any], size: int = 900) -> Iterator[list[Any]]:
    # Older builds of SQLite take no more than 999 values in one statement.
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _marks(values: list[Any]) -> str:
    return ",".join("?" * len(values))
