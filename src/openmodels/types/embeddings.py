"""Embeddings: the request and the vectors. Data only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, StringConstraints

from openmodels.types.messages import Frozen, Text
from openmodels.types.options import EmbedOptions, request_fields
from openmodels.types.reply import Usage

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


class EmbedRequest(Frozen):
    """A checked request for embeddings: what `Backend.embed` gets.

    The other fields are the rows of `EmbedOptions`; None means that the caller did not set it.
    """

    dimensions: int | None = request_fields(EmbedOptions)["dimensions"][1]
    texts: tuple[Annotated[Text, StringConstraints(min_length=1)], ...] = Field(min_length=1)  # what to embed, in order
    extra: dict[str, Any] = Field(default_factory=dict)
    deadline: float | None = None  # when the call must be over, on the clock of `time.monotonic()`; None is never


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The vectors of some texts, in the order of the texts.

    Attributes:
        vectors: A numpy array of float32, of shape (number of texts, dimensions).
        usage: Tokens consumed.
        model: The model that answered, as the backend names it.
        seconds: Seconds from the call to the answer, retries included.
    """

    vectors: NDArray[float32]
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    seconds: float = 0.0

    def __len__(self) -> int:
        return len(self.vectors)

    def __repr__(self) -> str:
        count, dimensions = self.vectors.shape
        return f"<Embeddings of {count} texts, {dimensions} dimensions, model {self.model!r}>"

    def similarity(self, other: Embeddings | None = None) -> NDArray[float32]:
        """Return the cosine of every vector with every one of `other` or of these.

        The result is of float32, of shape (len(self), len(other)), its values from -1 to 1. A vector
        of zeros is similar to nothing: 0.

        Raises:
            ValueError: The two have different dimensions.
        """
        return _normalize(self.vectors) @ _normalize((other or self).vectors).T


def _normalize(vectors: NDArray[float32]) -> NDArray[float32]:
    import numpy as np

    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
