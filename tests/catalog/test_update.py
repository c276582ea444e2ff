"""Updates: whole, interrupted, incremental, from a dump; never unasked."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

import openmodels as om
from loopback_server import Response
from openmodels.catalog.index import codec, update, writer
from openmodels.catalog.index.codec import today
from openmodels.catalog.index.reader import Index, default_path
from openmodels.errors import InvalidRequest, Offline, ServerFailed


def notes():
    with Index(default_path()) as index:
        return index.meta


def listing(hub):
    return [
        request
        for request in hub.requests
        if request.path == "/api/models" and request.first("sort") != "trendingScore"
    ]


def test_takes_the_hub_and_azure_and_prices(hub, gallery, rows):
    hub.providers = [
        {"id": "openai/gpt-oss-120b", "providers": [
            {"provider": "groq", "context_length": 131072, "pricing": {"input": 0.15, "output": 0.75}}]}
    ]  # fmt: skip
    outcomes = {outcome.catalog: outcome for outcome in update.update()}
    assert outcomes["hub"].failure is None
    assert outcomes["azure"].models == 8
    record = om.info("openai/gpt-oss-120b", live=False)
    assert record.ids.azure == "azureml-openai-oss/gpt-oss-120b"
    assert record.catalogs == ("hub", "azure")
    assert str(record.offers[0].price_out) == "0.75"
    assert record.provenance["offers"].source == "router"
    assert record.license.id == "Apache-2.0"
    assert om.info("azure:azureml-openai-oss/gpt-oss-120b", live=False).id == record.id
    assert om.info("azure:azureml-meta/Llama-2-7b", live=False).lifecycle.retires_on == date(2025, 6, 30)
    assert om.info("azure:azureml-cohere/cohere-embed-v4", live=False).ids.hub is None
    with Index(default_path()) as index:
        assert len(index) == len(rows) + 3


def test_azures_filters_and_collection_can_be_asked_of_the_index(hub, gallery):
    update.update()
    in_azure = {record.ids.azure for record in om.search("", catalog="azure", limit=100)}
    assert "HuggingFace/openai-gpt-oss-120b" in in_azure
    assert len(in_azure) == 8
    assert {r.ids.azure for r in om.search("", catalog="azure", task="embeddings")} == {
        "azureml-cohere/cohere-embed-v4"
    }
    assert [r.id for r in om.search("", fine_tuning_task="text-classification", license="llama2")] == [
        "meta-llama/Llama-2-7b-hf"
    ]
    assert {r.id for r in om.search("", deployment="standard-paygo")} >= {"openai/gpt-oss-120b"}
    assert [r.id for r in om.search("", capability="reasoning")] == ["openai/gpt-oss-120b"]
    assert om.search("", author="HuggingFace", catalog="azure")[0].ids.azure == "HuggingFace/openai-gpt-oss-120b"


def test_a_catalog_that_is_down_does_not_keep_the_others(hub, gallery):
    gallery.overrides = [("models", Response(b"", 500))] * 2
    outcomes = update.update()
    assert outcomes[0].failure is None
    assert isinstance(outcomes[1].failure, ServerFailed)
    assert om.search("mistral", live=False)
    hub.overrides = [("/api/models", Response(b"", 500))] * 2
    outcomes = update.update()
    assert isinstance(outcomes[0].failure, ServerFailed)
    assert outcomes[1].failure is None
    assert om.search("mistral", live=False)[0].ids.hub


def test_nothing_reached_changes_nothing(hub):
    update.update(catalogs=["hub"])
    before = default_path().read_bytes()
    hub.overrides = [("/api/models", Response(b"", 500))] * 2
    assert update.update(catalogs=["hub"])[0].failure
    assert default_path().read_bytes() == before


def test_a_listing_cut_short_goes_on_where_it_stopped(hub, rows):
    hub.overrides = [("cursor=ODA", Response(b"", 503))] * 2  # the third page
    outcome = update.update(catalogs=["hub"], everything=True)[0]
    assert outcome.failure
    assert outcome.models == 80
    hub.requests.clear()
    outcome = update.update(catalogs=["hub"], everything=True)[0]
    assert outcome.failure is None
    assert listing(hub)[0].first("cursor") is not None
    with Index(default_path()) as index:
        assert len(index) == len(rows)
    assert "hub.next" not in notes()


def test_later_updates_take_only_what_changed(hub, rows):
    update.update(catalogs=["hub"])
    hub.requests.clear()
    changed = {**rows[0], "likes": 123_456, "lastModified": today().isoformat()}
    hub.rows = [changed, *rows[1:]]
    outcome = update.update(catalogs=["hub"])[0]
    assert [request.first("sort") for request in listing(hub)] == ["lastModified"]
    assert outcome.models == 40
    assert om.info(rows[0]["id"], live=False).likes == 123_456


def test_once_a_week_everything_is_listed_again(hub, monkeypatch):
    update.update(catalogs=["hub"])
    hub.requests.clear()
    monkeypatch.setattr("openmodels.catalog.sources.hub.today", lambda: today() + timedelta(days=8))
    update.update(catalogs=["hub"])
    assert listing(hub)[0].first("sort") == "downloads"


def test_a_whole_listing_removes_what_is_gone(hub, gallery, rows, monkeypatch):
    update.update(everything=True)
    hub.rows = rows[1:]
    gallery.rows = gallery.rows[1:]
    tomorrow = today() + timedelta(days=1)
    for module in ("sources.hub", "sources.azure", "index.codec"):
        monkeypatch.setattr(f"openmodels.catalog.{module}.today", lambda: tomorrow)
    monkeypatch.setattr(update, "today", lambda: tomorrow)
    outcomes = update.update(everything=True)
    assert outcomes[0].removed == 1
    with Index(default_path()) as index:
        assert index.get(rows[0]["id"]) is None
        assert index.get(rows[1]["id"]) is not None


def test_top_is_a_limit(hub):
    update.update(catalogs=["hub"], top=40)
    with Index(default_path()) as index:
        assert len(index) == 40


def test_offline_and_wrong_names(monkeypatch):
    with pytest.raises(InvalidRequest, match="ollama"):
        update.update(catalogs=["ollama"])
    monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
    with pytest.raises(Offline):
        update.update()
    assert not default_path().exists()


def test_searching_makes_no_index(hub):
    om.search("llama")
    om.info("allenai/OLMo-7B")
    om.family("tiiuae/falcon-7b")
    assert not default_path().parent.exists()


def test_from_a_dump(tmp_path, rows):
    pyarrow = pytest.importorskip("pyarrow", reason="reading parquet needs pyarrow")
    from pyarrow import parquet

    columns = {name: [row.get(name) for row in rows] for name in ("id", "downloads", "likes", "tags", "pipeline_tag")}
    columns["cardData"] = [json.dumps(row["cardData"]) for row in rows]
    columns["id"][3] = None
    file = tmp_path / "models.parquet"
    parquet.write_table(pyarrow.table(columns), file)
    outcome = update.from_parquet(file)
    assert (outcome.models, len(outcome.skipped)) == (len(rows) - 1, 1)
    assert om.search("mistral 7b instruct", live=False)[0].author == "mistralai"
    with pytest.raises(InvalidRequest, match="no parquet"):
        update.from_parquet(tmp_path / "none.parquet")


def test_bad_rows_are_counted(hub):
    hub.rows = [{"likes": 1}, "x", *hub.rows]
    outcome = update.update(catalogs=["hub"])[0]
    assert len([why for why in outcome.skipped if "no usable id" in why]) >= 1
    assert outcome.failure is None


def test_removing_is_by_catalog_and_day(tmp_path, records):
    with writer.Writer(tmp_path / "c.sqlite") as made:
        made.put_all(records)
        assert made.remove_older("azure", 10**6) == 0
        assert made.remove_older("hub", codec.days(date(2026, 11, 1))) == 0
        assert made.remove_older("hub", codec.days(date(2026, 11, 2))) == len(records)
        made.finish()
    with Index(tmp_path / "c.sqlite") as index:
        assert len(index) == 0
        assert index.match("", limit=5) == []
