import json

import pytest
from click.testing import CliRunner
from made_up import whole

from openmodels.cli import cli
from openmodels.openness.report import Report


@pytest.fixture
def run(tmp_path):
    Report.of(whole()).save(tmp_path)
    Report.of(whole(gated="manual", cardData={"license": "llama2"}, id="acme/Shut-7B")).save(tmp_path)

    def run(*arguments, folder=tmp_path):
        return CliRunner().invoke(cli, ["openness", *arguments, "--evidence", str(folder)])

    return run


def test_shows_verdicts_reasons_and_links(run):
    result = run("acme/Glow-7B")
    assert result.exit_code == 0
    assert result.stdout.startswith("acme/Glow-7B: open [default]")
    assert "https://github.com/acme/glow/blob/" in result.stdout


def test_json_markdown_bill_and_badge(run):
    assert json.loads(run("acme/Glow-7B", "--json").stdout)["grade"] == "open"
    assert len(json.loads(run("acme/Glow-7B", "acme/Shut-7B", "--json").stdout)) == 2
    assert run("acme/Glow-7B", "--markdown").stdout.startswith("## acme/Glow-7B: open")
    assert json.loads(run("acme/Glow-7B", "--bom").stdout)["specVersion"] == "1.6"
    assert run("acme/Glow-7B", "--badge").stdout.startswith("<svg")


@pytest.mark.parametrize(
    ("model", "demand", "code"),
    [
        ("acme/Glow-7B", "all", 0),
        ("acme/Glow-7B", "license", 0),
        ("acme/Shut-7B", "all", 6),
        ("acme/Shut-7B", "license", 6),
        ("acme/Shut-7B", "weights", 6),
        ("acme/Shut-7B", "weights=partial", 0),
        ("acme/Glow-7B", "finetuning-data=partial", 6),
        ("acme/Glow-7B", "beauty", 2),
        ("acme/Absent", "license", 3),
    ],
)
def test_exit_codes_for_ci(run, model, demand, code):
    result = run(model, "--fail-under", demand)
    assert result.exit_code == code, result.output
    assert ("not met" in result.stderr) == (code == 6)


def test_several_models_are_set_side_by_side(run):
    result = run("acme/Glow-7B", "acme/Shut-7B", "acme/Absent", "--profile", "osaid")
    head, *rows = result.stdout.splitlines()[-3:]
    assert head.split() == ["model", "grade", "osaid-1.0"]
    assert [row.split()[0] for row in rows] == ["acme/Glow-7B", "acme/Shut-7B"]
    assert "error: acme/Absent: " in result.stderr
    assert "hint: " in result.stderr
    written = run("acme/Glow-7B", "acme/Shut-7B", "--markdown").stdout
    assert written.startswith("| model | training data |")
    assert "## acme/Shut-7B" in written


def test_profiles(run):
    assert "[eu-gpai]" in run("acme/Glow-7B", "--profile", "eu-gpai").stdout
    assert run("acme/Glow-7B", "--profile", "mine").exit_code == 2


def test_one_failure_among_several_is_told(run):
    result = run("acme/Glow-7B", "acme/Absent")
    assert result.exit_code == 1
    assert "acme/Glow-7B: open" in result.stdout
    assert "acme/Absent" in result.stderr
