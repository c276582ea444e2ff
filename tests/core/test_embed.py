"""`Model.embed`: what it checks, retries and promises, whatever the backend."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import openmodels as om
from openmodels import retry
from openmodels.backends.base import Backend
from openmodels.types.embeddings import Embeddings, EmbedRequest


class LengthBackend(Backend):
    """A vector holds its text's length; the first call fails as often as it is told to."""

    name = "length"
    features = frozenset({"embed"})

    def __init__(self, rest: str = "", *, fails: int = 0) -> None:
        super().__init__(rest)
        self.fails = fails
        self.requests: list[EmbedRequest] = []

    def run(self, request):
        raise AssertionError

    def embed(self, request):
        self.requests.append(request)
        if len(self.requests) <= self.fails:
            raise om.ServerFailed("Busy.")
        vectors = np.array([[len(text), 1] for text in request.texts], np.float32)
        return Embeddings(vectors, om.Usage(input_tokens=3), "length-1")


def embed(model, surface, texts, **options):
    found = getattr(model, surface)(texts, **options)
    return asyncio.run(found) if surface == "aembed" else found


both = pytest.mark.parametrize("surface", ["embed", "aembed"])


@both
def test_vectors_come_in_the_order_of_the_texts(surface):
    found = embed(om.Model(LengthBackend()), surface, ["a", "bbb", "cc"])
    assert found.vectors.dtype == np.float32
    assert found.vectors.tolist() == [[1, 1], [3, 1], [2, 1]]
    assert (len(found), found.usage.input_tokens, found.model) == (3, 3, "length-1")
    assert found.seconds > 0
    assert repr(found) == "<Embeddings of 3 texts, 2 dimensions, model 'length-1'>"


@both
def test_one_text_is_a_list_of_one(surface):
    model = om.Model(LengthBackend())
    assert embed(model, surface, "abc").vectors.tolist() == [[3, 1]]
    assert model.backend.requests[0].texts == ("abc",)


@both
@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ([], "texts: "),
        ("", r"texts\[0\]: "),
        (["a", ""], r"texts\[1\]: "),
        (["a", "b", "\ud800"], r"texts\[2\]: half a surrogate pair"),
        (["a", b"b"], r"texts\[1\]: "),
        (["a", None], r"texts\[1\]: "),
        (["a", 5], r"texts\[1\]: "),
        (["a", ["b"]], r"texts\[1\]: "),
        (b"bytes", "texts: expected a list of texts, not bytes"),
        (None, "texts: expected a list of texts, not NoneType"),
        (5, "texts: "),
        ({"a"}, "texts: expected a list of texts, not set"),
    ],
)
def test_a_wrong_text_is_named(surface, texts, says):
    model = om.Model(LengthBackend("x"))
    with pytest.raises(om.InvalidRequest, match=says) as caught:
        embed(model, surface, texts)
    assert caught.value.reference == "length:x"
    assert model.backend.requests == []


@both
@pytest.mark.parametrize(
    ("options", "says"),
    [
        *(({"dimensions": value}, "dimensions") for value in (0, -1, 1.5, True, "many", 10**400)),
        *(({"timeout": value}, "timeout") for value in (0, float("nan"), True)),
        ({"max_retries": -1}, "max_retries"),
        ({"extra": "text"}, "extra"),
        ({"dimension": 3}, "no option 'dimension'.*'dimensions'"),
        ({"temperature": 1}, "no option 'temperature'"),
    ],
)
def test_a_wrong_option_is_named(surface, options, says):
    model = om.Model(LengthBackend())
    with pytest.raises(om.InvalidRequest, match=says):
        embed(model, surface, ["a"], **options)
    assert model.backend.requests == []


@both
def test_failures_are_tried_again(surface):
    with retry.override_retries(attempts=3):
        model = om.Model(LengthBackend(fails=2))
        assert embed(model, surface, ["a"]).vectors.shape == (1, 2)
    assert len(model.backend.requests) == 3
    with pytest.raises(om.ServerFailed, match=r"^length: Busy"):
        embed(om.Model(LengthBackend(fails=2)), surface, ["a"], max_retries=0)


@both
def test_a_backend_without_embeddings_says_so(surface):
    with pytest.raises(om.UnsupportedFeature, match=r"^echo: The backend 'echo' has no 'embed'"):
        embed(om.Model("echo:"), surface, ["a"])


@both
def test_a_backend_that_claims_what_it_lacks_says_so(surface):
    class Claims(LengthBackend):
        embed = Backend.embed

    with pytest.raises(om.UnsupportedFeature, match="'length' has no 'embed'"):
        embed(om.Model(Claims()), surface, ["a"])


@both
def test_vectors_must_fit_the_texts(surface):
    class OneShort(LengthBackend):
        def embed(self, request):
            found = super().embed(request)
            return replace(found, vectors=found.vectors[1:])

    with pytest.raises(om.InvalidResponse, match=r"\(1, 2\) for 2 texts"):
        embed(om.Model(OneShort()), surface, ["a", "b"])


@both
def test_what_reaches_the_backend(surface, monkeypatch):
    monkeypatch.setattr("openmodels.deadline.time.monotonic", lambda: 1000.0)
    model = om.Model(LengthBackend(), timeout=60)
    embed(model, surface, ("a",), dimensions=2, extra={"truncate": True}, timeout=5)
    embed(model, surface, ["a"], dimensions=None, extra=None, timeout=None)
    first, second = model.backend.requests
    assert (first.texts, first.dimensions, first.extra, first.deadline) == (("a",), 2, {"truncate": True}, 1005.0)
    assert (second.dimensions, second.extra, second.deadline) == (None, {}, None)


def test_similarity_is_the_cosine():
    found = Embeddings(np.array([[3, 0], [0, 2], [1, 1], [0, 0]], np.float32))
    root = 0.5**0.5
    expected = [[1, 0, root, 0], [0, 1, root, 0], [root, root, 1, 0], [0, 0, 0, 0]]
    assert found.similarity().dtype == np.float32
    np.testing.assert_allclose(found.similarity(), expected, rtol=1e-6)
    other = Embeddings(np.array([[1e30, 1e30]], np.float32))
    np.testing.assert_allclose(found.similarity(other), [[root], [root], [1], [0]], rtol=1e-6)
    with pytest.raises(ValueError, match="mismatch"):
        found.similarity(Embeddings(np.zeros((1, 3), np.float32)))


def test_embeddings_can_be_sent_to_another_process():
    found = pickle.loads(pickle.dumps(Embeddings(np.ones((1, 2), np.float32), model="m")))
    assert (found.vectors.tolist(), found.model) == ([[1, 1]], "m")


def test_numpy_is_loaded_by_the_first_vectors_only():
    code = (
        "import sys, openmodels as om; om.Model('echo:').chat('x'); om.Embeddings, om.EmbedOptions;"
        "from openmodels.backends import server; assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
