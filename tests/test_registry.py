"""Where backends come from: the table, this process, installed plugins."""

from __future__ import annotations

import subprocess
import sys

import pytest

import openmodels as om
from openmodels import settings
from openmodels.backends import registry
from openmodels.backends.echo import EchoBackend
from toy_backend import ToyBackend


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution on the path, as an installer would: a module and its entry points."""

    def install(distribution, module, source, value=None, name="plug"):
        home = tmp_path / distribution
        info = home / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (home / f"{module}.py").write_text(source)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[openmodels.backends]\n{name} = {value or module + ':PlugBackend'}\n")
        monkeypatch.syspath_prepend(home)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


PLUGIN = """
from openmodels.backends.base import Backend
from openmodels.types.reply import Delta

class PlugBackend(Backend):
    name = "plug"

    def __init__(self, rest="", *, colour="red"):
        super().__init__(rest)
        self.colour = colour

    def run(self, request):
        yield Delta(text=self.colour, finish_reason="stop", model=self.rest)
"""


def test_installed_plugin_is_found_by_its_name(install):
    install("plug-dist", "plug_module", PLUGIN)
    reply = om.Model("plug:x", colour="blue").chat("hello")
    assert (reply.text, reply.model) == ("blue", "x")
    with pytest.raises(om.UnsupportedFeature, match="Did you mean 'colour'"):
        om.Model("plug:x", color="blue")
    assert "plug" not in registry.list_names()


def test_plugin_works_for_someone_who_only_imports_openmodels(install, tmp_path):
    install("plug-dist", "plug_module", PLUGIN)
    code = "import openmodels as om; print(om.Model('plug:').chat('hello').text)"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"PYTHONPATH": str(tmp_path / "plug-dist")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "red\n"


def test_two_packages_with_one_name_are_both_named(install):
    install("plug-one", "plug_one", PLUGIN)
    install("plug-two", "plug_two", PLUGIN)
    with pytest.raises(om.InvalidReference, match="plug-one, plug-two"):
        om.Model("plug:")


@pytest.mark.parametrize(
    "source", ["import a_module_nobody_has", "raise RuntimeError('broken')", "syntax error", "Other = 1"]
)
def test_broken_plugin_is_named_with_its_cause(install, source):
    install("plug-dist", "plug_module", source)
    with pytest.raises(om.MissingExtra, match="'plug-dist'") as caught:
        om.Model("plug:")
    assert caught.value.__cause__ is not None
    assert type(caught.value.__cause__).__name__ in str(caught.value)
    assert isinstance(caught.value, ImportError)


def test_plugin_must_be_a_backend_class(install):
    install("plug-dist", "plug_module", "PlugBackend = dict")
    with pytest.raises(om.InvalidReference, match=r"'plug-dist' offers 'plug', but .* is no Backend class"):
        om.Model("plug:")


def test_plugins_are_not_asked_for_a_name_that_is_known(install, toy, monkeypatch):
    install("thief", "thief_module", "raise RuntimeError('imported')", name="echo")

    def scanned(**_):
        pytest.fail("entry points were scanned")

    monkeypatch.setattr("importlib.metadata.entry_points", scanned)
    assert type(om.Model("echo:").backend) is EchoBackend
    assert type(om.Model("toy:").backend) is ToyBackend


@pytest.mark.parametrize(("name", "guess"), [("ecko", "echo"), ("Local", "local"), ("lokal", "local")])
def test_unknown_name_suggests_the_nearest(name, guess):
    with pytest.raises(om.InvalidReference, match=f"Did you mean '{guess}'") as caught:
        om.Model(f"{name}:x")
    assert f"Known backends: {', '.join(registry.list_names())}." in str(caught.value)


@pytest.mark.parametrize("name", sorted(registry.BUILT_IN))
def test_table_points_at_backends_of_that_name(name):
    entry = registry.BUILT_IN[name]
    assert registry.find(name).name == name
    assert entry.summary
    assert entry.extra is None or entry.extra in {"local", "azure", "serve", "plot"}


def test_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(om.MissingExtra) as caught:
        om.Model("local:org/model")
    assert "'torch'" in str(caught.value)
    assert settings.install_hint("local") in str(caught.value)
    assert caught.value.reference == "local:org/model"


def test_missing_package_of_a_backends_file_is_named(monkeypatch, tmp_path):
    (tmp_path / "needy.py").write_text("import a_package_nobody_has.inner")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(registry.BUILT_IN, "needy", registry.Entry("needy:Needy", "azure", ""))
    with pytest.raises(om.MissingExtra, match=r"'a_package_nobody_has'.*\[azure\]") as caught:
        om.Model("needy:x")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_registered_backend_is_used_and_suggested(monkeypatch):
    monkeypatch.setattr(registry, "_registered", {})
    om.register_backend("mine", ToyBackend)
    assert type(om.Model("mine:").backend) is ToyBackend
    assert "mine" in registry.list_names()
    with pytest.raises(om.InvalidReference, match="'mine'"):
        om.Model("mines:")


@pytest.mark.parametrize(
    ("name", "backend", "fault"),
    [
        ("echo", ToyBackend, "built-in"),
        ("a:b", ToyBackend, "reference"),
        ("a/b", ToyBackend, "reference"),
        ("", ToyBackend, "reference"),
        ("mine", ToyBackend(), "class"),
        ("mine", dict, "class"),
    ],
)
def test_what_cannot_be_registered(name, backend, fault):
    with pytest.raises(om.InvalidRequest, match=fault):
        om.register_backend(name, backend)
    assert registry.list_names() == sorted(registry.BUILT_IN)
