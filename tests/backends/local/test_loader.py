"""Loading: device, dtype, context, GGUF conversion, and what is refused on the way."""

import errno
import json
import multiprocessing

import gguf
import pytest
import torch
import transformers
from tiny import CHATML, tiny_gguf, tiny_llama
from transformers import AutoModelForCausalLM

from openmodels import errors
from openmodels.backends.local.engines.torch import device, loader
from openmodels.backends.local.weights import cache, convert, gguf_header, locate


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("tiny"))


def edited(folder, target, **config):
    """A copy of a model's folder with a changed config.json."""
    target.mkdir()
    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    now = json.loads((target / "config.json").read_text()) | config
    (target / "config.json").write_text(json.dumps(now))
    return target


class TestLoad:
    def test_whole(self, tiny):
        found = loader.load(tiny)
        assert not found.model.training
        assert found.context == 512
        assert found.model.dtype == found.dtype
        assert found.tokenizer.decode(found.tokenizer("héllo").input_ids) == "héllo"
        assert found.tokenizer.chat_template == CHATML

    def test_the_weights_are_those_of_transformers(self, tiny):
        loaded = loader.load(tiny, dtype="float32").model
        expected = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
        assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), expected.parameters(), strict=True))

    def test_a_sliding_window_does_not_shorten_the_context(self, tmp_path):
        folder = tiny_llama(tmp_path / "m", max_position_embeddings=300)
        mistral = edited(
            folder, tmp_path / "s", model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=64
        )
        assert loader.load(mistral).context == 300

    def test_nothing_is_printed_and_switches_are_put_back(self, tiny, capfd):
        logging = transformers.utils.logging
        logging.set_verbosity_info()
        logging.enable_progress_bar()
        try:
            loader.load(tiny)
            assert logging.get_verbosity() == logging.INFO
            assert logging.is_progress_bar_enabled()
        finally:
            logging.set_verbosity_warning()
        assert capfd.readouterr() == ("", "")

    def test_a_missing_part(self, tiny, tmp_path):
        folder = edited(tiny, tmp_path / "m")
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(errors.LoadFailed, match="model-00002-of-00002"):
            loader.load(folder)

    def test_only_the_files_that_were_checked(self, tiny, tmp_path):
        folder = edited(tiny, tmp_path / "m", transformers_weights="other.safetensors")
        (folder / "other.safetensors").write_bytes(b"unchecked")
        assert loader.load(folder).context == 512

    def test_a_kernel_that_would_be_fetched_is_not_used(self, tiny, tmp_path):
        folder = edited(tiny, tmp_path / "m", _attn_implementation="flash_attention_2")
        assert loader.load(folder).model.config._attn_implementation == "sdpa"

    def test_a_model_type_of_the_future(self, tiny, tmp_path):
        with pytest.raises(errors.LoadFailed, match="model type"):
            loader.load(edited(tiny, tmp_path / "m", model_type="llama99"))

    def test_remote_code_beside_a_known_type_is_not_needed(self, tiny, tmp_path):
        folder = edited(tiny, tmp_path / "m", auto_map={"AutoModelForCausalLM": "evil.Model"})
        (folder / "evil.py").write_text("raise SystemExit('ran')")
        assert type(loader.load(folder).model).__name__ == "LlamaForCausalLM"

    def test_a_tokenizer_with_remote_code(self, tiny, tmp_path):
        folder = edited(tiny, tmp_path / "m")
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        settings |= {"tokenizer_class": "EvilTokenizer", "auto_map": {"AutoTokenizer": ["evil.EvilTokenizer", None]}}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
        (folder / "evil.py").write_text("raise SystemExit('ran')")
        (folder / "tokenizer.json").unlink()
        with pytest.raises(errors.LoadFailed):
            loader.load(folder)

    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            torch.OutOfMemoryError("CUDA out of memory."),
            OSError(errno.ENOMEM, "Cannot allocate memory"),
        ],
    )
    def test_out_of_memory(self, tiny, monkeypatch, error):
        def fail(*args, **kwargs):
            raise error

        monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
        with pytest.raises(errors.OutOfMemory) as caught:
            loader.load(tiny)
        assert caught.value.__cause__ is error


class TestDtype:
    CPU, GPU = torch.device("cpu"), torch.device("cuda")

    @pytest.mark.parametrize("stored", ["float32", "bfloat16", "float16", None])
    @pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
    def test_cpu(self, monkeypatch, stored, native, expected):
        monkeypatch.setattr(device, "cpu_has_bfloat16", lambda: native)
        assert device.choose_dtype("auto", self.CPU, {"dtype": stored}) is expected

    @pytest.mark.parametrize(
        ("stored", "expected"),
        [("bfloat16", torch.bfloat16), ("float16", torch.float16), ("float32", torch.float16), (None, torch.float16)],
    )
    def test_gpu(self, monkeypatch, stored, expected):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
        assert device.choose_dtype("auto", self.GPU, {"text_config": {"torch_dtype": stored}}) is expected

    def test_an_old_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
        assert device.choose_dtype("auto", self.GPU, {"dtype": "bfloat16"}) is torch.float16

    def test_explicit(self):
        assert device.choose_dtype("float16", self.GPU, {}) is torch.float16
        assert device.choose_dtype("float32", self.CPU, {}) is torch.float32

    @pytest.mark.parametrize("name", ["int8", "fp16", "torch.float32", ""])
    def test_unknown(self, name):
        with pytest.raises(errors.InvalidRequest, match="dtype"):
            device.choose_dtype(name, self.CPU, {})


