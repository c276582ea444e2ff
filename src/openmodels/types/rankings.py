"""Rankings: the request and the ranked documents. Data only."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from openmodels import escaping
from openmodels.types.messages import Frozen, Text
from openmodels.types.options import RerankOptions, request_fields
from openmodels.types.reply import Usage

_NonEmptyText = Annotated[Text, StringConstraints(min_length=1)]


class RerankRequest(Frozen):
    """A checked request for a ranking: what `Backend.rerank` gets.

    The other fields are the rows of `RerankOptions`; None means that the caller did not set it.
    """

    top_n: int | None = request_fields(RerankOptions)["top_n"][1]
    query: _NonEmptyText  # what is looked for
    documents: tuple[_NonEmptyText, ...] = Field(min_length=1)  # the texts to rank
    extra: dict[str, Any] = Field(default_factory=dict)
    deadline: float | None = None  # when the call must be over, on the clock of `time.monotonic()`; None is never


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document in its place.

    Attributes:
        index: Its place in the list that was given, from 0.
        score: How well it answers the query; only the order of one model's scores means anything.
        document: The document.
    """

    index: int
    score: float
    document: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Documents, the best first.

    Attributes:
        documents: The documents in their places; `top_n` of them where that was asked for.
        usage: Tokens consumed.
        model: The model that answered, as the backend names it.
        seconds: Seconds from the call to the answer, retries included.
    """

    documents: tuple[RankedDocument, ...]
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    seconds: float = 0.0

    @classmethod
    def of(
        cls, scores: Mapping[int, float], request: RerankRequest, usage: Usage | None = None, model: str | None = None
    ) -> Self:
        """Return the ranking of scores by index; equal ones keep their order."""
        order = sorted(scores, key=lambda index: (-scores[index], index))[: request.top_n]
        ranked = tuple(RankedDocument(index, scores[index], request.documents[index]) for index in order)
        return cls(ranked, usage or Usage(), model)

    def __len__(self) -> int:
        return len(self.documents)

    def __contains__(self, document: object) -> bool:
        return any(document in (ranked, ranked.document) for ranked in self.documents)

    def __str__(self) -> str:
        return "\n".join(f"{ranked.score:8.3f}  {ranked.document}" for ranked in self.documents)

    def __iter__(self) -> Iterator[RankedDocument]:
        return iter(self.documents)

    def __getitem__(self, place: int) -> RankedDocument:
        return self.documents[place]

    def _repr_html_(self) -> str:
        rows = (
            f"<tr><td>{ranked.score:.3f}</td><td>{escaping.escape_html(ranked.document[:200])}</td></tr>"
            for ranked in self
        )
        return f"<table><tr><th>score</th><th>document</th></tr>{''.join(rows)}</table>"
