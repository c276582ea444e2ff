"""Catalog, search, index, report, lineage and bill of materials call a model's license the same."""

from __future__ import annotations

from datetime import date
from itertools import product

import pytest
from made_up import evidence

import openmodels as om
from openmodels.catalog import query
from openmodels.catalog.family import Family
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.record import FieldConflict, Ids, License, ModelRecord, Provenance
from openmodels.catalog.record_merging import merge
from openmodels.catalog.search import execute
from openmodels.catalog.sources import hub_records
from openmodels.cli.catalog import _cell
from openmodels.licenses import find
from openmodels.openness.evidence_pages import DatasetEvidence
from openmodels.openness.report import Report

IDS = [
    "apache-2.0", "MIT", "gpl-3.0", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "llama3.1", "gemma",
    "openrail", "bigscience-bloom-rail-1.0", "other", "unknown", "acme-terms-1.0", "etalab-2.0", "cc", "wtfpl", None,
    "mit or apache-2.0", "apache-2.0 AND cc-by-nc-4.0", "(mit)", "Apache-2.0 WITH LLVM-exception",
    ["mit"], ["mit", "apache-2.0"], ["apache-2.0", "cc-by-nc-4.0"], ["cc-by-nc-4.0", "mit"], ["mit", "other"],
    ["other", "mit"], ["mit", "acme-terms-1.0"], ["mit", "mit or gpl-2.0"], ["cc-by-nc-4.0 or mit", "gpl-3.0"], [],
]  # fmt: skip
NAMES = [None, "mit", "Apache License 2.0", "acme-research-license", "cc-by-nc-4.0", "llama3.2", "other", "none", ""]
MADE_UP = [
    {"license": license_id, "license_name": name} for license_id, name in product(IDS, NAMES) if license_id or name
]
DAY = date(2026, 11, 1)


def row(number, stated, *, tagged=False):
    """A row of the Hub: the license in the front matter, or in the tags alone."""
    card = {key: value for key, value in stated.items() if value is not None}
    tags = []
    if tagged:
        listed = card.pop("license", None) or []
        tags = [f"license:{entry}" for entry in ([listed] if isinstance(listed, str) else listed)]
    files = [{"rfilename": name} for name in ("README.md", "model.safetensors")]
    empty = {"readme": {"headings": [], "links": [], "claims": []}, "license_texts": {}}
    return {"id": f"acme/m-{number}", "gated": False, "tags": tags, "cardData": card, "siblings": files, **empty}


ROWS = [row(number, stated, tagged=number % 2 == 1) for number, stated in enumerate(MADE_UP)]


def in_bom(report):
    (entry,) = report.to_bom()["metadata"]["component"]["licenses"]
    license_ = entry.get("license", {})
    return entry.get("expression") or license_.get("id") or license_.get("name")


def test_every_reader_calls_it_the_same():
    records = [hub_records.build_record(made, DAY) for made in ROWS]
    index = in_memory(records)
    for made, record in zip(ROWS, records, strict=True):
        label, report = record.license.label if record.license else None, Report.of(evidence(made))
        listed = index.get(record.id)
        assert listed.license == record.license, made
        (stated,) = report.licenses or (None,)
        assert (stated.license.label if stated else None) == label, made
        if label is None:
            continue
        assert record.license.terms == stated.license, made
        assert in_bom(report).lower() == label.lower(), made
        family = Family(record.id)
        family.models[record.id] = listed
        assert family.license_of(record.id) == label, made
        child = row("child", {"license": "mit", "base_model": made["id"]}) | {"id": "other/child"}
        (base,) = Report.of(evidence(child, made))._context.bases
        assert base.license == stated.license, made


def test_every_reader_calls_the_same_models_open():
    records = [hub_records.build_record(made, DAY) for made in ROWS]
    index = in_memory(records)
    found = {
        verdict: {
            record.id for _, record in execute.search(index, query.build_query("", open=verdict, limit=1000)).hits
        }
        for verdict in (True, False)
    }
    classes = {
        name: {r.id for _, r in execute.search(index, query.build_query("", license_class=name, limit=1000)).hits}
        for name in ("open", "restricted", "non-commercial")
    }
    for made, record in zip(ROWS, records, strict=True):
        finding = Report.of(evidence(made))["license"]
        is_open = None if finding.verdict == "unknown" or record.license is None else finding.verdict == "open"
        assert record.open is is_open, (made, finding)
        assert (record.id in found[True], record.id in found[False]) == (is_open is True, is_open is False), made
        kind = record.license.license_class if record.license else "unknown"
        assert [name for name, ids in classes.items() if record.id in ids] == [kind] * (kind != "unknown"), made
        if is_open:
            assert kind == "open", made


