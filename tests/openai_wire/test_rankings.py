"""Rankings on the wire: the answers that servers give, right and wrong."""

from __future__ import annotations

import contextlib
import json
import math

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.openai_wire import rerank
from openmodels.types.rankings import RerankRequest

DOCUMENTS = ("a", "b", "c")


def request(**more):
    return RerankRequest(query="q", documents=DOCUMENTS, **more)


def translate_error(_):
    return om.ServerFailed("It says that it failed.")


def read(value, **more):
    return rerank.read_ranking(json.dumps(value).encode(), request(**more), translate_error)


def rows(*pairs, key="relevance_score"):
    return [{"index": index, key: score} for index, score in pairs]


@pytest.mark.parametrize(
    "value",
    [
        # Cohere, Jina and vLLM; llama.cpp; TEI (whose list is bare).
        {"id": "x", "model": "m", "results": rows((2, 0.9), (0, 0.5), (1, 0.1)), "usage": {"prompt_tokens": 7}},
        {"object": "list", "model": "m", "results": rows((0, 0.5), (1, 0.1), (2, 0.9)), "usage": {"prompt_tokens": 7}},
        rows((2, 0.9), (0, 0.5), (1, 0.1), key="score"),
    ],
)
def test_every_dialect_is_read(value):
    found = read(value)
    assert [(one.index, one.document) for one in found] == [(2, "c"), (0, "a"), (1, "b")]
    assert found[0].score == 0.9
    if isinstance(value, dict):
        assert (found.model, found.usage.input_tokens) == ("m", 7)


def test_the_body_is_what_they_share():
    assert rerank.encode_request(request(top_n=2, extra={"max_tokens_per_doc": 9}), "m") == {
        "model": "m",
        "query": "q",
        "documents": ["a", "b", "c"],
        "top_n": 2,
        "max_tokens_per_doc": 9,
    }
    with pytest.raises(om.InvalidRequest, match="'query'"):
        rerank.encode_request(request(extra={"query": "x"}), None)


def test_more_than_asked_for_is_cut_and_ties_keep_their_order():
    assert [one.index for one in read(rows((2, 1), (1, 1), (0, 0), key="score"), top_n=2)] == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        {},
        5,
        {"results": 5},
        {"results": [5]},
        {"results": rows((0, 1), (1, 1))},
        {"results": rows((0, 1), (1, 1), (3, 1))},
        {"results": rows((0, 1), (1, 1), (1, 1), (2, 1))},
        {"results": rows((0, 1), (1, "high"), (2, 1))},
        {"results": rows((0, 1), (1, math.nan), (2, 1))},
        {"results": rows((True, 1), (1, 1), (2, 1))},
    ],
)
def test_what_is_none_is_said(value):
    with pytest.raises(om.InvalidResponse):
        read(value)


def test_an_error_is_one():
    with pytest.raises(om.ServerFailed):
        read({"error": {"message": "no"}})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["results", "index", "score", "error"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_nothing_crashes(value):
    with contextlib.suppress(om.OpenModelsError):
        assert len(read(value)) == 3
