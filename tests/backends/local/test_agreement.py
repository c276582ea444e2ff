"""Weights, config.json and tokenizer that do not agree: said by name and number, and harmless differences are not."""

import asyncio
import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from test_gguf_header import written
from tiny import tiny_gguf, tiny_llama, tiny_tokenizer

import openmodels as om
from openmodels.backends.local.engines.torch import loader
from openmodels.backends.local.weights import convert, locate, memory


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    return tiny_llama(tmp_path / "model")


def config(folder, **entries):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def tensors(folder, change):
    """Change a folder's tensors in place."""
    file = folder / "model.safetensors"
    found = load_file(file)
    change(found)
    save_file(found, file, metadata={"format": "pt"})


def refused(folder, *words):
    with pytest.raises(om.LoadFailed) as caught:
        loader.load(folder, dtype="float32")
    for word in words:
        assert word in str(caught.value)


class TestTensors:
    def test_fewer_layers_in_config(self, folder):
        config(folder, num_hidden_layers=1)
        refused(folder, "hold 9 tensors", "'model.layers.1.", "and 6 more", "config.json")

    def test_more_layers_in_config(self, folder):
        config(folder, num_hidden_layers=4)
        refused(folder, "hold no 'model.layers.2", "18 of the 39")

    def test_another_width(self, folder):
        config(folder, intermediate_size=48)
        refused(folder, "6 tensors", "another shape", "not 16x48")

    def test_names_with_a_prefix(self, folder):
        def rename(found):
            for name in [*found]:
                found[f"module.{name}"] = found.pop(name)

        tensors(folder, rename)
        refused(folder, "hold no", "hold 21 that it has no place for: 'module.")

    def test_rests_of_an_adapter(self, folder):
        tensors(
            folder, lambda found: found.update({"model.layers.0.self_attn.v_proj.lora_A.weight": torch.ones(2, 16)})
        )
        refused(folder, "lora_A", "merge")

    def test_quantised_names_without_a_word_in_config(self, folder):
        tensors(folder, lambda found: found.update({"model.layers.1.mlp.up_proj.qweight": torch.ones(4)}))
        refused(folder, "qweight", "quantised")

    @pytest.mark.parametrize("name", ["model.layers.1.self_attn.rotary_emb.inv_freq", "model.rotary_emb.inv_freq"])
    def test_buffers_are_harmless(self, folder, name):
        tensors(folder, lambda found: found.update({name: torch.ones(4)}))
        loader.load(folder)

    def test_layers_that_only_draft_are_harmless(self, folder):
        tensors(folder, lambda found: found.update({"model.layers.2.eh_proj.weight": torch.ones(4)}))
        refused(folder, "eh_proj")
        config(folder, num_nextn_predict_layers=1)
        loader.load(folder)

    def test_tied_weights_are_no_gap(self, tmp_path):
        folder = tiny_llama(tmp_path / "tied", tie_word_embeddings=True)
        assert "lm_head.weight" not in load_file(folder / "model.safetensors")
        loader.load(folder)

    def test_masks_of_old_checkpoints_are_harmless(self, tmp_path):
        sizes = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]]}
        made = transformers.GPTNeoConfig(vocab_size=259, max_position_embeddings=32, **sizes)
        transformers.GPTNeoForCausalLM(made).save_pretrained(tmp_path)
        tiny_tokenizer().save_pretrained(tmp_path)
        mask = {
            "transformer.h.0.attn.attention.bias": torch.ones(1),
            "transformer.h.0.attn.attention.masked_bias": torch.ones(1),
        }
        tensors(tmp_path, lambda found: found.update(mask))
        loader.load(tmp_path)


