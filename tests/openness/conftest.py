"""Where the data lie that are not part of the project."""

from __future__ import annotations

import importlib.util
import re
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
def license_files():
    """The files of the ScanCode database: a block of facts, then the text."""
    spec = importlib.util.find_spec("licensedcode")
    places = list(spec.submodule_search_locations) if spec else []
    folders = [path for place in places if (path := Path(place, "data", "licenses")).is_dir()]
    if not folders:
        pytest.skip("the license texts are not installed: pip install --no-deps scancode-toolkit-mini==32.5.0")
    return {path.stem: path.read_text("utf-8").split("---\n", 2) for path in folders[0].glob("*.LICENSE")}


@pytest.fixture(scope="session")
def license_texts(license_files):
    """name -> text of every license in the ScanCode database."""
    return {name: parts[-1] for name, parts in license_files.items()}


@pytest.fixture(scope="session")
def license_kinds(license_files):
    """name -> what ScanCode calls the license, e.g. "Permissive", "Proprietary Free"."""
    found = {name: re.search(r"^category: (.*)$", parts[1], re.MULTILINE) for name, parts in license_files.items()}
    return {name: match[1] for name, match in found.items() if match}
