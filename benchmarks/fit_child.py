"""Runs models as the backend "local" does, and says how many bytes each of these processes took.

A program of its own. A line of standard input is a task as JSON: file, dtype, context, batch. Each runs in a fork of
this process, which has imported what they need and loaded nothing, so what one grows by is the model's own. The answer
is a line of JSON: "base", the memory before, and "peak", the most that it grew by.
"""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any


def read_memory() -> dict[str, int]:
    """Return bytes by the names of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def run_folder(task: dict[str, Any]) -> None:
    """Answer as many prompts at a time as the batch has, each of so many tokens that the context is full."""
    import openmodels as om

    with om.Model(f"local:{task['file']}", dtype=task["dtype"], device="cpu") as model:
        prompts = [f"{number}" + task["token"] * (task["context"] - 6) for number in range(task["batch"])]
        with ThreadPoolExecutor(task["batch"]) as pool:
            for reply in pool.map(lambda prompt: model.complete(prompt, max_tokens=4, temperature=0), prompts):
                assert abs(reply.usage.input_tokens - (task["context"] - 4)) <= 3, reply.usage


def run_together(task: dict[str, Any]) -> None:
    """Compute a batch by transformers alone, 512 tokens at a time, as the engine does for one sequence."""
    import torch

    from openmodels.backends.local.engines.torch import loader

    model = loader.load(Path(task["file"]), dtype=task["dtype"], device="cpu").model
    cache = None
    with torch.inference_mode():
        for _ in range(0, task["context"], 512 // task["batch"]):
            ids = torch.randint(0, 250, (task["batch"], 512 // task["batch"]))
            cache = model(ids, cache=cache, use_cache=True, logits_to_keep=1).cache


def run_gguf(task: dict[str, Any]) -> None:
    """Fill the context of each sequence in llama.cpp, all at the same time."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = task["file"]
    params.n_ctx = task["context"] * task["batch"]
    params.n_parallel = task["batch"]
    params.kv_unified = True
    params.port = 0
    server = xllamacpp.Server(params)
    prompts = [[100 + number] * (task["context"] - 8) for number in range(task["batch"])]
    with ThreadPoolExecutor(task["batch"]) as pool:
        for reply in pool.map(lambda prompt: server.handle_completions({"prompt": prompt, "max_tokens": 4}), prompts):
            assert reply, task


def measure(task: dict[str, Any]) -> None:
    """Run a task in a fork and write what it took."""
    if (child := os.fork()) != 0:
        if os.waitpid(child, 0)[1]:
            sys.exit(f"The task failed: {task}")
        return
    status = 1
    try:
        base = read_memory()["VmRSS"]
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
        {"engine": run_folder, "together": run_together, "gguf": run_gguf}[task["how"]](task)
        memory = read_memory()
        sys.stdout.write(json.dumps({"base": base, "peak": memory["VmHWM"] - base, "memory": memory}) + "\n")
        sys.stdout.flush()
        status = 0
    except BaseException:  # noqa: BLE001 - the fork ends here, whatever happens
        traceback.print_exc()
    finally:
        os._exit(status)


def main() -> None:
    import torch  # noqa: F401
    import transformers  # noqa: F401
    import xllamacpp  # noqa: F401

    from openmodels.backends.local.engines.torch import engine  # noqa: F401

    for line in sys.stdin:
        measure(json.loads(line))


main()
