"""`server` and `hf` against servers that nobody here wrote: llama.cpp's, and `transformers serve`."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, ClassVar, Literal
from urllib.request import urlopen

import numpy as np
import pytest
from pydantic import Field

import openmodels as om
from openmodels.testing import SURFACES, Conformance, Driver
from openmodels.testing.embeddings import RerankingTests, embed_texts
from openmodels.testing.faults import KEY
from output_types import LONGEST, PROMPTS, TYPES

pytestmark = pytest.mark.weights

_UNASKED = 1.5
"""Seconds to leave llama.cpp alone: it sees that a client has left once nothing was asked for a second."""


class OnLlamacpp:
    """What both backends have in common there."""

    answer_tokens = 8
    deadline = 2.5
    # Else the model, which is fast on an idle machine, may have told its story before the deadline.
    slow_options: ClassVar[dict[str, object]] = {"temperature": 0, "extra": {"ignore_eos": True}}
    stops_within = 5.0
    gaps = dict.fromkeys(
        ("test_deadline_ends_the_call[chat]", "test_deadline_ends_the_call[achat]"),
        "a plain call's answer comes in one piece at its end: at the deadline nothing has arrived",
    )
    reference: str

    @pytest.fixture
    def model(self, llamacpp_server: str) -> Iterator[om.Model]:
        with om.Model(self.reference, base_url=f"{llamacpp_server}/v1") as model:
            yield model

    @pytest.fixture
    def pair_model(self, llamacpp_pair_server: str) -> Iterator[om.Model]:
        with om.Model(self.reference, base_url=f"{llamacpp_pair_server}/v1") as model:
            yield model

    @pytest.fixture
    def working(self, llamacpp_server: str) -> Callable[[], int]:
        """How many answers the server itself is working on."""
        seen, number = -_UNASKED, 0

        def busy() -> int:
            nonlocal seen, number
            if time.monotonic() - seen > _UNASKED:
                with urlopen(f"{llamacpp_server}/slots", timeout=10) as answer:
                    number = sum(slot["is_processing"] for slot in json.load(answer))
                seen = time.monotonic()
            return number

        return busy


class TestServerOnLlamacpp(OnLlamacpp, Conformance):
    reference = "server:smollm2"
    scores = False  # it has no log-probabilities of a prompt; decisions are read from its likeliest first tokens


class TestHfOnLlamacpp(OnLlamacpp, Conformance):
    reference = "hf:smollm2"
    scores = False  # it has no log-probabilities of a prompt


class _Ranks(RerankingTests):
    reranks = True
    reference: str

    @pytest.fixture
    def model(self, llamacpp_ranking_server: str) -> Iterator[om.Model]:
        with om.Model(self.reference, base_url=f"{llamacpp_ranking_server}/v1") as model:
            yield model


class TestServerRanks(_Ranks):
    reference = "server:smollm2"


class TestHfRanks(_Ranks):
    reference = "hf:smollm2"


both = pytest.mark.parametrize("backend", ["server", "hf"])


@both
@pytest.mark.parametrize("surface", SURFACES)
def test_llamacpp_knows_the_capital(llamacpp_server: str, backend: str, surface: str) -> None:
    with om.Model(f"{backend}:", base_url=f"{llamacpp_server}/v1") as model:
        reply = Driver(model, surface)("What is the capital of Japan?", temperature=0, max_tokens=16).reply
    assert "Tokyo" in reply.text
    assert reply.model == "smollm2"


@both
@pytest.mark.parametrize("method", ["embed", "aembed"])
@pytest.mark.parametrize("extra", [{}, {"encoding_format": "base64"}])
def test_llamacpp_embeds(llamacpp_server: str, backend: str, method: str, extra: dict[str, str]) -> None:
    texts = ["A cat sits on the mat.", "A kitten sits on the rug.", "Interest rates rose by a quarter point."]
    with om.Model(f"{backend}:smollm2", base_url=f"{llamacpp_server}/v1") as model:
        found = getattr(model, method)(texts, extra=extra)
        found = asyncio.run(found) if method == "aembed" else found
        alone = model.embed(texts[2])
    assert found.vectors.shape == (3, 576)
    assert found.usage.input_tokens
    similar = found.similarity()
    assert similar[0, 1] > similar[0, 2]
    np.testing.assert_allclose(np.diag(similar), 1, rtol=1e-5)
    np.testing.assert_allclose(alone.vectors[0], found.vectors[2], atol=1e-3)


@pytest.mark.parametrize("method", ["embed", "aembed"])
@pytest.mark.parametrize("reference", ["server:smollm2", "hf:smollm2", "azure:smollm2", "local:"])
def test_embeddings_fail_alike_everywhere(llamacpp_server: str, minilm: Path, reference: str, method: str) -> None:
    here = reference == "local:"
    more = {"base_url": f"{llamacpp_server}/v1"} | ({"api_key": KEY} if reference.startswith("azure") else {})
    with om.Model(f"local:{minilm}" if here else reference, **({} if here else more)) as model:
        for texts, kind in ((["a", "word " * 5000], om.ContextTooLong), ([], om.InvalidRequest)):
            with pytest.raises(kind) as caught:
                embed_texts(model, method, texts)
            assert caught.value.reference == model.reference
        with pytest.raises((om.UnsupportedFeature, om.InvalidResponse), match="dimensions"):
            embed_texts(model, method, ["a"], dimensions=3)


@both
@pytest.mark.parametrize("surface", SURFACES)
def test_llamacpp_keeps_to_a_schema(llamacpp_server: str, backend: str, surface: str) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    with om.Model(f"{backend}:smollm2", base_url=f"{llamacpp_server}/v1") as model:
        reply = Driver(model, surface)("Name a city.", temperature=0, extra={"response_format": form}).reply
    assert json.loads(reply.text)["city"] in {"Paris", "Rome"}


@both
@pytest.mark.parametrize("surface", SURFACES)
def test_llamacpp_refuses_a_prompt_that_is_too_long(llamacpp_server: str, backend: str, surface: str) -> None:
    with (
        om.Model(f"{backend}:smollm2", base_url=f"{llamacpp_server}/v1") as model,
        pytest.raises(om.ContextTooLong, match="context") as caught,
    ):
        Driver(model, surface)("word " * 5000)
    assert caught.value.status == 400


@both
def test_llamacpp_has_nothing_elsewhere(llamacpp_server: str, backend: str) -> None:
    with (
        om.Model(f"{backend}:smollm2", base_url=f"{llamacpp_server}/elsewhere") as model,
        pytest.raises(om.NotConfigured, match=r"404.*base_url"),
    ):
        model.chat("hi")


@both
def test_llamacpp_refuses_bad_embedding_options(llamacpp_server: str, backend: str) -> None:
    with (
        om.Model(f"{backend}:smollm2", base_url=f"{llamacpp_server}/v1") as model,
        pytest.raises(om.InvalidRequest, match=r"encoding_format|float|base64"),
    ):
        model.embed("hi", extra={"encoding_format": "klingon"})


@both
def test_llamacpp_refuses_more_answers_than_it_gives(llamacpp_server: str, backend: str) -> None:
    with (
        om.Model(f"{backend}:smollm2", base_url=f"{llamacpp_server}/v1") as model,
        pytest.raises(om.InvalidRequest, match="'n'"),
    ):
        model.chat("hi", n=3)


@both
def test_llamacpp_tells_logprobs_of_completions_and_its_own_object(llamacpp_server: str, backend: str) -> None:
    with om.Model(f"{backend}:smollm2", base_url=f"{llamacpp_server}/v1") as model:
        reply = model.complete("The capital of France is", temperature=0, max_tokens=4, logprobs=2)
    assert "".join(entry.token for entry in reply.logprobs) == reply.text
    assert {len(entry.top) for entry in reply.logprobs} == {2}
    assert reply.raw["model"] == "smollm2"


@pytest.mark.parametrize(("option", "value"), [("n", 2), ("logprobs", 1)])
@pytest.mark.parametrize("surface", SURFACES)
def test_transformers_ignores_options_and_that_is_told(serve: om.Model, option: str, value: int, surface: str) -> None:
    with pytest.raises(om.InvalidRequest, match=f"'{option}'|{option}"):
        Driver(serve, surface)("hi", max_tokens=2, **{option: value})


@pytest.fixture
def serve(transformers_server: str) -> Iterator[om.Model]:
    with om.Model("server:", base_url=f"{transformers_server}/v1") as model:
        yield model


@pytest.mark.parametrize("surface", SURFACES)
def test_transformers_knows_the_capital(serve: om.Model, surface: str) -> None:
    reply = Driver(serve, surface)("What is the capital of Japan?", temperature=0, max_tokens=16).reply
    assert "Tokyo" in reply.text
    assert reply.usage.output_tokens
    assert reply.finish_reason in {"stop", "length"}


@pytest.mark.parametrize("surface", SURFACES)
def test_transformers_refuses_what_it_does_not_know(serve: om.Model, surface: str) -> None:
    with pytest.raises(om.InvalidRequest, match="an_option_of_nobody") as caught:
        Driver(serve, surface)("canary-prompt: tell nobody", extra={"an_option_of_nobody": 1}, max_tokens=1)
    assert caught.value.status == 422
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("surface", SURFACES)
def test_transformers_serves_only_its_model(transformers_server: str, surface: str) -> None:
    with (
        om.Model("server:org/other", base_url=f"{transformers_server}/v1") as model,
        pytest.raises(om.OpenModelsError) as caught,
    ):
        Driver(model, surface)("hi", max_tokens=1)
    assert caught.value.status == 400


def test_transformers_has_no_embeddings(serve: om.Model) -> None:
    with pytest.raises(om.NotConfigured, match="404"):
        serve.embed("hi")


@pytest.mark.parametrize("backend", ["server:smollm2", "azure:smollm2"])
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("surface", ["chat", "astream"])
def test_llamacpp_gives_each_type(llamacpp_server: str, backend: str, kind: type, surface: str) -> None:
    with om.Model(backend, base_url=f"{llamacpp_server}/v1", api_key=KEY) as model:
        options = {"schema": kind, "temperature": 1.0, "seed": 3}
        reply = Driver(model, surface)(PROMPTS[kind], max_tokens=LONGEST, **options).reply
        assert isinstance(reply.parsed, kind)
        with pytest.raises(om.OutputInvalid, match="max_tokens") as caught:
            Driver(model, surface)(PROMPTS[kind], max_tokens=6, **options)
        assert caught.value.reply.finish_reason == "length"
        assert caught.value.errors


_PAIR = Annotated[list[Literal[1, 2]], Field(min_length=2, max_length=2)]


@pytest.mark.parametrize("backend", ["server:smollm2", "azure:smollm2"])
def test_llamacpp_chooses_and_lists(llamacpp_server: str, backend: str) -> None:
    with om.Model(backend, base_url=f"{llamacpp_server}/v1", api_key=KEY) as model:
        chosen = model.chat("Is water wet?", choices=["yes", "no, 否"], temperature=0)
        listed = model.chat("Two numbers.", schema=_PAIR, temperature=0, max_tokens=60)
    assert chosen.parsed == chosen.text
    assert chosen.text in {"yes", "no, 否"}
    assert len(listed.parsed) == 2
    assert set(listed.parsed) <= {1, 2}
