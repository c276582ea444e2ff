"""Models on this disk."""

from __future__ import annotations

import json
from math import prod

import pytest
from huggingface_hub import snapshot_download

import openmodels as om
from openmodels.catalog.query import Query
from openmodels.catalog.sources.disk import DiskCatalog
from openmodels.errors import ModelNotFound


def safetensors(path, shapes):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for n, shape in enumerate(shapes):
        begin, end = end, end + 4 * prod(shape)
        header[f"w{n}"] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "models" / "my-llama-model"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "max_position_embeddings": 2048}))
    (folder / "README.md").write_text("---\nlicense: mit\nlanguage: ja\n---\n# Mine\n")
    safetensors(folder / "model.safetensors", [[10, 20], [5]])
    monkeypatch.setenv("OPENMODELS_MODEL_FOLDERS", str(tmp_path / "models"))
    return folder


def test_a_folder_is_a_model(folder):
    (record,) = DiskCatalog().search(Query())
    assert record.local == record.id == str(folder)
    assert record.ids.hub is record.author is None
    assert record.parameters.total == 205
    assert record.context_length == 2048
    assert record.license.id == "MIT"
    assert record.languages == ("ja",)
    assert record.formats == ("safetensors",)
    assert {file.name for file in record.files} == {"README.md", "config.json", "model.safetensors"}
    assert record.provenance["parameters"].source == "cache"


def test_is_found_without_a_network(folder, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (record,) = om.search("llama japanese", license="mit")
    assert record.local == str(folder)
    assert om.info(str(folder)).local == str(folder)
    assert [record.local for record in om.search("", catalog="cache")] == [str(folder)]


def test_the_hubs_cache_is_joined_with_the_hub(hub, tmp_path, monkeypatch):
    cache = tmp_path / "hub"
    snapshot_download("allenai/OLMo-1B-hf", endpoint=hub.address, cache_dir=cache)
    record = om.info("allenai/OLMo-1B-hf")
    assert record.local.startswith(str(cache))
    assert record.likes == 20
    assert record.catalogs == ("hub", "cache")
    here = om.search("olmo 1b")[0]
    assert (here.id, here.local) == ("allenai/OLMo-1B-hf", record.local)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    offline = om.search("olmo")[0]
    assert (offline.ids.hub, offline.local) == ("allenai/OLMo-1B-hf", record.local)


def test_what_cannot_be_read_is_reported_and_skipped(folder, tmp_path):
    for name, content in (("a", b"{"), ("b", b"[]"), ("c", b"\xff\xfe")):
        other = tmp_path / "models" / name
        other.mkdir()
        (other / "config.json").write_bytes(content)
        (other / "model.safetensors").write_bytes(b"\xff" * 20)
        (other / "README.md").write_bytes(b"\xff---")
    source = DiskCatalog()
    assert len(list(source.search(Query()))) == 4
    assert len(source.skipped) == 6
    assert all(name in "".join(source.skipped) for name in ("a/config.json", "b: config.json", "c/config.json"))


DEEP = b"[" * 100_000
HEADERS = [
    b"[7]",
    b'{"w": 7}',
    b'{"w": {"shape": [true]}}',
    b'{"w": {"shape": [1e400]}}',
    b'{"w": {}}',
    DEEP,
    b"\0" * 9,
]


@pytest.mark.parametrize(
    ("file", "content"),
    [("model.safetensors", len(header).to_bytes(8, "little") + header) for header in HEADERS]
    + [("model.safetensors", b""), ("model.safetensors", b"\xff" * 8)]
    + [("config.json", content) for content in (DEEP, b"7", b"[]", b"", b'{"max_position_embeddings": "x"}')]
    + [("README.md", b"---\n" + DEEP + b"\n---\n"), ("README.md", b"---\nlicense: 2026-01-02\ntags: {a: [b]}\n---\n")],
)
def test_one_damaged_model_hides_no_other(tmp_path, monkeypatch, file, content):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "own"))
    for name in ("bad", "good"):
        snapshot = tmp_path / f"models--acme--{name}" / "snapshots" / "abc"
        snapshot.mkdir(parents=True)
        (snapshot / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "models--acme--bad" / "snapshots" / "abc" / file).write_bytes(content)
    (tmp_path / "models--acme--bad" / "refs").mkdir()
    (tmp_path / "models--acme--bad" / "refs" / "main").write_bytes(b"../../../../etc\0")
    results = om.search("", live=False)
    assert {record.id for record in results} == {"acme/bad", "acme/good"}
    if file != "README.md" and b"position" not in content:
        assert any("models--acme--bad" in note for note in results.notes)
    assert om.info("acme/good", live=False).family == "llama"


def test_nothing_is_there(tmp_path):
    source = DiskCatalog(tmp_path / "none", [tmp_path / "neither"])
    assert list(source.search(Query())) == []
    with pytest.raises(ModelNotFound):
        source.get("org/model")
