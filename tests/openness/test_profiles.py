"""Each profile's demands: what it asks for, whether that is met, and the proof."""

import re

import pytest
from made_up import dataset, evidence, page, repository, whole

import openmodels as om
from openmodels import columns
from openmodels.openness import model_openness_framework as mof
from openmodels.openness.report import Report, profiles


def demands(report):
    return {requirement.name: requirement for requirement in report.requirements}


def with_code_under(license_, **fields):
    return evidence(page(), datasets=[dataset()], repositories=[repository(license=license_, **fields)])


class TestNames:
    def test_default_is_the_public_name_and_lesson_another_one_for_it(self, tmp_path):
        Report.of(whole()).save(tmp_path)
        report = om.openness("acme/Glow-7B", evidence=tmp_path)
        assert report.profile == "default"
        assert report == om.openness("acme/Glow-7B", evidence=tmp_path, profile="lesson")
        assert report.using("lesson").profile == "default"
        assert profiles() == ("default", "osaid-1.0", "mof-1.0", "eu-gpai")

    def test_a_result_is_counted_and_never_a_number(self):
        report = Report.of(whole(unknown=["gated"]))
        assert report.assessment.tally == "5 of 6 criteria, 1 unknown"
        assert not hasattr(report, "score")
        assert "score" not in report.to_json()


class TestOpenSourceDefinition:
    @pytest.mark.parametrize(
        ("license_", "met", "grade"),
        [
            ("bsd-3-clause", True, "conforms"),
            ("cc-by-nd-4.0", False, "would conform but for its license"),
            ("cc-by-4.0", False, "would conform but for its license"),
            ("polyform-noncommercial-1.0.0", False, "would conform but for its license"),
            (None, False, "would conform but for its license"),
            ("acme-source-license", None, "uncertain"),
        ],
    )
    def test_code_needs_a_license_that_the_osi_approved(self, license_, met, grade):
        report = Report.of(with_code_under(license_), profile="osaid-1.0")
        demand = demands(report)["code under OSI-approved licenses"]
        assert (demand.met, report.grade) == (met, grade)
        assert demand.reason
        assert report["license"].verdict == "open"

    def test_a_license_of_code_that_was_not_seen_leaves_it_open(self):
        report = Report.of(with_code_under(None, unknown=["license"]), profile="osaid-1.0")
        assert demands(report)["code under OSI-approved licenses"].met is None
        assert report.grade == "uncertain"

    def test_code_that_only_runs_the_model_is_not_enough(self):
        tree = ["LICENSE", "README.md", "scripts/generate.py"]
        report = Report.of(with_code_under("mit", tree=tree, tree_total=3), profile="osaid-1.0")
        met = {name: demand.met for name, demand in demands(report).items()}
        assert met["training code"] is False
        assert met["inference code"] is True
        assert met["code under OSI-approved licenses"] is None

    def test_data_processing_that_was_not_found_is_unknown(self):
        tree = [path for path in repository()["tree"] if not path.startswith("data_prep")]
        report = Report.of(with_code_under("mit", tree=tree, tree_total=len(tree)), profile="osaid-1.0")
        assert demands(report)["data processing code"].met is None
        assert report.grade == "uncertain"


