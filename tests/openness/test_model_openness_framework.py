import json
import re

import pytest
import yaml
from made_up import dataset, evidence, page, repository

from openmodels.openness import model_openness_framework as mof
from openmodels.openness.model_openness_framework import COMPONENTS, classify
from openmodels.openness.report import Report

CLASS_3 = {one.name: "Apache-2.0" for one in COMPONENTS if one.required and one.level == 3}
CLASS_2 = CLASS_3 | {one.name: "Apache-2.0" for one in COMPONENTS if one.required and one.level == 2}
CLASS_1 = CLASS_2 | {one.name: "Apache-2.0" for one in COMPONENTS if one.required}


def test_there_are_17_components():
    assert len(COMPONENTS) == 17
    assert [sum(one.required and one.level == level for one in COMPONENTS) for level in (3, 2, 1)] == [6, 4, 4]


@pytest.mark.parametrize(("release", "level"), [({}, 0), (CLASS_3, 3), (CLASS_2, 2), (CLASS_1, 1)])
def test_classes(release, level):
    assert classify(release).level == level


@pytest.mark.parametrize("component", CLASS_3)
def test_one_missing_or_closed_component_bars_every_class(component):
    assert classify({name: value for name, value in CLASS_1.items() if name != component}).level == (
        1 if component == mof.REPORT else 0
    )
    closed = classify(CLASS_1 | {component: "CC-BY-NC-4.0"})
    assert closed.level == (1 if component == mof.REPORT else 0)
    assert component in closed.invalid


def test_a_license_made_for_another_type_passes_with_a_warning():
    found = classify({"Model architecture": "CC-BY-4.0"})
    assert found.valid == ("Model architecture",)
    assert "Model architecture" in found.warnings
    assert not classify({"Model architecture": "MIT"}).warnings


def test_unlicensed_is_invalid():
    assert classify({"Model card": None}).invalid == {"Model card": "no license"}


def read_release(content):
    """Return component -> license of a release in the framework's own file format."""
    release = content.get("release", content)
    by_type = release.get("license") or {}
    types = {component.name: component.type for component in COMPONENTS}
    licenses = {}
    for entry in release.get("components") or []:
        stated = entry.get("license")
        for key in (types.get(entry.get("name"), ""), "distribution"):
            stated = stated or (by_type.get(key) or {}).get("name")
        licenses[entry.get("name")] = str(stated) if stated else None
    return licenses


def reference_cases(folder):
    # The tool's own file has trailing commas.
    text = re.sub(r",(\s*[}\]])", r"\1", (folder / "expected_results.json").read_text("utf-8"))
    return json.loads(text)["models"]


def test_all_reference_cases_of_the_model_openness_tool(shared):
    cases = reference_cases(shared("mof-reference/cases"))
    assert len(cases) == 27
    for one in cases:
        found, expected = classify(read_release(one)), one["classification"]
        assert (found.level, found.label) == (expected["class"], expected["label"]), one["release"]["name"]
        for level, percent in expected["progress"].items():
            assert found.progress[int(level)] == pytest.approx(percent), one["release"]["name"]


def test_the_yaml_files_of_the_cases_give_the_same_classes(shared):
    paths = sorted((shared("mof-reference/cases")).glob("*.yml"))
    assert len(paths) == 27
    for path in paths:
        full = [level for level in (1, 2, 3) if f"C{level}_100%" in path.name]
        assert classify(read_release(yaml.safe_load(path.read_text("utf-8")))).level == (min(full) if full else 0)


FULL = [
    *("src/modeling_glow.py", "scripts/generate.py", "data_prep/dedup.py", "configs/glow-7b.yaml", "scripts/train.py"),
    *("evaluation/run_eval.py", "evaluation/tasks.py"),
]


def judged(data=None, code=None, **fields):
    """Return the framework's grade of a made-up model and its requirements by name."""
    found = evidence(
        page(**fields), datasets=[dataset(**(data or {}))], repositories=[repository(tree=FULL, **(code or {}))]
    )
    report = Report.of(found, profile="mof-1.0")
    return report.grade, {one.name: one for one in report.requirements}


def test_a_paper_elsewhere_has_a_license_nobody_saw():
    grade, parts = judged()
    assert grade == "undetermined, at best Class I - Open Science Model"
    assert {name for name, part in parts.items() if part.met is None} == {
        "Technical report", "Research paper", "Evaluation data",
        "Supporting libraries and tools", "Sample model outputs", "Model metadata",
    }  # fmt: skip
    assert {part.met for part in parts.values()} == {True, None}
    assert "arxiv.org" in parts["Technical report"].reason
    assert "license was not seen" in parts["Technical report"].reason


def test_the_research_paper_is_the_one_that_is_the_models_own():
    links = [{"text": "technical report", "url": "https://arxiv.org/abs/2402.77777", "section": "Glow 7B"}]
    method = "arxiv:1911.02150"
    _, parts = judged(readme=page()["readme"] | {"links": links}, tags=[method])
    assert "arXiv 2402.77777" in parts["Research paper"].reason


def test_a_report_in_the_models_repository_is_under_its_license():
    links = [
        {"text": "code", "url": "https://github.com/acme/glow", "section": "Glow 7B"},
        {"text": "technical report", "url": "https://github.com/acme/glow/blob/main/report.pdf", "section": "Glow 7B"},
    ]
    grade, parts = judged(readme=page()["readme"] | {"links": links})
    assert parts["Technical report"].met
    assert grade == "Class III - Open Model, at best Class I - Open Science Model"


@pytest.mark.parametrize(
    ("fields", "lost"),
    [
        ({"cardData": {"license": "llama2", "datasets": ["acme/glow-corpus"]}}, "Model parameters (Final)"),
        ({"code": {"license": None}}, "Model architecture"),
        ({"data": {"license": "cc-by-nc-4.0"}}, "Data card"),
    ],
)
def test_what_is_known_to_be_closed_bars_every_class(fields, lost):
    grade, parts = judged(**fields)
    assert grade == "Unclassified"
    assert parts[lost].met is False
    assert "not open" in parts[lost].reason


@pytest.mark.parametrize(
    ("fields", "doubtful"),
    [
        ({"cardData": {"license": "other", "datasets": ["acme/glow-corpus"]}}, "Model parameters (Final)"),
        ({"data": {"license": None}}, "Datasets"),
        ({"code": {"license": None, "unknown": ["license"]}}, "Training code"),
    ],
)
def test_a_license_that_was_not_seen_is_no_missing_one(fields, doubtful):
    grade, parts = judged(**fields)
    assert grade.startswith("undetermined, at best Class")
    assert parts[doubtful].met is None


def test_the_code_of_a_library_is_under_the_librarys_license():
    found = evidence(page(library_name="transformers"), datasets=[dataset()])
    report = Report.of(found, profile="mof-1.0")
    parts = {one.name: one for one in report.requirements}
    assert parts["Model architecture"].met
    assert parts["Inference code"].met
    foreign = page(library_name="transformers", tags=["custom_code", "safetensors"])
    parts = {one.name: one for one in Report.of(evidence(foreign), profile="mof-1.0").requirements}
    assert parts["Model architecture"].met is None
