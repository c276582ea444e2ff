"""`om.fit` on folders, the Hub, records and models: what it counts, says and refuses."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import openmodels as om
from fake_hub import fake_hub
from openmodels.catalog.record import Ids, ModelRecord
from openmodels.choose import fit_device
from openmodels.choose.fit_cache import Bounds
from openmodels.cli.group import cli

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "vocab_size": 500,
    "dtype": "bfloat16",
}
TOKEN = 2 * 3 * 2 * 8
"""Numbers of a token's keys and values: both, 3 layers, 2 heads, 8 wide."""
TENSORS = {
    "model.embed_tokens.weight": ("BF16", [500, 64]),
    "model.layers.0.mlp.up_proj.weight": ("BF16", [96, 64]),
    "model.norm.weight": ("F32", [64]),
    "lm_head.weight": ("BF16", [500, 64]),
    "steps": ("I64", [3]),
}
NUMBERS = 500 * 64 + 96 * 64 + 64 + 500 * 64
WIDTHS = {"BF16": 2, "F32": 4, "I64": 8, "F8_E4M3": 1, "U8": 1}


def weights(tensors: dict[str, tuple[str, list[int]]]) -> bytes:
    """A safetensors file of zeros."""
    header, place = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = WIDTHS[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(place)


def files(config: dict[str, Any] | None = None, tensors: Any = None) -> dict[str, bytes]:
    """The files of a model."""
    return {
        "config.json": json.dumps({**CONFIG, **(config or {})}).encode(),
        "model.safetensors": weights(tensors or TENSORS),
        "tokenizer.json": b"{}",
    }


def write(folder: Path, content: dict[str, bytes]) -> str:
    folder.mkdir(exist_ok=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return str(folder)


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return write(tmp_path / "model", files())


class TestFigures:
    def test_of_a_folder(self, folder):
        fit = om.fit(folder, context=100, batch=3, device="cuda:24GB")
        assert fit.dtype == "bfloat16"
        assert fit.weights_bytes == 2 * NUMBERS + 3 * 8
        assert fit.kv_cache_bytes == TOKEN * 2 * 100 * 3
        assert fit.overhead_bytes == sum(fit.overhead.values()) > 0
        assert fit.total_bytes == fit.weights_bytes + fit.kv_cache_bytes + fit.overhead_bytes
        assert fit.available_bytes == 24 * 10**9
        assert fit.fits is True
        assert fit.max_context == 4096
        assert fit.tokens_per_second is None

    @pytest.mark.parametrize(("dtype", "width"), [("float32", 4), ("bfloat16", 2), ("float16", 2)])
    def test_a_dtype_counts_for_weights_and_cache(self, folder, dtype, width):
        fit = om.fit(folder, context=10, device="cuda:1GB", dtype=dtype)
        assert fit.weights_bytes == width * NUMBERS + 3 * 8
        assert fit.kv_cache_bytes == TOKEN * width * 10

    def test_logits_are_float32_of_each_sequence(self, folder):
        assert om.fit(folder, batch=5, device="cuda:1GB").overhead["logits"] == 5 * 500 * 4

    def test_the_most_tokens_are_those_of_the_memory(self, folder):
        rest = om.fit(folder, context=4096, device="cuda:2GB")
        low = rest.total_bytes - rest.kv_cache_bytes
        fit = om.fit(folder, context=4096, device=f"cuda:{(low + 1000 * TOKEN * 2) / 1e9:.9f}GB")
        assert fit.fits is False
        assert fit.max_context == 1000
        assert om.fit(folder, context=1000, device=fit.device).fits
        assert not om.fit(folder, context=1001, device=fit.device).fits
        assert om.fit(folder, device="cuda:1MB").max_context == 0

    def test_windows_keep_the_tokens_of_a_step_beside_them(self, tmp_path):
        config = {"model_type": "mistral", "sliding_window": 64}
        slides = write(tmp_path / "slides", files(config))
        name = "tokens of a step beside the windows"
        assert om.fit(slides, context=100, device="cuda:1GB").overhead[name] == 2 * 100 * TOKEN * 2
        assert om.fit(slides, context=2000, device="cuda:1GB").overhead[name] == 2 * 512 * TOKEN * 2
        assert name not in om.fit(slides, context=64, device="cuda:1GB").overhead

    def test_auto_is_no_dtype(self, folder):
        assert om.fit(folder, device="cuda:1GB", dtype="auto") == om.fit(folder, device="cuda:1GB")

    def test_a_tied_output_matrix_counts_once(self, tmp_path):
        tied = write(tmp_path / "tied", files({"tie_word_embeddings": True}))
        assert om.fit(tied, device="cuda:1GB").weights_bytes == 2 * (NUMBERS - 500 * 64) + 3 * 8

    def test_falcon_repeats_shared_keys_for_each_query_head(self, tmp_path):
        config = {"model_type": "falcon", "num_kv_heads": 2, "new_decoder_architecture": True, "multi_query": True}
        fit = om.fit(write(tmp_path / "falcon", files(config)), context=100, device="cuda:1GB")
        assert fit.kv_cache_bytes == TOKEN * 2 * 100
        assert fit.overhead["keys and values repeated for each query head"] == 3 * fit.kv_cache_bytes
        assert any("repeats them" in line for line in fit.assumptions)
        first = om.fit(
            write(tmp_path / "first", files({**config, "new_decoder_architecture": False})), device="cuda:1GB"
        )
        assert "keys and values repeated for each query head" not in first.overhead

    def test_packed_weights_grow_on_a_cpu(self, tmp_path):
        packed = {"config": {"quantization_config": {"quant_method": "fp8"}}, "tensors": {"a": ("F8_E4M3", [64, 64])}}
        path = write(tmp_path / "packed", files(**packed))
        assert om.fit(path, device="cuda:1GB").weights_bytes == 64 * 64
        assert om.fit(path, device="cpu:1GB").weights_bytes == 2 * 64 * 64

    def test_an_unknown_architecture_gives_two_figures(self, tmp_path):
        unknown = write(tmp_path / "unknown", files({"model_type": "made_up"}))
        most = 2 * 3 * 64 * 2 * 100
        fit = om.fit(unknown, context=100, device="cuda:24GB")
        assert fit.kv_cache_bytes == Bounds(0, most)
        assert fit.total_bytes.high - fit.total_bytes.low == most
        assert fit.fits is True
        assert any("'made_up' is not known" in line for line in fit.assumptions)
        between = om.fit(unknown, context=100, device=f"cuda:{(fit.total_bytes.low + most // 2) / 1e9:.9f}GB")
        assert between.fits is None
        assert not between
        assert "may fit" in str(between)

    def test_a_decoder_of_speech_has_positions_of_its_own(self, tmp_path):
        config = {
            "model_type": "whisper", "is_encoder_decoder": True, "d_model": 64, "decoder_layers": 3,
            "decoder_attention_heads": 4, "num_mel_bins": 8, "max_source_positions": 150, "max_target_positions": 44,
        }  # fmt: skip
        content = files() | {"config.json": json.dumps(config).encode()}
        fit = om.fit(write(tmp_path / "speech", content), device="cuda:24GB", dtype="bfloat16")
        assert (fit.context, fit.max_context) == (44, 44)
        assert fit.kv_cache_bytes == 3 * 2 * 64 * 2 * (44 + 150)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"model_type": "made_up"}, "'made_up' is not known"),
            ({"num_hidden_layers": None, "max_position_embeddings": None}, "config.json lacks settings of 'llama'"),
        ],
    )
    def test_without_settings_a_token_takes_no_more_than_the_weights(self, tmp_path, changes, said):
        content = files()
        content["config.json"] = json.dumps({"model_type": "llama", **changes}).encode()
        fit = om.fit(write(tmp_path / "bare", content), context=100, batch=2, device="cuda:1GB")
        assert fit.kv_cache_bytes == Bounds(0, fit.weights_bytes * 100 * 2)
        assert any(said in line for line in fit.assumptions)
        assert om.fit(write(tmp_path / "bare", content), context=10**6, device="cuda:1GB").fits is None


