"""What `import openmodels` costs, beside `import huggingface_hub`, each in fresh processes.

Prints the medians in milliseconds, without the interpreter's own start, and their ratio. Ends
with exit code 1 when the ratio is above the budget.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

BUDGET = 2.5
CODE = "import time; start = time.perf_counter(); import {name}; print(time.perf_counter() - start)"


def seconds(name: str) -> float:
    """Return the seconds that one import takes in a process of its own."""
    run = subprocess.run([sys.executable, "-c", CODE.format(name=name)], capture_output=True, text=True, check=True)
    return float(run.stdout)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=10, help="processes for each package (default: 10)")
    rounds = options.parse_args().rounds
    names = ("openmodels", "huggingface_hub")
    for name in names:  # once unmeasured, so that files are in the disk cache and compiled
        seconds(name)
    # In turns, so that a busy machine slows both alike.
    times = [[seconds(name) for name in names] for _ in range(rounds)]
    ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
    for name, median in zip(names, (ours, theirs), strict=True):
        print(f"import {name:16} {1000 * median:7.1f} ms (median of {rounds})")
    print(f"ratio {ours / theirs:.2f}, budget {BUDGET}")
    return int(ours / theirs > BUDGET)


if __name__ == "__main__":
    sys.exit(main())
