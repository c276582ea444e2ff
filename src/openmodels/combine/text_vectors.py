"""Vectors of prompts: those of an embedding model, or of their words."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from openmodels.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORDS = "words"
"""The name of the vectors that need no model."""
_DIMENSIONS = 2048


class TextVectorizer:
    """Turns texts into vectors of length 1, whose products say how alike texts are.

    Without an embedder a vector counts the words and the groups of three letters, rare ones more (TF-IDF), each at a
    hashed place. Of an embedder's vectors the mean is subtracted, since many models give all texts much the same one.

    Args:
        embedder: A model with embeddings, or None.
        weights: The weight of each place, or with an embedder the mean vector; None learns it from the first texts.
    """

    def __init__(self, embedder: Model | None, weights: Sequence[float] | None = None) -> None:
        self.embedder = embedder
        self.weights = None if weights is None else list(weights)

    @property
    def name(self) -> str:
        """The embedder's reference, or `WORDS`."""
        return WORDS if self.embedder is None else self.embedder.reference

    def vectorize(self, texts: Sequence[str]) -> NDArray[Any]:
        """Return an array of shape (texts, dimensions)."""
        import numpy as np

        if self.embedder is None:
            vectors = np.zeros((len(texts), _DIMENSIONS))
            for row, text in zip(vectors, texts, strict=True):
                for place, count in _count_features(text).items():
                    row[place] = math.sqrt(count)
            if self.weights is None:
                fraction = (1 + len(texts)) / (1 + np.count_nonzero(vectors, axis=0))
                self.weights = np.round(np.log(fraction) + 1, 4).tolist()
            vectors *= np.asarray(self.weights)
        else:
            vectors = self.embedder.embed([text or " " for text in texts]).vectors.astype(float)
            if self.weights is None:
                self.weights = np.round(vectors.mean(axis=0), 6).tolist()
            vectors -= np.asarray(self.weights)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        normalized: NDArray[Any] = vectors / np.where(lengths > 0, lengths, 1)
        return normalized


def _count_features(text: str) -> Counter[int]:
    """Return how often each hashed word and group of three letters stands in a text."""
    features: list[str] = []
    for word in re.findall(r"\w+", text.casefold()):
        padded = f"<{word}>"
        features += [word, *(padded[start : start + 3] for start in range(len(padded) - 2))]
    return Counter(zlib.crc32(feature.encode("utf-8", "replace")) % _DIMENSIONS for feature in features)
