"""Prices of models by provider, each with its source, day and terms.

Two sources: the list of Hugging Face's router, and the tables of the package genai-prices (the extra `prices`).
A price that no source states is unknown: it is never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from importlib.metadata import version
from typing import Any

from openmodels import settings
from openmodels.catalog.index.codec import today
from openmodels.catalog.record import ModelRecord
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.hub import untrusted_fields as fields
from openmodels.hub.client import RouterClient
from openmodels.hub.offers import HostedModel, Provider, price_tokens

ROUTER_TERMS = "no license stated; not redistributed"
GENAI_PRICES_TERMS = "MIT"
RATIO = "3:1"
"""Input tokens to output tokens in a blended price, unless the caller says otherwise."""

_ROUTER_SECONDS = 15.0
_TABLE = "huggingface_"
"""How the ids of genai-prices' tables of Hugging Face's providers begin."""


@dataclass(frozen=True, slots=True)
class PricedOffer:
    """What a provider asks for a model, and how fast it is; None is unknown.

    Attributes:
        provider: The provider's name.
        price_in: US dollars for a million input tokens.
        price_out: US dollars for a million output tokens.
        source: Who states the prices.
        as_of: The day of the statement; None where the source has none.
        license: The terms of the source's data.
        status: "live" or "error", by the router's last probe.
        context_length: Tokens of input and output together at most.
        tools: Whether it can call tools.
        structured_output: Whether it keeps to a JSON schema.
        latency: Seconds to the first token in the router's last probe.
        throughput: Output tokens per second in the router's last probe.
    """

    provider: str
    price_in: Decimal | None = None
    price_out: Decimal | None = None
    source: str = ""
    as_of: date | None = None
    license: str = ""
    status: str | None = None
    context_length: int | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    latency: float | None = None
    throughput: float | None = None

    def blended(self, ratio: tuple[Decimal, Decimal]) -> Decimal | None:
        """Return US dollars for a million tokens, or None where a price is unknown.

        `ratio` holds the parts of input and of output.
        """
        (inputs, outputs), total = ratio, sum(ratio)
        if (inputs and self.price_in is None) or (outputs and self.price_out is None):
            return None
        return ((self.price_in or Decimal()) * inputs + (self.price_out or Decimal()) * outputs) / total

    def cost(self, tokens_in: int, tokens_out: int) -> Decimal | None:
        """Return US dollars for one call, or None where a price that it needs is unknown."""
        return price_tokens(self.price_in, self.price_out, tokens_in, tokens_out)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it; prices are numbers."""
        return {
            name: float(value) if isinstance(value, Decimal) else str(value) if isinstance(value, date) else value
            for name in self.__dataclass_fields__
            for value in [getattr(self, name)]
        }


def read_ratio(value: Any) -> tuple[Decimal, Decimal]:
    """Return the parts of input and output tokens in a blended price.

    `value` is "3:1", a pair, or a number of input tokens to one output token.

    Raises:
        InvalidRequest: It is not a ratio.
    """
    parts = value.split(":") if isinstance(value, str) else value if isinstance(value, tuple | list) else (value, 1)
    weights = [fields.dollars(part.strip() if isinstance(part, str) else part) for part in parts]
    if len(weights) == 2 and all(weight is not None for weight in weights) and any(weights):
        return weights[0] or Decimal(), weights[1] or Decimal()
    raise InvalidRequest(f"ratio: {str(value)[:60]!r} is no ratio of input to output tokens.", next_step='Write "3:1".')


def show_ratio(parts: tuple[Decimal, Decimal]) -> str:
    """Return a ratio as "3:1"."""
    return ":".join(f"{part.normalize():f}" for part in parts)


def offers_of(record: ModelRecord) -> list[PricedOffer]:
    """Return the offers that a record holds, and those of genai-prices that it lacks."""
    listed = [_offer(offer, offer.as_of) for offer in record.offers or ()]
    return [*listed, *_unlisted(record.ids.hub, listed)]


def router_offers(model_id: str, providers: Iterable[Provider]) -> list[PricedOffer]:
    """Return a model's offers in the router's list, and those of genai-prices.

    What is free costs 0.
    """
    offers = []
    for provider in providers:
        offer = _offer(provider, today())
        if provider.is_free and offer.price_in is None and offer.price_out is None:
            offer = replace(offer, price_in=Decimal(), price_out=Decimal(), **_source(today()))
        offers.append(offer)
    return [*offers, *_unlisted(model_id, offers)]


def list_router(notes: list[str]) -> dict[str, list[Provider]]:
    """Return the router's list by model id in lower case; {} where it cannot be read."""
    if settings.is_offline():
        notes.append("prices: the network is switched off, so the router's list was not read")
        return {}
    try:
        with closing(RouterClient()) as router:
            router.retries, router.request_seconds = 0, _ROUTER_SECONDS
            return {name.lower(): providers for name, providers in router.list_providers().items()}
    except OpenModelsError as error:
        notes.append(f"prices: the router's list was not read: {error.cause}")
        return {}


def _offer(offer: HostedModel, as_of: date | None) -> PricedOffer:
    is_priced = offer.price_in is not None or offer.price_out is not None
    terms = offer.model_dump(include=set(HostedModel.model_fields))
    return PricedOffer(**terms, **(_source(as_of) if is_priced else {}))


def _source(as_of: date | None) -> dict[str, Any]:
    return {"source": "Hugging Face's router", "as_of": as_of, "license": ROUTER_TERMS}


def _unlisted(model_id: str | None, listed: Sequence[PricedOffer]) -> Iterator[PricedOffer]:
    """Yield the priced offers of genai-prices by providers that have no price yet."""
    priced = {offer.provider for offer in listed if offer.price_in is not None or offer.price_out is not None}
    for offer in _packaged().get((model_id or "").lower(), ()):
        if offer.provider not in priced:
            yield offer


@lru_cache(maxsize=1)
def _packaged() -> dict[str, list[PricedOffer]]:
    """Return genai-prices' offers by model id in lower case; {} if not installed."""
    try:
        from genai_prices import data_snapshot
    except ModuleNotFoundError:
        return {}
    source = f"genai-prices {version('genai-prices')}"
    offers: dict[str, list[PricedOffer]] = {}
    for table in data_snapshot.get_snapshot().providers:
        if not table.id.startswith(_TABLE):
            continue
        for model in table.models:
            price = model.get_prices(datetime.now(UTC))
            # A price in tiers has a base, which is that of short prompts.
            amounts = [getattr(price, name, None) for name in ("input_mtok", "output_mtok")]
            price_in, price_out = (fields.dollars(str(getattr(amount, "base", amount))) for amount in amounts)
            offer = PricedOffer(
                table.id.removeprefix(_TABLE),
                price_in,
                price_out,
                source,
                license=GENAI_PRICES_TERMS,
                context_length=model.context_window,
            )
            offers.setdefault(model.id.lower(), []).append(offer)
    return offers
