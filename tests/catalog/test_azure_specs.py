"""The Azure catalog's own model specs, where they are at hand."""

from __future__ import annotations

from datetime import date

import pytest
import yaml

from openmodels.catalog.sources import azure

DAY = date(2026, 11, 1)


def row(spec):
    stated = spec.get("system_metadata", {})
    return {
        **stated,
        **stated.get("tasks", {}),
        "name": spec["name"],
        "registryName": "azureml",
        "version": spec["version"],
    }


@pytest.fixture(scope="module")
def specs(shared):
    folder = shared("azure/azureml-assets")
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.spec.yaml"))]


def test_every_spec_is_a_record(specs):
    for spec in specs:
        record, _ = azure.build_record(row(spec), DAY)
        assert record.ids.azure == f"azureml/{spec['name']}"
        assert record.license is not None
        assert record.task is not None


def test_stated_hub_ids_are_joined_and_glued_ones_are_not(specs):
    for spec in specs:
        stated = spec.get("system_metadata", {}).get("huggingFaceModelId")
        record, remark = azure.build_record(row(spec), DAY)
        if stated and stated.count("/") == 1:
            assert (record.ids.hub, remark) == (stated, None)
        elif stated and "/" in stated:
            assert record.ids.hub is None
            assert remark


def test_the_lessons_llama_is_retired(specs):
    (llama,) = [spec for spec in specs if spec["name"] == "Llama-2-7b"]
    record, _ = azure.build_record(row(llama), DAY)
    assert record.lifecycle.retires_on == date(2025, 6, 30)
    assert record.license.license_class == "unknown"
    assert record.fine_tuning_tasks == ("text-classification", "text-generation")
