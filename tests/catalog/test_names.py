"""What names say."""

from __future__ import annotations

import pytest

from openmodels.catalog import license_ids, names, vocabulary


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
    assert set(names.words(name)) == set(words.split())


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
        ("model-1b6", (None, None)),
    ],
)
def test_size(name, size):
    assert names.size(name) == size


@pytest.mark.parametrize(
    ("name", "is_one"), [("Llama-2-7B-GGUF", True), ("x-4bit", True), ("x-AWQ", True), ("Llama-2-7b", False)]
)
def test_conversions(name, is_one):
    assert names.is_conversion(name) == is_one


@pytest.mark.parametrize(
    ("stated", "spdx", "kind"),
    [
        ("apache-2.0", "Apache-2.0", "open"),
        ("Apache2.0", "Apache-2.0", "open"),
        ("MIT", "MIT", "open"),
        ("odc-by", "ODC-By-1.0", "open"),
        ("llama2", "llama2", "restricted"),
        ("llama3.1", "llama3.1", "restricted"),
        ("gemma", "gemma", "restricted"),
        ("bigscience-bloom-rail-1.0", "bigscience-bloom-rail-1.0", "restricted"),
        ("openrail++", "openrail++", "restricted"),
        ("cc-by-nc-4.0", "CC-BY-NC-4.0", "non-commercial"),
        ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0", "non-commercial"),
        ("mnpl", "mnpl", "non-commercial"),
        ("other", "other", "unknown"),
        ("custom", "custom", "unknown"),
        ("cc", "cc", "unknown"),
        ("something-new-1.0", "something-new-1.0", "unknown"),
    ],
)
def test_licenses(stated, spdx, kind):
    assert license_ids.normalise(stated) == spdx
    assert license_ids.classify(stated) == kind


def test_a_name_decides_where_the_id_says_nothing():
    assert license_ids.classify("other", "nvidia-open-model-license") == "restricted"
    assert license_ids.classify("other", "apache-2.0") == "open"
    assert license_ids.classify("other", "my own words") == "unknown"


def test_tasks_of_both_catalogs_are_one():
    assert vocabulary.task("chat-completion") == vocabulary.task("messages") == "text-generation"
    assert vocabulary.task("embeddings") == "feature-extraction"
    assert vocabulary.is_chat("chat-completions")
    assert not vocabulary.is_chat("text-generation")
    assert vocabulary.family(None, ["transformers", "RefinedWeb", "text-generation"]) == "falcon"
    assert vocabulary.family(None, ["transformers"]) is None
