"""The file in which a bulk run keeps what is done: a line a finished item, so that a crash loses nothing."""

from __future__ import annotations

import json
import os
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.types import Reply

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_BEGIN = b'{"index": '
_ABSENT = -1


class Journal:
    r"""A JSONL file of finished items: `{"index": 0, "key": "…", "reply": {…}}`, or with `"error"`.

    A line is written in one piece and not before its item is done, so whatever kills the process
    leaves whole lines and at most one half at the end, which opening drops. Of several lines with
    one index the last counts; one with an error is no finished item.

    Args:
        path: The file; it is made if it is not there.

    Raises:
        InvalidRequest: The file holds something else, or another process is writing it.
        OSError: It cannot be read or written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._places = array("q")  # eight bytes an item: there may be millions
        self._file: BinaryIO = self.path.open("a+b", buffering=0)
        try:
            self._lock()
            self._read()
        except BaseException:
            self._file.close()
            raise
        self._reader = self.path.open("rb")

    def find(self, index: int, key: str) -> Reply | None:
        """Return the reply kept for an item, or None if there is none.

        Raises:
            InvalidRequest: It was made from another prompt or with other options.
        """
        place = self._places[index] if index < len(self._places) else _ABSENT
        if place == _ABSENT:
            return None
        self._reader.seek(place)
        line = json.loads(self._reader.readline())
        if line["key"] != key:
            raise InvalidRequest(
                f"Item {index} in {self.path} was made by another model, from another prompt or with other options.",
                next_step="Save into another file, or remove this one to start anew.",
            )
        try:
            return Reply.model_validate(line["reply"])
        except ValidationError:  # written by another version
            return None

    def add(self, index: int, key: str | None, outcome: Reply | OpenModelsError) -> None:
        """Write an item's line. Raises OSError when it cannot be written."""
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
        data = memoryview(_encoded(line) + b"\n")
        while data:
            data = data[self._file.write(data) :]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._reader.close()

    def _lock(self) -> None:
        # The lock goes with the process, also after kill -9.
        if fcntl is not None:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InvalidRequest(
                    f"{self.path} is being written by another run.", next_step="Wait for it, or save into another file."
                ) from error

    def _read(self) -> None:
        place = 0
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    index, done = _understood(line)
                except (ValueError, KeyError, TypeError):
                    if line.endswith(b"\n") or not (line.startswith(_BEGIN) or _BEGIN.startswith(line)):
                        raise InvalidRequest(
                            f"{self.path}: line {number} is no item of a bulk run.",
                            next_step="Save into another file: nothing is written into this one.",
                        ) from None
                    self._file.truncate(place)
                    return
                if index >= len(self._places):
                    self._places.extend([_ABSENT] * (index + 1 - len(self._places)))
                if done:
                    self._places[index] = place
                place += len(line)
                if not line.endswith(b"\n"):
                    self._file.write(b"\n")
                    return  # else the newline is read as a line of its own


def _understood(line: bytes) -> tuple[int, bool]:
    """Return the item that a line tells of, and whether it is done."""
    item = json.loads(line)
    index = item["index"]
    if type(index) is not int or not 0 <= index < 2**40:
        raise ValueError(index)
    if "reply" not in item and "error" not in item:
        raise KeyError("reply")
    return index, "reply" in item


def _encoded(line: dict[str, Any]) -> bytes:
    with suppress(UnicodeEncodeError):
        return json.dumps(line, ensure_ascii=False).encode()
    return json.dumps(line).encode()  # half a surrogate pair