class TestSources:
    def test_records_paths_and_models_are_the_same(self, folder):
        figures = {
            om.fit(model, device="cuda:1GB").total_bytes
            for model in (folder, Path(folder), f"local:{folder}", ModelRecord(ids=Ids(), local=folder))
        }
        assert len(figures) == 1

    def test_the_hub_is_read_without_a_download(self, monkeypatch):
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_HUB_CACHE", "/nonexistent")
        with fake_hub() as (hub, address):
            monkeypatch.setenv("HF_ENDPOINT", address)
            hub.repos["org/model"] = files()
            hub.repos["org/parts"] = {
                **files(),
                "model.safetensors.index.json": json.dumps(
                    {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
                ).encode(),
                "a.safetensors": weights({"a": ("BF16", [10])}),
                "b.safetensors": weights({"b": ("BF16", [20])}),
            }
            del hub.repos["org/parts"]["model.safetensors"]
            for name in ("org/model", "hf:org/model", "https://huggingface.co/org/model/tree/main"):
                assert om.fit(name, device="cuda:1GB").weights_bytes == 2 * NUMBERS + 3 * 8
            assert om.fit("org/parts", device="cuda:1GB").weights_bytes == 60

    def test_the_hub_refuses(self, monkeypatch):
        monkeypatch.delenv("HF_HUB_OFFLINE")
        with fake_hub() as (hub, address):
            monkeypatch.setenv("HF_ENDPOINT", address)
            hub.repos |= {"org/gated": files(), "org/empty": {"README.md": b""}, "org/pickle": {"model.bin": b""}}
            hub.repos["org/ggufs"] = {"a.gguf": b"GGUF", "b.gguf": b"GGUF"}
            hub.gated.add("org/gated")
            for model, kind in {
                "org/gated": om.GatedModel,
                "org/empty": om.LoadFailed,
                "org/pickle": om.UnsafeWeights,
                "org/ggufs": om.LoadFailed,
                "org/missing": om.ModelNotFound,
            }.items():
                with pytest.raises(kind) as caught:
                    om.fit(model, device="cuda:1GB")
                assert caught.value.next_step

    def test_offline_says_so(self):
        with pytest.raises(om.Offline):
            om.fit("org/absent", device="cuda:1GB")


class TestRefusals:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"device": "cuda:lots"}, {"device": "tpu"}, {"device": "cuda:0GB"}, {"device": None}, {"device": "24GB"},
            {"context": 0}, {"context": -5}, {"context": 1.5}, {"context": True}, {"context": "8k"}, {"context": 4097},
            {"context": 2**40}, {"batch": 0}, {"batch": None}, {"dtype": "int3"},
        ],
    )  # fmt: skip
    def test_names_the_argument_and_the_next_step(self, folder, wrong):
        with pytest.raises(om.InvalidRequest, match=next(iter(wrong))) as caught:
            om.fit(folder, **{"device": "cuda:1GB", **wrong})
        assert caught.value.next_step

    @pytest.mark.parametrize("model", ["", None, 7, "azure:deployment", "server:x"])
    def test_what_has_no_weights(self, model):
        with pytest.raises(om.OpenModelsError) as caught:
            om.fit(model, device="cuda:1GB")
        assert caught.value.next_step

    def test_damaged_headers(self, tmp_path):
        for name, data in {
            "short": b"12",
            "long": (10**12).to_bytes(8, "little"),
            "cut": weights(TENSORS)[:-5],
        }.items():
            with pytest.raises(om.LoadFailed):
                om.fit(write(tmp_path / name, {**files(), "model.safetensors": data}), device="cuda:1GB")


