"""Files on this disk: written whole or not at all, read within bounds."""

import errno
import json
import math
import os
import re
import secrets
import stat
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pydantic_core import from_json

from openmodels.errors import InvalidRequest, OpenModelsError, WriteFailed

DEEPEST = 200  # levels of nesting that are read; deeper JSON ends the recursive code that works on it
_LONGEST_NUMBER = 300  # a float holds no more digits
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def write_atomically(path: str | os.PathLike[str], data: str | bytes, *, private: bool = False) -> None:
    """Write a file, text as UTF-8; see `atomic_writer`."""
    with atomic_writer(path, private=private) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def atomic_writer(path: str | os.PathLike[str], *, private: bool = False) -> Generator[BinaryIO, None, None]:
    """Give a file to write to, which replaces `path` when the block ends well.

    A crash or a full disk leaves the old content or the new. A `private` file is for the user alone (mode 0600).

    Raises:
        WriteFailed: It cannot be written; what was there before is unchanged.
    """
    # Replacing a link would leave what it points to as it was.
    draft: str | None = None
    try:
        target = Path(os.path.realpath(path))
        mode = target.stat().st_mode if target.exists() else None
        if mode is not None and not stat.S_ISREG(mode):
            # A pipe, a terminal or /dev/null: nothing there can be replaced.
            with target.open("wb") as file:
                yield file
            return
        name = target.parent / f".{target.name[:100]}-{secrets.token_hex(6)}.part"
        descriptor = os.open(name, _CREATE, 0o600 if private else 0o666)
        draft = str(name)
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if not private and mode is not None:
            Path(draft).chmod(stat.S_IMODE(mode))
        Path(draft).replace(target)
        draft = None
        sync_folder(target.parent)
    except OSError as error:
        if isinstance(error, OpenModelsError):
            raise
        raise write_failed(path, error) from error
    except ValueError as error:
        if "null" not in str(error):  # raised in the block
            raise
        raise write_failed(path, OSError(errno.EINVAL, "Invalid name")) from error
    finally:
        if draft is not None:
            with suppress(OSError):
                Path(draft).unlink()


def write_failed(path: str | os.PathLike[str], error: OSError) -> WriteFailed:
    """Return the typed error for a file that cannot be written."""
    reason = error.strerror or str(error) or type(error).__name__
    failure = WriteFailed(
        f"{os.fspath(path)} cannot be written: {reason}.",
        next_step="Free the disk, or choose a folder that you may write to.",
    )
    failure.errno, failure.strerror, failure.filename = error.errno, reason, os.fspath(path)
    return failure


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power loss, where the system can."""
    if sys.platform == "win32":
        return
    with suppress(OSError):  # some network file systems refuse it
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make every file of a folder survive a power loss, or raise OSError."""
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            with file.open("rb+") as opened:
                os.fsync(opened.fileno())
    sync_folder(folder)


def read_bounded(path: str | os.PathLike[str], *, largest: int, kind: type[OpenModelsError] = InvalidRequest) -> bytes:
    """Return the content of a plain file of at most `largest` bytes, or raise `kind`."""
    try:
        with open(path, "rb", opener=_open_for_reading) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise kind(f"{os.fspath(path)} is not a plain file.")
            content = file.read(largest + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, OpenModelsError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise kind(f"{os.fspath(path)} cannot be read: {reason}.") from error
    if len(content) > largest:
        raise kind(f"{os.fspath(path)} is larger than {largest:,} bytes.")
    return content


def _open_for_reading(path: str, flags: int) -> int:
    # Else opening a named pipe waits for a writer, before its kind can be looked at.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_json(path: str | os.PathLike[str], *, largest: int, kind: type[OpenModelsError] = InvalidRequest) -> Any:
    """Return the value of a JSON file; see `read_bounded` and `parse_json`."""
    return parse_json(read_bounded(path, largest=largest, kind=kind), os.fspath(path), kind=kind)


def parse_json(data: bytes | str, name: str, *, kind: type[OpenModelsError] = InvalidRequest) -> Any:
    """Return the value of a JSON text that others wrote.

    Numbers that no field can hold (NaN, Infinity, 1e999, hundreds of digits) become None; half
    surrogate pairs, which no file or database takes, become U+FFFD. Of two equal keys the last counts.

    The size is the caller's to bound. `name` stands in the error, of the class `kind`, for what is not JSON or
    nested deeper than `DEEPEST`.
    """
    try:
        text = data.decode("utf-8-sig") if isinstance(data, bytes) else data
        value = json.loads(text, parse_constant=lambda _: None, parse_int=_parse_integer, parse_float=_parse_float)
    except RecursionError as error:
        raise kind(f"{name} is nested too deeply.") from error
    except ValueError as error:
        raise kind(f"{name} is not JSON: {_read_reason(error)}.") from error
    if text.count("[") + text.count("{") > DEEPEST and measure_depth(value) > DEEPEST:
        raise kind(f"{name} is nested too deeply.")
    if re.search(r"\\u[dD][89a-fA-F]", text) or _LONE_SURROGATE.search(text):
        value = _without_surrogates(value)
    return value


def measure_depth(value: Any) -> int:
    """Return how deeply a value of JSON is nested, without recursion."""
    deepest, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        deepest += 1
        if deepest > DEEPEST:
            return deepest
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return deepest


def _parse_integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else None


def _parse_float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def _read_reason(error: ValueError) -> str:
    # The text of the error holds a place, and of a decoding error a byte; never the content.
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error).partition(":")[0][:200]


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return _LONE_SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_surrogates(item) for item in value]
    if isinstance(value, dict):
        return {_without_surrogates(name): _without_surrogates(item) for name, item in value.items()}
    return value


def json_or_none(text: str) -> Any:
    """Return the JSON value of `text`, or None where it is not JSON."""
    try:
        return from_json(text)
    except ValueError:
        return None
