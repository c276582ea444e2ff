"""`decide` on the torch engine: probabilities of labels, whatever shares the forward pass."""

from __future__ import annotations

import math
import threading

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import openmodels as om

STATE = {"subject": "Delivery", "body": "The parcel came late and the box was wet. " * 8}
ROOMS = {f"room {number}": None for number in range(40)}
QUESTIONS = {
    "desk": {"type": "choice", "instructions": "Which?", "criteria": {"Returns": "goods", "Freight": None, "?": None}},
    "room": {"type": "choice", "instructions": "Which room?", "criteria": ROOMS},
    "late": {"type": "noul", "instructions": "Is it late?", "criteria": {"true": "after the day", "false": "in time"}},
    "harm": {"type": "score", "instructions": "How bad?", "criteria": ["not at all", "somewhat", "very", "a loss"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("questions", "words"),
    [
        ({}, "questions: it is empty."),
        ({"q": {"type": "choice", "criteria": {}}}, "questions.q.choice.criteria: it is empty."),
        ({"q": {"type": "score", "criteria": ["low"] * 11}}, "questions.q.score.criteria: it takes at most 10."),
        ({"q": {"type": "rank"}}, "questions.q: type: 'rank' is none of 'noul', 'choice', 'score'."),
        ({"q": {"instructions": "?"}}, "questions.q: type: Field required."),
        ({3: {"type": "noul"}}, "questions[3]: as a key, input should be a valid string."),
    ],
)
def test_wrong_questions_are_named_in_plain_words(model, questions, words):
    with pytest.raises(om.InvalidRequest) as caught:
        model.decide("state", questions)
    assert caught.value.cause == words


def test_an_empty_continuation_is_the_only_thing_named(model):
    with pytest.raises(om.InvalidRequest) as caught:
        model.score("prompt", [""])
    assert caught.value.cause == "continuations[0]: it is empty."


def test_probabilities_add_up_to_one(model):
    decisions = model.decide(STATE, QUESTIONS)
    assert list(decisions) == list(QUESTIONS)
    for name, count in (("desk", 3), ("room", 40), ("late", 2), ("harm", 4)):
        decision = decisions[name]
        assert len(decision.probabilities) == count
        assert math.fsum(decision.probabilities.values()) == pytest.approx(1, abs=1e-9)
        assert 0 < decision.label_mass <= 1
        best = max(decision.probabilities.values())
        assert decision.confidence == pytest.approx((best - 1 / count) / (1 - 1 / count))
    levels = decisions["harm"].probabilities
    assert decisions["harm"].value == pytest.approx(sum(int(level) * share for level, share in levels.items()))
    assert decisions["late"].value == max(decisions["late"].probabilities, key=decisions["late"].probabilities.get)


def test_labels_of_several_tokens_have_the_product_of_their_probabilities(model, folder):
    """Every letter is a token of this model, so "Yes" has three."""
    (decision,) = model.decide("It rains.", {"q": {"type": "noul", "instructions": "Is it wet?"}}).values()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    content = "It rains.\n\nIs it wet?\nAnswer with Yes or No only."
    messages = [{"role": "user", "content": content}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    mass = {}
    for option, labels in {"yes": ("Yes", "yes"), "no": ("No", "no")}.items():
        mass[option] = 0.0
        for label in labels:
            tokens = tokenizer(label, add_special_tokens=False)["input_ids"]
            with torch.inference_mode():
                rows = theirs(torch.tensor([prompt + tokens])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            mass[option] += math.exp(rows.gather(1, torch.tensor(tokens)[:, None]).sum().item())
    total = sum(mass.values())
    assert decision.label_mass == pytest.approx(total, rel=1e-3)
    assert decision.probabilities == pytest.approx({option: share / total for option, share in mass.items()}, abs=1e-4)


def test_batch_mates_do_not_change_the_verdict(model):
    alone = model.decide(STATE, QUESTIONS)
    together = []

    def work(number):
        if number % 2:
            model.chat(f"Tell me of {number}", max_tokens=30, temperature=0)
        else:
            together.append(model.decide(STATE, QUESTIONS))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) == 4
    for decisions in together:
        for name, decision in decisions.items():
            assert decision.probabilities == pytest.approx(alone[name].probabilities, abs=1e-5)
            if name != "harm":
                assert decision.value == alone[name].value


def test_one_question_gives_what_it_gives_among_others(model):
    among = model.decide(STATE, QUESTIONS)
    for name, question in QUESTIONS.items():
        assert model.decide(STATE, {name: question})[name].probabilities == pytest.approx(
            among[name].probabilities, abs=1e-5
        )


def test_the_state_is_computed_once(model):
    state = "A state that nothing else has asked about, of many words. " * 6
    outcomes = []
    with om.Model(model.backend, on_reply=outcomes.append) as watched:
        watched.decide(state, QUESTIONS)
    assert outcomes[0].usage.cached_tokens >= (len(QUESTIONS) - 1) * (len(state) - 1)


def test_a_model_without_a_chat_template_decides(tmp_path):
    from tiny import tiny_llama

    with om.Model(f"local:{tiny_llama(tmp_path, chat_template=None)}", dtype="float32") as base:
        (decision,) = base.decide("It rains.", {"q": {"type": "noul"}}).values()
    assert math.fsum(decision.probabilities.values()) == pytest.approx(1)
