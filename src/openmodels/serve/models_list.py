"""`/v1/models`: the models with their facts, as Hugging Face's router lists them."""

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from openmodels.errors import OpenModelsError
from openmodels.model import Model
from openmodels.model_reference import parse_hub_id
from openmodels.serve.served_models import ServedModel

if TYPE_CHECKING:
    from openmodels.catalog.record import Offer


def describe_model(served: ServedModel) -> dict[str, Any]:
    """Return a model's entry, from what this machine knows without the network.

    Its facts are those of OpenAI's API, of Hugging Face's router, of vLLM (`max_model_len`) and of Anthropic.
    """
    model = served.model
    able = model.capabilities
    if served.facts is None:
        served.facts = _find_facts(model)
    facts = served.facts
    context = able.context or facts.get("context_length")
    inputs = facts.get("input_modalities") or ["text", *(["image"] if able.images else [])]
    entry: dict[str, Any] = {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": facts.get("author") or "openmodels",
        "type": "model",
        "display_name": served.name,
        "created_at": facts.get("created") or "1970-01-01T00:00:00Z",
        "root": model.reference,
        "architecture": {"input_modalities": inputs, "output_modalities": _outputs(model)},
        "license": facts.get("license"),
        "is_open": facts.get("is_open"),
        "capabilities": {name: value for name, value in _flags(model).items() if value is not None},
    }
    if context is not None:
        entry |= {"max_model_len": context, "context_length": context}
    provider: dict[str, Any] = {"provider": "openmodels", "status": "live"}
    provider |= {"context_length": context} if context is not None else {}
    provider |= {"pricing": facts["pricing"]} if "pricing" in facts else {}
    provider |= {"supports_tools": able.tools} if able.tools is not None else {}
    provider |= {"supports_structured_output": able.schema} if able.schema is not None else {}
    entry["providers"] = [provider]
    return entry


def list_models(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the list of entries as the clients of each wire read it."""
    decides = [
        {"name": entry["id"], "description": f"Served by openmodels: {entry['root']}", "release_date": "1970-01-01"}
        for entry in entries
        if entry["capabilities"].get("decide") is not False
    ]
    range_ids = {"first_id": entries[0]["id"], "last_id": entries[-1]["id"]}
    return {"object": "list", "data": entries, "has_more": False, **range_ids, "models": decides}


def _flags(model: Model) -> dict[str, bool | None]:
    able = model.capabilities
    names = ("chat", "complete", "embed", "rerank", "score", "decide", "images", "tools", "schema", "logprobs")
    return {name: getattr(able, name) for name in names}


def _outputs(model: Model) -> list[str]:
    able = model.capabilities
    texts = ["text"] if able.chat is not False or able.complete else []
    return texts + (["embeddings"] if able.embed and not texts else [])


def _find_price(offers: "Sequence[Offer]") -> dict[str, float] | None:
    """Return the lowest price of some offers, in US dollars for a million tokens."""
    prices = [(offer.price_in, offer.price_out) for offer in offers if offer.price_in is not None]
    if not prices:
        return None
    price_in, price_out = min(prices, key=lambda pair: (pair[0] or 0) + (pair[1] or 0))
    return {"input": float(price_in or 0), "output": float(price_out or 0)}


def _find_facts(model: Model) -> dict[str, Any]:
    """Return what the index and the disk know of a model, or an empty dict."""
    if model.backend.name not in ("hf", "local", "azure"):
        return {}
    rest = model.backend.rest
    from openmodels.catalog import api

    with contextlib.suppress(OpenModelsError, OSError, ValueError):
        repo = f"azure:{rest}" if model.backend.name == "azure" else parse_hub_id(rest).repo
        record = api.info(repo, live=False)
        facts: dict[str, Any] = {"is_open": record.open, "author": record.author}
        facts["context_length"] = record.context_length
        facts["license"] = record.license.id or record.license.name if record.license else None
        facts["created"] = f"{record.created}T00:00:00Z" if record.created else None
        if record.modalities and record.modalities.input:
            facts["input_modalities"] = list(record.modalities.input)
        if model.backend.name != "local" and (prices := _find_price(record.offers or ())):
            facts["pricing"] = prices
        return facts
    return {}
