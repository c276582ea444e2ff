"""Checks of the house: layers, sizes, imports, public names, signatures, docstrings."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

import openmodels as om
from openmodels import errors, settings
from openmodels.backends.base import Backend

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "openmodels"
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in FILES}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

LAYERS = (
    {"__main__"},
    {"cli", "integrations", "testing"},
    {"serve"},
    {"combine", "customize"},
    {"compare"},
    {"choose"},
    {"openness"},
    {"conversation"},
    {"model"},
    {"bulk", "catalog"},
    {"core"},
    {"backends"},
    {"hub", "anthropic_wire", "responses_wire"},
    {"openai_wire"},
    {"output"},
    {"images"},
    {"http"},
    {"background", "files", "model_reference", "licenses", "plotting"},
    {"deadline", "retry"},
    {"errors", "settings"},
    {"types"},
    {"columns", "escaping", "imports"},
)
"""Top to bottom: a file imports only from its own unit and from lower layers."""

HOMES = {
    "tenacity": ["retry.py"],
    "torch": ["backends/local/"],
    "transformers": ["backends/local/"],
    "gguf": ["backends/local/"],
    "safetensors": ["backends/local/"],
    "accelerate": ["backends/local/"],
    "azure": ["backends/azure/", "catalog/sources/azure.py"],
    "pytest": ["testing/"],
    "click": ["cli/"],
    "opentelemetry": ["core/telemetry.py"],
    "aiohttp": ["http/async_transport.py", "http/socks.py"],
    "aiohttp_socks": ["http/socks.py"],
    "python_socks": ["http/socks.py"],
    "truststore": ["http/tls.py"],
    "httptools": ["http/http1_parser.py"],
    "urllib3": ["http/sync_transport.py"],
    "jsonschema_rs": ["output/grammar/"],
    "llguidance": ["backends/local/"],
    "inspect_ai": ["integrations/"],
    "lighteval": ["integrations/"],
    "lm_eval": ["integrations/"],
    "rouge_score": ["compare/"],
    "sacrebleu": ["compare/"],
    "scipy": ["compare/"],
    "statsmodels": ["compare/"],
}
"""The only places that may import a package."""

HEAVY = (
    "pydantic",
    "torch",
    "transformers",
    "httpx2",
    "aiohttp",
    "urllib3",
    "huggingface_hub",
    "azure",
    "rich",
    "click",
    "tenacity",
)


def unit(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(tree):
    """Yield every module that a file imports, at whatever depth, as (line, dotted name)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def defined(tree):
    """Yield a file's classes and functions with their docstrings, the file itself first."""
    yield "", tree
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
class TestFile:
    def test_holds_one_idea(self, path, request):
        # A limit of 400 cut single ideas into several files; most files hold 100 to 500 lines.
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 900
        if lines > 600:
            reporter = request.config.pluginmanager.get_plugin("terminalreporter")
            reporter.write_line(f"\n{path.relative_to(SOURCE)} has {lines} lines: is it one idea?", yellow=True)

    def test_is_named_for_what_it_is(self, path):
        assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc", "core"}

    def test_imports_point_down(self, path):
        if unit(path) == "__init__":
            return
        levels = {name: level for level, names in enumerate(LAYERS) for name in names}
        assert unit(path) in levels, "a new part of the house needs its place in LAYERS"
        for line, module in imported(TREES[path]):
            package, *rest = module.split(".")
            if package == "openmodels" and rest and rest[0] != unit(path):
                assert rest[0] in levels, f"line {line}: import {module} from its own file"
                assert levels[rest[0]] > levels[unit(path)], f"line {line}: {unit(path)} must not import {module}"

    def test_vendors_are_imported_in_their_homes(self, path):
        here = path.relative_to(SOURCE).as_posix()
        for line, module in imported(TREES[path]):
            homes = HOMES.get(module.partition(".")[0])
            assert homes is None or any(here.startswith(home) for home in homes), f"line {line}: import {module}"

    def test_docstrings_give_units(self, path):
        wanted = {
            r"timeout|deadline|wait|seconds|retry_after": r"second|time\.monotonic",
            r"\w*tokens": "token",
            r"cost|price": "dollar|token",
        }
        for name, node in defined(TREES[path]):
            text = inspect.cleandoc(ast.get_docstring(node) or "")
            for item in re.finditer(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE):
                for pattern, unit_words in wanted.items():
                    if re.fullmatch(pattern, item[1]):
                        assert re.search(unit_words, item[2], re.IGNORECASE), f"{name}: {item[1]} has no unit"


