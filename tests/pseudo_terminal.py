"""The command `openmodels` on a pseudo-terminal."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys


def run_on_terminal(*arguments: str, width: int = 80, **environment: str) -> tuple[int, str]:
    """Run the command on a terminal of so many columns; return its exit code and what it wrote."""
    import fcntl
    import pty
    import termios

    terminal, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "openmodels", *arguments],
        stdin=child,
        stdout=child,
        stderr=child,
        env=inherited | {"TERM": "xterm"} | environment,
    )
    os.close(child)
    written = b""
    try:
        while part := os.read(terminal, 4096):
            written += part
    except OSError:  # Linux: the other end is closed
        pass
    finally:
        os.close(terminal)
    return process.wait(60), written.decode().replace("\r", "")


def without_escapes(text: str) -> str:
    """Return what a terminal shows of a text."""
    return re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text)


def offline_cache(folder: os.PathLike[str]) -> dict[str, str]:
    """Return an environment without network, whose caches lie in a folder."""
    return {"OPENMODELS_CACHE": f"{folder}", "HF_HUB_CACHE": f"{folder}/hub", "OPENMODELS_OFFLINE": "1"}
