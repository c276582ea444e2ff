import pytest
from made_up import TREE, context, dataset, evidence, page, repository, whole

from openmodels.errors import InvalidRequest
from openmodels.openness.criteria import criterion_names
from openmodels.openness.findings import Verdict
from openmodels.openness.model_context import ModelContext
from openmodels.openness.overrides import _ADDED, add_override
from openmodels.openness.report import Report

OPEN, PARTIAL, CLOSED, UNKNOWN = Verdict


def verdict(criterion, found):
    return ModelContext(found).finding(criterion)


def test_a_model_that_is_open_in_every_respect():
    findings = ModelContext(whole()).findings().values()
    assert [one.criterion for one in findings] == list(criterion_names())
    assert {one.criterion: one.verdict for one in findings if one.verdict is not OPEN} == {
        "finetuning_data": UNKNOWN  # it is a base model
    }
    assert all(one.evidence for one in findings if one.verdict is not UNKNOWN)
    assert all(proof.url.startswith("https://") for one in findings for proof in one.evidence)


def test_a_page_of_which_nothing_was_seen_is_unknown_throughout():
    unseen = {
        "id": "acme/Glow-7B",
        "unknown": ["gated", "tags", "cardData", "siblings", "readme", "refs", "safetensors"],
    }
    findings = context(unseen).findings().values()
    assert {one.verdict for one in findings} == {UNKNOWN}
    assert all(one.missing and all(one.missing) for one in findings)
    assert {one.confidence for one in findings} == {0.0}


class TestWeights:
    @pytest.mark.parametrize(("gated", "found"), [(False, OPEN), ("auto", PARTIAL), ("manual", PARTIAL)])
    def test_gating(self, gated, found):
        assert verdict("weights", whole(gated=gated)).verdict is found

    def test_gate_not_seen(self):
        one = verdict("weights", whole(unknown=["gated"]))
        assert (one.verdict, one.missing) == (UNKNOWN, ("whether access is gated",))

    def test_a_complete_list_without_weights_is_closed_and_a_partial_one_unknown(self):
        bare = {"siblings": [{"rfilename": "README.md"}], "safetensors": None, "tags": []}
        assert verdict("weights", whole(**bare)).verdict is CLOSED
        assert verdict("weights", whole(**bare, siblings_status={"coverage": "partial"})).verdict is UNKNOWN

    @pytest.mark.parametrize(
        "files",
        [
            ["adapter_model.safetensors"],
            ["pytorch_lora_weights.safetensors"],
            ["lora/glow-lora.bin", "lora/adapter_model.bin"],
            ["glow-q4.gguf"],
            ["model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"],
        ],
    )
    def test_adapters_quantisations_and_gaps_are_partial(self, files):
        siblings = [{"rfilename": name} for name in files]
        assert verdict("weights", whole(siblings=siblings, safetensors=None)).verdict is PARTIAL

    def test_an_adapter_whose_parameters_the_hub_counted_is_partial(self):
        siblings = [{"rfilename": "adapter_model.safetensors"}]
        assert verdict("weights", whole(siblings=siblings)).verdict is PARTIAL
        seen_in_part = whole(siblings=siblings, siblings_status={"coverage": "partial"})
        assert verdict("weights", seen_in_part).verdict is OPEN

    @pytest.mark.parametrize(
        ("name", "sentence", "expected"),
        [
            ("acme/glow-7b-delta-v1.1", "", PARTIAL),
            ("acme/Glow-7B", "This repository contains the delta weights; apply them to the original ones.", PARTIAL),
            ("acme/Glow-7B", "We release weight diffs for reasons of the license.", PARTIAL),
            ("acme/Delta-Glow-7B", "", OPEN),
            ("acme/Glow-7B", "It has a gated delta rule and weights in BF16.", OPEN),
        ],
    )
    def test_differences_to_other_weights_are_partial(self, name, sentence, expected):
        readme = {"headings": ["Glow"], "links": [], "claims": [{"fact": sentence}]}
        assert verdict("weights", evidence(page(name, readme=readme))).verdict is expected

    @pytest.mark.parametrize(("size", "expected"), [(0, CLOSED), (134, CLOSED), (14_000_000_000, OPEN), (None, OPEN)])
    def test_files_that_hold_next_to_nothing_are_placeholders(self, size, expected):
        siblings = [{"rfilename": "model.safetensors", "size": size}]
        assert verdict("weights", whole(siblings=siblings)).verdict is expected

    def test_private(self):
        assert verdict("weights", whole(private=True)).verdict is CLOSED