def test_layers_are_those_of_the_design():
    drawn = re.search(r"Imports point down only.*?```\n(.*?)```", (ROOT / "docs/design.md").read_text(), re.DOTALL)
    levels = {name: level for level, names in enumerate(LAYERS) for name in names}
    rows = [re.findall(r"(\w+)(?:\.py|/)", re.split(r" {3,}", line)[0]) for line in drawn[1].splitlines()]
    rows = [row for row in rows if row and row != ["testing"]]
    assert rows, "docs/design.md draws no layers"
    for above, below in pairwise(rows):
        assert max(levels[name] for name in above) <= min(levels[name] for name in below)


IMPORT = """
import os, sys

read = []
plain = type(os.environ).__getitem__
type(os.environ).__getitem__ = lambda self, name: read.append(name) or plain(self, name)
sys.addaudithook(lambda event, _: read.append(event) if event.startswith("socket.") else None)
import openmodels
print(*read, *({heavy} & set(sys.modules)), "logging" * bool(sys.modules.get("logging")), sep=" ")
"""


def test_import_loads_nothing_and_looks_at_nothing():
    code = IMPORT.format(heavy=set(HEAVY))
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []
    assert run.stderr == ""


@pytest.mark.parametrize("name", ["Model", "Conversation", "register_backend"])
def test_using_a_name_loads_no_backend(name):
    code = f"import openmodels, sys; openmodels.{name}; print(*({set(HEAVY)} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert set(run.stdout.split()) <= {"pydantic", "tenacity"}


class TestPublicNames:
    def test_all_holds_every_name_once(self):
        assert len(om.__all__) == len(set(om.__all__))
        (block,) = (
            node.body
            for node in TREES[SOURCE / "__init__.py"].body
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        )
        shown = {}
        for node in block:
            if isinstance(node, ast.ImportFrom):
                shown |= {alias.name: f"{node.module}:{alias.name}" for alias in node.names}
        assert set(om.__all__) == {*shown, "__version__"}
        for name, home in shown.items():
            module, _, attribute = home.partition(":")
            assert name == attribute
            assert getattr(om, name) is getattr(importlib.import_module(module), attribute)

    def test_all_is_sorted(self):
        # Constants, classes, functions: the order that ruff keeps in every __all__.
        def order(name):
            return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)

        assert om.__all__ == sorted(om.__all__, key=order)

    def test_every_error_is_public(self):
        tree = {
            name
            for name, value in vars(errors).items()
            if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
        }
        assert tree <= set(om.__all__)

    def test_dir_and_misspelling(self):
        assert set(om.__all__) <= set(dir(om))
        with pytest.raises(AttributeError, match="'Modle'"):
            _ = om.Modle

    def test_version_is_the_distributions(self):
        assert om.__version__ == PYPROJECT["project"]["version"]
        assert PYPROJECT["project"]["name"] == settings.DISTRIBUTION


TWINS = [
    (om.Model, "chat", "achat"),
    (om.Model, "stream", "astream"),
    (om.Model, "complete", "acomplete"),
    (om.Model, "embed", "aembed"),
    (om.Model, "rerank", "arerank"),
    (om.Model, "score", "ascore"),
    (om.Model, "decide", "adecide"),
    (om.Model, "map", "amap"),
    (om.Model, "run_tools", "arun_tools"),
    (om.Conversation, "send", "asend"),
    (om.Conversation, "stream", "astream"),
    (om, "providers", "aproviders"),
    (om, "openness", "aopenness"),
    (om, "fit", "afit"),
    (om, "choose", "achoose"),
    (om, "pareto", "apareto"),
    (om, "lock", "alock"),
    (om, "audit", "aaudit"),
    (om, "quantisation_loss", "aquantisation_loss"),
    (om, "compare_openness", "acompare_openness"),
    (om, "compare", "acompare"),
    (Backend, "run", "arun"),
    (om.Tool, "run", "arun"),
]


