"""What `om.fit` says against the peak memory of processes that load a model and run it.

    python benchmarks/fit.py [--json]

The interpreter and the libraries are in the process before the model is, and a part of the overhead of their own, so
both sides are compared without them. Where an engine computes one sequence at a time, a batch is run by transformers.
The ratio is the stated size by the measured one. With --json one line is printed: runs, within_10_percent, worst.
It reads peaks from Linux's /proc. A peak depends on the CPU, whose kernels copy weights in other ways, so this is a
measurement and not a test.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
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
# Shape, dtype, context, batch, and whether the engine runs it, or transformers alone.
RUNS = [
    ("grouped", "float32", 256, 1, "engine"),
    ("grouped", "float32", 512, 1, "engine"),
    ("grouped", "float32", 2048, 1, "engine"),
    ("grouped", "float32", 256, 8, "engine"),
    ("grouped", "bfloat16", 512, 1, "engine"),
    ("sliding", "float32", 1024, 1, "engine"),
    ("sliding", "float32", 256, 8, "together"),
    ("sliding", "bfloat16", 1024, 1, "engine"),
    ("latent", "float32", 1024, 1, "engine"),
    ("latent", "float32", 256, 8, "together"),
    ("hybrid", "float32", 1024, 1, "engine"),
]
DEFAULT_RUNS = [("float32", 256), ("float32", 512), ("bfloat16", 256), ("bfloat16", 512)]


def write_shapes(root: Path) -> None:
    """Write random models of real shapes in both dtypes."""
    for name, (kind, changes) in SHAPES.items():
        sizes = {key: value for key, value in {**SIZES, **changes}.items() if value is not None}
        known = {key: value for key, value in sizes.items() if key in CONFIG_MAPPING[kind].__dataclass_fields__}
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**known))
        for dtype in ("float32", "bfloat16"):
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


def measure_peaks(tasks: list[dict[str, Any]]) -> list[int]:
    """Return the bytes that the process of each task grows by at most."""
    program = Path(__file__).parent / "fit_child.py"
    run = subprocess.run(
        [sys.executable, program],
        input="".join(json.dumps(task) + "\n" for task in tasks),
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    lines = run.stdout.splitlines()
    assert len(lines) == len(tasks), run.stderr[-2000:]
    return [json.loads(line)["peak"] for line in lines]


def list_tasks(root: Path) -> list[dict[str, Any]]:
    """Return what is run: the file, how it is run, dtype, context and batch."""
    write_shapes(root)
    tasks: list[dict[str, Any]] = [
        {
            "how": how,
            "token": "x",
            "file": str(root / f"{shape}-{dtype}"),
            "dtype": dtype,
            "context": context,
            "batch": batch,
        }
        for shape, dtype, context, batch, how in RUNS
    ]
    for dtype, context in DEFAULT_RUNS:
        with om.Model(om.DEFAULT_MODEL, dtype=dtype) as model:
            folder = str(model.load().backend.describe()["path"])
        tasks.append({"how": "engine", "token": " the", "file": folder, "dtype": dtype, "context": context, "batch": 1})
    files = write_quantised(root).values()
    return tasks + [{"how": "gguf", "file": str(file), "context": 512, "batch": 1} for file in files]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one line of JSON and nothing else")
    options = parser.parse_args()
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = list_tasks(Path(folder))
        for task, peak in zip(tasks, measure_peaks(tasks), strict=True):
            fit = om.fit(
                task["file"], context=task["context"], batch=task["batch"], device="cpu:16GB", dtype=task.get("dtype")
            )
            stated = fit.total_bytes - fit.overhead["interpreter and libraries"]
            ratios.append(stated / peak)
            if not options.json:
                name = f"{Path(task['file']).name[:28]:28} {task['context']:5} x {task['batch']}"
                print(f"{name}  stated {stated / 1e6:6.0f} MB, measured {peak / 1e6:6.0f} MB, {stated / peak:.3f}")
    worst = max(ratios, key=lambda ratio: abs(ratio - 1))
    within = sum(abs(ratio - 1) <= 0.1 for ratio in ratios)
    if options.json:
        print(json.dumps({"runs": len(ratios), "within_10_percent": within, "worst": round(worst, 3)}))
    else:
        print(f"{within} of {len(ratios)} within 10 %, worst {worst:.3f}")


if __name__ == "__main__":
    main()
