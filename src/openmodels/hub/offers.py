"""The router's list: who serves a model, and what a call costs by its prices."""

import difflib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from openmodels.errors import InvalidResponse, ModelNotFound
from openmodels.hub import untrusted_fields as fields
from openmodels.types.messages import Frozen
from openmodels.types.reply import Usage

_MILLION = 1_000_000


class HostedModel(Frozen):
    """The terms of a provider for a model; None is where the router has no value.

    Attributes:
        provider: The provider's name.
        status: "live" or "error", by the router's last probe.
        price_in: US dollars for a million input tokens.
        price_out: US dollars for a million output tokens.
        context_length: Tokens of input and output together at most.
        tools: Whether it can call tools.
        structured_output: Whether it keeps to a JSON schema.
        latency: Seconds to the first token in the router's last probe.
        throughput: Output tokens per second in the router's last probe.
    """

    provider: str
    status: str | None = None
    price_in: Decimal | None = None
    price_out: Decimal | None = None
    context_length: int | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    latency: float | None = None
    throughput: float | None = None


class Provider(HostedModel):
    """One provider of one model, with the terms of `HostedModel`.

    Attributes:
        model: The model's id on the Hub.
        is_free: Whether it costs nothing.
        is_model_author: Whether the provider published the model.
    """

    model: str
    is_free: bool | None = None
    is_model_author: bool | None = None

    @property
    def reference(self) -> str:
        """What to give to `Model` to be served by this provider."""
        return f"hf:{self.model}:{self.provider}"


def compute_cost(providers: list[Provider], provider: str | None, usage: Usage) -> float | None:
    """Return what a call costs in US dollars, or None where the list does not say.

    `provider` is who answered; the list has no price of its own for cached tokens.
    """
    offer = next((offer for offer in providers if offer.provider == provider), None)
    if offer is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    if offer.is_free:
        return 0.0
    cost = price_tokens(offer.price_in, offer.price_out, usage.input_tokens, usage.output_tokens)
    return None if cost is None else float(cost)


def price_tokens(
    price_in: Decimal | None, price_out: Decimal | None, tokens_in: int, tokens_out: int
) -> Decimal | None:
    """Return US dollars for tokens of input and output.

    Prices are US dollars for a million tokens. None where one that is needed is unknown.
    """
    if (tokens_in and price_in is None) or (tokens_out and price_out is None):
        return None
    return ((price_in or Decimal()) * tokens_in + (price_out or Decimal()) * tokens_out) / _MILLION


def parse_router_list(value: Any) -> dict[str, list[Provider]]:
    """Return the providers of each model in the router's list, by the model's id.

    The list is the JSON of `/v1/models`, as https://huggingface.co/docs/inference-providers/hub-api describes it;
    InvalidResponse where it is not.
    """
    rows = value.get("data") if isinstance(value, Mapping) else None
    if not isinstance(rows, list):
        raise InvalidResponse("The router's list of models has an unknown shape.")
    return {
        row["id"]: [
            _provider(row["id"], offer)
            for offer in fields.objects(row.get("providers"))
            if fields.text(offer.get("provider"))
        ]
        for row in fields.objects(rows)
        if isinstance(row.get("id"), str)
    }


def find_providers(model_id: str, listed: Mapping[str, list[Provider]]) -> list[Provider]:
    """Return the providers of one model, in the router's order.

    Raises:
        ModelNotFound: No provider serves it; the message names models with a similar name.
    """
    same_name = (name for name in listed if name.casefold() == model_id.casefold())
    providers = listed.get(model_id) or listed.get(next(same_name, ""))
    if not providers:
        similar = difflib.get_close_matches(model_id, list(listed), n=3)
        hint = f"Similar names: {', '.join(similar)}." if similar else f"{len(listed)} other models are served."
        raise ModelNotFound(f"No provider behind Hugging Face's router serves {model_id!r}.", next_step=hint)
    return providers


def _provider(model_id: str, offer: Mapping[str, Any]) -> Provider:
    price = fields.mapping(offer.get("pricing"))
    latency = fields.positive_number(offer.get("first_token_latency_ms"))
    return Provider(
        model=model_id,
        provider=fields.text(offer["provider"]) or "",
        status=fields.text(offer.get("status")),
        price_in=fields.dollars(price.get("input")),
        price_out=fields.dollars(price.get("output")),
        is_free=fields.flag(offer.get("is_free")),
        context_length=fields.positive_count(offer.get("context_length")),
        tools=fields.flag(offer.get("supports_tools")),
        structured_output=fields.flag(offer.get("supports_structured_output")),
        latency=None if latency is None else round(latency / 1000, 6),
        throughput=fields.positive_number(offer.get("throughput")),
        is_model_author=fields.flag(offer.get("is_model_author")),
    )
