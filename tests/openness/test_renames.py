"""Renamed models, chains of bases, and saved evidence that gives the same verdicts."""

from __future__ import annotations

import json

import pytest
from fake_sites import FakeSites
from made_up import evidence, page

import openmodels as om
from openmodels import retry
from openmodels.errors import InvalidResponse, Offline
from openmodels.openness import api, gather as gathering, github
from openmodels.openness.evidence import Evidence
from openmodels.openness.evidence_pages import ModelEvidence
from openmodels.openness.report import Report

GLOW = "acme/Glow-7B"
SHA = "c" * 40


@pytest.fixture
def sites(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "GITHUB_TOKEN", "HF_HUB_OFFLINE", "OPENMODELS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(api, "PACE", 0.0)
    sites = FakeSites()
    with retry.override_retries(attempts=1), sites.serve() as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        monkeypatch.setattr(github, "API", address)
        yield sites


def put(sites, name, *, card="# A model\n", **fields):
    row = {"id": name, "sha": SHA, "gated": False, "private": False, "tags": [], "cardData": {"license": "mit"}}
    row["siblings"] = [{"rfilename": file, "blobId": "0" * 40} for file in ("README.md", "model.safetensors")]
    sites.pages[f"/api/models/{name}"] = row | fields
    sites.pages[f"/{name}/resolve/{SHA}/README.md"] = card
    sites.pages[f"/api/models/{name}/refs"] = {"branches": [{"name": "main"}], "tags": []}


def move(sites, old, new, kind="models"):
    sites.pages[f"/api/{kind}/{old}"] = 307
    sites.headers[f"/api/{kind}/{old}"] = {"Location": f"/api/{kind}/{new}"}


def plain(report):
    """What a report says, without whether it was made offline."""
    return json.dumps(report.to_dict() | {"offline": None}, ensure_ascii=False)


@pytest.mark.parametrize("tags", [[], ["base_model:lab/Ember-2-3b", "base_model:finetune:lab/Ember-2-3b"]])
def test_a_base_named_by_its_former_id_is_one_base_live_and_saved(sites, tmp_path, tags):
    put(sites, "lab/Ember-2-3b", cardData={"license": "cc-by-nc-4.0"})
    put(sites, "acme/Calf", cardData={"license": "mit", "base_model": "oldlab/Ember-3b"}, tags=tags)
    move(sites, "oldlab/Ember-3b", "lab/Ember-2-3b")
    live = om.openness("acme/Calf")
    assert live.bases == ("lab/Ember-2-3b",)
    assert live["license"].verdict is om.Verdict.CLOSED
    live.save(tmp_path / "kept")
    assert plain(om.openness("acme/Calf", evidence=tmp_path / "kept")) == plain(live)
    # The former id still leads to the base.
    assert om.openness("OLDLAB/ember-3b", evidence=tmp_path / "kept").id == "lab/Ember-2-3b"


def test_a_model_asked_for_by_its_former_id_is_found_by_both_without_a_network(sites, tmp_path, monkeypatch):
    move(sites, "acme/Old-Glow", GLOW)
    live = om.openness("acme/Old-Glow", evidence=None)
    assert live.id == GLOW
    live.save(tmp_path / "kept")
    for name in ("acme/Old-Glow", "acme/old-glow", GLOW):
        assert plain(om.openness(name, evidence=tmp_path / "kept")) == plain(live)
    monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
    assert plain(om.openness("acme/Old-Glow")) == plain(live)


def test_a_batch_continues_by_a_former_id(sites, tmp_path):
    move(sites, "acme/Old-Glow", GLOW)
    for _ in range(2):
        (report,) = om.compare_openness(["acme/Old-Glow"], save=tmp_path)
        assert report.id == GLOW
    assert sites.request_counts["/api/models/acme/Old-Glow"] == 1


def test_a_name_that_was_taken_anew_is_not_the_former_id_any_more(sites, tmp_path):
    move(sites, "acme/Old-Glow", GLOW)
    om.openness("acme/Old-Glow").save(tmp_path)
    del sites.headers["/api/models/acme/Old-Glow"]
    put(sites, "acme/Old-Glow")
    om.openness("acme/Old-Glow").save(tmp_path)
    assert om.openness("acme/Old-Glow", evidence=tmp_path).id == "acme/Old-Glow"


def test_renamed_data_sets_and_repositories_are_kept_by_both_ids(sites, tmp_path):
    sites.pages["/api/datasets/lab/corpus"] = {"id": "lab/corpus", "gated": False, "cardData": {"license": "odc-by"}}
    move(sites, "acme/glow-corpus", "lab/corpus", "datasets")
    sites.pages["/repos/acme/glow"] |= {"full_name": "lab/glow"}
    live = om.openness(GLOW)
    assert live["training_data"].verdict is om.Verdict.OPEN
    saved = Evidence.load(live.save(tmp_path), GLOW)
    assert saved.dataset("acme/glow-corpus").id == "lab/corpus"
    assert saved.repository("acme/glow").id == "lab/glow"
    assert plain(om.openness(GLOW, evidence=tmp_path)) == plain(live)


def test_a_model_renamed_twice_is_found_by_each_id(sites, tmp_path):
    put(sites, "lab/Wick-2")
    move(sites, "lab/Wick-1", "lab/Wick-2")
    om.openness("lab/Wick-1").save(tmp_path)
    move(sites, "lab/Wick-2", "lab/Wick-3")
    put(sites, "lab/Wick-3", cardData={"license": "cc-by-nc-4.0"})
    live = om.openness("lab/Wick-2")
    live.save(tmp_path)
    for name in ("lab/Wick-1", "LAB/wick-2", "lab/Wick-3"):
        assert plain(om.openness(name, evidence=tmp_path)) == plain(live)


def test_a_comparison_is_asked_by_the_id_that_it_was_given(sites, tmp_path):
    move(sites, "acme/Old-Glow", GLOW)
    for _ in range(2):  # live, and from what was kept
        comparison = om.compare_openness(["acme/Old-Glow"], save=tmp_path)
        assert "acme/old-glow" in comparison
        assert "acme/Older-Glow" not in comparison
        assert comparison["acme/Old-Glow"] is comparison[GLOW]


def test_a_folder_is_judged_anew_and_saved_with_what_it_rests_on(tmp_path):
    model = tmp_path / "wick"
    model.mkdir()
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Wick")
    kept = tmp_path / "kept"
    Report.of(evidence(page("lab/Wi", cardData={"license": "llama2"}))).save(kept)
    (first,) = om.compare_openness([model], save=kept)
    assert plain(om.openness("wick", evidence=kept)) == plain(first)
    (model / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Wick")
    (second,) = om.compare_openness([model], save=kept)
    assert second["license"].verdict is om.Verdict.CLOSED


def test_a_data_set_and_a_repository_named_by_both_ids_are_one():
    readme = {
        "headings": ["Training data"],
        "links": [
            {"url": "https://huggingface.co/datasets/lab/tallow", "text": "tallow", "section": "Training data"},
            {"url": "https://github.com/acme/Glow-train", "text": "training code"},
            {"url": "https://github.com/lab/glow-train", "text": "training code"},
        ],
        "claims": [{"fact": "It was pre-trained on Tallow."}],
    }
    model = page(cardData={"license": "mit", "datasets": ["acme/old-tallow"]}, tags=[], readme=readme)
    made = evidence(model)
    made.add("datasets", "acme/old-tallow", {"id": "lab/tallow", "exists": True, "gated": False, "license": "cc0-1.0"})
    made.add("github", "acme/Glow-train", {"repo": "lab/glow-train", "tree": ["LICENSE"], "license": "mit"})
    report = Report.of(made)
    assert [entry["name"] for entry in report.to_bom()["components"]] == ["lab/tallow"]
    assert "the 2 other parts seen" in report["license_all_parts"].reason


def test_the_tags_of_a_stranger_rename_nothing(sites, tmp_path):
    put(sites, "good/Base")
    put(sites, "evil/Other")
    card = {"license": "mit", "base_model": "good/Base"}
    put(sites, "evil/Tuned", cardData=card, tags=["base_model:evil/Other"])
    om.openness("evil/Tuned").save(tmp_path)
    assert Evidence.load(tmp_path, "evil/Tuned").current_id("models", "good/Base") == "good/Base"


@pytest.mark.parametrize(
    ("stated", "tagged", "bases"),
    [
        (["a/old", "b/two"], ["a/new", "b/two"], ["a/new", "b/two"]),
        (["a/old"], [], ["a/old"]),
        (["a/old", "b/gone"], ["a/new"], ["a/new", "a/old", "b/gone"]),
        (["A/One"], ["a/one"], ["a/one"]),
    ],
)
def test_the_tags_of_the_hub_name_the_bases_of_the_card(stated, tagged, bases):
    tags = [f"base_model:merge:{name}" for name in tagged]
    model = ModelEvidence(page("c/merge", cardData={"base_model": stated}, tags=tags))
    assert [name for name, _ in model.bases] == bases
    assert Report.of(evidence(model.data)).bases == tuple(bases)


class TestBases:
    def chain(self, sites, length):
        """Put a chain of models on the Hub, each made from the next one."""
        for number in range(length):
            base = {"base_model": f"lab/Step-{number + 1}"} if number + 1 < length else {}
            put(sites, f"lab/Step-{number}", cardData={"license": "mit", **base})

    def test_they_are_gathered_until_the_root(self, sites, tmp_path):
        self.chain(sites, 7)
        live = om.openness("lab/Step-0")
        assert live.bases == tuple(f"lab/Step-{number}" for number in range(1, 7))
        assert "nothing was gathered" not in live["training_data"].reason
        assert plain(om.openness("lab/Step-0", evidence=live.save(tmp_path))) == plain(live)

    def test_what_lies_too_far_back_is_named_with_the_reason(self, sites, tmp_path, monkeypatch):
        monkeypatch.setattr(gathering, "MOST_GENERATIONS", 3)
        self.chain(sites, 6)
        om.openness("lab/Step-0").save(tmp_path)
        assert "3 generations" in Evidence.load(tmp_path, "lab/Step-0").unread["models"]["lab/step-4"]

    def test_a_merge_of_many_is_cut_with_the_reason(self, sites, monkeypatch):
        monkeypatch.setattr(gathering, "MOST_BASES", 2)
        names = [f"lab/Part-{number}" for number in range(4)]
        for name in names:
            put(sites, name)
        put(sites, "acme/Stew", cardData={"license": "mit", "base_model": names}, tags=["merge"])
        assert om.openness("acme/Stew").bases == tuple(names)
        assert not sites.request_counts["/api/models/lab/Part-3"]

    def test_why_a_base_was_not_read_is_said(self, sites, tmp_path):
        put(sites, "acme/Calf", cardData={"license": "mit", "base_model": "lab/Gone"})
        live = om.openness("acme/Calf")
        assert "There is no model lab/Gone on the Hub" in live["training_data"].reason
        assert "lab/gone" in live.notes[0]
        assert plain(om.openness("acme/Calf", evidence=live.save(tmp_path))) == plain(live)

    def test_a_circle_ends(self, sites):
        put(sites, "a/One", cardData={"license": "mit", "base_model": "b/Two"})
        put(sites, "b/Two", cardData={"license": "mit", "base_model": "a/One"})
        assert om.openness("a/One").bases == ("b/Two",)

    def test_a_quick_look_says_that_it_is_one(self, sites, tmp_path):
        live = om.openness(GLOW, deep=False)
        assert "no card, base models" in str(live).replace("\n", " ")
        assert plain(om.openness(GLOW, evidence=live.save(tmp_path))) == plain(live)
        assert om.openness(GLOW).notes == ()


class TestLooks:
    def test_a_quick_look_never_stands_for_a_deep_one(self, sites, tmp_path, monkeypatch):
        om.compare_openness([GLOW], deep=False, save=tmp_path / "kept")
        deep = om.compare_openness([GLOW], save=tmp_path / "kept")[GLOW]
        assert deep["training_code"].verdict is om.Verdict.OPEN
        om.openness("acme/Glow-7B", deep=False)
        put(sites, "acme/Shallow-1b")
        om.openness("acme/Shallow-1b", deep=False)
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        with pytest.raises(Offline, match="only a look with deep=False"):
            om.openness("acme/Shallow-1b")
        assert om.openness("acme/Shallow-1b", deep=False).offline

    def test_a_base_gathered_on_the_way_is_not_its_own_deep_look(self, sites, tmp_path):
        put(sites, "other/Calf", cardData={"license": "mit", "base_model": GLOW})
        fresh = om.openness(GLOW)
        both = om.compare_openness(["other/Calf"], save=tmp_path)
        both = om.compare_openness([GLOW, "other/Calf"], save=tmp_path)
        assert [f.verdict for f in both[GLOW]] == [f.verdict for f in fresh]

    def test_a_quick_look_leaves_deep_evidence_as_it_is(self, sites, tmp_path, monkeypatch):
        live = om.openness(GLOW)
        live.save(tmp_path)
        om.openness(GLOW, deep=False).save(tmp_path)
        assert plain(om.openness(GLOW, evidence=tmp_path)) == plain(live)
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        assert plain(om.openness(GLOW)) == plain(live)

    def test_deep_evidence_answers_a_quick_look_as_the_hub_would(self, sites, tmp_path):
        quick = om.openness(GLOW, deep=False)
        om.openness(GLOW).save(tmp_path)
        saved = om.openness(GLOW, evidence=tmp_path, deep=False)
        assert [(f.verdict, f.reason) for f in saved] == [(f.verdict, f.reason) for f in quick]

    def test_what_else_a_folder_holds_changes_no_verdict(self, sites, tmp_path):
        put(sites, "acme/Spark-7B", card="# Spark\nPre-trained on our spark-corpus, 2T tokens.\n")
        live = om.openness("acme/Spark-7B")
        live.save(tmp_path)
        stranger = evidence(
            page("x/Other", cardData={}),
            page("y/Spark-7B", cardData={"license": "cc-by-nc-4.0"}),
            datasets=[{"id": "acme/spark-corpus", "exists": True, "gated": False, "license": "odc-by"}],
            repositories=[{"repo": "acme/spark", "tree": ["spark/train.py", "configs/spark-7b.yaml"], "tree_total": 2}],
        )
        stranger.save(tmp_path)
        assert plain(om.openness("acme/Spark-7B", evidence=tmp_path)) == plain(live)


def test_saved_pages_keep_the_order_of_what_was_read(sites, tmp_path):
    names = ("README.md", "model.safetensors", "LICENSE-weights", "COPYING", "LICENSE")
    put(sites, "acme/Terms", siblings=[{"rfilename": name} for name in names])
    for name, text in zip(names[2:], ("Research use only.", "No commercial use.", "Not for commerce."), strict=True):
        sites.pages[f"/acme/Terms/resolve/{SHA}/{name}"] = text
    live = om.openness("acme/Terms")
    assert plain(om.openness("acme/Terms", evidence=live.save(tmp_path))) == plain(live)


def test_a_repository_of_very_many_files_is_kept_and_read_again(sites, tmp_path):
    folder = "checkpoints/" + "long-" * 30
    many = [{"rfilename": f"{folder}/part-{part:05d}.safetensors", "blobId": "0" * 40} for part in range(45_000)]
    put(sites, "acme/Many", siblings=[{"rfilename": "README.md"}, *many])
    live = om.openness("acme/Many", deep=False)
    assert live["weights"].verdict is om.Verdict.OPEN
    live.save(tmp_path)
    assert (tmp_path / "models" / "acme__Many.json").stat().st_size > 8_000_000
    assert om.openness("acme/Many", evidence=tmp_path, deep=False)["weights"] == live["weights"]


def test_kept_pages_of_an_older_kind_are_read_anew(sites):
    om.openness(GLOW)
    path = gathering.store() / "datasets" / "acme__glow-corpus.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"format": 1}))
    om.openness(GLOW)
    assert sites.request_counts["/api/datasets/acme/glow-corpus"] == 2


def test_a_page_that_is_too_large_names_the_size(sites):
    put(sites, "acme/Calf", cardData={"license": "mit", "base_model": "acme/Huge"})
    sites.pages["/api/models/acme/Huge"] = " " * (64 * 2**20 + 1)
    with pytest.raises(InvalidResponse, match="larger than 64 MiB"):
        om.openness("acme/Huge")
    assert "larger than 64 MiB" in om.openness("acme/Calf").notes[0]
