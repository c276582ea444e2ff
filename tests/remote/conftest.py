"""Fixtures for the remote backends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from openmodels.backends import compatible
from openmodels.testing.faults import FaultServer


@pytest.fixture(scope="session")
def server() -> Iterator[FaultServer]:
    """The misbehaving server."""
    with FaultServer() as server:
        yield server


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits only a moment for what may follow a whole answer."""
    monkeypatch.setattr(compatible, "AFTER_END", 0.05)
    monkeypatch.setattr(compatible, "AFTER_FINISH", 0.05)
