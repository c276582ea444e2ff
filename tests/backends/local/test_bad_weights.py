"""Bad input, case by case: each ends in a typed error that names the cause and the next step.

The table in docs/errors.md is made from these cases. After a change write it anew with
`OPENMODELS_WRITE_DOCS=1 pytest tests/backends/local/test_bad_weights.py`.
"""

import json
import os
import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import constants
from tiny import tiny_gguf, tiny_llama, tiny_tokenizer

import openmodels as om
from fake_hub import fake_hub

TABLE = Path(__file__).parents[3] / "docs" / "errors.md"
INTRODUCTION = """\
# What goes wrong with weights, and what to do

Every error of openmodels is an `om.OpenModelsError`; its message names the model, the cause and the next step.
`…` stands for a path, an address or a version.
The tests make this table from real files and check it.

| What was given | Error | Cause | Next step |
|---|---|---|---|
"""


@dataclass(frozen=True)
class Case:
    """One kind of bad input.

    Attributes:
        title: What it is, for the table.
        error: Exactly the class to be raised.
        provoke: Builds it in a folder and uses it; takes the folder and a monkeypatch.
    """

    title: str
    error: type[om.OpenModelsError]
    provoke: Callable[[Path, pytest.MonkeyPatch], object]


CASES: list[Case] = []


def case(title, error):
    def add(provoke):
        CASES.append(Case(title, error, provoke))
        return provoke

    return add


def load(what, **options):
    with om.Model(f"local:{what}", engine="transformers", **options) as model:
        model.load()


def changed(folder, name, **entries):
    file = folder / name
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))
    return folder


def no_gpu(patch):
    patch.setattr(torch.cuda, "device_count", lambda: 0)
    patch.setattr(torch.backends.mps, "is_available", lambda: False)
    patch.setattr(torch.version, "cuda", None)


def from_hub(patch, repo, files, *, gated=False):
    with fake_hub() as (hub, address):
        patch.setenv("HF_ENDPOINT", address)
        hub.repos["org/model"] = files
        if gated:
            hub.gated.add("org/model")
        load(repo)


@case("A folder that is not there", om.ModelNotFound)
def _(folder, patch):
    load(folder / "missing")


@case("A Hub id written as a path", om.ModelNotFound)
def _(folder, patch):
    load("./org/model")


@case("An empty folder", om.LoadFailed)
def _(folder, patch):
    load(folder)


@case("A folder without config.json", om.LoadFailed)
def _(folder, patch):
    (tiny_llama(folder) / "config.json").unlink()
    load(folder)


@case("A folder without weights", om.LoadFailed)
def _(folder, patch):
    (tiny_llama(folder) / "model.safetensors").unlink()
    load(folder)


@case("A folder without a tokenizer", om.LoadFailed)
def _(folder, patch):
    for file in tiny_llama(folder).glob("tokenizer*"):
        file.unlink()
    load(folder)


@case("A folder with an adapter", om.LoadFailed)
def _(folder, patch):
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").touch()
    load(folder)


@case("A folder with only pickles", om.UnsafeWeights)
def _(folder, patch):
    (tiny_llama(folder) / "model.safetensors").rename(folder / "pytorch_model.bin")
    load(folder)


@case("A config.json that is no JSON", om.LoadFailed)
def _(folder, patch):
    (tiny_llama(folder) / "config.json").write_text("{")
    load(folder)


@case("A model type that transformers does not know", om.LoadFailed)
def _(folder, patch):
    load(changed(tiny_llama(folder), "config.json", model_type="llama99"))


@case("A model that needs code of its own", om.UnsafeWeights)
def _(folder, patch):
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    (folder / "evil.py").write_text("raise SystemExit('the model ran its own code')")
    load(changed(tiny_llama(folder), "config.json", model_type="evil", auto_map=auto_map))


@case("A config.json that names an attention kernel on the Hub", om.UnsafeWeights)
def _(folder, patch):
    load(changed(tiny_llama(folder), "config.json", _attn_implementation="evil/kernel"))


