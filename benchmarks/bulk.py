"""Bulk work beside plain `asyncio.gather` over the openai client, 64 at a time, in one run.

    python benchmarks/bulk.py [--rounds 5] [--items 3000] [--json FILE]

The server of `benchmarks/wire.py` answers at once, from a process of its own, so what is measured is
what a client costs an item. `map` runs as everybody uses it: checks, retries, deadline, order, counting.
Figures are items per second, best of the rounds, and ratios to the openai client (above 1 is faster):

    map         model.map, from a plain thread
    amap        model.amap
    map saved   model.map with `save=`, every item written to a new file
    resume      the same again, all items read from the file
    gather      asyncio.gather over AsyncOpenAI, a semaphore of 64, max_retries as by default

Needs `pip install openai`.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import wire

import openmodels as om

TOGETHER = 64


def prompts(count: int) -> Iterator[str]:
    return (f"What is {number} plus {number}?" for number in range(count))


def sync_map(url: str, count: int, save: Path | None = None) -> None:
    with (
        om.Model("server:m", base_url=url, api_key="key") as model,
        model.map(prompts(count), concurrency=TOGETHER, save=save, progress=False) as run,
    ):
        assert sum(item.result().text == wire.ANSWER for item in run) == count


async def async_map(url: str, count: int) -> None:
    with om.Model("server:m", base_url=url, api_key="key") as model:
        async with model.amap(prompts(count), concurrency=TOGETHER, progress=False) as run:
            assert sum([item.result().text == wire.ANSWER async for item in run]) == count


async def gather(url: str, count: int) -> None:
    from openai import AsyncOpenAI

    limit = asyncio.Semaphore(TOGETHER)
    async with AsyncOpenAI(base_url=url, api_key="key") as client:

        async def ask(prompt: str) -> str:
            async with limit:
                answer = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": prompt}])
            return answer.choices[0].message.content or ""

        answers = await asyncio.gather(*(ask(prompt) for prompt in prompts(count)))
    assert answers == [wire.ANSWER] * count


def seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--items", type=int, default=3000)
    parser.add_argument("--json", help="write the figures to this file as well")
    options = parser.parse_args()
    if not importlib.util.find_spec("openai"):
        print("left out: the openai client is not installed")
        return
    count: int = options.items
    rates: dict[str, list[float]] = {}
    with wire.server() as url, tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            file = Path(folder, f"{number}.jsonl")
            contestants: dict[str, Callable[[], None]] = {
                "gather": lambda: asyncio.run(gather(url, count)),
                "map": lambda: sync_map(url, count),
                "amap": lambda: asyncio.run(async_map(url, count)),
                "map saved": lambda file=file: sync_map(url, count, file),
                "resume": lambda file=file: sync_map(url, count, file),
            }
            for name, work in contestants.items():
                rates.setdefault(name, []).append(count / seconds(work))
    print(f"{'':12}{'items/s':>10}{'ratio':>8}{'median of the rounds’ ratios':>32}")
    for name, own in rates.items():
        middle = statistics.median(one / other for one, other in zip(own, rates["gather"], strict=True))
        print(f"{name:12}{max(own):10,.0f}{max(own) / max(rates['gather']):8.2f}{middle:32.2f}")
    if options.json:
        Path(options.json).write_text(json.dumps(rates, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
