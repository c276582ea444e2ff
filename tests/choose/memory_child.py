"""Runs a model as the backend "local" does and prints, as JSON, how many bytes its process took.

A program of its own: its first argument is JSON with the folder or .gguf file, dtype, context and batch; without a file
it only imports what the others import.
"""

import json
import re
import sys
from pathlib import Path


def read_memory() -> dict[str, int]:
    """Return bytes by the names of /proc/self/status."""
    text = Path("/proc/self/status").read_text()
    return {name: int(size) * 1024 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def run_folder(task) -> None:
    import openmodels as om

    length = task["context"] - 4
    with om.Model(f"local:{task['file']}", dtype=task["dtype"], device="cpu", max_batch=task["batch"]) as model:
        prompts = [chr(97 + number) * length for number in range(task["batch"])]
        replies = list(model.map(prompts, complete=True, concurrency=task["batch"], max_tokens=4, temperature=0))
        assert all(reply.error is None for reply in replies), replies[0].error


def run_gguf(task) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = task["file"]
    params.n_ctx = task["context"] * task["batch"]
    params.n_parallel = task["batch"]
    params.kv_unified = True
    params.warmup = True
    params.port = 0
    server = xllamacpp.Server(params)
    for number in range(task["batch"]):
        prompt = [1 + number] * (task["context"] - 4)
        server.handle_completions(json.dumps({"prompt": prompt, "n_predict": 4}))


def main() -> None:
    task = json.loads(sys.argv[1])
    if not task["gguf"]:
        import torch  # noqa: F401
        import transformers  # noqa: F401

        from openmodels.backends.local.engines.torch import engine  # noqa: F401
    else:
        import xllamacpp  # noqa: F401
    before = read_memory()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    if task.get("file"):
        (run_gguf if task["gguf"] else run_folder)(task)
    after = read_memory()
    print(json.dumps({"before": before["VmRSS"], "peak": after["VmHWM"], "after": after}))


main()
