"""Many local answers at once, beside plain transformers with the same weights, prompts and dtype.

    python benchmarks/rolling.py [--json FILE] [--vllm PYTHON]

Every way runs in a process of its own, so that its peak memory is its own, and they take turns, so that a
machine that is slower for a while is so for all. Peak memory is that from the start to the end of the first turn, and
to that of the last one: what is kept for later prompts grows, and the heap too. Sixteen chats have prompts of 20 to 600
tokens and answers of 16 to 256; ends of text are ignored, so that every way makes the same number of tokens. Prompts
are random tokens, other ones in every turn; small models answer such by repeating themselves, which is easily guessed,
so the figures are given without guesses as well. The other parts: 32 answers at once, one answer, copying work, the
second turn of a conversation, a long prompt among running streams. vLLM needs an environment of its own: with `--vllm`
its interpreter runs the first three of them, eager, on the same weights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from ways import TURNS, total

_LONGEST = 600.0
"""Seconds that a way may take for a turn."""


def weights() -> str:
    """Return where openmodels keeps the default model, converted for transformers."""
    import openmodels as om

    with om.Model(om.DEFAULT_MODEL, engine="transformers") as model:
        return str(model.load().backend.describe()["path"])


class Way:
    """A process that does what it is asked for, in one of the ways."""

    def __init__(self, name: str, python: str, path: str) -> None:
        self.name = name
        # Else vLLM keeps a core for its front end, on few cores half of them.
        cores = f"0-{(os.cpu_count() or 1) - 1}"
        settings = {"VLLM_CPU_OMP_THREADS_BIND": cores, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("ways.py")), name, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=settings | os.environ,
        )
        self._failed = self._read() is None

    def ask(self, part: str, turn: int) -> dict[str, Any] | None:
        """Return a part's figures; None where the process has failed, now or before."""
        if self._failed:
            return None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([part, turn]) + "\n")
        self._process.stdin.flush()
        found = self._read()
        self._failed = found is None
        return found

    def _read(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        watch = threading.Timer(_LONGEST, self._process.kill)
        watch.start()
        try:
            return next(json.loads(line) for line in self._process.stdout if line.startswith("{"))
        except StopIteration:
            print(f"{self.name} has ended: it is left out", file=sys.stderr)
            return None
        finally:
            watch.cancel()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()


PARTS = {
    "openmodels": ("mixed", "unguessed", "many", "one", "copying", "second_turn", "long"),
    "sequential": ("mixed", "one", "copying", "lookup"),
    "static": ("mixed", "many"),
    "continuous": ("mixed",),
    "vllm": ("mixed", "many", "one"),
}


def measure(vllm_python: str | None = None) -> dict[str, Any]:
    """Return every way's figures, each from a process of its own."""
    path = weights()
    pythons = dict.fromkeys(("openmodels", "sequential", "static", "continuous"), sys.executable)
    if vllm_python:
        pythons["vllm"] = vllm_python
    ways = [Way(name, python, path) for name, python in pythons.items()]
    found: dict[str, dict[str, list[Any]]] = {}
    try:
        for part in dict.fromkeys(itertools.chain(*PARTS.values())):
            for turn in range(1, TURNS + 1):
                for way in ways:
                    if part in PARTS[way.name] and (run := way.ask(part, turn)):
                        found.setdefault(way.name, {}).setdefault(part, []).append(run)
    finally:
        for way in ways:
            way.close()
    before, thirds = 0.0, found.get("sequential", {}).get("mixed", [])
    for run in thirds:  # of one turn: what comes later had to wait
        run["peak"] = thirds[-1]["peak"]
        run["ends"] = [before + end for end in run["ends"]]
        before += run["seconds"]
    return {name: _sums(parts) for name, parts in found.items() if all(part in parts for part in PARTS[name])}


def _sums(parts: dict[str, list[Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for part, runs in parts.items():
        if "tokens" in runs[0]:
            run = total(runs)
            out[part] = {"speed": run["tokens"] / run["seconds"], "mean_end": statistics.mean(run["ends"])}
        elif part == "long":
            out[part] = sorted(runs, key=lambda run: run["longest"] / run["usual"])[len(runs) // 2]
        else:
            out[part] = runs[0]
    out["peak"], out["peak_of_all"] = parts["mixed"][0]["peak"], parts["mixed"][-1]["peak"]
    return out


def table(runs: dict[str, Any]) -> list[list[str]]:
    """Return the figures of the 16 mixed chats as rows of text."""
    rows = [["16 mixed chats", "tokens/s", "ours is", "mean end, s", "ours is", "peak, MB", "ours is"]]
    ours = runs["openmodels"]
    for way, run in runs.items():
        if way == "vllm":  # it gives answers when all are done, and has more than one process
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
    turns, long = ours["second_turn"], ours["long"]
    one, copied = ours["one"]["speed"], ours["copying"]["speed"]
    alone = ours["unguessed"]["speed"]
    others = [f"{alone / runs[way]['mixed']['speed']:.2f}x {way}" for way in ("sequential", "static", "continuous")]
    beside = [f"16 mixed without guesses: {alone:.1f} tokens/s, {', '.join(others)}."]
    if "vllm" in runs:
        for text, part in (("16 mixed", "mixed"), ("32 at once", "many"), ("One stream", "one")):
            theirs = runs["vllm"][part]["speed"]
            beside.append(f"{text}: vLLM, eager, {theirs:.0f} tokens/s; ours {ours[part]['speed'] / theirs:.2f}x.")
    late, static_late = ours["peak_of_all"], runs["static"]["peak_of_all"]
    return [
        *beside,
        (
            f"Peak after {TURNS} times 16 mixed chats: {late:.0f} MB, with what is kept for prompts that begin alike; "
            f"static {static_late:.0f} MB, {late / static_late:.2f}x."
        ),
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
    options = parser.parse_args()
    runs = measure(options.vllm)
    for row in table(runs):
        print("".join(f"{cell:16}" for cell in row))
    print(*lines(runs), sep="\n")
    if options.json:
        Path(options.json).write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
