"""Results of evaluations that repositories of the Hub state.

They stand in `.eval_results`, or in the model index of a card.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from itertools import islice
from typing import Any, NamedTuple

from openmodels.hub import untrusted_fields as fields

_LONGEST = 50
"""Results of a model index that are kept; those of embedding models have thousands, one for each split."""


class Evaluation(NamedTuple):
    """A result that a repository states.

    Attributes:
        benchmark: The data set's id, with the task or the metric behind a colon.
        value: The number, in the benchmark's unit.
        source: Who reports it, or where.
        day: When.
        verified: Whether the Hub checked the run; None where it does not say.
    """

    benchmark: str
    value: float
    source: str | None = None
    day: date | None = None
    verified: bool | None = None


def parse_eval_results(results: Any) -> Iterator[Evaluation]:
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
        yield Evaluation(
            f"{benchmark}:{task}" if task else benchmark,
            value,
            next(filter(None, sources), None),
            fields.day(data.get("date")),
            fields.flag(result.get("verified")),
        )


def parse_model_index(models: Any) -> Iterator[Evaluation]:
    """Yield the first results in the model index of a card.

    The metric is part of the benchmark: two metrics of a data set are never mixed.
    """
    yield from islice(_read_model_index(models), _LONGEST)


def _read_model_index(models: Any) -> Iterator[Evaluation]:
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
            yield Evaluation(":".join(filter(None, parts)), value, source)
