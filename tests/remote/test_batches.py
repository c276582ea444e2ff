"""Servers that take a few texts at once: the batches get as small as they ask for, in order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import openmodels as om
from openmodels import retry
from openmodels.backends.batch_limits import allowed_count
from openmodels.errors import OpenModelsError
from openmodels.testing.faults import FaultServer
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault


def _takes(name: str, most: int, status: int, words: Callable[[int], Any]) -> None:
    @fault(Fault(name, f"takes {most} texts at once"))
    def _answer(wire: Wire, request: Request) -> None:
        body = json.loads(request.body)
        texts = body.get("input") or body["documents"]
        if len(texts) > most:
            wire.answer(words(len(texts)), status)
        elif "documents" in body:
            scores = [{"index": at, "relevance_score": float(text)} for at, text in enumerate(texts)]
            wire.answer({"results": sorted(scores, key=lambda row: -row["relevance_score"])[: body.get("top_n")]})
        else:
            rows = [{"index": at, "embedding": [float(text), 1.0]} for at, text in enumerate(texts)]
            wire.answer({"data": rows, "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)}})


_takes("takes-8", 8, 422, lambda n: {"message": f"batch size {n} > maximum allowed batch size 8", "type": "Validation"})
_takes(
    "takes-20",
    20,
    400,
    lambda n: {"error": {"message": f"Invalid 'input': array too long. Expected an array with maximum length 20, "
                                    f"but instead got an array with length {n}."}},
)  # fmt: skip
_takes("takes-9", 9, 413, lambda _: b"<html><title>413 Request Entity Too Large</title></html>")
_takes("takes-11", 11, 400, lambda n: {"error": {"message": f"Requested {n}000 tokens, max 11000 tokens per request"}})
_takes("takes-none", 0, 413, lambda _: {"error": "Payload too large"})

TEXTS = [str(number) for number in range(50)]


@pytest.mark.parametrize("name", ["takes-8", "takes-20", "takes-9", "takes-11"])
@pytest.mark.parametrize("surface", ["embed", "aembed"])
def test_texts_go_out_in_batches_that_the_server_takes(server: FaultServer, name: str, surface: str) -> None:
    url = server.url(name)
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=url) as model:
        answer = getattr(model, surface)(TEXTS)
        answer = asyncio.run(answer) if surface == "aembed" else answer
    assert np.array_equal(answer.vectors[:, 0], np.arange(50, dtype=np.float32))
    assert answer.usage.input_tokens == 50


def test_a_limit_that_the_server_names_is_remembered(server: FaultServer) -> None:
    url = server.url("takes-8")
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=url) as model:
        model.embed(TEXTS)
        before = len(server.seen(url))
        model.embed(TEXTS)
    assert (before, len(server.seen(url)) - before) == (8, 7)


def test_documents_are_ranked_over_all_batches(server: FaultServer) -> None:
    with retry.override_retries(attempts=1), om.Model("server:m", base_url=server.url("takes-20")) as model:
        ranking = model.rerank("x", TEXTS, top_n=3)
        assert asyncio.run(model.arerank("x", TEXTS)).documents[-1].document == "0"
    assert [(place.index, place.document) for place in ranking] == [(49, "49"), (48, "48"), (47, "47")]


def test_a_single_text_that_is_too_large_says_what_to_do(server: FaultServer) -> None:
    model = om.Model("server:m", base_url=server.url("takes-none"))
    with retry.override_retries(attempts=1), model, pytest.raises(OpenModelsError) as caught:
        model.embed(["1", "2"])
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("words", "count", "most"),
    [
        ("batch size 70 > maximum allowed batch size 64", 70, 64),
        ("List should have at most 96 items after validation, not 120", 120, 96),
        ("input must be an array of at most 2,048 items", 3000, 2048),
        ("total number of texts must be at most 96, got 97", 97, 96),
        ("Requested 400 tokens, max 300 tokens per request", 500, None),
        ("the batch is too large", 10, None),
    ],
)
def test_limits_are_read_from_refusals(words: str, count: int, most: int | None) -> None:
    assert allowed_count(words, count) == most