class TestDevices:
    def test_this_machine_is_measured(self, folder, monkeypatch):
        monkeypatch.setattr(fit_device, "free_memory", lambda _: 10**9)
        monkeypatch.setattr(fit_device, "_cpu_bandwidth", lambda: 1e10)
        fit = om.fit(folder, context=100, device="cpu", dtype="float32")
        assert fit.available_bytes == 10**9
        assert fit.tokens_per_second == pytest.approx(1e10 / (4 * (NUMBERS - 500 * 64) + 24 + fit.kv_cache_bytes))
        assert "10 GB/s measured" in fit.tokens_per_second.basis

    def test_the_bandwidth_is_a_number_of_this_world(self):
        assert 10**8 < fit_device._cpu_bandwidth() < 10**13

    def test_experts_count_for_memory_and_their_share_for_speed(self, tmp_path, monkeypatch):
        monkeypatch.setattr(fit_device, "_cpu_bandwidth", lambda: 1e10)
        tensors = {"model.layers.0.mlp.experts.0.up_proj.weight": ("F32", [400]), "lm_head.weight": ("F32", [100])}
        mixed = files({"num_local_experts": 8, "num_experts_per_tok": 2}, tensors)
        fit = om.fit(write(tmp_path / "mixed", mixed), context=1, device="cpu", dtype="float32")
        assert fit.weights_bytes == 2000
        assert fit.tokens_per_second == pytest.approx(1e10 / (400 + 1600 / 4 + fit.kv_cache_bytes))


class TestReport:
    def test_text_has_80_columns(self, folder):
        text = str(om.fit(folder, device="cuda:24GB"))
        path = max(len(part) for part in folder.split())
        assert max(map(len, text.splitlines())) <= max(80, path + 60)
        for word in ("weights", "KV cache", "overhead", "total", "available", "Assumptions"):
            assert word in text

    def test_html_is_escaped(self, folder):
        shown = om.fit(folder, device="cuda:24GB")._repr_html_()
        assert shown.count("<table>") == 1
        assert "3 full" in shown

    def test_the_twin_agrees(self, folder):
        assert asyncio.run(om.afit(folder, device="cuda:1GB")) == om.fit(folder, device="cuda:1GB")

    def test_the_command(self, folder):
        run = CliRunner().invoke(cli, ["fit", folder, "--device", "cuda:24GB", "--context", "1k", "--json"])
        shown = json.loads(run.stdout)
        assert run.exit_code == 0
        assert shown["context"] == 1024
        assert shown["kv_cache_bytes"] == TOKEN * 2 * 1024
        assert shown["fits"] is True
        run = CliRunner().invoke(cli, ["fit", folder, "--device", "cuda:1MB"])
        assert run.exit_code == 6
        assert "does not fit" in run.stdout
        assert CliRunner().invoke(cli, ["fit", folder, "--device", "tpu"]).exit_code == 2


def test_a_folder_needs_neither_torch_nor_transformers(folder):
    code = f"import openmodels as om, sys; om.fit({folder!r}, device='cpu:1GB'); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "safetensors"} & set(run.stdout.split())
