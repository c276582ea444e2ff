"""Many local answers at once, beside plain transformers with the same weights, prompts and dtype.

    python benchmarks/rolling.py [--json FILE] [--vllm PYTHON]

Every way runs in a process of its own, so that its peak memory is its own. Sixteen chats have
prompts of 20 to 600 tokens and answers of 16 to 256; ends of text are ignored, so that every way
makes the same number of tokens. The other parts: 32 answers at once, one answer, copying work, the
second turn of a conversation, a long prompt among running streams. vLLM needs an environment of its own: with
`--vllm` its interpreter runs the first three of them, eager, on the same weights.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
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


def weights() -> str:
    """Return where openmodels keeps the default model, converted for transformers."""
    import openmodels as om

    with om.Model(om.DEFAULT_MODEL, engine="transformers") as model:
        return str(model.load().backend.describe()["path"])


def plain(path: str) -> tuple[Any, Any]:
    """Return transformers' model in the dtype of its files, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    loaded.generation_config.eos_token_id = None
    return loaded, AutoTokenizer.from_pretrained(path)


def sequential(model: Any, work: list[tuple[list[int], int]], **options: Any) -> dict[str, float]:
    import torch

    began, ends = time.perf_counter(), []
    for prompt, answer in work:
        ids = torch.tensor([prompt])
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=answer, do_sample=False, **options)
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


def vllm(path: str) -> dict[str, Any]:
    """Return vLLM's figures, eager; run by the interpreter of its own environment, without openmodels."""
    from vllm import LLM, SamplingParams, TokensPrompt

    model = LLM(path, dtype="bfloat16", enforce_eager=True, max_model_len=2048, enable_prefix_caching=False)

    def together(work: list[tuple[list[int], int]]) -> dict[str, float]:
        options = [SamplingParams(temperature=0, max_tokens=answer, ignore_eos=True) for _, answer in work]
        began = time.perf_counter()
        done = model.generate([TokensPrompt(prompt_token_ids=prompt) for prompt, _ in work], options, use_tqdm=False)
        seconds = time.perf_counter() - began
        assert all(len(one.outputs[0].token_ids) == answer for one, (_, answer) in zip(done, work, strict=True))
        return figures(work, seconds, [seconds] * len(work))

    together(chats(2, mixed=False))
    one = max((together(chats(1, mixed=False)) for _ in range(3)), key=lambda run: run["speed"])
    return {"mixed": together(chats(16, mixed=True)), "many": together(chats(32, mixed=False)), "one": one}


class Ours:
    """The default model through openmodels' engine, below templates: prompts are given as tokens."""

    def __init__(self) -> None:
        import openmodels as om
        from openmodels.backends.local import openmp

        openmp.import_torch()  # as the backend does it, before what is replaced below loads it otherwise
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


QUOTED = (
    "The lighthouse at Cape Morris was built in 1871 by order of the harbour board, after three ships had been lost in "
    "a single winter. Its lamp burned whale oil until 1902, then paraffin, and since 1954 it has been electric. The "
    "tower is thirty-one metres high and has 187 steps. Two keepers lived there with their families until 1988, when "
    "the light was automated; the cottages are now a small museum that opens from April to October."
)
EDITED = """class Account:
    def __init__(self, owner, balance=0):
        self.owner = owner
        self.balance = balance

    def deposit(self, amount):
        if amount <= 0:
            raise ValueError("amount must be positive")
        self.balance += amount

    def withdraw(self, amount):
        if amount > self.balance:
            raise ValueError("not enough money")
        self.balance -= amount
"""


def copying(ask: Any, tokenizer: Any) -> dict[str, float]:
    """Return tokens per second where the answer repeats what the prompt says: prose, and code."""
    mill = "The mill was sold in 1920. Its wheel is still there, but the race is dry."
    half = "def half(number):\n    return number / 2\n"
    texts = (
        f"Text: {mill}\nCopy: {mill}\n\nText: {QUOTED}\nCopy:",
        f"Before:\n{half}\nAfter:\n{half}\nBefore:\n{EDITED}\nAfter:\n",
    )
    runs = [ask([(tokenizer(text)["input_ids"], 110)]) for text in texts]
    return {"speed": len(runs) / sum(1 / run["speed"] for run in runs)}


