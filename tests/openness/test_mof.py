import json
import re

import pytest
import yaml

from openmodels.openness import mof
from openmodels.openness.mof import COMPONENTS, classify, read_release

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


def reference_cases(folder):
    # The tool's own file has trailing commas.
    text = re.sub(r",(\s*[}\]])", r"\1", (folder / "expected_results.json").read_text("utf-8"))
    return json.loads(text)["models"]


def test_all_reference_cases_of_the_model_openness_tool(shared):
    cases = reference_cases(shared / "mof-reference" / "cases")
    assert len(cases) == 27
    for one in cases:
        found, expected = classify(read_release(one)), one["classification"]
        assert (found.level, found.label) == (expected["class"], expected["label"]), one["release"]["name"]
        for level, percent in expected["progress"].items():
            assert found.progress[int(level)] == pytest.approx(percent), one["release"]["name"]


def test_the_yaml_files_of_the_cases_give_the_same_classes(shared):
    paths = sorted((shared / "mof-reference" / "cases").glob("*.yml"))
    assert len(paths) == 27
    for path in paths:
        full = [level for level in (1, 2, 3) if f"C{level}_100%" in path.name]
        assert classify(read_release(yaml.safe_load(path.read_text("utf-8")))).level == (min(full) if full else 0)