class TestFramework:
    def test_all_17_components_stand_under_their_classes(self):
        report = Report.of(whole(), profile="mof-1.0")
        assert [requirement.name for requirement in report.requirements] == [one.name for one in mof.COMPONENTS]
        assert {requirement.group for requirement in report.requirements} == set(mof.LABELS.values()) - {"Unclassified"}
        assert sum(not requirement.required for requirement in report.requirements) == 3
        assert report.assessment.tally.endswith("of 14 criteria, 3 unknown")

    def test_the_best_class_says_what_the_next_one_needs(self):
        closed = evidence(
            page(cardData={"license": "mit", "datasets": ["acme/glow-corpus"]}, library_name="transformers"),
            datasets=[dataset(gated="manual")],
            repositories=[repository()],
        )
        report = Report.of(closed, profile="mof-1.0")
        assert report.grade.endswith("at best Class II - Open Tooling Model")
        assert report.assessment.because[0] == (
            "At best Class II - Open Tooling Model, because Class I - Open Science Model needs: Datasets."
        )
        assert "Technical report" in report.assessment.because[1]

    def test_a_license_that_is_wanted_is_told_from_a_component(self):
        because = Report.of(whole(library_name="transformers"), profile="mof-1.0").assessment.because
        closed = Report.of(whole(cardData={"license": "llama2"}), profile="mof-1.0").assessment.because
        assert "Technical report (its license)" in " ".join(because)
        assert "Model parameters (Final) under an open license" in closed[0]

    def test_the_class_missed_is_named(self):
        report = Report.of(evidence(page(siblings=[], private=True)), profile="mof-1.0")
        assert report.grade == "Unclassified"
        assert "because Class III - Open Model needs: " in report.assessment.because[0]
        assert "Model parameters (Final)" in report.assessment.because[0]

    def test_release_helpers_and_tokenizers_prepare_no_data(self):
        tree = ["glow/tokenizer.py", "scripts/release/prepare_notes.py", "scripts/prepare_changelog.py", "README.md"]
        assert Report.of(with_code_under("mit", tree=tree, tree_total=4), profile="mof-1.0").requirements
        found = demands(Report.of(with_code_under("mit", tree=tree, tree_total=4), profile="mof-1.0"))
        assert found["Data preprocessing code"].met is not True

    def test_a_repository_for_data_holds_the_code_for_data(self):
        model = page()
        model["readme"]["links"].append(
            {"text": "data", "url": "https://github.com/acme/glow-data-prep", "section": ""}
        )
        kept = repository("acme/glow-data-prep", tree=["LICENSE", "README.md", "run.py"], tree_total=3)
        found = demands(Report.of(evidence(model, repositories=[repository(tree=[]), kept]), profile="mof-1.0"))
        assert found["Data preprocessing code"].met
        assert found["Data preprocessing code"].evidence[0].url.endswith("/run.py")


@pytest.mark.parametrize("profile", profiles())
class TestShown:
    def test_every_demand_met_has_a_proof(self, profile):
        for requirement in Report.of(whole(), profile=profile).requirements:
            assert not requirement.met or requirement.evidence, requirement

    def test_text_markdown_and_html_name_every_demand_the_date_and_a_legend(self, profile):
        report = Report.of(whole(unknown=["gated"]), profile=profile)
        for text in (str(report), report.to_markdown(), report._repr_html_()):
            for requirement in report.requirements:
                assert requirement.name in text
            assert "? unknown" in text
            assert "2026-11-01" in text
            assert profile in text
            assert report.assessment.tally in text
        assert "confidence" in str(report)
        assert profile in report.badge()
        assert "2026-11-01" in report.badge()

    @pytest.mark.parametrize("room", [40, 80, 132])
    def test_no_word_is_broken_and_no_line_too_long(self, profile, room):
        report = Report.of(whole(), profile=profile)
        lines = report.to_text(room).splitlines()
        assert max(map(columns.width, lines)) <= room
        note = "stands for a part left out: --markdown and --json give it whole."
        words = {*str(report).split(), *note.split()}
        shown = [word for line in lines for word in line.split()]
        assert all(word in words or columns.CUT in word or "/blob/" in word for word in shown if word != "…")
        if room == 132:
            assert not any(columns.CUT in word for word in shown)

    def test_what_every_profile_still_wants_is_told(self, profile):
        text = str(Report.of(whole(cardData={"license": "llama2"}), profile=profile))
        tail = re.sub(r"\s+", " ", text.partition("What each profile still wants")[2])
        assert all(f"{name}: " in tail for name in profiles())
        assert "because not met: license" in tail


def test_a_quotation_that_was_cut_is_not_promised_whole():
    claim = f"The training data are not disclosed{', nor are they described' * 12}."
    card = page()["readme"] | {"claims": [{"fact": claim}]}
    report = Report.of(evidence(page(readme=card, cardData={"license": "mit"}, tags=[])))
    assert columns.CUT in report["training_data"].reason
    assert "give it whole" not in report.to_text(400)
    assert "give it whole" in " ".join(report.to_text(30).split())