@case("A model that does not generate text", om.UnsupportedFeature)
def _(folder, patch):
    names = {"architectures": ["PegasusForConditionalGeneration"], "is_encoder_decoder": True}
    load(changed(tiny_llama(folder), "config.json", **names))


@case("Weights quantised by a method whose package is missing", om.MissingExtra)
def _(folder, patch):
    load(changed(tiny_llama(folder), "config.json", quantization_config={"quant_method": "quanto"}))


@case("Weights quantised by a method that transformers does not know", om.UnsupportedFeature)
def _(folder, patch):
    load(changed(tiny_llama(folder), "config.json", quantization_config={"quant_method": "exl2"}))


@case("A config.json of fewer layers than the weights", om.LoadFailed)
def _(folder, patch):
    load(changed(tiny_llama(folder, num_hidden_layers=3), "config.json", num_hidden_layers=1))


@case("A config.json of more layers than the weights", om.LoadFailed)
def _(folder, patch):
    load(changed(tiny_llama(folder), "config.json", num_hidden_layers=3))


@case("A config.json of another width than the weights", om.LoadFailed)
def _(folder, patch):
    load(changed(tiny_llama(folder), "config.json", intermediate_size=24))


@case("A tokenizer_config.json that holds a list", om.LoadFailed)
def _(folder, patch):
    (tiny_llama(folder) / "tokenizer_config.json").write_text("[]")
    load(folder)


@case("A tokenizer with more tokens than the model", om.InvalidRequest)
def _(folder, patch):
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["<added>"])
    tokenizer.save_pretrained(tiny_llama(folder))
    with om.Model(f"local:{folder}") as model:
        model.chat("<added>")


@case("A truncated safetensors file", om.LoadFailed)
def _(folder, patch):
    file = tiny_llama(folder) / "model.safetensors"
    os.truncate(file, file.stat().st_size - 100)
    load(folder)


@case("A safetensors file cut within its header", om.LoadFailed)
def _(folder, patch):
    os.truncate(tiny_llama(folder) / "model.safetensors", 200)
    load(folder)


