"""How torch's libraries are set up where we are the first to import it: how threads wait, and what is kept.

Threads that sleep at once cost torch a third of the speed of small models, and llama.cpp more than half:
they meet some hundred times a token. Threads that spin for long starve those of other processes. The
servers that are started wait in the same way.
"""

from __future__ import annotations

import importlib
import os
import sys

_WAITS = {
    # Rounds that libgomp spins, some 30 microseconds: few operations of a step are further apart.
    "GOMP_SPINCOUNT": "3000",
    # For the other implementations.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_KERNELS = {
    # oneDNN keeps a kernel for each shape it has met, by default 1,024 of half a megabyte, and texts to embed have any
    # number of tokens. A language model's steps, rounded to some thirty numbers, find all of theirs among these.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "256",
}
_KNOWN = {*_WAITS, "KMP_BLOCKTIME"}


def wait_settings() -> dict[str, str]:
    """Return the variables that say how to wait; none where the user says so already."""
    return {} if _KNOWN & os.environ.keys() else dict(_WAITS)


def import_torch() -> None:
    """Import torch with short waits and few kept kernels: its libraries read the variables once and never again."""
    if "torch" in sys.modules:
        return
    settings = wait_settings() | {name: value for name, value in _KERNELS.items() if name not in os.environ}
    os.environ.update(settings)
    try:
        torch = importlib.import_module("torch")
        if torch.backends.mkldnn.is_available():
            torch.zeros(1).to_mkldnn()  # oneDNN reads its own when it is first used
    finally:
        for name in settings:
            del os.environ[name]
