"""What a third-party backend needs for its tests: the conformance suite.

Two lines prove a backend, here one registered or installed under the name "toy":

    class TestToy(Conformance):
        reference = "toy:"

Needs pytest; nothing else in openmodels imports this package.
"""

from __future__ import annotations

import pytest

# Before they are imported: only then does a failed assertion show its values.
pytest.register_assert_rewrite(
    "openmodels.testing.answers",
    "openmodels.testing.control",
    "openmodels.testing.embedding",
    "openmodels.testing.seeing",
    "openmodels.testing.several",
    "openmodels.testing.shaping",
    "openmodels.testing.tooling",
    "openmodels.testing.validation",
)

from openmodels.testing.conformance import Conformance  # noqa: E402 - after the line above
from openmodels.testing.driver import PATHS, SURFACES, Answer, Driver, Spy, wait_until  # noqa: E402

__all__ = ["PATHS", "SURFACES", "Answer", "Conformance", "Driver", "Spy", "wait_until"]
