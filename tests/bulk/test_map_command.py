"""`openmodels map`."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from openmodels.cli import cli


def run(*arguments):
    return CliRunner().invoke(cli, ["map", *map(str, arguments)], prog_name="openmodels")


def answers(path):
    lines = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda line: line["index"])
    return [line["reply"]["text"] if "reply" in line else line["error"]["type"] for line in lines]


def test_lines_of_text(tmp_path):
    source, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("one\n\n  zwei ü \r\nthree four", encoding="utf-8")
    result = run(source, "-m", "echo:", "-o", out, "--max-tokens", "1")
    assert (result.exit_code, result.stdout) == (0, "")
    assert answers(out) == ["one", "zwei", "three"]
    assert result.stderr.startswith("3 answered, 0 failed in ")
    again = run(source, "-m", "echo:", "-o", out, "--max-tokens", "1", "--json")
    told = json.loads(again.stdout)
    assert (told["resumed"], told["succeeded"], told["reference"]) == (3, 0, "echo:")


def test_lines_of_json(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    said = ["text", [{"role": "user", "content": "list"}], {"messages": [{"role": "user", "content": "messages"}]}]
    said += [{"prompt": "prompt"}, {"role": "user", "content": "message"}, {"nothing": 1}, 5]
    source.write_text("\n".join(map(json.dumps, said)))
    result = run(source, "-m", "echo:", "-o", out)
    assert result.exit_code == 1
    assert answers(out) == ["text", "list", "messages", "prompt", "message", "InvalidRequest", "InvalidRequest"]
    assert "item 5: InvalidRequest: " in result.stderr
    assert "5 answered, 2 failed" in result.stderr


@pytest.mark.parametrize(("name", "told"), [("in.jsonl", "line 2: not JSON"), ("in.txt", "line 2: not UTF-8 text")])
def test_a_broken_line_is_told_after_what_came_before(tmp_path, name, told):
    source, out = tmp_path / name, tmp_path / "out.jsonl"
    source.write_bytes(b'"one"\n{\xff}\n')
    result = run(source, "-m", "echo:", "-o", out)
    assert result.exit_code == 2
    assert told in result.stderr
    assert answers(out)[0].strip('"') == "one"


def test_instruction_and_completion(tmp_path):
    source, out = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("x\n")
    script = 'script=["said"]'
    assert run(source, "-m", "echo:", "-o", out, "--system", "Be brief.", "--option", script).exit_code == 0
    assert json.loads(out.read_text())["reply"]["usage"]["input_tokens"] == 3
    assert run(source, "-m", "echo:", "-o", tmp_path / "c.jsonl", "--complete", "-c", "1").exit_code == 0


def test_what_is_missing_is_wrong_usage(tmp_path):
    assert run(tmp_path / "none", "-o", "x").exit_code == 2
    (tmp_path / "in.txt").write_text("x")
    assert run(tmp_path / "in.txt").exit_code == 2
    result = run(tmp_path / "in.txt", "-m", "nope:", "-o", tmp_path / "x")
    assert "There is no backend 'nope'" in result.stderr


def test_lines_that_hold_nothing_keep_their_places(tmp_path):
    source, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('"first"\n\n""\nnull\n[]\n0\n{"prompt": null}\n{"messages": []}\n"last"\n')
    result = run(source, "-m", "echo:", "-o", out)
    assert result.exit_code == 1
    kinds = answers(out)
    assert (kinds[0], kinds[-1], len(kinds)) == ("first", "last", 8)
    assert set(kinds[2:-1]) == {"InvalidRequest"}


def test_deep_json_is_told_with_its_line(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('"first"\n' + "[" * 150_000 + "\n")
    result = run(source, "-m", "echo:", "-o", tmp_path / "out.jsonl")
    assert result.exit_code == 2
    assert "line 2: its JSON is nested too deeply" in result.stderr


def test_a_system_message_for_texts_to_complete_is_wrong_usage(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("text")
    result = run(source, "-m", "echo:", "-o", tmp_path / "out.jsonl", "--complete", "--system", "Be brief.")
    assert result.exit_code == 2
    assert "--system is for chats" in result.stderr
