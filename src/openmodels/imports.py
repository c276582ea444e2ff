"""Imports that Ctrl-C does not interrupt.

numpy or torch, imported halfway, cannot be imported again in a process.
"""

import atexit
import importlib.util
import sys
import threading
from contextlib import suppress
from importlib import import_module
from types import FrameType, ModuleType

_PATIENCE = 5.0
"""Seconds that the end of the process waits for an import: ended in its middle, libraries crash."""

_running: dict[str, threading.Thread] = {}


def import_uninterrupted(name: str) -> ModuleType:
    """Import a module to its end, even where Ctrl-C is raised meanwhile."""
    if threading.current_thread() is threading.main_thread() and not (_is_imported(name) or _is_importing()):
        thread = _running.get(name)
        if thread is None or not thread.is_alive():
            # Signals are handled by the main thread only.
            thread = _running[name] = threading.Thread(target=_run, args=(name,), name="openmodels-import", daemon=True)
            thread.start()
        thread.join()
        _running.pop(name, None)
    return import_module(name)


def is_installed(name: str) -> bool:
    """Return whether a module is installed; imports at most the package around it."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it is not there either
        return False


def _run(name: str) -> None:
    with suppress(BaseException):  # the caller's own import raises it again
        import_module(name)


def _is_imported(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(module.__spec__, "_initializing", False)


def _is_importing() -> bool:
    """Return whether this thread executes a module."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - there is no other way to tell
    while frame is not None:
        if frame.f_code.co_name == "_load_unlocked" and frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


@atexit.register
def _at_exit() -> None:
    for thread in list(_running.values()):
        thread.join(_PATIENCE)
