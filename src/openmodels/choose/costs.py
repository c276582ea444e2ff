"""What calls to a model cost at each provider."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from openmodels.catalog.api import info
from openmodels.choose import choosing
from openmodels.choose.prices import PricedOffer
from openmodels.errors import InvalidRequest, ModelNotFound


@dataclass(frozen=True, slots=True)
class ProviderCost:
    """What calls cost at a provider; None where no source states a price.

    Attributes:
        offer: The provider's offer, with source and day.
        per_call: US dollars for one call.
        total: US dollars for all calls.
    """

    offer: PricedOffer
    per_call: Decimal | None
    total: Decimal | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        per_call, total = (None if amount is None else float(amount) for amount in (self.per_call, self.total))
        return {**self.offer.to_dict(), "cost_per_call": per_call, "cost": total}


@dataclass(frozen=True, slots=True)
class CallCosts:
    """What calls to a model cost at its providers.

    Attributes:
        id: The model.
        costs: The cost at each provider, the cheapest first; behind it those that failed the router's last probe, and
            those without a price last.
        marks: What to know of the model ("retired 2025-06-30").
        retires_on: The day its vendor switches it off, or None.
        replacement: The vendor's successor, or None.
        notes: What could not be read.
    """

    id: str
    costs: tuple[ProviderCost, ...]
    marks: tuple[str, ...]
    retires_on: date | None
    replacement: str | None
    notes: tuple[str, ...]


def compute_costs(model: str, tokens_in: int, tokens_out: int, calls: int = 1) -> CallCosts:
    """Return what calls to a model cost at each of its providers.

    Raises:
        InvalidRequest: A number is below 0, or `calls` is 0.
        ModelNotFound: No catalog has the model, or no provider is known.
    """
    for name, number, least in (("in", tokens_in, 0), ("out", tokens_out, 0), ("calls", calls, 1)):
        if number < least:
            raise InvalidRequest(f"{name}: {number:,} is too low.", next_step=f"Write {least} or more.")
    notes: list[str] = []
    record = info(model.strip().removeprefix("hf:"))
    (candidate,) = choosing.gather([record], (), (), notes)
    if not candidate.offers:
        raise ModelNotFound(
            f"No provider is known to serve {record.id}{f' ({notes[0]})' if notes else ''}.",
            next_step=f"See `openmodels fit {record.id}`: it can run on a machine of your own.",
        )
    costs = []
    for offer in candidate.offers:
        per_call = offer.cost(tokens_in, tokens_out)
        costs.append(ProviderCost(offer, per_call, None if per_call is None else per_call * calls))
    costs.sort(
        key=lambda cost: (
            cost.total is None,
            cost.offer.status == "error",
            cost.total or Decimal(),
            cost.offer.provider,
        )
    )
    retires_on, replacement = (
        (record.lifecycle.retires_on, record.lifecycle.replacement) if record.lifecycle else (None, None)
    )
    return CallCosts(record.id, tuple(costs), record.marks, retires_on, replacement, tuple(notes))
