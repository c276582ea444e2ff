"""Rows of the Hub's listing, in any of the shapes it has been seen in, as records.

Read from the raw JSON and not through `ModelInfo`: there, one row without an id, or with a
`safetensors` that lacks a key, ends the whole listing, and provenance of scores is dropped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from functools import lru_cache
from math import isfinite
from typing import Any, get_args

from openmodels.catalog import vocabulary
from openmodels.catalog.record import (
    Base,
    File,
    Ids,
    License,
    ModelRecord,
    Offer,
    Parameters,
    Score,
)
from openmodels.hub import model_names
from openmodels.hub.card import Relation
from openmodels.licenses import table

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9_][\w.-]{0,95})?", re.ASCII)
_RELATIONS = frozenset(get_args(Relation))
_RELATION_WORDS = {
    "distill": "distilled",
    "distillation": "distilled",
    "finetuned": "finetune",
    "quantization": "quantized",
}
_FORMATS = ("safetensors", "gguf", "onnx", "openvino", "mlx", "pytorch", "tf", "jax", "coreml", "exl2")
_SUFFIXES = {".safetensors": "safetensors", ".gguf": "gguf", ".onnx": "onnx", ".bin": "pytorch", ".pt": "pytorch",
             ".pth": "pytorch", ".h5": "tf", ".msgpack": "jax"}  # fmt: skip
_OWN_FIELD = ("license:", "base_model:", "dataset:", "region:", "language:", "deploy:", "base_model_relation:")
_PLUMBING = frozenset({"text-generation-inference", "endpoints_compatible", "autotrain_compatible", "has_space"})
_LARGEST = 2**62
_LONGEST = 200
# C0 and C1, and the marks that turn the direction of writing.
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)))


def record(row: Any, as_of: date | None, *, source: str = "hub") -> ModelRecord:
    """Return the record of a row.

    Args:
        row: An object of `/api/models`, or a row of a dump, where nested values may be JSON text.
        as_of: The day the row was read.
        source: The catalog the row comes from.

    Raises:
        ValueError: No object, no usable id, or a private model.
    """
    if not isinstance(row, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind of error for every bad row
            f"a row is {type(row).__name__}, not an object"
        )
    name = row.get("id") or row.get("modelId")
    if not isinstance(name, str) or not HUB_ID.fullmatch(name):
        raise ValueError(f"no usable id: {str(name)[:80]!r}")
    card = _mapping(row.get("cardData") or row.get("card_data"))
    config = _mapping(row.get("config"))
    tags = [tag for one in _list(row.get("tags")) if (tag := _text(one))] or _words(card.get("tags"))
    gguf, weights = _mapping(row.get("gguf")), _mapping(row.get("safetensors"))
    task = _text(row.get("pipeline_tag")) or _text(card.get("pipeline_tag"))
    task = vocabulary.task(task) if task else None
    total, from_name = _parameters(name, tags, gguf, weights)
    languages = _languages(card, tags)
    fields = {
        "ids": Ids(hub=name),
        "author": name.partition("/")[0] if "/" in name else _text(row.get("author")),
        "task": task,
        "family": vocabulary.family(_text(config.get("model_type")) or _text(gguf.get("architecture")), tags),
        "architecture": next(iter(_words(config.get("architectures"))), None),
        "library": _text(row.get("library_name")) or _text(card.get("library_name")),
        "parameters": total,
        "context_length": _positive(gguf.get("context_length")) or _context(config),
        "languages": languages,
        "modalities": vocabulary.modalities(task),
        "license": license_of(card, tags),
        "gated": vocabulary.gated(row.get("gated")),
        "base_models": _bases(row, card, tags),
        "trained_from": _loaded_from(config, name),
        "datasets": _tuple([tag[8:] for tag in tags if tag.startswith("dataset:")] or _words(card.get("datasets"))),
        "tags": _tuple(tag for tag in tags if _is_free(tag, task, languages or ())),
        "downloads": _count(row.get("downloads")),
        "likes": _count(row.get("likes")),
        "trending": _positive_float(row.get("trendingScore")),
        "created": day(row.get("createdAt")),
        "updated": day(row.get("lastModified")),
        "formats": _formats(tags, row.get("siblings")),
        "files": _files(row.get("siblings")),
        "offers": _offers(row.get("inferenceProviderMapping")),
        "scores": _scores(row.get("evalResults")),
    }
    derived = {"modalities": "task", **({"parameters": "name"} if from_name else {})}
    return ModelRecord.sourced(source, as_of, fields, derived)


def license_of(card: Mapping[str, Any], tags: Iterable[str] = ()) -> License | None:
    """Return the license that a card's front matter or the tags state; of a list, the first."""
    stated = next(iter(_words(card.get("license"))), None)
    stated = stated or next((tag[8:] for tag in tags if tag.startswith("license:")), None)
    name, link = _text(card.get("license_name")), _text(card.get("license_link"))
    if stated is None:
        return License(id="other", name=name, link=link) if name else None
    return _license(table.normalise(stated), name, link)