def child(way: str, path: str) -> dict[str, Any]:
    if way == "vllm":
        return vllm(path)
    mixed, many, one = chats(16, mixed=True), chats(32, mixed=False), chats(1, mixed=False)
    if way == "openmodels":
        from transformers import AutoTokenizer

        ours = Ours()
        ours.together(chats(2, mixed=False))
        tokenizer = AutoTokenizer.from_pretrained(path)
        out: dict[str, Any] = {"mixed": ours.together(mixed), "peak": peak(), "many": ours.together(many)}
        out["one"] = max((ours.together(one) for _ in range(3)), key=lambda run: run["speed"])
        out["copying"] = copying(ours.together, tokenizer)
        out["turns"], out["long"] = ours.second_turn(), ours.long_prompt()
        ours.model.close()
        return out
    model, tokenizer = plain(path)
    ways = {"sequential": sequential, "static": static, "continuous": continuous}
    sequential(model, [([5] * 20, 4)])
    out = {"mixed": ways[way](model, mixed), "peak": peak()}
    if way == "static":
        out["many"] = static(model, many)
    if way == "sequential":
        out["one"] = max((sequential(model, one) for _ in range(3)), key=lambda run: run["speed"])
        out["copying"] = copying(lambda work: sequential(model, work), tokenizer)
        out["lookup"] = copying(lambda work: sequential(model, work, prompt_lookup_num_tokens=10), tokenizer)
    return out


def measure(vllm_python: str | None = None) -> dict[str, Any]:
    """Return every way's figures, each from a process of its own."""
    runs: dict[str, Any] = {}
    path = weights()
    # Else vLLM keeps a core for its front end, on few cores half of them.
    cores = f"0-{(os.cpu_count() or 1) - 1}"
    settings = {"VLLM_CPU_OMP_THREADS_BIND": cores, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    environment = settings | os.environ
    ways = dict.fromkeys(("openmodels", "sequential", "static", "continuous"), sys.executable)
    if vllm_python:
        ways["vllm"] = vllm_python
    for way, python in ways.items():
        command = [python, __file__, "--way", way, "--path", path]
        try:
            out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300, env=environment)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            print(f"{way} is left out: {type(error).__name__}", file=sys.stderr)
            continue
        runs[way] = next(json.loads(line) for line in out.stdout.splitlines() if line.startswith("{"))
    return runs


def table(runs: dict[str, Any]) -> list[list[str]]:
    """Return the figures of the 16 mixed chats as rows of text."""
    rows = [["16 mixed chats", "tokens/s", "ours is", "mean end, s", "ours is", "peak, MB", "ours is"]]
    ours = runs["openmodels"]
    for way, run in runs.items():
        if "peak" not in run:  # vLLM gives answers when all are done, from more than one process
            continue
        mixed, best = run["mixed"], ours["mixed"]
        ends, memory = best["mean_end"] / mixed["mean_end"], ours["peak"] / run["peak"]
        row = [way, f"{mixed['speed']:.1f}", f"{best['speed'] / mixed['speed']:.2f}"]
        rows.append([*row, f"{mixed['mean_end']:.1f}", f"{ends:.2f}", f"{run['peak']:.0f}", f"{memory:.2f}"])
    return rows


def lines(runs: dict[str, Any]) -> list[str]:
    """Return the other figures, a sentence each."""
    ours, plain = runs["openmodels"], runs["sequential"]
    many, static_many = ours["many"]["speed"], runs["static"]["many"]["speed"]
    turns, long = ours["turns"], ours["long"]
    one, copied = ours["one"]["speed"], ours["copying"]["speed"]
    beside = []
    if "vllm" in runs:
        for text, part in (("16 mixed", "mixed"), ("32 at once", "many"), ("One stream", "one")):
            theirs = runs["vllm"][part]["speed"]
            beside.append(f"{text}: vLLM, eager, {theirs:.0f} tokens/s; ours {ours[part]['speed'] / theirs:.2f}x.")
    return [
        *beside,
        f"32 at once: {many:.0f} tokens/s; a padded static batch {static_many:.0f}, {many / static_many:.2f}x.",
        f"One stream: {one:.1f} tokens/s; `generate` {plain['one']['speed']:.1f}, {one / plain['one']['speed']:.2f}x.",
        (
            f"Copying: {copied:.1f} tokens/s; `generate` {plain['copying']['speed']:.1f}, "
            f"{copied / plain['copying']['speed']:.2f}x; with its own prompt lookup {plain['lookup']['speed']:.1f}."
        ),
        (
            f"Second turn of 2,000 tokens: first token after {turns['second']:.2f} s; first turn "
            f"{turns['first']:.2f} s, {turns['second'] / turns['first']:.2f}x."
        ),
        (
            f"A prompt of 4,000 tokens among 8 streams: usual gap {1e3 * long['usual']:.0f} ms, "
            f"longest {1e3 * long['longest']:.0f} ms, {long['longest'] / long['usual']:.1f}x."
        ),
    ]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--vllm", help="the interpreter of an environment that has vLLM")
    parser.add_argument("--way", help="run one way only, with --path, and print its figures as JSON")
    parser.add_argument("--path", help="the weights' folder, as `weights` finds it")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(child(options.way, options.path)))
        return
    runs = measure(options.vllm)
    for row in table(runs):
        print("".join(f"{cell:16}" for cell in row))
    print(*lines(runs), sep="\n")
    if options.json:
        Path(options.json).write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
