"""The engines of `local` beside each other: the same GGUF file, the same prompts, one run.

python benchmarks/engines.py [--rounds 3] [--at-once 16] [--tokens 128] [--json FILE]

Output tokens per second of one answer and of many at once, greedy, and how many times transformers' they
are; engines that are not installed are left out. Each is loaded and warmed first, in a random order a
round; medians of the rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openmodels as om
from openmodels.backends.local.engines.choice import installed

PROMPT = "Write a long story about a lighthouse and its keeper. Number {}."


def speed(model: om.Model, at_once: int, tokens: int) -> float:
    """Return output tokens per second of so many equal calls at once."""

    def ask(number: int) -> int:
        return model.chat(PROMPT.format(number), max_tokens=tokens, temperature=0).usage.output_tokens or 0

    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        written = sum(pool.map(ask, range(at_once)))
    return written / (time.perf_counter() - began)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    engines = ["transformers", *(name for name in ("openvino", "llamacpp") if installed(name))]
    found: dict[str, dict[str, list[float]]] = {name: {"one": [], "many": []} for name in engines}
    models = {name: om.Model(om.DEFAULT_MODEL, engine=name).load() for name in engines}
    for model in models.values():
        speed(model, 2, 8)
    for _ in range(told.rounds):
        for name in random.sample(engines, len(engines)):
            found[name]["one"].append(speed(models[name], 1, told.tokens))
            found[name]["many"].append(speed(models[name], told.at_once, told.tokens))
    for model in models.values():
        model.close()
    medians = {
        name: {kind: statistics.median(values) for kind, values in kinds.items()} for name, kinds in found.items()
    }
    print(f"{'engine':14}{'one':>10}{'ratio':>8}{f'{told.at_once} at once':>14}{'ratio':>8}   (output tokens/s)")
    for name, kinds in medians.items():
        line = "".join(
            f"{kinds[kind]:{width}.1f}{kinds[kind] / medians['transformers'][kind]:7.1f}x"
            for kind, width in (("one", 10), ("many", 14))
        )
        print(f"{name:14}{line}")
    if told.json:
        told.json.write_text(json.dumps(medians, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
