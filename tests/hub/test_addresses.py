"""Model ids in what people paste."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from openmodels.hub import addresses


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/toys/teddy-7b", "http://www.huggingface.co/toys/teddy-7b/", "hf.co/toys/teddy-7b",
        "https://huggingface.co/toys/teddy-7b/tree/main/onnx", "huggingface.co/toys/teddy-7b/blob/v1/config.json#L2",
        "https://huggingface.co/toys/teddy-7b/resolve/main/a.safetensors?download=true",
        "https://huggingface.co/api/models/toys/teddy-7b", "https://hf-mirror.com/toys/teddy-7b",
        "https://www.modelscope.cn/models/toys/teddy-7b/summary", "git@hf.co:toys/teddy-7b.git",
        "https://huggingface.co/toys/teddy-7b.git", "hf:toys/teddy-7b", "hf://toys/teddy-7b/a.gguf",
        "huggingface/toys/teddy-7b", "local:toys/teddy-7b", "toys/teddy-7b@main", "hf.co/toys/teddy-7b:IQ3_XS",
        "<https://huggingface.co/toys/teddy-7b>.", '"toys/teddy-7b",', "models--toys--teddy-7b",
        "/home/me/.cache/huggingface/hub/models--toys--teddy-7b/snapshots/0a1b",
    ],
)  # fmt: skip
def test_all_of_them_name_the_model(text):
    assert addresses.model_id_of(text).strip('",') == "toys/teddy-7b"


@pytest.mark.parametrize(
    "text",
    [
        "toys/teddy-7b", "teddy", "azure:azureml/teddy", "./toys/teddy", "local:./toys", "local:/toys/teddy",
        "https://huggingface.co/datasets/toys/bricks", "https://example.org/toys/teddy-7b", "and/or", "",
    ],
)  # fmt: skip
def test_other_texts_stay_as_they_are(text):
    assert addresses.model_id_of(text) == text


def test_azure_addresses_are_ids_of_that_catalog():
    address = "azureml://registries/azureml-meta/models/Teddy-7b/versions/4"
    assert addresses.model_id_of(address) == "azure:azureml-meta/Teddy-7b"


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        ("https://huggingface.co/toys/teddy-7b", "toys/teddy-7b"),
        ("hf.co/toys/teddy-GGUF:Q5_K_S", "toys/teddy-GGUF Q5_K_S"),
        ("ollama.com/library/teddy:7b", "teddy:7b"),
        ("https://huggingface.co/models?search=teddy", "teddy"),
        ("https://github.com/toys/teddy", "toys/teddy"),
        ("teddy", "teddy"),
        ("7b:", "7b:"),
    ],
)
def test_addresses_in_a_search_text(piece, words):
    assert addresses.replace_address(piece).split() == words.split()


@given(st.text(max_size=60))
def test_any_text_is_read(text):
    addresses.model_id_of(text)
    addresses.replace_address("https://" + text)
