"""The README's table of support: what the backends claim, and what the conformance suite has proved of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def support() -> ModuleType:
    spec = importlib.util.spec_from_file_location("support", ROOT / "docs" / "support.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_table_in_readme_is_current(support: ModuleType) -> None:
    page = support.README.read_text(encoding="utf-8")
    assert support.BEGIN in page
    assert page == support.updated(page), "run: python docs/support.py"


def test_page_of_the_options_is_current(support: ModuleType) -> None:
    assert support.OPTIONS.read_text(encoding="utf-8") == support.options_page(), "run: python docs/support.py"


def test_table_of_criteria_is_current(support: ModuleType) -> None:
    page = support.OPENNESS.read_text(encoding="utf-8")
    assert support.CRITERIA_BEGIN in page
    assert page == support.with_criteria(page), "run: python docs/support.py"


def test_every_backend_has_been_proved_to_chat(support: ModuleType) -> None:
    assert [name for name, proved in support.proved().items() if "chat" not in proved] == []


def test_what_is_not_proved_is_not_called_supported(support: ModuleType) -> None:
    assert support._mark("n", {"n"}, {"n"}) == "yes"
    assert support._mark("n", {"n"}, set()) == "not proved"
    assert support._mark("n", set(), {"n"}) == "no"


def test_proofs_come_from_passed_tests(support: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "support.json"
    file.write_text('{"local": ["chat"]}')
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_conformance.py"]
    subprocess.run(
        [*run, "-k", "TestEcho or TestToy", "--support", str(file)], cwd=ROOT, check=True, capture_output=True
    )
    assert json.loads(file.read_text()) == {"echo": sorted(support.proved()["echo"]), "local": ["chat"]}
