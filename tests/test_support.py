"""The README's table of support is what the backends say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).parent.parent / "docs" / "support.py"


def test_table_in_readme_is_current() -> None:
    spec = importlib.util.spec_from_file_location("support", SCRIPT)
    assert spec
    assert spec.loader
    support = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(support)
    page = support.README.read_text(encoding="utf-8")
    assert support.BEGIN in page
    assert page == support.updated(page), "run: python docs/support.py"
