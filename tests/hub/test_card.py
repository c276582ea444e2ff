"""Model cards: front matter, and the base models that the prose names."""

from __future__ import annotations

import pytest

from openmodels.hub.card import find_base_mentions, parse_front_matter, parse_outline


@pytest.mark.parametrize(
    ("sentence", "name"),
    [
        ("Finetuned from: tiiuae/falcon-40b", "tiiuae/falcon-40b"),
        (
            "**Base model:** [Mistral](https://huggingface.co/mistralai/Mistral-7B-v0.1)",
            "mistralai/Mistral-7B-v0.1",
        ),
        (
            "It was further pre-trained on medical text; base model Mistral-7B-Instruct-v0.1.",
            "Mistral-7B-Instruct-v0.1",
        ),
        ("A fine-tuned version of `google/gemma-2b` for law.", "google/gemma-2b"),
        ("We built on meta-llama/Llama-2-7b-hf and added blocks.", "meta-llama/Llama-2-7b-hf"),
    ],
)
def test_sentences_that_name_a_base(sentence, name):
    assert find_base_mentions(sentence, "u/own")[0].name == name


@pytest.mark.parametrize(
    "sentence",
    [
        "See https://huggingface.co/docs/transformers for more.",
        "It was fine-tuned on the dataset tatsu-lab/alpaca.",
        "Trained with https://huggingface.co/datasets/OpenAssistant/oasst1 and fine-tuned twice.",
        "u/own is fine-tuned.",
        "Compare with tiiuae/falcon-40b.",
        "",
    ],
)
def test_sentences_that_do_not(sentence):
    assert find_base_mentions(sentence, "u/own") == []


def test_a_word_without_end_is_read_in_time():
    assert find_base_mentions("fine-tuned from " + "A" * 10**6 + "-", "u/own") == []


def test_the_relation_is_the_sentences():
    assert find_base_mentions("Quantized version of a/b-7B, GGUF.", "u/own")[0].relation == "quantized"
    assert find_base_mentions("A LoRA adapter, fine-tuned from org/base.", "u/own")[0].relation == "adapter"


@pytest.mark.parametrize(
    ("card", "matter"),
    [
        ("---\nlicense: mit\nlanguage: [no]\n---\n# x", {"license": "mit", "language": [False]}),
        ("---\nlicense: [broken\n---\n", {}),
        ("---\n- a list\n---\n", {}),
        ("# no front matter\n---\nlicense: mit\n---", {}),
        ("---\nnever: closed", {}),
        ("---\nx: " + "[" * 10**5 + "\n---\n", {}),
        ("\ufeff---\r\nlicense: mit\r\n---\r\n", {"license": "mit"}),
        ("---\nx: !!python/object/apply:os.system ['true']\n---\n", {}),
    ],
)
def test_front_matter(card, matter):
    assert parse_front_matter(card) == matter


def test_front_matter_is_no_part_of_the_outline():
    text = "\ufeff---\r\nlicense: mit\r\ntags:\r\n- a\r\n---\r\n# Glow\r\nTrained on web data of last year."
    assert parse_outline(text) == {
        "headings": ["Glow"],
        "empty_headings": [],
        "links": [],
        "claims": [{"fact": "Trained on web data of last year."}],
        "citations": [],
    }
    assert parse_outline("---\n---\n# Glow")["headings"] == ["Glow"]
