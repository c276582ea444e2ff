"""Whose a model is: the same account, or a declared one."""

from __future__ import annotations

import pytest

from openmodels.hub import model_names
from openmodels.hub.model_names import same_owner


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("EleutherAI", "eleutherai", True),
        ("acme", "acme", True),
        ("meta-llama", "facebook", True),
        ("BigCode", "bigcode-project", True),
        ("THUDM", "zai-org", True),
        ("openai-community", "openai", True),
        ("FacebookAI", "facebookresearch", True),
        ("openai-community", "facebookai", False),
        ("mistral-ai", "mistralai", False),
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


def test_each_declared_owner_has_a_source():
    lines = [line.partition(": ") for line in model_names._ACCOUNTS.split("\n") if line]
    assert all(len(accounts.split()) >= 2 for accounts, _, _ in lines)
    assert all(source.startswith("https://") for _, _, sources in lines for source in sources.split() or [""])
    accounts = [account for line in lines for account in line[0].split()]
    assert len(accounts) == len(set(accounts)), "an account is one owner's"
