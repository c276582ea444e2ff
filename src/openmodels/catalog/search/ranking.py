"""Which of the matches are shown first, and which of them stand for others."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from math import log10
from typing import Any

from openmodels.catalog.index import codec
from openmodels.catalog.index.reader import Index
from openmodels.catalog.query import Query
from openmodels.catalog.search import query_expansion
from openmodels.hub import model_names

_SHAPE = model_names.CONVERSION | {"hf", "fp16", "bf16"}
_SAFEST = 2**62
_FEW_LANGUAGES, _LEAST_SHARE = 4, 0.15
_NAME_PARTS = 0.75
"""How well a name with all words of a task stands for the task; the task itself stands for it at 0.825."""
_DIRECTION = 1.0
"""What the right order of two languages in the name of a model for translation is worth ("opus-mt-de-en")."""
_MISSING = -4.0  # what a part of the text that a model does not satisfy costs; a whole match is worth 2


@dataclass(slots=True)
class Hit:
    """A match with its row number, row, terms and score for the text."""

    number: int
    row: codec.IndexRow
    terms: frozenset[int]
    score: float = 0.0


class Ranker:
    """Orders the matches of one query.

    The 91 judged queries of tests/catalog/judged.tsv decide about the weights: recall@5 is 0.97 among 60,000 models.
    """

    def __init__(self, index: Index, query: Query, parsed: query_expansion.ExpandedQuery) -> None:
        self.index = index
        self.query = query
        self.parsed = parsed
        self.variant = index.term_numbers(["is:variant"]).get("is:variant")
        self.text = query.text.strip().lower()
        asks_language = any(term.startswith("lang:") for group in parsed.groups for term in group.terms)
        self.languages = frozenset(index.values("lang").values()) if asks_language else frozenset()
        asks_translation = any("task:translation" in group.terms for group in parsed.groups)
        spoken = [group for group in parsed.groups if any(term.startswith("lang:") for term in group.terms)]
        self.translated = [group.words.keys() for group in spoken] if asks_translation else []
        self.english = index.values("lang").get("en")

    def ranked(self, numbers: Iterable[int], sort: str) -> list[Hit]:
        """Return matches in order."""
        stored = self.index.rows_by_number(dict.fromkeys(numbers))
        hits = [Hit(number, row, frozenset(codec.unpack(row.terms))) for number, row in stored.items()]
        if self.query.max_price is not None:
            hits = [hit for hit in hits if self._affordable(hit.row)]
        if sort == "relevance":
            for hit in hits:
                hit.score = self._score(hit)
        return sorted(hits, key=_order(sort))

    def folded(self, hits: list[Hit], limit: int) -> list[Hit]:
        """Return the best of each model: the model itself if it matches, else a variant."""
        originals = {hit.row.id.lower() for hit in hits if self.variant not in hit.terms}
        named: set[str] = set()  # most searches show no variant: their names are read only for one
        kept: list[Hit] = []
        for hit in hits:
            if self.variant in hit.terms:
                named = named or {_unconverted(model_id) for model_id in originals}
                bases, name = self._bases(hit), _unconverted(hit.row.id)
                if bases & originals or name in named:
                    continue
                originals |= bases
                named.add(name)
            kept.append(hit)
            if len(kept) == limit:
                break
        return kept

    def _bases(self, hit: Hit) -> set[str]:
        texts = self.index.term_texts(hit.terms)
        stated = (texts[number].split(":", 2) for number in hit.terms)
        return {parts[2].lower() for parts in stated if parts[0] == "base"}

    def _score(self, hit: Hit) -> float:
        model_id = hit.row.id.lower()
        author, _, name = model_id.rpartition("/")
        author = author.rpartition(":")[2]
        words = model_names.search_terms(hit.row.id.rpartition("/")[2])
        name_words = set(words)
        score, matched = 0.0, set[str]()
        for group in self.parsed.groups:
            shared = group.words.keys() & name_words
            matched |= shared
            best = max(map(group.words.__getitem__, shared)) if shared else 0.0
            if group.name_parts:
                matched |= name_words.intersection(group.name_parts)
                best = max(best, _NAME_PARTS if name_words.issuperset(group.name_parts) else 0.0)
            if best < 1.0:
                best = max(best, self._match_beside_name(group, hit, author))
            score += group.weight * (2.0 * best if best else 0.0 if group.is_optional else _MISSING)
        distinguishing = name_words - model_names.NOISE or name_words
        score += 1.2 * len(matched & distinguishing) / max(1, len(distinguishing))
        if self.text in {name, model_id}:
            score += 3.0
        score += self._direction(words)
        score += 0.3 * log10(1 + (hit.row.downloads or 0)) + 0.4 * log10(1 + (hit.row.likes or 0))
        return score - 1.5 if self.variant in hit.terms and not self.parsed.wants_variants else score

    def _direction(self, words: tuple[str, ...]) -> float:
        """Return what the order of two languages in the name of a translator is worth."""
        if len(self.translated) != 2:
            return 0.0
        places = [next((at for at, word in enumerate(words) if word in names), None) for names in self.translated]
        if places[0] is None or places[1] is None or places[0] == places[1]:
            return 0.0
        return _DIRECTION if places[0] < places[1] else -_DIRECTION

    def _match_beside_name(self, group: query_expansion.WordGroup, hit: Hit, author: str) -> float:
        """Return from 0 to 1 how well author, tags or size match a part of the text."""
        shared = hit.terms.intersection(group.numbers)
        by_term = max(map(group.numbers.__getitem__, shared)) if shared else 0.0
        if shared and not self.languages.isdisjoint(shared):
            by_term *= self._share_of_language(hit, shared)
        best = max(0.9 * group.authors.get(author, 0.0), 0.75 * by_term)
        if group.tokens or group.most_parameters:
            size = codec.parameters_bucket(hit.row.parameters)
            is_small = group.most_parameters and (hit.row.parameters or _SAFEST) <= group.most_parameters
            is_long = group.least_context and (hit.row.context or 0) >= group.least_context
            best = max(best, 0.6 if is_long or is_small or f"=p{size}" in group.tokens else 0.0)
        return best or 0.5 * max((weight for word, weight in group.words.items() if word in author), default=0.0)

    def _share_of_language(self, hit: Hit, shared: AbstractSet[int]) -> float:
        """Return from 0 to 1 how much a model is one for a language."""
        spoken = [number for number in codec.unpack(hit.row.terms) if number in self.languages]
        # Cards name the language first that the model was made for, unless they list many; English goes without saying.
        others = [number for number in spoken if number != self.english] or spoken
        is_first = others[0] in shared and len(spoken) <= _FEW_LANGUAGES
        return 1.0 if is_first else max(_LEAST_SHARE, 0.8 * len(spoken) ** -0.45)

    def _affordable(self, row: codec.IndexRow) -> bool:
        most, provider = self.query.max_price or 0, self.query.provider
        return any(
            Decimal(offer["price_out"]) <= most
            for offer in _rest(row).get("offers", ())
            if offer.get("price_out") is not None and provider in {None, offer.get("provider")}
        )


def _rest(row: codec.IndexRow) -> dict[str, Any]:
    return dict(json.loads(row.rest or "{}"))


def _order(sort: str) -> Callable[[Hit], Any]:
    def cheapest(hit: Hit) -> tuple[float, int]:
        prices = [float(offer["price_out"]) for offer in _rest(hit.row).get("offers", ()) if offer.get("price_out")]
        return min(prices, default=float("inf")), hit.number

    def falling(hit: Hit) -> tuple[bool, float, int]:
        value = _rest(hit.row).get(sort) if sort == "trending" else getattr(hit.row, sort)
        return value is None, -(value or 0), hit.number

    def most_relevant(hit: Hit) -> tuple[float, int]:
        return -hit.score, hit.number

    return {"relevance": most_relevant, "price": cheapest}.get(sort, falling)


@lru_cache(maxsize=16_384)
def _unconverted(model_id: str) -> str:
    """Return a model's name without author and without the words for conversions."""
    words = model_names.search_terms(model_id.rpartition("/")[2])
    return " ".join(word for word in words if word not in _SHAPE)