@pytest.mark.parametrize(
    ("stated", "license_id", "is_found"),
    [
        ({"license": "other", "license_name": "nvidia-open-model-license"}, "nvidia-open-model-license", True),
        ({"license": "mit or gpl-3.0"}, "gpl-3.0", True),
        ({"license": ["mit", "mpl-2.0 or lgpl-3.0"]}, "mpl-2.0", True),
        ({"license": "other"}, "mit", False),
    ],
)
def test_a_search_finds_each_license_a_model_states(stated, license_id, is_found):
    index = in_memory([hub_records.build_record(row(1, stated), DAY)])
    assert bool(execute.search(index, query.build_query("", license=license_id)).hits) is is_found


def test_an_expression_is_written_in_the_ids_of_spdx():
    assert find("mit or (GPL-3.0 and apache-2)").spdx == "MIT OR (GPL-3.0-only AND Apache-2.0)"
    assert find("GPL-2.0 with classpath-exception-2.0").spdx == "GPL-2.0-only WITH Classpath-exception-2.0"
    assert find("mit and llama2").spdx is None
    assert find("mit and llama2").id == "MIT AND llama2"


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ({"license": "apache-2.0", "license_name": "acme-noncommercial-license"}, "non-commercial"),
        ({"license": "mit", "license_name": "terms-of-our-own"}, "unknown"),
        ({"license": "mit", "license_name": "The MIT License"}, "open"),
        ({"license": "gemma", "license_name": "mit"}, "restricted"),
    ],
)
def test_a_name_that_contradicts_the_id_counts(stated, kind):
    assert hub_records.build_record(row(1, stated), DAY).license.license_class == kind


def test_a_license_that_only_another_catalog_states_is_not_that_of_the_open_weights():
    record = hub_records.build_record(row(1, {"license": "mit"}), DAY)
    assert record.open is True
    elsewhere = record.provenance | {"license": Provenance(source="azure", as_of=DAY)}
    assert record.model_copy(update={"provenance": elsewhere}).open is None
    disputed = FieldConflict(field="license", kept="MIT", kept_source="hub", other="x", other_source="azure")
    assert record.model_copy(update={"conflicts": (disputed,)}).open is None


@pytest.mark.parametrize("stated", [{}, {"license": "other"}])
def test_a_license_that_only_another_catalog_states_is_shown_as_a_conflict(stated):
    other = ModelRecord.sourced("azure", DAY, {"ids": Ids(hub="acme/m-1", azure="reg/m"), "license": License(id="MIT")})
    listed = hub_records.build_record(row(1, stated), DAY)
    record = merge(listed, other)
    assert record.license == listed.license
    assert [(conflict.field, conflict.other) for conflict in record.conflicts] == [("license", "MIT")]
    assert record.open is None
    # What the catalog alone lists has the license that it states.
    assert merge(other, other).license.id == "MIT"


def test_show_calls_it_as_tables_do():
    license_ = License(id="other", name="acme-sphere-license")
    assert _cell("license", license_).split()[0] == license_.label == "acme-sphere-license"


def test_a_base_has_the_license_of_its_files_and_card_too():
    base = row(1, {"license": "other"}) | {
        "id": "lab/Base-7b",
        "siblings": [{"rfilename": "LICENSE"}],
        "license_texts": {"LICENSE": "The weights may be used for non-commercial purposes only. No commercial use."},
    }
    child = row(2, {"license": "mit", "base_model": "lab/Base-7b"})
    report = Report.of(evidence(child, base))
    assert report["license"].verdict is om.Verdict.CLOSED
    assert [conflict.kind for conflict in report.conflicts] == ["base-license"]


def test_the_name_beside_other_does_not_make_a_data_set_open():
    made = {"id": "acme/set", "exists": True, "license": "other", "license_name": "mit"}
    assert DatasetEvidence(made).license == "other"
    assert DatasetEvidence(made | {"license_name": "acme-terms"}).license == "acme-terms"
