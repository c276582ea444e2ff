"""What the documentation shows is true: its examples run, its names exist."""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import openmodels as om
import openmodels.backends

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def blocks(page):
    """Return a page's Python blocks, each parsed with the page's own line numbers."""
    text = page.read_text(encoding="utf-8")
    found = []
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        code = "\n" * text.count("\n", 0, block.start(1)) + block[1]
        found.append(compile(code, str(page), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT))
    return found


def only_echo(tree):
    """Return whether the code opens models, and only on the backend that needs nothing."""
    backends = {
        match[1]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if (match := re.match(r"(echo|local|hf|azure|server):", node.value))
    }
    uses_default = any(isinstance(node, ast.Attribute) and node.attr == "DEFAULT_MODEL" for node in ast.walk(tree))
    return backends == {"echo"} and not uses_default


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_echo_examples_run(page, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builtins.print", lambda *_, **__: None)
    names = {}
    for tree in blocks(page):
        # Blocks of a page go on from each other, as a reader would type them.
        opens_none = not re.search(r"\b(Model|DEFAULT_MODEL)\b", ast.unparse(tree))
        if only_echo(tree) or (opens_none and names):
            code = compile(tree, str(page), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            waiting = eval(code, names)
            if inspect.iscoroutine(waiting):
                asyncio.run(waiting)


@pytest.mark.parametrize("page", [*PAGES, *EXAMPLES], ids=lambda page: page.name)
def test_every_public_name_shown_exists(page):
    trees = blocks(page) if page.suffix == ".md" else [ast.parse(page.read_text(encoding="utf-8"), str(page))]
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "om":
                assert node.attr in dir(om), f"{page.name}:{node.lineno}: om.{node.attr}"


LIGHT = ["openmodels", *(f"openmodels.{name}" for _, name, package in pkgutil.iter_modules(om.__path__) if not package)]


@pytest.mark.parametrize("name", LIGHT)
def test_examples_in_docstrings_run(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_runner_sees_what_it_should(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\nimport openmodels as om\n"
        "reply = await om.Model('echo:').achat('x')\n```\n"
        "```python\nassert reply.text == 'x'\nraise LookupError('line 7')\n```\n"
        "```python\nom.Model('local:not/run')\nom.DEFAULT_MODEL\n```\n"
    )
    with pytest.raises(LookupError, match="line 7") as caught:
        test_echo_examples_run(page, monkeypatch, tmp_path)
    assert caught.traceback[-1].lineno + 1 == 7
