"""The kind of a model by its files: generate, embed, rerank or something else.

`architectures` of a config.json decides, and `general.architecture` and `general.type` of a GGUF file. Many
files of another kind load as a language model without an error and generate nonsense, so the kind is checked
before the weights are read, whichever engine reads them. Nothing here imports torch or transformers.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from openmodels.errors import LoadFailed, UnsupportedFeature

if TYPE_CHECKING:
    from openmodels.backends.local.weights.gguf_header import GgufHeader

Task = Literal["generate", "embed", "rerank", "other"]

_GENERATES = (
    *("ForCausalLM", "LMHeadModel", "ModelWithLMHead", "ForConditionalGeneration", "Text2Text"),
    "GenerationDecoder",
)
"""Endings of transformers' classes that generate text."""
_CLASSIFIES = "ForSequenceClassification"
_MASKED = ("ForMaskedLM", "ForPreTraining")
_ENCODES = (
    *("Model", "Encoder", "ForTextEncoding", "ForTokenClassification", "ForQuestionAnswering"),
    *("ForMultipleChoice", "ForNextSentencePrediction"),
)
"""Endings of classes whose encoder computes vectors of tokens."""

_TYPES = json.loads((files("openmodels.backends.local.weights") / "model_types.json").read_text(encoding="utf-8"))
_SPEECH = frozenset(_TYPES["speech"])  # model types that take or make audio
_AUDIO_CLASSES = ("ForCTC", "ForSpeechSeq2Seq", "ForSpeechToText", "ForTextToSpeech", "ForRNNT", "ForTDT", "XVector")
_AUDIO_KEYS = frozenset({"audio_config", "num_mel_bins", "sampling_rate", "feat_extract_norm"})
_IMAGE_KEYS = frozenset({"vision_config", "image_size", "patch_size", "num_channels"})

_RANK_POOLING = 4  # llama.cpp's LLAMA_POOLING_TYPE_RANK

_CHOOSE_OTHER = "Choose a model that generates text (…ForCausalLM)"


@dataclass(frozen=True, slots=True)
class DetectedTask:
    """What a model is made for; a task of None is unknown.

    The description says what it is, e.g. "an encoder-decoder (T5ForConditionalGeneration)", and the advice, a sentence,
    what to do for text of it.
    """

    task: Task | None
    description: str = "a model of unknown kind"
    advice: str = f"{_CHOOSE_OTHER}."


def read_architectures(config: Mapping[str, Any]) -> list[str]:
    """Return the names of transformers' classes that a config.json lists."""
    names = config.get("architectures")
    if isinstance(names, str):
        return [names]
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def classify_config(config: Mapping[str, Any], *, sentence_transformers: bool = False) -> DetectedTask:
    """Return what a folder's model is made for.

    A folder of sentence-transformers holds modules.json, which says how to make vectors.
    """
    names, model_type = read_architectures(config), str(config.get("model_type"))
    name = names[0] if names else model_type
    if name.endswith(_CLASSIFIES):
        if (labels := count_labels(config)) != 1:
            return _make_other(f"a classifier of texts into {labels} classes", name)
        description = f"a cross-encoder ({name}), which scores pairs of texts"
        return DetectedTask("rerank", description, f"Use `rerank`. {_CHOOSE_OTHER} to chat or complete.")
    if sentence_transformers:
        return DetectedTask(
            "embed", f"an embedding model ({name})", f"Use `embed`. {_CHOOSE_OTHER} to chat or complete."
        )
    if model_type in _SPEECH or name.endswith(_AUDIO_CLASSES) or "Audio" in name:
        return _make_other("a model for audio", name)
    # The decoder alone of an encoder-decoder generates as any other, and its encoder alone embeds.
    is_part = name.endswith(("ForCausalLM", "EncoderModel"))
    if not is_part and (config.get("is_encoder_decoder") is True or model_type in _TYPES["seq2seq"]):
        return _make_other("an encoder-decoder", name)
    if not names:
        return DetectedTask(None)
    if name.endswith(_GENERATES):
        return DetectedTask("generate", f"a language model ({name})")
    return _classify_encoder(name, config)


