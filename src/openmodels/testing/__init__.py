"""The conformance suite for backends, and the fault server in `testing.faults`.

Two lines test a backend, here one registered or installed under the name "toy":

    class TestToy(Conformance):
        reference = "toy:"

Needs pytest; nothing else in openmodels imports this package.
"""

from __future__ import annotations

import pytest

# Before the modules are imported: only then does a failed assertion show its values.
pytest.register_assert_rewrite(
    "openmodels.testing.replies",
    "openmodels.testing.lifecycle",
    "openmodels.testing.embeddings",
    "openmodels.testing.images",
    "openmodels.testing.alternatives",
    "openmodels.testing.scores",
    "openmodels.testing.structured_output",
    "openmodels.testing.tools",
    "openmodels.testing.validation",
)

from openmodels.testing.conformance import Conformance  # noqa: E402 - after the line above
from openmodels.testing.driver import PATHS, SURFACES, Answer, Driver, Spy, wait_until  # noqa: E402

__all__ = ["PATHS", "SURFACES", "Answer", "Conformance", "Driver", "Spy", "wait_until"]
