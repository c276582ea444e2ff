"""Records of the Hub's models, from the fields that `hub.model_page` reads."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from functools import lru_cache
from itertools import islice
from typing import Any

from openmodels.catalog import languages, vocabulary
from openmodels.catalog.record import Base, Ids, License, ModelRecord, Offer, Parameters, Score
from openmodels.hub import model_names, untrusted_fields as fields
from openmodels.hub.model_page import ModelPage
from openmodels.hub.offers import Provider

_FORMATS = ("safetensors", "gguf", "onnx", "openvino", "mlx", "pytorch", "tf", "jax", "coreml", "exl2")
_SUFFIXES = {".safetensors": "safetensors", ".gguf": "gguf", ".onnx": "onnx", ".bin": "pytorch", ".pt": "pytorch",
             ".pth": "pytorch", ".h5": "tf", ".msgpack": "jax"}  # fmt: skip
_FIELD_TAGS = ("license:", "base_model:", "dataset:", "region:", "language:", "deploy:", "base_model_relation:")
_LANGUAGE_TAGS = frozenset({*languages.CODES, "multilingual"})
_PLUMBING = frozenset({"text-generation-inference", "endpoints_compatible", "autotrain_compatible", "has_space"})


def build_record(row: Any, as_of: date | None, *, source: str = "hub") -> ModelRecord:
    """Return the record of a row of the catalog `source`, read on a day.

    A row is an object of `/api/models`, or a row of a dump, where nested values may be JSON text.
    ValueError: it lacks a usable id, or is another value.
    """
    if not isinstance(row, Mapping):
        raise ValueError(  # noqa: TRY004 - one kind of error for every bad row
            f"a row is {type(row).__name__}, not an object"
        )
    page = ModelPage(row)
    if not page.id:
        raise ValueError(f"no usable id: {str(row.get('id') or row.get('modelId'))[:80]!r}")
    task = vocabulary.task(page.task) if page.task else None
    parameters, is_from_name = _parameters(page)
    languages = _languages(page)
    declared = page.license
    values = {
        "ids": Ids(hub=page.id),
        "author": page.author,
        "task": task,
        "family": vocabulary.family(page.model_type, page.tags),
        "architecture": page.architecture,
        "library": page.library,
        "parameters": parameters,
        "context_length": page.context_length,
        "languages": languages,
        "modalities": vocabulary.modalities(task),
        "license": _license(*declared) if declared else None,
        "gated": page.gated,
        "base_models": tuple(Base(id=base, relation=relation) for base, relation in page.base_models.items()) or None,
        "trained_from": page.trained_from,
        "datasets": fields.distinct(page.datasets),
        "tags": fields.distinct(tag for tag in page.tags if _is_free(tag, task, languages or ())),
        "downloads": fields.count(row.get("downloads")),
        "likes": fields.count(row.get("likes")),
        "trending": fields.positive_number(row.get("trendingScore")),
        "created": fields.day(row.get("createdAt")),
        "updated": fields.day(row.get("lastModified")),
        "formats": _formats(page),
        "files": page.files or None,
        "offers": offers_of(page.providers, as_of) or None,
        "disabled": True if row.get("disabled") is True else None,
        "scores": _scores(row, page),
    }
    derived = {"modalities": "task", **({"parameters": "name"} if is_from_name else {})}
    return ModelRecord.sourced(source, as_of, values, derived)


def offers_of(providers: Iterable[Provider], as_of: date | None) -> tuple[Offer, ...]:
    """Return the offers of a model's providers; those with a price are dated."""
    return tuple(
        Offer(
            **provider.model_dump(include=_OFFER_FIELDS),
            as_of=None if provider.price_in is None and provider.price_out is None else as_of,
        )
        for provider in providers
    )


_OFFER_FIELDS = set(Offer.model_fields) - {"as_of"}


@lru_cache(maxsize=4096)
def _license(license_id: str, name: str | None, link: str | None) -> License:
    return License(id=license_id, name=name, link=link)


