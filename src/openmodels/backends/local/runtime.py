"""What all local models of a process share: engines, threads, servers and forks."""

import asyncio
import atexit
import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any

from openmodels import background
from openmodels.backends.local.engine_protocol import EngineCapabilities, EngineSpec

_FORK_WAIT = 30.0  # seconds that a fork waits for the end of a thread's step
_EXIT_WAIT = 5.0  # seconds that the end of the process waits for each thread


class ProcessResource(ABC):
    """The owner of a thread or child process, called at forks and at exit."""

    def __init__(self, runtime: "Runtime | None" = None) -> None:
        (runtime or RUNTIME).add(self)

    def before_fork(self) -> bool:
        """Prepare for a fork; return whether `after_fork_in_parent` is to be called."""
        return False

    def after_fork_in_parent(self) -> None:
        """Continue after a fork."""

    @abstractmethod
    def after_fork_in_child(self) -> None:
        """Begin anew in the child of a fork."""

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread or process; wait up to `timeout` seconds for it."""


class ForkSafeThread(ProcessResource):
    """The owner of a thread that works in steps, between which the process forks.

    The thread holds `between_steps` during each step. A thread does not survive a fork, and locks that it holds stay
    locked in the child: there everything begins anew.
    """

    def __init__(self) -> None:
        self._reset()
        super().__init__()

    @abstractmethod
    def _reset(self) -> None:
        """Make the locks and what the thread shares; also called in the child of a fork."""
        self.between_steps = threading.Lock()

    def before_fork(self) -> bool:
        """Wait for the end of the step."""
        return self.between_steps.acquire(timeout=_FORK_WAIT)

    def after_fork_in_parent(self) -> None:
        """Let the next step begin."""
        self.between_steps.release()

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread."""
        self._reset()


class EventLoopThread(ProcessResource):
    """A thread with an event loop, on which engines wait for their servers."""

    def __init__(self, runtime: "Runtime") -> None:
        super().__init__(runtime)
        self._runtime = runtime
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, work: Coroutine[Any, Any, None]) -> Future[None]:
        """Start asynchronous work and return at once; cancelling the future cancels it."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="openmodels-tasks", daemon=True).start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    # At exit it is left: the work ends with what it waits for.

    def after_fork_in_child(self) -> None:
        """Forget the parent's thread."""
        self._lock = threading.Lock()
        if self._loop is not None:
            self._runtime.keep_alive(self._loop)
            self._loop = None


class Runtime:
    """The state of a process that its local models share."""

    def __init__(self) -> None:
        self.engines = dict(BUILT_IN)  # in the order in which messages list them
        self._resources: weakref.WeakSet[ProcessResource] = weakref.WeakSet()
        self._paused: list[ProcessResource] = []
        self._kept: list[Any] = []
        self.tasks = EventLoopThread(self)

    def register(self, name: str, spec: EngineSpec) -> None:
        """Register an engine, which `Model("local:…", engine=name)` then runs."""
        self.engines[name] = spec

    def add(self, resource: ProcessResource) -> None:
        """Call a resource at forks and at exit, as long as it lives."""
        self._resources.add(resource)

    def keep_alive(self, value: Any) -> None:
        """Never free a value of the parent's: that would wait for threads not here."""
        self._kept.append(value)

    def before_fork(self) -> None:
        """Wait until no thread is within a step."""
        self._paused = [resource for resource in self._resources if resource.before_fork()]

    def after_fork_in_parent(self) -> None:
        """Let the threads go on."""
        for resource in self._paused:
            resource.after_fork_in_parent()
        self._paused.clear()

    def after_fork_in_child(self) -> None:
        """Forget the threads and processes of the parent."""
        self._paused.clear()
        for resource in self._resources:
            resource.after_fork_in_child()

    def stop(self) -> None:
        """End all threads and child processes."""
        background.cancel_all()
        for resource in list(self._resources):
            resource.stop(timeout=_EXIT_WAIT)


# Listed and not derived from the table of options: a new option is refused until an engine names it.
_OPTIONS = frozenset(
    {"temperature", "top_p", "top_k", "max_tokens", "stop", "seed", "extra"}
    | {"frequency_penalty", "presence_penalty", "repetition_penalty"}
    | {"schema", "choices", "pattern", "grammar", "tools", "tool_choice"}
)
_ENGINES = "openmodels.backends.local.engines"
_CpuEngine = partial(EngineSpec, devices=("auto", "cpu"), takes_dtype=False)
BUILT_IN: dict[str, EngineSpec] = {
    "transformers": EngineSpec(
        f"{_ENGINES}.torch.engine:TorchEngine", EngineCapabilities(_OPTIONS | {"n", "logprobs"}, "lark", scores=True)
    ),
    "openvino": _CpuEngine(
        f"{_ENGINES}.openvino.engine:OpenvinoEngine",
        EngineCapabilities(_OPTIONS | {"n"}, "gbnf"),
        package="openvino_genai",
    ),
    "llamacpp": _CpuEngine(
        f"{_ENGINES}.llamacpp.engine:LlamaCppEngine",
        EngineCapabilities(_OPTIONS, "gbnf", scores=True),
        package="xllamacpp",
    ),
    "vllm": EngineSpec(
        f"{_ENGINES}.vllm.engine:VllmEngine",
        EngineCapabilities(_OPTIONS, "gbnf", scores=True),
        devices=("auto",),
        takes_command=True,
    ),
}
RUNTIME = Runtime()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=RUNTIME.before_fork,
        after_in_parent=RUNTIME.after_fork_in_parent,
        after_in_child=RUNTIME.after_fork_in_child,
    )
atexit.register(RUNTIME.stop)
