"""Everything that is claimed of local speed, in one run, beside its rivals on the same machine.

python benchmarks/local.py [--json FILE] [--doc docs/performance.md] [--vllm PYTHON] [--again PART]

Starts (empty caches, converted, warm) beside loading by hand, in turns; `rolling` (answers at once, one stream,
copying, second turns, long prompts) beside plain transformers; `engines` beside the bare pipelines and servers. With
`--again` only one of these parts is measured, and the others are those in the JSON file.
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
_STARTS = 5
"""Starts of each kind, of which the fastest counts."""

CHILD = """
import json, sys, time
began = float(sys.argv[1])
import openmodels as om
model = om.Model(om.DEFAULT_MODEL)
first = None
with model.stream(sys.argv[2], temperature=0) as stream:
    for delta in stream:
        first = first or (time.time() - began if delta.text else None)
began = time.time()
warm = None
with model.stream(sys.argv[2], temperature=0) as again:
    for delta in again:
        warm = warm or (time.time() - began if delta.text else None)
facts = model.backend.describe()
print(json.dumps({"first": first, "warm": warm, "path": facts["path"], "dtype": facts["dtype"]}))
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


def starts() -> dict[str, Any]:
    """Return a start with empty caches, the fastest later one, and the fastest by hand, from the same files."""
    with tempfile.TemporaryDirectory() as folder:
        caches = {"OPENMODELS_CACHE": f"{folder}/openmodels", "HF_HOME": f"{folder}/hf"}
        cold = json.loads(_output(CHILD, [], caches))
        converted, by_hand = [], []
        for _ in range(_STARTS):
            converted.append(json.loads(_output(CHILD, [], caches)))
            by_hand.append(float(_output(BY_HAND, [cold["path"], cold["dtype"]])))
    return {"cold": cold, "converted": min(converted, key=lambda run: run["first"]), "by_hand": min(by_hand)}


def _output(program: str, arguments: list[str], environment: dict[str, str] | None = None) -> str:
    """Return the last line that a program says in a fresh process."""
    command = [sys.executable, "-c", program, str(time.time()), QUESTION, *arguments]
    environment = {**os.environ, **(environment or {})}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def document(figures: dict[str, Any]) -> str:
    """Return a page of docs, such as performance.md."""
    runs, found, begun = figures["rolling"], figures["engines"], figures["starts"]
    first, hand = begun["converted"]["first"], begun["by_hand"]
    start_lines = [
        f"Empty caches (fetch, convert, load): first token after {begun['cold']['first']:.1f} s.",
        (
            f"Converted, a new process: {first:.2f} s; importing transformers and loading by hand {hand:.2f} s, "
            f"{first / hand:.2f}x."
        ),
        f"Warm, the same process: {begun['converted']['warm']:.2f} s.",
    ]
    parts = [
        "# Performance of local models\n",
        (
            f"Made by `python benchmarks/local.py` on: {machine()}. The model is the "
            "default one, SmolLM2-135M-Instruct. Ways that are compared took turns, but for the engines beside "
            "transformers. Ratios travel between machines, numbers do not.\n"
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
    """Return the processor, what it computes with, its cores and what runs on it.

    Processors of one name may differ in their units for bfloat16 and matrices: their host decides.
    """
    import torch
    import transformers

    cpu = platform.processor() or platform.machine()
    if (listed := Path("/proc/cpuinfo")).exists():
        names = [line.partition(":")[2].strip() for line in listed.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    able = torch.cpu.get_capabilities()
    units = " ".join(name for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16") if able.get(name))
    return (
        f"{cpu} ({units or able.get('architecture')}), {os.cpu_count()} cores, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file as well")
    parser.add_argument("--vllm", help="the interpreter of an environment that has vLLM")
    parser.add_argument("--doc", help="write them to this page")
    parts = {
        "starts": starts,
        "rolling": lambda: rolling.measure(options.vllm),
        "engines": lambda: engines.measure(150.0, AT_ONCE, 128),
    }
    parser.add_argument("--again", choices=parts, help="measure this part only; the others are in the JSON file")
    options = parser.parse_args()
    if options.again and not options.json:
        parser.error("--again needs --json")
    figures = json.loads(Path(options.json).read_text(encoding="utf-8")) if options.again else {}
    for name in [options.again] if options.again else parts:
        figures[name] = parts[name]()
    page = document(figures)
    print(page)
    if options.doc:
        Path(options.doc).write_text(page, encoding="utf-8")
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
