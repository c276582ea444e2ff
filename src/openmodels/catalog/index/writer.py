"""Making the index: a new file beside the old one, which it replaces at the end.

The new file starts as a copy of the old one and is filled in batches. A batch and the place in the
listing are one transaction, so an interrupted listing continues where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openmodels import files
from openmodels.catalog import record_merging
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import SCHEMA, TABLES, Index, flaw_of, protect
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources import base as sources
from openmodels.errors import InvalidRequest, OpenModelsError, WriteFailed
from openmodels.hub import model_names

_BATCH = 2_000
_TERMS_HELD = 120_000
_POPULAR = 100_000  # the words of so many popular models can be suggested, however rare they are
_MANY = 50  # a term of so many models is counted when the index is made, a rarer one when it is needed


class Writer:
    """Fills an index; use it in a `with` block and call `finish` at its end.

    `path` is where the finished index will be, None for one in memory; `fresh` starts empty instead of from the
    one that is there. `discarded` says why the existing index is not continued but made anew, or is None.
    InvalidRequest: another process is writing this index. WriteFailed: the folder or disk takes no more.
    """

    def __init__(self, path: Path | None, *, fresh: bool = False) -> None:
        self.path = path
        self._building = path.with_name(path.name + ".building") if path else None
        self.discarded: str | None = None
        try:
            self._db = self._open(fresh=fresh)
        except sqlite3.DatabaseError as error:
            raise self._error_for(error) from error
        except OSError as error:
            raise files.write_failed(path or "", error) from error
        self._numbers: dict[str, int] = {}
        self._next: dict[int, int] = {}
        self._pending: dict[str, ModelRecord] = {}
        self._written = 0

    def _open(self, *, fresh: bool) -> sqlite3.Connection:
        if self.path and self._building:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._building.exists() and (db := self._reopen(self._building, fresh=fresh)):
                return db
            if not fresh and self.path.exists():
                self._copy(self.path, self._building)
                if db := self._reopen(self._building):
                    return db
        db = self._connect()
        db.executescript(f"BEGIN EXCLUSIVE; {TABLES} INSERT INTO meta VALUES ('schema', '{SCHEMA}'); COMMIT;")
        return db

    def _reopen(self, building: Path, *, fresh: bool = False) -> sqlite3.Connection | None:
        """Return the file to continue, or None where it was unusable or not wanted."""
        try:
            db = self._connect()
        except sqlite3.OperationalError:
            raise  # another update holds it
        except sqlite3.DatabaseError as error:
            flaw: str | None = str(error)
        else:
            if not fresh and (flaw := self._find_flaw(db)) is None:
                return db
            db.close()
        self.discarded = None if fresh else flaw
        building.unlink()
        return None

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._building or ":memory:", timeout=0.2, isolation_level=None, check_same_thread=False)
        try:
            protect(db)
            db.execute("PRAGMA locking_mode = EXCLUSIVE")
            db.execute("PRAGMA synchronous = OFF")  # a crash of the machine costs the new file, never the old one
            db.execute("PRAGMA cache_size = -32000")
            db.execute("BEGIN EXCLUSIVE")
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        return db

    @staticmethod
    def _find_flaw(db: sqlite3.Connection) -> str | None:
        """Return why a file cannot be continued, or None.

        A damaged page may be met hours later, in the middle of an update, so all are read first.
        """
        try:
            if flaw := flaw_of(db):
                return flaw
            verdict = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and "locked" in str(error):
                raise
            return str(error)
        return None if verdict == "ok" else "it is damaged"

    def _error_for(self, error: sqlite3.DatabaseError) -> OpenModelsError:
        if "locked" in str(error):
            return InvalidRequest(f"Another update of {self.path} is running.", next_step="Wait for it to end.")
        if isinstance(error, sqlite3.OperationalError):
            return WriteFailed(
                f"The index {self.path} cannot be written: {error}.", next_step="Free the folder or disk."
            )
        return InvalidRequest(
            f"The index {self.path} turned out to be damaged: {error}.",
            next_step="Make it anew: openmodels catalog update",
        )

    @staticmethod
    def _copy(path: Path, to: Path) -> None:
        # Under another name first: a copy cut short must not pass for an update to continue.
        draft = to.with_name(f"{to.name}.{os.getpid()}")
        shutil.copyfile(path, draft)
        draft.replace(to)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        if isinstance(error, sqlite3.DatabaseError):
            failure = self._error_for(error)
            if isinstance(failure, InvalidRequest) and self._building:
                # The next update must not continue it.
                self._building.unlink(missing_ok=True)
            raise failure from error

    def get(self, name: str) -> str | None:
        """Return a note kept with the index ("hub.as_of"), or None."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else None

    def set(self, name: str, value: str | None) -> None:
        """Keep a note with the index, or drop it."""
        if value is None:
            self._db.execute("DELETE FROM meta WHERE name = ?", (name,))
        else:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def put(self, record: ModelRecord) -> None:
        """Add a record, or join it with another catalog's record of the same model."""
        at = record.id.lower()
        before = self._pending.get(at)
        self._pending[at] = record_merging.merge(before, record) if before else record
        if len(self._pending) >= _BATCH:
            self.flush()

    def put_all(self, records: Iterable[ModelRecord]) -> int:
        """Add records; return how many."""
        count = 0
        for count, record in enumerate(records, 1):  # noqa: B007 - the last is returned
            self.put(record)
        return count

    def flush(self, notes: Mapping[str, str | None] | None = None) -> None:
        """Write the pending records and notes on the listing, in one transaction."""
        self._db.execute("BEGIN")
        try:
            for record in self._pending.values():
                self._write(record)
            for name, value in (notes or {}).items():
                self.set(name, value)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        self._pending.clear()

    def remove_older(self, catalog: str, day: int) -> int:
        """Remove a catalog's models last listed before a day; return how many."""
        self.flush()
        listed = self._db.execute("SELECT row, id FROM models WHERE as_of < ?", (day,))
        old = [row for row, model_id in listed if sources.owner_of(model_id).name == catalog]
        self._db.execute("BEGIN")
        for row in old:
            self._remove(row, self._stored(row))
        self._db.execute("COMMIT")
        return len(old)

    def finish(self) -> None:
        """Count words, tidy up, put the new index in the place of the old one, and close."""
        self.flush()
        total = self._db.execute("SELECT count(*) FROM models").fetchone()[0]
        self._db.execute("BEGIN")
        self._write_spelling(total)
        self.set("models", str(total))
        self._db.execute("COMMIT")
        if self.path is None or self._building is None:
            return
        self._db.execute("INSERT INTO words(words) VALUES ('optimize')")
        if self._written > total // 4:
            self._db.execute("VACUUM")  # rows came in any order and left their pages part empty
        self._db.close()
        try:
            with self._building.open("rb+") as done:
                os.fsync(done.fileno())
            self._building.replace(self.path)
        except OSError as error:
            raise files.write_failed(self.path, error) from error
        files.sync_folder(self.path.parent)

    def index(self) -> Index:
        """Return the index in memory."""
        return Index(Path(":memory:"), connection=self._db)

    def _write(self, record: ModelRecord) -> None:
        parts = None
        number = self._row_number(record.id)
        if number is not None:
            stored = self._stored(number)
            record, parts = self._join(stored, record)
            self._remove(number, stored)
        row = codec.encode(record, self._intern, parts)
        self._written += 1
        number = self._free_row(codec.popularity(row.downloads, row.likes))
        self._db.execute(f"INSERT INTO models VALUES (?{', ?' * len(row)})", (number, *row))
        self._db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, codec.tokens(row)))

    def _join(self, stored: codec.IndexRow, record: ModelRecord) -> tuple[ModelRecord, dict[str, Any] | None]:
        rest = json.loads(stored.rest or "{}")
        parts = {name: ModelRecord.model_validate(part) for name, part in rest.get("parts", {}).items()}
        if not parts:
            before = codec.decode(stored, self._term)
            parts = {next(iter(before.catalogs), sources.owner_of(before.id).name): before}
        parts |= dict.fromkeys(record.catalogs, record)
        if len(parts) < 2:
            return record, None
        merged = record_merging.merge_all(parts)
        return merged, {name: part.model_dump(mode="json", exclude_defaults=True) for name, part in parts.items()}

    def _stored(self, number: int) -> codec.IndexRow:
        cursor = self._db.execute(f"SELECT {', '.join(codec.IndexRow._fields)} FROM models WHERE row = ?", (number,))
        return codec.IndexRow(*cursor.fetchone())

    def _remove(self, number: int, row: codec.IndexRow) -> None:
        self._db.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (number, codec.tokens(row)))
        self._db.execute("DELETE FROM models WHERE row = ?", (number,))

    def _row_number(self, model_id: str) -> int | None:
        candidates = self._db.execute("SELECT row, id FROM models WHERE key = ?", (codec.key(model_id),)).fetchall()
        return next((row for row, name in candidates if name.lower() == model_id.lower()), None)

    def _free_row(self, bucket: int) -> int:
        if bucket not in self._next:
            end = (bucket + 1) << codec.POPULARITY_BITS
            last = self._db.execute("SELECT max(row) FROM models WHERE row < ?", (end,)).fetchone()[0]
            self._next[bucket] = max((last or 0) + 1, bucket << codec.POPULARITY_BITS)
        self._next[bucket] += 1
        return self._next[bucket] - 1

    def _intern(self, term: str) -> int:
        if (number := self._numbers.get(term)) is not None:
            return number
        if len(self._numbers) > _TERMS_HELD:
            self._numbers.clear()
        row = self._db.execute("SELECT number FROM terms WHERE text = ?", (term,)).fetchone()
        if not row:
            row = (self._db.execute("INSERT INTO terms (text) VALUES (?)", (term,)).lastrowid,)
        self._numbers[term] = int(row[0] or 0)
        return self._numbers[term]

    def _term(self, number: int) -> str:
        return str(self._db.execute("SELECT text FROM terms WHERE number = ?", (number,)).fetchone()[0])

    def _write_spelling(self, total: int) -> None:
        """Write the words that may correct a misspelled one.

        They are the frequent ones, and those of popular models.
        """
        counts: dict[str, int] = {}
        self._db.execute("DELETE FROM counted")
        for term, count in self._db.execute("SELECT term, doc FROM vocabulary WHERE doc >= ?", (1 + total // 400_000,)):
            if (word := term.removeprefix("@")).isalpha():
                counts[word] = count
            elif term[0] == "~" and count >= _MANY:
                self._db.execute("INSERT INTO counted VALUES (?, ?)", (int(term[1:], 36), count))
        popular = Counter[str]()
        for (name,) in self._db.execute("SELECT id FROM models ORDER BY row LIMIT ?", (_POPULAR,)):
            author, _, model = name.rpartition("/")
            popular.update({*model_names.search_terms(model), author.lower()})
        for word, count in popular.items():
            if word.isalpha():
                counts[word] = max(count, counts.get(word, 0))
        for (term,) in self._db.execute("SELECT text FROM terms WHERE text >= 'tag:' AND text < 'tag;'"):
            if (word := term[4:].lower()).isalpha() and len(word) > 3:
                counts.setdefault(word, 1)
        # The commonest first: among equally similar words the lower number is the likelier one.
        words = sorted((word for word in counts if len(word) > 2), key=lambda word: (-counts[word], word))
        self._db.execute("DELETE FROM spelling")
        self._db.execute("DELETE FROM pieces")
        self._db.executemany(
            "INSERT INTO spelling VALUES (?, ?, ?)", ((i, word, counts[word]) for i, word in enumerate(words))
        )
        pieces = ((piece, i) for i, word in enumerate(words) for piece in trigrams(word))
        self._db.executemany("INSERT INTO pieces VALUES (?, ?)", pieces)


def trigrams(word: str) -> set[str]:
    """Return the trigrams of a word, marked at both ends; similar words share many."""
    marked = f"^{word}$"
    return {marked[i : i + 3] for i in range(len(marked) - 2)}


def in_memory(records: Iterable[ModelRecord]) -> Index:
    """Return an index in memory over some records."""
    writer = Writer(None)
    writer.put_all(records)
    writer.finish()
    return writer.index()
