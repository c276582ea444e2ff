"""`learn_router`: a route learned from a comparison, if that pays."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from openmodels import files
from openmodels.backends.base import Request
from openmodels.combine.combination import ModelLike
from openmodels.combine.neighbours import (
    Neighbourhoods,
    Outcomes,
    RouterEvaluation,
    count_neighbours,
    evaluate_router,
)
from openmodels.combine.route import route
from openmodels.combine.text_vectors import WORDS, TextVectorizer
from openmodels.compare import paired
from openmodels.errors import ErrorBoundary, InvalidReference, InvalidRequest
from openmodels.model import Model
from openmodels.types.request import ChatRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FORMAT = "openmodels-router-1"
_LARGEST_FILE = 2**28  # bytes
_FEWEST = 10  # prompts


class ComparisonLike(Protocol):
    """What a router learns from, as a `Comparison`.

    Attributes:
        rows: Dicts with model, index, scores, and where known cost and error.
        prompts: Texts, dicts with "prompt" and maybe "cluster", or objects with `text` and `cluster`; by index.
    """

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]: ...  # noqa: D102 - above

    @property
    def prompts(self) -> Sequence[Any]: ...  # noqa: D102 - above


@dataclass(frozen=True)
class LearnedRouter:
    """A rule for `om.route`, learned from a comparison.

    It takes the model that scored best on the prompts most like a new one.

    Attributes:
        models: The names of the models; the rule returns a number of this list.
        recommended: Whether it beats the random mixture of the models at the same cost, beyond chance.
        report: How it does on prompts that it has not learned from, beside the single models, the mixture and the
            oracle, with costs.
        is_forced: Whether `model` is there although it is not recommended.
    """

    models: tuple[str, ...]
    recommended: bool
    report: str = field(repr=False)
    is_forced: bool
    _members: tuple[ModelLike, ...] = field(repr=False)
    _vectorizer: TextVectorizer = field(repr=False)
    _vectors: NDArray[Any] = field(repr=False)
    _outcomes: Outcomes = field(repr=False)
    _neighbours: int = field(repr=False)
    _worth: float | None = field(repr=False)

    def __str__(self) -> str:
        return self.report

    def __call__(self, request: Request) -> int:
        """Return the number of the model for a request."""
        if isinstance(request, ChatRequest):
            users = [message.text for message in request.messages if message.role == "user"]
            return self.choose(request.prompt or (users[-1] if users else ""))
        return self.choose("")

    def choose(self, prompt: str) -> int:
        """Return the number of the model for a prompt."""
        vectors = self._vectorizer.vectorize([prompt])
        means = self._outcomes.mean_scores[None, :]
        neighbourhoods = Neighbourhoods(vectors @ self._vectors.T, self._neighbours)
        return int(neighbourhoods.choose(self._outcomes, means, self._worth)[0])

    @cached_property
    def model(self) -> Model | None:
        """A route over the models; None where it is not recommended, unless forced.

        Raises:
            InvalidReference: A name of the comparison cannot be read as a reference; say `models` then.
        """
        if not (self.recommended or self.is_forced):
            return None
        try:
            return route(self, self._members)
        except InvalidReference as error:
            raise InvalidReference(
                "The names of the comparison are not references.",
                next_step=f"Say models={{{error.reference or self.models[0]!r}: …}} to learn_router or load_router.",
            ) from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the router to a JSON file, which holds numbers, but no prompts.

        Raises:
            WriteFailed: The file cannot be written; what was there before is unchanged.
        """
        data = {
            "format": _FORMAT,
            "models": self.models,
            "recommended": self.recommended,
            "report": self.report,
            "forced": self.is_forced,
            "embedder": self._vectorizer.name,
            "weights": self._vectorizer.weights,
            # Places that are not 0, with their numbers.
            "vectors": [
                [row.nonzero()[0].tolist(), [round(number, 5) for number in row[row.nonzero()].tolist()]]
                for row in self._vectors
            ],
            "scores": self._outcomes.scores.tolist(),
            "costs": self._outcomes.costs.tolist(),
            "neighbours": self._neighbours,
            "worth": self._worth,
        }
        with files.atomic_writer(path) as file:
            file.write(json.dumps(data).encode())


