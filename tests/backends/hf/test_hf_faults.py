"""Every fault, met by `hf`: as a server of one's own, and as the router with its task API."""

from __future__ import annotations

import pytest

import openmodels as om
from openmodels.testing.faults import KEY, Fault, FaultServer, check_fault, list_cases

# On the router, whose address is right, a 404 is about the model; the other shapes are `/embeddings`'.
_ROUTED = [
    (fault, surface)
    for fault, surface in list_cases()
    if "embed" in surface and fault.group in {"status", "connection"} and fault.name != "404-address"
]


def _named(pairs: list[tuple[Fault, str]]) -> list[object]:
    return [pytest.param(fault, surface, id=f"{fault.name}-{surface}") for fault, surface in pairs]


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(("fault", "surface"), _named(list(list_cases())))
def test_fault(server: FaultServer, fault: Fault, surface: str, caplog: pytest.LogCaptureFixture) -> None:
    def model(url: str, timeout: float) -> om.Model:
        return om.Model("hf:org/model", base_url=url, api_key=KEY, timeout=timeout)

    check_fault(server, fault, surface, model, caplog)


@pytest.mark.parametrize(("fault", "surface"), _named(_ROUTED))
def test_fault_of_the_router(
    server: FaultServer,
    fault: Fault,
    surface: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def model(url: str, timeout: float) -> om.Model:
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", url)
        return om.Model("hf:org/model", api_key=KEY, timeout=timeout)

    check_fault(server, fault, surface, model, caplog)
