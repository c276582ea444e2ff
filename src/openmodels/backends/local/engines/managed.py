"""A server in a child process of ours: started, watched, logged, stopped, and never outliving us.

The child ends when its standard input does. Only we hold the other end of that pipe, so it ends
with us however we end, even by SIGKILL.
"""

from __future__ import annotations

import atexit
import http.client
import json
import logging
import os
import signal
import subprocess
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path

from openmodels import settings
from openmodels.backends.local import native
from openmodels.errors import DeadlineExceeded, LoadFailed

READY = "openmodels-server-at "
"""What stands before the address in the line that a child of our own prints when it is ready."""
_LOG_BYTES = 2**20
_SHOWN = 10
_LOGS = 20
_GRACE = 10.0


@dataclass(frozen=True, slots=True)
class Start:
    """How to start a server.

    Attributes:
        engine: Its name, for messages and the log's.
        command: The program and its arguments; it must end when its standard input does.
        key: The key that callers must show; never shown in a message or log.
        model: The name under which it serves the model.
        port: Where it will listen on 127.0.0.1; None when it prints `READY` and its address.
        told: What it gets on its standard input first.
        environment: Variables added to ours.
    """

    engine: str
    command: Sequence[str]
    key: str = field(repr=False)
    model: str = "model"
    port: int | None = None
    told: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class ManagedServer:
    """One server process, started when it is needed and again when it has died.

    Args:
        engine: Its name.
        prepare: Says how to start it; called for each start, with the deadline.
    """

    def __init__(self, engine: str, prepare: Callable[[float | None], Start]) -> None:
        self.engine = engine
        self._prepare = prepare
        self._lock = threading.Lock()
        self._forget()
        _servers.add(self)

    def _forget(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._start: Start | None = None
        self._address: str | None = None
        self._ready = threading.Event()
        self._tail: deque[str] = deque(maxlen=_SHOWN)
        self._reader: threading.Thread | None = None
        self.log: Path | None = None

    @property
    def pid(self) -> int | None:
        """The process's number while it lives."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    @property
    def key(self) -> str | None:
        """The key that the server wants to see."""
        return self._start.key if self._start else None

    def ensure(self, deadline: float | None) -> str:
        """Return the address of the running server, starting it if there is none.

        Raises:
            LoadFailed: It cannot be started, or ended while it started; the message holds its last log lines.
            DeadlineExceeded: It was not ready when the time was up; it goes on starting.
        """
        with self._lock:
            if self.pid is None:
                self._begin(deadline)
            if self._address is None:
                self._await(deadline)
            assert self._address is not None  # noqa: S101 - `_await` has set it
            return self._address

    def stop(self) -> None:
        """End the process and everything that it started; wait until it is gone."""
        with self._lock:
            process, reader = self._process, self._reader
            self._process = None
            self._address = None
        if process is None:
            return
        _close(process)
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
        if reader is not None:
            reader.join(_GRACE)

    def died(self, seconds: float = 1.0) -> str | None:
        """Return what a dead server said last, or None when it lives after so many seconds."""
        process, reader = self._process, self._reader
        if process is None:
            return None
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        if reader is not None:
            reader.join(seconds)
        return self._last_words(process)

    def _begin(self, deadline: float | None) -> None:
        if self._process is not None:
            _close(self._process)
        start = self._prepare(deadline)
        self._forget()
        self._start = start
        try:
            process = subprocess.Popen(  # noqa: S603 - the user's own program
                list(start.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**os.environ, **native.wait_settings(), **start.environment},
                # A group of its own: Ctrl-C is meant for us, and what the server starts ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise LoadFailed(
                f"The server of the engine {self.engine!r} cannot be started: {error.strerror}.",
                next_step=f"Check the command {Path(start.command[0]).name!r}.",
            ) from error
        self._process = process
        self.log = _log_file(self.engine, process.pid)
        self._reader = threading.Thread(target=self._read, args=(process, start, self.log, self._ready), daemon=True)
        self._reader.start()
        if start.told:
            assert process.stdin is not None  # noqa: S101 - a pipe
            with suppress(BrokenPipeError):  # it has ended already; `_await` tells
                process.stdin.write(start.told + "\n")
                process.stdin.flush()

    def _read(self, process: subprocess.Popen[str], start: Start, log: Path, ready: threading.Event) -> None:
        assert process.stdout is not None  # noqa: S101 - a pipe
        kept = RotatingFileHandler(log, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
        try:
            for raw in process.stdout:
                # A server's own threads write into the same pipe: half a line of theirs may stand before.
                line, told, address = raw.rstrip("\n").partition(READY)
                if told:
                    self._address = address.strip()
                    ready.set()
                line = line.replace(start.key, "***")
                if line.strip():
                    self._tail.append(line.strip()[:300])
                with suppress(OSError):  # a full disk must not stop the reading, or the server would block
                    kept.emit(logging.makeLogRecord({"msg": line}))
        finally:
            kept.close()
            process.stdout.close()
            ready.set()

    def _await(self, deadline: float | None) -> None:
        process, start = self._process, self._start
        assert process is not None  # noqa: S101 - called after `_begin`
        assert start is not None  # noqa: S101
        wait = 0.05
        while self._address is None:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise DeadlineExceeded(
                    f"The time was up while the engine {self.engine!r} was starting.",
                    next_step="It goes on starting; call again, or call `load()` ahead.",
                )
            if start.port is None:
                # Until the line with the address, or the end of the output.
                self._ready.wait(left)
            else:
                self._ready.wait(wait if left is None else min(wait, left))
                wait = min(1.0, wait * 1.5)
                if _answers(start):
                    self._address = f"http://127.0.0.1:{start.port}"
            if self._address is None and self._ready.is_set():
                process.wait()
                raise LoadFailed(
                    f"The engine {self.engine!r} did not start. {self._last_words(process)}",
                    next_step="Its log says more.",
                )

    def _last_words(self, process: subprocess.Popen[str]) -> str:
        code = process.returncode
        ended = f"killed by {_signal_name(-code)}" if code is not None and code < 0 else f"exit status {code}"
        said = " | ".join(self._tail) or "it said nothing"
        return f"It ended ({ended}); its last lines: {said} (log: {self.log})."


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _answers(start: Start) -> bool:
    """Return whether our server lists our model; another program may have taken the port."""
    connection = http.client.HTTPConnection("127.0.0.1", start.port, timeout=5)
    try:
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {start.key}"})
        answer = connection.getresponse()
        listed = json.loads(answer.read(2**20)) if answer.status == 200 else {}
        return any(item.get("id") == start.model for item in listed.get("data", []))
    except (OSError, http.client.HTTPException, ValueError, AttributeError):
        return False
    finally:
        connection.close()


def _close(process: subprocess.Popen[str]) -> None:
    """End a process's standard input, which ends the process."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()


def _kill(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (AttributeError, ProcessLookupError, PermissionError):
        process.kill()


def _log_file(engine: str, pid: int) -> Path:
    folder = settings.read().cache / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        old = sorted(folder.glob("*.log*"), key=lambda path: path.stat().st_mtime)[: -2 * _LOGS]
        for path in old:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LoadFailed(
            f"The folder for logs cannot be written: {error.strerror}.",
            next_step="Set OPENMODELS_CACHE to a folder that you may write to.",
        ) from error
    return folder / f"{engine}-{pid}.log"


_servers: weakref.WeakSet[ManagedServer] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # The server belongs to the parent. A copy of its pipe in a child would keep it alive after the parent.
    for server in _servers:
        if server._process is not None:  # noqa: SLF001 - ours
            _close(server._process)  # noqa: SLF001
            server._process.returncode = 0  # noqa: SLF001 - not ours to wait for
        server._lock = threading.Lock()  # noqa: SLF001
        server._forget()  # noqa: SLF001


def _at_exit() -> None:
    for server in list(_servers):
        server.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
atexit.register(_at_exit)
