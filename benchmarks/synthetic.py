"""Rows like those of the Hub's listing, as many as wanted: real-looking names and tags, a long tail."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

_SYLLABLES = [
    "ka",
    "to",
    "mi",
    "ra",
    "ven",
    "lo",
    "sha",
    "dex",
    "nor",
    "pri",
    "tal",
    "mu",
    "zen",
    "ex",
    "li",
    "on",
    "ar",
    "be",
    "cy",
    "dan",
    "el",
    "fa",
    "go",
    "hi",
    "ju",
    "kim",
    "lu",
    "nex",
]
_FAMILIES = (
    ("Llama-2", "meta-llama", ("7b", "13b", "70b"), "llama2", "llama", 9),
    ("Llama-3", "meta-llama", ("8B", "70B"), "llama3", "llama", 9),
    ("Llama-3.1", "meta-llama", ("8B", "70B"), "llama3.1", "llama", 10),
    ("Llama-3.2", "meta-llama", ("1B", "3B"), "llama3.2", "llama", 8),
    ("Mistral", "mistralai", ("7B",), "apache-2.0", "mistral", 10),
    ("Mixtral", "mistralai", ("8x7B",), "apache-2.0", "mixtral", 2),
    ("Qwen2.5", "Qwen", ("0.5B", "1.5B", "3B", "7B", "14B", "32B"), "apache-2.0", "qwen2", 16),
    ("Qwen3", "Qwen", ("0.6B", "1.7B", "4B", "8B", "14B"), "apache-2.0", "qwen3", 14),
    ("gemma-2", "google", ("2b", "9b", "27b"), "gemma", "gemma2", 6),
    ("gemma-3", "google", ("1b", "4b", "12b", "27b"), "gemma", "gemma3", 6),
    ("phi-2", "microsoft", ("",), "mit", "phi", 3),
    ("Phi-3-mini", "microsoft", ("4k", "128k"), "mit", "phi3", 3),
    ("DeepSeek-R1-Distill", "deepseek-ai", ("Qwen-7B", "Llama-8B"), "mit", "qwen2", 4),
    ("falcon", "tiiuae", ("7b", "40b"), "apache-2.0", "falcon", 1),
    ("TinyLlama", "TinyLlama", ("1.1B",), "apache-2.0", "llama", 2),
    ("SmolLM2", "HuggingFaceTB", ("135M", "360M", "1.7B"), "apache-2.0", "llama", 2),
    ("bert-base-uncased", "google-bert", ("",), "apache-2.0", "bert", 9),
    ("distilbert-base-uncased", "distilbert", ("",), "apache-2.0", "distilbert", 9),
    ("roberta-base", "FacebookAI", ("",), "mit", "roberta", 5),
    ("wav2vec2-large-xlsr", "facebook", ("53", "300m"), "apache-2.0", "wav2vec2", 4),
    ("whisper-small", "openai", ("",), "apache-2.0", "whisper", 4),
    ("vit-base-patch16-224", "google", ("",), "apache-2.0", "vit", 3),
    ("t5-small", "google-t5", ("",), "apache-2.0", "t5", 3),
    ("stable-diffusion-xl", "stabilityai", ("base-1.0",), "openrail++", "", 6),
    ("FLUX.1-dev", "black-forest-labs", ("",), "other", "", 7),
    ("ppo-LunarLander-v2", "", ("",), "", "", 5),
    ("gpt2", "openai-community", ("", "medium"), "mit", "gpt2", 4),
)
_TASKS = {
    "bert": "text-classification", "distilbert": "text-classification", "roberta": "token-classification",
    "wav2vec2": "automatic-speech-recognition", "whisper": "automatic-speech-recognition",
    "vit": "image-classification", "t5": "summarization", "": "text-to-image",
}  # fmt: skip
# How names on the Hub are made: a few words are in very many of them, a subject in few.
_COMMON = {
    "finetuned": 25, "instruct": 20, "lora": 12, "v2": 12, "chat": 8, "sft": 8, "test": 8, "dpo": 6, "merged": 6,
    "v3": 5,
}  # fmt: skip
_SUBJECTS = """
code math medical legal finance roleplay uncensored abliterated reasoning japanese german korean arabic hindi vietnamese
thai emotion sentiment ner squad imdb cola mnli dolly alpaca orca wizard hermes guanaco platypus airoboros summarizer
translator sql agent tools
"""
_PURPOSES = (*_COMMON, *_SUBJECTS.split())
_WEIGHTS = list(accumulate(_COMMON.get(word, 0.5) for word in _PURPOSES))
_LANGUAGES = ("en", "zh", "ja", "de", "fr", "es", "ko", "ru", "ar", "hi", "pt", "it", "vi", "th", "nl")
_SPEAKERS = list(accumulate((70, 8, 2, 2, 2, 2, 1, 2, 1, 1, 1, 1, 1, 0.5, 0.5)))
_QUANTS = ("GGUF", "GPTQ", "AWQ", "4bit", "8bit", "i1-GGUF", "Q4_K_M-GGUF", "exl2", "MLX-4bit", "bnb-4bit")
_RELATIONS = ("finetune", "quantized", "adapter", "merge", "")
_UNITS = {"b": 10**9, "m": 10**6}


def rows(count: int, seed: int = 7) -> Iterator[dict[str, Any]]:
    """Yield rows; the same for the same seed."""
    draw = random.Random(seed)
    weights = list(accumulate(family[5] for family in _FAMILIES))
    for number in range(count):
        family = draw.choices(_FAMILIES, cum_weights=weights)[0]
        relation = draw.choices(_RELATIONS, cum_weights=(45, 65, 80, 84, 100))[0]
        yield _row(draw, number, family, relation)


def _author(draw: random.Random) -> tuple[str, bool]:
    """Return an account, and whether it has many models."""
    # A few accounts convert everything; most have one or two models.
    if draw.random() < 0.12:
        return draw.choice(("TheBloke", "mradermacher", "bartowski", "unsloth", "mlx-community", "QuantFactory")), True
    rank = int(draw.paretovariate(0.35)) % 700_000
    local = random.Random(rank)
    name = "".join(local.choices(_SYLLABLES, k=local.randint(2, 4))) + (str(rank % 97) if rank % 3 else "")
    return name, rank < 5_000


def _rank(draw: random.Random, most: int) -> int:
    return int(draw.paretovariate(0.4)) % most


def _dataset(draw: random.Random) -> str:
    rank = _rank(draw, 150_000)
    return f"{_PURPOSES[rank % len(_PURPOSES)]}/{_PURPOSES[rank // 7 % len(_PURPOSES)]}-{rank}"


def _row(draw: random.Random, number: int, family: tuple[Any, ...], relation: str) -> dict[str, Any]:
    name, maker, sizes, license_, kind, _ = family
    size = draw.choice(sizes)
    base = f"{name}-{size}" if size else name
    author, has_many = _author(draw)
    words = [base, *_words(draw, number, relation, has_many=has_many)]
    task = _TASKS.get(kind, "text-generation")
    if not relation and not kind:
        task = draw.choice(("reinforcement-learning", "text-generation"))
    listed = _tags(draw, task, kind, weights="gguf" if "GGUF" in words[-1] else "safetensors")
    if relation and maker:
        listed += [f"base_model:{maker}/{base}", f"base_model:{relation}:{maker}/{base}"]
    listed += _sources(draw)
    spoken = []
    if draw.random() < 0.45:
        spoken = sorted(set(draw.choices(_LANGUAGES, cum_weights=_SPEAKERS, k=draw.choice((1, 1, 1, 2)))))
    stated = license_ if license_ and draw.random() < 0.7 else draw.choice(("", "mit", "apache-2.0", "other"))
    if stated:
        listed.append(f"license:{stated}")
    # What is downloaded or liked more than that is nearly always well known, and in the table of facts.
    downloads = int(min(draw.paretovariate(0.75) - 1, 8_000)) if draw.random() < 0.75 else draw.randint(0, 12)
    month = draw.randint(1, 56)
    return {
        "id": f"{author}/{'-'.join(words)}",
        "pipeline_tag": task,
        "library_name": listed[0],
        "tags": [*listed, *spoken],
        "downloads": downloads,
        "likes": int(downloads**0.35 * draw.random()) if downloads > 20 else 0,
        "gated": False if draw.random() < 0.97 else "manual",
        "private": False,
        "createdAt": f"{2022 + month // 12}-{month % 12 + 1:02}-{draw.randint(1, 28):02}T00:00:00.000Z",
        "lastModified": f"{2022 + (month + 1) // 12}-{(month + 1) % 12 + 1:02}-{draw.randint(1, 28):02}T00:00:00.000Z",
        "safetensors": {"total": _parameters(base, draw)} if relation in ("finetune", "merge", "") and kind else None,
    }


def _words(draw: random.Random, number: int, relation: str, *, has_many: bool) -> list[str]:
    purpose, second = draw.choices(_PURPOSES, cum_weights=_WEIGHTS, k=2)
    if relation == "quantized":
        words = [*([purpose] if draw.random() < 0.6 else ()), draw.choice(_QUANTS)]
    else:
        words = [purpose, *([second] if draw.random() < 0.4 else ())]
    if has_many or draw.random() < 0.6:
        # What tells one of somebody's many experiments from the next.
        words.insert(0, "".join(draw.choices(_SYLLABLES, k=2)) + str(number % 100_000))
    return words


def _tags(draw: random.Random, task: str, kind: str, *, weights: str) -> list[str]:
    listed = [draw.choice(("transformers", "transformers", "peft", "diffusers")), weights, *([kind] if kind else ())]
    if task == "text-generation" and draw.random() < 0.6:
        listed.append("conversational")
    if draw.random() < 0.3:
        listed.append("generated_from_trainer")
    return listed


def _sources(draw: random.Random) -> list[str]:
    listed = []
    if draw.random() < 0.2:
        listed.append(f"dataset:{_dataset(draw)}")
    if draw.random() < 0.15:
        paper = _rank(draw, 30_000)
        listed.append(f"arxiv:{1900 + paper % 700}.{paper:05}")
    return listed


def _parameters(base: str, draw: random.Random) -> int:
    size = base.rpartition("-")[2].lower()
    digits = size[:-1]
    if size[-1:] in _UNITS and digits.replace(".", "", 1).isdigit():
        return round(float(digits) * _UNITS[size[-1]] * draw.uniform(0.96, 1.08))
    return draw.choice((66_955_010, 109_483_778, 124_647_170, 244_000_000))
