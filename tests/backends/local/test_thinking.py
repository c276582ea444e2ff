"""A local answer's reasoning, stop strings and logprobs, token by token without a model's weights."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from tiny import CHATML, tiny_tokenizer

from openmodels.backends.local.engines.engine_loop import QueuedRequest
from openmodels.backends.local.engines.torch.loader import LoadedModel
from openmodels.backends.local.engines.torch.running_sequence import RunningSequence
from openmodels.core.stream import ReplyAssembler
from openmodels.types.request import ChatRequest

THINKS = CHATML + "{# {{ content.split('</think>') }} #}"
OPENS = THINKS.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")
MAGISTRAL = CHATML + "{# [THINK] [/THINK] #}"


def tokenizer_with(template, *special):
    tokenizer = tiny_tokenizer(template)
    if special:
        tokenizer.add_tokens(list(special), special_tokens=True)
    return tokenizer


def answer(tokenizer, text, end=True, room=10_000, **options):
    """Return the deltas of an answer that a model writes token by token."""
    deltas = []
    names = SimpleNamespace(vocab_size=len(tokenizer))
    config = SimpleNamespace(get_text_config=lambda: names)
    generation = SimpleNamespace(eos_token_id=tokenizer.eos_token_id)
    loaded = LoadedModel(
        tokenizer=tokenizer,
        model=SimpleNamespace(generation_config=generation, config=config, get_input_embeddings=lambda: None),
        context=room,
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    request = ChatRequest(messages=({"role": "user", "content": "why?"},), temperature=0, **options)
    sequence = RunningSequence(QueuedRequest(request, deltas.append), request, loaded)
    tokens = tokenizer.encode(text, add_special_tokens=False) + [tokenizer.eos_token_id] * end
    for token in tokens:
        scores = torch.zeros(len(tokenizer))
        scores[token] = 3.0
        assert sequence.sampler.sample(scores) == token
        sequence.accept(token, scores)
        sequence.emit()
        if sequence.output.is_finished:
            break
    return deltas


def whole(deltas):
    assembler = ReplyAssembler("local:tiny")
    for delta in deltas:
        assembler.add(delta)
    return assembler.snapshot()


@pytest.mark.parametrize(
    ("template", "special", "text"),
    [
        (THINKS, (), "<think>\nfirst\n</think>\n\nsecond"),
        (OPENS, (), "first\n</think>\n\nsecond"),
        (MAGISTRAL, ("[THINK]", "[/THINK]"), "[THINK]first[/THINK]second"),
        (MAGISTRAL, (), "[THINK]first[/THINK]second"),
    ],
)
def test_reasoning_is_told_apart(template, special, text):
    tokenizer = tokenizer_with(template, *special)
    deltas = answer(tokenizer, text)
    reply = whole(deltas)
    assert (reply.reasoning, reply.text) == ("first", "second")
    assert sum(bool(delta.reasoning) for delta in deltas) > 1
    thought = text[: text.index("second")].rstrip()
    assert reply.usage.reasoning_tokens == len(tokenizer.encode(thought, add_special_tokens=False))
    assert reply.usage.output_tokens == len(tokenizer.encode(text, add_special_tokens=False)) + 1


def test_a_block_that_never_closes_stays_reasoning():
    reply = whole(answer(tokenizer_with(OPENS), "because </th", end=False, max_tokens=12))
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("because </th", "", "length")


def test_a_model_without_tags_does_not_think():
    reply = whole(answer(tokenizer_with(CHATML), "<think>a</think>b"))
    assert (reply.reasoning, reply.text) == ("", "<think>a</think>b")
    assert reply.usage.reasoning_tokens is None


def test_a_closed_block_in_the_prompt_is_no_reasoning():
    closed = THINKS.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n\n</think>\n\n' }}{% endif %}")
    reply = whole(answer(tokenizer_with(closed), "plain"))
    assert (reply.reasoning, reply.text, reply.usage.reasoning_tokens) == ("", "plain", 0)


def test_stop_strings_end_the_answer_and_not_the_reasoning():
    reply = whole(answer(tokenizer_with(OPENS), "END of it</think>it is END now", stop=("END",)))
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("END of it", "it is ", "stop")


def test_logprobs_are_those_of_the_raw_scores():
    tokenizer = tokenizer_with(CHATML)
    reply = whole(answer(tokenizer, "ab", logprobs=2, frequency_penalty=2.0))
    expected = 3.0 - torch.logsumexp(torch.tensor([3.0] + [0.0] * (len(tokenizer) - 1)), 0).item()
    assert [entry.token for entry in reply.logprobs] == ["a", "b"]
    for entry in reply.logprobs:
        assert entry.logprob == pytest.approx(expected, abs=1e-5)
        assert len(entry.top) == 2
        assert entry.top[0] == (entry.token, entry.logprob)
    assert [entry.top for entry in whole(answer(tokenizer, "ab", logprobs=0)).logprobs] == [(), ()]
    assert whole(answer(tokenizer, "ab")).logprobs == ()


def test_logprobs_of_half_characters():
    reply = whole(answer(tokenizer_with(CHATML), "é!", logprobs=0))
    assert [entry.token for entry in reply.logprobs] == ["\ufffd", "\ufffd", "!"]


@pytest.mark.parametrize("stop", ["cd", "abc", "d", "never", "e"])
def test_logprobs_end_with_the_text(stop):
    deltas = answer(tokenizer_with(CHATML), "abcdef", logprobs=0, stop=(stop,))
    reply = whole(deltas)
    assert reply.text == "abcdef".partition(stop)[0]
    assert "".join(entry.token for entry in reply.logprobs) == reply.text
    for delta in deltas:
        assert "".join(entry.token for entry in delta.logprobs) == delta.text


def test_logprobs_tell_of_the_reasoning_too():
    text = "<think>so</think>yes"
    reply = whole(answer(tokenizer_with(THINKS), text, logprobs=0, stop=("no",)))
    assert "".join(entry.token for entry in reply.logprobs) == text
