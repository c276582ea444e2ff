"""Rankings on the wire: the `/rerank` that Cohere, Jina, vLLM and TEI share."""

import math
from typing import Any

from openmodels.errors import InvalidResponse
from openmodels.openai_wire.decode import TranslateError, json_value, read_model_and_usage, read_rows
from openmodels.openai_wire.encode import add_extra
from openmodels.types.rankings import Ranking, RerankRequest


def encode_request(request: RerankRequest, model: str | None) -> dict[str, Any]:
    """Return the body of a request for a ranking."""
    body: dict[str, Any] = {} if model is None else {"model": model}
    body |= {"query": request.query, "documents": list(request.documents)}
    if request.top_n is not None:
        body["top_n"] = request.top_n
    return add_extra(body, request.extra, "model", "top_n")


def read_ranking(body: bytes, request: RerankRequest, translate_error: TranslateError) -> Ranking:
    """Read the answer of a `/rerank` endpoint.

    Raises:
        InvalidResponse: Not as many documents as asked for, each once and with a finite score.
    """
    value = json_value(body)
    rows = read_rows(value, ("results", "data"), translate_error)
    scores: dict[int, float] = {}
    for row in rows:
        index, score = _read_row(row)
        if not 0 <= index < len(request.documents) or index in scores:
            raise InvalidResponse("The answer's results name a document that was not given, or one twice.")
        scores[index] = score
    due = min(request.top_n or len(request.documents), len(request.documents))
    if len(scores) < due:
        raise InvalidResponse(f"The answer ranks {len(scores)} of {due} documents.")
    model, usage = read_model_and_usage(value)
    return Ranking.of(scores, request, usage, model)


def _read_row(row: Any) -> tuple[int, float]:
    fields: dict[str, Any] = row if isinstance(row, dict) else {}
    index: Any = fields.get("index")
    score: Any = fields.get("relevance_score", fields.get("score"))
    is_valid = isinstance(index, int) and isinstance(score, int | float) and bool not in (type(index), type(score))
    if not is_valid or not math.isfinite(score):
        raise InvalidResponse("A result has no index or no finite score.")
    return int(index), float(score)


def encode_ranking(ranking: Ranking, model: str, *, with_documents: bool) -> dict[str, Any]:
    """Return the body of an answer, in the order of the ranking."""
    results: list[dict[str, Any]] = [
        {
            "index": ranked.index,
            "relevance_score": ranked.score,
            **({"document": {"text": ranked.document}} if with_documents else {}),
        }
        for ranked in ranking
    ]
    tokens = ranking.usage.input_tokens or 0
    return {"model": model, "results": results, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
