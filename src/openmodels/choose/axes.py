"""The axes along which models are compared: price, speed, scores and the like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from openmodels.catalog.record import ModelRecord
from openmodels.choose.prices import PricedOffer
from openmodels.choose.scores import PREFIX, BenchmarkScore, find_benchmark, is_lower_better
from openmodels.errors import InvalidRequest

QUALITY = "quality"


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        name: What callers call it.
        unit: The unit of its values.
        lower_is_better: Whether a lower value is better.
        benchmark: The benchmark of a score.
    """

    name: str
    unit: str
    lower_is_better: bool = False
    benchmark: str | None = None

    @property
    def label(self) -> str:
        """The name, and which benchmark it is where the name does not say."""
        is_named = self.benchmark is None or self.name == PREFIX + self.benchmark
        return self.name if is_named else f"{self.name} ({PREFIX}{self.benchmark})"

    def show(self, value: float | None) -> str:
        """Return a value as people read it, with its unit; "-" for an unknown one."""
        if value is None:
            return "-"
        if self.unit.startswith("$"):
            return f"${value:,.2f}" if round(value, 2) == value or value >= 1 else f"${value:.3g}"
        number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return f"{number} {self.unit}".strip()


_OFFER_AXES = {
    "price": Axis("price", "$ per M tokens", lower_is_better=True),
    "price_in": Axis("price_in", "$ per M input tokens", lower_is_better=True),
    "price_out": Axis("price_out", "$ per M output tokens", lower_is_better=True),
    "speed": Axis("speed", "tok/s"),
    "latency": Axis("latency", "s", lower_is_better=True),
}
_RECORD_AXES = {
    "context": Axis("context", "tokens"),
    "parameters": Axis("parameters", "", lower_is_better=True),
    "downloads": Axis("downloads", "in 30 days"),
    "likes": Axis("likes", ""),
}
AXES = (QUALITY, *_OFFER_AXES, *_RECORD_AXES, f"{PREFIX}BENCHMARK")


@dataclass(frozen=True, slots=True)
class Value:
    """A value on an axis.

    Attributes:
        number: The value, in the axis's unit.
        source: Who states it.
        as_of: The day of the statement; None where the source has none.
        license: The terms of the source's data.
        provider: The provider that it is about; "" where it is about the model itself.
    """

    number: float
    source: str
    as_of: date | None
    license: str
    provider: str = ""

    @property
    def origin(self) -> str:
        """The source and the day in a few words."""
        return f"{self.source}, {self.as_of}" if self.as_of else self.source

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        day = str(self.as_of) if self.as_of else None
        return {
            "value": self.number,
            "source": self.source,
            "as_of": day,
            "license": self.license,
            "provider": self.provider or None,
        }


@dataclass(slots=True)
class Candidate:
    """A model with what is known to compare it by.

    Attributes:
        record: Its record in the catalog.
        offers: Its offers; those that do not meet the needs are taken out.
        scores: Its score on each benchmark.
        offer: The offer that price and speed are of.
    """

    record: ModelRecord
    offers: list[PricedOffer]
    scores: dict[str, BenchmarkScore]
    offer: PricedOffer | None = None

    @property
    def id(self) -> str:
        """The id of the model."""
        return self.record.id


def check_name(name: Any, argument: str) -> str:
    """Return the name of an axis.

    Raises:
        InvalidRequest: The axis does not exist; the message names the known ones.
    """
    if isinstance(name, str):
        text = name.strip()
        if text in AXES[:-1] or (text.startswith(PREFIX) and text != PREFIX):
            return text
    raise InvalidRequest(f"{argument}: {str(name)[:60]!r} is no axis.", next_step=f"There are: {', '.join(AXES)}.")


