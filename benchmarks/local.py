"""Everything that is claimed of local speed, in one run, beside its rivals on the same machine.

python benchmarks/local.py [--json FILE] [--doc docs/performance.md] [--vllm PYTHON]

Starts (empty caches, converted, warm) beside loading by hand; `rolling` (answers at once, one stream, copying,
second turns, long prompts) beside plain transformers; `engines` beside the bare pipelines and servers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import engines
import rolling

QUESTION = "What is the capital of France?"
AT_ONCE = 32

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

BY_HAND = """
import sys, time
began = float(sys.argv[1])
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[3])
model = AutoModelForCausalLM.from_pretrained(sys.argv[3], dtype=getattr(torch, sys.argv[4]))
turns = [{"role": "user", "content": sys.argv[2]}]
inputs = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
tokenizer.decode(model.generate(**inputs, max_new_tokens=1, do_sample=False)[0])
print(time.time() - began)
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


def by_hand() -> float:
    """Return seconds from process start to the first token, with transformers alone; best of three."""
    import openmodels as om

    with om.Model(om.DEFAULT_MODEL) as model:
        facts = model.load().backend.describe()
    times = []
    for _ in range(3):
        command = [sys.executable, "-c", BY_HAND, str(time.time()), QUESTION, facts["path"], facts["dtype"]]
        times.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]))
    return min(times)


def document(figures: dict[str, Any]) -> str:
    """Return docs/performance.md."""
    runs, found = figures["rolling"], figures["engines"]
    first, hand = figures["converted"]["first"], figures["by_hand"]
    start_lines = [
        f"Empty caches (fetch, convert, load): first token after {figures['cold']['first']:.1f} s.",
        (
            f"Converted, a new process: {first:.2f} s; importing transformers and loading by hand {hand:.2f} s, "
            f"{first / hand:.2f}x."
        ),
        f"Warm, the same process: {figures['converted']['warm']:.2f} s.",
    ]
    parts = [
        "# Performance of local models\n",
        (
            f"Made by `python benchmarks/local.py --doc docs/performance.md`, one run on: {machine()}. The model is "
            "the default one, SmolLM2-135M-Instruct. Ratios travel between machines, numbers do not.\n"
        ),
        "## At once\n",
        markdown(rolling.table(runs)),
        *(f"* {line}" for line in rolling.lines(runs)),
        "\n## Engines\n",
        'Greedy tokens per second from the same GGUF file. "bare" is the same pipeline or server without openmodels.\n',
        markdown(engines.table(found, AT_ONCE)),
        "## Start\n",
        *(f"* {line}" for line in start_lines),
    ]
    return "\n".join(parts) + "\n"


def markdown(rows: list[list[str]]) -> str:
    """Return rows as a table."""
    head, *body = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body]) + "\n"


def machine() -> str:
    """Return the processor, its cores and what runs on it."""
    import torch
    import transformers

    cpu = platform.processor() or platform.machine()
    if (listed := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    return f"{cpu}, {os.cpu_count()} cores, torch {torch.__version__}, transformers {transformers.__version__}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--vllm", help="the interpreter of an environment that has vLLM")
    parser.add_argument("--doc", help="write them to this page")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        caches = {"OPENMODELS_CACHE": f"{folder}/openmodels", "HF_HOME": f"{folder}/hf"}
        cold = start(caches)
        converted = min((start(caches) for _ in range(3)), key=lambda run: run["first"])
    figures = {
        "cold": cold,
        "converted": converted,
        "by_hand": by_hand(),
        "rolling": rolling.measure(options.vllm),
        "engines": engines.measure(150.0, AT_ONCE, 128),
    }
    page = document(figures)
    print(page)
    if options.doc:
        Path(options.doc).write_text(page, encoding="utf-8")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
