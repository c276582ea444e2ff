"""The engines of `local` beside each other and beside what they are made of: the same GGUF file, the same prompts.

python benchmarks/engines.py [--seconds 150] [--at-once 32] [--tokens 128] [--json FILE]

Output tokens per second of one answer and of many at once, greedy. "bare" is the same pipeline or the same server
asked without openmodels: OpenVINO's own `generate`, and llama.cpp's `/v1/completions` over plain HTTP, both given
ready tokens. Engines that are not installed are left out. Each runs in a process of its own, is loaded and warmed
first, and asked with prompts that it has not seen, an engine and its bare thing one after the other, each first in
every other round. On a shared machine a single pair may differ by a fifth either way, so there are as many rounds as
fit into `--seconds` for each figure, and three at least. Figures are medians of the rounds; "of bare" is the geometric
mean of each round's own ratio, with its standard error.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import openmodels as om
from openmodels.backends.local.runtime import RUNTIME

_ROUNDS = 3
"""Rounds at least."""
_numbers = itertools.count()
Speed = Callable[[int, int], float]
"""Takes how many answers at once and of how many tokens; returns output tokens per second."""


def prompts(count: int) -> list[str]:
    """Return new prompts; their difference stands at the beginning, where no prefix can be shared.

    Each has an answer of more tokens than are asked for: ends at different places would be counted as speed.
    """
    told = "explain in great detail how a lighthouse is built, in twenty numbered steps."
    return [f"Story {next(_numbers)}: {told}" for _ in range(count)]


def openmodels_speed(model: om.Model) -> Speed:
    """Return the speed of calls through openmodels."""

    def ask(prompt: str, tokens: int) -> int:
        return model.chat(prompt, max_tokens=tokens, temperature=0).usage.output_tokens or 0

    return lambda at_once, tokens: _together(lambda prompt: ask(prompt, tokens), at_once)


def bare_openvino(model: om.Model) -> Speed:
    """Return the speed of the pipeline's own `generate`."""
    import openvino_genai

    opened = model.backend._engine._model  # noqa: SLF001 - the same pipeline is what is compared

    def speed(at_once: int, tokens: int) -> float:
        given = [opened.tensor(_tokens(opened.prompt_config.tokenizer, prompt)) for prompt in prompts(at_once)]
        options = openvino_genai.GenerationConfig()
        options.max_new_tokens, options.apply_chat_template = tokens, False
        options.stop_token_ids = set(opened.prompt_config.eos_token_ids)
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
        body = {"prompt": _tokens(served.prompt_config.tokenizer, prompt), "max_tokens": tokens, "temperature": 0}
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        with urlopen(Request(f"{address}/v1/completions", json.dumps(body).encode(), headers)) as answer:
            return json.load(answer)["usage"]["completion_tokens"]

    return lambda at_once, tokens: _together(lambda prompt: ask(prompt, tokens), at_once)


BARE = {"openvino": bare_openvino, "llamacpp": bare_llamacpp}


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


def measure(seconds: float, at_once: int, tokens: int) -> dict[str, dict[str, list[float]]]:
    """Return each round's tokens per second by way and by "one" or "many"."""
    found: dict[str, dict[str, list[float]]] = {}
    for name in ["transformers", *(name for name in BARE if RUNTIME.engines[name].is_installed)]:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found |= pool.submit(_engine, name, seconds, at_once, tokens).result()
    return found


def _engine(name: str, seconds: float, at_once: int, tokens: int) -> dict[str, dict[str, list[float]]]:
    with om.Model(om.DEFAULT_MODEL, engine=name) as model:
        model.chat("Hello", max_tokens=4)
        ways = {name: openmodels_speed(model)}
        if name in BARE:
            ways[f"{name} bare"] = BARE[name](model)
        found: dict[str, dict[str, list[float]]] = {way: {"one": [], "many": []} for way in ways}
        for speed in ways.values():
            speed(2, 8)
        for kind, answers in (("one", 1), ("many", at_once)):
            began = time.monotonic()
            order = list(ways)
            while len(found[name][kind]) < _ROUNDS or (len(ways) > 1 and time.monotonic() - began < seconds):
                for way in order:
                    found[way][kind].append(ways[way](answers, tokens))
                order.reverse()
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
            row += [f"{own:.1f}", f"{own / usual:.2f}", _paired(values, bare) if bare else ""]
        rows.append(row)
    return rows


def _paired(values: list[float], others: list[float]) -> str:
    ratios = [one / other for one, other in zip(values, others, strict=True)]
    return f"{statistics.geometric_mean(ratios):.2f} ± {statistics.stdev(ratios) / len(ratios) ** 0.5:.2f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0, help="for each figure beside a bare thing")
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--json", type=Path)
    told = parser.parse_args()
    found = measure(told.seconds, told.at_once, told.tokens)
    for row in table(found, told.at_once):
        print("".join(f"{cell:18}" for cell in row))
    if told.json:
        told.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
