"""Making the index: a new file beside the old one, put in its place when it is whole.

The new file starts as a copy of the old one, is filled in batches and keeps its place between two
runs, so that an interrupted listing goes on where it stopped. Until the last step nobody reads it.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from openmodels import files
from openmodels.catalog import join
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import SCHEMA, TABLES, Index, flaw_of, protect
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources import base as sources
from openmodels.errors import InvalidRequest, OpenModelsError, WriteFailed
from openmodels.hub import model_names

_BATCH = 2_000
_TERMS_HELD = 120_000
_POPULAR = 100_000
_MANY = 50
"""A term that so many models have is counted once, when the index is made; rarer ones when asked for."""


class Writer:
    """Fills an index; use it in a `with` block and call `finish` at its end.

    Args:
        path: Where the finished index will be; None makes one in memory.
        fresh: Start empty instead of from the index that is there.

    Raises:
        InvalidRequest: Another process is writing this index.
        WriteFailed: The folder or disk takes no more.

    Attributes:
        discarded: Why the existing index is not continued but made anew, or None.
    """

    def __init__(self, path: Path | None, *, fresh: bool = False) -> None:
        self.path = path
        self._building = path.with_name(path.name + ".building") if path else None
        self.discarded: str | None = None
        try:
            self._db = self._open(fresh=fresh)
        except sqlite3.DatabaseError as error:
            raise self._refused(error) from error
        except OSError as error:
            raise files.write_failed(path or "", error) from error
        self._numbers: dict[str, int] = {}
        self._next: dict[int, int] = {}
        self._waiting: dict[str, ModelRecord] = {}
        self._written = 0

    def _open(self, *, fresh: bool) -> sqlite3.Connection:
        if self.path and self._building:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if not fresh and self._building.exists() and (db := self._continued()):
                return db
            if not fresh and self.path.exists():
                self._copy(self.path, self._building)
                if db := self._continued():
                    return db
        return self._begun()

    def _continued(self) -> sqlite3.Connection | None:
        """Return the existing file to continue, or None where it was unusable and is removed."""
        try:
            db = self._connected()
        except sqlite3.OperationalError:
            raise  # another update holds it
        except sqlite3.DatabaseError as error:
            self.discarded = str(error)
        else:
            self.discarded = self._flaw(db)
            if self.discarded is None:
                return db
            db.close()
        if self._building:
            self._building.unlink()
        return None

    def _begun(self) -> sqlite3.Connection:
        """Return an empty index."""
        if self._building and self._building.exists():
            try:
                self._connected().close()
            except sqlite3.OperationalError:
                raise  # another update holds it
            except sqlite3.DatabaseError:
                pass
            self._building.unlink()
        db = self._connected()
        db.execute("BEGIN EXCLUSIVE")
        for statement in TABLES.split(";\n"):
            db.execute(statement)
        db.execute("INSERT INTO meta VALUES ('schema', ?)", (str(SCHEMA),))
        db.execute("COMMIT")
        return db

    def _connected(self) -> sqlite3.Connection:
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

    def _flaw(self, db: sqlite3.Connection) -> str | None:
        """Return why a file cannot be continued, or None.

        A damaged page may be met hours later, in the middle of an update, so all are read first.
        """
        try:
            if flaw := flaw_of(db):
                return flaw
            found = str(db.execute("PRAGMA quick_check(1)").fetchone()[0])
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise
            return str(error)
        except sqlite3.DatabaseError as error:
            return str(error)
        return None if found == "ok" else "it is damaged"

    def _refused(self, error: sqlite3.DatabaseError) -> OpenModelsError:
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
        # Under another name first: a copy cut short must not pass for an update to go on with.
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
            failure = self._refused(error)
            if isinstance(failure, InvalidRequest) and self._building:
                # The next update must not continue it.
                self._building.unlink(missing_ok=True)
            raise failure from error

    def get(self, name: str) -> str | None:
        """Return a note kept with the index ("hub.as_of"), or None."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(found[0]) if found else None

    def set(self, name: str, value: str | None) -> None:
        """Keep a note with the index, or drop it."""
        if value is None:
            self._db.execute("DELETE FROM meta WHERE name = ?", (name,))
        else:
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def put(self, record: ModelRecord) -> None:
        """Add a record, or join it with what other catalogs said of the same model."""
        at = record.id.lower()
        before = self._waiting.get(at)
        self._waiting[at] = join.merge(before, record) if before else record
        if len(self._waiting) >= _BATCH:
            self.flush()

    def put_all(self, records: Iterable[ModelRecord]) -> int:
        """Add records; return how many."""
        count = 0
        for record in records:
            self.put(record)
            count += 1
        return count

    def flush(self, notes: Mapping[str, str | None] | None = None) -> None:
        """Write the waiting records, and notes that say how far a listing is, in one step."""
        self._db.execute("BEGIN")
        try:
            for record in self._waiting.values():
                self._write(record)
            for name, value in (notes or {}).items():
                self.set(name, value)
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")
        self._waiting.clear()

    def remove_older(self, catalog: str, day: int) -> int:
        """Remove models that only one catalog listed, the last time before a day; return how many."""
        self.flush()
        listed = self._db.execute("SELECT row, id FROM models WHERE as_of < ?", (day,))
        old = [row for row, model_id in listed if sources.owner_of(model_id).name == catalog]
        self._db.execute("BEGIN")
        for row in old:
            self._remove(row)
        self._db.execute("COMMIT")
        return len(old)

    def finish(self) -> None:
        """Count words, tidy up and put the new index in the place of the old one.

        The writer is closed by it.
        """
        self.flush()
        self._db.execute("BEGIN")
        self._spell()
        total = self._db.execute("SELECT count(*) FROM models").fetchone()[0]
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
        """Return an index over what has been written, for one in memory."""
        return Index(Path(":memory:"), connection=self._db)

    def _write(self, record: ModelRecord) -> None:
        parts = None
        number = self._numbered(record.id)
        if number is not None:
            record, parts = self._joined(number, record)
            self._remove(number)
        row = codec.encode(record, self._intern, parts)
        self._written += 1
        bucket = codec.popularity(row.downloads, row.likes)
        number = self._free(bucket)
        self._db.execute(f"INSERT INTO models VALUES (?{', ?' * len(row)})", (number, *row))
        self._db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (number, codec.tokens(row)))

    def _joined(self, number: int, record: ModelRecord) -> tuple[ModelRecord, dict[str, Any] | None]:
        stored = self._stored(number)
        rest: dict[str, Any] = join.parts_of(stored.rest)
        parts = {name: ModelRecord.model_validate(part) for name, part in rest.items()}
        if not parts:
            before = codec.decode(stored, self._term)
            parts = {next(iter(before.catalogs), sources.owner_of(before.id).name): before}
        for name in record.catalogs:
            parts[name] = record
        if len(parts) < 2:
            return record, None
        merged = join.merge_all(parts)
        return merged, {name: part.model_dump(mode="json", exclude_defaults=True) for name, part in parts.items()}

    def _stored(self, number: int) -> codec.Row:
        found = self._db.execute(f"SELECT {', '.join(codec.Row._fields)} FROM models WHERE row = ?", (number,))
        return codec.Row(*found.fetchone())

    def _remove(self, number: int) -> None:
        row = self._stored(number)
        self._db.execute("INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)", (number, codec.tokens(row)))
        self._db.execute("DELETE FROM models WHERE row = ?", (number,))

    def _numbered(self, model_id: str) -> int | None:
        found = self._db.execute("SELECT row, id FROM models WHERE key = ?", (codec.key(model_id),)).fetchall()
        return next((row for row, name in found if name.lower() == model_id.lower()), None)

    def _free(self, bucket: int) -> int:
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
        found = self._db.execute("SELECT number FROM terms WHERE text = ?", (term,)).fetchone()
        if not found:
            found = (self._db.execute("INSERT INTO terms (text) VALUES (?)", (term,)).lastrowid,)
        self._numbers[term] = int(found[0] or 0)
        return self._numbers[term]

    def _term(self, number: int) -> str:
        return str(self._db.execute("SELECT text FROM terms WHERE number = ?", (number,)).fetchone()[0])

    def _spell(self) -> None:
        """Keep the words a misspelled one may have meant: frequent ones, and those of popular models."""
        total = self._db.execute("SELECT count(*) FROM models").fetchone()[0]
        rare = 1 + total // 400_000
        counted = Counter[str]()
        for name in self._db.execute("SELECT id FROM models ORDER BY row LIMIT ?", (_POPULAR,)):
            author, _, model = name[0].rpartition("/")
            counted.update({*model_names.search_terms(model), author.lower()})
        found: dict[str, int] = {}
        self._db.execute("DELETE FROM counted")
        for term, count in self._db.execute("SELECT term, doc FROM vocabulary WHERE doc >= ?", (rare,)):
            if (word := term.removeprefix("@")).isalpha():
                found[word] = count
            elif term[0] == "~" and count >= _MANY:
                self._db.execute("INSERT INTO counted VALUES (?, ?)", (int(term[1:], 36), count))
        for word, count in counted.items():
            if word.isalpha():
                found[word] = max(count, found.get(word, 0))
        for (term,) in self._db.execute("SELECT text FROM terms WHERE text >= 'tag:' AND text < 'tag;'"):
            if (word := term[4:].lower()).isalpha() and len(word) > 3:
                found.setdefault(word, 1)
        kept = {word: count for word, count in found.items() if len(word) > 2}
        self._db.execute("DELETE FROM spelling")
        self._db.execute("DELETE FROM pieces")
        # The commonest first: among equally similar words the lower number is the likelier one.
        listed = sorted(kept.items(), key=lambda pair: (-pair[1], pair[0]))
        self._db.executemany(
            "INSERT INTO spelling VALUES (?, ?, ?)", ((i, word, count) for i, (word, count) in enumerate(listed))
        )
        cut = ((piece, i) for i, (word, _) in enumerate(listed) for piece in pieces_of(word))
        self._db.executemany("INSERT INTO pieces VALUES (?, ?)", cut)


def pieces_of(word: str) -> set[str]:
    """Return the pieces of three letters of a word, marked at both ends; words spelled alike share many of them."""
    marked = f"^{word}$"
    return {marked[i : i + 3] for i in range(len(marked) - 2)}


def in_memory(records: Iterable[ModelRecord]) -> Index:
    """Return an index in memory over some records."""
    writer = Writer(None)
    writer.put_all(records)
    writer.finish()
    return writer.index()
