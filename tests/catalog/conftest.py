"""Fixtures of the catalog's tests: loopback catalogs, and an environment that points nowhere else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import catalog_tables
from loopback_gallery import LoopbackGallery
from loopback_hub import LoopbackHub, snapshot
from openmodels import retry
from openmodels.catalog.index import writer
from openmodels.catalog.index.reader import Index
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources import hub_records

HERE = Path(__file__).parent
AS_OF = date(2026, 11, 1)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Empty caches, no token, no address outside, no waiting between tries."""
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "OPENMODELS_OFFLINE", "OPENMODELS_MODEL_FOLDERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    for name in ("HF_ENDPOINT", "OPENMODELS_HF_ROUTER", "OPENMODELS_AZURE_CATALOG"):
        # Port 9 of the loopback refuses at once.
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with retry.override_retries(attempts=2):
        yield


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    """The rows of the table of facts."""
    return catalog_tables.hub_records(HERE / "models.tsv")


@pytest.fixture(scope="session")
def records(rows: list[dict[str, Any]]) -> list[ModelRecord]:
    """Their records."""
    return [hub_records.build_record(row, AS_OF) for row in rows]


@pytest.fixture(scope="session")
def index(records: list[ModelRecord]) -> Index:
    """An index over them, in memory."""
    return writer.in_memory(records)


@pytest.fixture(scope="session")
def people_rows(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of both tables of facts, which the queries as people phrase them are judged over."""
    return rows + catalog_tables.hub_records(HERE / "models_people.tsv")


@pytest.fixture(scope="session")
def people_index(people_rows: list[dict[str, Any]]) -> Index:
    """An index over them, in memory."""
    return writer.in_memory([hub_records.build_record(row, AS_OF) for row in people_rows])


@pytest.fixture
def hub(rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that serves them, and which the environment points to."""
    with LoopbackHub(rows, page=40) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", server.address)
        yield server


@pytest.fixture
def snapshot_hub(shared: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackHub]:
    """A Hub that serves real metadata of the Hub."""
    with LoopbackHub(snapshot(shared("hub-snapshot/models")), page=20) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", server.address)
        yield server


GALLERY: list[Any] = json.loads((HERE / "gallery.json").read_text(encoding="utf-8"))


@pytest.fixture(params=[False, True], ids=["summaries", "value"])
def gallery(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopbackGallery]:
    """An Azure catalog, once for each shape of its answers."""
    with LoopbackGallery(GALLERY, nested=request.param) as server:
        monkeypatch.setenv("OPENMODELS_AZURE_CATALOG", server.address)
        yield server
