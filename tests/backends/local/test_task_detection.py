"""What a model is made for: by its files, beside what transformers' own tables say, in every engine."""

import json
import struct

import gguf
import numpy as np
import pytest
import transformers
from tiny import tiny_gguf, tiny_llama, tiny_tokenizer
from transformers.models.auto import modeling_auto as auto

import openmodels as om
from openmodels.backends.local.engine_protocol import EngineConfig
from openmodels.backends.local.engines.openvino import model as openvino_model
from openmodels.backends.local.engines.vllm import engine as vllm
from openmodels.backends.local.weights import gguf_header, task_detection
from openmodels.hub.model_page import parse_context_length


def task(*names, **config):
    return task_detection.classify_config({"architectures": list(names), **config}).task


class TestConfig:
    def test_the_decoders_of_transformers_generate(self):
        """All but those that transformers itself lists for speech too."""
        names = {type_: name for type_, name in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.items() if isinstance(name, str)}
        speech = set(auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES) | {"moss_transcribe_diarize"}
        wrong = {
            type_: name
            for type_, name in names.items()
            if type_ not in speech | task_detection._SPEECH and task(name, model_type=type_) != "generate"
        }
        assert wrong == {}

    def test_the_encoder_decoders_of_transformers_do_not(self):
        names = auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES | auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES
        wrong = {type_: name for type_, name in names.items() if task(name, model_type=type_) != "other"}
        assert wrong == {}

    def test_the_masked_models_of_transformers_embed(self):
        names = auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES.values()
        masked = [name for name in names if isinstance(name, str) and name.endswith("ForMaskedLM")]
        assert len(masked) > 20
        assert {task(name) for name in masked} == {"embed"}

    @pytest.mark.parametrize(
        ("names", "config", "expected"),
        [
            (["MistralForCausalLM"], {}, "generate"),
            (["MarianForCausalLM"], {"model_type": "marian", "is_encoder_decoder": True}, "generate"),
            (["Gemma3ForConditionalGeneration"], {"vision_config": {}}, "generate"),
            (["NewForConditionalGeneration"], {"is_encoder_decoder": True}, "other"),
            (["UMT5EncoderModel"], {"model_type": "umt5", "is_encoder_decoder": True}, "embed"),
            (["ViTForImageClassification"], {"image_size": 224}, "other"),
            (["SiglipModel"], {"vision_config": {}}, "other"),
            (["Wav2Vec2ForCTC"], {}, "other"),
            (["ASTForAudioClassification"], {}, "other"),
            (["DebertaV2ForSequenceClassification"], {"num_labels": 3}, "other"),
            (["DebertaV2ForSequenceClassification"], {}, "other"),
            (["DebertaV2ForSequenceClassification"], {"id2label": {"0": "LABEL_0"}}, "rerank"),
            (["ModernBertForTokenClassification"], {}, "embed"),
            (["ElectraForPreTraining"], {}, "embed"),
            (["Qwen3Model"], {}, "embed"),
            (["DiffusionForBlockDiffusion"], {}, "other"),
            (["Remarkable"], {}, None),
            ([], {"architectures": "DebertaForMaskedLM"}, "embed"),
            ([], {"model_type": "pegasus"}, "other"),
            ([], {"model_type": "olmo2"}, None),
        ],
    )
    def test_by_name(self, names, config, expected):
        assert task(*names, **config) == expected

    @pytest.mark.parametrize("names", [None, "", [None, 3], {}, 7])
    def test_architectures_of_another_type(self, names):
        assert task_detection.classify_config({"architectures": names}).task is None


def test_positions_that_are_never_used():
    """The table of types whose first positions are padding's, beside transformers' own embeddings."""
    for model_type in ("roberta", "camembert", "mpnet", "xlm-roberta", "ibert", "longformer", "bert", "electra"):
        sizes = {"vocab_size": 30, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
        config = transformers.CONFIG_MAPPING[model_type](**sizes, intermediate_size=8, max_position_embeddings=20)
        if model_type == "longformer":
            config.attention_window = 4
        model = transformers.AutoModel.from_config(config)
        table = model.embeddings.position_embeddings
        used = 20 if table.padding_idx is None else 20 - table.padding_idx - 1
        assert parse_context_length(config.to_dict()) == used, model_type


def write(file, architecture, **entries):
    writer = gguf.GGUFWriter(file, architecture)
    for key, value in entries.items():
        name = key.replace("__", ".")
        {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32}[type(value)](name, value)
    writer.add_tensor("a.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


OTHERS = [
    ("clip", {"clip__has_audio_encoder": True}, "mmproj"),
    ("llama", {"general__type": "mmproj"}, "mmproj"),
    ("qwen3", {"general__type": "adapter", "adapter__type": "lora"}, "adapter"),
    ("imatrix", {"general__type": "imatrix"}, "imatrix"),
    ("controlvector", {}, "controlvector"),
    ("nomic-bert", {}, "embedding model"),
    ("qwen2", {"qwen2__pooling_type": 1}, "embedding model"),
    ("qwen3", {"qwen3__pooling_type": 4}, "cross-encoder"),
    ("t5", {}, "encoder-decoder"),
    ("llada", {}, "token by token"),
    ("llama", {"llama__attention__causal": False}, "token by token"),
    ("wan", {}, "video"),
    ("whisper", {}, "audio"),
]


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("engine", ["transformers", "llamacpp", "openvino", "auto"])
def test_files_of_another_kind(tmp_path, monkeypatch, other, engine):
    architecture, entries, words = other
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))
    file = write(tmp_path / "m.gguf", architecture, **entries)
    with om.Model(f"local:{file}", engine=engine) as model:
        with pytest.raises(om.UnsupportedFeature, match=words) as caught:
            model.load()
        assert "Fetch" not in caught.value.next_step
        told = model.capabilities
        assert told.chat is told.complete is told.embed is told.rerank is False


