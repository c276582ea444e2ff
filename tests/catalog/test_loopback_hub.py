"""The loopback Hub, as the real client of the Hub sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from loopback_hub import LoopbackHub

ROW = {
    "id": "org/small",
    "author": "org",
    "downloads": 5,
    "likes": 2,
    "tags": ["transformers", "en", "license:mit"],
    "pipeline_tag": "text-generation",
    "library_name": "transformers",
    "gated": False,
    "private": False,
    "cardData": {"license": "mit", "language": ["en"]},
    "config": {"model_type": "llama"},
    "safetensors": {"total": 10, "parameters": {"F32": 10}},
    "siblings": [{"rfilename": "model.safetensors"}],
    "readme": {"headings": ["Small"], "links": [], "claims": [{"fact": "Made for a test."}]},
    "provenance": "not a key of the Hub",
}


@pytest.fixture
def small():
    rows = [{**ROW, "id": f"org/model-{number}", "downloads": number} for number in range(25)]
    with LoopbackHub([ROW, {**ROW, "id": "org/closed", "gated": "manual"}, *rows], page=10) as hub:
        yield hub


def test_lists_filters_sorts_and_pages(small):
    api = HfApi(endpoint=small.address)
    assert len(list(api.list_models())) == 27
    assert len([request for request in small.requests if request.path == "/api/models"]) == 3
    first = next(iter(api.list_models(sort="downloads", limit=1)))
    assert (first.id, first.downloads) == ("org/model-24", 24)
    assert [model.id for model in api.list_models(search="small", full=True)] == ["org/small"]
    assert list(api.list_models(author="nobody")) == []
    assert len(list(api.list_models(filter=["license:mit", "transformers"], limit=12))) == 12
    assert [model.id for model in api.list_models(gated=True)] == ["org/closed"]
    (expanded,) = api.list_models(search="small", expand=["safetensors", "cardData"])
    assert expanded.safetensors.total == 10
    assert expanded.likes is None


def test_tells_of_a_model(small):
    info = HfApi(endpoint=small.address).model_info("org/small", files_metadata=True)
    assert {file.rfilename for file in info.siblings} == {"README.md", "config.json", "model.safetensors"}
    assert info.card_data.license == "mit"
    assert not hasattr(info, "provenance")


def test_gives_files(small, tmp_path):
    path = hf_hub_download("org/small", "config.json", endpoint=small.address, cache_dir=tmp_path)
    assert json.loads(Path(path).read_text(encoding="utf-8")) == {"model_type": "llama"}
    folder = snapshot_download("org/small", endpoint=small.address, cache_dir=tmp_path)
    assert (tmp_path / "models--org--small").is_dir()
    card = ModelCard.load(f"{folder}/README.md")
    assert "Made for a test." in card.text
    assert card.data.language == ["en"]


def test_refuses_as_the_hub_does(small, tmp_path):
    api = HfApi(endpoint=small.address)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info("org/none")
    with pytest.raises(RevisionNotFoundError):
        api.model_info("org/small", revision="old")
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("org/small", "none.json", endpoint=small.address, cache_dir=tmp_path)
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/closed", "config.json", endpoint=small.address, cache_dir=tmp_path, token=False)
    assert hf_hub_download("org/closed", "config.json", endpoint=small.address, cache_dir=tmp_path, token="hf_x")


def test_serves_the_real_metadata(snapshot_hub, tmp_path):
    api = HfApi(endpoint=snapshot_hub.address)
    listed = list(api.list_models(full=True))
    assert len(listed) == len(snapshot_hub.rows)
    for model in listed:
        assert api.model_info(model.id).id == model.id
    assert snapshot_download("allenai/OLMo-7B", endpoint=snapshot_hub.address, cache_dir=tmp_path)
