"""How OpenMP's threads wait for each other, in this process and in the servers it starts.

Threads that sleep at once cost torch a third of the speed of small models, and llama.cpp more than half:
they meet some hundred times a token. Threads that spin for long starve those of other processes.
"""

from __future__ import annotations

import importlib
import os
import sys

_SETTINGS = {
    # Rounds that libgomp spins, some 30 microseconds: few operations of a step are further apart.
    "GOMP_SPINCOUNT": "3000",
    # For the other implementations.
    "OMP_WAIT_POLICY": "PASSIVE",
}
_KNOWN = {*_SETTINGS, "KMP_BLOCKTIME"}


def wait_settings() -> dict[str, str]:
    """Return the variables that say how to wait; none where the user says so already."""
    return {} if _KNOWN & os.environ.keys() else dict(_SETTINGS)


def import_torch() -> None:
    """Import torch with short waits: OpenMP reads the variables when it is loaded, and never again."""
    if "torch" in sys.modules:
        return
    settings = wait_settings()
    os.environ.update(settings)
    try:
        importlib.import_module("torch")
    finally:
        for name in settings:
            del os.environ[name]
