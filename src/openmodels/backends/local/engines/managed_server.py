"""A server in a child process, which never outlives this one.

The child ends when its standard input does. Only we hold the other end of that pipe, so it ends
with us however we end, even by SIGKILL.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import IO

import psutil

from openmodels import settings
from openmodels.backends.local import children
from openmodels.backends.local.engines.torch import torch_setup
from openmodels.backends.local.runtime import ProcessMember
from openmodels.errors import DeadlineExceeded, LoadFailed, OpenModelsError, StreamInterrupted
from openmodels.http.client import HttpClient, HttpRequest

READY = "openmodels-server-at "
"""What stands before the address in the line that a child of our own prints when it is ready."""
_LOG_BYTES = 2**20
_SHOWN = 10
_LOGS = 20
_GRACE = 10.0
"""Seconds that a server gets to end by itself."""
_HURRY = 0.5
"""The same for one that was not ready: it holds nobody's work."""
_STARTS = 5
"""How often a server is started within `_PERIOD` seconds; what dies that often dies again."""
_PERIOD = 60.0
_LOOPBACK = re.compile(r"http://127\.0\.0\.1:\d{1,5}")


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How to start a server.

    Attributes:
        engine: Its name, for messages and the log's.
        command: The program and its arguments; it must end when its standard input does.
        key: The key that callers must show; never shown in a message or log.
        model: The name under which it serves the model.
        port: Where it will listen on 127.0.0.1; None when it prints `ready` and its address.
        ready: What stands before the address. A secret of this start, or the names that a model's file holds,
            which servers log, could pass another address off as ours.
        stdin: The first line of its standard input.
        environment: Variables added to ours.
    """

    engine: str
    command: Sequence[str]
    key: str = field(repr=False)
    model: str = "model"
    port: int | None = None
    ready: str = field(default=READY, repr=False)
    stdin: str = field(default="", repr=False)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


class _ServerProcess:
    """One start of a server, shared by all callers who wait for it.

    Attributes:
        process: The process, once it runs.
        address: Where the server listens, once it is ready.
        error: Why the server did not start, or ended.
        stopped: Whether it is not wanted any more.
        log: The file with its output.
        tail: The last lines of its output.
    """

    def __init__(self) -> None:
        self.start: ServerCommand | None = None
        self.process: subprocess.Popen[str] | None = None
        self.address: str | None = None
        self.error: OpenModelsError | None = None
        self.stopped = False
        self.log: Path | None = None
        self.tail: deque[str] = deque(maxlen=_SHOWN)
        self.printed: str | None = None
        self.settled = threading.Event()
        self.reader: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self.process is not None and self.process.poll() is None

    @property
    def usable(self) -> bool:
        """Whether the server is ready or still starting."""
        return self.error is None and not self.stopped and (self.address is None or self.running)

    def spawn(self, engine: str, start: ServerCommand) -> subprocess.Popen[str]:
        """Start the process, and the thread that reads its output.

        Raises:
            LoadFailed: The program or the log cannot be opened.
        """
        self.start = start
        try:
            self.process = process = subprocess.Popen(  # noqa: S603 - the user's own program
                list(start.command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env={**children.environment(), **torch_setup.wait_settings(), **start.environment},
                # A group of its own: Ctrl-C is meant for us, and what the server starts ends with it.
                start_new_session=True,
            )
        except OSError as error:
            raise LoadFailed(
                f"The server of the engine {engine!r} cannot be started: {error.strerror}.",
                next_step=f"Check the command {Path(start.command[0]).name!r}.",
            ) from error
        try:
            self.log = _log_file(engine, process.pid)
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
        return process

    def wait_ready(self, engine: str, process: subprocess.Popen[str], start: ServerCommand) -> str:
        """Return the address once the server is ready.

        Raises:
            LoadFailed: It ended, or was stopped, before; the message holds its last log lines.
        """
        wait = 0.05
        while not self.settled.wait(None if start.port is None else wait):
            wait = min(1.0, wait * 1.5)
            if start.port is not None and _owns_port(process.pid, start.port) and _answers(start):
                return f"http://127.0.0.1:{start.port}"
        if self.printed is not None:
            return self.printed
        if self.reader is not None and self.reader is not threading.current_thread():
            self.reader.join(_GRACE)
        raise LoadFailed(f"The engine {engine!r} did not start. {self.last_words()}", next_step="Its log says more.")

    def end(self, grace: float) -> None:
        """End the process and everything that it started; wait until it is gone."""
        process, reader = self.process, self.reader
        if process is None:
            return
        _close(process)
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            _kill(process)
            process.wait()
        if reader is not None:
            reader.join(_GRACE)

    def last_words(self) -> str:
        """Return how the process ended and what it wrote last."""
        code = self.process.poll() if self.process is not None else None
        if code is None:
            ended = "its output is closed"
        else:
            ended = f"killed by {_signal_name(-code)}" if code < 0 else f"exit status {code}"
        lines = " | ".join(self.tail) or "it wrote nothing"
        return f"It ended ({ended}); its last lines: {lines} (log: {self.log})."

    def _read(self, process: subprocess.Popen[str], stdout: IO[str], start: ServerCommand, log: Path) -> None:
        handler = RotatingFileHandler(log, maxBytes=_LOG_BYTES, backupCount=1, encoding="utf-8", delay=True)
        try:
            for raw in stdout:
                # A server's own threads write into the same pipe: half a line of theirs may stand before.
                line, mark, address = raw.rstrip("\n").partition(start.ready)
                if mark and start.port is None and _LOOPBACK.fullmatch(address.strip()):
                    self.printed = address.strip()
                    self.settled.set()
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
            self.settled.set()


class ManagedServer(ProcessMember):
    """One server process, started when it is needed and again when it has died.

    A start happens on a thread of its own. Callers wait for it together, each until its own deadline, and
    get the same error where it fails.

    Args:
        engine: Its name.
        prepare: Says how to start it; called for each start, with the deadline.
    """

    def __init__(self, engine: str, prepare: Callable[[float | None], ServerCommand]) -> None:
        self.engine = engine
        self._prepare = prepare
        self._reset()
        super().__init__()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._launch = _ServerProcess()
        self._launch.stopped = True
        self._spawned: deque[float] = deque(maxlen=_STARTS)

    def after_fork_in_child(self) -> None:
        """Leave the server to the parent.

        A copy of its pipe in the child would keep it alive after the parent.
        """
        if (process := self._launch.process) is not None:
            _close(process)
            process.returncode = 0  # it is not this process's to wait for
        self._reset()

    @property
    def pid(self) -> int | None:
        """The process's number while it lives."""
        launch = self._launch
        return launch.process.pid if launch.process is not None and not launch.stopped and launch.running else None

    @property
    def key(self) -> str:
        """The key that the server demands; "" before its first start."""
        return self._launch.start.key if self._launch.start else ""

    @property
    def log(self) -> Path | None:
        """The file with the server's output."""
        return self._launch.log

    def ensure(self, deadline: float | None) -> str:
        """Return the address of the running server, starting it if there is none.

        Raises:
            LoadFailed: It cannot be started, ended while it started (the message holds its last log lines),
                or died too often within a minute.
            DeadlineExceeded: It was not ready when the time was up; its start continues.
            StreamInterrupted: It was stopped while it started.
        """
        with self._changed:
            launch = self._current(deadline)
            while True:
                if launch.error is not None:
                    if not (isinstance(launch.error, DeadlineExceeded) and _left(deadline) > 0):
                        raise _copied(launch.error)
                    # Finding the files took longer than another caller had time for.
                    launch = self._current(deadline)
                elif launch.address is not None:
                    return launch.address
                elif (left := _left(deadline)) <= 0:
                    lines = " | ".join(launch.tail)
                    raise DeadlineExceeded(
                        f"The time was up while the engine {self.engine!r} was starting."
                        + (f" Its last lines: {lines}." if lines else ""),
                        next_step="It goes on starting; call again, or call `load()` ahead.",
                    )
                else:
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))

    def stop(self, timeout: float = 0.0) -> None:  # noqa: ARG002 - it has its own times to end in
        """End the process and everything that it started; wait until it is gone.

        A server that is ready gets some seconds to end by itself; one that is still starting gets a moment.
        """
        with self._changed:
            launch = self._launch
            ready = launch.address is not None
            launch.stopped = True
            if launch.error is None:
                launch.error = StreamInterrupted("The model was closed while its server was starting.")
            launch.settled.set()
            self._spawned.clear()
            self._changed.notify_all()
        launch.end(_GRACE if ready else _HURRY)

    def last_words(self, seconds: float = 1.0) -> str | None:
        """Return the last words of a dead server; None while it lives."""
        launch = self._launch
        if launch.process is None or launch.stopped:
            return None
        try:
            launch.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        if launch.reader is not None:
            launch.reader.join(seconds)
        return launch.last_words()

    def _current(self, deadline: float | None) -> _ServerProcess:
        """Return the start to wait for, a new one where need be; the lock is held."""
        if self._launch.usable:
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
        self._launch = launch = _ServerProcess()
        threading.Thread(target=self._start, args=(launch, deadline), name="openmodels-start", daemon=True).start()
        return launch

    def _start(self, launch: _ServerProcess, deadline: float | None) -> None:
        address = error = None
        try:
            start = self._prepare(deadline)
            with self._changed:
                if launch.stopped:
                    return
                self._spawned.append(time.monotonic())
                process = launch.spawn(self.engine, start)
            address = launch.wait_ready(self.engine, process, start)
        except OpenModelsError as failure:
            error = failure
        except BaseException as failure:  # noqa: BLE001 - whatever it is, the callers wait for it
            error = LoadFailed(f"The engine {self.engine!r} cannot be started: {type(failure).__name__}: {failure}.")
            error.__cause__ = failure
        with self._changed:
            launch.address = address
            launch.error = launch.error or error
            self._changed.notify_all()


def _left(deadline: float | None) -> float:
    return math.inf if deadline is None else deadline - time.monotonic()


def _copied(error: OpenModelsError) -> OpenModelsError:
    """Return a copy of an error for each caller: raising one adds to its traceback."""
    copied = copy.copy(error)
    copied.__cause__ = error.__cause__
    return copied


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _owns_port(pid: int, port: int) -> bool:
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


def _answers(start: ServerCommand) -> bool:
    """Return whether our server lists our model."""
    url = f"http://127.0.0.1:{start.port}/v1/models"
    with closing(HttpClient()) as client:
        try:
            request = HttpRequest("GET", url, (("Authorization", f"Bearer {start.key}"),))
            with client.send(request, time.monotonic() + 5) as response:
                listed = json.loads(response.read(2**20)) if response.status == 200 else {}
            return any(item.get("id") == start.model for item in listed.get("data", []))
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
    folder = settings.read_environment().cache / "logs"
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
