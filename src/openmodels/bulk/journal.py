"""The file in which a bulk run keeps what is done: a line a finished item, so that a crash loses nothing."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from openmodels import files
from openmodels.errors import InvalidRequest, OpenModelsError, WriteFailed
from openmodels.types.reply import Reply

_BEGIN = b'{"index": '
_ABSENT = -1
_LONGEST_LINE = 64 * 2**20
"""Bytes of a line that are read into memory; a longer one is skipped as damaged."""
_SPARSE = 100_000
"""How far an index may be beyond twice the number of lines before it is kept in a dictionary."""
_SYNC_SECONDS = 1.0
"""Seconds between two flushes to the disk: a power loss costs at most the items of that time."""
_LOCK_PLACE = 2**62
"""The byte that Windows locks: it has no file without a lock on a range, and this one holds no data."""


class Journal:
    r"""A JSONL file of finished items: `{"index": 0, "key": "…", "reply": {…}}`, or with `"error"`.

    A line is written in one piece and not before its item is done. A write that fails, as on a full
    disk, is taken back, and its line is written with the next one. Opening drops a half line at the
    end and skips damaged ones; their items are made again. Of several lines with one index the last
    counts; one with an error is an unfinished item.

    Args:
        path: The file; it is made, for the user's eyes only, if it is not there.

    Attributes:
        damaged: How many lines could not be read.

    Raises:
        InvalidRequest: The file holds something else, or another process is writing it.
        WriteFailed: It cannot be opened, locked or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.damaged = 0
        self._places = array("q")  # eight bytes an item: there may be millions
        self._far: dict[int, int] = {}
        self._unwritten: list[bytes] = []
        self._synced = time.monotonic()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
            self._file: BinaryIO = os.fdopen(descriptor, "a+b", buffering=0)
        except OSError as error:
            raise files.write_failed(self.path, error) from error
        except ValueError as error:  # a NUL in the name
            raise files.write_failed(self.path, OSError(errno.EINVAL, "Invalid name")) from error
        try:
            self._lock()
            # A device such as /dev/full is read without end, and a pipe is waited for.
            self._end = self._read() if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode) else 0
            self._reader = self.path.open("rb")
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError) and not isinstance(error, OpenModelsError):
                raise files.write_failed(self.path, error) from error
            raise

    def find(self, index: int, key: str) -> Reply | None:
        """Return the reply kept for an item, or None if there is none.

        Raises:
            InvalidRequest: It was made from another prompt or with other options.
        """
        place = self._places[index] if index < len(self._places) else self._far.get(index, _ABSENT)
        if place == _ABSENT:
            return None
        self._reader.seek(place)
        try:
            item = _item(self._reader.readline(_LONGEST_LINE))
        except ValueError:  # changed by another program since it was opened
            return None
        if item["key"] != key:
            raise InvalidRequest(
                f"Item {index} in {self.path} was made by another model, from another prompt or with other options.",
                next_step="Save into another file, or remove this one to start anew.",
            )
        try:
            return Reply.model_validate(item.get("reply"))
        except ValidationError:  # written by another version
            return None

    def add(self, index: int, key: str | None, outcome: Reply | OpenModelsError) -> None:
        """Write an item's line.

        Raises:
            WriteFailed: It cannot be written. It is kept in memory and written with the next line or at closing.
        """
        line: dict[str, Any] = {"index": index, "key": key}
        if isinstance(outcome, Reply):
            # What JSON cannot hold of `parsed` becomes null; a resume makes it again from the text.
            line["reply"] = outcome.model_dump(mode="json", fallback=lambda _: None)
        else:
            line["error"] = {
                "type": type(outcome).__name__,
                "cause": outcome.cause,
                "next_step": outcome.next_step,
                "status": outcome.status,
                "request_id": outcome.request_id,
            }
        self._unwritten.append(_encoded(line) + b"\n")
        self._write()

    def close(self) -> None:
        """Close the file. Idempotent.

        Raises:
            WriteFailed: A line could not be written, now or before.
        """
        if self._file.closed:
            return
        try:
            self._write()
            self._sync()
        finally:
            self._file.close()
            self._reader.close()

    def _write(self) -> None:
        try:
            while self._unwritten:
                data = memoryview(self._unwritten[0])
                while data:
                    data = data[self._file.write(data) :]
                self._end += len(self._unwritten.pop(0))
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self._sync()
        except OSError as error:
            # Half a line, as a disk that is full leaves it, would spoil the next one.
            with suppress(OSError):
                self._file.truncate(self._end)
            raise files.write_failed(self.path, error) from error

    def _sync(self) -> None:
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a pipe or /dev/null has no disk
                raise files.write_failed(self.path, error) from error
        self._synced = time.monotonic()

    def _lock(self) -> None:
        # The lock goes with the process, also after kill -9.
        try:
            if sys.platform == "win32":
                import msvcrt

                self._file.seek(_LOCK_PLACE)
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                import fcntl

                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                raise WriteFailed(
                    f"{self.path} cannot be locked: {error.strerror}.",
                    next_step="Save to a disk of this machine: this file system has no locks.",
                ) from error
            raise InvalidRequest(
                f"{self.path} is being written by another run.", next_step="Wait for it, or save into another file."
            ) from error

    def _read(self) -> int:
        """Note where each item's line is; return where the next one will be.

        Raises:
            InvalidRequest: The file holds something else; it stays as it is.
        """
        first_damaged, items, place, torn = 0, 0, 0, False
        with self.path.open("rb") as file:
            for number, (line, length) in enumerate(_lines(file), 1):
                start, item = _recovered(line)
                if item is None or start:
                    looks_cut = line.startswith(_BEGIN) or _is_zeros(line)
                    if item is None and not line.endswith(b"\n") and (looks_cut or _BEGIN.startswith(line)):
                        torn = True
                        break
                    if item is None and not looks_cut:
                        raise self._foreign(number)
                    self.damaged += 1
                    first_damaged = first_damaged or number
                if item is not None:
                    items += 1
                    if "reply" in item:
                        self._note(item["index"], place + start, number)
                place += length
                if not line.endswith(b"\n"):
                    self._file.write(b"\n")
                    place += 1
                    break  # else the newline is read as a line of its own
        if self.damaged and not items:
            raise self._foreign(first_damaged)
        if torn:
            self._file.truncate(place)
        return place

    def _foreign(self, number: int) -> InvalidRequest:
        return InvalidRequest(
            f"{self.path}: line {number} is no item of a bulk run.",
            next_step="Save into another file: nothing is written into this one.",
        )

    def _note(self, index: int, place: int, lines: int) -> None:
        if index >= len(self._places):
            if index > 2 * lines + _SPARSE:  # a damaged number must not fill the memory
                self._far[index] = place
                return
            self._places.extend([_ABSENT] * (index + 1 - len(self._places)))
        self._places[index] = place