@ErrorBoundary()
def learn_router(
    comparison: ComparisonLike,
    *,
    models: Mapping[str, ModelLike] | Iterable[ModelLike] | None = None,
    metric: str | None = None,
    embedder: Model | str | None = None,
    worth: float | None = None,
    costs: Mapping[str, float] | None = None,
    force: bool = False,
) -> LearnedRouter:
    """Return a router that has learned from a comparison.

    A new prompt goes to the model that scored best on the prompts most like it. Each prompt of the comparison is routed
    by the others, those of its cluster left out, and the outcome is compared with the Zero router: the random mixture
    of the models that costs the same. Only a router that scores more than that, beyond chance, is recommended.

    Args:
        comparison: What `om.compare` returned.
        models: The models, by their names in the comparison or in its order; None opens the names as references.
        metric: The metric to learn from; needed where there are several.
        embedder: A model with embeddings; None compares prompts by their words, which needs no model.
        worth: US dollars that a score higher by 1 is worth; None puts the score first, and the cost second.
        costs: US dollars of a prompt, by model, where the comparison does not know them.
        force: Whether `model` is there although the router is not recommended.

    Raises:
        InvalidRequest: There are too few prompts or models with scores, or an argument is wrong.
        MissingExtra: The statistics need a package that is not installed.
    """
    import numpy as np

    names = tuple(dict.fromkeys(str(row["model"]) for row in comparison.rows))
    if len(names) < 2:
        raise InvalidRequest("comparison: a router needs two models at least.")
    members = _read_members(models, names)
    if worth is not None and not (_is_number(worth) and worth > 0):
        raise InvalidRequest("worth: expected US dollars, more than 0.")
    metric = _read_metric(comparison, metric)
    scores = _read_table(comparison, names, lambda row: row["scores"].get(metric))
    kept = np.flatnonzero(~np.isnan(scores).any(axis=1))
    if len(kept) < _FEWEST:
        raise InvalidRequest(f"comparison: {len(kept)} prompts have a score of every model, and {_FEWEST} are needed.")
    spent = _read_table(comparison, names, lambda row: row.get("cost"))
    for name, cost in (costs or {}).items():
        if name not in names:
            raise InvalidRequest(f"costs: the comparison has no model {name!r}.")
        if not (_is_number(cost) and cost >= 0):
            raise InvalidRequest(f"costs: expected US dollars for {name!r}, 0 or more.")
        spent[:, names.index(name)] = cost
    spent = spent[kept]
    unknown = np.isnan(spent)
    with np.errstate(all="ignore"):
        spent = np.where(unknown, np.nansum(spent, axis=0) / (~unknown).sum(axis=0), spent)
    has_costs = not np.isnan(spent).any()
    if worth is not None and not has_costs:
        raise InvalidRequest("worth: the cost of a model is not known.", next_step="Say costs={name: US dollars}.")

    prompts = [comparison.prompts[int(place)] for place in kept]
    texts = [_read_text(prompt) for prompt in prompts]
    outcomes = Outcomes(scores[kept], spent if has_costs else np.zeros_like(spent), _number_groups(prompts, texts))
    vectorizer = TextVectorizer(Model(embedder) if isinstance(embedder, str) else embedder)
    vectors = vectorizer.vectorize(texts)
    neighbours = count_neighbours(len(kept))
    evaluation = evaluate_router(vectors, outcomes, neighbours, worth)
    notes = [f"Prompts are compared by {'their words' if vectorizer.name == WORDS else vectorizer.name}."]
    if len(kept) < len(scores):
        notes.append(f"{len(scores) - len(kept)} prompts without a score of every model are left out.")
    if not has_costs:
        notes.append("The cost of a model is not known, so the router is compared with the best single model.")
    report = _write_report(names, metric, outcomes, evaluation, notes, has_costs=has_costs)
    return LearnedRouter(
        models=names,
        recommended=evaluation.beats_mixture,
        report=report,
        is_forced=force,
        _members=members,
        _vectorizer=vectorizer,
        _vectors=vectors,
        _outcomes=outcomes,
        _neighbours=neighbours,
        _worth=worth,
    )


