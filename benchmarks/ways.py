"""The ways to make many local answers at once that `rolling` compares, each in a process of its own.

    python benchmarks/ways.py WAY PATH

Reads a part to do and a turn from every line of its input, as JSON, and answers each with a line of figures. The
way `vllm` is run by the interpreter of an environment that has vLLM, without openmodels.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import random
import sys
import time
from pathlib import Path
from typing import Any

Work = list[tuple[list[int], int]]

TURNS = 3
"""How often each way does its work; `sequential` does a third of the mixed chats at a time."""


def chats(count: int, *, mixed: bool, seed: str) -> Work:
    """Return prompts as tokens, with the number of tokens to answer: for every seed others of the same sizes."""
    chooser = random.Random(1)
    sizes = [(chooser.randint(20, 600), chooser.randint(16, 256)) if mixed else (47, 64) for _ in range(count)]
    chooser = random.Random(seed)
    return [([chooser.randint(1000, 40000) for _ in range(prompt)], answer) for prompt, answer in sizes]


def peak() -> float:
    """Return this process's largest resident memory so far, in MB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM"))


def figures(work: Work, seconds: float, ends: list[float]) -> dict[str, Any]:
    """Return the tokens made, the seconds it took, and when each answer was complete."""
    return {"tokens": sum(answer for _, answer in work), "seconds": seconds, "ends": ends}


def plain(path: str) -> tuple[Any, Any]:
    """Return transformers' model in the dtype of its files, and its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    loaded = AutoModelForCausalLM.from_pretrained(path, dtype="auto")
    loaded.generation_config.eos_token_id = None
    return loaded, AutoTokenizer.from_pretrained(path)


def sequential(model: Any, work: Work, **options: Any) -> dict[str, Any]:
    import torch

    began, ends = time.perf_counter(), []
    for prompt, answer in work:
        ids = torch.tensor([prompt])
        model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=answer, do_sample=False, **options)
        ends.append(time.perf_counter() - began)
    return figures(work, ends[-1], ends)


def static(model: Any, work: Work) -> dict[str, Any]:
    import torch

    longest = max(len(prompt) for prompt, _ in work)
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt, _ in work])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt, _ in work])
    began = time.perf_counter()
    model.generate(ids, attention_mask=mask, max_new_tokens=max(answer for _, answer in work), do_sample=False)
    seconds = time.perf_counter() - began
    return figures(work, seconds, [seconds] * len(work))


def continuous(model: Any, work: Work) -> dict[str, Any]:
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


class Vllm:
    """vLLM, eager; run by the interpreter of its own environment, without openmodels."""

    def __init__(self, path: str) -> None:
        from vllm import LLM

        options = {"enforce_eager": True, "max_model_len": 2048, "enable_prefix_caching": False}
        self._model = LLM(path, dtype="bfloat16", **options)

    def together(self, work: Work) -> dict[str, Any]:
        from vllm import SamplingParams, TokensPrompt

        options = [SamplingParams(temperature=0, max_tokens=answer, ignore_eos=True) for _, answer in work]
        prompts = [TokensPrompt(prompt_token_ids=prompt) for prompt, _ in work]
        began = time.perf_counter()
        done = self._model.generate(prompts, options, use_tqdm=False)
        seconds = time.perf_counter() - began
        assert all(len(one.outputs[0].token_ids) == answer for one, (_, answer) in zip(done, work, strict=True))
        return figures(work, seconds, [seconds] * len(work))


class Plain:
    """transformers by itself, in one of three ways."""

    def __init__(self, path: str, way: str) -> None:
        self._model, self._tokenizer = plain(path)
        self.together = functools.partial(
            {"static": static, "continuous": continuous}.get(way, sequential), self._model
        )

    def copying(self) -> dict[str, Any]:
        return copying(self.together, self._tokenizer)

    def lookup(self) -> dict[str, Any]:
        return copying(functools.partial(self.together, prompt_lookup_num_tokens=10), self._tokenizer)


class Ours:
    """The default model through openmodels' engine, below templates: prompts are given as tokens."""

    def __init__(self, path: str) -> None:
        import openmodels as om
        from openmodels.backends.local.engines.torch import torch_setup

        torch_setup.import_torch()  # as the backend does it, before what is replaced below loads it otherwise
        from transformers import AutoTokenizer

        from openmodels.backends.local.engines.torch import draft_tokens
        from openmodels.backends.local.prompt import prepare

        prepare.PromptConfig.eos_token_ids = property(lambda _: [])  # every way is to make as many tokens
        prepare.prepare_prompt = lambda request, *_: prepare.PreparedPrompt(json.loads(request.prompt), None, None)
        self.model = om.Model(om.DEFAULT_MODEL).load()
        self._tokenizer, self._drafter = AutoTokenizer.from_pretrained(path), draft_tokens.Drafter

    async def answer(self, prompt: list[int], tokens: int, times: list[float] | None = None) -> list[float]:
        """Return `times`, with those when the answer's pieces came, on the clock of `time.perf_counter()`."""
        from openmodels.types.request import ChatRequest

        request = ChatRequest(prompt=json.dumps(prompt), max_tokens=tokens, temperature=0.0)
        times = [] if times is None else times
        async for _ in self.model.backend.arun(request):
            times.append(time.perf_counter())
        return times

    def copying(self) -> dict[str, Any]:
        return copying(self.together, self._tokenizer)

    def unguessed(self, work: Work) -> dict[str, Any]:
        """Do it as if no guess were ever found."""
        propose, self._drafter.propose = self._drafter.propose, lambda *_, **__: []
        try:
            return self.together(work)
        finally:
            self._drafter.propose = propose

    def together(self, work: Work) -> dict[str, Any]:
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

    def long_prompt(self, turn: int) -> dict[str, float]:
        """Return the usual and the longest seconds between tokens of 8 streams while 4,000 tokens arrive."""
        chooser = random.Random(100 + turn)
        long = [chooser.randint(1000, 40000) for _ in range(4000)]

        streams: list[list[float]] = [[] for _ in range(8)]

        async def run() -> tuple[float, float]:
            work = zip(chats(8, mixed=False, seed=f"long {turn}"), streams, strict=True)
            tasks = [asyncio.ensure_future(self.answer(prompt, 4000, times)) for (prompt, _), times in work]
            for _ in range(600):
                await asyncio.sleep(0.1)
                if min(map(len, streams)) >= 30:
                    break
            began = time.perf_counter()
            ended = (await self.answer(long, 1))[0]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return began, ended

        began, ended = asyncio.run(run())
        before = [b - a for t in streams for a, b in itertools.pairwise(t[5:]) if b < began]
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


