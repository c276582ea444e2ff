"""Quantised versions of a model that fit, and what they are known to lose."""

from __future__ import annotations

from typing import Any

from openmodels.catalog.api import search
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search import synonyms
from openmodels.choose.fit_cache import Bounds
from openmodels.choose.fit_report import Fit, Variant
from openmodels.errors import OpenModelsError
from openmodels.hub import model_names
from openmodels.model_reference import parse_hub_id

_MOST = 5
_LISTED = 100


def find(model: Any, fit: Fit) -> dict[str, Any]:
    """Return a `Fit`'s quantised versions, or a note on why they were not searched."""
    try:
        base = parse_hub_id(fit.model).repo
    except OpenModelsError:
        return {}
    try:
        listed = search(base_model=base, limit=_LISTED, sort="downloads")
    except OpenModelsError as error:
        return {"assumptions": (*fit.assumptions, f"quantised versions were not looked for: {error.cause}")}
    total = fit.total_bytes.high if isinstance(fit.total_bytes, Bounds) else fit.total_bytes
    rest = total - fit.weights_bytes
    scores = _scores(model, base, listed)
    variants = []
    for record in listed:
        if not any(
            edge.relation == "quantized" and edge.id.lower() == base.lower() for edge in record.base_models or ()
        ):
            continue
        size = record_bytes(record, fit.weights_bytes, fit.dtype)
        if size is not None and size[0] + rest <= fit.available_bytes:
            variants.append(Variant(record.id, *size, True, _losses(record, scores)))
    return {"variants": tuple(variants[:_MOST])}


def record_bytes(record: ModelRecord, base_bytes: int, base_dtype: str) -> tuple[int, str] | None:
    """Return the bytes of a version's weights and their basis; None if unknown."""
    sizes = [file.size for file in record.files or () if file.size and file.name.endswith((".safetensors", ".gguf"))]
    if sizes and all(file.name.endswith(".safetensors") for file in record.files or () if file.size in sizes):
        return sum(sizes), "its files"
    ggufs = [file.size for file in record.files or () if file.size and file.name.lower().endswith(".gguf")]
    if ggufs:
        return min(ggufs), "its smallest GGUF file"
    terms = {*model_names.search_terms(record.id), *(tag.lower() for tag in record.tags or ()), *(record.formats or ())}
    bits = next((bits for bits, words in synonyms.WORDS_BY_BITS.items() if terms & set(words)), None)
    if bits is None:
        return None
    width = 32 if base_dtype == "float32" else 16
    return base_bytes * bits // width, f"{bits} bits a parameter, by its name"


def _scores(model: Any, base: str, listed: Any) -> dict[str, float]:
    """Return the base's scores by benchmark."""
    record = model if isinstance(model, ModelRecord) else next((item for item in listed if item.id == base), None)
    return {score.benchmark: score.value for score in (record.scores or () if record else ())}


def _losses(record: ModelRecord, base_scores: dict[str, float]) -> tuple[str, ...]:
    return tuple(
        f"{score.benchmark}: {score.value:g} instead of {base_scores[score.benchmark]:g}"
        for score in record.scores or ()
        if score.benchmark in base_scores
    )
