"""Where the data lie that are not part of the project."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.fixture
def shared():
    """The folder of measuring data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the measuring data (../shared/data) are not on this machine")
    return SHARED


@pytest.fixture(scope="session")
def license_texts():
    """name -> text of every license in the ScanCode database."""
    spec = importlib.util.find_spec("licensedcode")
    places = list(spec.submodule_search_locations) if spec else []
    folders = [path for place in places if (path := Path(place, "data", "licenses")).is_dir()]
    if not folders:
        pytest.skip("the license texts are not installed: pip install --no-deps scancode-toolkit-mini==32.5.0")
    # Each file has a block of facts above the text; a few have no text.
    return {path.stem: path.read_text("utf-8").split("---\n", 2)[-1] for path in folders[0].glob("*.LICENSE")}
