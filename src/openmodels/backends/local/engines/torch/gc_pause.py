"""A pause of the garbage collector, where it only costs."""

from __future__ import annotations

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Generator[None, None, None]:
    """Collect no garbage inside the block.

    Importing torch and transformers makes a million objects that stay; looking through them again
    and again for garbage takes a quarter of the time from a process's start to its first token.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
