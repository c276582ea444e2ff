"""Every fault, over every way of asking: the right answer, or a typed error that names the cause.

The table in docs/faults.md is made from the faults. After a change write it anew with
`OPENMODELS_WRITE_DOCS=1 pytest tests/remote/test_faults.py -k docs`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import openmodels as om
from openmodels.testing.faults import KEY, Fault, FaultServer, check_fault, list_cases, list_faults
from openmodels.testing.faults.check import expected_result

TABLE = Path(__file__).parents[2] / "docs" / "faults.md"
INTRODUCTION = """\
# What servers do, and what comes of it

Each row is tested with the backends `server` and `hf`, by `chat` and `achat` (plain calls), `stream` and `astream`,
`embed` and `aembed`: a server on loopback misbehaves in this way, and what comes of it is checked, with the number of
requests made, that neither key nor prompt is told in an error or log, and that no connection is left open. Errors are
classes of `openmodels`; "the part that came" is in the error's `partial`. "After the last retry" is with two retries,
the default. "-" is what cannot be.

`openmodels.testing.faults` holds the server, for tests of other backends too.
"""
SECTIONS = {
    "connection": "Connections and HTTP",
    "status": "Statuses",
    "body": "Bodies",
    "stream": "Event streams",
    "embeddings": "Embeddings",
}


def _model(url: str, timeout: float) -> om.Model:
    return om.Model("server:tiny", base_url=url, api_key=KEY, timeout=timeout)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize(
    ("fault", "surface"),
    [pytest.param(fault, surface, id=f"{fault.name}-{surface}") for fault, surface in list_cases()],
)
def test_fault(server: FaultServer, fault: Fault, surface: str, caplog: pytest.LogCaptureFixture) -> None:
    check_fault(server, fault, surface, _model, caplog)


def test_the_table_in_the_docs() -> None:
    described = [fault for fault in list_faults().values() if any(_expectations(fault))]
    assert {fault.group for fault in described} == set(SECTIONS)
    text = INTRODUCTION
    for group, title in SECTIONS.items():
        text += f"\n## {title}\n\n| The server … | Plain call | Stream | Embeddings |\n|---|---|---|---|\n"
        text += "".join(_row(fault) for fault in described if fault.group == group)
    if os.environ.get("OPENMODELS_WRITE_DOCS"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text


def _expectations(fault: Fault) -> list[object]:
    return [expected_result(fault, surface) for surface in ("chat", "stream", "embed")]


def _row(fault: Fault) -> str:
    cells = [fault.what, *(str(expect or "-") for expect in _expectations(fault))]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
