"""Metrics: how good an answer is, as a number for each row."""

from __future__ import annotations

import inspect
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any

from openmodels.compare.packages import load_package
from openmodels.compare.prompts import ComparedPrompt
from openmodels.errors import InvalidRequest, OpenModelsError
from openmodels.model import Model
from openmodels.output.grammar.validation import Validator

Score = float | None
Scorer = Callable[[str, Any], Score]
_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d+)?")
_MARKED = re.compile(r"regex:(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class RowMetric:
    """A metric: from answers with their prompts to scores.

    Attributes:
        name: How scores are labelled.
        score: The scores of many answers, in their order; None where one cannot be scored.
        is_bounded: Whether scores lie between 0 and 1.
    """

    name: str
    score: Callable[[Sequence[tuple[str, ComparedPrompt]]], list[Score]]
    is_bounded: bool = True


def build_metrics(
    metrics: Iterable[Any] | None,
    prompts: Sequence[ComparedPrompt],
    schema: Any,
    embedder: Model | None,
    notes: list[str],
) -> list[RowMetric]:
    """Return the metrics that a caller names.

    `notes` gets what fails in a function of the caller.

    Raises:
        InvalidRequest: One is unknown, or needs something that is not there.
        MissingExtra: One needs a package that is not installed.
    """
    has_references = any(prompt.reference is not None for prompt in prompts)
    if metrics is None:
        metrics = ["contains"] if has_references else []
    if isinstance(metrics, str) or callable(metrics):
        metrics = [metrics]
    built: dict[str, RowMetric] = {}
    for metric in metrics:
        row_metric = _build(metric, schema, embedder, notes)
        if row_metric.name in built and isinstance(metric, str):
            row_metric = replace(row_metric, name=metric)
        if row_metric.name in built:
            advice = "Rename the function." if callable(metric) else "Name it once."
            raise InvalidRequest(f"metrics: {row_metric.name!r} stands there twice.", next_step=advice)
        if row_metric.name in _NEEDS_REFERENCE and not has_references:
            raise InvalidRequest(
                f"metrics: {row_metric.name!r} compares with a reference, and no prompt has one.",
                next_step='Write prompts as {"prompt": …, "reference": …}.',
            )
        if metric in ("regex", "schema"):  # their references are checked before anything is paid
            row_metric.score([("", prompt) for prompt in prompts])
        built[row_metric.name] = row_metric
    return list(built.values())


def _build(metric: Any, schema: Any, embedder: Model | None, notes: list[str]) -> RowMetric:
    if callable(metric):
        return _from_callable(metric, notes)
    if not isinstance(metric, str):
        raise InvalidRequest(f"metrics: expected a name or a function, not {type(metric).__name__}.")
    if pattern := _MARKED.fullmatch(metric):
        return _from_pattern(metric, pattern[1])
    if metric == "embedding":
        if embedder is None:
            raise InvalidRequest(
                'metrics: "embedding" needs a model.', next_step='Say embedder="local:org/embedding-model".'
            )
        return RowMetric(metric, partial(_embedding_similarity, embedder, notes))
    if metric == "schema":
        return _each(metric, partial(_fits_schema, None if schema is None else _json_schema(schema)))
    if metric == "json":
        return _each(metric, lambda text, _: float(_parse_json(text) is not _INVALID))
    if metric not in _SCORERS:
        known = ", ".join(sorted({*_SCORERS, "json", "schema", "embedding", "regex:PATTERN"}))
        raise InvalidRequest(f"metrics: {metric!r} is unknown.", next_step=f"There are: {known}; or give a function.")
    if metric in _PACKAGES:
        load_package(_PACKAGES[metric], f"the metric {metric!r}")
    return _each(metric, _any_reference(_SCORERS[metric]))


def _from_pattern(metric: str, pattern: str) -> RowMetric:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidRequest(f"metrics: {metric!r} is no regular expression: {error}.") from error
    return _each("regex", lambda text, _: float(compiled.search(text) is not None))


def _each(name: str, scorer: Callable[[str, ComparedPrompt], Score]) -> RowMetric:
    return RowMetric(name, lambda answers: [scorer(text, prompt) for text, prompt in answers])


def _any_reference(scorer: Scorer) -> Callable[[str, ComparedPrompt], Score]:
    """Return a scorer that takes the best of several references; None without one."""

    def score(text: str, prompt: ComparedPrompt) -> Score:
        reference = prompt.reference
        references = reference if isinstance(reference, list | tuple) else [reference]
        scores = [value for item in references if item is not None and (value := scorer(text, item)) is not None]
        return max(scores, default=None)

    return score


def _from_callable(metric: Callable[..., Any], notes: list[str]) -> RowMetric:
    name = getattr(metric, "__name__", type(metric).__name__)
    try:
        parameters = list(inspect.signature(metric).parameters.values())
    except (TypeError, ValueError):  # of a builtin
        parameters = []
    positional = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    takes_reference = len(positional) != 1 or any(item.kind is item.VAR_POSITIONAL for item in parameters)

    def score(answers: Sequence[tuple[str, ComparedPrompt]]) -> list[Score]:
        scores: list[Score] = []
        failures: list[str] = []
        for text, prompt in answers:
            try:
                value = metric(text, prompt.reference) if takes_reference else metric(text)
                number = None if value is None else float(value)
                if number is not None and not math.isfinite(number):
                    raise ValueError(f"{number} is no score")
            except Exception as error:  # noqa: BLE001 - the answers are paid for: one bad row must not lose them
                failures.append(f"{type(error).__name__}: {error}")
                number = None
            scores.append(number)
        if failures:
            notes.append(f"The metric {name!r} failed on {len(failures)} answers; the first: {failures[0]}")
        return scores

    return RowMetric(name, score, is_bounded=False)


def _plain(value: Any) -> str:
    """Return a text without differences of case, width and spacing."""
    return " ".join(unicodedata.normalize("NFKC", str(value)).casefold().split())


def _exact(text: str, reference: Any) -> Score:
    return float(_plain(text) == _plain(reference))


def _contains(text: str, reference: Any) -> Score:
    return float(_plain(reference) in _plain(text))


def _regex(text: str, reference: Any) -> Score:
    try:
        return float(re.search(str(reference), text) is not None)
    except re.error as error:
        raise InvalidRequest(f"metrics: a reference is no regular expression: {error}.") from error


def _last_number(text: Any) -> float | None:
    numbers = [match for match in _NUMBER.findall(str(text)) if any(character.isdigit() for character in match)]
    return float(numbers[-1].replace(",", "").replace("−", "-")) if numbers else None


def _numeric(text: str, reference: Any) -> Score:
    expected, answered = _last_number(reference), _last_number(text)
    if expected is None:
        return None
    return float(answered is not None and math.isclose(answered, expected, rel_tol=1e-6, abs_tol=1e-9))


@cache
def _rouge_scorer() -> Any:
    return load_package("rouge_score.rouge_scorer", "ROUGE").RougeScorer(["rougeL"], use_stemmer=False)


def _rouge_l(text: str, reference: Any) -> Score:
    return float(_rouge_scorer().score(str(reference), text)["rougeL"].fmeasure)


def _chrf(text: str, reference: Any) -> Score:
    return float(load_package("sacrebleu", "chrF").sentence_chrf(text, [str(reference)]).score) / 100


def _bleu(text: str, reference: Any) -> Score:
    return float(load_package("sacrebleu", "BLEU").sentence_bleu(text, [str(reference)]).score) / 100


_SCORERS: dict[str, Scorer] = {
    "exact": _exact,
    "contains": _contains,
    "regex": _regex,
    "numeric": _numeric,
    "rouge_l": _rouge_l,
    "chrf": _chrf,
    "bleu": _bleu,
}
_PACKAGES = {"rouge_l": "rouge_score.rouge_scorer", "chrf": "sacrebleu", "bleu": "sacrebleu"}
_NEEDS_REFERENCE = {*_SCORERS, "embedding"} - {"regex"}

_INVALID = object()


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _INVALID


def _json_schema(schema: Any) -> Mapping[str, Any]:
    """Return the JSON Schema of what `chat` takes as `schema`."""
    if isinstance(schema, Mapping):
        return schema
    from pydantic import TypeAdapter

    described: dict[str, Any] = TypeAdapter(schema).json_schema()
    return described


def _fits_schema(schema: Mapping[str, Any] | None, text: str, prompt: ComparedPrompt) -> Score:
    """Return whether an answer is JSON of the schema of its call or reference."""
    applied = schema if schema is not None else prompt.reference
    if isinstance(applied, str):  # a cell of a CSV file
        applied = _parse_json(applied)
    if not isinstance(applied, Mapping):
        raise InvalidRequest(
            f'metrics: "schema" has no JSON Schema for prompt {prompt.index}.',
            next_step="Give schema=… to the calls, or a JSON Schema as the reference.",
        )
    validator = Validator(applied)
    value = _parse_json(text)
    return 0.0 if value is _INVALID else float(not validator.find_errors(value))


def _embedding_similarity(
    embedder: Model, notes: list[str], answers: Sequence[tuple[str, ComparedPrompt]]
) -> list[Score]:
    """Return the cosine of each answer and its reference; below 0 counts as 0."""
    pairs = {
        place: (text, str(prompt.reference))
        for place, (text, prompt) in enumerate(answers)
        if text.strip() and prompt.reference is not None
    }
    scores: list[Score] = [None if prompt.reference is None else 0.0 for _, prompt in answers]
    if not pairs:
        return scores
    texts = list(dict.fromkeys(text for pair in pairs.values() for text in pair))
    try:
        vectors = embedder.embed(texts).vectors
    except OpenModelsError as error:
        notes.append(f"The metric 'embedding' failed: {type(error).__name__}: {error.cause}")
        return [None] * len(answers)
    import numpy as np

    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths == 0, 1, lengths)
    places = {text: place for place, text in enumerate(texts)}
    for place, (text, reference) in pairs.items():
        scores[place] = max(0.0, min(1.0, float(unit[places[text]] @ unit[places[reference]])))
    return scores
