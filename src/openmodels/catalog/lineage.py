"""What a model was probably made from, where it does not declare it."""

import re
from collections.abc import Iterable
from itertools import takewhile

from pydantic import Field

from openmodels.catalog import languages
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.record import ModelRecord, source_of
from openmodels.catalog.search import synonyms
from openmodels.hub import model_names
from openmodels.hub.card import Relation, find_base_mentions, find_model_links
from openmodels.hub.model_names import distinguishing_terms
from openmodels.types.messages import Frozen

_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bm]")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_TUNED = frozenset(["chat", "instruct", "it", "sft", "dpo", "rlhf", "assistant", "instruction", "finetuned"])
_GENERIC = frozenset((*_TUNED, *synonyms.WORDS, "open", "pro", "all", "top", "new"))

# Licenses that are granted with one family only: whoever uses one has built on that family.
GRANTED = {
    "llama2": ("meta-llama", ("llama", "2")),
    "llama3": ("meta-llama", ("llama", "3")),
    "llama3.1": ("meta-llama", ("llama", "3.1")),
    "llama3.2": ("meta-llama", ("llama", "3.2")),
    "llama3.3": ("meta-llama", ("llama", "3.3")),
    "llama4": ("meta-llama", ("llama", "4")),
    "gemma": ("google", ("gemma",)),
}


class Edge(Frozen):
    """A model and one it was made from."""

    child: str  # Hub id
    parent: str  # Hub id
    relation: Relation | None = None  # how; None where nothing says
    confidence: float = Field(ge=0, le=1)  # 1 for what the model declares, less for what is inferred
    evidence: tuple[str, ...]  # what says so


def declared(record: ModelRecord) -> list[Edge]:
    """Return the edges to the bases that a model declares, in its card or its tags."""
    return [
        Edge(child=record.id, parent=base.id, relation=base.relation, confidence=1, evidence=("declared base_model",))
        for base in record.base_models or ()
        if base.id.lower() != record.id.lower()
    ]


def inferred(record: ModelRecord, index: Index, card: str | None = None) -> list[Edge]:
    """Return the edges to what a model that declares no base was probably made from.

    Only the strongest kind of evidence counts, in this order: the path its config was loaded from, the prose of
    its card, its name, its license.
    """
    if record.trained_from:
        edges = [_edge(record, record.trained_from, 0.9, f"config: _name_or_path is {record.trained_from}")]
    else:
        edges = _infer_from_prose(record, index, card) if card else []
    named = _infer_from_name(record, index, set(find_model_links(card)) if card else set())
    if not edges:
        return [named] if named else _infer_from_license(record, index)
    # Two kinds of evidence for the same edge are more than one.
    return [
        edge.model_copy(
            update={"confidence": min(0.95, edge.confidence + 0.1), "evidence": edge.evidence + named.evidence}
        )
        if named and named.parent.lower() == edge.parent.lower()
        else edge
        for edge in edges
    ]


def _infer_from_prose(record: ModelRecord, index: Index, card: str) -> list[Edge]:
    mentions = find_base_mentions(card, record.id)
    parents = [
        mention.name if "/" in mention.name else _find_by_bare_name(mention.name, index) or "" for mention in mentions
    ]
    no_bases = {"", record.id.lower(), *(name.lower() for name in record.datasets or ())}
    edges = [
        _edge(record, parent, mention.confidence, f"card: {mention.sentence!r}", mention.relation)
        for mention, parent in zip(mentions, parents, strict=True)
        if parent.lower() not in no_bases
    ]
    return list(takewhile(lambda edge: edge.confidence == edges[0].confidence, edges))[:3]


def _find_by_bare_name(name: str, index: Index) -> str | None:
    """Return the best-known original that a bare name in prose means, or None.

    Its name has all the distinguishing words, and no others.
    """
    terms = distinguishing_terms(name)
    if not any(word.isalpha() for word in terms):
        return None
    return next(
        (record.id for record in _originals(index, sorted(terms)) if distinguishing_terms(record.id) == terms), None
    )


def _originals(index: Index, tokens: Iterable[str]) -> list[ModelRecord]:
    """Return the most popular originals whose names have all tokens."""
    numbers = index.match(" AND ".join(f'"{token}"' for token in tokens), limit=100)
    return [record for record in index.records(numbers).values() if not codec.is_variant(record)]


