"""Child processes that run nothing of the current folder and outlive no caller."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from openmodels import background

_POLL_INTERVAL = 0.1  # seconds after which it is looked again whether a caller still wants what a child does
_GRACE = 10.0  # seconds that a child gets to end by itself


def safe_environment() -> dict[str, str]:
    """Return this process's variables without the current folder.

    That folder may be a stranger's. An empty or relative entry of PATH or PYTHONPATH names it, and so does the first
    place where Python looks for modules.
    """
    paths = {name: _absolute(os.environ.get(name, "")) for name in ("PATH", "PYTHONPATH")}
    others = {name: value for name, value in os.environ.items() if name not in paths}
    return others | {name: path for name, path in paths.items() if path} | {"PYTHONSAFEPATH": "1"}


def supervised_command(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one and ends it with its standard input."""
    # The input ends with this process, even by SIGKILL. -P: the folder of the program must not come before the
    # installed packages.
    return [sys.executable, "-P", str(Path(__file__).with_name("engines") / "supervisor.py"), *command]


def run(
    command: Sequence[str],
    *,
    deadline: float | None,
    cwd: Path | None = None,
    stdout: IO[str] | int = subprocess.DEVNULL,
) -> tuple[int, str]:
    """Run a command to its end; return its exit status and what it wrote to stderr.

    The program is named by its absolute path. The deadline is on the clock of `time.monotonic()`.

    Raises:
        TimeoutError: The deadline passed.
        StreamInterrupted: The thread was cancelled: the model is closed or the process ends.
        OSError: It cannot be started.
    """
    background.check_cancelled()
    with subprocess.Popen(  # noqa: S603 - the caller's own command
        supervised_command(command),
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=safe_environment(),
        cwd=cwd,
        # A group of its own: Ctrl-C is meant for us, and we end it.
        start_new_session=True,
    ) as process:
        stdin, process.stdin = process.stdin, None  # `communicate` would close it, and so end the command
        try:
            while True:
                try:
                    _, lines = process.communicate(timeout=_POLL_INTERVAL)
                except subprocess.TimeoutExpired:
                    background.check_cancelled()
                    if deadline is not None and time.monotonic() >= deadline:
                        raise TimeoutError from None
                else:
                    return process.returncode, lines
        finally:
            if stdin is not None:
                stdin.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)
            process.kill()


def find_program(name: str) -> str | None:
    """Return the absolute path of a program on PATH, or None.

    The current folder is not searched. A name with a folder in it is taken as the caller's own path.
    """
    if os.path.dirname(name):  # noqa: PTH120 - a path of any system
        path = shutil.which(name)
        return os.path.abspath(path) if path else None  # noqa: PTH100 - links stay: an environment is told by them
    # Each folder by itself: with a list of them, Windows would look into the current folder first.
    folders = _absolute(os.environ.get("PATH", os.defpath)).split(os.pathsep)
    return next(filter(None, (shutil.which(os.path.join(folder, name)) for folder in folders if folder)), None)  # noqa: PTH118


def _absolute(paths: str) -> str:
    return os.pathsep.join(path for path in paths.split(os.pathsep) if os.path.isabs(path))  # noqa: PTH117
