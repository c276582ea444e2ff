"""Embeddings, rankings, completions and decisions, by real clients."""

from __future__ import annotations

import numpy as np
import openai
import pytest
from openai.types import Completion, CreateEmbeddingResponse
from running_server import KEY

import openmodels as om

QUESTIONS = {
    "team": {"type": "choice", "instructions": "Which?", "criteria": {"Sales": None, "Support": "help"}},
    "refund": {"type": "noul", "instructions": "Money back?"},
    "anger": {"type": "score", "criteria": ["calm", "angry", "furious"]},
}


class TestEmbeddings:
    @pytest.mark.parametrize("form", ["float", "base64", None])
    def test_forms(self, client, form):
        options = {} if form is None else {"encoding_format": form}
        answer = client.embeddings.create(model="fake", input=["a", "bcd"], dimensions=3, **options)
        rows = [item.embedding for item in answer.data]
        if form == "base64":
            assert isinstance(rows[0], str)
        else:
            CreateEmbeddingResponse.model_validate(answer.model_dump())
            assert rows == [[1, 2, 3], [3, 4, 5]]
        assert answer.usage.total_tokens == 5

    def test_one_text(self, client):
        assert len(client.embeddings.create(model="fake", input="ab").data) == 1

    def test_the_own_client(self, server):
        with om.Model("server:fake", base_url=f"{server.address}/v1", api_key=KEY) as model:
            np.testing.assert_array_equal(model.embed(["abc"]).vectors, [[3, 4, 5, 6]])
            ranking = model.rerank("q", ["long text", "a"], top_n=1)
            assert [(ranked.index, ranked.document) for ranked in ranking] == [(1, "a")]
            assert model.chat("think").reasoning == "Let me think."
            assert model.complete("Once").text == "Hello world"

    @pytest.mark.parametrize("value", [[], "", [""], [[1, 2]], [1], 5, None, {"a": 1}])
    def test_wrong_input(self, client, value):
        with pytest.raises(openai.BadRequestError, match=r"input|texts"):
            client.embeddings.create(model="fake", input=value)

    def test_a_model_without(self, client):
        with pytest.raises(openai.BadRequestError, match="no 'embed'"):
            client.embeddings.create(model="echo", input="a")


class TestRankings:
    def test_scores(self, http):
        body = {"model": "fake", "query": "q", "documents": ["long text", {"text": "a"}], "return_documents": True}
        answer = http.post("/v1/rerank", json=body).json()
        assert [row["index"] for row in answer["results"]] == [1, 0]
        assert answer["results"][0] == {"index": 1, "relevance_score": 0.5, "document": {"text": "a"}}

    @pytest.mark.parametrize(
        "fields", [{"documents": []}, {"query": 1}, {"top_n": 0}, {"documents": [{"a": "b"}]}, {"documents": [{}]}]
    )
    def test_wrong_fields(self, http, fields):
        body = {"model": "fake", "query": "q", "documents": ["a"], **fields}
        assert http.post("/v1/rerank", json=body).status_code == 400


class TestCompletions:
    def test_several_prompts(self, client):
        answer = client.completions.create(model="echo", prompt=["one", "two"], logprobs=1, echo=True)
        Completion.model_validate(answer.model_dump(exclude_unset=True))
        assert [choice.text for choice in answer.choices] == ["oneone", "twotwo"]
        assert [choice.index for choice in answer.choices] == [0, 1]
        assert answer.choices[0].logprobs.tokens == ["one"]
        assert answer.usage.completion_tokens == 2

    def test_streamed(self, client):
        options = {"stream": True, "stream_options": {"include_usage": True}}
        chunks = list(client.completions.create(model="echo", prompt="one two", **options))
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "one two"
        assert chunks[-1].usage.total_tokens == 4


class TestDecisions:
    def test_answers(self, http):
        answer = http.post("/v1/systemone", json={"model": "fake", "state": "x", "questions": QUESTIONS}).json()
        team, refund, anger = (answer["answers"][name] for name in QUESTIONS)
        assert (team["choice"], team["confidence"]) == ("Sales", pytest.approx(1 / 3))
        assert refund["noul"] == pytest.approx(2 / 3)
        assert anger["legend"] == {"0": "calm", "1": "angry", "2": "furious"}
        assert anger["x_diagnostics"] == {"label_mass": 0.9}
        assert answer["usage"] == {"input_tokens": 9, "output_tokens": 0}

    def test_the_own_client(self, server):
        with om.Model("server:fake", base_url=f"{server.address}/v1", api_key=KEY) as model:
            decisions = model.decide({"ticket": 1}, QUESTIONS)
        assert decisions["team"].value == "Sales"
        assert decisions["anger"].label_mass == 0.9

    @pytest.mark.filterwarnings("ignore")
    def test_every_requirement_of_jevcompat(self, server):
        from jevcompat import runner

        report = runner.run(server.address, key=KEY)
        failures = {
            result.id: [f"{finding.case}: {finding.message}" for finding in result.findings]
            for result in report.results
            if result.status == "fail"
        }
        assert failures == {}
        assert report.case_errors == report.inconclusive == []
        assert report.conformant


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/completions", "/v1/systemone"])
def test_hostile_bodies(http, path):
    from test_safety import HOSTILE

    for body in HOSTILE:
        answer = http.post(path, content=body)
        assert 400 <= answer.status_code < 500, body[:200]
        assert answer.json()["error"]["message"]
