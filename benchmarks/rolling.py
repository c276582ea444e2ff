"""Many local answers at once, beside plain transformers with the same weights, prompts and dtype.

    python benchmarks/rolling.py [--json FILE]

Every way runs in a process of its own, so that its peak memory is its own. Sixteen chats have
prompts of 20 to 600 tokens and answers of 16 to 256; ends of text are ignored, so that every way
makes the same number of tokens. The other parts: 32 answers at once, one answer, copying work, the
second turn of a conversation, a long prompt among running streams.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


def chats(count: int, *, mixed: bool) -> list[tuple[list[int], int]]:
    """Return prompts as tokens, with the number of tokens to answer."""
    chooser = random.Random(1)
    sizes = [(chooser.randint(20, 600), chooser.randint(16, 256)) if mixed else (47, 64) for _ in range(count)]
    return [([chooser.randint(1000, 40000) for _ in range(prompt)], answer) for prompt, answer in sizes]


def peak() -> float:
    """Return this process's largest resident memory so far, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def figures(work: list[tuple[list[int], int]], seconds: float, ends: list[float]) -> dict[str, float]:
    """Return tokens per second, and the mean seconds until an answer was complete."""
    return {"speed": sum(answer for _, answer in work) / seconds, "mean_end": sum(ends) / len(ends)}