def _infer_from_name(record: ModelRecord, index: Index, linked: set[str]) -> Edge | None:
    terms = distinguishing_terms(record.id)
    sizes = _sizes(terms)
    numbers: list[int] = []
    for word in sorted(_telling(terms)):
        if len(word) > 2:
            expressions = (f'"{word}"', *(f'"{word}" AND "{size}"' for size in sorted(sizes)))
            numbers += [number for expression in expressions for number in index.match(expression, limit=100)]
    best: tuple[float, int, str] | None = None
    for number, other in index.records(dict.fromkeys(numbers)).items():
        confidence = _name_confidence(record, other, terms, sizes, linked)
        if confidence is not None and (best is None or (confidence, -number) > best[:2]):
            best = confidence, -number, other.id
    if best is None:
        return None
    shared = [word for word in model_names.search_terms(best[2].rpartition("/")[2]) if word in terms]
    return _edge(record, best[2], best[0], f"name: holds {' '.join(shared)!r}")


def _name_confidence(
    record: ModelRecord, other: ModelRecord, terms: frozenset[str], sizes: set[str], linked: set[str]
) -> float | None:
    """Return the confidence that `other` is the base; None where it cannot be."""
    other_terms = distinguishing_terms(other.id)
    missing, shared = other_terms - terms, other_terms & terms
    missing_sizes = _sizes(missing)
    same_author = (record.author or "").lower() == (other.author or "").lower()
    same_family = record.family is not None and record.family == other.family
    granted = {id_ for model in (record, other) if model.license and (id_ := model.license.id) in GRANTED}
    if (
        other.id.lower() == record.id.lower()
        or other_terms == terms
        or codec.is_variant(other)
        or (record.family and other.family and not same_family)
        or (record.created and other.created and other.created > record.created)
        or any(base.id.lower() == record.id.lower() for base in other.base_models or ())
        or not _has_similar_size(record, other)
        or len(granted) > 1
        or (_versions(missing) and _versions(terms - other_terms))
        or not _telling(shared)
        # A size left out and nothing else: "gpt4all-falcon" says falcon, not which.
        or not (len(shared) > 1 or same_author or other.id in linked or (same_family and not sizes))
        or any(not _NUMBER.fullmatch(word) for word in missing - missing_sizes)
        or (missing_sizes and sizes)
        or (same_author and not _TUNED & terms)
    ):
        return None
    confidence = 0.45 + 0.1 * min(3, len(shared) - 1) - 0.2 * len(missing)
    confidence += 0.1 * same_family + 0.15 * (other.id in linked)
    return round(max(0.2, min(confidence, 0.8)), 2)


def _infer_from_license(record: ModelRecord, index: Index) -> list[Edge]:
    license_id = record.license.id if record.license else ""
    owner, words = GRANTED.get(license_id, ("", ()))
    if not owner or (record.author or "").lower() == owner:
        return []
    is_tuned = bool(_TUNED & distinguishing_terms(record.id))
    candidates = [
        other
        for other in _originals(index, (codec.author_token(owner), *words))
        if not (record.family and other.family and record.family != other.family)
        and (is_tuned or not _TUNED & distinguishing_terms(other.id))
    ]
    size = record.parameters.total if record.parameters else None

    def distance(other: ModelRecord) -> float:
        total = other.parameters.total if other.parameters else None
        return abs(total - size) / max(total, size) if total and size else 1.0

    nearest = min(candidates, key=distance, default=None)
    if nearest is None:
        return []
    why = f"license: {license_id} is granted with that family only; the nearest in size"
    return [_edge(record, nearest.id, 0.5 if distance(nearest) < 0.35 else 0.3, why)]


def _has_similar_size(record: ModelRecord, other: ModelRecord) -> bool:
    """Return whether the numbers of parameters agree, but for one from a name."""
    counts = [
        model.parameters.total
        for model in (record, other)
        if model.parameters and model.parameters.total and source_of(model, "parameters") != "name"
    ]
    return len(counts) < 2 or min(counts) >= 0.8 * max(counts)


def _sizes(words: Iterable[str]) -> set[str]:
    return {word for word in words if _SIZE.fullmatch(word)}


def _telling(words: Iterable[str]) -> set[str]:
    return {word for word in words if word.isalpha() and word not in _GENERIC and not languages.code_of(word)}


def _versions(words: Iterable[str]) -> set[str]:
    return {word for word in words if "." in word and _NUMBER.fullmatch(word)}


def _edge(record: ModelRecord, parent: str, confidence: float, why: str, relation: Relation = "finetune") -> Edge:
    return Edge(child=record.id, parent=parent, relation=relation, confidence=confidence, evidence=(why,))