def _parameters(page: ModelPage) -> tuple[Parameters | None, bool]:
    """Return the parameters, and whether their number comes from the name."""
    counted = page.counted_parameters
    stated, active = model_names.parameter_counts(page.id.rpartition("/")[2])
    # Packed weights count several parameters as one; the name then says how many there are.
    is_too_low = counted is not None and stated is not None and counted < stated * 0.6
    is_packed = is_too_low and (
        model_names.is_conversion(page.id) or model_names.has_conversion_tag(map(str.lower, page.tags))
    )
    if counted is not None and not is_packed:
        return Parameters(total=counted, active=active), False
    if "lora" in page.tags or any("base_model:adapter:" in tag for tag in page.tags):
        return None, False
    return (Parameters(total=stated, active=active), True) if stated or active else (None, False)


def _languages(page: ModelPage) -> tuple[str, ...] | None:
    stated = page.card.get("language")
    listed = stated if isinstance(stated, list) else [] if stated is None else [stated]
    codes = [vocabulary.language(value) for value in listed]
    if not any(codes):
        codes = [
            tag.removeprefix("language:") for tag in page.tags if tag in _LANGUAGE_TAGS or tag.startswith("language:")
        ]
    return fields.distinct(code for code in codes if code)


def _is_free(tag: str, task: str | None, languages: tuple[str, ...]) -> bool:
    """Return whether a tag says something that no other field holds."""
    return not (tag == task or tag.startswith(_FIELD_TAGS) or tag in _PLUMBING or tag in languages or tag in _FORMATS)


def _formats(page: ModelPage) -> tuple[str, ...] | None:
    by_name = [_SUFFIXES.get("." + file.name.rpartition(".")[2].lower()) for file in page.files]
    return fields.distinct([*(tag for tag in page.tags if tag in _FORMATS), *(kind for kind in by_name if kind)])


def _scores(row: Mapping[str, Any], page: ModelPage) -> tuple[Score, ...] | None:
    """Return the results of the repository, and those of its card's model index."""
    listed = list(_read_eval_results(row.get("evalResults")))
    known = {score.benchmark for score in listed}
    indexed = _read_model_index(row.get("model-index") or page.card.get("model-index"))
    listed += [score for score in islice(indexed, _MOST_INDEXED) if score.benchmark not in known]
    return tuple(listed) or None


_MOST_INDEXED = 50
"""Results of a model index that are kept; those of embedding models have thousands, one for each split."""


def _read_eval_results(results: Any) -> Iterator[Score]:
    """Yield the results in `evalResults` of a row of the Hub."""
    for result in map(fields.mapping, fields.items(results)):
        data = fields.mapping(result.get("data")) or result
        stated = data.get("dataset")
        dataset = stated if isinstance(stated, Mapping) else {"id": stated or data.get("dataset_id")}
        origin = fields.mapping(data.get("source"))
        sources = map(fields.text, (origin.get("name"), origin.get("url"), data.get("source_url")))
        benchmark, value = fields.text(dataset.get("id")), fields.number(data.get("value"))
        if benchmark is None or value is None:
            continue
        task = fields.text(dataset.get("task_id")) or fields.text(data.get("task_id"))
        yield Score(
            value=value,
            benchmark=f"{benchmark}:{task}" if task else benchmark,
            source=next(filter(None, sources), None),
            date=fields.day(data.get("date")),
            verified=fields.flag(result.get("verified")),
        )


def _read_model_index(models: Any) -> Iterator[Score]:
    """Yield the results in the model index of a card.

    The metric is part of the benchmark: two metrics of a data set are never mixed.
    """
    for result in (result for model in fields.objects(models) for result in fields.objects(model.get("results"))):
        dataset, origin = fields.mapping(result.get("dataset")), fields.mapping(result.get("source"))
        name = fields.text(dataset.get("type")) or fields.text(dataset.get("name"))
        config = fields.text(dataset.get("config"))
        source = fields.text(origin.get("name")) or fields.text(origin.get("url")) or "the model's card"
        for metric in fields.objects(result.get("metrics")):
            kind, value = fields.text(metric.get("type")), fields.number(metric.get("value"))
            if name is None or kind is None or value is None:
                continue
            parts = (name, None if config in ("default", name) else config, kind)
            # "verified" of a card is the author's own word, so it is not taken for the Hub's check.
            yield Score(value=value, benchmark=":".join(filter(None, parts)), source=source)
