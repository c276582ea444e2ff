"""Local starts and single-stream speed, beside plain transformers with the same weights and dtype.

    python benchmarks/local.py [--tokens 64] [--rounds 5] [--json FILE]

Prints seconds from process start to the first token and to the whole answer: cold (empty caches:
fetch, convert, load), converted (a later process), warm (a later call in one process); then tokens
per second beside `generate`, both in this run, in turns, best of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

QUESTION = "What is the capital of France?"
STORY = "Write a long story about a lighthouse keeper and the sea."

CHILD = """
import json, sys, time
began = float(sys.argv[1])
import openmodels as om
model = om.Model(om.DEFAULT_MODEL)
first = None
with model.stream(sys.argv[2], temperature=0) as stream:
    for delta in stream:
        first = first or (time.time() - began if delta.text else None)
whole = time.time() - began
began = time.time()
warm = None
with model.stream(sys.argv[2], temperature=0) as again:
    for delta in again:
        warm = warm or (time.time() - began if delta.text else None)
print(json.dumps({"first": first, "whole": whole, "warm": warm, "text": stream.reply.text}))
"""


def start(environment: dict[str, str]) -> dict[str, Any]:
    """Run the question in a fresh process and return its times in seconds."""
    out = subprocess.run(
        [sys.executable, "-c", CHILD, str(time.time()), QUESTION],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(out.stdout.splitlines()[-1])


def speeds(tokens: int, rounds: int) -> dict[str, float]:
    """Return tokens per second, ours and of `generate`, measured in turns; best of the rounds."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import openmodels as om

    model = om.Model(om.DEFAULT_MODEL).load()
    facts = model.backend.describe()
    tokenizer = AutoTokenizer.from_pretrained(facts["path"])
    dtype = getattr(torch, facts["dtype"])
    plain = AutoModelForCausalLM.from_pretrained(facts["path"], dtype=dtype, trust_remote_code=False)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": STORY}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )

    def generate() -> int:
        out = plain.generate(**prompt, max_new_tokens=tokens, do_sample=False)
        return out.shape[1] - prompt["input_ids"].shape[1]

    def ours() -> int:
        return model.chat(STORY, max_tokens=tokens, temperature=0).usage.output_tokens

    best = {"generate": 0.0, "openmodels": 0.0}
    generate()
    ours()
    for _ in range(rounds):
        for name, work in {"generate": generate, "openmodels": ours}.items():
            began = time.perf_counter()
            count = work()
            best[name] = max(best[name], count / (time.perf_counter() - began))
    return {**best, "ratio": best["openmodels"] / best["generate"], "dtype": facts["dtype"]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="write the figures to this file as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        caches = {"OPENMODELS_CACHE": f"{folder}/openmodels", "HF_HOME": f"{folder}/hf"}
        cold = start(caches)
        converted = min((start(caches) for _ in range(3)), key=lambda run: run["whole"])
    figures = {"cold": cold, "converted": converted, "speed": speeds(options.tokens, options.rounds)}
    print(f"{'':24}{'first token':>14}{'whole answer':>14}   (seconds)")
    print(f"{'cold, empty caches':24}{cold['first']:14.2f}{cold['whole']:14.2f}")
    print(f"{'converted, new process':24}{converted['first']:14.2f}{converted['whole']:14.2f}")
    print(f"{'warm, same process':24}{converted['warm']:14.2f}")
    speed = figures["speed"]
    print(
        f"\ntokens per second ({speed['dtype']}): openmodels {speed['openmodels']:.1f}, "
        f"generate {speed['generate']:.1f}, ratio {speed['ratio']:.2f}"
    )
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
