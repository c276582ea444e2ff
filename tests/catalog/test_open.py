"""`open=`: what the catalogs' facts alone say of a model, from an index and from the catalogs themselves."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import openmodels as om
from loopback_hub import LoopbackHub
from openmodels.catalog.index import update
from openmodels.catalog.record import FieldConflict
from openmodels.catalog.sources import hub_records
from openmodels.cli import cli
from openmodels.errors import InvalidRequest

MODELS = {
    # id: (license, license_name, gated, open)
    "org/free": ("apache-2.0", None, False, True),
    "org/gpl": ("gpl-3.0", None, False, True),
    "org/click": ("apache-2.0", None, "auto", False),
    "org/ask": (None, None, "manual", False),
    "org/llama": ("llama3.1", None, False, False),
    "org/shared": ("cc-by-4.0", None, False, False),
    "org/etalab": ("etalab-2.0", None, False, False),
    "org/wtf": ("wtfpl", None, False, False),
    "org/own": ("other", "own-noncommercial", False, False),
    "org/gate-unseen": ("mit", None, None, None),
    "org/family": ("openrail", None, False, None),
    "org/named": ("other", "apache-2.0", False, None),
    "org/silent": (None, None, False, None),
}


def row(name):
    license_id, license_name, gated, _ = MODELS[name]
    card = {"license": license_id, "license_name": license_name}
    found = {"id": name, "cardData": {key: value for key, value in card.items() if value}, "tags": []}
    return found if gated is None else {**found, "gated": gated}


@pytest.fixture
def hub(monkeypatch):
    with LoopbackHub([row(name) for name in MODELS]) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", server.address)
        yield server


def expected(verdict):
    return {name for name, (*_, is_open) in MODELS.items() if is_open is verdict}


@pytest.mark.parametrize("name", MODELS)
def test_a_record_says_yes_no_or_nothing(name):
    assert hub_records.build_record(row(name), None).open is MODELS[name][3]


def test_where_catalogs_state_different_licenses_nothing_is_said():
    record = hub_records.build_record(row("org/free"), None)
    other = FieldConflict(field="license", kept="Apache-2.0", kept_source="hub", other="llama2", other_source="azure")
    assert record.model_copy(update={"conflicts": (other,)}).open is None


@pytest.mark.parametrize("listed", [True, False], ids=["index", "live"])
def test_a_search_asks_for_it(hub, listed):
    if listed:
        update.update(catalogs=["hub"])
    for verdict in (True, False):
        found = om.search(open=verdict, catalog="hub", limit=100)
        assert {record.id for record in found} == expected(verdict)
        assert found.total == len(expected(verdict))
        assert found.facets("open") == {"yes" if verdict else "no": len(found)}
    assert om.search(open=True, gated=True, catalog="hub") == []
    assert {record.id for record in om.search("gpl", open=True, catalog="hub")} == {"org/gpl"}


def test_the_hub_is_asked_for_what_has_no_gate(hub):
    om.search(open=True, catalog="hub")
    (request,) = [each for each in hub.requests if each.path == "/api/models"]
    assert ("gated", "false") in request.query


def test_the_hub_is_asked_by_its_own_ids(hub):
    om.search(license="GPL-3.0-only", catalog="hub")
    (request,) = [each for each in hub.requests if each.path == "/api/models"]
    assert ("filter", "license:gpl-3.0") in request.query


@pytest.mark.parametrize(("flag", "verdict"), [("--open", True), ("--not-open", False)])
def test_the_command_asks_too(hub, flag, verdict):
    result = CliRunner().invoke(cli, ["search", flag, "--catalog", "hub", "--limit", "100", "--json"])
    assert {record["ids"]["hub"] for record in json.loads(result.stdout)} == expected(verdict)


def test_a_wrong_value_is_named():
    with pytest.raises(InvalidRequest, match="open"):
        om.search(open="very")
