"""Conformance: `embed` and `rerank` give results or refuse with a reason."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from openmodels.errors import InvalidRequest, OpenModelsError, UnsupportedFeature
from openmodels.model import Model
from openmodels.testing.suite import Suite
from openmodels.types.embeddings import Embeddings
from openmodels.types.rankings import Ranking

_TEXTS = ["A cat sits on the mat.", "日本語の文章です。", "Interest rates rose by a quarter point."]


class EmbeddingTests(Suite):
    """Tests of `embed` and `aembed`."""

    @pytest.fixture(params=["embed", "aembed"])
    def method(self, request: pytest.FixtureRequest) -> str:
        """The method that embeds."""
        name: str = request.param
        return name

    def test_texts_become_vectors_or_are_refused(self, model: Model, method: str) -> None:
        """Each text gets a float32 vector, in order and independent of the other texts.

        A model without embeddings refuses with an error that says why.
        """
        if "embed" not in model.backend.features or not self.embeds:
            with pytest.raises(UnsupportedFeature, match="'embed'") as caught:
                embed_texts(model, method, _TEXTS)
            assert model.backend.name in str(caught.value)
            assert caught.value.reference == model.reference
            return
        embeddings = embed_texts(model, method, _TEXTS)
        assert embeddings.vectors.dtype == np.float32
        assert embeddings.vectors.shape == (len(_TEXTS), embeddings.vectors.shape[1])
        assert np.isfinite(embeddings.vectors).all()
        assert embeddings.usage.input_tokens is None or embeddings.usage.input_tokens > 0
        assert embeddings.model
        assert embeddings.seconds > 0
        alone = embed_texts(model, method, _TEXTS[2])
        assert alone.vectors.shape == (1, embeddings.vectors.shape[1])
        assert alone.similarity(embeddings)[0, 2] > 0.999
        self.proves(model, "embed")

    def test_wrong_texts_are_named(self, model: Model, method: str) -> None:
        """Invalid texts are refused with an error that names them.

        A backend without `embed` refuses the feature instead.
        """
        wrong: tuple[Any, ...] = ([], "", ["a", ""], ["a", 5], b"bytes", None)
        expected: tuple[type[OpenModelsError], str] = (InvalidRequest, "texts")
        if "embed" not in model.backend.features:
            expected = (UnsupportedFeature, "embed")
        for texts in wrong:
            with pytest.raises(expected[0], match=expected[1]) as caught:
                embed_texts(model, method, texts)
            assert caught.value.reference == model.reference


class RerankingTests(Suite):
    """Tests of `rerank` and `arerank`."""

    @pytest.fixture(params=["rerank", "arerank"])
    def rerank_method(self, request: pytest.FixtureRequest) -> str:
        """The method that ranks."""
        name: str = request.param
        return name

    def test_documents_are_ranked_or_refused(self, model: Model, rerank_method: str) -> None:
        """Documents are ordered by score, the best `top_n` if that is set.

        A model without rankings refuses with an error that says why.
        """
        if "rerank" not in model.backend.features or not self.reranks:
            # A server, or a model's files, may only tell when they are asked.
            kind = OpenModelsError if "rerank" in model.backend.features else UnsupportedFeature
            with pytest.raises(kind, match="rerank") as caught:
                rank_documents(model, rerank_method, "cats", _TEXTS)
            assert caught.value.reference == model.reference
            return
        ranking = rank_documents(model, rerank_method, "Where is the cat?", _TEXTS)
        assert sorted(entry.index for entry in ranking) == [0, 1, 2]
        assert [entry.score for entry in ranking] == sorted((entry.score for entry in ranking), reverse=True)
        assert all(entry.document == _TEXTS[entry.index] for entry in ranking)
        assert ranking.model
        assert ranking.seconds > 0
        best = rank_documents(model, rerank_method, "Where is the cat?", _TEXTS, top_n=2)
        assert [entry.index for entry in best] == [entry.index for entry in ranking][:2]
        self.proves(model, "rerank")

    def test_wrong_documents_are_named(self, model: Model, rerank_method: str) -> None:
        """Invalid documents, queries and limits are refused by name.

        A backend without `rerank` refuses the feature instead.
        """
        expected: tuple[type[OpenModelsError], str] = (InvalidRequest, "documents|query|top_n")
        if "rerank" not in model.backend.features:
            expected = (UnsupportedFeature, "rerank")
        for query, documents, top_n in (
            *(("q", wrong, 1) for wrong in ([], "text", ["a", ""], ["a", 5], None)),
            *((wrong, ["a"], 1) for wrong in ("", 5, None)),
            *(("q", ["a"], wrong) for wrong in (0, True, 1.5)),
        ):
            with pytest.raises(expected[0], match=expected[1]) as caught:
                rank_documents(model, rerank_method, query, documents, top_n=top_n)
            assert caught.value.reference == model.reference


def rank_documents(model: Model, method: str, query: Any, documents: Any, **options: Any) -> Ranking:
    """Return the result of `rerank`, or of `arerank` in an event loop of its own."""
    outcome = getattr(model, method)(query, documents, **options)
    result: Ranking = asyncio.run(outcome) if method == "arerank" else outcome
    return result


def embed_texts(model: Model, method: str, texts: Any, **options: Any) -> Embeddings:
    """Return the result of `embed`, or of `aembed` in an event loop of its own."""
    outcome = getattr(model, method)(texts, **options)
    result: Embeddings = asyncio.run(outcome) if method == "aembed" else outcome
    return result