class TestQuantised:
    @pytest.mark.parametrize(
        ("entry", "error", "words"),
        [
            ({"quant_method": "gptq", "bits": 4}, om.MissingExtra, "gptqmodel"),
            ({"load_in_8bit": True}, om.MissingExtra, "bitsandbytes"),
            ({"quant_method": "aqlm"}, om.MissingExtra, "aqlm"),
            ({"quant_method": "exl3", "bits": 3}, om.UnsupportedFeature, "'exl3'"),
            ({"bits": 4, "group_size": 64}, om.UnsupportedFeature, "'mlx'"),
            ({"quant_method": ["a"]}, om.UnsupportedFeature, "unnamed"),
            ("awq", om.LoadFailed, "no object"),
        ],
    )
    def test_a_method_that_does_not_run(self, folder, entry, error, words):
        config(folder, quantization_config=entry)
        with pytest.raises(error, match=words) as caught:
            loader.load(folder)
        assert "Fetch" not in str(caught.value)

    def test_weights_are_counted_as_they_become(self, folder, monkeypatch):
        """8-bit floats become ordinary weights where no GPU computes with them."""
        config(folder, quantization_config={"quant_method": "fp8", "weight_block_size": [16, 16]})
        tensors(
            folder, lambda found: found.update({name: value.to(torch.float8_e4m3fn) for name, value in found.items()})
        )
        stored = (folder / "model.safetensors").stat().st_size
        monkeypatch.setattr(memory, "_HEADROOM", 0)
        monkeypatch.setattr(memory, "available", lambda *_: 2 * stored)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(om.DoesNotFit):
            loader.load(folder, device="cpu", dtype="float32")


class TestGguf:
    def test_in_the_dtype_asked_for(self, tmp_path):
        file = tiny_gguf(tmp_path / "m.gguf")
        reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
        exact = loader.load(locate.locate_folder(str(file), dtype="float32"), dtype="float32").model.state_dict()
        near = loader.load(locate.locate_folder(str(file)), dtype="float32").model.state_dict()
        for name, value in reference.state_dict().items():
            assert torch.equal(exact[name], value)
        assert any(not torch.equal(near[name], value) for name, value in reference.state_dict().items())

    def test_of_a_model_too(self, tmp_path):
        file = tiny_gguf(tmp_path / "m.gguf")
        reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
        with om.Model(f"local:{file}", dtype="float32", engine="transformers") as model:
            model.load()
            loaded = model.backend._engine.loaded.model
            assert torch.equal(loaded.lm_head.weight, reference.lm_head.weight)
            assert "float32" in model.backend.describe()["path"]

    def test_an_unknown_dtype(self, tmp_path):
        with pytest.raises(om.InvalidRequest, match="dtype"):
            locate.locate_folder(str(tiny_gguf(tmp_path / "m.gguf")), dtype="int8")

    def test_memory_of_the_dtype(self, tmp_path, monkeypatch):
        file = tiny_gguf(tmp_path / "m.gguf")
        elements = sum(value.numel() for value in loader.load(locate.locate_folder(str(file))).model.parameters())
        monkeypatch.setattr(memory, "_HEADROOM", 0)
        monkeypatch.setattr(memory, "available", lambda *_: 4 * elements)
        with pytest.raises(om.DoesNotFit):
            locate.locate_folder(str(file), dtype="float32")

    def test_tensors_that_transformers_drops(self, tmp_path):
        bias = [("blk.0.attn_q.bias", torch.ones(32).numpy())]
        file = written(tmp_path / "m.gguf", more=bias)
        (tmp_path / "out").mkdir()
        with pytest.raises(om.LoadFailed, match=r"not take over m\.gguf whole"):
            convert.gguf_to_safetensors(file, tmp_path / "out")

    def test_tensors_that_are_missing(self, tmp_path):
        file = written(tmp_path / "m.gguf", rename=lambda name: None if "ffn_down" in name else name)
        (tmp_path / "out").mkdir()
        with pytest.raises(om.LoadFailed, match=r"hold no 'model\.layers\.0\.mlp\.down_proj"):
            convert.gguf_to_safetensors(file, tmp_path / "out")


