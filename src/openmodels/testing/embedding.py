"""Conformance: `embed` gives vectors and `rerank` an order, or each says that there is none, and why."""

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


class Embedding(Suite):
    """Tests of `embed` and `aembed`."""

    @pytest.fixture(params=["embed", "aembed"])
    def method(self, request: pytest.FixtureRequest) -> str:
        """The way to ask for vectors."""
        name: str = request.param
        return name

    def test_texts_become_vectors_or_are_refused(self, model: Model, method: str) -> None:
        """One float32 vector for each text, in their order, the same for one alone; or an error that says why."""
        if "embed" not in model.backend.features or not self.embeds:
            with pytest.raises(UnsupportedFeature, match="'embed'") as caught:
                embedded(model, method, _TEXTS)
            assert model.backend.name in str(caught.value)
            assert caught.value.reference == model.reference
            return
        found = embedded(model, method, _TEXTS)
        assert found.vectors.dtype == np.float32
        assert found.vectors.shape == (len(_TEXTS), found.vectors.shape[1])
        assert np.isfinite(found.vectors).all()
        assert found.usage.input_tokens is None or found.usage.input_tokens > 0
        assert found.model
        assert found.seconds > 0
        alone = embedded(model, method, _TEXTS[2])
        assert alone.vectors.shape == (1, found.vectors.shape[1])
        assert alone.similarity(found)[0, 2] > 0.999
        self.proves(model, "embed")

    def test_wrong_texts_are_named(self, model: Model, method: str) -> None:
        """An empty list, an empty text or what is no text is refused as one, unless there is no `embed` at all."""
        wrong: tuple[Any, ...] = ([], "", ["a", ""], ["a", 5], b"bytes", None)
        expected: tuple[type[OpenModelsError], str] = (InvalidRequest, "texts")
        if "embed" not in model.backend.features:
            expected = (UnsupportedFeature, "embed")
        for texts in wrong:
            with pytest.raises(expected[0], match=expected[1]) as caught:
                embedded(model, method, texts)
            assert caught.value.reference == model.reference


class Reranking(Suite):
    """Tests of `rerank` and `arerank`."""

    @pytest.fixture(params=["rerank", "arerank"])
    def way(self, request: pytest.FixtureRequest) -> str:
        """The way to ask for a ranking."""
        name: str = request.param
        return name

    def test_documents_are_ranked_or_refused(self, model: Model, way: str) -> None:
        """Every document has a place by its score, `top_n` of them where asked; or an error says why not."""
        if "rerank" not in model.backend.features or not self.reranks:
            # A server, or a model's files, may only tell when they are asked.
            kind = OpenModelsError if "rerank" in model.backend.features else UnsupportedFeature
            with pytest.raises(kind, match="rerank") as caught:
                ranked(model, way, "cats", _TEXTS)
            assert caught.value.reference == model.reference
            return
        found = ranked(model, way, "Where is the cat?", _TEXTS)
        assert sorted(one.index for one in found) == [0, 1, 2]
        assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
        assert all(one.document == _TEXTS[one.index] for one in found)
        assert found.model
        assert found.seconds > 0
        best = ranked(model, way, "Where is the cat?", _TEXTS, top_n=2)
        assert [one.index for one in best] == [one.index for one in found][:2]
        self.proves(model, "rerank")

    def test_wrong_documents_are_named(self, model: Model, way: str) -> None:
        """An empty list, an empty text or what is no text is refused, unless there is no `rerank` at all."""
        expected: tuple[type[OpenModelsError], str] = (InvalidRequest, "documents|query|top_n")
        if "rerank" not in model.backend.features:
            expected = (UnsupportedFeature, "rerank")
        for query, documents, top_n in (
            *(("q", wrong, 1) for wrong in ([], "text", ["a", ""], ["a", 5], None)),
            *((wrong, ["a"], 1) for wrong in ("", 5, None)),
            *(("q", ["a"], wrong) for wrong in (0, True, 1.5)),
        ):
            with pytest.raises(expected[0], match=expected[1]) as caught:
                ranked(model, way, query, documents, top_n=top_n)
            assert caught.value.reference == model.reference


def ranked(model: Model, way: str, query: Any, documents: Any, **options: Any) -> Ranking:
    """Return what `rerank` or `arerank` gives, the latter in an event loop of its own."""
    found = getattr(model, way)(query, documents, **options)
    result: Ranking = asyncio.run(found) if way == "arerank" else found
    return result


def embedded(model: Model, method: str, texts: Any, **options: Any) -> Embeddings:
    """Return what `embed` or `aembed` gives, the latter in an event loop of its own."""
    found = getattr(model, method)(texts, **options)
    result: Embeddings = asyncio.run(found) if method == "aembed" else found
    return result
