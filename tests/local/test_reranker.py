"""Local cross-encoders beside those of sentence-transformers: a small one, made on the spot from MiniLM's words."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tiny import save_random
from transformers import BertConfig, BertForSequenceClassification

import openmodels as om
from openmodels.testing.embedding import Reranking

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
    theirs = CrossEncoder(str(folder), device="cpu").predict([(QUERY, document) for document in DOCUMENTS])
    with om.Model(f"local:{folder}", device="cpu") as model:
        found = model.rerank(QUERY, DOCUMENTS)
    ours = np.array([score for _, score in sorted((one.index, one.score) for one in found)])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


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


class TestRanks(Reranking):
    reranks = True

    @pytest.fixture
    def model(self, judging):
        return judging
