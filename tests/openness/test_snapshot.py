"""Agreement with people, and the lesson's own table, on recorded evidence of real models."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

import openmodels as om
from openmodels.openness.evidence_pages import ModelEvidence

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "openness.py"


@pytest.fixture
def snapshot(shared):
    return shared("hub-snapshot")


@pytest.fixture(scope="session")
def benchmark():
    spec = importlib.util.spec_from_file_location("openness_benchmark", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def four(benchmark, rows):
    return [row for row in rows if row.criterion in benchmark.FOUR]


class TestAgreement:
    @pytest.mark.parametrize("released", ["open", "partial"])
    def test_open_or_not(self, benchmark, shared, released):
        rows, pages = benchmark.collect(shared("."), released)
        assert len(pages) == 37
        scores = [benchmark.agreement([row for row in rows if row.criterion == name]) for name in benchmark.FOUR]
        assert sum(scores) / 4 >= 0.90

    def test_open_is_said_only_where_people_say_it_or_the_label_is_disputed(self, benchmark, shared):
        rows, _ = benchmark.collect(shared("."), "open")
        rest = [row for row in four(benchmark, rows) if (row.model, row.criterion) not in benchmark.DISPUTED]
        assert benchmark.precision(rest) >= 0.97
        assert not [row for row in rest if row.predicted == "open" and row.human == "closed"]

    def test_every_disputed_label_is_one_where_we_differ(self, benchmark, shared):
        rows, _ = benchmark.collect(shared("."), "open")
        differing = {(row.model, row.criterion) for row in rows if (row.human == "open") != (row.predicted == "open")}
        assert set(benchmark.DISPUTED) <= differing

    def test_better_than_every_baseline(self, benchmark, shared):
        rows, pages = benchmark.collect(shared("."), "open")
        majority = benchmark.baseline_majority(rows)
        mine = four(benchmark, rows)
        for predict in (majority, benchmark.baseline_link, benchmark.baseline_keyword):
            theirs = [
                benchmark.Row(row.model, row.criterion, row.human, predict(pages[row.model], row.criterion))
                for row in mine
            ]
            assert benchmark.agreement(mine) > benchmark.agreement(theirs)
            assert benchmark.precision(mine) > benchmark.precision(theirs)


def verdicts(report, *names):
    return {name: report[name].verdict.value for name in names}


class TestLesson:
    def test_olmo_is_open_on_all(self, snapshot):
        report = om.openness("allenai/OLMo-7B", evidence=snapshot)
        assert (report.grade, report.passed) == ("open", True)

    def test_llama_2_is_gated_under_a_license_of_its_own_without_data_and_training_code(self, snapshot):
        for name in ("meta-llama/Llama-2-7b-hf", "meta-llama/Llama-2-7b-chat-hf"):
            report = om.openness(name, evidence=snapshot)
            assert verdicts(report, "weights", "license", "training_data", "training_code") == {
                "weights": "partial",
                "license": "closed",
                "training_data": "closed",
                "training_code": "closed",
            }
            assert report["weights"].rule == "weights.gated"

    def test_mistral_is_open_weights_and_license_only(self, snapshot):
        report = om.openness("mistralai/Mistral-7B-v0.1", evidence=snapshot)
        assert report.grade == "open weights"
        judged = ("weights", "license", "training_data", "training_code", "finetuning_code", "evaluation_code")
        assert list(verdicts(report, *judged).values()) == ["open", "open", "closed", "closed", "unknown", "closed"]
        assert report["finetuning_code"].rule == "finetuning_code.base-model"

    def test_falcons_data_are_partial(self, snapshot):
        report = om.openness("tiiuae/falcon-40b", evidence=snapshot)
        assert verdicts(report, "weights", "license", "training_data") == {
            "weights": "open",
            "license": "open",
            "training_data": "partial",
        }

    @pytest.mark.parametrize(
        ("model", "base", "kinds"),
        [
            ("nvidia/OpenMath-Mistral-7B-v0.1-hf", "mistralai/Mistral-7B-v0.1", {"dataset-license"}),
            ("OpenAssistant/falcon-40b-sft-top1-560", "tiiuae/falcon-40b", set()),
            ("nomic-ai/gpt4all-falcon", "tiiuae/falcon-7b", set()),
            ("elyza/ELYZA-japanese-Llama-2-7b", "meta-llama/Llama-2-7b-hf", set()),
            ("LLM360/AmberChat", "LLM360/Amber", set()),
            ("BioMistral/BioMistral-7B", "mistralai/Mistral-7B-Instruct-v0.1", set()),
        ],
    )
    def test_fine_tunes_with_bases_and_conflicts(self, snapshot, model, base, kinds):
        report = om.openness(model, evidence=snapshot)
        assert base in report.bases
        assert {one.kind for one in report.conflicts} == kinds


def test_every_unknown_names_what_is_missing_and_every_open_has_evidence(snapshot):
    for path in sorted((snapshot / "models").glob("*.json")):
        for finding in om.openness(path.stem.replace("__", "/", 1), evidence=snapshot):
            if finding.verdict is om.Verdict.UNKNOWN:
                assert finding.missing, (path.stem, finding)
                assert all(finding.missing), (path.stem, finding)
            else:
                assert finding.evidence, (path.stem, finding)


def test_topics_are_not_read(snapshot):
    """The snapshot's own hints must not decide: live cards have none."""
    for path in sorted((snapshot / "models").glob("*.json")):
        data = json.loads(path.read_text("utf-8"))
        for claim in data.get("readme", {}).get("claims", []):
            claim.pop("topic", None)
        assert ModelEvidence(data).sentences == ModelEvidence(json.loads(path.read_text("utf-8"))).sentences


class TestDocumentation:
    PAGE = Path(__file__).parents[2] / "docs" / "openness.md"

    def block(self, name):
        found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", self.PAGE.read_text("utf-8"), re.DOTALL)
        return found[1]

    @pytest.fixture
    def found(self, snapshot):
        names = re.findall(r"^\| (\S+/\S+) \|", self.block("comparison"), re.MULTILINE)
        assert len(names) >= 10
        return om.compare_openness(names, evidence=snapshot)

    def test_the_printed_table_is_what_the_rules_say(self, found):
        assert self.block("comparison") == found.to_markdown()

    def test_the_printed_bases_and_conflicts_are_what_the_rules_say(self, found):
        rows = [
            f"| {one.id} | {', '.join(one.bases)} | {' '.join(conflict.reason for conflict in one.conflicts)} |"
            for one in found
            if one.bases
        ]
        assert self.block("bases").split("\n")[2:] == rows
