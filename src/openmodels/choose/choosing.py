"""`om.choose`: models that meet needs, ranked by weights."""

from __future__ import annotations

import math
from collections.abc import Container, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from openmodels import background
from openmodels.catalog.api import info, search
from openmodels.catalog.query import build_query
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.search.results import Results
from openmodels.choose import axes as axis_names, prices, ranking, scores
from openmodels.choose.axes import Axis, Candidate, Value
from openmodels.choose.needs import Needs, check, check_closely, needs_a_closer_look, read_needs
from openmodels.choose.scores import ScoreTable
from openmodels.choose.selection import Choice, Rejection, Selection
from openmodels.errors import ErrorBoundary, InvalidRequest

PREFER = {"quality": 0.5, "price": 0.3, "speed": 0.2}
"""The weights where the caller states none."""
_CANDIDATES = 200
"""Models of a search that are looked at."""
_CLOSE_LOOKS = 25
"""Models of a search about which requests are made, for needs that take some."""


@ErrorBoundary()
def choose(
    text: str = "",
    *,
    task: str | None = None,
    need: Mapping[str, Any] | None = None,
    prefer: Mapping[str, float] | None = None,
    among: Iterable[str | ModelRecord] | Selection | None = None,
    ratio: str | tuple[float, float] | float = prices.RATIO,
    tables: Iterable[str | Path | ScoreTable] = (),
) -> Selection:
    """Return the models that meet needs, ranked by weights, and the rejected ones.

    What is not known is never guessed: a model without a price ranks behind those whose price is known, and a fact
    that no source states does not meet a need.

    Args:
        text: Words to search for, as in `om.search`; only without `among`.
        task: In the words of the Hub or of Azure; only models of this task.
        need: Constraints. As in `om.search`: "license", "license_class", "open", "gated", "parameters", "context",
            "languages", "provider". "openness": a profile of `om.openness` or a criterion that must be open. "fit": a
            device of `om.fit`, or True for this machine. "modalities": "image", or {"input": …, "output": …}.
            "tools", "schema": True. "max_price" (blended), "max_price_in", "max_price_out": US dollars per million
            tokens. "region": no source states one yet, so no model meets it, and a note says so.
        prefer: The weight of each axis, 0 to leave it out: "quality", "price", "price_in", "price_out", "speed",
            "latency", "context", "parameters" (fewer are better), "downloads", "likes", "score:BENCHMARK". "quality" is
            the benchmark that most of the models have. Default: quality 0.5, price 0.3, speed 0.2.
        among: Ids, records, the results of a search or a `Selection`; None searches the catalogs. Records in a list are
            taken as they are; the others get the prices of today where the catalogs state none.
        ratio: Input to output tokens in the blended price.
        tables: Files of leaderboards (parquet, CSV, JSON), or what `read_table` makes of one.

    Raises:
        InvalidRequest: A key or a value is wrong; the message names the known ones.
        ModelNotFound: No catalog has one of the ids.
        MissingExtra: A file or a device needs a package that is not installed.
        Offline: The network, the index and models on this disk are all missing.
    """
    parts = prices.read_ratio(ratio)
    needs = read_needs(need or {}, parts)
    weights = _read_weights(PREFER if prefer is None else prefer)
    boards = read_tables(tables)
    notes = [f"scores: {board_note}" for board in boards if (board_note := _unjoined(board))]
    if "region" in needs.stated:
        notes.append("need: region: no source that is read states regions, so no model meets it; name a provider")
    taken_as_is: set[str] = set()
    if among is None:
        records = _search(text, task, needs, notes)
    elif text:
        raise InvalidRequest("text: there is nothing to search for among given models.", next_step="Leave it out.")
    else:
        records, taken_as_is = read_models(among)
    candidates = gather(records, taken_as_is, boards, notes)
    rejected, passed = [], []
    for candidate in candidates:
        failed = check(candidate, needs)
        if task is not None and among is not None and (reason := _wrong_task(candidate.record, task)):
            failed = {"task": reason, **failed}
        if failed:
            rejected.append(_reject(candidate, failed))
        else:
            passed.append(candidate)
    if needs_a_closer_look(needs) and passed:
        if among is None and len(passed) > _CLOSE_LOOKS:
            notes.append(f"need: {', '.join(needs.stated)}: the {_CLOSE_LOOKS} best of {len(passed)} were looked at")
            best = [choice.id for choice in _rank(passed, weights, parts, [])[0][:_CLOSE_LOOKS]]
            passed = [candidate for candidate in passed if candidate.id in best]
        close = {candidate.id: check_closely(candidate.record, needs) for candidate in passed}
        rejected += [_reject(candidate, close[candidate.id]) for candidate in passed if close[candidate.id]]
        passed = [candidate for candidate in passed if not close[candidate.id]]
    # Where nothing is ranked, that an axis is unknown says nothing.
    ranked, axes = _rank(passed, weights, parts, notes if passed else [])
    coverage = {name: sum(choice.axes[name] is not None for choice in ranked) for name in weights}
    return Selection(
        tuple(ranked),
        tuple(sorted(rejected, key=lambda item: item.id)),
        weights,
        axes,
        coverage,
        prices.show_ratio(parts),
        tuple(dict.fromkeys(notes)),
    )