class TestDevice:
    @pytest.mark.parametrize("name", ["gpu", "tpu", "cpu:x", "meta", ""])
    def test_unknown(self, name):
        with pytest.raises(errors.InvalidRequest, match="device"):
            device.choose_device(name)

    def test_a_gpu_too_many(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Tesla")
        assert device.choose_device("cuda") == torch.device("cuda")
        with pytest.raises(errors.NotConfigured, match=r"cuda:0 \(Tesla\)"):
            device.choose_device("cuda:1")

    def test_auto_is_there(self):
        assert device.choose_device("auto").type in {"cpu", "cuda", "mps"}


def convert_at_once(file, results):
    results.put(str(locate.locate_folder(str(file))))


class TestGguf:
    def test_converted_once(self, tmp_path, monkeypatch):
        file = tiny_gguf(tmp_path / "m.gguf")
        folder = locate.locate_folder(str(file))
        found = loader.load(folder)
        assert found.context == 512
        assert found.model.generation_config.eos_token_id == 258
        assert found.tokenizer("the<|im_end|>").input_ids == [259, 68, 258]
        monkeypatch.setattr(convert, "gguf_to_safetensors", lambda *paths: pytest.fail("converted twice"))
        assert locate.locate_folder(str(file)) == folder

    def test_the_weights_are_the_files(self, tmp_path):
        file = tiny_gguf(tmp_path / "m.gguf")
        stored = {tensor.name: tensor.data for tensor in gguf.GGUFReader(file).tensors}
        weight = loader.load(locate.locate_folder(str(file)), dtype="bfloat16").model.get_input_embeddings().weight
        assert torch.equal(weight, torch.tensor(stored["token_embd.weight"]).bfloat16())

    def test_the_end_of_a_turn_is_an_end(self):
        generation = transformers.GenerationConfig(eos_token_id=1)
        metadata = {"tokenizer.ggml.eos_token_id": 1, "tokenizer.ggml.eot_token_id": 7}
        convert._set_eos_token_ids(generation, gguf_header.GgufHeader(metadata, 1))
        assert generation.eos_token_id == [1, 7]

    def test_what_was_replaced_is_put_back(self, tmp_path):
        before = gguf.GGUFReader, gguf.get_tensor_name_map, convert.modeling.tqdm
        locate.locate_folder(str(tiny_gguf(tmp_path / "m.gguf")))
        assert before == (gguf.GGUFReader, gguf.get_tensor_name_map, convert.modeling.tqdm)

    def test_nothing_is_printed(self, tmp_path, capfd):
        locate.locate_folder(str(tiny_gguf(tmp_path / "m.gguf")))
        assert capfd.readouterr() == ("", "")

    def test_two_processes_at_once(self, tmp_path):
        file = tiny_gguf(tmp_path / "m.gguf")
        spawn = multiprocessing.get_context("spawn")
        results = spawn.Queue()
        workers = [spawn.Process(target=convert_at_once, args=(file, results)) for _ in range(2)]
        for worker in workers:
            worker.start()
        folders = {results.get(timeout=120) for _ in workers}
        for worker in workers:
            worker.join()
        assert len(folders) == 1
        kept = [path.name for path in cache.weights_folder().iterdir() if path.is_dir()]
        assert [str(cache.weights_folder() / name) for name in kept] == list(folders)

    def test_a_failed_conversion_leaves_nothing(self, tmp_path):
        file = tiny_gguf(tmp_path / "m.gguf", architecture="nosucharch")
        with pytest.raises(errors.LoadFailed, match="'nosucharch'"):
            locate.locate_folder(str(file))
        assert [path.suffix for path in cache.weights_folder().iterdir()] == [".lock"]

    @pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6, 0.999])
    def test_truncated_anywhere(self, tmp_path, share):
        file = tiny_gguf(tmp_path / "m.gguf")
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(errors.LoadFailed, match=r"m\.gguf"):
            gguf_header.read_header(file)

    def test_damaged_anywhere(self, tmp_path):
        """Whatever four bytes of the header turn into, reading it ends well or with an error of the tree."""
        file = tiny_gguf(tmp_path / "m.gguf")
        content = file.read_bytes()
        refused = 0
        for place in range(4, 400, 3):
            file.write_bytes(content[:place] + b"\xff\xff\xff\xff" + content[place + 4 :])
            try:
                gguf_header.read_header(file)
            except errors.LoadFailed:
                refused += 1
        assert refused > 50

    def test_one_part_of_several(self, tmp_path):
        writer = gguf.GGUFWriter(tmp_path / "m.gguf", "llama")
        writer.add_uint16("split.count", 3)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
        with pytest.raises(errors.LoadFailed, match="part of 3"):
            gguf_header.read_header(tmp_path / "m.gguf")


def test_the_default_model_is_complete(smol):
    found = smol.backend._engine.loaded
    assert found.context == 8192
    assert found.tokenizer.eos_token == "<|im_end|>"
    assert found.tokenizer.eos_token_id == found.model.generation_config.eos_token_id == 2
    assert sum(parameter.numel() for parameter in found.model.parameters()) == 134_515_008
