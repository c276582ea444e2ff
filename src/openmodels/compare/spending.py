"""The ceiling on what a comparison may cost, checked before each call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from openmodels.choose.prices import list_router
from openmodels.compare.identity import list_members
from openmodels.errors import (
    ConnectionFailed,
    DeadlineExceeded,
    InvalidRequest,
    InvalidResponse,
    OpenModelsError,
    OutputInvalid,
    StreamInterrupted,
)
from openmodels.http.address import Address, is_loopback
from openmodels.model import Model
from openmodels.types.reply import Reply
from openmodels.types.request import ChatRequest

Price = tuple[float, float]  # US dollars for a million tokens, of input and of output
_MILLION = 1_000_000
_TEMPLATE_TOKENS = 64  # a message's tokens beyond its own text, at most
_UNKNOWN_MARGIN = 2.0
"""How many times the highest cost so far the next call may cost, where nothing better is known."""

_AFTER_WORK = (ConnectionFailed, DeadlineExceeded, InvalidResponse, OutputInvalid, StreamInterrupted)
"""Errors of calls on which a model may have worked, so that they may be charged."""


class CeilingReached(Exception):
    """The next call could cost more than is left; it was not made."""


class SpendingLedger:
    """What the calls of a comparison cost, and what those in flight may still cost.

    `max_usd` is the ceiling in US dollars; None is none. Used in one event loop.
    """

    def __init__(self, max_usd: float | None) -> None:
        if max_usd is not None and (
            isinstance(max_usd, bool) or not isinstance(max_usd, int | float) or not max_usd >= 0
        ):
            raise InvalidRequest("max_usd: expected US dollars, 0 or more.")
        self.max_usd = max_usd
        self.spent = 0.0
        self._reserved = 0.0
        self._changed = asyncio.Event()

    @asynccontextmanager
    async def reserve(self, worst: float | None, least: float) -> AsyncGenerator[None, None]:
        """Hold back what a call may cost at most, until its cost is added.

        A `worst` of None is a call that may cost anything: it waits until no other is in flight, and all that is left
        is held back; `least` is what must be left for it.

        Raises:
            CeilingReached: It could cost more than is left once no call is in flight.
        """
        if self.max_usd is None or worst == 0:
            yield
            return
        while True:
            left = self.max_usd - self.spent - self._reserved
            is_alone = self._reserved == 0
            if worst is not None and worst <= left:
                amount = worst
                break
            if worst is None and is_alone and left > 0 and least <= left:
                amount = left
                break
            if is_alone:
                raise CeilingReached
            self._changed.clear()
            await self._changed.wait()
        self._reserved += amount
        try:
            yield
        finally:
            self._reserved = max(0.0, self._reserved - amount)
            self._changed.set()


@dataclass(slots=True)
class ModelPrice:
    """What is known of a model's cost.

    Attributes:
        price: US dollars for a million tokens of input and of output, or None.
        is_free: Whether nothing is charged: it runs on this machine, or a reply without a cost has shown it; None is
            not known yet.
        highest_cost: The highest cost of a call so far in US dollars.
        highest_token_cost: The highest cost for each token of a call so far in US dollars, where replies count tokens.
    """

    price: Price | None = None
    is_free: bool | None = None
    highest_cost: float = 0.0
    highest_token_cost: float = 0.0

    def worst_cost(self, request: ChatRequest, rounds: int) -> float | None:
        """Return the most that a call can cost in US dollars; None without a bound."""
        if self.is_free:
            return 0.0
        tokens = worst_tokens(request)
        if self.price is None or tokens is None:
            return None
        return rounds * _price_tokens(self.price, *tokens)

    def likely_worst(self, request: ChatRequest) -> float:
        """Return what a call costs at most by the calls so far, in US dollars."""
        tokens = worst_tokens(request)
        if tokens is not None and self.highest_token_cost:
            return max(self.highest_cost, self.highest_token_cost * sum(tokens))
        return _UNKNOWN_MARGIN * self.highest_cost

    def cost_of(self, reply: Reply) -> float | None:
        """Return what a reply cost in US dollars, or None where that is not known."""
        if reply.cost is not None:
            return reply.cost
        usage = reply.usage
        if self.price is not None and usage.input_tokens is not None and usage.output_tokens is not None:
            return _price_tokens(self.price, usage.input_tokens, usage.output_tokens)
        return None

    def learn(self, reply: Reply) -> None:
        """Take from a reply what the next call may cost."""
        cost, usage = self.cost_of(reply), reply.usage
        if cost is None:
            self.is_free = self.is_free or self.price is None
            return
        self.is_free = self.is_free and cost == 0
        self.highest_cost = max(self.highest_cost, cost)
        tokens = (usage.input_tokens or 0) + (usage.output_tokens or 0)
        if tokens:
            self.highest_token_cost = max(self.highest_token_cost, cost / tokens)


def _price_tokens(price: Price, tokens_in: int, tokens_out: int) -> float:
    return (price[0] * tokens_in + price[1] * tokens_out) / _MILLION


def worst_tokens(request: ChatRequest) -> tuple[int, int] | None:
    """Return the most tokens of a call's input and output; None without `max_tokens`.

    A token is at least a byte of text. Images have no such bound.
    """
    if request.max_tokens is None or any(message.images for message in request.messages):
        return None
    body = len(request.model_dump_json(include={"messages", "prompt", "tools", "output"}).encode())
    return body + _TEMPLATE_TOKENS * (len(request.messages) + 1), request.max_tokens * (request.n or 1)


def may_have_cost(error: OpenModelsError) -> bool:
    """Return whether a failed call may be charged: a model has worked on it."""
    return (
        error.partial is not None
        or isinstance(error, _AFTER_WORK)
        or any(
            not isinstance(attempt.error, OpenModelsError) or may_have_cost(attempt.error) for attempt in error.trace
        )
    )


def read_prices(prices: Mapping[str, Any] | None, models: Mapping[str, Model]) -> dict[str, ModelPrice]:
    """Return what is known of each model's cost, by the names of the models.

    Args:
        prices: US dollars for a million tokens, of input and of output, by name or reference.
        models: The models by name.

    Raises:
        InvalidRequest: A price is none, or its model is not compared.
    """
    stated = {name: _check_price(name, price) for name, price in (prices or {}).items()}
    known = {*models, *(model.reference for model in models.values())}
    if unknown := [name for name in stated if name not in known]:
        raise InvalidRequest(
            f"prices: {unknown[0]!r} is none of the compared models.", next_step=f"There are: {', '.join(models)}."
        )
    return {
        name: ModelPrice(
            stated.get(name, stated.get(model.reference)), is_free=True if model.backend.name == "local" else None
        )
        for name, model in models.items()
    }


def complete_prices(prices: Mapping[str, ModelPrice], models: Mapping[str, Model], notes: list[str]) -> list[str]:
    """Add the prices of Hugging Face's router; return the models without any.

    The names are of remote models. The router may choose any provider, so the highest prices count, and a model with a
    provider whose price is unknown has none.
    """
    unpriced = {name: model for name, model in models.items() if prices[name].price is None and is_remote(model)}
    routed = {
        name: model.backend.rest for name, model in unpriced.items() if getattr(model.backend, "is_routed", False)
    }
    listed = list_router(notes) if routed else {}
    for name, rest in routed.items():
        model_id, _, wanted = rest.partition(":")
        offers = [
            offer
            for offer in listed.get(model_id.lower(), ())
            if wanted in ("", "fastest", "cheapest", "preferred", offer.provider)
        ]
        known = [
            (0.0, 0.0) if offer.is_free else (float(offer.price_in or 0), float(offer.price_out or 0))
            for offer in offers
            if offer.is_free or (offer.price_in is not None and offer.price_out is not None)
        ]
        if offers and len(known) == len(offers):
            prices[name].price = max(price[0] for price in known), max(price[1] for price in known)
    return [name for name in unpriced if prices[name].price is None]


def _check_price(name: str, price: Any) -> Price:
    try:
        dollars_in, dollars_out = (float(part) for part in price)
    except (TypeError, ValueError):
        dollars_in = dollars_out = -1.0
    if not (0 <= dollars_in < float("inf") and 0 <= dollars_out < float("inf")):
        raise InvalidRequest(
            f"prices: {name!r} has no price.",
            next_step="Write two numbers, US dollars for a million tokens of input and of output: (0.05, 0.2).",
        )
    return dollars_in, dollars_out


def is_remote(model: Model) -> bool:
    """Return whether a machine of others answers, which may charge for it."""
    if members := list_members(model):
        return any(is_remote(member) for member in members)
    address = getattr(model.backend, "address", None)
    if isinstance(address, Address):
        return not is_loopback(address.host)
    return model.backend.origin is not None
