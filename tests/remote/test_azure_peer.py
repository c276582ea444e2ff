"""`azure` against a server that nobody here wrote: llama.cpp's, as a gateway on this machine."""

from __future__ import annotations

import pytest
from test_peers import OnLlamacpp

import openmodels as om
from openmodels.testing import SURFACES, Conformance, Driver
from openmodels.testing.faults import KEY

pytestmark = pytest.mark.weights


class TestAzureOnLlamacpp(OnLlamacpp, Conformance):
    reference = "azure:smollm2"


@pytest.mark.parametrize("surface", SURFACES)
def test_llamacpp_answers_and_refuses(llamacpp_server: str, surface: str) -> None:
    with om.Model("azure:smollm2", base_url=llamacpp_server, api_key=KEY) as model:
        reply = Driver(model, surface)("What is the capital of Japan?", temperature=0, max_tokens=16).reply
        assert "Tokyo" in reply.text
        with pytest.raises(om.ContextTooLong, match="context"):
            Driver(model, surface)("word " * 5000)


def test_llamacpp_lists_and_embeds(llamacpp_server: str) -> None:
    with om.Model("azure:smollm2", base_url=llamacpp_server, api_key=KEY) as model:
        assert model.backend.list_deployments() == ["smollm2"]
        assert model.embed(["a cat", "a dog"]).vectors.shape == (2, 576)
