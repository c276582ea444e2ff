import asyncio
import json
from dataclasses import replace
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from made_up import evidence, page, whole

import openmodels as om
from openmodels import escaping
from openmodels.errors import InvalidRequest
from openmodels.openness.findings import Proof
from openmodels.openness.report import Report, profiles, schema

NASTY = page(
    "acme/Glow-7B",
    readme={
        "headings": ["<script>alert(1)</script>"],
        "links": [],
        "claims": [{"fact": "No dataset is named | <b>here</b>."}],
    },
    cardData={"license": "other", "license_name": "<img src=x>"},
)
SAMPLES = {
    "open": whole(),
    "bare": evidence({"id": "acme/Glow-7B", "unknown": ["gated", "readme"]}),
    "nasty": evidence(NASTY),
}


@pytest.fixture(params=SAMPLES)
def report(request):
    return Report.of(SAMPLES[request.param])


@pytest.mark.parametrize("profile", profiles())
def test_json_follows_its_schema(report, profile):
    jsonschema.Draft202012Validator.check_schema(schema())
    jsonschema.validate(json.loads(report.using(profile).to_json()), schema())


def test_the_bill_of_materials_is_valid_cyclonedx(report):
    errors = JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(report.to_bom()))
    assert errors is None
    assert report.to_bom() == report.to_bom()


def test_cards_cannot_write_into_pages(report):
    for text in (report._repr_html_(), report.to_markdown()):
        assert "<script" not in text
        assert "<img" not in text
        assert "<b>" not in text


def test_a_printed_report_moves_no_cursor():
    name = "acme/glow\x1b[2J\x9b31m\u202etxt"
    report = Report.of(whole(id=name, cardData={"license": "mit", "datasets": [name]}))
    assert str(report) == escaping.escape_terminal(str(report))
    assert "acme/glow" in str(report)


def test_a_badge_is_svg(report):
    root = ET.fromstring(report.badge())
    assert root.tag.endswith("svg")
    assert report.grade in "".join(root.itertext())


def test_a_report_reads_like_a_mapping():
    report = Report.of(whole())
    assert report["training_data"].verdict == "open"
    assert [one.criterion for one in report] == list(report.findings)
    assert report.summary.startswith("acme/Glow-7B: open (default; 6 of 6 criteria, 0 unknown). Open: training data")
    with pytest.raises(InvalidRequest, match="Criteria: training_data"):
        report["beauty"]


@pytest.mark.parametrize(
    ("fields", "grades"),
    [
        ({}, {"default": "open", "osaid-1.0": "conforms", "mof-1.0": "Unclassified", "eu-gpai": "yes"}),
        (
            {"cardData": {"license": "bigscience-bloom-rail-1.0", "datasets": ["acme/glow-corpus"]}},
            {"default": "restricted weights", "osaid-1.0": "would conform but for its license", "eu-gpai": "uncertain"},
        ),
        (
            {"cardData": {"license": "llama2"}, "gated": "manual"},
            {"default": "restricted weights", "osaid-1.0": "does not conform", "eu-gpai": "no"},
        ),
        ({"private": True}, {"default": "closed", "osaid-1.0": "does not conform"}),
        ({"unknown": ["gated"]}, {"default": "undetermined", "osaid-1.0": "uncertain", "eu-gpai": "uncertain"}),
    ],
)
def test_grades(fields, grades):
    report = Report.of(whole(**fields))
    assert {name: report.using(name).grade for name in grades} == grades


def test_demands_say_what_is_missing():
    report = Report.of(whole(unknown=["gated"]))
    assert report.passed is None
    assert report.unmet == ("weights",)
    assert Report.of(whole()).passed is True


def test_an_unknown_profile_is_refused():
    with pytest.raises(InvalidRequest, match="default, osaid"):
        om.openness("acme/Glow-7B", profile="mine")
    with pytest.raises(InvalidRequest):
        Report.of(whole()).using("mine")


@pytest.mark.parametrize(("short", "name"), [("OSAID", "osaid-1.0"), ("mof", "mof-1.0"), ("eu", "eu-gpai")])
def test_a_profile_is_found_without_its_version(short, name):
    assert Report.of(whole()).using(short).profile == name


def test_an_address_stands_once_and_the_rest_is_counted():
    report = Report.of(whole())
    proofs = tuple(Proof(f"https://example.org/{number}", f"look {number}") for number in (1, 2, 1, 3, 4, 5))
    finding = replace(report["weights"], evidence=proofs)
    report = replace(report, findings=report.findings | {"weights": finding})
    text = report.to_text().partition("weights: open")[2]
    assert text.count("https://example.org/1") == 1
    assert "and 3 more" in text
    row = next(line for line in report.to_markdown().splitlines() if line.startswith("| weights | ✔ open"))
    assert row.count("example.org/1") == 1
    assert "and 2 more" in row
    assert "and 3 more" in report._repr_html_()


def test_compare_and_the_async_twin(tmp_path):
    Report.of(whole()).save(tmp_path)
    found = om.compare_openness(["acme/Glow-7B", "acme/Absent"], evidence=tmp_path)
    assert [one.id for one in found] == ["acme/Glow-7B"]
    assert list(found.failures) == ["acme/Absent"]
    assert found["acme/glow-7b"].grade == "open"
    assert "| acme/Glow-7B | ✔ | ? | ✔ |" in found.to_markdown()
    assert "acme/Glow-7B" in found._repr_html_()
    assert repr(found) == "OpennessComparison(['acme/Glow-7B'], failures=['acme/Absent'])"
    assert repr(found["acme/Glow-7B"]) == "Report('acme/Glow-7B', 'open', profile='default')"
    report = asyncio.run(om.aopenness("acme/Glow-7B", evidence=tmp_path))
    assert report == found["acme/Glow-7B"]


def test_a_record_is_taken_by_its_id(tmp_path):
    Report.of(whole()).save(tmp_path)
    record = type("Record", (), {"id": "acme/Glow-7B"})()
    assert om.openness(record, evidence=tmp_path).id == "acme/Glow-7B"
    with pytest.raises(InvalidRequest, match="not int"):
        om.openness(7)
