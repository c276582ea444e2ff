"""Embeddings on the wire: the request as JSON, the vectors as one array."""

import binascii
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from openmodels.errors import InvalidResponse
from openmodels.openai_wire.decode import TranslateError, json_object, read_model_and_usage, read_rows
from openmodels.openai_wire.encode import add_extra
from openmodels.types.embeddings import Embeddings, EmbedRequest

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray


def encode_request(request: EmbedRequest, model: str | None) -> dict[str, Any]:
    """Return the body of a request for embeddings."""
    body: dict[str, Any] = {} if model is None else {"model": model}
    body = add_extra(body | {"input": list(request.texts)}, request.extra, "model")
    return body if request.dimensions is None else {"dimensions": request.dimensions} | body


def read_embeddings(body: bytes, request: EmbedRequest, translate_error: TranslateError) -> Embeddings:
    """Return the vectors of an `/embeddings` response.

    They come as lists of numbers, or as base64 of little-endian float32.

    Raises:
        InvalidResponse: Not exactly one vector of finite numbers for each text, all of one length.
    """
    value = json_object(body)
    rows = read_rows(value, ("data",), translate_error)
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidResponse("The answer's data are no list of objects.")
    places = [row.get("index") for row in rows]
    if any(place is not None for place in places):
        if any(type(place) is not int for place in places) or sorted(places) != list(range(len(rows))):
            raise InvalidResponse("The answer's vectors are not numbered from 0 on, each once.")
        rows = sorted(rows, key=lambda row: int(row["index"]))
    vectors = stack_vectors([row.get("embedding") for row in rows], len(request.texts), request.dimensions)
    model, usage = read_model_and_usage(value)
    return Embeddings(vectors, usage, model)


def stack_vectors(rows: list[Any], texts: int, dimensions: int | None = None) -> "NDArray[float32]":
    """Return vectors as one float32 array of shape (texts, dimensions).

    A row is a list of numbers, or base64 of little-endian float32. `dimensions` is the length asked for, if any.

    Raises:
        InvalidResponse: One is missing, of another length, or holds something else than finite numbers.
    """
    import numpy as np

    if len(rows) != texts:
        raise InvalidResponse(f"The answer has {len(rows)} vectors for {texts} texts.")
    vectors = [_read_vector(row, at) for at, row in enumerate(rows)]
    lengths = sorted({len(vector) for vector in vectors})
    if len(lengths) > 1:
        raise InvalidResponse(f"The answer's vectors have different lengths: {lengths[0]} to {lengths[-1]}.")
    if dimensions not in (None, lengths[0]):
        raise InvalidResponse(
            f"The answer's vectors have {lengths[0]} dimensions, not {dimensions} as asked.",
            next_step="Leave `dimensions` out for a model that cannot shorten its vectors.",
        )
    return np.stack(vectors)


def _read_vector(row: Any, at: int) -> "NDArray[float32]":
    import numpy as np

    wrong = InvalidResponse(f"The answer's vector {at} is no list of finite numbers.")
    try:
        if isinstance(row, str):
            vector = np.frombuffer(b64decode(row, validate=True), "<f4").astype(np.float32)
        else:
            # The kind is checked before the cast, which would make numbers of texts and booleans.
            numbers = np.array(row) if isinstance(row, list) else np.empty(0)
            if numbers.dtype.kind not in "iuf":
                raise wrong
            with np.errstate(over="ignore"):
                vector = numbers.astype(np.float32)
    except (ValueError, OverflowError, binascii.Error):
        raise wrong from None
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise wrong
    return vector


def encode_embeddings(embeddings: Embeddings, model: str, *, as_base64: bool = False) -> dict[str, Any]:
    """Return the body of an answer; its vectors as numbers, or as base64 of float32."""
    vectors = embeddings.vectors
    rows = [b64encode(row.astype("<f4").tobytes()).decode() for row in vectors] if as_base64 else vectors.tolist()
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    tokens = embeddings.usage.input_tokens or 0
    return {
        "object": "list",
        "data": data,
        "model": model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