@lru_cache(maxsize=4096)
def _license(license_id: str, name: str | None, link: str | None) -> License:
    return License(id=license_id, name=name, link=link)


def day(stated: Any) -> date | None:
    """Return the day of a time stamp, or None for one that cannot be read."""
    if isinstance(stated, datetime):
        return stated.date()
    if isinstance(stated, date):
        return stated
    try:
        return date.fromisoformat(str(stated).strip()[:10]) if stated else None
    except ValueError:
        return None


def offers_of(row: Mapping[str, Any], as_of: date | None) -> tuple[Offer, ...]:
    """Return the offers of one model in the router's list."""
    found = []
    for one in _list(row.get("providers")):
        if not isinstance(one, Mapping) or not (provider := _text(one.get("provider"))):
            continue
        price = _mapping(one.get("pricing"))
        into, out = _price(price.get("input")), _price(price.get("output"))
        found.append(
            Offer(
                provider=provider,
                status=_text(one.get("status")),
                price_in=into,
                price_out=out,
                as_of=as_of if (into, out) != (None, None) else None,
                context_length=_positive(one.get("context_length")),
                tools=_flag(one.get("supports_tools")),
                structured_output=_flag(one.get("supports_structured_output")),
                latency=_scaled(one.get("first_token_latency_ms"), 1000),
                throughput=_scaled(one.get("throughput"), 1),
            )
        )
    return tuple(found)


def _parameters(
    name: str, tags: list[str], gguf: Mapping[str, Any], weights: Mapping[str, Any]
) -> tuple[Parameters | None, bool]:
    counted = _positive(weights.get("total")) or _positive(gguf.get("total"))
    if counted is None:
        split = [_positive(value) or 0 for value in _mapping(weights.get("parameters")).values()]
        counted = sum(split) or None
    stated, active = model_names.parameter_counts(name.rpartition("/")[2])
    # Packed weights count several parameters as one; the name then says how many there are.
    packed = counted is not None and stated is not None and counted < stated * 0.6 and _packed(name, tags)
    if counted is not None and not packed:
        return Parameters(total=counted, active=active), False
    if "lora" in tags or "base_model:adapter:" in " ".join(tags):
        return None, False
    return (Parameters(total=stated, active=active), True) if stated else (None, False)


def _packed(name: str, tags: list[str]) -> bool:
    return model_names.is_conversion(name) or not model_names.CONVERSION.isdisjoint(
        tag.lower().replace("-", "") for tag in tags
    )


def _bases(row: Mapping[str, Any], card: Mapping[str, Any], tags: list[str]) -> tuple[Base, ...] | None:
    found: dict[str, Relation | None] = {}
    listed = _mapping(row.get("baseModels"))
    for one in _list(listed.get("models")):
        if isinstance(one, Mapping):
            _note_base(found, one.get("id"), listed.get("relation"))
    for tag in tags:
        if tag.startswith("base_model:"):
            first, _, rest = tag[11:].partition(":")
            known = _relation(first)
            _note_base(found, rest or first, known if rest else None)
    own = card.get("base_model_relation")
    for name in _words(card.get("base_model")):
        _note_base(found, name, own)
    if not found:
        return None
    override = _relation(own)
    merged = len(found) > 1 and "merge" in tags
    return tuple(
        Base(id=name, relation=override or relation or ("merge" if merged else None))
        for name, relation in found.items()
    )


def _note_base(found: dict[str, Relation | None], name: Any, relation: Any) -> None:
    if isinstance(name, str) and HUB_ID.fullmatch(name):
        found[name] = found.get(name) or _relation(relation)


def _loaded_from(config: Mapping[str, Any], own: str) -> str | None:
    path = _text(config.get("_name_or_path")) or ""
    return path if "/" in path and HUB_ID.fullmatch(path) and path.lower() != own.lower() else None


def _relation(stated: Any) -> Relation | None:
    text = str(stated or "").lower()
    text = _RELATION_WORDS.get(text, text)
    return text if text in _RELATIONS else None  # type: ignore[return-value]


