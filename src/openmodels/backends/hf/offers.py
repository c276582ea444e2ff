"""Who serves a model behind Hugging Face's router: the rows of its list, and what a call costs by them."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from openmodels.errors import InvalidResponse, ModelNotFound
from openmodels.openai_wire import decode
from openmodels.types.messages import Frozen
from openmodels.types.reply import Usage

_MILLION = 1_000_000


class Provider(Frozen):
    """One provider of one model; None is where the router has no value.

    Attributes:
        model: The model's id on the Hub.
        provider: The provider's name.
        status: "live" or "error", by the router's last probe.
        price_in: US dollars for a million input tokens.
        price_out: US dollars for a million output tokens.
        is_free: Whether it costs nothing.
        context_length: Tokens of input and output together at most.
        tools: Whether it can call tools.
        structured_output: Whether it keeps to a JSON schema.
        latency: Seconds to the first token in the router's last probe.
        throughput: Output tokens per second in the router's last probe.
        is_model_author: Whether the provider published the model.
    """

    model: str
    provider: str
    status: str | None = None
    price_in: Decimal | None = None
    price_out: Decimal | None = None
    is_free: bool | None = None
    context_length: int | None = None
    tools: bool | None = None
    structured_output: bool | None = None
    latency: float | None = None
    throughput: float | None = None
    is_model_author: bool | None = None

    @property
    def reference(self) -> str:
        """What to give to `Model` to be served by this provider."""
        return f"hf:{self.model}:{self.provider}"


def cost(offers: list[Provider], provider: str | None, usage: Usage) -> float | None:
    """Return what a call costs in US dollars by the list's prices; None where that is not known.

    Args:
        offers: The rows of the model.
        provider: Who answered.
        usage: The tokens consumed; the list has no price of its own for cached ones.
    """
    offer = next((offer for offer in offers if offer.provider == provider), None)
    if offer is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    if offer.is_free:
        return 0.0
    if offer.price_in is None or offer.price_out is None:
        return None
    return float((offer.price_in * usage.input_tokens + offer.price_out * usage.output_tokens) / _MILLION)


def served(repo: str, body: bytes) -> list[Provider]:
    """Return who serves a model, in the router's order.

    Args:
        repo: "org/model".
        body: The router's list.

    Raises:
        ModelNotFound: Nobody serves it; the message names models with a similar name.
        InvalidResponse: The body is no such list.
    """
    value = decode.json_value(body)
    rows = value.get("data") if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise InvalidResponse("The router's list of models has an unknown shape.")
    listed = {row["id"]: row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)}
    found = listed.get(repo) or next((row for name, row in listed.items() if name.casefold() == repo.casefold()), None)
    offers = found.get("providers") if found else None
    named = [offer for offer in offers or () if isinstance(offer, dict) and isinstance(offer.get("provider"), str)]
    if not found or not named:
        near = difflib.get_close_matches(repo, list(listed), n=3)
        guess = f"Similar names: {', '.join(near)}." if near else f"{len(listed)} other models are served."
        raise ModelNotFound(f"No provider behind Hugging Face's router serves {repo!r}.", next_step=guess)
    return [_provider(found["id"], offer) for offer in named]


def _provider(model: str, offer: Mapping[str, Any]) -> Provider:
    price = offer.get("pricing")
    price = price if isinstance(price, dict) else {}
    latency, context = _number(offer.get("first_token_latency_ms")), _number(offer.get("context_length"))
    return Provider(
        model=model,
        provider=offer["provider"],
        status=offer["status"] if isinstance(offer.get("status"), str) else None,
        price_in=_dollars(price.get("input")),
        price_out=_dollars(price.get("output")),
        is_free=_flag(offer.get("is_free")),
        context_length=None if context is None else int(context),
        tools=_flag(offer.get("supports_tools")),
        structured_output=_flag(offer.get("supports_structured_output")),
        latency=None if latency is None else round(latency / 1000, 6),
        throughput=_number(offer.get("throughput")),
        is_model_author=_flag(offer.get("is_model_author")),
    )


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if usable else None


def _dollars(value: Any) -> Decimal | None:
    # By way of the text: 0.1 is a tenth of a dollar, not the nearest binary fraction.
    return None if _number(value) is None else Decimal(str(value))


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
