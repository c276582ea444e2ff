"""What `om.fit` says against the peak memory of processes that load a model and run it.

The interpreter and the libraries are in the process before the model is, and a part of the overhead of their own, so
both sides are compared without them. Where an engine computes one sequence at a time, a batch is run by transformers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import openmodels as om

pytestmark = [
    pytest.mark.weights,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of a process from Linux's /proc"),
]
torch = pytest.importorskip("torch")

TOLERANCE = 0.10
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


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Random models of real shapes, in both dtypes."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    sys.path.append(str(Path(__file__).parent.parent / "backends" / "local"))
    from tiny import tiny_tokenizer

    root = tmp_path_factory.mktemp("shapes")
    for name, (kind, changes) in SHAPES.items():
        sizes = {key: value for key, value in {**SIZES, **changes}.items() if value is not None}
        known = {key: value for key, value in sizes.items() if key in CONFIG_MAPPING[kind].__dataclass_fields__}
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**known))
        for dtype in ("float32", "bfloat16"):
            model.to(getattr(torch, dtype)).save_pretrained(root / f"{name}-{dtype}")
            tiny_tokenizer().save_pretrained(root / f"{name}-{dtype}")
    return root


@pytest.fixture(scope="module")
def quantised(tmp_path_factory):
    """The default model as a GGUF file in two quantisations."""
    import gguf
    import numpy as np

    from openmodels.backends.local.weights import default_model

    source = default_model.get_gguf(None)
    target = tmp_path_factory.mktemp("quantised") / "smol-Q8_0.gguf"
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
    return {"Q4_1": source, "Q8_0": target}


def peaks(tasks):
    """Return the bytes that each task's process grew by at most."""
    program = Path(__file__).parent / "memory_child.py"
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


def check(tasks):
    """Compare each peak with what `om.fit` says of it."""
    wrong = []
    for task, peak in zip(tasks, peaks(tasks), strict=True):
        fit = om.fit(
            task["file"], context=task["context"], batch=task["batch"], device="cpu:16GB", dtype=task.get("dtype")
        )
        expected = fit.total_bytes - fit.overhead["interpreter and libraries"]
        if abs(expected / peak - 1) > TOLERANCE:
            wrong.append((Path(task["file"]).name, task["context"], task["batch"], expected, peak, dict(fit.overhead)))
    assert wrong == []


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


@pytest.mark.parametrize("shape", SHAPES)
def test_random_models_of_real_shapes(folders, shape):
    check(
        [
            {"how": how, "token": "x", "file": str(folders / f"{shape}-{dtype}"), "dtype": dtype, "context": context,
             "batch": batch}
            for name, dtype, context, batch, how in RUNS
            if name == shape
        ]
    )  # fmt: skip


@pytest.mark.parametrize(("dtype", "context"), [("float32", 512), ("bfloat16", 256)])
def test_the_default_model(dtype, context):
    with om.Model(om.DEFAULT_MODEL, dtype=dtype) as model:
        folder = model.load().backend.describe()["path"]
    check([{"how": "engine", "token": " the", "file": folder, "dtype": dtype, "context": context, "batch": 1}])


def test_llama_cpp(quantised):
    check([{"how": "gguf", "file": str(file), "context": 512, "batch": 1} for file in quantised.values()])