def _languages(card: Mapping[str, Any], tags: list[str]) -> tuple[str, ...] | None:
    stated = card.get("language")
    listed = stated if isinstance(stated, list) else [] if stated is None else [stated]
    codes = [vocabulary.language(one) for one in listed]
    if not any(codes):
        known = {*vocabulary.LANGUAGES.values(), "multilingual"}
        codes = [tag.removeprefix("language:") for tag in tags if tag in known or tag.startswith("language:")]
    return _tuple(code for code in codes if code)


def _is_free(tag: str, task: str | None, languages: tuple[str, ...]) -> bool:
    """Return whether a tag says something that no other field holds."""
    return not (tag == task or tag.startswith(_OWN_FIELD) or tag in _PLUMBING or tag in languages or tag in _FORMATS)


def _formats(tags: list[str], siblings: Any) -> tuple[str, ...] | None:
    by_name = [_SUFFIXES.get("." + file.name.rpartition(".")[2].lower()) for file in _files(siblings) or ()]
    return _tuple([*(tag for tag in tags if tag in _FORMATS), *(kind for kind in by_name if kind)])


def _files(siblings: Any) -> tuple[File, ...] | None:
    found = [
        File(name=name, size=_count(one.get("size")))
        for one in _list(siblings)
        if isinstance(one, Mapping) and (name := _text(one.get("rfilename")))
    ]
    return tuple(found) or None


def _offers(mapping: Any) -> tuple[Offer, ...] | None:
    """Read the providers, a list in listings and an object for a single model."""
    if isinstance(mapping, Mapping):
        mapping = [{"provider": name, **_mapping(value)} for name, value in mapping.items()]
    found = [
        Offer(provider=provider, status=_text(one.get("status")))
        for one in _list(mapping)
        if isinstance(one, Mapping) and (provider := _text(one.get("provider")))
    ]
    return tuple(found) or None


def _scores(results: Any) -> tuple[Score, ...] | None:
    found = []
    for one in _list(results):
        data = _mapping(_mapping(one).get("data")) or _mapping(one)
        dataset = data.get("dataset")
        named = _mapping(dataset) if isinstance(dataset, Mapping) else {"id": dataset or data.get("dataset_id")}
        benchmark = _text(named.get("id"))
        task = _text(named.get("task_id")) or _text(data.get("task_id"))
        value, origin = data.get("value"), _mapping(data.get("source"))
        if benchmark is None or isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            continue
        found.append(
            Score(
                value=float(value),
                benchmark=f"{benchmark}:{task}" if task else benchmark,
                source=_text(origin.get("name")) or _text(origin.get("url")) or _text(data.get("source_url")),
                date=day(data.get("date")),
                verified=_flag(_mapping(one).get("verified")),
            )
        )
    return tuple(found) or None


def _context(config: Mapping[str, Any]) -> int | None:
    text = _mapping(config.get("text_config"))
    for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length"):
        if found := _positive(config.get(key)) or _positive(text.get(key)):
            return found
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return list(value) if isinstance(value, list | tuple) else []


def _words(value: Any) -> list[str]:
    """Return the texts of a value that may be one text or a list of them."""
    listed = [value] if isinstance(value, str) and not value.lstrip().startswith("[") else _list(value)
    return [text for one in listed if (text := _text(one))]


def clean(text: str) -> str:
    """Return a text without control characters, which could rewrite a terminal, and without outer blanks."""
    if text.isprintable():
        return text.strip()
    # Half a surrogate pair cannot be stored or printed either.
    return text.translate(_CONTROLS).encode(errors="ignore").decode().strip()


def _text(value: Any) -> str | None:
    return clean(value[:_LONGEST]) or None if isinstance(value, str) else None


def _tuple(values: Iterable[str]) -> tuple[str, ...] | None:
    return tuple(dict.fromkeys(values))[:_LONGEST] or None


def _count(value: Any) -> int | None:
    counts = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LARGEST
    return int(value) if counts else None


def _positive(value: Any) -> int | None:
    return _count(value) or None


def _positive_float(value: Any) -> float | None:
    return float(value) if _count(value) and value > 0 else None


def _scaled(value: Any, by: float) -> float | None:
    return float(value) / by if _count(value) is not None and value > 0 else None


def _price(value: Any) -> Any:
    # Through text: a float's binary tail is no price.
    return str(value) if isinstance(value, int | float | str) and not isinstance(value, bool) and str(value) else None


def _flag(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None
