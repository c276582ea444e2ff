"""One vocabulary for the tasks, languages and kinds of model of all catalogs."""

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from openmodels.catalog import languages
from openmodels.catalog.record import Modalities

CONVERSATIONAL = "conversational"  # the Hub's tag for a text-generation model with a chat template

_LONGEST_LANGUAGE, _LEAST_NAME = 35, 4
_CHAT_TASKS = frozenset({"chat-completion", "chat-completions", "messages", "responses", "chat"})


def read_table(lines: str) -> Iterator[tuple[str, str]]:
    """Yield what stands before and behind the first colon of each line."""
    for line in lines.strip().splitlines():
        name, _, rest = line.partition(":")
        yield name, rest.strip()


# The Hub's word for a task, and those of Azure; a task that is not listed is the same in both.
_TASKS = """
text-generation: chat-completion chat-completions messages responses chat completions
feature-extraction: embeddings embedding text-embedding
automatic-speech-recognition: speech-to-text audio-transcription
image-text-to-text: image-text-to-text-generation
text-ranking: text-rerank rerank
"""
_AZURE_TASKS = {stated: name for name, words in read_table(_TASKS) for stated in words.split()}

# What goes in and what comes out, and the tasks that it is so for.
_INPUTS_OUTPUTS = """
text > text: text-generation text2text-generation fill-mask summarization translation question-answering
text > text: text-classification token-classification zero-shot-classification text-ranking
text > embeddings: feature-extraction sentence-similarity
text image > text: image-text-to-text visual-question-answering
image > text: image-to-text image-classification object-detection
image > image: image-segmentation image-to-image
text > image: text-to-image
text > video: text-to-video
image > video: image-to-video
text video > text: video-text-to-text
audio > text: automatic-speech-recognition audio-classification
text > audio: text-to-speech text-to-audio
text audio > text: audio-text-to-text
text image audio video > text image audio video: any-to-any
"""
_MODALITIES = {name: pair.split(">") for pair, words in read_table(_INPUTS_OUTPUTS) for name in words.split()}

_RENAMED = {"refinedweb": "falcon", "refinedwebmodel": "falcon", "hf_olmo": "olmo", "gptneox": "gpt_neox"}
_MODEL_TYPES = """
aquila arctic baichuan bart bert bitnet blip bloom bloomz camembert chatglm clip codegen cohere command-r dbrx
deberta deberta-v2 deepseek deepseek_v2 deepseek_v3 distilbert electra ernie4_5 exaone exaone4 falcon falcon_h1
falcon_mamba flux gemma gemma2 gemma3 gemma3n glm glm4 gpt2 gpt_bigcode gpt_neo gpt_neox gpt_oss gptj granite
granitemoe hf_olmo internlm internlm2 jamba llama llama4 llava m2m_100 mamba marian mbart minicpm minimax_m2
mistral mistral3 mixtral modernbert mpt mt5 nemotron olmo olmo2 olmo3 olmoe opt pegasus persimmon phi phi3
phimoe plamo qwen qwen2 qwen2_5_vl qwen2_moe qwen2_vl qwen3 qwen3_moe qwen3_vl refinedweb refinedwebmodel
roberta rwkv smollm3 speecht5 stablelm starcoder2 t5 vit wav2vec2 whisper xlm-roberta yi
"""
_FAMILIES = frozenset(_MODEL_TYPES.split())


def task(stated: str) -> str:
    """Return a task in the Hub's words."""
    return _AZURE_TASKS.get(stated.strip().lower(), stated.strip().lower())


def is_chat(stated: str) -> bool:
    """Return whether a catalog's task means a model to talk with."""
    return stated.strip().lower() in _CHAT_TASKS


@cache
def modalities(of_task: str | None) -> Modalities | None:
    """Return what a task takes and gives, or None for a task that does not say."""
    pair = _MODALITIES.get(of_task or "")
    return Modalities(input=tuple(pair[0].split()), output=tuple(pair[1].split())) if pair else None


def language(stated: Any) -> str | None:
    """Return a stated code, or that of a stated name.

    YAML 1.1 reads Norwegian's "no" as False.
    """
    if stated is False:
        return "no"
    if not isinstance(stated, str) or not (text := stated.strip().lower()) or len(text) > _LONGEST_LANGUAGE:
        return None
    is_code = len(text) < _LEAST_NAME or "-" in text
    return text if is_code else languages.name_code(text) or text


def family(model_type: str | None, tags: Iterable[str] = ()) -> str | None:
    """Return the family: the config's model type, else the tag that is one.

    The Hub turns `model_type` into a tag, so the tag says the same where the config is not shown.
    """
    stated = model_type or next((tag for tag in tags if tag.lower() in _FAMILIES), None)
    return _RENAMED.get(stated.lower(), stated.lower()) if stated else None
