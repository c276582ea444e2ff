"""Local cross-encoders beside those of sentence-transformers: a small one, made on the spot from MiniLM's words."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from tiny import save_random, tiny_tokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

import openmodels as om
from openmodels.testing.embeddings import RerankingTests

QUERY = "Where is the cat?"
DOCUMENTS = [
    "A cat sits on the mat.",
    "Interest rates rose by a quarter point.",
    "日本語の文章です。",
    "The cat is in the kitchen, under the table, where it always is at this time of the day.",
    "a",
]


def make(folder, minilm, **more):
    for file in minilm.iterdir():
        if file.name.startswith(("tokenizer", "vocab", "special")):
            shutil.copy(file, folder)
    told = json.loads((minilm / "config.json").read_text())
    config = BertConfig(
        vocab_size=told["vocab_size"],
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=more.pop("num_labels", 1),
        **more,
    )
    save_random(BertForSequenceClassification(config), folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory, minilm):
    return make(tmp_path_factory.mktemp("cross"), minilm)


@pytest.fixture(scope="module")
def judging(folder):
    with om.Model(f"local:{folder}") as model:
        yield model


@pytest.mark.parametrize("said", [None, "torch.nn.modules.linear.Identity"])
def test_scores_are_those_of_sentence_transformers(tmp_path, minilm, said):
    from sentence_transformers import CrossEncoder

    more = {} if said is None else {"sentence_transformers": {"activation_fn": said, "version": "5.0"}}
    folder = make(tmp_path, minilm, **more)
    expected = CrossEncoder(str(folder), device="cpu").predict([(QUERY, document) for document in DOCUMENTS])
    with om.Model(f"local:{folder}", device="cpu") as model:
        found = model.rerank(QUERY, DOCUMENTS)
    scores = np.array([score for _, score in sorted((one.index, one.score) for one in found)])
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_what_is_known_before(judging, minilm):
    known = judging.capabilities
    assert (known.rerank, known.embed, known.chat, known.complete) == (True, False, False, False)
    known = om.Model(f"local:{minilm}").capabilities
    assert (known.rerank, known.embed, known.chat, known.complete) == (False, True, False, False)


def test_too_long_is_an_error_unless_it_may_be_cut(judging):
    documents = ["short", "word " * 600]
    with pytest.raises(om.ContextTooLong, match=r"documents\[1\]"):
        judging.rerank(QUERY, documents)
    assert len(judging.rerank(QUERY, documents, extra={"truncate": True})) == 2


@pytest.mark.parametrize("extra", [{"truncate": 1}, {"cut": True}])
def test_wrong_extra_is_named(judging, extra):
    with pytest.raises(om.InvalidRequest, match=next(iter(extra))):
        judging.rerank(QUERY, DOCUMENTS, extra=extra)


def test_what_is_no_cross_encoder_says_so(tmp_path, minilm):
    with pytest.raises(om.UnsupportedFeature, match="'rerank'"):
        om.Model(f"local:{minilm}").rerank(QUERY, DOCUMENTS)
    with pytest.raises(om.UnsupportedFeature, match="3 classes"):
        om.Model(f"local:{make(tmp_path, minilm, num_labels=3)}").rerank(QUERY, DOCUMENTS)


class TestRanks(RerankingTests):
    reranks = True

    @pytest.fixture
    def model(self, judging):
        return judging


class TestDecoders:
    """Decoders find a text's end by its padding: together each pair gets the score that it gets alone."""

    @pytest.mark.parametrize(
        ("in_config", "in_tokenizer", "side"),
        [(None, None, "right"), (258, None, "left"), (258, 256, "right"), (-1, 258, "left"), (256, 256, "right")],
    )
    def test_together_and_alone(self, tmp_path, in_config, in_tokenizer, side):
        sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        made = LlamaConfig(vocab_size=259, num_labels=1, **sizes)
        save_random(LlamaForSequenceClassification(made), tmp_path)
        file = tmp_path / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"pad_token_id": in_config}))
        tokenizer = tiny_tokenizer(None)
        tokenizer.pad_token = None if in_tokenizer is None else tokenizer.convert_ids_to_tokens(in_tokenizer)
        tokenizer.padding_side = side
        tokenizer.save_pretrained(tmp_path)
        documents = ["one", "a much longer document", "<|endoftext|>"]
        reference = LlamaForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32).eval()
        alone = []
        for document in documents:
            ids = torch.tensor([tokenizer("q", document)["input_ids"]])
            with torch.inference_mode():
                alone.append(torch.sigmoid(reference(input_ids=ids).logits[0, 0]).item())
        with om.Model(f"local:{tmp_path}", dtype="float32") as model:
            found = {result.index: result.score for result in model.rerank("q", documents).documents}
        np.testing.assert_allclose([found[at] for at in range(3)], alone, rtol=1e-4)

    def test_extra_of_another_type(self, folder):
        with om.Model(f"local:{folder}") as model, pytest.raises(om.InvalidRequest):
            model.rerank("q", ["a"], extra={"truncate": "yes"})


def test_numbers_of_texts_that_the_model_does_not_know(tmp_path):
    """RoBERTa knows one kind of text, and some tokenizers number two."""
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    made = RobertaConfig(vocab_size=259, num_labels=1, type_vocab_size=1, max_position_embeddings=50, **sizes)
    save_random(RobertaForSequenceClassification(made), tmp_path)
    tokenizer = tiny_tokenizer(None)
    tokenizer.model_input_names = ["input_ids", "attention_mask", "token_type_ids"]
    tokenizer.save_pretrained(tmp_path)
    with om.Model(f"local:{tmp_path}") as model:
        assert len(model.rerank("q", ["a", "bc"]).documents) == 2
        with pytest.raises(om.ContextTooLong, match="49 tokens and the model takes 48"):
            model.rerank("q", ["a" * 48])
