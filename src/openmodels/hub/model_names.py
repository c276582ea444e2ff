"""What the names of models, data sets and repositories say.

Their words, a model's family and size, whether the name is that of a fine-tune or a conversion, and
whether two names belong together.
"""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files
from itertools import chain

_PIECES = re.compile(r"[^\W_]+(?:\.\d+[^\W_]*)*")
_RUNS = re.compile(r"\d+(?:\.\d+)*|[^\W\d_]+")
_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bmk]t?|[a-z]\d+(?:\.\d+)?b?|\d+bit|\d+e", re.ASCII)
_SIZE_AT_END = re.compile(r"(?<=[^\W\d_])\d+(?:\.\d+)?[bm]$", re.ASCII)
_VERSION = re.compile(r"^[vV](?=\d)")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_PARAMETERS = re.compile(
    r"(?<![a-z0-9.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,3})?)([bm])(?=x\d{1,3}e|(?![a-z0-9]))", re.ASCII
)
_ACTIVE = re.compile(r"(?<![a-z0-9])a(\d{1,4}(?:\.\d{1,2})?)([bm])(?![a-z0-9])", re.ASCII)
# "16E" is a number of experts, "2e-5" a learning rate.
_EXPERTS = re.compile(r"(?:(?<![a-z0-9.])|(?<=[bm]x))\d{1,3}e(?:xperts?)?(?![a-z0-9]|-\d\d?(?!\d))", re.ASCII)
_UNIT = {"m": 10**6, "b": 10**9}

_CONVERSIONS = """
gguf ggml gptq awq exl2 exl3 mlx bnb onnx openvino ov gptqmodel autoround autogptq hqq aqlm imatrix i1 ggmlv3
4bit 8bit 6bit 5bit 3bit 2bit int4 int8 fp8 nf4 nvfp4 mxfp4 w4a16 w8a8 w8a16 q2 q3 q4 q5 q6 q8 quantized
"""
CONVERSION = frozenset(_CONVERSIONS.split())
"""Words in names and tags that mark a conversion of another model's weights."""

NOISE = frozenset({"hf", "v", "model", "base", "pretrained", "pt", "the", "preview", "it", "official"})
"""Words that do not tell one model of a family from another."""

_SIZE_OR_VERSION = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bmkt]|v?\d+(?:\.\d+)*|a\d+b", re.IGNORECASE)
# Words in a model's name that say how it was made, not which family it belongs to.
_TUNED = (
    "chat|instruct|instruction|it|sft|dpo|orpo|kto|ppo|rlhf|rl|rlvr|grpo|simpo|ultra|assistant|thinking|reasoning|"
    "aligned|tuned|finetuned|tool|tools|function"
)
_OTHER = (
    "base|pretrained|pt|hf|preview|beta|alpha|mini|small|medium|large|xl|xxl|tiny|nano|pro|lite|commercial|research"
)
_TUNED_WORD = re.compile(rf"(?:{_TUNED})(?:v?\d[\d.]*)?", re.IGNORECASE)
_SKIPPED = re.compile(rf"(?:{_TUNED}|{_OTHER})(?:v?\d[\d.]*)?", re.IGNORECASE)
_GLUED = re.compile(r"(?<=[a-z\d]{3})(Chat|Instruct|Base)$")


@lru_cache(maxsize=16_384)
def search_terms(name: str) -> tuple[str, ...]:
    """Return the words of a name in lower case, without repetition.

    "SmolLM2-135M" gives smollm, 2, 135m and smol; "BioMistral" biomistral, bio and mistral;
    "Llama-3.1" llama, 3.1 and 3.
    """
    return tuple(dict.fromkeys(chain.from_iterable(map(_piece_terms, _PIECES.findall(name)))))


@lru_cache(maxsize=16_384)
def _piece_terms(piece: str) -> tuple[str, ...]:
    """Return the words of a piece between separators; most pieces are in many names."""
    piece = _VERSION.sub("", piece)  # "v0.1" and "0.1" are the same word
    low = piece.lower()
    if _SIZE.fullmatch(low):
        return (low,)
    terms: list[str] = []
    if tail := _SIZE_AT_END.search(low):
        terms.append(tail.group())
        piece = piece[: tail.start()]
    for run in _RUNS.findall(piece):
        terms += _run_terms(run)
    return tuple(terms)


def _run_terms(run: str) -> list[str]:
    low = run.lower()
    if low == "v":
        return []
    if low[0].isdigit():
        major = low.partition(".")[0]
        return [low] if major in {low, "0"} else [low, major]
    parts = [part.lower() for part in _CAMEL.findall(run)] if len(low) > 5 and not run.islower() else []
    return [low, *(part for part in parts if len(part) > 2)] if len(parts) > 1 else [low]


