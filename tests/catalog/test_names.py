"""What names say."""

from __future__ import annotations

import pytest

from openmodels import licenses
from openmodels.catalog import vocabulary
from openmodels.catalog.record import License
from openmodels.hub import model_names


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SmolLM2-135M-Instruct", "smollm smol 2 135m instruct"),
        ("BioMistral-7B", "biomistral bio mistral 7b"),
        ("Llama-3.1-8B", "llama 3.1 3 8b"),
        ("llama3.1", "llama 3.1 3"),
        ("Mistral-7B-Instruct-v0.2", "mistral 7b instruct 0.2"),
        ("Mixtral-8x7B", "mixtral 8x7b"),
        ("DeepSeek-R1", "deepseek deep seek r1"),
        ("llama-7b_Q4_K_M.gguf", "llama 7b q4 k m gguf"),
        ("qwen2.5-7b", "qwen 2.5 2 7b"),
        ("gpt2", "gpt 2"),
        ("", ""),
        ("___", ""),
    ],
)
def test_words(name, words):
    assert set(model_names.search_terms(name)) == set(words.split())


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("Llama-2-7b-hf", (7_000_000_000, None)),
        ("Qwen3-30B-A3B", (30_000_000_000, 3_000_000_000)),
        ("SmolLM2-135M", (135_000_000, None)),
        ("Mixtral-8x7B", (None, None)),
        ("phi-4", (None, None)),
        ("bert-base", (None, None)),
        ("LongAlign-13B-64k", (13_000_000_000, None)),
        ("Bear-9B-32E", (None, 9_000_000_000)),
        ("Bear-90B-9B-32E", (90_000_000_000, 9_000_000_000)),
        ("Bear-9Bx32E", (None, 9_000_000_000)),
        ("BearMoE-2B-11B", (11_000_000_000, 2_000_000_000)),
        ("bear-3b-a500m", (3_000_000_000, 500_000_000)),
        ("bear-moe-11b", (11_000_000_000, None)),
        ("bear-4x7B-24B", (24_000_000_000, None)),
        ("bear-7b-lr2e-5", (7_000_000_000, None)),
        ("model-1b6", (None, None)),
    ],
)
def test_size(name, size):
    assert model_names.parameter_counts(name) == size


@pytest.mark.parametrize(
    ("name", "expected"), [("Llama-2-7B-GGUF", True), ("x-4bit", True), ("x-AWQ", True), ("Llama-2-7b", False)]
)
def test_conversions(name, expected):
    assert model_names.is_conversion(name) == expected


@pytest.mark.parametrize(
    ("stated", "name", "kind"),
    [
        ("MIT", None, "open"),
        ("odc-by", None, "open"),
        ("openmdw-1.1", None, "open"),
        ("llama3.1", None, "restricted"),
        ("cc-by-nd-4.0", None, "restricted"),
        ("cc-by-nc-4.0", None, "non-commercial"),
        ("other", None, "unknown"),
        ("openrail", None, "unknown"),
        ("wtfpl", None, "unknown"),
        ("bsd-3-clause-clear", None, "unknown"),
        ("etalab-2.0", None, "unknown"),
        ("c-uda", None, "unknown"),
        ("something-new-1.0", None, "unknown"),
        ("other", "nvidia-open-model-license", "restricted"),
        ("other", "apache-2.0", "unknown"),
        ("other", "my own words", "unknown"),
    ],
)
def test_a_licenses_class_is_that_of_the_one_table(stated, name, kind):
    made = License(id=licenses.normalise(stated), name=name)
    assert made.license_class == kind
    # Nothing is open here that the openness report would not take for it.
    assert (kind == "open") <= licenses.find(stated).open


def test_tasks_of_both_catalogs_are_one():
    assert vocabulary.task("chat-completion") == vocabulary.task("messages") == "text-generation"
    assert vocabulary.task("embeddings") == "feature-extraction"
    assert vocabulary.is_chat("chat-completions")
    assert not vocabulary.is_chat("text-generation")
    assert vocabulary.family(None, ["transformers", "RefinedWeb", "text-generation"]) == "falcon"
    assert vocabulary.family(None, ["transformers"]) is None
