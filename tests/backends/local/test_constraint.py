"""Constrained decoding with the real default model: valid whatever the temperature, forced tokens, ends."""

import asyncio
import json

import pytest
import torch

import openmodels as om
from openmodels.backends.local import constraint
from openmodels.types.request import ResponseFormat
from output_types import LONGEST, PROMPTS, TYPES

FORCED = {
    "type": "object",
    "properties": {"a long and forced name": {"const": "forced as well"}, "free": {"type": "boolean"}},
    "required": ["a long and forced name", "free"],
}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_answers_are_valid(smol, kind, temperature):
    reply = smol.chat(PROMPTS[kind], schema=kind, temperature=temperature, seed=4, max_tokens=LONGEST)
    assert isinstance(reply.parsed, kind)
    assert reply.finish_reason == "stop"


def test_forced_tokens_take_no_steps_of_their_own(smol, monkeypatch):
    model_runner = smol.load().backend._engine.scheduler.runner
    steps = []
    execute = model_runner.execute
    monkeypatch.setattr(model_runner, "execute", lambda work: steps.append(1) or execute(work))
    reply = smol.chat("Fill in.", schema=FORCED, temperature=0)
    assert reply.text.startswith('{"a long and forced name":"forced as well","free":')
    assert reply.usage.output_tokens > 10
    assert 1 <= len(steps) <= 3


def test_a_grammar_is_compiled_once(smol, monkeypatch):
    compiled = []
    real = constraint.Grammars._compile
    monkeypatch.setattr(constraint.Grammars, "_compile", lambda *a: compiled.append(1) or real(*a))
    loaded = smol.load().backend._engine.loaded
    size = loaded.model.config.vocab_size
    grammars = constraint.Grammars(loaded.tokenizer, size, [loaded.tokenizer.eos_token_id])
    for _ in range(3):
        grammars.constraint(ResponseFormat(kind="pattern", pattern="a+"))
    assert len(compiled) == 1


def test_mask_follows_the_grammar(smol):
    loaded = smol.load().backend._engine.loaded
    size, tokenizer = loaded.model.config.vocab_size, loaded.tokenizer
    follows = constraint.make_constraint(
        ResponseFormat(kind="choices", choices=("yes", "no")), tokenizer, size, [tokenizer.eos_token_id]
    )
    masked = follows.mask(torch.zeros(size + 7))
    allowed = {tokenizer.decode([int(token)]) for token in masked.isfinite().nonzero()}
    assert {"yes", "no", "y", "n"} <= allowed
    assert all("yes".startswith(one) or "no".startswith(one) for one in allowed)
    follows.accept(tokenizer.encode("yes")[0])
    assert follows.finished


@pytest.mark.parametrize(
    ("options", "right"),
    [
        ({"choices": ["はい", "いいえ 👍"]}, lambda text: text in {"はい", "いいえ 👍"}),
        ({"pattern": "[0-9]{3}-[a-f]{2}"}, lambda text: len(text) == 6),
        ({"grammar": 'start: NUMBER "+" NUMBER\nNUMBER: /[0-9]{1,2}/'}, lambda text: "+" in text),
    ],
)
@pytest.mark.parametrize("method", ["chat", "complete", "achat"])
def test_other_shapes(smol, method, options, right):
    reply = getattr(smol, method)("Well:", temperature=2.0, max_tokens=30, **options)
    reply = asyncio.run(reply) if method == "achat" else reply
    assert right(reply.text)
    assert reply.parsed == reply.text


@pytest.mark.parametrize("options", [{"pattern": r"(a)\1"}, {"grammar": "start: NOWHERE"}, {"grammar": "?!"}])
def test_unreadable_shapes_are_refused(smol, options):
    with pytest.raises(om.InvalidRequest, match=next(iter(options))):
        smol.chat("canary", **options)
    assert smol.chat("Hi", max_tokens=2, temperature=0).text


def test_limit_inside_of_forced_tokens(smol):
    with pytest.raises(om.OutputInvalid, match="max_tokens") as caught:
        smol.chat("Fill in.", schema=FORCED, max_tokens=6)
    assert caught.value.reply.usage.output_tokens == 6
    assert caught.value.reply.finish_reason == "length"
    whole = json.dumps({"a long and forced name": "forced as well"}, separators=(",", ":"))
    assert whole.startswith(caught.value.reply.text)
