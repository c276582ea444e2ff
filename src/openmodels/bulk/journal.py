"""The file of a bulk run: a line for each item, so that a crash loses none."""

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

_LINE_PREFIX = b'{"index": '
_ABSENT = -1
_MAX_LINE_BYTES = 64 * 2**20  # bytes of a line that are read into memory; a longer one is skipped as damaged
_SPARSE_LIMIT = 100_000
"""How far an index may exceed twice the number of lines before its offset goes into a dictionary."""
_SYNC_SECONDS = 1.0  # seconds between two `fsync` calls: a power loss costs at most the items of that time
_LOCK_OFFSET = 2**62  # offset of the byte that Windows locks: it locks only ranges, and the data never reach this one


class Journal:
    r"""An append-only JSONL file of finished items.

    A line is `{"index": 0, "key": "…", "reply": {…}}`, or has `"error"` in place of `"reply"`.
    A line is written in one piece once its item is done. A write that fails, as on a full disk, is
    rolled back, and its line is written with the next one. Opening drops a partial line at the end and
    skips damaged ones; their prompts run again. Of several lines with the same index the last counts; a
    line with an error is an unfinished item.

    Args:
        path: The file; it is created, readable by its owner alone, if it is missing.

    Raises:
        InvalidRequest: The file is not a journal, or another process is writing it.
        WriteFailed: It cannot be opened, locked or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.damaged = 0  # number of lines that could not be read
        self._offsets = array("q")  # eight bytes an item: there may be millions
        self._sparse_offsets: dict[int, int] = {}
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
            self._end_offset = self._read() if stat.S_ISREG(os.fstat(self._file.fileno()).st_mode) else 0
            self._reader = self.path.open("rb")
        except BaseException as error:
            self._file.close()
            if isinstance(error, OSError) and not isinstance(error, OpenModelsError):
                raise files.write_failed(self.path, error) from error
            raise

    def find(self, index: int, key: str) -> Reply | None:
        """Return the saved reply of an item, or None if the file lacks it.

        Raises:
            InvalidRequest: The item was made from another prompt or with other options.
        """
        offset = self._offsets[index] if index < len(self._offsets) else self._sparse_offsets.get(index, _ABSENT)
        if offset == _ABSENT:
            return None
        self._reader.seek(offset)
        try:
            item = _parse_item(self._reader.readline(_MAX_LINE_BYTES))
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
        """Write the line of an item.

        Raises:
            WriteFailed: It cannot be written. It stays in memory and is written with the next line or at closing.
        """
        line: dict[str, Any] = {"index": index, "key": key}
        if isinstance(outcome, Reply):
            # What JSON cannot hold of `parsed` becomes null; resuming parses the text again.
            line["reply"] = outcome.model_dump(mode="json", fallback=lambda _: None)
        else:
            fields = {name: getattr(outcome, name) for name in ("cause", "next_step", "status", "request_id")}
            line["error"] = {"type": type(outcome).__name__, **fields}
        self._unwritten.append(_encode_line(line) + b"\n")
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
                self._end_offset += len(self._unwritten.pop(0))
            if time.monotonic() - self._synced >= _SYNC_SECONDS:
                self._sync()
        except OSError as error:
            # Half a line, as a disk that is full leaves it, would spoil the next one.
            with suppress(OSError):
                self._file.truncate(self._end_offset)
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

                self._file.seek(_LOCK_OFFSET)
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
        """Index the lines by item and return the offset of the next one."""
        first_damaged, items, offset, torn = 0, 0, 0, False
        with self.path.open("rb") as file:
            for number, (line, length) in enumerate(_read_lines(file), 1):
                start, item = _recover_item(line)
                if item is None or start:
                    looks_cut = line.startswith(_LINE_PREFIX) or _is_zeros(line)
                    if item is None and not line.endswith(b"\n") and (looks_cut or _LINE_PREFIX.startswith(line)):
                        torn = True
                        break
                    if item is None and not looks_cut:
                        raise self._not_a_journal(number)
                    self.damaged += 1
                    first_damaged = first_damaged or number
                if item is not None:
                    items += 1
                    if "reply" in item:
                        self._index_line(item["index"], offset + start, number)
                offset += length
                if not line.endswith(b"\n"):
                    self._file.write(b"\n")
                    offset += 1
                    break  # else the newline is read as a line of its own
        if self.damaged and not items:
            raise self._not_a_journal(first_damaged)
        if torn:
            self._file.truncate(offset)
        return offset

    def _not_a_journal(self, number: int) -> InvalidRequest:
        return InvalidRequest(
            f"{self.path}: line {number} is no item of a bulk run.",
            next_step="Save into another file: nothing is written into this one.",
        )

    def _index_line(self, index: int, offset: int, lines: int) -> None:
        if index >= len(self._offsets):
            if index > 2 * lines + _SPARSE_LIMIT:  # a damaged number must not fill the memory
                self._sparse_offsets[index] = offset
                return
            self._offsets.extend([_ABSENT] * (index + 1 - len(self._offsets)))
        self._offsets[index] = offset


def _read_lines(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each line, of an overlong one the start, with its length in bytes."""
    while line := file.readline(_MAX_LINE_BYTES):
        length = len(line)
        if length == _MAX_LINE_BYTES and not line.endswith(b"\n"):
            line = line[:100]
            while rest := file.readline(_MAX_LINE_BYTES):
                length += len(rest)
                if rest.endswith(b"\n"):
                    line += b"\n"
                    break
        yield line, length


def _is_zeros(line: bytes) -> bool:
    return bool(content := line.rstrip(b"\r\n")) and not content.strip(b"\0")


def _recover_item(line: bytes) -> tuple[int, dict[str, Any] | None]:
    """Return the offset of an item in a line and the item, or 0 and None.

    The next line follows directly on a write that was cut short, and a power loss leaves NUL bytes before it.
    """
    for start in (0, max(line.rfind(_LINE_PREFIX), 0)):
        with suppress(ValueError):
            return start, _parse_item(line[start:])
    return 0, None


def _parse_item(line: bytes) -> dict[str, Any]:
    """Return the item that a line holds, or raise ValueError."""
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
    if line.count(b"[") + line.count(b"{") > files.DEEPEST and files.measure_depth(item) > files.DEEPEST:
        raise ValueError("nested too deeply")
    return item


def _encode_line(line: dict[str, Any]) -> bytes:
    with suppress(UnicodeEncodeError):
        return json.dumps(line, ensure_ascii=False).encode()
    return json.dumps(line).encode()  # half a surrogate pair
