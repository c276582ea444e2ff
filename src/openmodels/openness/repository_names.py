"""What a repository's name says: the family of a model, its stage, whether two names belong together."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bmkt]|v?\d+(?:\.\d+)*|a\d+b", re.IGNORECASE)
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


def plain(name: str) -> str:
    """Return the letters and digits of a name, lower case: "The_Pile-2" -> "thepile2"."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def words(name: str) -> list[str]:
    """Split a repository's name into its words, a glued "Chat" or "Instruct" apart."""
    parts: list[str] = []
    for part in re.split(r"[-_\s/]+", name):
        parts += _GLUED.sub(r" \1", part).split()
    return parts


def split(repo: str) -> tuple[str, str]:
    """Return owner and name of "owner/name"; the owner is "" for a name alone."""
    owner, slash, name = repo.partition("/")
    return (owner, name) if slash else ("", owner)


def is_tuned_name(repo: str) -> bool:
    """Return whether a model's name says that it was fine-tuned."""
    return any(_TUNED_WORD.fullmatch(word) for word in words(split(repo)[1])[1:])


def family(repo: str) -> str:
    """Return the plain name of a model's family: "org/SmolLM2-135M-Instruct" -> "smollm2"."""
    kept: list[str] = []
    for word in words(split(repo)[1]):
        if kept and (_SIZE.fullmatch(word) or _SKIPPED.fullmatch(word)):
            break
        kept.append(word)
        if len(plain("".join(kept))) >= 4:
            break
    return plain("".join(kept))


def stem(text: str) -> str:
    """Return a plain name without the digits at its end: "smollm2" -> "smollm"."""
    return re.sub(r"\d+$", "", text)


def same_owner(one: str, other: str) -> bool:
    """Return whether two account names look like the same owner's ("name" and "name-project")."""
    a, b = sorted((plain(one), plain(other)), key=len)
    return bool(a) and (a == b or (len(a) >= 4 and b.startswith(a)))


def mentions(text: str, name: str) -> bool:
    """Return whether a plain family name occurs in a text or path as a word's beginning."""
    if len(name) < 3:
        return False
    loose = r"[-_.\s]?".join(map(re.escape, name))
    return re.search(rf"(?<![a-z0-9]){loose}(?![a-z])", text.lower()) is not None
