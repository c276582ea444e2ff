"""A bulk run in a process of its own, killed at any moment and stopped by Ctrl-C."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys

import pytest

RUN = """
import sys
import openmodels as om

class Dice(om.backends.base.Backend):
    name = "dice"
    options = frozenset({"max_tokens"})
    async def arun(self, request):
        said = request.messages[-1].text
        yield om.Delta(text=said * 50, finish_reason="stop")
    def run(self, request):
        raise AssertionError

with om.Model(Dice()).map((str(n) for n in range(int(sys.argv[2]))), save=sys.argv[1], concurrency=8) as run:
    for item in run:
        assert item.reply.text == item.prompt * 50
        print(item.index, flush=True)
        if item.index == 10 and "wait" in sys.argv:
            sys.stdin.read()
print(run.summary.resumed, run.summary.succeeded)
""".replace("import openmodels as om\n", "import openmodels as om\nimport openmodels.backends.base\n", 1)


def start(file, count, *more):
    command = [sys.executable, "-W", "error", "-c", RUN, str(file), str(count), *more]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_at_any_moment_and_resumed(tmp_path):
    file, dice, count = tmp_path / "out.jsonl", random.Random(7), 3000
    for attempt in range(20):
        with start(file, count) as process:
            for _ in range(dice.randrange(1, 120 + 100 * attempt)):
                process.stdout.readline()
            process.send_signal(signal.SIGKILL)
            process.stdout.read()
    held = {json.loads(line)["index"] for line in file.read_bytes().splitlines() if line.endswith(b"}")}
    assert len(held) > 100
    with start(file, count) as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    resumed, done = map(int, out.splitlines()[-1].split())
    assert resumed + done == count
    assert resumed == len(held)
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert sorted(line["index"] for line in lines) == list(range(count))
    assert all(line["reply"]["text"] == str(line["index"]) * 50 for line in lines)
    assert [one.name for one in tmp_path.iterdir()] == ["out.jsonl"]


@pytest.mark.skipif(os.name != "posix", reason="SIGINT is POSIX")
def test_ctrl_c_leaves_a_file_that_goes_on(tmp_path):
    file = tmp_path / "out.jsonl"
    with start(file, 500, "wait") as process:
        for line in process.stdout:
            if line == "10\n":
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode in {-signal.SIGINT, 130}, err
    assert err.rstrip().endswith("KeyboardInterrupt")
    whole = file.read_bytes()
    assert whole.endswith(b"}\n")
    with start(file, 500) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert int(out.splitlines()[-1].split()[0]) == whole.count(b"\n")