def _lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each line of a file with its length in bytes; of a line too long to be an item only its start."""
    while line := file.readline(_LONGEST_LINE):
        length = len(line)
        if length == _LONGEST_LINE and not line.endswith(b"\n"):
            line = line[:100]
            while rest := file.readline(_LONGEST_LINE):
                length += len(rest)
                if rest.endswith(b"\n"):
                    line += b"\n"
                    break
        yield line, length


def _is_zeros(line: bytes) -> bool:
    return bool(content := line.rstrip(b"\r\n")) and not content.strip(b"\0")


def _recovered(line: bytes) -> tuple[int, dict[str, Any] | None]:
    """Return the item of a line and where in the line it begins; None where there is none.

    A write that was cut short has the next line stuck to it, and a power loss leaves NUL bytes before it.
    """
    with suppress(ValueError):
        return 0, _item(line)
    start = line.rfind(_BEGIN)
    if start > 0:
        with suppress(ValueError):
            return start, _item(line[start:])
    return 0, None


def _item(line: bytes) -> dict[str, Any]:
    """Return the item that a line holds.

    Raises:
        ValueError: It holds none.
    """
    try:
        item = json.loads(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(item, dict) or not isinstance(item.get("key", 0), str | None):
        raise ValueError("no item")  # noqa: TRY004 - one kind of error for every bad line
    index = item.get("index")
    if type(index) is not int or not 0 <= index < 2**40:
        raise ValueError("no index")
    if not isinstance(item.get("reply", item.get("error")), dict):
        raise ValueError("no outcome")  # noqa: TRY004 - as above
    if line.count(b"[") + line.count(b"{") > files.DEEPEST and files.depth(item) > files.DEEPEST:
        raise ValueError("nested too deeply")
    return item


def _encoded(line: dict[str, Any]) -> bytes:
    with suppress(UnicodeEncodeError):
        return json.dumps(line, ensure_ascii=False).encode()
    return json.dumps(line).encode()  # half a surrogate pair
