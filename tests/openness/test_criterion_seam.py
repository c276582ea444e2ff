"""A criterion is one decorated function: a report, the comparison and the command show it."""

import sys
import textwrap

import pytest
from click.testing import CliRunner
from made_up import whole

import openmodels as om
from openmodels.cli import cli
from openmodels.errors import InvalidRequest
from openmodels.openness import criteria
from openmodels.openness.report import Report

RULE = """
from openmodels.openness.criteria import criterion
from openmodels.openness.findings import Judgement, Verdict

@criterion("tokenizer", "a file of the tokenizer")
def tokenizer(context):
    names = [name for name in context.model.files if name.startswith("tokenizer")]
    if not names:
        return Judgement(Verdict.CLOSED, "It holds none.", "tokenizer.none", 0.9, (context.model.proof("none"),))
    proofs = (context.model.file_proof(names[0]),)
    return Judgement(Verdict.OPEN, f"It holds {names[0]}.", "tokenizer.file", 0.9, proofs)
"""


@pytest.fixture
def toy_criterion(tmp_path, monkeypatch):
    package = tmp_path / "site" / "toy_criterion"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(textwrap.dedent(RULE))
    monkeypatch.syspath_prepend(str(package.parent))
    built_in = {rule.name: rule for rule in criteria.registered_rules()}
    monkeypatch.setattr(criteria, "_RULES", built_in)
    __import__("toy_criterion")
    yield
    del sys.modules["toy_criterion"]


@pytest.mark.usefixtures("toy_criterion")
def test_a_decorated_function_is_a_criterion_everywhere(tmp_path):
    evidence = whole(siblings=[{"rfilename": "model.safetensors"}, {"rfilename": "tokenizer.json"}])
    report = Report.of(evidence)
    assert report["tokenizer"].verdict == "open"
    assert list(report.findings)[-1] == "tokenizer"
    assert "| tokenizer | ✔ open | 0.9 | It holds tokenizer.json. |" in report.to_markdown()
    assert report.to_dict()["findings"]["tokenizer"]["rule"] == "tokenizer.file"
    assert {"name": "openmodels:openness:tokenizer", "value": "open"} in report.to_bom()["metadata"]["component"][
        "properties"
    ]
    folder = report.save(tmp_path / "evidence")
    assert "| tokenizer | grade |" in om.compare_openness([report.id], evidence=folder).to_markdown()
    demands = ["--evidence", str(folder), "--fail-under", "tokenizer"]
    assert CliRunner().invoke(cli, ["openness", report.id, *demands]).exit_code == 0


@pytest.mark.usefixtures("toy_criterion")
def test_a_criterion_has_one_rule():
    with pytest.raises(InvalidRequest, match="'tokenizer' has a rule already"):
        criteria.criterion("tokenizer", "another file")(lambda _: None)


def test_the_built_in_criteria_come_first():
    assert criteria.criterion_names()[0] == "training_data"
    with pytest.raises(InvalidRequest, match="Criteria: training_data"):
        criteria.find_criterion("tokenizer")