def copying(ask: Any, tokenizer: Any) -> dict[str, Any]:
    """Return the seconds of answers that repeat what the prompt says: prose, and code."""
    mill = "The mill was sold in 1920. Its wheel is still there, but the race is dry."
    half = "def half(number):\n    return number / 2\n"
    texts = (
        f"Text: {mill}\nCopy: {mill}\n\nText: {QUOTED}\nCopy:",
        f"Before:\n{half}\nAfter:\n{half}\nBefore:\n{EDITED}\nAfter:\n",
    )
    return total([ask([(tokenizer(text)["input_ids"], 110)]) for text in texts])


def total(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return several runs, one after the other, as one."""
    sums = {name: sum(run[name] for run in runs) for name in ("tokens", "seconds")}
    return {**sums, "ends": [end for run in runs for end in run["ends"]]}


def child(way: str, path: str) -> None:
    """Do the parts that are asked for, a line of JSON each; answer with a line each."""
    worker: Any = {"openmodels": Ours, "vllm": Vllm}.get(way, functools.partial(Plain, way=way))(path)
    worker.together(chats(2, mixed=False, seed="warm"))
    print("{}", flush=True)  # ready
    for line in sys.stdin:
        part, turn = json.loads(line)
        if part in {"mixed", "unguessed"}:
            work = chats(16, mixed=True, seed=f"{part} {turn}")
            do = worker.together if part == "mixed" else worker.unguessed
            out = do(work[turn - 1 :: TURNS] if way == "sequential" else work)
            out["peak"] = peak()
        elif part in {"many", "one"}:
            out = worker.together(chats(32 if part == "many" else 1, mixed=False, seed=f"{part} {turn}"))
        elif part == "long":
            out = worker.long_prompt(turn)
        else:
            out = getattr(worker, part)()
        print(json.dumps(out), flush=True)


if __name__ == "__main__":
    child(*sys.argv[1:])
