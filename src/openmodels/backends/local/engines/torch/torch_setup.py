"""The import of torch: how its libraries wait, and what they cache.

Threads meet some hundred times a step. Those that sleep at once cost torch a third of the speed of small models, and
llama.cpp more than half (43 tokens/s instead of 116). Those that spin as long as libgomp likes halve the speed of two
processes on two cores, and worse. So they spin for some 30 microseconds, here and in the servers that are started.
"""

import gc
import importlib
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

_WAIT_VARIABLES = {
    # Rounds that libgomp spins, some 30 microseconds: few operations of a step are further apart.
    "GOMP_SPINCOUNT": "3000",
    # For the other implementations.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_KERNEL_CACHE_VARIABLES = {
    # oneDNN keeps a kernel for each shape it has met, by default 1,024 of half a megabyte, and texts to embed have any
    # number of tokens. A language model's steps, rounded to some thirty numbers, find all of theirs among these.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256"
}
_USER_VARIABLES = {*_WAIT_VARIABLES, "KMP_BLOCKTIME"}


def thread_wait_variables() -> dict[str, str]:
    """Return the variables for waiting; none where the user has set one."""
    return {} if _USER_VARIABLES & os.environ.keys() else dict(_WAIT_VARIABLES)


def import_torch() -> None:
    """Import torch with short waits and few cached kernels."""
    # Its libraries read the variables once, when they are loaded.
    if "torch" in sys.modules:
        return
    settings = thread_wait_variables() | {
        name: value for name, value in _KERNEL_CACHE_VARIABLES.items() if name not in os.environ
    }
    os.environ.update(settings)
    try:
        torch = importlib.import_module("torch")
        if torch.backends.mkldnn.is_available():
            torch.zeros(1).to_mkldnn()  # oneDNN reads its own when it is first used
    finally:
        for name in settings:
            del os.environ[name]


@contextmanager
def garbage_collection_paused() -> Generator[None, None, None]:
    """Collect no garbage inside the block."""
    # Importing torch and transformers makes a million objects that stay; looking through them again and again for
    # garbage takes a quarter of the time from a process's start to its first token.
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
