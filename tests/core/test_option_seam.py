"""The seams of a call: a new option is one row, a new backend is one class and one line of the registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import openmodels

ROW = """
    min_p: Annotated[float, Option("Drop tokens less likely than this.", wire_key="min_p", ge=0, le=1)]
"""
ENTRY = """
    "toy": Entry("openmodels.backends.toy:ToyBackend", None, "answers with its options"),
"""
TOY = '''
from openmodels.backends.base import Backend
from openmodels.types.reply import Delta


class ToyBackend(Backend):
    """Answers with the option that it honours."""

    name = "toy"
    options = frozenset({"min_p"})

    def run(self, request):
        yield Delta(str(request.min_p), finish_reason="stop")
'''
USE_OPTION = """
import openmodels as om
from openmodels.backends.toy import ToyBackend
from openmodels.openai_wire import encode
from openmodels.types.options import OPTION_NAMES

assert "min_p" in OPTION_NAMES
assert om.Model(ToyBackend()).chat("x", min_p=0.5).text == "0.5"
assert om.Model(ToyBackend()).chat("x").text == "None"
for value in (2, -0.1, True, "0.5"):
    try:
        om.Model(ToyBackend()).chat("x", min_p=value)
    except om.InvalidRequest as error:
        assert "min_p" in str(error)
    else:
        raise AssertionError(value)
for backend in (om.Model("echo:"), om.Model("server:m", base_url="http://127.0.0.1:9")):
    try:
        backend.chat("x", min_p=0.5)
    except om.UnsupportedFeature as error:
        assert "min_p" in str(error)
    else:
        raise AssertionError(backend)
from openmodels.types.request import ChatRequest

request = ChatRequest(messages=(om.user("x"),), min_p=0.5)
assert request.options == {"min_p"}
assert "min_p" not in encode.encode_chat(request, "m", encode.OPENAI_OPTIONS)
assert encode.encode_chat(request, "m", encode.OPENAI_OPTIONS | {"min_p"})["min_p"] == 0.5
"""
USE_BACKEND = """
import openmodels as om

model = om.Model("toy:x")
assert model.chat("x").text == "None"
assert model.capabilities.options == {"min_p"}
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with a toy option, a toy backend and its line in the registry."""
    source = Path(openmodels.__file__).parent
    copy = tmp_path_factory.mktemp("seams") / "openmodels"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "backends" / "toy.py").write_text(TOY)
    _insert(copy / "types" / "options.py", "class ToolRunOptions(TypedDict, total=False):\n", ROW)
    _insert(copy / "backends" / "registry.py", "BUILT_IN: dict[str, Entry] = {\n", ENTRY)
    return copy.parent


def _insert(file: Path, after: str, line: str) -> None:
    text = file.read_text()
    assert text.count(after) == 1
    file.write_text(text.replace(after, after + line))


def _run(code: str, package: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(package)}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_an_option_is_one_row_and_what_honours_it(package: Path) -> None:
    _run(USE_OPTION, package)


def test_a_backend_is_one_class_and_one_line(package: Path) -> None:
    _run(USE_BACKEND, package)
