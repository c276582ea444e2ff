"""Every fault through Azure's client: none of its own defects shows."""

from __future__ import annotations

import pytest

import openmodels as om
from openmodels.testing.faults import KEY, Fault, FaultServer, check_fault, list_cases


def _model(url: str, timeout: float) -> om.Model:
    return om.Model("azure:tiny", base_url=url, api_key=KEY, timeout=timeout)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("fault", "surface"),
    [pytest.param(fault, surface, id=f"{fault.name}-{surface}") for fault, surface in list_cases()],
)
def test_fault(server: FaultServer, fault: Fault, surface: str, caplog: pytest.LogCaptureFixture) -> None:
    check_fault(server, fault, surface, _model, caplog)
