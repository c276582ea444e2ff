"""How torch is imported: OpenMP reads its settings when it is loaded, and never again."""

from __future__ import annotations

import importlib
import os
import sys

_SPINS = "3000"
"""Rounds that a waiting thread spins, some 30 microseconds: few operations of a step are further apart."""


def import_torch() -> None:
    """Import torch with OpenMP's threads set to wait for each other as long as the next operation takes to come.

    Threads that sleep at once cost a third of the speed of small models. Threads that spin for long starve those
    of other processes. OpenMP reads the variables when it is loaded.
    """
    settings = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": _SPINS}
    if "torch" in sys.modules or {*settings, "KMP_BLOCKTIME"} & os.environ.keys():
        return
    os.environ.update(settings)
    try:
        importlib.import_module("torch")
    finally:
        for name in settings:
            del os.environ[name]
