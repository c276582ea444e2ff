"""The first minute: an empty cache, one question, and what the terminal shows."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.weights

QUESTION = "What is the capital of France?"


def ask(cache, *arguments):
    environment = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    environment |= {"OPENMODELS_CACHE": str(cache), "HF_HOME": str(cache / "hf"), "HF_ENDPOINT": "http://127.0.0.1:9"}
    command = [sys.executable, "-m", "openmodels", "chat", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_first_start_says_one_line_beside_the_answer_and_the_second_none(tmp_path):
    first = ask(tmp_path, QUESTION)
    assert first.returncode == 0, first.stderr
    assert first.stderr == "Fetching the default model, 93 MB, once.\n"
    assert "Paris" in first.stdout
    second = ask(tmp_path, *QUESTION.split())
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")