def find_axis(name: str, candidates: Iterable[Candidate], notes: list[str]) -> Axis:
    """Return the axis of a name; the scores of the models say which benchmarks exist.

    "quality" is the benchmark that most of them have; the first by name of several.

    Raises:
        InvalidRequest: The name of a benchmark fits several.
    """
    if axis := _OFFER_AXES.get(name) or _RECORD_AXES.get(name):
        return axis
    counts = Counter(benchmark for candidate in candidates for benchmark in candidate.scores)
    if name == QUALITY:
        benchmark = min(counts, key=lambda key: (-counts[key], key), default=None)
        if benchmark is None:
            notes.append(f"{QUALITY}: none of the models has a score")
    else:
        benchmark = find_benchmark(name.removeprefix(PREFIX), counts)
        if benchmark is None:
            known = ", ".join(sorted(counts)[:8]) or "none"
            notes.append(f"{name}: none of the models has this score; known benchmarks: {known}")
    return Axis(name, "", benchmark is not None and is_lower_better(benchmark), benchmark)


def pick_offers(candidates: Iterable[Candidate], axes: Sequence[Axis], ratio: tuple[Decimal, Decimal]) -> None:
    """Set the offer of each model that its price and speed are read from.

    One offer for all axes, so that a cheap provider does not lend its price to a fast one. It is the one that states
    most of what is compared; of several the best on the first axis, then the second.
    """
    wanted = [axis for axis in axes if axis.name in _OFFER_AXES] or [_OFFER_AXES["price"]]

    def badness(offer: PricedOffer) -> tuple[Any, ...]:
        numbers = [_read_offer(axis, offer, ratio) for axis in wanted]
        signs = [1 if axis.lower_is_better else -1 for axis in wanted]
        known = [(number is None, sign * (number or 0.0)) for number, sign in zip(numbers, signs, strict=True)]
        return numbers.count(None), known, offer.provider

    for candidate in candidates:
        live = [offer for offer in candidate.offers if offer.status != "error"]
        candidate.offer = min(live, key=badness, default=None)


def read_axis(
    axis: Axis, candidates: Sequence[Candidate], ratio: tuple[Decimal, Decimal], notes: list[str]
) -> dict[str, Value]:
    """Return the known values of an axis by model id."""
    values = {candidate.id: value for candidate in candidates if (value := _read(axis, candidate, ratio)) is not None}
    return _on_one_scale(axis, values, notes) if axis.benchmark else values


def _read(axis: Axis, candidate: Candidate, ratio: tuple[Decimal, Decimal]) -> Value | None:
    if axis.name in _OFFER_AXES:
        offer = candidate.offer
        number = _read_offer(axis, offer, ratio) if offer else None
        if offer is None or number is None:
            return None
        return Value(number, offer.source or "Hugging Face's router", offer.as_of, offer.license, offer.provider)
    if axis.name in _RECORD_AXES:
        fact = candidate.record.provenance.get(_FIELDS.get(axis.name, axis.name))
        number = _read_record(axis.name, candidate.record)
        source, day = (fact.source, fact.as_of) if fact else ("the record", None)
        return None if number is None else Value(number, source, day, "of the catalog")
    score = candidate.scores.get(axis.benchmark or "")
    return Value(score.value, score.source, score.as_of, score.license) if score else None


_FIELDS = {"context": "context_length"}


def _read_record(name: str, record: ModelRecord) -> float | None:
    value = getattr(record, _FIELDS.get(name, name))
    if name == "parameters":
        value = value.total if value else None
    return None if value is None else float(value)


def _read_offer(axis: Axis, offer: PricedOffer, ratio: tuple[Decimal, Decimal]) -> float | None:
    match axis.name:
        case "price":
            value: Any = offer.blended(ratio)
        case "price_in" | "price_out" | "latency":
            value = getattr(offer, axis.name)
        case _:
            value = offer.throughput
    return None if value is None else float(value)


def _on_one_scale(axis: Axis, values: Mapping[str, Value], notes: list[str]) -> dict[str, Value]:
    """Return values without shares of 1 where others are per cent."""
    if not any(value.number > 1 for value in values.values()):
        return dict(values)
    unclear = sorted(name for name, value in values.items() if 0 < value.number < 1)
    if unclear:
        notes.append(
            f"{axis.label}: {', '.join(unclear[:5])} may state a share of 1 where others state per cent; not compared"
        )
    return {name: value for name, value in values.items() if name not in unclear}
