"""Families of models that others call by former ids."""

from __future__ import annotations

from datetime import date

import pytest

import openmodels as om
from loopback_hub import LoopbackHub
from loopback_server import Response
from openmodels.catalog.index import writer
from openmodels.catalog.index.reader import default_path
from openmodels.catalog.sources import hub_records

BASE = {"id": "lab/Ember-2-3b", "gated": False, "cardData": {"license": "mit"}, "tags": [], "siblings": []}
CHILD = BASE | {"id": "acme/Calf-3b", "cardData": {"license": "mit", "base_model": "oldlab/Ember-3b"}}
SECOND = BASE | {"id": "other/Lamb-3b", "cardData": {"license": "mit", "base_model": "lab/Ember-2-3b"}}


@pytest.fixture
def hub(monkeypatch):
    with LoopbackHub([BASE, CHILD, SECOND]) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", server.address)
        server.overrides = [
            ("/api/models/oldlab/Ember-3b", Response(b"", 307, {"Location": "/api/models/lab/Ember-2-3b"}))
        ] * 40
        yield server


def write_index(records):
    with writer.Writer(default_path(), fresh=True) as made:
        made.put_all(records)
        made.set("hub.as_of", "2026-11-01")
        made.finish()


def record(row, **fields):
    return hub_records.build_record(row, date(2026, 11, 1)).model_copy(update=fields)


@pytest.mark.parametrize("listed", [True, False], ids=["index", "live"])
def test_a_base_called_by_its_former_id_is_one_model_of_the_tree(hub, listed):
    if listed:
        write_index([record(CHILD), record(SECOND)])
    tree = om.family("acme/Calf-3b")
    assert tree.ancestors == ["lab/Ember-2-3b"]
    assert tree.license_of("lab/Ember-2-3b") == "MIT"
    assert "oldlab/Ember-3b is called lab/Ember-2-3b now" in tree.notes
    assert "oldlab/Ember-3b" in " ".join(tree.models["lab/Ember-2-3b"].marks)


def test_an_index_that_knows_the_former_id_needs_no_network():
    write_index([record(BASE, renamed_from=("oldlab/Ember-3b",)), record(CHILD), record(SECOND)])
    for name in ("lab/Ember-2-3b", "oldlab/Ember-3b"):
        tree = om.family(name, live=False)
        assert tree.id == "lab/Ember-2-3b"
        assert sorted(tree.descendants) == ["acme/Calf-3b", "other/Lamb-3b"]


def test_a_disabled_model_is_marked_in_the_tree():
    write_index([record(BASE | {"disabled": True}), record(SECOND)])
    assert "disabled" in str(om.family("other/Lamb-3b", live=False))
