"""Local embeddings beside those of sentence-transformers, from the same folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import openmodels as om

pytestmark = pytest.mark.weights

DOCS = Path(__file__).parent.parent / "docs"
OTHERS = [
    "日本語の文章です。",
    "ελληνικά και λίγο ακόμη",
    "👩‍🚀🎉",
    "naïve café",
    "a",
    "  spaces  \n\t around  ",
    "word " * 600,
]


def test_two_hundred_texts_have_the_same_vectors(minilm: Path) -> None:
    from sentence_transformers import SentenceTransformer

    lines = [line for page in sorted(DOCS.glob("*.md")) for line in page.read_text().splitlines() if line.strip()]
    picked = 200 - len(OTHERS)
    texts = [*OTHERS, *(lines[at * len(lines) // picked] for at in range(picked))]
    expected = SentenceTransformer(str(minilm), device="cpu").encode(texts)
    with om.Model(f"local:{minilm}", device="cpu") as model:
        vectors = model.embed(texts, extra={"truncate": True}).vectors
    cosines = np.sum(expected.astype(np.float64) * vectors, axis=1) / (
        np.linalg.norm(expected.astype(np.float64), axis=1) * np.linalg.norm(vectors.astype(np.float64), axis=1)
    )
    assert np.abs(1 - cosines).max() < 1e-5
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
