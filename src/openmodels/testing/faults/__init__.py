"""A server with hundreds of faults and the expected result of each.

It is for tests of remote backends:

@pytest.mark.parametrize(("fault", "surface"), list(list_cases()), ids=…)
def test_fault(server, fault, surface, caplog):
    check_fault(server, fault, surface, lambda url, timeout: Model("server:x", base_url=url, api_key=KEY, …), caplog)
"""

from __future__ import annotations

import pytest

# Before the modules are imported: only then does a failed assertion show its values.
pytest.register_assert_rewrite("openmodels.testing.faults.expect", "openmodels.testing.faults.check")

from openmodels.testing.faults import bodies, statuses, streams, tool_calls, transport, vectors  # noqa: E402 - see above
from openmodels.testing.faults.check import check_fault, list_cases  # noqa: E402
from openmodels.testing.faults.expect import KEY, PROMPT, TEXT, TOKENS, Fails, Fault, Right, Vectors  # noqa: E402
from openmodels.testing.faults.server import FaultServer, list_faults  # noqa: E402

cases, meet = list_cases, check_fault  # earlier names

_registered = (bodies, statuses, streams, tool_calls, transport, vectors)

__all__ = [
    "KEY",
    "PROMPT",
    "TEXT",
    "TOKENS",
    "Fails",
    "Fault",
    "FaultServer",
    "Right",
    "Vectors",
    "cases",
    "check_fault",
    "list_cases",
    "list_faults",
    "meet",
]
