"""What a model was probably made from, where it does not declare it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pydantic import Field

from openmodels.catalog import vocabulary
from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.record import Fact, ModelRecord
from openmodels.catalog.search import synonyms
from openmodels.hub import model_names
from openmodels.hub.card import Relation, find_base_mentions, find_model_links

_SIZE = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bm]")
_NUMBER = re.compile(r"\d+(?:\.\d+)*")
_TUNED = frozenset(["chat", "instruct", "it", "sft", "dpo", "rlhf", "assistant", "instruction", "finetuned"])
_GENERIC = frozenset((*_TUNED, *vocabulary.LANGUAGES, *synonyms.WORDS, "open", "pro", "all", "top", "new"))

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


class Edge(Fact):
    """A model and one it was made from.

    Attributes:
        child: Hub id.
        parent: Hub id.
        relation: How; None where nothing says.
        confidence: 1 for what the model declares, less for what is inferred.
        evidence: What says so.
    """

    child: str
    parent: str
    relation: Relation | None = None
    confidence: float = Field(ge=0, le=1)
    evidence: tuple[str, ...]


def declared(record: ModelRecord) -> list[Edge]:
    """Return the edges to the bases that a model declares, in its card or its tags."""
    return [
        Edge(child=record.id, parent=base.id, relation=base.relation, confidence=1, evidence=("declared base_model",))
        for base in record.base_models or ()
        if base.id.lower() != record.id.lower()
    ]


def inferred(record: ModelRecord, index: Index, card: str | None = None) -> list[Edge]:
    """Return the edges to what a model was probably made from.

    Only the strongest kind of evidence counts, in this order: the path its config was loaded from, the
    prose of its card, its name, its license.

    Args:
        record: A model that declares no base.
        index: Where candidates are looked for.
        card: Its card's text, where it is at hand.
    """
    edges: list[Edge] = []
    if record.trained_from:
        why = f"config: _name_or_path is {record.trained_from}"
        edges.append(_edge(record, record.trained_from, "finetune", 0.9, why))
    if not edges and card:
        edges = _infer_from_prose(record, index, card)
    named = _infer_from_name(record, index, set(find_model_links(card)) if card else set())
    if not edges:
        return named or _infer_from_license(record, index)
    # Two kinds of evidence for the same edge are more than one.
    also = {edge.parent.lower(): edge for edge in named}
    return [
        edge.model_copy(
            update={
                "confidence": min(0.95, edge.confidence + 0.1),
                "evidence": (*edge.evidence, *also[edge.parent.lower()].evidence),
            }
        )
        if edge.parent.lower() in also
        else edge
        for edge in edges
    ]


def _infer_from_prose(record: ModelRecord, index: Index, card: str) -> list[Edge]:
    datasets = {name.lower() for name in record.datasets or ()}
    edges = []
    mentions = find_base_mentions(card, record.id)
    linked = {link.rpartition("/")[2].lower(): link for link in find_model_links(card)}
    for mention in mentions:
        parent: str | None = mention.name
        if "/" not in mention.name:
            parent = linked.get(mention.name.lower()) or _find_by_bare_name(mention.name, index)
        if parent is None or parent.lower() in datasets or parent.lower() == record.id.lower():
            continue
        edges.append(_edge(record, parent, mention.relation, mention.confidence, f"card: {mention.sentence!r}"))
    best = max((edge.confidence for edge in edges), default=0)
    return [edge for edge in edges if edge.confidence == best][:3]


def _find_by_bare_name(name: str, index: Index) -> str | None:
    """Return the best-known original that a bare name in prose means, or None.

    Its name has all the distinguishing words, and no others.
    """
    terms = model_names.distinguishing_terms(name)
    expression = " AND ".join(f'"{word}"' for word in sorted(terms))
    if not terms or not any(word.isalpha() for word in terms):
        return None
    candidates = index.records(index.match(expression, limit=100)).values()
    same = [
        record
        for record in candidates
        if model_names.distinguishing_terms(record.id) == terms and not codec.is_variant(record)
    ]
    return same[0].id if same else None


def _infer_from_name(record: ModelRecord, index: Index, linked: set[str]) -> list[Edge]:
    terms = model_names.distinguishing_terms(record.id)
    words = [word for word in terms if word.isalpha() and len(word) > 2 and word not in _GENERIC]
    sizes = _sizes(terms)
    numbers: list[int] = []
    for word in sorted(words):
        numbers += index.match(f'"{word}"', limit=100)
        numbers += [row for size in sorted(sizes) for row in index.match(f'"{word}" AND "{size}"', limit=100)]
    best: tuple[float, int, Edge] | None = None
    for row, other in index.records(dict.fromkeys(numbers)).items():
        weight = _name_confidence(record, other, terms, sizes, linked)
        if weight is None:
            continue
        confidence, reason = weight
        ranked = (confidence, -row, _edge(record, other.id, "finetune", confidence, reason))
        if best is None or ranked[:2] > best[:2]:
            best = ranked
    return [best[2]] if best else []


def _name_confidence(
    record: ModelRecord, other: ModelRecord, terms: frozenset[str], sizes: set[str], linked: set[str]
) -> tuple[float, str] | None:
    """Return the confidence that `other` is the base, by its name, and why; or None."""
    other_terms = model_names.distinguishing_terms(other.id)
    if other.id.lower() == record.id.lower() or other_terms == terms or codec.is_variant(other):
        return None
    if record.family and other.family and record.family != other.family:
        return None
    if record.created and other.created and other.created > record.created:
        return None
    if any(base.id.lower() == record.id.lower() for base in other.base_models or ()) or not _has_similar_size(
        record, other
    ):
        return None
    if _granted_license(record) and _granted_license(other) and _granted_license(record) != _granted_license(other):
        return None
    missing = other_terms - terms
    if _versions(missing) and _versions(terms - other_terms):
        return None
    words = {word for word in other_terms & terms if word.isalpha() and word not in _GENERIC}
    same_author = (record.author or "").lower() == (other.author or "").lower()
    # A size left out and nothing else: "gpt4all-falcon" says falcon, not which.
    only_family = not sizes and record.family is not None and record.family == other.family
    if not words or not (len(other_terms & terms) > 1 or same_author or other.id in linked or only_family):
        return None
    if missing - _sizes(missing) - {word for word in missing if _NUMBER.fullmatch(word)} or (_sizes(missing) and sizes):
        return None
    if same_author and not _TUNED & terms:
        return None
    confidence = (
        0.45
        + 0.1 * min(3, len(other_terms & terms) - 1)
        + (0.1 if record.family and record.family == other.family else 0)
    )
    confidence -= 0.2 * len(missing)
    confidence += 0.15 if other.id in linked else 0
    shared = " ".join(word for word in model_names.search_terms(other.id.rpartition("/")[2]) if word in terms)
    return (round(max(0.2, min(confidence, 0.8)), 2), f"name: holds {shared!r}")


def _infer_from_license(record: ModelRecord, index: Index) -> list[Edge]:
    granted = GRANTED.get(record.license.id if record.license else "")
    if granted is None or (record.author or "").lower() == granted[0]:
        return []
    expression = " AND ".join(f'"{word}"' for word in (codec.author_token(granted[0]), *granted[1]))
    terms = model_names.distinguishing_terms(record.id)
    candidates = [
        other
        for other in index.records(index.match(expression, limit=100)).values()
        if not codec.is_variant(other)
        and not (record.family and other.family and record.family != other.family)
        and bool(_TUNED & model_names.distinguishing_terms(other.id)) <= bool(_TUNED & terms)
    ]
    size = record.parameters.total if record.parameters else None

    def distance(other: ModelRecord) -> float:
        total = other.parameters.total if other.parameters else None
        return abs(total - size) / max(total, size) if total and size else 1.0

    nearest = min(candidates, key=distance, default=None)
    if nearest is None or not record.license:
        return []
    why = f"license: {record.license.id} is granted with that family only; the nearest in size"
    return [_edge(record, nearest.id, "finetune", 0.5 if distance(nearest) < 0.35 else 0.3, why)]


def _has_similar_size(record: ModelRecord, other: ModelRecord) -> bool:
    counts = [
        model.parameters.total
        for model in (record, other)
        if model.parameters
        and model.parameters.total
        and (model.provenance.get("parameters") is None or model.provenance["parameters"].source != "name")
    ]
    return len(counts) < 2 or min(counts) >= 0.8 * max(counts)


def _sizes(words: Iterable[str]) -> set[str]:
    return {word for word in words if _SIZE.fullmatch(word)}


def _granted_license(record: ModelRecord) -> str | None:
    license_ = record.license.id if record.license else ""
    return license_ if license_ in GRANTED else None


def _versions(words: Iterable[str]) -> set[str]:
    return {word for word in words if "." in word and _NUMBER.fullmatch(word)}


def _edge(record: ModelRecord, parent: str, relation: Relation, confidence: float, why: str) -> Edge:
    return Edge(child=record.id, parent=parent, relation=relation, confidence=confidence, evidence=(why,))
