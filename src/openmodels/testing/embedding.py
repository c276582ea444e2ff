"""Conformance: `embed` gives vectors, or says that there are none before anything is asked."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from openmodels.embeddings import Embeddings
from openmodels.errors import InvalidRequest, OpenModelsError, UnsupportedFeature
from openmodels.model import Model
from openmodels.testing.suite import Suite

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


def embedded(model: Model, method: str, texts: Any, **options: Any) -> Embeddings:
    """Return what `embed` or `aembed` gives, the latter in an event loop of its own."""
    found = getattr(model, method)(texts, **options)
    result: Embeddings = asyncio.run(found) if method == "aembed" else found
    return result