async def achoose(
    text: str = "",
    *,
    task: str | None = None,
    need: Mapping[str, Any] | None = None,
    prefer: Mapping[str, float] | None = None,
    among: Iterable[str | ModelRecord] | Selection | None = None,
    ratio: str | tuple[float, float] | float = prices.RATIO,
    tables: Iterable[str | Path | ScoreTable] = (),
) -> Selection:
    """Return the models that meet needs, ranked: the async twin of `choose`.

    Raises:
        OpenModelsError: As `choose` does.
    """
    return await background.arun(
        partial(choose, text, task=task, need=need, prefer=prefer, among=among, ratio=ratio, tables=tables)
    )


def _read_weights(prefer: Any) -> dict[str, float]:
    """Return the weights above 0, the heaviest first; they sum to 1."""
    if not isinstance(prefer, Mapping):
        raise InvalidRequest(f"prefer: expected a dict of axes and weights, not {type(prefer).__name__}.")
    weights: dict[str, float] = {}
    for name, weight in prefer.items():
        axis = axis_names.check_name(name, "prefer")
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not math.isfinite(weight) or weight < 0:
            raise InvalidRequest(f"prefer: {axis}: {str(weight)[:60]!r} is no weight.", next_step="Write 0 or more.")
        if weight:
            weights[axis] = float(weight)
    # Of the largest, so that the sum is finite.
    largest = max(weights.values(), default=0)
    weights = {name: weight / largest for name, weight in weights.items()}
    total = math.fsum(weights.values())
    if not total:
        raise InvalidRequest(
            "prefer: no axis has a weight above 0.", next_step=f"There are: {', '.join(axis_names.AXES)}."
        )
    return {name: weights[name] / total for name in sorted(weights, key=lambda name: (-weights[name], name))}


def read_tables(tables: Any) -> list[ScoreTable]:
    """Return the tables of scores that a caller names."""
    listed = [tables] if isinstance(tables, str | Path | ScoreTable) else list(tables)
    return [table if isinstance(table, ScoreTable) else scores.read_table(table) for table in listed]


def _unjoined(table: ScoreTable) -> str:
    names = table.unjoined
    return f"{len(names)} names are no ids and have no alias: {', '.join(names[:3])}" if names else ""


def read_models(among: Any) -> tuple[list[ModelRecord], set[str]]:
    """Return the record of each model once, and the ids that came as records.

    Raises:
        InvalidRequest: An item is neither an id nor a record.
        ModelNotFound: No catalog has an id.
    """
    asked_today: set[str] = set()
    if isinstance(among, str | ModelRecord):
        among = [among]
    elif isinstance(among, Selection):
        asked_today = {choice.id for choice in among if _has_offer_of_today(choice)}
        among = [choice.record for choice in among]
    if not isinstance(among, Iterable):
        raise InvalidRequest(f"among: expected ids or records, not {type(among).__name__}.")
    records: dict[str, ModelRecord] = {}
    taken_as_is: set[str] = set()
    for item in among:
        if isinstance(item, ModelRecord):
            taken_as_is |= set() if isinstance(among, Results) or item.id in asked_today else {item.id}
            records.setdefault(item.id, item)
        elif isinstance(item, str):
            record = info(item.strip().removeprefix("hf:"))
            records.setdefault(record.id, record)
        else:
            raise InvalidRequest(f"among: {str(item)[:60]!r} is neither an id nor a record.")
    return list(records.values()), taken_as_is


def _has_offer_of_today(choice: Choice) -> bool:
    """Return whether a choice's offer comes from the router and not from its record."""
    listed = {offer.provider for offer in choice.record.offers or ()}
    offer = choice.offer
    return offer is not None and offer.provider not in listed and offer.license != prices.GENAI_PRICES_TERMS


def _search(text: str, task: Any, needs: Needs, notes: list[str]) -> list[ModelRecord]:
    """Return the models of two searches: with the needs as filters, and without.

    The first finds what meets them, the second shows what is rejected and why.
    """
    known = {name: needs.stated[name] for name in _FILTERS if name in needs.stated}
    if "languages" in needs.stated:
        known["language"] = needs.stated["languages"]
    records: dict[str, ModelRecord] = {}
    for filters in ({**known}, {}) if known else ({},):
        results = search(text, task=task, limit=_CANDIDATES, **filters)
        notes += results.notes
        for record in results:
            records.setdefault(record.id, record)
    notes.append(f"chosen among {len(records)} models of the catalogs")
    notes.append("scores: of a search the evaluation results are read, not the model indexes of cards; ids get both")
    return list(records.values())


