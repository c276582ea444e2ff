"""Model cards: the front matter, and what the prose says a model was made from."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from openmodels import files
from openmodels.catalog.record import Relation

_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_ID = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*[A-Za-z0-9]"
_LINKED = re.compile(rf"huggingface\.co/({_ID})(?=[)\s\]>\"'#?]|$|/(?:tree|blob)/)")
_NAMED = re.compile(rf"(?<![\w./:@-])({_ID})(?![\w/])")
_BARE = re.compile(r"(?<![\w./-])([A-Z][\w.]*(?:-[\w.]*\w)+)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\[*_#-])|\n+")
_MADE_FROM = re.compile(
    r"\bfine-?\s?tuned?\s+(?:\w+\s+){0,4}?(?:from|of|on top of|version of|variant of|using)\b|\bfinetuned from\b"
    r"|\bfine-?\s?tun(?:ed|e|ing)\b|\bbase[ _-]?model\b|\bbased (?:up)?on\b|\bbuilt (?:up)?on\b"
    r"|\binitiali[sz]ed (?:from|with)\b"
    r"|\bfurther (?:pre-?)?train(?:ed|ing)\b|\bcontinu(?:ed|al|ous|es)\b.{0,30}\b(?:pre-?)?train|\bderived from\b"
    r"|\bpre-?trained (?:from|on top of)\b|\bfoundation model\b|\bexpan(?:ded|sion) (?:of|from)\b|\bversion of\b",
    re.IGNORECASE,
)
_RELATIONS: tuple[tuple[re.Pattern[str], Relation], ...] = (
    (re.compile(r"\bquanti[sz]|\bgguf\b|\bgptq\b|\bawq\b", re.IGNORECASE), "quantized"),
    (re.compile(r"\bmerge", re.IGNORECASE), "merge"),
    (re.compile(r"\bdistill", re.IGNORECASE), "distilled"),
    (re.compile(r"\b(?:q?lora|adapter)\b", re.IGNORECASE), "adapter"),
)
_PLACES = ("datasets/", "spaces/", "docs/", "papers/", "blog/", "collections/", "organizations/", "learn/")
_MOST = 200_000
_LONGEST = 2_000
_LONGEST_MATTER = 100_000
_MOST_VALUES = 20_000


@dataclass(frozen=True, slots=True)
class Mention:
    """A model that a card says its own was made from.

    Attributes:
        name: A hub id, or a model's name alone.
        relation: How, as far as the sentence says.
        sentence: The sentence, shortened.
        confidence: From 0 to 1.
    """

    name: str
    relation: Relation
    sentence: str
    confidence: float


def front_matter(card: str) -> dict[str, Any]:
    """Return the front matter of a card; {} for one that has none or none that can be read."""
    found = _MATTER.match(card[:_MOST])
    if not found:
        return {}
    import yaml  # huggingface_hub's own dependency

    # libyaml, where PyYAML was built with it, reads a hundred kilobytes in a tenth of a second, else in ten.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        read = yaml.load(found[1][:_LONGEST_MATTER], Loader=loader)  # noqa: S506 - both are safe loaders
        # A few hundred bytes of aliases stand for billions of values.
        if not isinstance(read, dict) or not _is_small(read):
            return {}
        plain: dict[str, Any] = json.loads(json.dumps(read, default=str, skipkeys=True))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, IndexError, KeyError, RecursionError):
        return {}
    return plain


def _is_small(value: Any) -> bool:
    """Return whether a value holds at most `_MOST_VALUES`, those that aliases repeat counted each time."""
    level, count = [value], 0
    for _ in range(files.DEEPEST):
        level = [
            child
            for item in level
            if isinstance(item, dict | list | tuple | set)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        count += len(level)
        if not level or count > _MOST_VALUES:
            break
    return not level and count <= _MOST_VALUES


def bases(card: str, own_id: str) -> list[Mention]:
    """Return the models that the prose of a card says its model was made from, the likeliest first."""
    prose = _MATTER.sub("", card[:_MOST])
    found: dict[str, Mention] = {}
    for whole in _SENTENCE.split(prose):
        sentence = whole[:_LONGEST]
        if not (said := _MADE_FROM.search(sentence)):
            continue
        linked = [one for one in _LINKED.findall(sentence) if not one.startswith(_PLACES)]
        named = [one for one in _NAMED.findall(re.sub(r"https?://\S+", " ", sentence)) if _is_model(one, sentence)]
        bare = [] if linked or named else _BARE.findall(sentence[said.start() :])
        for name, confidence in (*((one, 0.8) for one in (*linked, *named)), *((one, 0.6) for one in bare)):
            if name.lower() == own_id.lower() or name.lower() == own_id.rpartition("/")[2].lower():
                continue
            mention = Mention(name, _relation(sentence), " ".join(sentence.split())[:200], confidence)
            if name not in found or found[name].confidence < confidence:
                found[name] = mention
    return sorted(found.values(), key=lambda one: -one.confidence)


def links(card: str) -> list[str]:
    """Return the hub ids of models that a card links to, in order."""
    return list(dict.fromkeys(one for one in _LINKED.findall(card[:_MOST]) if not one.startswith(_PLACES)))


def _is_model(name: str, sentence: str) -> bool:
    # "datasets X/Y" and "trained with A/B" name data; an id after such a word is not a base.
    before = sentence[: sentence.find(name)][-40:].lower()
    return not re.search(r"\b(?:data|dataset|datasets|corpus|on|with)\b[^.]{0,20}$", before) or bool(
        re.search(r"\b(?:top of|based (?:up)?on|built (?:up)?on|model)\b[^.]{0,20}$", before)
    )


def _relation(sentence: str) -> Relation:
    return next((relation for pattern, relation in _RELATIONS if pattern.search(sentence)), "finetune")