@ErrorBoundary()
def load_router(
    path: str | os.PathLike[str],
    *,
    models: Mapping[str, ModelLike] | Iterable[ModelLike] | None = None,
    embedder: Model | str | None = None,
) -> LearnedRouter:
    """Return a router from a file that `LearnedRouter.save` has written.

    Args:
        path: The file.
        models: As for `learn_router`.
        embedder: The model that it was learned with; None opens its reference.

    Raises:
        InvalidRequest: The file does not hold a router.
    """
    import numpy as np

    data = files.parse_json(files.read_bounded(path, largest=_LARGEST_FILE), os.fspath(path))
    try:
        if data["format"] != _FORMAT:
            raise ValueError("its format is another")
        names = tuple(str(name) for name in data["models"])
        weights = [float(number) for number in data["weights"]]
        vectors = np.zeros((len(data["vectors"]), len(weights)))
        for row, (places, numbers) in zip(vectors, data["vectors"], strict=True):
            row[np.asarray(places, dtype=int)] = np.asarray(numbers, dtype=float)
        scores, spent = np.asarray(data["scores"], dtype=float), np.asarray(data["costs"], dtype=float)
        if scores.shape != (len(vectors), len(names)) or spent.shape != scores.shape or len(names) < 2:
            raise ValueError("its tables do not fit each other")
        if not (np.isfinite(scores).all() and np.isfinite(spent).all() and np.isfinite(vectors).all()):
            raise ValueError("a number is missing")
        neighbours, worth = int(data["neighbours"]), data["worth"]
        if neighbours < 1 or (worth is not None and not float(worth) > 0):
            raise ValueError("a setting is out of range")
        recommended, forced = data["recommended"] is True, data["forced"] is True
        report, reference = str(data["report"]), str(data["embedder"])
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        raise InvalidRequest(f"{os.fspath(path)} holds no router of this version: {error}.") from error
    if embedder is None and reference != WORDS:
        embedder = reference
    return LearnedRouter(
        models=names,
        recommended=recommended,
        report=report,
        is_forced=forced,
        _members=_read_members(models, names),
        _vectorizer=TextVectorizer(Model(embedder) if isinstance(embedder, str) else embedder, weights),
        _vectors=vectors,
        _outcomes=Outcomes(scores, spent, np.arange(len(vectors))),
        _neighbours=neighbours,
        _worth=worth,
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read_members(models: Any, names: Sequence[str]) -> tuple[ModelLike, ...]:
    if models is None:
        return tuple(names)
    if isinstance(models, Mapping):
        if missing := [name for name in names if name not in models]:
            raise InvalidRequest(f"models: {missing[0]!r} of the comparison is missing.")
        return tuple(models[name] for name in names)
    members = tuple(models)
    if len(members) != len(names):
        raise InvalidRequest(f"models: expected {len(names)}, in the order of the comparison.")
    return members


def _read_metric(comparison: ComparisonLike, metric: str | None) -> str:
    metrics = list(dict.fromkeys(name for row in comparison.rows for name in row["scores"]))
    if metric is None and len(metrics) == 1:
        return str(metrics[0])
    if metric is None or metric not in metrics:
        listed = ", ".join(metrics) or "none"
        raise InvalidRequest(f"metric: expected one of the comparison's: {listed}.", next_step='Say metric="…".')
    return metric


def _read_table(comparison: ComparisonLike, names: Sequence[str], read: Any) -> NDArray[Any]:
    """Return means over repeats, of shape (prompts, models); NaN is not known."""
    import numpy as np

    sums = np.zeros((len(comparison.prompts), len(names)))
    counts = np.zeros_like(sums)
    for row in comparison.rows:
        value = read(row)
        if value is not None and math.isfinite(value):
            sums[row["index"], names.index(row["model"])] += value
            counts[row["index"], names.index(row["model"])] += 1
    with np.errstate(invalid="ignore"):
        table: NDArray[Any] = np.where(counts > 0, sums / counts, np.nan)
    return table


def _read_text(prompt: Any) -> str:
    if isinstance(prompt, Mapping):
        prompt = prompt.get("prompt", prompt.get("content", ""))
    return prompt if isinstance(prompt, str) else str(getattr(prompt, "text", prompt))


def _number_groups(prompts: Sequence[Any], texts: Sequence[str]) -> NDArray[Any]:
    """Return a number for each cluster; prompts with the same text are one, too."""
    import numpy as np

    groups: dict[Any, int] = {}
    numbers = []
    for prompt, text in zip(prompts, texts, strict=True):
        cluster = prompt.get("cluster") if isinstance(prompt, Mapping) else getattr(prompt, "cluster", None)
        numbers.append(groups.setdefault(("text", text) if cluster is None else ("cluster", cluster), len(groups)))
    return np.array(numbers)


def _write_report(
    names: Sequence[str],
    metric: str,
    outcomes: Outcomes,
    evaluation: RouterEvaluation,
    notes: Sequence[str],
    *,
    has_costs: bool,
) -> str:
    fractions = ", ".join(f"{fraction:.0%} {names[model]}" for model, fraction in evaluation.mixture)
    scores, costs = outcomes.mean_scores.tolist(), outcomes.mean_costs.tolist()
    best = scores.index(max(scores))
    lines = [
        ("oracle (the best model for each prompt)", evaluation.oracle_score, evaluation.oracle_cost),
        ("this router", evaluation.score, evaluation.cost),
        (
            f"Zero router, the best mixture at that cost ({fractions})",
            evaluation.mixture_score,
            sum(fraction * costs[model] for model, fraction in evaluation.mixture),
        ),
        *(
            (f"{name}, the best single model" if place == best else name, scores[place], costs[place])
            for place, name in enumerate(names)
        ),
    ]
    width = max(len(label) for label, _, _ in lines)
    table = [f"{'':{width}}  {metric[:10]:>10}" + ("   US dollars" if has_costs else "")]
    for label, score, cost in lines:
        table.append(f"{label:{width}}  {score:10.3f}" + (f"   {cost:10.6f}" if has_costs else ""))
    result = evaluation.difference
    low, high = result.interval
    sentence = (
        f"On {result.count} prompts, each routed by the others, the router scores {result.mean:+.3f} against the "
        f"mixture (95 % interval {low:+.3f} to {high:+.3f}, p = {result.p_value:.2g})"
    )
    if evaluation.shuffled_p is not None:
        sentence += f"; with the outcomes shuffled among the prompts, as much has p = {evaluation.shuffled_p:.2g}"
    if evaluation.beats_mixture:
        conclusion = "it beats the mixture: recommended."
    else:
        advice = names[best] if len(evaluation.mixture) == 1 else f"{names[best]}, or the mixture"
        conclusion = f"it does not beat the mixture: not recommended; use {advice}."
        needed = paired.prompts_needed(result) if result.mean > 0 else None
        if needed is not None and needed > result.count:
            notes = [
                *notes,
                f"If the difference is what it seems, about {needed - result.count:,} more prompts would show it.",
            ]
    return "\n".join([*table, f"{sentence}: {conclusion}", *notes])