_TEXT_TOO = ("image-text-to-text", "audio-text-to-text", "video-text-to-text", "any-to-any")
_FILTERS = ("license", "license_class", "open", "gated", "parameters", "context", "provider")


def _wrong_task(record: ModelRecord, task: str) -> str | None:
    wanted = build_query(task=task).task
    # What takes and gives text beside other things can generate text too.
    sides = record.modalities
    is_text = sides and "text" in (sides.input or ()) and "text" in (sides.output or ())
    if record.task in (None, wanted) or (wanted == "text-generation" and is_text and record.task in _TEXT_TOO):
        return None
    return f"{record.task}, not {wanted}"


def gather(
    records: Iterable[ModelRecord], taken_as_is: Container[str], tables: Sequence[ScoreTable], notes: list[str]
) -> list[Candidate]:
    """Return records with their offers and scores.

    The router's list is asked where a record of the Hub has no priced offer, but not for `taken_as_is` ones.
    """
    candidates = [Candidate(record, prices.offers_of(record), scores.scores_of(record, tables)) for record in records]
    unpriced = {
        candidate.record.ids.hub.lower(): candidate
        for candidate in candidates
        if candidate.record.ids.hub
        and candidate.id not in taken_as_is
        and all(offer.price_in is None and offer.price_out is None for offer in candidate.record.offers or ())
    }
    listed = prices.list_router(notes) if unpriced else {}
    for hub_id, candidate in unpriced.items():
        if providers := listed.get(hub_id):
            candidate.offers = prices.router_offers(hub_id, providers)
    return candidates


def _reject(candidate: Candidate, failed: Mapping[str, str]) -> Rejection:
    return Rejection(candidate.id, "; ".join(f"{name}: {reason}" for name, reason in failed.items()), tuple(failed))


def _rank(
    candidates: list[Candidate], weights: Mapping[str, float], ratio: Any, notes: list[str]
) -> tuple[list[Choice], dict[str, Axis]]:
    axes = {name: axis_names.find_axis(name, candidates, notes) for name in weights}
    axis_names.pick_offers(candidates, list(axes.values()), ratio)
    values = {name: axis_names.read_axis(axis, candidates, ratio, notes) for name, axis in axes.items()}
    # Numbers of which the greater is the better.
    numbers = {
        candidate.id: {name: _upwards(axes[name], values[name].get(candidate.id)) for name in axes}
        for candidate in candidates
    }
    known = {name: [number for row in numbers.values() if (number := row[name]) is not None] for name in axes}
    by_id = {candidate.id: candidate for candidate in candidates}
    choices = []
    for place in ranking.rank(numbers, weights):
        candidate = by_id[place.id]
        model_values = {name: values[name].get(place.id) for name in axes}
        percentiles = {
            name: None if number is None else ranking.percentile(number, known[name])
            for name, number in numbers[place.id].items()
        }
        choices.append(
            Choice(
                place.id,
                tuple(_reasons(candidate, axes, model_values, numbers[place.id], known)),
                {name: value.number if value else None for name, value in model_values.items()},
                percentiles,
                place.shares,
                place.points,
                place.is_undominated,
                {name: value for name, value in model_values.items() if value},
                candidate.offer,
                candidate.record,
            )
        )
    return choices, axes


def _upwards(axis: Axis, value: Value | None) -> float | None:
    return None if value is None else -value.number if axis.lower_is_better else value.number


def _reasons(
    candidate: Candidate,
    axes: Mapping[str, Axis],
    values: Mapping[str, Value | None],
    numbers: Mapping[str, float | None],
    known: Mapping[str, list[float]],
) -> Iterable[str]:
    for name, axis in axes.items():
        value, number = values[name], numbers[name]
        label = axis.label[:1].upper() + axis.label[1:]
        if value is None or number is None:
            yield f"{label} is not known."
            continue
        better = sum(other > number for other in known[name])
        place = "the best" if not better else f"number {better + 1}"
        at = f" at {value.provider}" if value.provider else ""
        yield f"{label} {axis.show(value.number)}{at} is {place} of {len(known[name])} ({value.origin})."
    lifecycle = candidate.record.lifecycle
    for mark in candidate.record.marks:
        yield f"It is {mark}."
    if lifecycle and lifecycle.replacement:
        yield f"Its vendor's replacement is {lifecycle.replacement}."
