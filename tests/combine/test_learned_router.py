"""`om.learn_router` recommends a router that beats the mixture, and refuses others."""

from __future__ import annotations

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

import openmodels as om
from openmodels.combine import neighbours
from openmodels.combine.neighbours import Outcomes, evaluate_router, find_mixture
from openmodels.compare import paired

TOPICS = {
    "cooking": "Which {} goes into the soup, and how long do I boil it with salt and butter?",
    "law": "Does the contract bind the {} where the court has declared a clause void?",
    "sums": "Add the number of {} to seven, multiply by twelve and divide the sum by nine.",
}
NOUNS = [
    "carrot",
    "tenant",
    "pencil",
    "goose",
    "river",
    "engine",
    "letter",
    "garden",
    "shirt",
    "window",
    "cloud",
    "horse",
]


def simulate(rng, *, count, effect, models=3, topics=4):
    """Return outcomes of an item-response model; with `effect`, which model is good depends on the topic."""
    topic = rng.integers(topics, size=count)
    ability = rng.normal(0, 0.5, models) + effect * rng.normal(0, 1, (topics, models))
    right = 1 / (1 + np.exp(rng.normal(0, 1, (count, 1)) - ability[topic]))
    scores = (rng.random((count, models)) < right).astype(float)
    costs = rng.gamma(4, 0.25, (count, 1)) * np.geomspace(0.1, 1, models)
    vectors = rng.normal(0, 1, (topics, 16))[topic] + rng.normal(0, 0.5, (count, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    # What a router that knows the topics gains: without much of it there is nothing to recommend.
    gain = right.mean(axis=0).max()
    best = np.array([right[topic == number].mean(axis=0).max() if (topic == number).any() else 0 for number in topic])
    return vectors, Outcomes(scores, costs, np.arange(count)), best.mean() - gain


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(paired, "sign_flip_p", partial(paired.sign_flip_p, resamples=999))
    monkeypatch.setattr(paired, "difference_interval", lambda *_, **__: (0.0, 0.0))


def recommends(vectors, outcomes):
    return evaluate_router(vectors, outcomes, neighbours.count_neighbours(len(vectors)), None).beats_mixture


def test_without_structure_it_refuses(quick):
    rng = np.random.default_rng(5)
    wrong = sum(recommends(*simulate(rng, count=60, effect=0.0)[:2]) for _ in range(100))
    assert wrong <= 5


def test_models_that_are_alike_are_refused(quick):
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(100):
        vectors, outcomes, _ = simulate(rng, count=60, effect=0.0)
        scores = (rng.random(outcomes.scores.shape) < 0.5).astype(float)
        wrong += recommends(vectors, Outcomes(scores, np.zeros_like(scores), outcomes.groups))
    assert wrong <= 5


def test_with_structure_it_beats_the_mixture(quick):
    rng = np.random.default_rng(7)
    outcomes = []
    while len(outcomes) < 20:
        vectors, drawn, gain = simulate(rng, count=150, effect=3.0)
        if gain > 0.15:
            outcomes.append(recommends(vectors, drawn))
    assert sum(outcomes) >= 18


def test_prompts_of_a_cluster_are_no_evidence_for_each_other(quick):
    rng = np.random.default_rng(8)
    documents = np.repeat(np.arange(15), 6)
    vectors = rng.normal(0, 1, (15, 8))[documents] + rng.normal(0, 0.05, (90, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    good = rng.integers(2, size=15)[documents]
    scores = np.stack([good, 1 - good], axis=1).astype(float)
    alone = Outcomes(scores, np.zeros_like(scores), np.arange(90))
    assert recommends(vectors, alone)
    assert not recommends(vectors, Outcomes(scores, np.zeros_like(scores), documents))


@pytest.mark.parametrize(
    ("cost", "mixture"),
    [
        (0.5, {0: 1.0}),
        (1.0, {0: 1.0}),
        (2.0, {0: 0.75, 2: 0.25}),
        (5.0, {2: 1.0}),
        (9.0, {2: 1.0}),
    ],
)
def test_the_mixture_lies_on_the_hull(cost, mixture):
    # The second model is below the line from the first to the third, the fourth costs more for less.
    assert dict(find_mixture([1, 3, 5, 7], [0.2, 0.4, 0.8, 0.7], cost)) == pytest.approx(mixture)


def compared(winners, costs=None):
    """Return a comparison of two models in which a topic's winner answers rightly."""
    prompts = [{"prompt": text.format(noun), "topic": topic} for topic, text in TOPICS.items() for noun in NOUNS]
    rows = [
        {
            "model": name,
            "index": index,
            "scores": {"exact": float(winners[prompt["topic"]] == name)},
            "cost": None if costs is None else costs[name],
            "error": None,
        }
        for name in ("echo:a", "echo:b")
        for index, prompt in enumerate(prompts)
    ]
    return SimpleNamespace(rows=rows, prompts=prompts)


WINNERS = {"cooking": "echo:a", "law": "echo:b", "sums": "echo:a"}
NEW = {
    "How much butter and salt do I boil with the leek soup?": "a",
    "Is a clause of the contract void that binds the landlord in court?": "b",
}


def test_a_router_that_pays_is_a_model_and_a_file(tmp_path):
    router = om.learn_router(compared(WINNERS, {"echo:a": 0.001, "echo:b": 0.002}))
    assert router.recommended
    assert "recommended" in router.report
    assert all(word in router.report for word in ("oracle", "Zero router", "best single model", "echo:a", "echo:b"))
    router.save(tmp_path / "router.json")
    text = (tmp_path / "router.json").read_text()
    assert "butter" not in text
    assert json.loads(text)["models"] == ["echo:a", "echo:b"]
    loaded = om.load_router(tmp_path / "router.json")
    assert (loaded.recommended, loaded.report) == (True, router.report)
    routed = om.route(loaded, models=["echo:a", "echo:b"])
    for prompt, name in NEW.items():
        assert router.model.chat(prompt).model == loaded.model.chat(prompt).model == routed.chat(prompt).model == name
        assert router.model.complete(prompt).model == name


def test_a_router_that_does_not_pay_is_refused():
    comparison = compared(dict.fromkeys(TOPICS, "echo:b"))
    router = om.learn_router(comparison)
    assert not router.recommended
    assert router.model is None
    assert "not recommended; use echo:b" in router.report
    assert "The cost of a model is not known" in router.report
    assert om.learn_router(comparison, force=True).model.chat("soup").model == "b"


def test_an_embedder_and_the_worth_of_a_score(tmp_path):
    class Embedder(om.Model):
        def embed(self, texts):
            vectors = np.array([[1.0, "soup" in text, "contract" in text, "sum" in text] for text in texts])
            return om.Embeddings(vectors.astype(np.float32))

    comparison = compared(WINNERS)
    costs = {"echo:a": 0.0, "echo:b": 1.0}
    embedder = Embedder("echo:e")
    router = om.learn_router(comparison, embedder=embedder, costs=costs, models=["echo:x", "echo:y"], worth=5.0)
    assert "echo:e" in router.report
    assert router.model.chat("a contract").model == "y"
    router.save(tmp_path / "r")
    assert om.load_router(tmp_path / "r", embedder=embedder).choose("a contract") == 1
    # An answer is not worth what it costs.
    frugal = om.learn_router(comparison, embedder=embedder, costs=costs, worth=0.5, force=True)
    assert {frugal.choose(text) for text in ("soup", "a contract", "the sum")} == {0}


def test_what_cannot_be_learned_from_is_an_error(tmp_path):
    comparison = compared(WINNERS)
    with pytest.raises(om.InvalidRequest, match="two models"):
        om.learn_router(SimpleNamespace(rows=comparison.rows[:36], prompts=comparison.prompts))
    with pytest.raises(om.InvalidRequest, match="expected one of the comparison's: exact"):
        om.learn_router(comparison, metric="bleu")
    for options in ({"worth": "much"}, {"costs": {"echo:a": -1.0}}, {"costs": {"echo:a": float("nan")}}):
        with pytest.raises(om.InvalidRequest, match="expected US dollars"):
            om.learn_router(comparison, **options)
    with pytest.raises(om.InvalidRequest, match="worth: the cost"):
        om.learn_router(comparison, worth=1.0)
    with pytest.raises(om.InvalidRequest, match="'echo:b' of the comparison is missing"):
        om.learn_router(comparison, models={"echo:a": "echo:"})
    few = SimpleNamespace(rows=[row for row in comparison.rows if row["index"] < 9], prompts=comparison.prompts)
    with pytest.raises(om.InvalidRequest, match="9 prompts have a score"):
        om.learn_router(few)
    om.learn_router(comparison).save(tmp_path / "good")
    good = json.loads((tmp_path / "good").read_text())
    for change in ({"format": "x"}, {"scores": [[1, 2]]}, {"neighbours": 0}, {"vectors": [[[99999], [1]]] * 36}):
        (tmp_path / "bad").write_text(json.dumps(good | change))
        with pytest.raises(om.InvalidRequest, match="holds no router"):
            om.load_router(tmp_path / "bad")


def test_a_prompt_without_a_score_of_every_model_is_left_out_and_said():
    comparison = compared(WINNERS)
    comparison.rows[0]["scores"] = {}
    assert "1 prompts without a score" in om.learn_router(comparison).report


def test_it_learns_from_a_real_comparison():
    prompts = [{"prompt": f"Say {noun}.", "reference": noun} for noun in NOUNS]
    comparison = om.compare(["echo:a", "echo:b"], prompts, metrics=["contains"], progress=False)
    router = om.learn_router(comparison)
    assert router.models == ("echo:a", "echo:b")
    assert not router.recommended
    assert "use echo:a." in router.report