def plain() -> tuple[Any, Any]:
    """Return transformers' model, and its tokenizer, from where openmodels keeps it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import openmodels as om

    with om.Model(om.DEFAULT_MODEL) as model:
        facts = model.load().backend.describe()
    loaded = AutoModelForCausalLM.from_pretrained(facts["path"], dtype=getattr(torch, facts["dtype"]))
    loaded.generation_config.eos_token_id = None
    return loaded, AutoTokenizer.from_pretrained(facts["path"])


def sequential(model: Any, work: list[tuple[list[int], int]]) -> dict[str, float]:
    import torch

    began, ends = time.perf_counter(), []
    for prompt, answer in work:
        ids = torch.tensor([prompt])
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=answer, do_sample=False)
        ends.append(time.perf_counter() - began)
    return figures(work, ends[-1], ends)


def static(model: Any, work: list[tuple[list[int], int]]) -> dict[str, float]:
    import torch

    longest = max(len(prompt) for prompt, _ in work)
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt, _ in work])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt, _ in work])
    began = time.perf_counter()
    model.generate(ids, attention_mask=mask, max_new_tokens=max(answer for _, answer in work), do_sample=False)
    seconds = time.perf_counter() - began
    return figures(work, seconds, [seconds] * len(work))


def continuous(model: Any, work: list[tuple[list[int], int]]) -> dict[str, float]:
    from transformers import GenerationConfig

    config = GenerationConfig(do_sample=False, max_new_tokens=256, eos_token_id=-1, pad_token_id=0)
    manager = model.init_continuous_batching(generation_config=config)
    manager.start()
    try:
        began, ends = time.perf_counter(), []
        for prompt, answer in work:
            manager.add_request(prompt, max_new_tokens=answer)
        while len(ends) < len(work):
            result = manager.get_result(timeout=1)
            if result is not None and result.is_finished():
                ends.append(time.perf_counter() - began)
    finally:
        manager.stop(block=True)
    return figures(work, ends[-1], ends)


class Ours:
    """The default model through openmodels' engine, below templates: prompts are given as tokens."""

    def __init__(self) -> None:
        import openmodels as om
        from openmodels.backends.local import sequence, voice

        voice.Voice.ends = property(lambda _: [])  # every way is to make as many tokens
        sequence.asked = lambda request, *_: voice.Asked(json.loads(request.prompt), None, None)
        self.model = om.Model(om.DEFAULT_MODEL).load()

    async def answer(self, prompt: list[int], tokens: int) -> list[float]:
        """Return when the answer's pieces came, on the clock of `time.perf_counter()`."""
        from openmodels.types import ChatRequest

        request = ChatRequest(prompt=json.dumps(prompt), max_tokens=tokens, temperature=0.0)
        return [time.perf_counter() async for _ in self.model.backend.arun(request)]

    def together(self, work: list[tuple[list[int], int]]) -> dict[str, float]:
        async def run() -> list[list[float]]:
            return await asyncio.gather(*(self.answer(prompt, tokens) for prompt, tokens in work))

        began = time.perf_counter()
        ends = [times[-1] - began for times in asyncio.run(run())]
        return figures(work, max(ends), ends)

    def second_turn(self) -> dict[str, float]:
        chooser = random.Random(2)
        first = [chooser.randint(1000, 40000) for _ in range(2000)]
        second = [*first, *(chooser.randint(1000, 40000) for _ in range(30))]
        seconds = []
        for prompt in (first, second):
            began = time.perf_counter()
            seconds.append(asyncio.run(self.answer(prompt, 8))[0] - began)
        return {"first": seconds[0], "second": seconds[1]}

    def long_prompt(self) -> dict[str, float]:
        """Return the usual and the longest seconds between tokens of 8 streams while 4,000 tokens arrive."""
        chooser = random.Random(3)
        long = [chooser.randint(1000, 40000) for _ in range(4000)]

        async def run() -> tuple[list[list[float]], float, float]:
            streams = [asyncio.ensure_future(self.answer(prompt, 250)) for prompt, _ in chats(8, mixed=False)]
            await asyncio.sleep(4)
            began = time.perf_counter()
            times = await self.answer(long, 1)
            return await asyncio.gather(*streams), began, times[0]

        streams, began, ended = asyncio.run(run())
        before = [b - a for t in streams for a, b in itertools.pairwise(t[20:]) if b < began]
        during = [b - a for t in streams for a, b in itertools.pairwise(t) if a < ended and b > began]
        before.sort()
        return {"usual": before[len(before) // 2], "longest": max(during), "first_token": ended - began}


def copying(ask: Any, tokenizer: Any) -> dict[str, float]:
    """Return tokens per second where the answer repeats what the prompt says."""
    text = "def area(width, height):\n    return width * height\n\n\ndef volume(width, height, depth):\n"
    text += "    return area(width, height) * depth\n"
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": f"Repeat this text exactly, three times:\n\n{text}"}],
        add_generation_prompt=True,
        return_dict=True,
    )["input_ids"]
    prompt += tokenizer(text)["input_ids"]
    return ask([(prompt, 128)])


def child(way: str) -> dict[str, Any]:
    mixed, many, one = chats(16, mixed=True), chats(32, mixed=False), chats(1, mixed=False)
    if way == "openmodels":
        from transformers import AutoTokenizer

        ours = Ours()
        ours.together(chats(2, mixed=False))
        tokenizer = AutoTokenizer.from_pretrained(ours.model.backend.describe()["path"])
        out: dict[str, Any] = {"mixed": ours.together(mixed), "peak": peak(), "many": ours.together(many)}
        out["one"] = max((ours.together(one) for _ in range(3)), key=lambda run: run["speed"])
        out["copying"] = copying(ours.together, tokenizer)
        out["turns"], out["long"] = ours.second_turn(), ours.long_prompt()
        ours.model.close()
        return out
    model, tokenizer = plain()
    ways = {"sequential": sequential, "static": static, "continuous": continuous}
    sequential(model, [([5] * 20, 4)])
    out = {"mixed": ways[way](model, mixed), "peak": peak()}
    if way == "static":
        out["many"] = static(model, many)
    if way == "sequential":
        out["one"] = max((sequential(model, one) for _ in range(3)), key=lambda run: run["speed"])
        out["copying"] = copying(lambda work: sequential(model, work), tokenizer)
    return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--way", help="run one way only, and print its figures as JSON")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(child(options.way)))
        return
    runs: dict[str, Any] = {}
    for way in ("openmodels", "sequential", "static", "continuous"):
        command = [sys.executable, __file__, "--way", way]
        out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600)
        runs[way] = json.loads(out.stdout.splitlines()[-1])
    ours = runs["openmodels"]
    print(f"{'16 mixed chats':16}{'tokens/s':>10}{'ours is':>10}{'mean end s':>12}{'peak MB':>10}")
    for way, run in runs.items():
        ratio = ours["mixed"]["speed"] / run["mixed"]["speed"]
        print(f"{way:16}{run['mixed']['speed']:10.1f}{ratio:9.2f}x{run['mixed']['mean_end']:12.1f}{run['peak']:10.0f}")
    print(f"32 at once: {ours['many']['speed']:.0f} tokens/s, static {runs['static']['many']['speed']:.0f}")
    for part in ("one", "copying"):
        theirs = runs["sequential"][part]["speed"]
        print(f"{part}: {ours[part]['speed']:.1f} tokens/s, generate {theirs:.1f}, {ours[part]['speed'] / theirs:.2f}x")
    print(f"second turn: {ours['turns']['second']:.2f} s to its first token, first turn {ours['turns']['first']:.2f}")
    long = ours["long"]
    print(f"long prompt: usual gap {1e3 * long['usual']:.0f} ms, longest {1e3 * long['longest']:.0f} ms")
    if options.json:
        Path(options.json).write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