class TestTrainingData:
    def test_gated_or_missing_sets_are_not_open(self):
        for fields, expected in (({"gated": "auto"}, PARTIAL), ({"exists": False}, CLOSED)):
            found = evidence(page(), datasets=[dataset(**fields)])
            assert verdict("training_data", found).verdict is expected

    def test_a_set_nobody_checked_is_unknown(self):
        one = verdict("training_data", evidence(page()))
        assert one.verdict is UNKNOWN
        assert "acme/glow-corpus" in one.missing[0]

    def test_a_gate_nobody_checked_is_passed_over_only_under_an_open_license(self):
        for license_id, found in (("odc-by", OPEN), ("other", UNKNOWN)):
            data = dataset(license=license_id, unknown=["gated"])
            assert verdict("training_data", evidence(page(), datasets=[data])).verdict is found

    @pytest.mark.parametrize(
        "sentence",
        [
            "Trained on glow-corpus plus curated books.",
            "The model was trained on glow-corpus and proprietary data.",
            "It was trained on a subset of glow-corpus and licensed books.",
        ],
    )
    def test_more_data_than_is_shown_is_partial(self, sentence):
        readme = page()["readme"] | {"claims": [{"fact": sentence}]}
        assert verdict("training_data", whole(readme=readme)).verdict is PARTIAL

    def test_a_tuning_set_is_no_training_data(self):
        model = page("acme/Glow-7B-Chat", cardData={"license": "mit", "datasets": ["acme/glow-instruct"]})
        found = evidence(model, datasets=[dataset("acme/glow-instruct")])
        assert verdict("training_data", found).verdict is UNKNOWN
        assert verdict("finetuning_data", found).verdict is OPEN

    def test_a_fine_tune_inherits_from_its_base(self):
        tuned = page("other/Shine-7B", cardData={"license": "mit", "base_model": "acme/Glow-7B"}, readme={})
        one = verdict("training_data", evidence(tuned, page(), datasets=[dataset()]))
        assert (one.verdict, one.rule) == (OPEN, "data.base")
        assert "acme/Glow-7B" in one.reason
        alone = verdict("training_data", evidence(tuned))
        assert alone.verdict is UNKNOWN
        assert "acme/Glow-7B" in alone.missing[0]

    def test_a_card_that_names_nothing_is_closed_with_a_reason(self):
        readme = {"headings": ["Glow"], "links": [], "claims": []}
        one = verdict("training_data", evidence(page(cardData={"license": "mit"}, readme=readme)))
        assert one.verdict is CLOSED
        assert one.reason


class TestCode:
    def test_a_link_is_no_evidence(self):
        one = verdict("training_code", evidence(page()))
        assert (one.verdict, one.missing) == (UNKNOWN, ("the file list of acme/glow",))

    @pytest.mark.parametrize(
        ("tree", "found"),
        [
            (TREE, OPEN),
            (["README.md", "inference/generate.py", "inference/configs/7b.json"], CLOSED),
            (["README.md", "finetune/finetune.py", "finetune/config.yaml"], PARTIAL),
            (["README.md", "recipes/sft/config.yaml", "training/prepare_data.py"], PARTIAL),
            (["tests/train.py", "third_party/x/train.py", "configs/a.yaml", "tokenizer/train_tokenizer.py"], CLOSED),
            (["pretrain/glow.py", "run.sh"], OPEN),
            (["model/convert_from_pretrained.py", "configs/a.yaml"], CLOSED),
        ],
    )
    def test_the_tree_decides(self, tree, found):
        assert verdict("training_code", evidence(page(), repositories=[repository(tree=tree)])).verdict is found

    def test_a_cut_tree_proves_nothing_absent(self):
        found = evidence(page(), repositories=[repository(tree=["README.md"], tree_truncated=True, tree_total=900)])
        assert verdict("training_code", found).verdict is UNKNOWN

    def test_a_rate_limited_repository_is_unknown_with_that_reason(self):
        blocked = repository(tree=[], unknown=["tree", "license"], failed="the rate limit is used up")
        for criterion in ("training_code", "finetuning_code", "evaluation_code"):
            one = verdict(criterion, evidence(page(), repositories=[blocked]))
            assert one.verdict is UNKNOWN
            assert "the rate limit is used up" in one.missing[0]

    def test_a_recommended_server_is_not_the_models_own(self):
        link = {"text": "fast-server", "url": "https://github.com/servers/fast", "section": "How to run locally"}
        readme = page()["readme"] | {"links": [link]}
        found = evidence(page(readme=readme), repositories=[repository("servers/fast")])
        assert verdict("training_code", found).verdict is CLOSED

    def test_a_namesake_of_another_owner_is_not_the_models_own(self):
        readme = page()["readme"] | {"links": []}
        found = evidence(page(readme=readme), repositories=[repository("stranger/glow")])
        assert verdict("training_code", found).verdict is CLOSED

    def test_benchmarks_of_speed_are_no_evaluation(self):
        tree = ["README.md", "utils/e2e_benchmark.py", "benchmark/throughput.py"]
        assert verdict("evaluation_code", evidence(page(), repositories=[repository(tree=tree)])).verdict is CLOSED


