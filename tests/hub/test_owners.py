"""Whose a model is: the same account, or a declared one."""

from __future__ import annotations

import pytest

from openmodels.hub.model_names import same_owner


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("EleutherAI", "eleutherai", True),
        ("acme", "acme", True),
        ("meta-llama", "facebook", True),
        ("BigCode", "bigcode-project", True),
        ("THUDM", "zai-org", True),
        ("acme", "acme-labs", False),
        ("mistralai", "mistralai-fans", False),
        ("deepseek-ai", "deepseekai", False),
        ("allenai", "allenai4u", False),
        ("microsoft", "microsoft-research-copies", False),
        ("stranger", "qwen", False),
        ("", "", False),
        ("", "acme", False),
    ],
)
def test_owners(first, second, expected):
    assert same_owner(first, second) is expected
    assert same_owner(second, first) is expected