class TestTwins:
    @pytest.mark.parametrize(("owner", "sync", "twin"), TWINS)
    def test_take_the_same_arguments(self, owner, sync, twin):
        one, other = inspect.signature(getattr(owner, sync)), inspect.signature(getattr(owner, twin))
        assert list(one.parameters.values()) == list(other.parameters.values())

    @pytest.mark.parametrize(("owner", "sync", "twin"), TWINS[:-2])
    def test_say_whose_twin_they_are_and_what_they_raise(self, owner, sync, twin):
        assert f"twin of `{sync}`" in getattr(owner, twin).__doc__
        for name in (sync, twin):
            assert "Raises:" in getattr(owner, name).__doc__

    @pytest.mark.parametrize("owner", [om.Model, om.Conversation])
    def test_none_is_missing(self, owner):
        async_names = {
            name for name in vars(owner) if inspect.isfunction(vars(owner)[name]) and f"a{name}" in vars(owner)
        }
        assert async_names == {sync for kind, sync, _ in TWINS if kind is owner}

    def test_streams_offer_the_same(self):
        names = [{name for name in dir(kind) if not name.startswith("_")} for kind in (om.Stream, om.AsyncStream)]
        assert names[0] - {"close"} == names[1] - {"aclose"}


@pytest.mark.parametrize("method", [om.Model.load, om.Conversation.save, om.Conversation.restore, om.Model])
def test_what_can_fail_says_how(method):
    assert "Raises:" in inspect.getdoc(method)


def test_drawn_error_tree_is_the_real_one():
    drawn, open_above = {}, {}
    for line in errors.__doc__.splitlines():
        if match := re.match(r"^([│ ├└─]*)([A-Z]\w+)\s*(.*)", line):
            depth = len(match[1]) // 4
            if depth or match[2] == "OpenModelsError":
                drawn[match[2]] = open_above.get(depth - 1)
                open_above[depth] = match[2]
                also = re.search(r"\(also (\w+)\)", match[3])
                bases = [base.__name__ for base in getattr(errors, match[2]).__bases__[1:]]
                assert bases == ([also[1]] if also else []), match[2]
    real = {
        name: None if value is errors.OpenModelsError else value.__bases__[0].__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.OpenModelsError)
    }
    assert drawn == real


def test_backend_has_one_required_method():
    assert Backend.__abstractmethods__ == {"run"}


def test_files_of_tests_have_names_of_their_own():
    # pytest imports them by name, so that a second file of a name ends the whole run.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))


def test_huggingface_hub_has_no_upper_cap():
    (hub,) = (line for line in PYPROJECT["project"]["dependencies"] if line.startswith("huggingface_hub"))
    assert re.fullmatch(r"huggingface_hub>=[\d.]+", hub)


def test_install_hints_name_our_distribution():
    texts = [*FILES, ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    for path in texts:
        assert not re.search(r"pip install ['\"]?openmodels(?!-sdk)", path.read_text(encoding="utf-8")), path


def test_settings_are_read_when_asked_and_not_before(monkeypatch, tmp_path):
    for name in ("HF_HUB_OFFLINE", "OPENMODELS_OFFLINE", "OPENMODELS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    assert not settings.is_offline()
    for value, offline in (("1", True), ("true", True), (" ON ", True), ("0", False), ("", False), ("no", False)):
        monkeypatch.setenv("OPENMODELS_OFFLINE", value)
        assert settings.is_offline() == offline
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path))
    assert settings.openmodels_cache_folder() == tmp_path
    monkeypatch.delenv("OPENMODELS_CACHE")
    assert settings.openmodels_cache_folder().name == "openmodels"
    assert settings.openmodels_cache_folder().is_absolute()