class TestRecords:
    def test_logs_by_file_and_by_link(self):
        files = [{"rfilename": "runs/events.out.tfevents.1"}, {"rfilename": "model.safetensors"}]
        nothing = {"headings": ["Glow"], "links": [], "claims": []}
        assert verdict("training_metrics", whole()).rule == "metrics.link"
        assert verdict("training_metrics", whole(readme=nothing, siblings=files)).rule == "metrics.file"
        assert verdict("training_metrics", whole(readme=nothing)).verdict is CLOSED

    def test_announced_logs_are_none(self):
        readme = {
            "headings": ["Glow"],
            "links": [],
            "claims": [{"fact": "Training logs will be released, coming soon."}],
        }
        assert verdict("training_metrics", whole(readme=readme)).verdict is CLOSED

    def test_checkpoints(self):
        assert verdict("checkpoints", whole()).verdict is OPEN
        only_main = {"branches": ["main"], "branches_complete": True}
        assert verdict("checkpoints", whole(refs=only_main)).verdict is CLOSED
        assert verdict("checkpoints", whole(refs=only_main | {"branches_complete": False})).verdict is UNKNOWN

    def test_many_cited_papers_are_no_report(self):
        tags = [f"arxiv:2501.0000{number}" for number in range(8)]
        readme = page()["readme"] | {"links": []}
        assert verdict("technical_report", whole(tags=tags, readme=readme)).verdict is UNKNOWN

    def test_no_card_is_a_closed_card(self):
        bare = {"readme": {}, "siblings": [{"rfilename": "model.safetensors"}]}
        assert verdict("model_card", whole(**bare)).verdict is CLOSED


class TestOverrides:
    @pytest.fixture(autouse=True)
    def _clean(self, monkeypatch):
        monkeypatch.setattr("openmodels.openness.overrides._ADDED", {})

    def test_stand_in_for_a_rule_and_say_so(self):
        add_override(
            "acme/Glow-7B",
            "training_data",
            "partial",
            reason="Half of it is gone.",
            source="https://x.org",
            date="2026-11-02",
        )
        report = Report.of(whole())
        one = report["training_data"]
        assert (one.verdict, one.curated, one.evidence[0].retrieved) == (PARTIAL, True, "2026-11-02")
        assert "(curated)" in report.to_markdown()

    @pytest.mark.parametrize(
        "wrong", [{"criterion": "beauty"}, {"verdict": "maybe"}, {"source": "http://x.org"}, {"date": ""}]
    )
    def test_need_a_source_and_a_date(self, wrong):
        right = {"criterion": "license", "verdict": "open", "source": "https://x.org", "date": "2026-11-02"}
        with pytest.raises(InvalidRequest):
            add_override("acme/Glow-7B", **{"reason": "So it is.", **right, **wrong})
        assert not _ADDED


class TestRepositories:
    LIBRARY = [
        "src/lib/models/glow/modeling_glow.py",
        "src/lib/trainer.py",
        "configs/zero3.json",
        "tests/glow/test_glow.py",
    ]

    @pytest.mark.parametrize(
        ("owner", "section", "tree", "found"),
        [
            ("library", "Glow 7B", LIBRARY, CLOSED),  # it only defines the model
            ("acme", "How to use", LIBRARY, CLOSED),
            ("library", "Glow 7B", [*LIBRARY, "recipes/glow/pretrain.yaml", "scripts/train.py"], OPEN),
        ],
    )
    def test_a_library_that_defines_the_model_did_not_train_it(self, owner, section, tree, found):
        link = {"text": "lib", "url": f"https://github.com/{owner}/lib", "section": section}
        readme = page()["readme"] | {"links": [link]}
        found_evidence = evidence(page(readme=readme), repositories=[repository(f"{owner}/lib", tree=tree)])
        assert verdict("training_code", found_evidence).verdict is found
