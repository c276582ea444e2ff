"""What `om.fit` asks of the Hub: the starts of files, storage elsewhere without the token, quantised versions."""

from __future__ import annotations

import json

import pytest
from test_fit import NUMBERS, files

import openmodels as om
from loopback_server import LoopbackServer, Response
from openmodels.catalog.record import Base, Ids, ModelRecord, Score
from openmodels.choose import fit_files, fit_variants
from openmodels.hub.model_page import RepositoryFile


class Storage(LoopbackServer):
    """Serves files by their start, as the storage behind the Hub does."""

    def __init__(self, content):
        super().__init__()
        self.content = content

    def respond(self, request):
        data = self.content[request.path.rpartition("/")[2]]
        first, _, last = request.headers["range"].removeprefix("bytes=").partition("-")
        return Response(data[int(first) : int(last) + 1], 206)


class Hub(LoopbackServer):
    """Describes one model, and sends readers of its files to the storage."""

    def __init__(self, content, storage):
        super().__init__()
        self.content, self.storage = content, storage

    def respond(self, request):
        if request.path.startswith("/api/models/"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in self.content.items()]
            return Response({"id": "org/model", "siblings": siblings})
        return Response(b"", 302, {"Location": f"{self.storage.address}/{request.path.rpartition('/')[2]}"})


@pytest.fixture
def hub(monkeypatch):
    content = files()
    # Weights that nobody has to fetch.
    content["model.safetensors"] += bytes(3 * 2**20)
    with Storage(content) as storage, Hub(content, storage) as server:
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        monkeypatch.setattr(fit_variants, "search", lambda **_: [])
        yield server


def test_only_the_starts_of_files_are_read(hub):
    fit = om.fit("org/model", device="cuda:1GB")
    assert fit.weights_bytes == 2 * NUMBERS + 3 * 8
    ranges = {request.path.rpartition("/")[2]: request.headers["range"] for request in hub.storage.requests}
    assert ranges["model.safetensors"] == f"bytes=0-{fit_files._FIRST_READ - 1}"


def test_the_token_does_not_follow_to_the_storage(hub):
    om.fit("org/model", device="cuda:1GB")
    assert any("authorization" in request.headers for request in hub.requests)
    assert hub.storage.requests
    assert not any("authorization" in request.headers for request in hub.storage.requests)


def record(name, relation, *, size=None, scores=(), tags=()):
    return ModelRecord(
        ids=Ids(hub=f"other/{name}"),
        base_models=(Base(id="org/model", relation=relation),),
        files=(RepositoryFile(name="model.safetensors", size=size),) if size else None,
        tags=tags,
        scores=tuple(Score(benchmark=benchmark, value=value) for benchmark, value in scores),
    )


def test_quantised_versions_that_fit_with_what_they_lose(hub, monkeypatch):
    base = ModelRecord(ids=Ids(hub="org/model"), scores=(Score(benchmark="gpqa", value=40.0),))
    listed = [
        record("Model-INT4", "quantized", size=50_000, scores=[("gpqa", 38.5), ("hle", 3.0)]),
        record("Model-awq", "quantized", tags=("4-bit",)),
        record("Model-huge-8bit", "quantized", size=10**12),
        record("Model-chat", "finetune", size=50_000),
        record("Model-odd", "quantized"),
    ]
    monkeypatch.setattr(fit_variants, "search", lambda **_: listed)
    first, second = om.fit(base, device="cuda:1GB").variants
    assert first.id == "other/Model-INT4"
    assert first.weights_bytes == 50_000
    assert first.loses == ("gpqa: 38.5 instead of 40",)
    assert second.weights_bytes == (2 * NUMBERS + 24) // 4
    assert second.loses == ()
    shown = str(om.fit(base, device="cuda:1GB"))
    assert "gpqa: 38.5 instead of 40" in shown
    assert "not known" in shown
    assert json.loads(json.dumps(om.fit(base, device="cuda:1GB").to_dict()))["variants"][0]["fits"] is True