def classify_folder(folder: Path, config: Mapping[str, Any]) -> DetectedTask:
    """Return what a folder's model is made for; see `classify_config`."""
    return classify_config(config, sentence_transformers=(folder / "modules.json").exists())


def _classify_encoder(name: str, config: Mapping[str, Any]) -> DetectedTask:
    """Return the kind of a model that neither generates text nor classifies it."""
    if keys := _IMAGE_KEYS & config.keys() or _AUDIO_KEYS & config.keys():
        return _make_other("a model for images" if keys & _IMAGE_KEYS else "a model for audio", name)
    advice = f"Use `embed` for its vectors. {_CHOOSE_OTHER} to chat or complete."
    if name.endswith(_MASKED):
        return DetectedTask("embed", f"a masked language model ({name}), which fills gaps in a text", advice)
    if name.endswith(_ENCODES):
        return DetectedTask("embed", f"an encoder without a head that generates ({name})", advice)
    return _make_other("a model for another task", name) if "For" in name else DetectedTask(None)


def count_labels(config: Mapping[str, Any]) -> int:
    """Return the number of a classifier's classes, as transformers reads config.json."""
    count, labels = config.get("num_labels"), config.get("id2label")
    if type(count) is int:
        return count
    return len(labels) if isinstance(labels, Mapping) else 2


def _make_other(what: str, name: str) -> DetectedTask:
    return DetectedTask("other", f"{what} ({name})", f"{_CHOOSE_OTHER}, or run this one with a program made for it.")


def classify_gguf(header: "GgufHeader") -> DetectedTask:
    """Return what a GGUF file's model is made for."""
    architecture, kind = header.architecture, header.metadata.get("general.type", "model")
    if architecture == "clip" or kind == "mmproj":
        return DetectedTask(
            "other",
            "only the part of a multimodal model that encodes images or audio (a 'mmproj' file)",
            "Name the .gguf file of the language model that it belongs to.",
        )
    if kind == "adapter" or "adapter.type" in header.metadata:
        return DetectedTask(
            "other",
            "an adapter (LoRA), not a whole model",
            "Merge it into its base model with llama-export-lora, and name the merged file.",
        )
    if kind == "imatrix" or architecture in {"imatrix", "controlvector"}:
        return DetectedTask(
            "other", f"a file of {architecture or kind!s} data beside a model", "Name the model's file."
        )
    if not header.elements:
        return DetectedTask(
            "other", "a vocabulary without weights", "Name a .gguf file that holds the model's weights."
        )
    name = f"GGUF architecture {architecture!r}"
    use = "This backend embeds and ranks with safetensors: name the folder or repository that holds them"
    pooling = header.metadata.get(f"{architecture}.pooling_type")
    pools = type(pooling) is int and pooling > 0
    if pools and pooling == _RANK_POOLING:
        return DetectedTask("other", f"a cross-encoder ({name})", f"{use}, and use `rerank`.")
    if pools or architecture in _TYPES["gguf_embeds"]:
        return DetectedTask("other", f"an embedding model ({name})", f"{use}, and use `embed`.")
    if header.metadata.get(f"{architecture}.attention.causal") is False:
        return _make_other("a model that does not generate token by token", name)
    if what := next((what for what, others in _TYPES["gguf_others"].items() if architecture in others), None):
        return _make_other(what, name)
    return DetectedTask("generate" if architecture else None, f"a language model ({name})")


def check_generates(kind: DetectedTask) -> None:
    """Raise UnsupportedFeature where a model's files say it generates no text."""
    if kind.task not in ("generate", None):
        calls = "'chat', 'complete', 'embed' and 'rerank'" if kind.task == "other" else "'chat' and 'complete'"
        raise UnsupportedFeature(
            f"The model is {kind.description}, and the backend 'local' has no {calls} for it.", next_step=kind.advice
        )


def check_gguf(name: str, header: "GgufHeader") -> None:
    """Check that a GGUF file names its architecture and generates text."""
    kind = classify_gguf(header)
    check_generates(kind)
    if kind.task is None:
        raise LoadFailed(
            f"{name} does not say its architecture (general.architecture).",
            next_step="Use another file of the model: this one was cut or edited when it was made.",
        )
