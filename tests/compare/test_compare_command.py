"""`openmodels compare`, and `openmodels chat` with several models."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import openmodels as om
from openmodels.backends import registry
from openmodels.backends.echo import EchoBackend
from openmodels.cli import cli, compare as compare_module
from pseudo_terminal import run_on_terminal, without_escapes


def run(*arguments, stdin=None):
    return CliRunner().invoke(cli, list(arguments), input=stdin, prog_name="openmodels")


class Loud(EchoBackend):
    """Answers in capitals and knows an option of its own."""

    def __init__(self, rest="", *, mark="!"):
        super().__init__(rest)
        self.mark = mark

    def run(self, request):
        if request.messages[-1].text == "fail":
            raise om.ContentFiltered("No.")
        yield om.Delta(text=request.messages[-1].text.upper() + self.mark, finish_reason="stop")


@pytest.fixture(autouse=True)
def loud(monkeypatch):
    monkeypatch.setitem(registry._registered, "loud", Loud)


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.jsonl"
    lines = [{"prompt": f"word {n}", "reference": "WORD" if n % 2 else f"word {n}"} for n in range(8)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return str(path)


def test_table_sentences_and_files(prompts, tmp_path):
    report, rows, cache = (tmp_path / name for name in ("report.html", "rows.jsonl", "cache.jsonl"))
    arguments = ("compare", "-m", "echo:", "-m", "loud:", "-o", "mark=?", prompts, "--save", str(cache))
    metrics = ("--metric", "exact", "--metric", "regex:^WORD")
    result = run(*arguments, *metrics, "--html", str(report), "--rows", str(rows))
    assert result.exit_code == 0, result.output
    assert "exact: echo answered 4 of 8, loud 0: not told apart; about" in result.stdout
    assert "regex: echo answered 0 of 8, loud 8: loud is better than echo." in result.stdout
    assert f"The report is {report}." in result.stderr
    assert json.loads(rows.read_text(encoding="utf-8").splitlines()[8])["text"] == "WORD 0?"
    assert "Comparison of models" in report.read_text(encoding="utf-8")
    assert "echo: 0 calls (8 more are kept from before)" in run(*arguments, "--dry-run").stdout


def test_a_report_in_no_folder_is_refused_before_the_calls(prompts, tmp_path):
    for option in ("--html", "--rows"):
        result = run("compare", "-m", "echo:", prompts, option, str(tmp_path / "none" / "file"))
        assert result.exit_code == 2
        assert "there is no folder" in result.stderr
        assert result.stdout == ""


def test_json_and_a_failure(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("prompt,reference\nfail,FAIL\nx,X\n")
    result = run("compare", "-m", "loud:", "-m", "echo:", str(path), "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["rows"][0]["error"] == "ContentFiltered: No."
    assert answer["pairs"][0]["verdict"] == "not told apart"
    assert answer["models"] == ["loud", "echo"]


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--price", "echo:"], "is not REF=IN,OUT"),
        (["--price", "echo:=a,b"], "has no price"),
        (["--metric", "nearly"], "'nearly' is unknown"),
        (["-o", "colour=red"], "none of the models has this option"),
    ],
)
def test_wrong_usage(prompts, arguments, part):
    result = run("compare", "-m", "echo:", prompts, *arguments)
    assert result.exit_code == 2
    assert part in result.output


def test_ctrl_c_writes_what_is_there(prompts, tmp_path, monkeypatch):
    whole = om.compare(["echo:"], prompts, progress=False)

    def interrupted(*_, **__):
        error = KeyboardInterrupt()
        error.comparison = whole
        raise error

    monkeypatch.setattr(compare_module, "compare_models", interrupted)
    report = tmp_path / "report.html"
    result = run("compare", "-m", "echo:", prompts, "--html", str(report), "--save", "cache.jsonl")
    assert result.exit_code == 130
    assert "Stopped: 8 of 8 answers are there; cache.jsonl keeps them" in result.stderr
    assert report.exists()


class TestChatSideBySide:
    def test_answers_one_after_the_other_where_stdout_is_a_file(self):
        result = run("chat", "-m", "echo:", "-m", "loud:", "-o", "mark=?", "hello")
        assert result.exit_code == 0
        assert result.stdout == "== echo:\nhello\n\n== loud:\nHELLO?\n\n"

    def test_a_failure_beside_an_answer(self):
        result = run("chat", "-m", "loud:", "-m", "echo:", "fail")
        assert result.exit_code == 1
        assert result.stdout == "== loud:\n\n\n== echo:\nfail\n\n"
        assert "error: loud: No." in result.stderr.replace("loud::", "loud:")

    def test_json(self):
        result = run("chat", "-m", "echo:a", "-m", "loud:", "--json", "fail")
        first, second = json.loads(result.stdout)["replies"]
        assert (first["reference"], first["text"]) == ("echo:a", "fail")
        assert second["error"]["type"] == "ContentFiltered"

    def test_columns_on_a_terminal(self):
        code, text = run_on_terminal("chat", "-m", "echo:left", "-m", "echo:right", "side by side", width=80)
        lines = without_escapes(text).splitlines()
        assert code == 0
        assert any(line.split() == ["echo:left", "echo:right"] for line in lines)
        assert any(line.split() == ["side", "by", "side"] * 2 for line in lines)
