"""The engines of `local` beside each other and beside what they are made of: the same GGUF file, the same prompts.

python benchmarks/engines.py [--rounds 5] [--at-once 32] [--tokens 128] [--json FILE]

Output tokens per second of one answer and of many at once, greedy. "bare" is the same pipeline or the same server
asked without openmodels: OpenVINO's own `generate`, and llama.cpp's `/v1/completions` over plain HTTP, both given
ready tokens. Engines that are not installed are left out. Each is loaded and warmed first, and asked with prompts
that it has not seen, in a random order a round, an engine and its bare thing one after the other. Figures are medians
of the rounds, and "of bare" is the median of each round's own ratio.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import openmodels as om
from openmodels.backends.local.engines.choice import installed

_numbers = itertools.count()
Speed = Callable[[int, int], float]
"""Takes how many answers at once and of how many tokens; returns output tokens per second."""


def prompts(count: int) -> list[str]:
    """Return new prompts; their difference stands at the beginning, where no prefix can be shared."""
    return [f"Number {next(_numbers)}: write a long story about a lighthouse and its keeper." for _ in range(count)]


def ours(model: om.Model) -> Speed:
    """Return the speed of calls through openmodels."""

    def ask(prompt: str, tokens: int) -> int:
        return model.chat(prompt, max_tokens=tokens, temperature=0).usage.output_tokens or 0

    return lambda at_once, tokens: _together(lambda prompt: ask(prompt, tokens), at_once)


def bare_openvino(model: om.Model) -> Speed:
    """Return the speed of the pipeline's own `generate`."""
    import openvino_genai

    opened = model.backend._engine._opened  # noqa: SLF001 - the same pipeline is what is compared

    def speed(at_once: int, tokens: int) -> float:
        given = [opened.tensor(_tokens(opened.voice.tokenizer, prompt)) for prompt in prompts(at_once)]
        options = openvino_genai.GenerationConfig()
        options.max_new_tokens, options.apply_chat_template = tokens, False
        options.stop_token_ids = set(opened.voice.ends)
        began = time.perf_counter()
        results = opened.pipeline.generate(given, [options] * at_once)
        seconds = time.perf_counter() - began
        return sum(len(result.m_generation_ids[0]) for result in results) / seconds

    return speed


def bare_llamacpp(model: om.Model) -> Speed:
    """Return the speed of the server, asked over plain HTTP."""
    served = model.backend._engine  # noqa: SLF001 - as above
    address, key = served.server.ensure(None), served.server.key

    def ask(prompt: str, tokens: int) -> int:
        body = {"prompt": _tokens(served.voice.tokenizer, prompt), "max_tokens": tokens, "temperature": 0}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        with urlopen(Request(f"{address}/v1/completions", json.dumps(body).encode(), headers)) as answer:
            return json.load(answer)["usage"]["completion_tokens"]

    return lambda at_once, tokens: _together(lambda prompt: ask(prompt, tokens), at_once)


def _together(ask: Callable[[str], int], at_once: int) -> float:
    given = prompts(at_once)
    began = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        written = sum(pool.map(ask, given))
    return written / (time.perf_counter() - began)


def _tokens(tokenizer: Any, prompt: str) -> list[int]:
    turns = [{"role": "user", "content": prompt}]
    tokens: list[int] = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    return tokens


def measure(rounds: int, at_once: int, tokens: int) -> dict[str, dict[str, list[float]]]:
    """Return each round's tokens per second by way and by "one" or "many"."""
    engines = ["transformers", *(name for name in ("openvino", "llamacpp") if installed(name))]
    models = {name: om.Model(om.DEFAULT_MODEL, engine=name).load() for name in engines}
    ways = {name: ours(model) for name, model in models.items()}
    pairs = [["transformers"]]
    for name, bare in (("openvino", bare_openvino), ("llamacpp", bare_llamacpp)):
        if name in models:
            models[name].chat("Hello", max_tokens=4)
            ways[f"{name} bare"] = bare(models[name])
            pairs.append([name, f"{name} bare"])
    found: dict[str, dict[str, list[float]]] = {name: {"one": [], "many": []} for name in ways}
    for speed in ways.values():
        speed(2, 8)
    for _ in range(rounds):
        for names in random.sample(pairs, len(pairs)):
            for kind, answers in (("one", 1), ("many", at_once)):
                for name in random.sample(names, len(names)):
                    found[name][kind].append(ways[name](answers, tokens))
    for model in models.values():
        model.close()
    return found


def table(found: dict[str, dict[str, list[float]]], at_once: int) -> list[list[str]]:
    """Return the figures as rows of text; ratios are to transformers, and of ours to the bare thing."""
    rows = [
        ["engine", "one, tokens/s", "to transformers", "of bare", f"{at_once} at once", "to transformers", "of bare"]
    ]
    for name, kinds in found.items():
        row = [name]
        for kind, values in kinds.items():
            bare = found.get(f"{name} bare", {}).get(kind)
            own, usual = statistics.median(values), statistics.median(found["transformers"][kind])
            row += [f"{own:.1f}", f"{own / usual:.2f}", f"{_paired(values, bare):.2f}" if bare else ""]
        rows.append(row)
    return rows


def _paired(values: list[float], others: list[float]) -> float:
    return statistics.median(one / other for one, other in zip(values, others, strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    found = measure(told.rounds, told.at_once, told.tokens)
    for row in table(found, told.at_once):
        print("".join(f"{cell:18}" for cell in row))
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
