"""Every example runs, on the backend that needs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
# Each example's arguments, and what its output must hold.
CASES = {
    "asynchronous": (["echo:"], ["What is the capital of Japan?", "Name three colours.", "(stop)"]),
    "chat": (["echo:"], ["What is the capital of France?", "(echo: stop, 6 tokens"]),
    "conversation": (["echo:one", "echo:two"], ["Name a colour", "And another one?", "(4 messages restored)"]),
    "ray_data": (["echo:"], ["What is 0 plus 0?", "(64 answers from "]),
    "stream": (["echo:"], ["Count from one to ten, please.", "(whole: stop)", "(left early, after: 'Tell me')"]),
    "third_party_backend": ([], ["ANY TEXT IS LOUD HERE", "passed"]),
}
PEERS = {"ray_data"}
"""What needs a package that only the whole test run installs."""


def test_every_example_is_tried() -> None:
    assert sorted(CASES) == sorted(path.stem for path in EXAMPLES.glob("*.py"))


# A cluster of Ray has half a minute to start its servers.
@pytest.mark.usefixtures("every_processor")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.weights] if name in PEERS else []) for name in CASES]
)
def test_example_runs(name: str, tmp_path: Path) -> None:
    arguments, expected = CASES[name]
    # Ray warns of its own deprecated settings when it is imported.
    strict = [] if name in PEERS else ["-W", "error"]
    command = [sys.executable, *strict, str(EXAMPLES / f"{name}.py"), *arguments]
    # This run's options are not the example's; an anyio too old for this pytest warns when it is loaded.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment["PYTEST_ADDOPTS"] = "-p no:anyio -p no:cacheprovider"
    # A cluster of this machine's own, which tells nobody of itself.
    environment |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for text in expected:
        assert text in done.stdout
