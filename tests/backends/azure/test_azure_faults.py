"""Every fault through Azure's client: none of its own defects shows."""

from __future__ import annotations

import pytest

import openmodels as om
from openmodels.testing.faults import KEY, Fault, FaultServer, cases, meet


def _model(url: str, timeout: float) -> om.Model:
    return om.Model("azure:tiny", base_url=url, api_key=KEY, timeout=timeout)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("fault", "surface"), [pytest.param(fault, surface, id=f"{fault.name}-{surface}") for fault, surface in cases()]
)
def test_fault(server: FaultServer, fault: Fault, surface: str, caplog: pytest.LogCaptureFixture) -> None:
    meet(server, fault, surface, _model, caplog)
