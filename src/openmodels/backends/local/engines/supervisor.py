"""Run a command that ends when standard input does: supervisor.py COMMAND ....

This file is a program of its own, for servers that do not watch their input themselves. Nothing of openmodels is
imported here.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading

_GRACE = 8.0


def _end_with_parent() -> None:
    # Linux ends the command even when this process is killed; PR_SET_PDEATHSIG is 1.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _stop_at_end_of_input(process: subprocess.Popen[bytes]) -> None:
    # Not through `sys.stdin`, whose lock would turn another end of this process into a crash.
    while os.read(0, 4096):
        pass
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()


def main() -> int:
    """Run the command; return its exit status."""
    process = subprocess.Popen(  # noqa: S603 - the command is what this program is for
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - no other thread runs yet
    )
    threading.Thread(target=_stop_at_end_of_input, args=(process,), daemon=True).start()
    code = process.wait()
    if hasattr(os, "killpg") and os.getpid() == os.getpgrp():
        # What the command started and left behind is in our group.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