class TestTokens:
    @pytest.fixture
    def grown(self, tmp_path):
        """A model whose tokenizer has two tokens more than it."""
        folder = tiny_llama(tmp_path / "grown")
        tokenizer = tiny_tokenizer()
        tokenizer.add_tokens(["<left>", "<right>"])
        tokenizer.save_pretrained(folder)
        return om.Model(f"local:{folder}", dtype="float32")

    def test_the_request_that_uses_one(self, grown):
        for call in (grown.chat, grown.complete):
            with pytest.raises(om.InvalidRequest, match=r"token 260.*259 rows"):
                call("turn <right>", max_tokens=1)
            call("turn right", max_tokens=1)

    def test_others_run_beside_it(self, grown):
        async def every():
            calls = [grown.acomplete(text, max_tokens=3) for text in ("a", "<left>", "b")]
            return await asyncio.gather(*calls, return_exceptions=True)

        first, second, third = asyncio.run(every())
        assert isinstance(second, om.InvalidRequest)
        assert first.usage.output_tokens == third.usage.output_tokens == 3

    def test_vectors(self, tmp_path):
        sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        transformers.BertModel(transformers.BertConfig(vocab_size=259, **sizes)).save_pretrained(tmp_path)
        tokenizer = tiny_tokenizer(None)
        tokenizer.add_tokens(["<left>"])
        tokenizer.save_pretrained(tmp_path)
        with pytest.raises(om.InvalidRequest, match=r"texts\[1\] has the token 259"):
            om.Model(f"local:{tmp_path}").embed(["a", "<left>"])


class TestSentencePiece:
    def test_the_packages_are_named(self, folder, monkeypatch):
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(b"\x0a\x0e\x0a\x05<unk>")
        monkeypatch.setattr("openmodels.imports.is_installed", lambda module: False)
        with pytest.raises(om.MissingExtra, match="'sentencepiece' and 'protobuf'"):
            loader.load(folder)

    def test_tiktoken_is_named_for_its_own_files_only(self, folder, monkeypatch):
        (folder / "tokenizer.json").unlink()
        (folder / "tokenizer.model").write_bytes(b"IQ== 0\nIg== 1\n")
        monkeypatch.setattr("openmodels.imports.is_installed", lambda module: False)
        with pytest.raises(om.MissingExtra, match="tiktoken") as caught:
            loader.load(folder)
        assert "sentencepiece" not in str(caught.value).lower()


def test_an_adapter_beside_a_model_is_not_left_out_in_silence(folder):
    (folder / "adapter_config.json").write_text("{}")
    refused(folder, "adapter beside it", "Merge")


@pytest.mark.parametrize("rows", [259, 300])
def test_a_draft_of_another_table(tmp_path, rows):
    """Padded tables differ within a family; a draft never sees a token that it has no row for."""
    main = tiny_llama(tmp_path / "main", vocab_size=280)
    draft = tiny_llama(tmp_path / "draft", vocab_size=rows)
    with om.Model(f"local:{main}", dtype="float32") as model:
        alone = model.complete("abcabcabc", max_tokens=24, temperature=0).text
    with om.Model(f"local:{main}", dtype="float32", draft=f"local:{draft}") as model:
        assert model.complete("abcabcabc", max_tokens=24, temperature=0).text == alone


@pytest.mark.parametrize(
    "entries", [{"num_hidden_layers": 10**7}, {"intermediate_size": 10**13}, {"text_config": {"vocab_size": 10**12}}]
)
def test_sizes_of_nonsense_are_not_built(folder, entries):
    config(folder, **entries)
    refused(folder, "config.json names", "21 tensors")


@pytest.mark.parametrize("entries", [{"num_attention_heads": 0}, {"vocab_size": "many"}, {"model_type": ["llama"]}])
def test_entries_of_nonsense(folder, entries):
    config(folder, **entries)
    with om.Model(f"local:{folder}") as model:
        assert model.capabilities.context == 512
        with pytest.raises(om.LoadFailed):
            model.load()
