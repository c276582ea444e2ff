"""Structured answers of the small default model: valid ones, and tokens per second.

    python benchmarks/structured.py [ANSWERS_PER_TYPE]

The five types of tests/output_types.py at temperature 1: constrained; unconstrained with as many
tokens (for every second answer); asked for in the prompt only; and by outlines, where it is installed.
Every text and list of the types is bounded, which is what makes answers end; max_tokens is far above
what they need.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path

import torch
from pydantic import ValidationError

import openmodels as om

# The output types lie beside the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests"))
from output_types import LONGEST, PROMPTS, TYPES

ANSWERS = int(sys.argv[1]) if len(sys.argv) > 1 else 10


def openmodels_answers(model, count):
    """Return valid answers, tokens and seconds; and the same tokens' seconds without a schema, turn by turn."""
    valid = tokens = plain_tokens = 0
    seconds = plain_seconds = 0.0
    for kind in TYPES:
        good = 0
        for seed in range(count):
            began = time.perf_counter()
            try:
                reply = model.chat(PROMPTS[kind], schema=kind, temperature=1.0, seed=seed, max_tokens=LONGEST)
                good += isinstance(reply.parsed, kind)
            except om.OutputInvalid as error:
                reply = error.reply
            seconds += time.perf_counter() - began
            tokens += reply.usage.output_tokens
            if seed % 2:
                continue
            began = time.perf_counter()
            wanted = reply.usage.output_tokens
            plain = model.chat(PROMPTS[kind], temperature=1.0, seed=seed, max_tokens=wanted)
            plain_seconds += time.perf_counter() - began
            plain_tokens += plain.usage.output_tokens
        print(f"  {kind.__name__:8} {good} of {count} valid", flush=True)
        valid += good
    return valid, tokens, seconds, plain_tokens, plain_seconds


def prompted(model, count):
    """Return valid answers when the schema stands only in the prompt."""
    valid = 0
    for kind in TYPES:
        prompt = f"{PROMPTS[kind]} Answer only with JSON for this schema: {json.dumps(kind.model_json_schema())}"
        for seed in range(count):
            text = model.chat(prompt, temperature=1.0, seed=seed, max_tokens=100).text
            try:
                kind.model_validate_json(text)
                valid += 1
            except ValidationError:
                pass
    return valid


def by_outlines(model, count):
    """Return valid answers, tokens and seconds of outlines with the same weights."""
    import outlines

    loaded = model.backend._engine.loaded  # noqa: SLF001
    wrapped = outlines.from_transformers(loaded.model, loaded.tokenizer)
    valid = tokens = 0
    seconds = 0.0
    torch.manual_seed(0)
    for kind in TYPES:
        try:
            generator = outlines.Generator(wrapped, kind)
        except Exception as error:  # noqa: BLE001 - its own limits are part of the result
            print(f"  outlines refuses {kind.__name__}: {type(error).__name__}")
            continue
        turns = [{"role": "user", "content": PROMPTS[kind]}]
        prompt = loaded.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        for _ in range(count):
            began = time.perf_counter()
            text = generator(prompt, max_new_tokens=100, do_sample=True, temperature=1.0)
            seconds += time.perf_counter() - began
            tokens += len(loaded.tokenizer(text)["input_ids"])
            try:
                kind.model_validate_json(text)
                valid += 1
            except ValidationError:
                pass
    return valid, tokens, seconds


def main():
    warnings.simplefilter("ignore")
    few = max(1, ANSWERS // 10)
    with om.Model(om.DEFAULT_MODEL) as model:
        model.load()
        model.chat("Hello", schema=TYPES[0], max_tokens=LONGEST)  # the tokenizer's tables are made once
        valid, tokens, seconds, plain_tokens, plain_seconds = openmodels_answers(model, ANSWERS)
        rate, plain_rate = tokens / seconds, plain_tokens / plain_seconds
        print(f"constrained    {valid} of {5 * ANSWERS} valid, {tokens} tokens, {rate:.1f} a second")
        print(
            f"unconstrained  {plain_tokens} tokens, {plain_rate:.1f} a second; ratio {rate / plain_rate:.2f}",
            flush=True,
        )
        print(f"prompt only    {prompted(model, few)} of {5 * few} valid", flush=True)
        try:
            found, outlined, took = by_outlines(model, few)
        except ImportError:
            print("outlines       not installed")
            return
        rate = outlined / took if took else 0.0
        print(f"outlines       {found} of {5 * few} valid, {outlined} tokens, {rate:.1f} a second, grammars apart")


if __name__ == "__main__":
    main()
