"""Faults of embeddings: missing, ragged, reordered or non-numeric vectors."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from typing import Any

from openmodels.testing.faults.answers import embeddings
from openmodels.testing.faults.expect import VECTORS, Fails, Fault, Vectors
from openmodels.testing.faults.server import Request, Wire, fault


def _embeds(name: str, what: str, body: Any, expect: Vectors | Fails | None = None) -> None:
    @fault(Fault(f"embed-{name}", what, embedded=expect or Vectors(), group="embeddings"))
    def _answer(wire: Wire, _: Request) -> None:
        wire.answer(body)


def _bad(name: str, what: str, body: Any, says: str) -> None:
    _embeds(name, what, body, Fails("InvalidResponse", says))


def _base64(vector: tuple[float, ...]) -> str:
    return b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


_rows = embeddings()["data"]
_first, _second = _rows
_numbers = json.dumps(embeddings())

_embeds("base64", "sends its vectors as base64", embeddings(_base64(vector) for vector in VECTORS))
_embeds("shuffled", "sends its vectors in another order", embeddings() | {"data": _rows[::-1]})
_embeds("no-index", "numbers no vector", {"data": [{"embedding": vector} for vector in VECTORS]})
_embeds("no-usage", "leaves usage and model out", {"data": _rows})
_embeds("integers", "sends whole numbers", embeddings([[1, 2, 3], [4, 5, 6]]), Vectors(rows=((1, 2, 3), (4, 5, 6))))
_embeds("bom", "begins with a byte order mark", b"\xef\xbb\xbf" + _numbers.encode())
_embeds("error", "tells an error with status 200", {"error": {"message": "no GPU", "code": 500}}, Fails("ServerFailed", "no GPU", after=3))  # fmt: skip  # noqa: E501

_bad("one-missing", "leaves a vector out", embeddings(VECTORS[:1]), "1 vectors for 2 texts")
_bad("one-more", "sends a vector too many", embeddings((*VECTORS, VECTORS[0])), "3 vectors for 2 texts")
_bad("none", "sends no vectors", embeddings([]), "0 vectors for 2 texts")
_bad("same-index", "numbers two vectors alike", {"data": [_first, _first]}, "numbered")
_bad("gap-in-index", "leaves a gap in the numbers", {"data": [_first, _second | {"index": 2}]}, "numbered")
_bad("odd-index", "numbers its vectors with texts", {"data": [_first, _second | {"index": "1"}]}, "numbered")
_bad("half-numbered", "numbers only one vector", {"data": [_first, {"embedding": VECTORS[1]}]}, "numbered")
_bad("ragged", "sends vectors of different lengths", embeddings([[1.0], [1.0, 2.0]]), "different lengths: 1 to 2")
_bad("empty-vector", "sends an empty vector", embeddings([VECTORS[0], []]), "vector 1 is no list")
_bad("null-vector", "sends null as a vector", embeddings([VECTORS[0], None]), "vector 1 is no list")
_bad("object-vector", "sends an object as a vector", embeddings([{"a": 1}, VECTORS[1]]), "vector 0 is no list")
_bad("nested-vector", "sends a vector for each token", embeddings([[[1.0]], [[1.0]]]), "vector 0 is no list")
_bad("text-in-vector", "sends numbers as texts", embeddings([["1", "2", "3"], VECTORS[1]]), "vector 0 is no list")
_bad("null-in-vector", "sends null as a number", embeddings([[1.0, None, 2.0], VECTORS[1]]), "vector 0 is no list")
_bad("bool-vector", "sends booleans as numbers", embeddings([[True, False, True], VECTORS[1]]), "vector 0 is no list")
_bad("nan", "sends NaN", _numbers.replace("0.25", "NaN").encode(), "vector 0 is no list of finite")
_bad("infinite", "sends a number too large", _numbers.replace("0.25", "1e39").encode(), "vector 0 is no list of finite")
_bad("base64-nan", "sends NaN as base64", embeddings([_base64((1.0, float("nan"), 2.0)), VECTORS[1]]), "vector 0")
_bad("base64-cut", "cuts its base64", embeddings([_base64(VECTORS[0])[:-3], VECTORS[1]]), "vector 0 is no list")
_bad("base64-odd", "sends base64 of odd length", embeddings(["AAAA", VECTORS[1]]), "vector 0 is no list")
_bad("base64-not", "sends text that is no base64", embeddings(["ähem", VECTORS[1]]), "vector 0 is no list")
_bad("odd-data", "sends data of a wrong type", {"data": {"embedding": [1.0]}}, "no list of objects")
_bad("null-data", "sends null as data", {"data": None}, "no list of objects")
_bad("no-data", "leaves the data out", {"object": "list"}, "no data")
_bad("list", "sends a list", [[1.0]], "list where an object")
_bad("cut", "cuts the JSON, its length right", _numbers[:60].encode(), "no valid JSON")
