"""What `om.fit` says against the peak memory of processes that load a model and run it.

    python benchmarks/fit.py [--only smol|grouped|sliding|latent|hybrid|gguf] [--json]

The interpreter and the libraries are in the process before the model is, and a part of the overhead of their own, so
both sides are compared without them. Where an engine computes one sequence at a time, a batch is run by transformers.
The ratio is the stated size by the measured one. With --json one line is printed: runs, within_10_percent, worst.
It reads peaks from Linux's /proc. A peak depends on the CPU, whose kernels copy weights in other ways, so this is a
measurement and not a test. The constants of `fit_overhead` were set on these contexts; others were measured afterwards.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

import openmodels as om
from openmodels.backends.local.weights import default_model

# The small tokenizer lies beside the tests.
sys.path.append(str(Path(__file__).parents[1] / "tests" / "backends" / "local"))
from tiny import tiny_tokenizer

SIZES = {
    "hidden_size": 768, "intermediate_size": 2304, "num_hidden_layers": 8, "num_attention_heads": 12,
    "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 8192, "max_position_embeddings": 8192,
    "bos_token_id": 257, "eos_token_id": 258, "pad_token_id": 258,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 512}
LATENT = {
    "head_dim": None, "num_key_value_heads": 12, "kv_lora_rank": 256, "q_lora_rank": 384, "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128, "v_head_dim": 128, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
    "n_shared_experts": 1, **EXPERTS,
}  # fmt: skip
HYBRID = {
    "num_attention_heads": 8, "linear_num_key_heads": 4, "linear_num_value_heads": 8, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "shared_expert_intermediate_size": 768, **EXPERTS,
    "moe_intermediate_size": 768,
}  # fmt: skip
SHAPES = {
    "grouped": ("qwen3", {}),
    "sliding": ("gemma3_text", {"num_attention_heads": 8, "sliding_window": 256}),
    "latent": ("deepseek_v3", LATENT),
    "hybrid": ("qwen3_next", HYBRID),
}
DTYPES, CONTEXTS, BATCHES = ("float32", "bfloat16"), (128, 256, 512), (1, 8)
ALONE = ("sliding", "latent", "hybrid")
"""Shapes whose sequences the engine computes one at a time, so that transformers alone runs their batches."""


def write_shapes(root: Path, names: list[str]) -> None:
    """Write random models of real shapes in both dtypes."""
    for name in names:
        kind, changes = SHAPES[name]
        sizes = {key: value for key, value in {**SIZES, **changes}.items() if value is not None}
        known = {key: value for key, value in sizes.items() if key in CONFIG_MAPPING[kind].__dataclass_fields__}
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**known))
        for dtype in DTYPES:
            model.to(getattr(torch, dtype)).save_pretrained(root / f"{name}-{dtype}")
            tiny_tokenizer().save_pretrained(root / f"{name}-{dtype}")


def write_quantised(root: Path) -> dict[str, Path]:
    """Return the default model as a GGUF file in two quantisations."""
    source = default_model.get_gguf(None)
    target = root / "smol-Q8_0.gguf"
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, "llama")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name != "general.architecture":
            value, kind = field.contents(), field.types[0]
            writer.add_array(name, value) if isinstance(value, list) else writer.add_key_value(name, value, kind)
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q8_0 if data.ndim > 1 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(tensor.name, gguf.quants.quantize(data, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {"Q4_1": Path(source), "Q8_0": target}


def measure_peaks(tasks: list[dict[str, Any]]) -> Iterator[int]:
    """Yield the bytes that the process of each task grows by at most."""
    program = Path(__file__).parent / "fit_child.py"
    with subprocess.Popen(
        [sys.executable, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for task in tasks:
            child.stdin.write(json.dumps(task) + "\n")
            child.stdin.flush()
            yield json.loads(child.stdout.readline())["peak"]


def list_tasks(root: Path, only: str | None) -> list[dict[str, Any]]:
    """Return what is run: the file, how it is run, dtype, context and batch."""
    files: list[dict[str, Any]] = []
    shapes = [name for name in SHAPES if only in (None, name)]
    write_shapes(root, shapes)
    for dtype in DTYPES:
        files += [{"name": name, "file": root / f"{name}-{dtype}", "dtype": dtype, "token": "x"} for name in shapes]
        if only in (None, "smol"):
            with om.Model(om.DEFAULT_MODEL, dtype=dtype) as model:
                folder = model.load().backend.describe()["path"]
            files.append({"name": "smol", "file": folder, "dtype": dtype, "token": " the"})
    if only in (None, "gguf"):
        files += [{"name": name, "file": file, "how": "gguf"} for name, file in write_quantised(root).items()]
    tasks = []
    for file, context, batch in itertools.product(files, CONTEXTS, BATCHES):
        how = "together" if batch > 1 and file["name"] in ALONE else "engine"
        tasks.append({"how": how, "context": context, "batch": batch, **file, "file": str(file["file"])})
    return tasks


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one line of JSON and nothing else")
    parser.add_argument("--only", choices=("smol", *SHAPES, "gguf"), help="one model")
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = list_tasks(Path(folder), options.only)
        for task, peak in zip(tasks, measure_peaks(tasks), strict=True):
            fit = om.fit(
                task["file"], context=task["context"], batch=task["batch"], device="cpu:16GB", dtype=task.get("dtype")
            )
            stated = fit.total_bytes - fit.overhead["interpreter and libraries"]
            ratios.append(stated / peak)
            if not options.json:
                name = f"{task['name']:8} {task.get('dtype', ''):8} {task['context']:5} x {task['batch']}"
                print(
                    f"{name}  stated {stated / 1e6:6.0f} MB, measured {peak / 1e6:6.0f} MB, {stated / peak:.3f}",
                    flush=True,
                )
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    within = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
    if options.json:
        print(json.dumps({"runs": len(ratios), "within_10_percent": within, "worst": round(worst, 3)}))
    else:
        print(f"{within} of {len(ratios)} within 10 %, worst {worst:.3f}")


if __name__ == "__main__":
    main()