@case("A safetensors file whose header lies", om.LoadFailed)
def _(folder, patch):
    file = tiny_llama(folder) / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"data_offsets":[0,', b'"data_offsets":[8,'))
    load(folder)


@case("A missing part of a sharded model", om.LoadFailed)
def _(folder, patch):
    (tiny_llama(folder) / "model.safetensors").unlink()
    index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    load(folder)


@case("A model larger than the memory", om.DoesNotFit)
def _(folder, patch):
    size = 500 * 10**9
    header = json.dumps({"lm_head.weight": {"dtype": "BF16", "shape": [size // 2], "data_offsets": [0, size]}}).encode()
    with (tiny_llama(folder) / "model.safetensors").open("wb") as opened:
        opened.write(len(header).to_bytes(8, "little") + header)
        opened.truncate(8 + len(header) + size)  # a hole: no disk is used
    patch.setattr("openmodels.backends.local.weights.memory.available", lambda *_: 16 * 10**9)
    load(folder, dtype="bfloat16")


@case("Memory that runs out while loading", om.OutOfMemory)
def _(folder, patch):
    def fail(*args, **kwargs):
        raise MemoryError

    patch.setattr("transformers.AutoModelForCausalLM.from_pretrained", fail)
    load(tiny_llama(folder))


@case("A file that is no GGUF", om.LoadFailed)
def _(folder, patch):
    (folder / "model.gguf").write_bytes(b"<!DOCTYPE html>" * 100)
    load(folder / "model.gguf")


@case("A truncated GGUF file", om.LoadFailed)
def _(folder, patch):
    file = tiny_gguf(folder / "model.gguf")
    os.truncate(file, file.stat().st_size - 1000)
    load(file)


@case("A GGUF file with garbage in its header", om.LoadFailed)
def _(folder, patch):
    file = tiny_gguf(folder / "model.gguf")
    file.write_bytes(file.read_bytes()[:24] + b"\xee" * 1000)
    load(file)


@case("A GGUF file of an unknown architecture", om.LoadFailed)
def _(folder, patch):
    load(tiny_gguf(folder / "model.gguf", architecture="llama99"))


@case("A GGUF file of the images' part of a model", om.UnsupportedFeature)
def _(folder, patch):
    load(tiny_gguf(folder / "model.gguf", architecture="clip"))


@case("A GGUF file of an embedding model", om.UnsupportedFeature)
def _(folder, patch):
    load(tiny_gguf(folder / "model.gguf", architecture="jina-bert-v2"))


@case("A GGUF file with a hostile chat template", om.LoadFailed)
def _(folder, patch):
    template = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    with om.Model(f"local:{tiny_gguf(folder / 'model.gguf', chat_template=template)}", engine="transformers") as model:
        model.chat("hi")


@case("A single .bin file", om.UnsafeWeights)
def _(folder, patch):
    (folder / "pytorch_model.bin").touch()
    load(folder / "pytorch_model.bin")


@case("An unknown id, the network switched off", om.Offline)
def _(folder, patch):
    patch.setenv("OPENMODELS_OFFLINE", "1")
    load("org/model")


@case("An unknown id, no network", om.Offline)
def _(folder, patch):
    def unknown(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    patch.setattr(socket, "getaddrinfo", unknown)
    patch.setenv("HF_ENDPOINT", "https://hub.invalid")
    load("org/model")


@case("An unknown id", om.ModelNotFound)
def _(folder, patch):
    from_hub(patch, "org/other", {})


@case("An unknown revision", om.ModelNotFound)
def _(folder, patch):
    from_hub(patch, "org/model@nope", {"config.json": b"{}", "model.safetensors": b"", "tokenizer.json": b"{}"})


@case("A repository with only pickles", om.UnsafeWeights)
def _(folder, patch):
    from_hub(patch, "org/model", {"config.json": b"{}", "pytorch_model.bin": b""})


@case("A repository with only GGUF files, none named", om.LoadFailed)
def _(folder, patch):
    from_hub(patch, "org/model", {"model-q4.gguf": b"", "model-q8.gguf": b""})


@case("A gated model", om.GatedModel)
def _(folder, patch):
    from_hub(patch, "org/model", {"config.json": b"{}", "model.safetensors": b"", "tokenizer.json": b"{}"}, gated=True)


@case("float16 on a CPU", om.InvalidRequest)
def _(folder, patch):
    load(tiny_llama(folder), device="cpu", dtype="float16")


@case("An unknown device", om.InvalidRequest)
def _(folder, patch):
    no_gpu(patch)
    load(tiny_llama(folder), device="gpu")


@case("A GPU where there is none", om.NotConfigured)
def _(folder, patch):
    no_gpu(patch)
    load(tiny_llama(folder), device="cuda")


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What each case raised, by title; run once for the checks and the table."""
    found = {}
    for number, one in enumerate(CASES):
        folder = tmp_path_factory.mktemp(f"case{number}")
        (folder / "model").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
            patch.setenv("OPENMODELS_CACHE", str(folder / "cache"))
            for name in ("HF_HUB_OFFLINE", "OPENMODELS_OFFLINE", "HF_TOKEN"):
                patch.delenv(name, raising=False)
            try:
                one.provoke(folder / "model", patch)
            except om.OpenModelsError as error:
                found[one.title] = error, folder / "model"
    return found


@pytest.mark.parametrize("one", CASES, ids=lambda one: one.title)
def test_typed_error_with_cause_and_next_step(one, outcomes):
    error, _ = outcomes[one.title]
    assert type(error) is one.error
    assert error.cause.endswith(".")
    assert error.next_step
    assert error.reference.startswith("local:")


def test_the_table_in_the_docs(outcomes):
    rows = [row(one, *outcomes[one.title]) for one in CASES]
    text = INTRODUCTION + "".join(rows)
    if os.environ.get("OPENMODELS_WRITE_DOCS"):
        TABLE.write_text(text)
    assert TABLE.read_text() == text


def row(one, error, folder):
    cells = [one.title, f"`{one.error.__name__}`", error.cause, error.next_step]
    varying = rf"{re.escape(str(folder))}|http://127\.0\.0\.1:\d+|{re.escape(transformers.__version__)}"
    neutral = (re.sub(varying, "…", cell) for cell in cells)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in neutral) + " |\n"
