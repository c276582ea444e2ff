import pytest
from made_up import dataset, evidence, page

from openmodels.openness.findings import Verdict
from openmodels.openness.lineage import find_circle
from openmodels.openness.model_context import MOST_GENERATIONS, ModelContext
from openmodels.openness.report import Report
from openmodels.openness.stated_licenses import find_conflicts


def conflicts(context):
    return find_conflicts(context.model, context.datasets, context.stated_licenses)


def license_of_weights(context):
    return context.finding("license")


LLAMA = page("meta/Beast-2-7b", cardData={"license": "llama2"}, tags=[])


def tuned(license_id="apache-2.0", **fields):
    front = {"license": license_id, "base_model": "meta/Beast-2-7b"}
    return page("acme/Calf-7b", cardData=front, tags=[], readme={}, **fields)


def test_a_permissive_fine_tune_of_a_restricted_base_is_a_conflict_and_not_open():
    found = ModelContext(evidence(tuned(), LLAMA))
    (conflict,) = conflicts(found)
    assert conflict.kind == "base-license"
    assert {proof.url for proof in conflict.evidence} >= {
        "https://huggingface.co/acme/Calf-7b",
        "https://huggingface.co/meta/Beast-2-7b",
    }
    finding = license_of_weights(found)
    assert finding.verdict is Verdict.CLOSED
    assert "base model meta/Beast-2-7b" in finding.reason
    assert [one.source for one in found.stated_licenses] == ["front matter", "base model meta/Beast-2-7b"]


def test_the_same_terms_are_no_conflict():
    found = ModelContext(evidence(tuned("llama2"), LLAMA))
    assert conflicts(found) == []
    assert license_of_weights(found).verdict is Verdict.CLOSED


def test_relicensing_by_the_same_owner_is_no_conflict():
    own = page("acme/Bull-7b", cardData={"license": "llama2"}, tags=[])
    child = page("acme/Calf-7b", cardData={"license": "apache-2.0", "base_model": "acme/Bull-7b"}, tags=[], readme={})
    found = ModelContext(evidence(child, own))
    assert conflicts(found) == []
    assert license_of_weights(found).verdict is Verdict.OPEN


def test_terms_follow_over_several_generations():
    middle = page("other/Cow-7b", cardData={"license": "mit", "base_model": "meta/Beast-2-7b"}, tags=[], readme={})
    child = page("acme/Calf-7b", cardData={"license": "mit", "base_model": "other/Cow-7b"}, tags=[], readme={})
    report = Report.of(evidence(child, middle, LLAMA))
    assert report.bases == ("other/Cow-7b", "meta/Beast-2-7b")
    assert report["license"].verdict is Verdict.CLOSED
    assert report.obligations["user_threshold"] == ("base model meta/Beast-2-7b",)


def test_a_circle_of_bases_ends():
    one = page("a/One-7b", cardData={"license": "mit", "base_model": "b/Two-7b"}, tags=[])
    two = page("b/Two-7b", cardData={"license": "mit", "base_model": "a/One-7b"}, tags=[])
    report = Report.of(evidence(one, two))
    assert report.bases == ("b/Two-7b",)
    assert "form a circle, which was followed once: a/One-7b, b/Two-7b." in report.notes[0]


@pytest.mark.parametrize(
    ("bases", "circle"),
    [
        ({"a/X": ["a/x"]}, ["a/X"]),
        ({"a/X": ["a/Y"], "a/Y": ["a/Z", "a/W"], "a/Z": ["A/y"], "a/W": []}, ["a/Y", "a/Z"]),
        ({"a/X": ["a/Y", "a/Z"], "a/Y": ["a/W"], "a/Z": ["a/W"], "a/W": []}, []),
        ({"a/X": ["a/Gone"]}, []),
    ],
)
def test_the_models_of_a_circle_are_named(bases, circle):
    pages = [page(name, cardData={"license": "mit", "base_model": names}, tags=[]) for name, names in bases.items()]
    found = evidence(*pages)
    assert find_circle(found, found.model) == circle


