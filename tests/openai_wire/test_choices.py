"""Several answers, logprobs and reasoning on the wire: read in each of the shapes that servers send."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.core.stream import ReplyAssembler
from openmodels.http import status_errors
from openmodels.openai_wire import decode, encode, logprobs
from openmodels.output.text_scan import REASONING_TAGS
from openmodels.testing import SURFACES, Driver
from openmodels.testing.faults import PROMPT, FaultServer
from openmodels.testing.faults.expect import Fault
from openmodels.testing.faults.server import Request, Wire, fault
from openmodels.types.request import ChatRequest

_SSE = {"content-type": "text/event-stream"}
_JSON = {"content-type": "application/json"}


def _translate_error(body: bytes | object) -> om.OpenModelsError:
    return status_errors.error_from_response(status_errors.read_failed_response(200, {}, body, host="h"))


def _read(values: Iterable[Any], headers: dict[str, str] = _SSE, *, done: bool = True, **options: Any) -> om.Reply:
    assembler, decoder = ReplyAssembler("server:x"), decode.ChatDecoder(200, headers, _translate_error, **options)
    if headers is _JSON:
        (body,) = (json.dumps(value).encode() for value in values)
    else:
        body = b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)
        body += b"data: [DONE]\n\n" if done else b""
    try:
        for deltas in (decoder.feed(body), decoder.finish()):
            for delta in deltas:
                assembler.add(delta)
    except om.OpenModelsError as error:
        assembler.fail(error)
        raise
    return assembler.finish()


def _piece(index: int | None = 0, finish: str | None = None, **delta: Any) -> dict[str, Any]:
    told = {"logprobs": delta.pop("logprobs")} if "logprobs" in delta else {}
    place = {} if index is None else {"index": index}
    return {"choices": [{**place, "delta": delta, "finish_reason": finish, **told}]}


_TWO = [
    _piece(0, content="one "),
    _piece(1, content="two "),
    _piece(1, "length", content="b"),
    _piece(0, "stop", content="a"),
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}},
]


def test_answers_that_come_in_turns() -> None:
    reply = _read(_TWO, answers=2)
    (other,) = reply.alternatives
    assert (reply.text, reply.finish_reason, other.text, other.finish_reason) == ("one a", "stop", "two b", "length")
    assert reply.usage.output_tokens == 4
    assert _read(_TWO, answers=1).text == "one a"
    assert _read(_TWO, answers=1).alternatives == ()


@pytest.mark.parametrize("numbered", [True, False])
def test_answers_in_one_body(numbered: bool) -> None:
    said = [
        {"message": {"content": text}, "finish_reason": "stop"} | ({"index": at} if numbered else {})
        for at, text in enumerate("abc")
    ]
    reply = _read([{"choices": said}], _JSON, answers=3)
    assert [reply.text, *(other.text for other in reply.alternatives)] == ["a", "b", "c"]


def test_one_of_the_answers_is_cut_off() -> None:
    decoder = decode.ChatDecoder(200, _SSE, _translate_error, answers=2)
    list(decoder.feed(b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in _TWO[:3])))
    with pytest.raises(om.StreamInterrupted):
        list(decoder.finish())


@pytest.mark.parametrize("done", [True, False])
def test_fewer_answers_than_asked_for(done: bool) -> None:
    with pytest.raises(om.UnsupportedFeature, match=r"ignored the option 'n': it gave 1 of 3") as caught:
        _read([_piece(0, "stop", content="alone")], answers=3, done=done)
    assert caught.value.partial.text == "alone"
    assert caught.value.partial.finish_reason == "stop"


_CHAT = {
    "content": [
        {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -0.9, "bytes": None}]}
    ],
    "refusal": None,
}


def test_logprobs_of_a_stream() -> None:
    chunks = [_piece(0, content="a", logprobs=_CHAT), _piece(0, content="", logprobs=_CHAT), _piece(0, "stop")]
    assert _read(chunks, top_logprobs=5).logprobs == (om.TokenLogprob("a", -0.5, (("b", -0.9),)),) * 2
    assert _read(chunks).logprobs == ()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_logprob_that_is_no_finite_number_is_an_error(number: float) -> None:
    for told in (
        {"content": [{"token": "a", "logprob": number}]},
        {"tokens": ["a"], "token_logprobs": [number], "top_logprobs": [None]},
    ):
        with pytest.raises(om.InvalidResponse, match="no finite number"):
            logprobs.read_logprobs(told)
    others = [{"token": "b", "logprob": number}, {"token": "c", "logprob": -2.0}]
    told = {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": others}]}
    assert logprobs.read_logprobs(told) == (om.TokenLogprob("a", -0.5, (("c", -2.0),)),)


def test_logprobs_that_are_ignored() -> None:
    with pytest.raises(om.UnsupportedFeature, match="'logprobs': it gave none") as caught:
        _read([_piece(0, "stop", content="a")], top_logprobs=5)
    assert caught.value.partial.text == "a"
    calls = [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]
    assert _read([_piece(0, "tool_calls", tool_calls=calls)], top_logprobs=5).tool_calls


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (_CHAT, (om.TokenLogprob("a", -0.5, (("b", -0.9),)),)),
        (
            {
                "tokens": ["x", "y"],
                "token_logprobs": [None, -1],
                "top_logprobs": [None, {"z": -2, "y": -1}],
                "text_offset": [0, 1],
            },
            (om.TokenLogprob("y", -1.0, (("y", -1.0), ("z", -2.0))),),
        ),
        ({"tokens": ["x"], "token_logprobs": [-1], "top_logprobs": None}, (om.TokenLogprob("x", -1.0),)),
        ({"content": [{"token": "a", "logprob": -1}, {"token": 5}, "x", {"logprob": 1}]}, (om.TokenLogprob("a", -1),)),
        ({"content": None}, ()),
        ([1], ()),
        ("text", ()),
    ],
)
def test_the_shapes_of_logprobs(value: Any, found: tuple[om.TokenLogprob, ...]) -> None:
    assert logprobs.read_logprobs(value) == found


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "token", "logprob", "top_logprobs", "tokens", "token_logprobs"]), inner
        )
    ),
    max_leaves=12,
)


@given(_json)
def test_logprobs_of_any_shape_are_read(value: Any) -> None:
    for entry in logprobs.read_logprobs(value):
        assert isinstance(entry.token, str)
        assert isinstance(entry.logprob, float)


@given(st.lists(st.integers(1, 5), max_size=9), st.sampled_from(REASONING_TAGS))
def test_tags_in_the_text_are_reasoning_however_it_is_cut(sizes: list[int], tags: Any) -> None:
    text, pieces = f"{tags.open}\nwhy\n{tags.close}\n\nbecause", []
    for size in sizes:
        pieces, text = [*pieces, text[:size]], text[size:]
    chunks = [_piece(0, content=piece) for piece in [*pieces, text]] + [_piece(0, "stop")]
    reply = _read(chunks, tags=REASONING_TAGS)
    assert (reply.reasoning, reply.text) == ("why", "because")
    assert "because" in _read(chunks).text
    assert tags.close in _read(chunks).text


def test_an_open_tag_stays_reasoning() -> None:
    reply = _read([_piece(0, "length", content="<think>why</th")], tags=REASONING_TAGS)
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("why</th", "", "length")


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_field_of_its_own(name: str) -> None:
    chunks = [_piece(0, **{name: "why"}), _piece(0, content="because"), _piece(0, "stop")]
    reply = _read(chunks, tags=REASONING_TAGS)
    assert (reply.reasoning, reply.text) == ("why", "because")


@pytest.mark.parametrize(("count", "sent"), [(0, {"logprobs": True}), (3, {"logprobs": True, "top_logprobs": 3})])
def test_how_logprobs_are_asked_for(count: int, sent: dict[str, Any]) -> None:
    chat = ChatRequest(messages=[{"role": "user", "content": "x"}], logprobs=count, n=2, stream=False)
    body = encode.encode_chat(chat, None, encode.OPENAI_OPTIONS)
    assert {name: body[name] for name in body if "logprobs" in name} == sent
    assert body["n"] == 2
    legacy = encode.encode_chat(ChatRequest(prompt="x", logprobs=count), None, encode.OPENAI_OPTIONS)
    assert legacy["logprobs"] == count
    assert "top_logprobs" not in legacy


@fault(Fault("thinks-in-tags", "leaves the tags of the reasoning in the text"))
def _thinks(wire: Wire, request: Request) -> None:
    text = "<think>why</think>because"
    if not request.stream:
        key = "text" if request.path.endswith("/completions") and "/chat/" not in request.path else "message"
        said = {"text": text} if key == "text" else {"message": {"content": text}}
        wire.answer({"choices": [{"index": 0, "finish_reason": "stop", **said}]})
        return
    wire.head(200, {"Content-Type": "text/event-stream"})
    for letter in text:
        wire.send(b"data: " + json.dumps(_piece(0, content=letter)).encode() + b"\n\n")
    wire.send(b"data: " + json.dumps(_piece(0, "stop")).encode() + b"\n\ndata: [DONE]\n\n")


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("backend", ["server", "hf", "azure"])
def test_a_server_that_leaves_tags_in_the_text(server: FaultServer, backend: str, surface: str) -> None:
    with om.Model(f"{backend}:tiny", base_url=server.url("thinks-in-tags"), api_key="key-canary-0123") as model:
        reply = Driver(model, surface)(PROMPT).reply
        assert (reply.reasoning, reply.text) == ("why", "because")
        assert reply.message.content == "because"
        if "complete" in model.backend.features:
            assert model.complete(PROMPT).text == "<think>why</think>because"
