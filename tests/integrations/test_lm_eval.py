"""lm-eval's multiple choice on `om.Model` agrees, item by item, with its own Hugging Face backend."""

from __future__ import annotations

import json
import random
import sys

import pytest
from tiny import tiny_llama

import openmodels as om
from openmodels.integrations.evaluation import split_pair
from openmodels.integrations.lm_eval import _options, as_lm, as_rows

TASK = """\
task: tiny_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{choices.label.index(answerKey)}}}}"
doc_to_choice: "{{{{choices.text}}}}"
metric_list:
  - {{metric: acc}}
  - {{metric: acc_norm}}
"""
WORDS = [
    "water",
    "stone",
    "bird",
    "moves",
    "under",
    "light",
    "heavy",
    "because",
    "plants",
    "grow",
    "rain",
    "cold",
    "warm",
    "iron",
    "glass",
    "sound",
    "fast",
]


def write_task(folder):
    draw = random.Random(3)
    rows = []
    for number in range(12):
        count = 3 if number % 4 == 0 else 4
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(count)]
        labels = list("ABCD"[:count])
        rows.append(
            {
                "question": " ".join(draw.choices(WORDS, k=draw.randint(4, 25))) + "?",
                "choices": {"text": texts, "label": labels},
                "answerKey": draw.choice(labels),
            }
        )
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "tiny_choice.yaml").write_text(TASK.format(file=file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny"), max_position_embeddings=2048)


def evaluate(lm, folder):
    import lm_eval
    from lm_eval.tasks import TaskManager

    results = lm_eval.simple_evaluate(
        model=lm,
        tasks=["tiny_choice"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
    )
    rows = as_rows(results, "tiny")
    assert sum(row["scores"]["acc"] for row in rows) / 12 == pytest.approx(
        results["results"]["tiny_choice"]["acc,none"]
    )
    assert all(row["prompt"].startswith("Question: ") and row["text"] for row in rows)
    samples = sorted(results["samples"]["tiny_choice"], key=lambda sample: sample["doc_id"])
    return [sample["filtered_resps"] for sample in samples], results["results"]["tiny_choice"]


@pytest.mark.filterwarnings("ignore")
def test_multiple_choice_agrees_with_the_hugging_face_backend(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lm_eval.models.huggingface import HFLM

    write_task(tmp_path)
    theirs, their_metrics = evaluate(
        HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4), tmp_path
    )
    with om.Model(f"local:{folder}", dtype="float32") as model:
        ours, our_metrics = evaluate(as_lm(model), tmp_path)
    assert len(ours) == len(theirs) == 12
    for our_item, their_item in zip(ours, theirs, strict=True):
        for (logprob, is_greedy), (due, was_greedy) in zip(our_item, their_item, strict=True):
            assert logprob == pytest.approx(float(due), abs=1e-3)
            assert is_greedy == bool(was_greedy)
    for name in ("acc,none", "acc_norm,none"):
        assert our_metrics[name] == their_metrics[name]


@pytest.mark.filterwarnings("ignore")
def test_generation_and_whole_texts(folder):
    from lm_eval.api.instance import Instance

    def requests(*arguments):
        return [Instance("generate_until", {}, each, 0) for each in arguments]

    with om.Model(f"local:{folder}", dtype="float32") as model:
        lm = as_lm(model, prefix="\n")
        (text,) = lm.generate_until(requests(("abc", {"until": ["\n\n"], "max_gen_toks": 5})))
        assert text == model.complete("abc", max_tokens=5, temperature=0, stop="\n\n").text
        (whole,) = lm.loglikelihood_rolling(requests(("some text",)))
        assert whole == pytest.approx(model.score("\n", ["some text"])[0].logprob)
        with pytest.raises(om.InvalidRequest, match="without context"):
            as_lm(model).loglikelihood(requests(("", "a")))


def test_spaces_between_context_and_continuation_are_the_continuations():
    assert split_pair("Answer: ", "yes", None) == ("Answer:", " yes")
    assert split_pair("Answer:", " yes", None) == ("Answer:", " yes")
    assert split_pair("", "yes", "<s>") == ("<s>", "yes")


def test_arguments_of_a_generation_become_call_options():
    assert _options({"until": "x", "do_sample": False, "temperature": 0.7}) == {
        "max_tokens": 256,
        "temperature": 0.0,
        "stop": ["x"],
    }
    assert _options({"do_sample": True, "top_p": 0.5, "max_gen_toks": 9}) == {
        "max_tokens": 9,
        "temperature": 1.0,
        "top_p": 0.5,
    }
    with pytest.raises(om.UnsupportedFeature, match="'num_beams'"):
        _options({"num_beams": 4})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.api.model", None)
    with pytest.raises(om.MissingExtra, match=r"pip install .*\[lm-eval\]"):
        as_lm(om.Model("echo:"))
