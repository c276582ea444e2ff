"""Seconds to score the continuations of one prompt, beside one forward pass of transformers for each of them.

    python benchmarks/scoring.py [--model local:…] [--dtype float32] [--prompt 256] [--continuations 8] [--length 8]
                                 [--rounds 5] [--json]

Both have the same weights, threads and tokens, and compute no scores that are not wanted. They take turns, so that what
else the machine does meets both; the best round of each counts. Each round has a prompt of its own, so that no prefix
is known. "apart" is the largest difference between two log-probabilities of a token.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time

from openmodels.backends.local.engines.torch import torch_setup

# As the backend imports torch; transformers would import it first.
os.environ.update(torch_setup.thread_wait_variables())

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import openmodels as om

WORDS = [
    "the",
    "a",
    "model",
    "open",
    "weights",
    "license",
    "of",
    "data",
    "trains",
    "reads",
    "writes",
    "quickly",
    "and",
    "every",
    "vector",
    "finds",
    "near",
    "text",
]


def text_of(draw, tokenizer, tokens):
    """Return a random text of about as many tokens, which begins with a space."""
    words = "".join(f" {word}" for word in draw.choices(WORDS, k=2 * tokens))
    return tokenizer.decode(tokenizer(words, add_special_tokens=False)["input_ids"][:tokens])


@torch.inference_mode()
def one_by_one(model, tokenizer, prompt, continuations):
    """Return the log-probabilities by a forward pass of transformers for each continuation."""
    before, results = tokenizer(prompt)["input_ids"], []
    for continuation in continuations:
        tokens = tokenizer(continuation, add_special_tokens=False)["input_ids"]
        logits = model(torch.tensor([before + tokens[:-1]]), logits_to_keep=len(tokens), use_cache=False).logits[0]
        logprobs = logits.float().log_softmax(-1)
        results.append(logprobs.gather(1, torch.tensor(tokens)[:, None])[:, 0].tolist())
    return results


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", default=om.DEFAULT_MODEL)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--prompt", type=int, default=256, help="tokens of the prompt")
    parser.add_argument("--continuations", type=int, default=8)
    parser.add_argument("--length", type=int, default=8, help="tokens of each continuation")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object")
    arguments = parser.parse_args()
    ours = om.Model(arguments.model, dtype=arguments.dtype, device="cpu").load()
    folder = ours.backend.describe()["path"]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, arguments.dtype)).eval()
    draw, seconds, apart = random.Random(0), {"openmodels": float("inf"), "one by one": float("inf")}, 0.0
    for number in range(arguments.rounds + 1):
        prompt = f"Text {number}:{text_of(draw, tokenizer, arguments.prompt)}"
        continuations = [text_of(draw, tokenizer, arguments.length) for _ in range(arguments.continuations)]
        began = time.perf_counter()
        scores = ours.score(prompt, continuations)
        middle = time.perf_counter()
        due = one_by_one(theirs, tokenizer, prompt, continuations)
        ended = time.perf_counter()
        for score, values in zip(scores, due, strict=True):
            for token, value in zip(score.tokens, values, strict=True):
                apart = max(apart, abs(token.logprob - value))
        if number:  # the first round warms both
            seconds["openmodels"] = min(seconds["openmodels"], middle - began)
            seconds["one by one"] = min(seconds["one by one"], ended - middle)
    ratio = seconds["one by one"] / seconds["openmodels"]
    if arguments.json:
        print(json.dumps({"seconds": seconds, "ratio": ratio, "apart": apart, **vars(arguments)}))
        return
    for name, value in seconds.items():
        print(f"{name:<12} {value:.3f} s")
    print(f"ratio        {ratio:.2f}\napart        {apart:.1e}")


if __name__ == "__main__":
    main()