def test_a_vocabulary_alone(tmp_path):
    content = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    name = b"general.architecture"
    content += struct.pack("<Q", len(name)) + name + struct.pack("<IQ", 8, 5) + b"llama"
    (tmp_path / "m.gguf").write_bytes(content + bytes(32))
    header = gguf_header.read_header(tmp_path / "m.gguf")
    assert task_detection.classify_gguf(header).description == "a vocabulary without weights"


def test_no_architecture():
    with pytest.raises(om.LoadFailed, match="architecture"):
        task_detection.check_gguf("m.gguf", gguf_header.GgufHeader({"general.architecture": 3}, 8))


def folder_of(folder, **config):
    tiny_llama(folder)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folder


class TestFolders:
    CASES = [
        ({"architectures": ["ElectraForMaskedLM"]}, "masked"),
        ({"architectures": ["BartForConditionalGeneration"], "is_encoder_decoder": True}, "encoder-decoder"),
        ({"architectures": ["LlamaForSequenceClassification"], "num_labels": 1}, "cross-encoder"),
        ({"architectures": ["LlamaForSequenceClassification"], "num_labels": 4}, "4 classes"),
        ({"architectures": ["LlamaModel"]}, "without a head"),
        ({"architectures": ["CLIPVisionModel"], "image_size": 30}, "images"),
    ]

    @pytest.mark.parametrize(("config", "words"), CASES)
    def test_not_opened_to_generate(self, tmp_path, config, words):
        folder = folder_of(tmp_path, **config)
        with om.Model(f"local:{folder}") as model:
            assert model.capabilities.chat is model.capabilities.complete is False
            with pytest.raises(om.UnsupportedFeature, match=words):
                model.complete("a")
            with pytest.raises(om.UnsupportedFeature, match=words):
                model.chat("a")

    @pytest.mark.parametrize(("config", "words"), CASES)
    def test_nor_by_the_other_engines(self, tmp_path, config, words):
        folder = folder_of(tmp_path, **config)
        with pytest.raises(om.UnsupportedFeature, match=words):
            openvino_model.open_model(folder)
        with pytest.raises(om.UnsupportedFeature, match=words):
            vllm.VllmEngine(EngineConfig(str(folder), command="vllm")).prepare_command(None)

    def test_an_encoder_that_says_nothing(self, tmp_path):
        """Without `architectures`, transformers would take it for a decoder and warn."""
        sizes = {"vocab_size": 259, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        transformers.CamembertModel(transformers.CamembertConfig(**sizes, intermediate_size=16)).save_pretrained(
            tmp_path
        )
        tiny_tokenizer().save_pretrained(tmp_path)
        file = tmp_path / "config.json"
        config = json.loads(file.read_text())
        del config["architectures"]
        file.write_text(json.dumps(config))
        with om.Model(f"local:{tmp_path}") as model, pytest.raises(om.UnsupportedFeature, match="encoder"):
            model.load()

    def test_a_model_of_images_needs_no_tokenizer_to_be_refused(self, tmp_path):
        folder = folder_of(tmp_path, architectures=["Dinov2Model"], image_size=20)
        for file in folder.glob("tokenizer*"):
            file.unlink()
        with om.Model(f"local:{folder}") as model, pytest.raises(om.UnsupportedFeature, match="images"):
            model.load()

    @pytest.mark.parametrize("content", ["[]", "null", "3", '"text"', "[" * 100_000])
    @pytest.mark.parametrize(
        "name", ["config.json", "tokenizer_config.json", "generation_config.json", "tokenizer.json"]
    )
    def test_files_of_another_type(self, tmp_path, name, content):
        folder = tiny_llama(tmp_path)
        (folder / name).write_text(content)
        with om.Model(f"local:{folder}") as model:
            assert model.capabilities.context in (512, None)
            with pytest.raises(om.LoadFailed, match=name):
                model.load()


def test_vectors_of_a_gguf_file(tmp_path):
    with om.Model(f"local:{tiny_gguf(tmp_path / 'm.gguf')}") as model:
        with pytest.raises(om.UnsupportedFeature, match="GGUF"):
            model.embed("a")
        with pytest.raises(om.UnsupportedFeature, match="GGUF"):
            model.rerank("a", ["b"])