@pytest.mark.parametrize("order", [("m/Moth-3b", "n/Nit-3b"), ("n/Nit-3b", "m/Moth-3b")])
def test_a_merge_says_the_same_whatever_the_order_of_its_parts(order):
    link = {"url": "https://example.org/nit.pdf", "text": "The Nit paper", "section": "Model"}
    merge = page("acme/Nit-Stew", cardData={"license": "mit", "base_model": list(order)}, tags=["merge"])
    merge["readme"] = {"headings": ["Model"], "links": [link], "claims": []}
    parts = (
        page("m/Moth-3b", cardData={"license": "llama3.1"}, tags=[], readme={}),
        page("n/Nit-3b", cardData={"license": "gemma"}, tags=[], readme={}),
    )
    report = Report.of(evidence(merge, *parts))
    assert report["technical_report"].verdict is not Verdict.OPEN
    assert report.to_bom()["metadata"]["component"]["licenses"] == [{"license": {"name": "llama3.1"}}]


def test_a_base_that_only_the_name_suggests_weighs_less():
    child = page("acme/calf-beast-2-7b-chat", cardData={"license": "mit"}, tags=[], readme={})
    found = ModelContext(evidence(child, LLAMA))
    assert "seems, by its name" in conflicts(found)[0].reason
    assert license_of_weights(found).verdict is Verdict.PARTIAL


def test_a_non_commercial_data_set_under_a_permissive_model_is_a_conflict():
    model = page(cardData={"license": "mit", "datasets": ["acme/glow-corpus"]})
    (conflict,) = conflicts(ModelContext(evidence(model, datasets=[dataset(license="cc-by-nc-4.0")])))
    assert conflict.kind == "dataset-license"
    assert conflict.evidence[1].url == "https://huggingface.co/datasets/acme/glow-corpus"


RESTRICTED = "This model is released under the Acme License. You may use it for non-commercial purposes only."


@pytest.mark.parametrize(
    ("fields", "verdict"),
    [
        ({"license_texts": {"LICENSE": RESTRICTED}}, Verdict.CLOSED),
        ({"license_texts": {"LICENSE": "Some terms of our own."}}, Verdict.UNKNOWN),
        ({"readme": {"claims": [{"fact": "The weights are for research purposes only."}]}}, Verdict.CLOSED),
        ({"readme": {"claims": [{"fact": "An earlier version was for research purposes only."}]}}, Verdict.OPEN),
    ],
)
def test_the_most_restrictive_source_wins_and_disagreement_is_shown(fields, verdict):
    found = ModelContext(evidence(page(**fields)))
    assert license_of_weights(found).verdict is verdict
    assert ("license-sources" in {one.kind for one in conflicts(found)}) == (verdict is not Verdict.OPEN)


def test_no_license_is_closed_only_where_the_front_matter_was_seen():
    assert license_of_weights(ModelContext(evidence(page(cardData={}, tags=[])))).verdict is Verdict.CLOSED
    unseen = page(cardData=None, tags=[], unknown=["cardData.license"])
    assert license_of_weights(ModelContext(evidence(unseen))).verdict is Verdict.UNKNOWN


def pages_of(bases):
    front = {"license": "mit", "datasets": ["lab/wax"]}
    return [
        page(name, cardData=front | ({"base_model": names} if names else {}), tags=["merge"] if names else [])
        for name, names in bases.items()
    ]


def test_a_base_that_many_paths_lead_to_is_judged_once(monkeypatch):
    bases = {
        f"o{at}/{side}-{at}": [f"o{at + 1}/Rye-{at + 1}", f"o{at + 1}/Oat-{at + 1}"]
        for at in range(14)
        for side in ("Rye", "Oat")
    }
    bases |= {"o14/Rye-14": [], "o14/Oat-14": []}
    made = []
    judge = ModelContext.finding
    monkeypatch.setattr(ModelContext, "finding", lambda self, name: made.append(self.model.id) or judge(self, name))
    report = Report.of(evidence(*pages_of(bases)))
    assert len(report.bases) == 28
    assert len(made) < 1_000  # 2 ** 14 paths lead to the roots


def test_a_chain_of_any_length_is_followed_so_far_and_the_reason_says_so():
    bases = {f"lab{at}/Step-{at}": [f"lab{at + 1}/Step-{at + 1}"] for at in range(90)}
    report = Report.of(evidence(*pages_of(bases)))
    assert len(report.bases) == 90
    assert report["training_data"].verdict is Verdict.UNKNOWN
    assert f"bases are judged up to {MOST_GENERATIONS} generations back" in report["training_data"].reason
