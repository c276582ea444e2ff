"""A catalog is one file: a toy of another package is searched, looked up, indexed and shown without further change."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import openmodels as om
from openmodels.catalog.index import update
from openmodels.catalog.index.reader import Index, default_path
from openmodels.catalog.record import Ids, ModelRecord
from openmodels.catalog.sources import base
from openmodels.errors import InvalidRequest, MissingExtra

ROOT = Path(__file__).parents[2]
TOY = """
from datetime import date

from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources.base import Catalog, register
from openmodels.errors import ModelNotFound


@register
class ToyCatalog(Catalog):
    name = "toy"
    title = "the toy box"
    description = "two toys"

    def search(self, query):
        for name, task in (("bear/teddy-7b", "text-generation"), ("car/racer", "text-to-image")):
            ids = {"toy": name, "hub": "toys/teddy-7b" if name == "bear/teddy-7b" else None}
            yield ModelRecord.sourced(self.name, date(2026, 11, 1), {"ids": ids, "author": name[:3], "task": task})

    def get(self, model_id):
        for record in self.search(None):
            if record.ids.toy == model_id.removeprefix(self.prefix):
                return record
        raise ModelNotFound(f"The toy box has no {model_id}.")
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Install a package with a catalog; the processes started from here see it too."""
    folder = tmp_path / "site"
    dist = folder / "toy_catalog-1.0.dist-info"
    dist.mkdir(parents=True)
    (folder / "toy_catalog.py").write_text(TOY)
    (dist / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-catalog\nVersion: 1.0\n")
    (dist / "entry_points.txt").write_text("[openmodels.catalogs]\ntoy = toy_catalog\n")
    base.catalogs()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    monkeypatch.setattr(base, "_registered", dict(base._registered))
    monkeypatch.setattr(base, "_ordered", None)
    monkeypatch.delitem(sys.modules, "toy_catalog", raising=False)
    return folder


def command(*arguments):
    run = subprocess.run(
        [sys.executable, "-m", "openmodels", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    return run.returncode, run.stdout, run.stderr


def test_search_and_info(toy):
    assert base.names() == ("hub", "azure", "toy", "cache")
    results = om.search("teddy", catalog="toy")
    assert [record.id for record in results] == ["toys/teddy-7b"]
    assert results[0].catalogs == ("toy",)
    assert results[0].ids.toy == results[0].ids["toy"] == "bear/teddy-7b"
    assert [record.id for record in om.search("", catalog="toy", task="text-to-image")] == ["toy:car/racer"]
    assert om.info("toy:car/racer").author == "car"


def test_update_and_offline(toy, monkeypatch):
    (outcome,) = update.update(catalogs=["toy"])
    assert (outcome.models, outcome.failure) == (2, None)
    monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
    assert {record.id for record in om.search("", catalog="toy")} == {"toys/teddy-7b", "toy:car/racer"}
    assert om.info("toy:bear/teddy-7b").id == "toys/teddy-7b"
    racer = om.info("toy:car/racer")
    assert (racer.catalogs, racer.author, racer.ids.hub) == (("toy",), "car", None)
    assert racer.provenance["task"].source == "toy"
    with Index(default_path()) as index:
        assert "toy.as_of" in index.meta


def test_it_is_joined_with_other_catalogs(toy, hub, rows):
    base.find("toy")
    hub.rows = [{**rows[0], "id": "toys/teddy-7b", "pipeline_tag": "fill-mask"}]
    update.update(catalogs=["hub", "toy"])
    record = om.info("toy:bear/teddy-7b", live=False)
    assert (record.id, record.catalogs, record.task) == ("toys/teddy-7b", ("hub", "toy"), "fill-mask")
    assert [(conflict.field, conflict.other_source) for conflict in record.conflicts] == [("task", "toy")]
    update.update(catalogs=["toy"])
    assert om.info("toys/teddy-7b", live=False).likes == rows[0]["likes"]


def test_the_command_line(toy):
    code, out, err = command("catalog", "update", "--catalog", "toy", "--json")
    assert code == 0, err
    assert json.loads(out)[0]["models"] == 2
    _, out, _ = command("search", "racer", "--catalog", "toy", "--json")
    assert [record["ids"] for record in json.loads(out)] == [{"toy": "car/racer"}]
    assert "hub, azure, toy, cache" in command("search", "--help")[1]
    assert re.search(r"in the toy box +bear/teddy-7b", command("show", "toys/teddy-7b", "--index")[1])


def test_a_catalog_that_does_not_import_is_named(toy):
    (toy / "toy_catalog.py").write_text("raise RuntimeError('broken')")
    with pytest.raises(MissingExtra, match=r"'toy' from the package 'toy-catalog' does not import.*broken"):
        base.catalogs()


def test_a_name_is_taken_once(toy):
    with pytest.raises(InvalidRequest, match="'hub'"):
        base.register(type("OtherHub", (base.Catalog,), {"name": "hub"}))


def test_ids_are_a_mapping():
    ids = Ids(hub="a/b", azure=None)
    assert (ids.hub, ids.azure, ids.get("azure"), dict(ids.items())) == ("a/b", None, None, {"hub": "a/b"})
    assert ModelRecord.model_validate({"ids": {"hub": "a/b", "azure": None}}).ids == ids
    assert "hub" in ids
    assert "azure" not in ids
    with pytest.raises(AttributeError, match="'hubb'"):
        _ = ids.hubb


def test_finding_the_catalogs_loads_no_client():
    code = (
        "import sys; from openmodels.catalog.sources import base; print(base.names());"
        "print({'httpx2', 'urllib3', 'aiohttp', 'huggingface_hub', 'torch', 'pyarrow'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == ["('hub', 'azure', 'cache')", "set()"]


def test_the_documented_table_is_the_registry():
    text = (ROOT / "docs/catalog.md").read_text(encoding="utf-8")
    documented = re.findall(r"^\| `(\w+)` \| (.+?) \|", text, re.MULTILINE)
    assert [row for row in documented if row[0].islower()] == [
        (catalog.name, catalog.description)
        for catalog in base.catalogs()
        if catalog.__module__.startswith("openmodels")
    ]


def test_no_file_but_its_own_names_a_catalog():
    names = re.compile("|".join(f"[\"']{name}:?[\"']" for name in base.names()))
    for file in sorted((ROOT / "src/openmodels/catalog").rglob("*.py")):
        if file.parent.name == "sources":
            continue
        code = re.sub(r"\"\"\".*?\"\"\"", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not names.findall(code), file
