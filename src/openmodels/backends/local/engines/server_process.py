"""A server in a child process, which never outlives this one.

The child ends when its standard input does. Only we hold the other end of that pipe, so it ends
with us however we end, even by SIGKILL.
"""

import json
import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import closing, suppress
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

import psutil

from openmodels import settings
from openmodels.backends.local import subprocesses
from openmodels.backends.local.engines.torch import torch_setup
from openmodels.backends.local.runtime import ProcessResource
from openmodels.background import copy_error
from openmodels.deadline import wait_timeout
from openmodels.errors import DeadlineExceeded, LoadFailed, OpenModelsError, StreamInterrupted
from openmodels.http.client import HttpClient, HttpRequest

READY = "openmodels-server-at "
"""What stands before the address in the line that a child of our own prints when it is ready."""
MODEL = "model"  # the name under which our servers serve their one model
_LOG_BYTES = 2**20
_SHOWN_LINES = 10
_LOGS = 20
_GRACE = 10.0  # seconds that a server gets to end by itself
_STARTING_GRACE = 0.5  # the same for one that was not ready: no caller needs its work
_STARTS = 5  # how often a server is started within `_PERIOD` seconds; what dies that often dies again
_PERIOD = 60.0
_LOOPBACK = re.compile(r"http://127\.0\.0\.1:\d{1,5}")
_SIGNALS = {number.value: number.name for number in signal.Signals}


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How to start a server."""

    command: Sequence[str]  # the program and its arguments; it must end when its standard input does
    key: str = field(repr=False)  # the key that callers must show; never shown in a message or log
    port: int | None = None  # where it will listen on 127.0.0.1; None when it prints `ready` and its address
    # What stands before the address. A secret of this start, or the names that a model's file holds, which servers log,
    # could pass another address off as ours.
    ready: str = field(default=READY, repr=False)
    stdin: str = field(default="", repr=False)  # the first line of its standard input
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # variables added to ours


class ServerProcess:
    """One start of a server, shared by all callers who wait for it."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.key = ""
        self.process: subprocess.Popen[str] | None = None
        self.reader: threading.Thread | None = None
        self.log: Path | None = None
        self.tail: deque[str] = deque(maxlen=_SHOWN_LINES)  # the last lines of its output
        self.address: Future[str] = Future()  # where it listens, or why it did not start
        self.is_stopped = False  # whether it is not wanted any more
        self._printed: str | None = None  # the address that it has printed
        self._settled = threading.Event()  # set once it has printed its address, has ended, or was stopped

    @property
    def is_running(self) -> bool:
        """Whether the process lives and is wanted."""
        return not self.is_stopped and self.process is not None and self.process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether the server was ready once."""
        return self.address.done() and self.address.exception() is None

    @property
    def is_usable(self) -> bool:
        """Whether the server is ready or still starting."""
        return not self.address.done() or (self.is_ready and self.is_running)

    def spawn(self, start: ServerCommand) -> None:
        """Start the process, and the thread that reads its output, or raise `LoadFailed`."""
        self.key = start.key
        try:
            self.process = process = subprocess.Popen(  # noqa: S603 - the user's own program
                list(start.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**subprocesses.safe_environment(), **torch_setup.thread_wait_variables(), **start.environment},
                # A group of its own: Ctrl-C is meant for us, and what the server starts ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise LoadFailed(
                f"The server of the engine {self.engine!r} cannot be started: {error.strerror}.",
                next_step=f"Check the command {Path(start.command[0]).name!r}.",
            ) from error
        try:
            self.log = _log_file(self.engine, process.pid)
        except LoadFailed:
            self.end(0.0)
            raise
        arguments = (process, process.stdout, start, self.log)
        self.reader = threading.Thread(target=self._read, args=arguments, name="openmodels-log", daemon=True)
        self.reader.start()
        if start.stdin and process.stdin is not None:
            with suppress(OSError):  # it has ended already; `wait_ready` tells
                process.stdin.write(start.stdin + "\n")
                process.stdin.flush()

    def wait_ready(self, start: ServerCommand) -> str:
        """Return the address once the server is ready, or raise `LoadFailed`."""
        interval = 0.05
        while not self._settled.wait(None if start.port is None else interval):
            interval = min(1.0, interval * 1.5)
            if self.process is not None and _owns_port(self.process.pid, start.port) and _lists_model(start):
                return f"http://127.0.0.1:{start.port}"
        if self._printed is not None:
            return self._printed
        if self.reader is not None:
            self.reader.join(_GRACE)
        raise LoadFailed(
            f"The engine {self.engine!r} did not start. {self.last_words()}", next_step="Its log says more."
        )

    def stop(self) -> None:
        """Give the start up, for all who wait for it."""
        self.is_stopped = True
        with suppress(InvalidStateError):
            self.address.set_exception(StreamInterrupted("The model was closed while its server was starting."))
        self._settled.set()

    def end(self, grace: float) -> None:
        """End the process and everything that it started; wait until it is gone."""
        if (process := self.process) is None:
            return
        _close(process)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
        if self.reader is not None:
            self.reader.join(_GRACE)

    def has_ended(self, seconds: float) -> bool:
        """Return whether the process ends in some seconds, with its last words read."""
        if self.process is None or self.reader is None:
            return False
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self.reader.join(seconds)
        return True

    def last_words(self) -> str:
        """Return how the process ended and what it wrote last."""
        code = self.process.poll() if self.process is not None else None
        if code is None:
            ended = "its output is closed"
        elif code < 0:
            ended = f"killed by {_SIGNALS.get(-code, f'signal {-code}')}"
        else:
            ended = f"exit status {code}"
        lines = " | ".join(self.tail) or "it wrote nothing"
        return f"It ended ({ended}); its last lines: {lines} (log: {self.log})."

    def _read(self, process: subprocess.Popen[str], stdout: IO[str], start: ServerCommand, log: Path) -> None:
        handler = RotatingFileHandler(log, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
        try:
            for raw in stdout:
                # A server's own threads write into the same pipe: half a line of theirs may stand before.
                line, mark, address = raw.rstrip("\n").partition(start.ready)
                if mark and start.port is None and _LOOPBACK.fullmatch(address.strip()):
                    self._printed = address.strip()
                    self._settled.set()
                line = line.replace(start.key, "***")
                if line.strip():
                    self.tail.append(line.strip()[:300])
                with suppress(OSError):  # a full disk must not stop the reading, or the server would block
                    handler.emit(logging.makeLogRecord({"msg": line}))
        finally:
            handler.close()
            stdout.close()
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE)  # now, or a dead server would stay a zombie until the next call
                _close(process)
            self._settled.set()


class ManagedServer(ProcessResource):
    """One server process, started when it is needed and again when it has died.

    A start happens on a thread of its own. Callers wait for it together, each until its own deadline, and get the same
    error where it fails. `prepare` says how to start it, for each start, until a deadline.
    """

    def __init__(self, engine: str, prepare: Callable[[float | None], ServerCommand]) -> None:
        self.engine = engine
        self._prepare = prepare
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._launch = ServerProcess(self.engine)
        self._launch.stop()
        self._spawned: deque[float] = deque(maxlen=_STARTS)

    def after_fork_in_child(self) -> None:
        """Leave the server to the parent: a copy of its pipe here would keep it alive."""
        if (process := self._launch.process) is not None:
            _close(process)
            process.returncode = 0  # it is not this process's to wait for
        self._reset()

    @property
    def running_start(self) -> ServerProcess | None:
        """The start of the running server, if there is one that is ready."""
        launch = self._launch
        return launch if launch.is_ready and launch.is_running else None

    @property
    def pid(self) -> int | None:
        """The process's number while it lives."""
        launch = self._launch
        return launch.process.pid if launch.process and launch.is_running else None

    @property
    def log(self) -> Path | None:
        """The file with the server's output."""
        return self._launch.log

    def ensure(self, deadline: float | None) -> ServerProcess:
        """Return the running server, started if there is none.

        Raises:
            LoadFailed: It cannot be started, ended while it started (the message holds its last log lines),
                or died too often within a minute.
            DeadlineExceeded: It was not ready when the time was up; its start continues.
            StreamInterrupted: It was stopped while it started.
        """
        while True:
            with self._lock:
                launch = self._current(deadline)
            wait([launch.address], wait_timeout(deadline))
            if not launch.address.done():
                lines = " | ".join(launch.tail)
                raise DeadlineExceeded(
                    f"The time was up while the engine {self.engine!r} was starting."
                    + (f" Its last lines: {lines}." if lines else ""),
                    next_step="It goes on starting; call again, or call `load()` ahead.",
                )
            if (error := launch.address.exception()) is None:
                return launch
            # After a `DeadlineExceeded`, finding the files took longer than another caller had time for.
            if not isinstance(error, DeadlineExceeded) or wait_timeout(deadline) == 0:
                raise copy_error(error)

    def stop(self, timeout: float = 0.0) -> None:  # noqa: ARG002 - it has its own times to end in
        """End the process and everything that it started; wait until it is gone.

        A server that is ready gets some seconds to end by itself; one that is still starting gets a moment.
        """
        with self._lock:
            launch = self._launch
            grace = _GRACE if launch.is_ready else _STARTING_GRACE
            launch.stop()
            self._spawned.clear()
        launch.end(grace)

    def _current(self, deadline: float | None) -> ServerProcess:
        """Return the start to wait for, a new one where need be; the lock is held."""
        if self._launch.is_usable:
            return self._launch
        since = time.monotonic() - _PERIOD
        if len(self._spawned) == _STARTS and self._spawned[0] > since:
            raise LoadFailed(
                f"The server of the engine {self.engine!r} ended {_STARTS} times within {_PERIOD:.0f} seconds. "
                + self._launch.last_words(),
                next_step=f"It is started again in {self._spawned[0] - since:.0f} seconds; its log says more.",
            )
        if self._launch.process is not None:
            _close(self._launch.process)
        self._launch = launch = ServerProcess(self.engine)
        threading.Thread(target=self._start, args=(launch, deadline), name="openmodels-start", daemon=True).start()
        return launch

    def _start(self, launch: ServerProcess, deadline: float | None) -> None:
        try:
            start = self._prepare(deadline)
            with self._lock:
                if launch.is_stopped:
                    return
                self._spawned.append(time.monotonic())
                launch.spawn(start)
            address = launch.wait_ready(start)
        except BaseException as error:  # noqa: BLE001 - of any kind: the callers wait for it
            failure = error
            if not isinstance(error, OpenModelsError):
                failure = LoadFailed(f"The engine {self.engine!r} cannot be started: {type(error).__name__}: {error}.")
                failure.__cause__ = error
            with suppress(InvalidStateError):  # it was stopped
                launch.address.set_exception(failure)
        else:
            with suppress(InvalidStateError):
                launch.address.set_result(address)


def _owns_port(pid: int, port: int | None) -> bool:
    """Return whether the process, or a child of it, listens on a port of 127.0.0.1.

    Another program may have taken the port between its choice and the server's start, and whoever is
    asked there gets the key.
    """
    try:
        server = psutil.Process(pid)
        processes = [server, *server.children(recursive=True)]
    except psutil.Error:
        return False
    for process in processes:
        with suppress(psutil.Error):
            for connection in process.net_connections(kind="tcp4"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr == ("127.0.0.1", port):
                    return True
    return False


def _lists_model(start: ServerCommand) -> bool:
    url, headers = f"http://127.0.0.1:{start.port}/v1/models", (("Authorization", f"Bearer {start.key}"),)
    with closing(HttpClient()) as client:
        try:
            with client.send(HttpRequest("GET", url, headers), time.monotonic() + 5) as response:
                listed = json.loads(response.read(2**20)) if response.status == 200 else {}
            return any(item.get("id") == MODEL for item in listed.get("data", []))
        except (OpenModelsError, ValueError, AttributeError):
            return False


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
    folder = settings.openmodels_cache_folder() / "logs"
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
