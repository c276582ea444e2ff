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
    organisations = model_names._ACCOUNTS
    assert all(len(accounts) >= 2 for accounts in organisations.values())
    assert all(source.startswith("https://") for sources in organisations for source in sources.split() or [""])
    accounts = [account for listed in organisations.values() for account in listed]
    assert len(accounts) == len(set(accounts)), "an account is one owner's"
