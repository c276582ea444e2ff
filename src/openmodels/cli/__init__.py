"""The process of the command `openmodels`: signals, and the exit code.

The commands are in `group`. Nothing is imported here before `main` sets what a signal does, so that Ctrl-C never
ends in a traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from types import FrameType

    from openmodels.cli.group import cli as cli
else:

    def __getattr__(name: str) -> object:
        if name == "cli":
            from openmodels.cli.group import cli

            return cli
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_INTERRUPTED = 130
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")
_AGAIN = 0.05  # seconds after which an interrupt that got lost in a destructor is raised again


class _State:
    code: int | None = None  # the exit code of the signal that ended the command
    leaving = False  # whether the command is over and only cleans up


def main() -> NoReturn:
    """Run the command; the entry point of the installed script."""
    _catch_signals()
    code = 1
    try:
        _leave_current_folder()
        from openmodels.cli import group

        code = group.run()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        # What an interrupt tears, an import above all, fails in its own way.
        if _State.code is None:
            raise
    _leave(code if _State.code is None else _State.code)


def _catch_signals() -> None:
    import signal
    import sys

    def handle(number: int, _: FrameType | None) -> None:
        code = 128 + number
        if _State.leaving:
            import os

            os._exit(code)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        _State.code = code
        raise SystemExit(code)

    def lost(unraisable: sys.UnraisableHookArgs) -> None:
        error = unraisable.exc_value
        if not isinstance(error, KeyboardInterrupt | SystemExit):
            sys.__unraisablehook__(unraisable)
            return
        import threading

        number = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        timer = threading.Timer(_AGAIN, signal.raise_signal, [number])
        timer.daemon = True
        timer.start()

    for name in _SIGNALS:
        number = getattr(signal, name, None)
        # One that is ignored, as under nohup, stays so.
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handle)
    sys.unraisablehook = lost


def _leave_current_folder() -> None:
    """Remove the current folder from `sys.path`.

    A module there may be by anyone. The folder is on the path by `python -m`, and
    by empty and relative entries of PYTHONPATH. The place that openmodels itself came from stays.
    """
    import os
    import sys

    entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    trusted = {os.path.realpath(entry) for entry in entries if os.path.isabs(entry)}  # noqa: PTH117 - as light as possible
    trusted.add(os.path.realpath(f"{__file__}/../../.."))
    strange = {os.path.realpath(entry) for entry in ["", *entries]} - trusted
    # Behind the standard library stands what is installed, projects in the current folder included.
    library = os.path.dirname(os.__file__)  # noqa: PTH120 - as above
    end = sys.path.index(library) if library in sys.path else len(sys.path)
    sys.path[:end] = [place for place in sys.path[:end] if os.path.realpath(place) not in strange]


def _leave(code: int) -> NoReturn:
    """End the process: clean up as an exit does, but leave the interpreter as it is.

    Its teardown would end daemon threads in the middle of torch's code, which crashes.
    """
    import atexit
    import os
    import sys

    _State.leaving = True
    try:
        atexit._run_exitfuncs()  # noqa: SLF001 - what `os._exit` leaves out
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        code = code or 1
    finally:
        os._exit(code)
