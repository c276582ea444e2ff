"""The commands search, show, tree and catalog: stdout, stderr, JSON, exit codes."""

from __future__ import annotations

import json
import os
import sys

import pytest
from click.testing import CliRunner

from openmodels.catalog.index import update
from openmodels.cli import cli
from pseudo_terminal import run_on_terminal, without_escapes


def run(*arguments):
    return CliRunner().invoke(cli, list(arguments), prog_name="openmodels")


def told(*arguments):
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


class TestSearch:
    def test_json_is_the_list_of_records_and_stderr_says_how_the_query_was_read(self, hub):
        result = run("search", "japanese", "llama", "chat", "--license", "llama2", "--limit", "2", "--json")
        listed = json.loads(result.stdout)
        assert "read 'japanese' as language ja" in result.stderr
        assert listed[0]["ids"]["hub"] == "elyza/ELYZA-japanese-Llama-2-7b-instruct"
        assert len(listed) == 2

    def test_filters(self, hub):
        listed = told("search", "llama", "--parameters", "1B..8B", "--catalog", "hub", "--task", "text-generation")
        assert listed
        assert all(10**9 <= one["parameters"]["total"] <= 8 * 10**9 for one in listed)

    def test_a_table_and_hints_apart(self, hub):
        result = run("search", "mistral 7b")
        assert result.exit_code == 0
        assert result.stdout.splitlines()[0].split()[:2] == ["model", "task"]
        assert "mistralai/Mistral-7B-v0.1" in result.stdout
        assert result.stdout.splitlines()[0].split()[-1] == "variants"
        assert "hint: openmodels show" in result.stderr
        assert "hint" not in result.stdout

    @pytest.mark.parametrize(
        ("facts", "expected"),
        [
            ({"gated": "manual", "tags": ["license:llama3.1"]}, "no: gated, the stated license is not OSI-approved"),
            ({"gated": "auto", "tags": ["license:mit"]}, "no: gated"),
            ({"gated": False, "disabled": True, "tags": ["license:mit"]}, "no: disabled"),
            ({"gated": False, "tags": ["license:cc-by-nc-4.0"]}, "no: the stated license is not OSI-approved"),
            ({"gated": False, "tags": ["license:other"]}, "not known: the terms of the license"),
            ({"gated": False, "tags": ["license:mit"]}, "yes: no gate, and the stated license is OSI-approved"),
        ],
    )
    def test_show_says_which_fact_closes_a_model(self, hub, facts, expected):
        hub.rows.insert(0, {"id": "org/ledger-3b", **facts})
        result = run("show", "org/ledger-3b")
        hub.rows.pop(0)
        line = next(line for line in result.stdout.splitlines() if line.startswith("open"))
        assert line.split(maxsplit=1)[1].strip() == expected

    def test_exit_codes(self, hub, monkeypatch):
        assert run("search", "xyzzyqwertz").exit_code == 3
        assert run("search", "x", "--parameters", "many").exit_code == 2
        assert run("search", "x", "--limit", "0").exit_code == 2
        assert run("show", "no/such").exit_code == 3
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        assert run("search", "llama").exit_code == 5
        assert run("show", "no/such").exit_code == 5
        assert run("catalog", "update").exit_code == 5

    def test_offline_from_the_index(self, hub, monkeypatch):
        update.update(catalogs=["hub"])
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        result = run("search", "japanese llama chat", "--license", "llama2")
        assert "elyza/ELYZA-japanese-Llama-2-7b-instruct" in result.stdout
        assert "updated today" in result.stderr

    def test_a_hostile_name_writes_nothing_to_the_terminal(self, hub, gallery):
        hub.rows.insert(
            0, {"id": "org/ok-evil", "library_name": "\x1b]0;owned\x07", "tags": ["\x1b[2J", "license:\x1b[8mx"]}
        )
        for arguments in (
            ("search", "evil"),
            ("show", "org/ok-evil"),
            ("tree", "org/ok-evil"),
            ("search", "evil", "--json"),
        ):
            result = run(*arguments)
            assert result.exit_code == 0
            assert "\x1b" not in result.stdout + result.stderr
            assert "\x07" not in result.stdout
        hub.rows.pop(0)

    def test_markup_is_text(self, hub):
        hub.rows.insert(0, {"id": "org/evil", "pipeline_tag": "[red]x[/red]", "tags": []})
        assert "[red]x[/red]" in run("search", "evil").stdout
        hub.rows.pop(0)


class TestShowAndTree:
    def test_show(self, hub):
        result = run("show", "allenai/OLMo-7B")
        assert result.exit_code == 0
        assert "Apache-2.0" in result.stdout
        assert "6.89B" in result.stdout
        assert "hub 20" in result.stdout
        assert told("show", "allenai/OLMo-7B")["license"] == {"id": "Apache-2.0", "license_class": "open"}

    def test_tree(self, hub):
        result = run("tree", "mistralai/Mistral-7B-v0.1")
        assert result.exit_code == 0
        lines = result.stdout.splitlines()
        assert lines[0] == "mistralai/Mistral-7B-v0.1 * [Apache-2.0]"
        assert any(line[1:].startswith("─ HuggingFaceH4/zephyr-7b-beta [MIT] (finetune)") for line in lines)
        assert any("BioMistral" in line and "%" in line for line in lines)
        edges = told("tree", "mistralai/Mistral-7B-v0.1")["edges"]
        assert {"child", "parent", "relation", "confidence", "evidence"} == set(edges[0])

    def test_the_three_commands_on_the_real_metadata(self, snapshot_hub, monkeypatch):
        for _ in ("live", "offline"):
            assert (
                "elyza/ELYZA-japanese-Llama-2-7b" in run("search", "japanese llama chat", "--license", "llama2").stdout
            )
            tree = run("tree", "meta-llama/Llama-2-7b-hf").stdout
            assert "TencentARC/LLaMA-Pro-8B" in tree
            assert "elyza/ELYZA-japanese-Llama-2-7b" in tree
            assert "allenai/dolma" in run("show", "allenai/OLMo-7B").stdout
            if not os.environ.get("OPENMODELS_OFFLINE"):
                update.update(catalogs=["hub"])
                monkeypatch.setenv("OPENMODELS_OFFLINE", "1")


class TestCatalog:
    def test_update_info_path(self, hub, gallery):
        assert run("catalog", "info").exit_code == 3
        outcomes = told("catalog", "update")
        assert [one["catalog"] for one in outcomes] == ["hub", "azure"]
        facts = told("catalog", "info")
        assert facts["models"] > 150
        assert set(facts["as_of"]) == {"hub", "azure"}
        assert run("catalog", "path").stdout.strip() == facts["path"] == told("catalog", "path")["path"]

    def test_a_catalog_that_is_down_is_told(self, hub):
        result = run("catalog", "update")
        assert result.exit_code == 0
        assert "error: The Azure catalog" in result.stderr
        assert told("catalog", "info")["models"] > 150

    def test_all_that_are_down_are_an_error(self):
        result = run("catalog", "update")
        assert result.exit_code == 5
        assert "error: The Hub" in result.stderr
        assert run("catalog", "info").exit_code == 3


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is POSIX")
def test_on_a_terminal(hub):
    code, written = run_on_terminal("search", "japanese llama", "--limit", "3", width=100, NO_COLOR="1")
    assert code == 0, written
    assert "elyza/ELYZA-japanese-Llama-2-7b" in written
    # The notes of a search are sentences, which the terminal wraps.
    lines = [line for line in without_escapes(written).splitlines() if not line.startswith("azure: ")]
    assert max(map(len, lines)) <= 100