def parameter_counts(name: str) -> tuple[int | None, int | None]:
    """Return the total and active parameters by a name, None where it is silent.

    The size before a number of experts ("17B-16E") is the active one, and that of an expert ("8x7B") is neither. Of
    two sizes of a mixture ("MoE-1B-7B") the larger is the total.
    """
    low = name.lower().replace("_", "-")
    sizes = sorted(round(float(match[2]) * _UNIT[match[3]]) for match in _PARAMETERS.finditer(low) if not match[1])
    total = sizes[-1] if sizes else None
    if active := _ACTIVE.search(low):
        return total, round(float(active[1]) * _UNIT[active[2]])
    if len(sizes) == 2 and (_EXPERTS.search(low) or "moe" in low):
        return total, sizes[0]
    return (None, total) if _EXPERTS.search(low) else (total, None)


def is_conversion(name: str) -> bool:
    """Return whether a name says that the weights are another model's, converted."""
    return not CONVERSION.isdisjoint(search_terms(name)) or not CONVERSION.isdisjoint(name.lower().split("-"))


def has_conversion_tag(tags: Iterable[str]) -> bool:
    """Return whether a tag in lower case marks a conversion."""
    return not CONVERSION.isdisjoint(tag.replace("-", "") for tag in tags)


def distinguishing_terms(name: str) -> frozenset[str]:
    """Return the words that tell a model from the others of its family."""
    return frozenset(search_terms(name.rpartition("/")[2])) - NOISE


def normalize_name(name: str) -> str:
    """Return the letters and digits of a name in lower case ("thepile2")."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def strip_version(name: str) -> str:
    """Return the normalized name without figures at its end ("thepile")."""
    return normalize_name(name).rstrip("0123456789")


def split_words(name: str) -> list[str]:
    """Split a repository's name into its words, a glued "Chat" or "Instruct" apart."""
    parts: list[str] = []
    for part in re.split(r"[-_\s/]+", name):
        parts += _GLUED.sub(r" \1", part).split()
    return parts


def split_repo_id(repo: str) -> tuple[str, str]:
    """Return owner and name of "owner/name"; the owner is "" for a name alone."""
    owner, slash, name = repo.partition("/")
    return (owner, name) if slash else ("", owner)


def is_generic_word(word: str) -> bool:
    """Return whether a word is a size, version, conversion or way of tuning."""
    return word.lower() in CONVERSION | NOISE or any(p.fullmatch(word) for p in (_SIZE_OR_VERSION, _SKIPPED))


def is_tuned_name(repo: str) -> bool:
    """Return whether a model's name says that it was fine-tuned."""
    return any(_TUNED_WORD.fullmatch(word) for word in split_words(split_repo_id(repo)[1])[1:])


def family(repo: str) -> str:
    """Return "smollm2", the normalized family, for "org/SmolLM2-135M-Instruct"."""
    kept: list[str] = []
    for word in split_words(split_repo_id(repo)[1]):
        if kept and (_SIZE_OR_VERSION.fullmatch(word) or _SKIPPED.fullmatch(word)):
            break
        kept.append(word)
        if len(normalize_name("".join(kept))) >= 4:
            break
    return normalize_name("".join(kept))


def same_owner(first: str, second: str) -> bool:
    """Return whether two accounts are one owner's: the same, or declared so.

    Names that merely look alike ("Qwen" and "QwenFans") are strangers: anybody can take such a name.
    """
    first, second = first.lower(), second.lower()
    return bool(first) and (first == second or _ORGANISATION.get(first, first) == _ORGANISATION.get(second, second))


_ACCOUNTS = json.loads((files("openmodels.hub") / "accounts.json").read_text(encoding="utf-8"))["accounts"]
_ORGANISATION: dict[str, str] = {account: source for source, accounts in _ACCOUNTS.items() for account in accounts}
"""The pages that show an account's organisation, by account."""


def accounts_of(account: str) -> tuple[str, ...]:
    """Return the accounts in lower case of the organisation that has an account."""
    page = _ORGANISATION.get(account.lower())
    return tuple(other for other, source in _ORGANISATION.items() if page and source == page)


def mentions(text: str, name: str) -> bool:
    """Return whether a word of a text or path begins with a family's name."""
    if len(name) < 3:
        return False
    loose = r"[-_.\s]?".join(map(re.escape, name))
    return re.search(rf"(?<![a-z0-9]){loose}(?![a-z])", text.lower()) is not None
