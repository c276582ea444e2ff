"""Models that are retired, disabled or renamed, and the versions of a model in Azure."""

from __future__ import annotations

from datetime import date

import pytest

import openmodels as om
from loopback_gallery import LoopbackGallery
from loopback_server import Response
from openmodels.catalog import api, record_merging
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.record import Lifecycle, ModelRecord
from openmodels.catalog.sources import azure, hub_records

DAY = date(2026, 11, 1)


def version(number, **fields):
    asset = f"azureml://registries/azureml-acme/models/Glow/versions/{number}"
    return {"name": "Glow", "registryName": "azureml-acme", "version": number, "assetId": asset, **fields}


class TestAzure:
    @pytest.mark.parametrize(
        ("versions", "latest"),
        [
            (["9", "10", "2"], "10"),
            (["2024-08-06", "2025-04-14", "2024-11-20"], "2025-04-14"),
            (["1.10", "1.9"], "1.10"),
            ([7, 12, 3], "12"),
            (["turbo-2024-04-09", "1106-preview"], "1106-preview"),
        ],
    )
    def test_the_latest_version_is_shown_wherever_it_stands(self, monkeypatch, versions, latest):
        for order in (versions, versions[::-1]):
            rows = [version(number, labels=[]) for number in order]
            with LoopbackGallery(rows) as gallery:
                monkeypatch.setenv("OPENMODELS_AZURE_CATALOG", gallery.address)
                assert om.info("azure:azureml-acme/Glow").version == latest

    def test_the_label_latest_decides(self, monkeypatch):
        rows = [version("30", labels=["preview"]), version("29", labels=["Latest"], lifecycle="Preview")]
        with LoopbackGallery(rows) as gallery:
            monkeypatch.setenv("OPENMODELS_AZURE_CATALOG", gallery.address)
            assert om.info("azure:azureml-acme/Glow").lifecycle.status == "Preview"

    def test_of_listed_versions_the_latest_is_found(self, monkeypatch):
        rows = [version("12", lifecycle="Generally available"), version("4", lifecycle="Deprecated")]
        with LoopbackGallery(rows) as gallery:
            monkeypatch.setenv("OPENMODELS_AZURE_CATALOG", gallery.address)
            (record,) = om.search("glow", catalog="azure", live=True)
        assert record.version == "12"
        assert record.marks == ()

    @pytest.mark.parametrize(
        ("stated", "marks"),
        [
            ({"lifecycle": "Retired"}, ("retired",)),
            ({"lifecycle": "Legacy"}, ("deprecated",)),
            ({"lifecycle": "Generally available"}, ()),
            ({"deprecation": {"inferenceRetirementDate": "2024-02-29T00:00:00Z"}}, ("retired 2024-02-29",)),
            (
                {"lifecycle": "Deprecated", "deprecation": {"inferenceRetirementDate": "2999-01-31"}},
                ("deprecated", "retires 2999-01-31"),
            ),
            ({"deprecation": {"inferenceRetirementDate": "2999-01-31"}}, ()),
        ],
    )
    def test_retired_and_deprecated_models_are_marked(self, stated, marks):
        record = azure.build_record(version("1", **stated), DAY)[0]
        assert record.marks == marks
        assert (
            next(iter(in_memory([record]).records([in_memory([record]).row_number(record.id)]).values())).marks == marks
        )


def test_the_last_day_is_the_first_without_it():
    assert Lifecycle(retires_on=date(2020, 1, 1)).stage == "retired"
    assert Lifecycle(status="Preview").stage is None


def test_a_disabled_model_is_marked_and_not_open():
    row = {"id": "acme/Gone-1b", "gated": False, "disabled": True, "cardData": {"license": "mit"}}
    record = hub_records.build_record(row, DAY)
    assert record.marks == ("disabled",)
    assert record.open is False
    assert hub_records.build_record(row | {"disabled": False}, DAY).marks == ()


def test_a_renamed_model_is_found_by_its_old_id_and_says_so(hub):
    new = hub.rows[0]["id"]
    hub.overrides = [("/api/models/acme/Earlier-Name", Response(b"", 307, {"Location": f"/api/models/{new}"}))] * 2
    record = om.info("acme/Earlier-Name", live=True)
    assert record.id == new
    assert record.renamed_from == ("acme/Earlier-Name",)
    assert "renamed from acme/Earlier-Name" in record.marks


def test_an_index_finds_a_renamed_model_by_its_old_id():
    record = hub_records.build_record({"id": "acme/New-1b"}, DAY).model_copy(update={"renamed_from": ("acme/Old-1b",)})
    assert api.find_in_index(in_memory([record]), "ACME/old-1b").id == "acme/New-1b"


def test_what_the_hub_says_now_renames_what_the_index_has():
    old = hub_records.build_record({"id": "acme/Old-1b", "likes": 3}, date(2026, 1, 1))
    new = hub_records.build_record({"id": "acme/New-1b", "likes": 5}, DAY)
    merged = record_merging.merge(old, new.model_copy(update={"renamed_from": ("acme/Old-1b",)}))
    assert isinstance(merged, ModelRecord)
    assert (merged.id, merged.likes, merged.renamed_from) == ("acme/New-1b", 5, ("acme/Old-1b",))
