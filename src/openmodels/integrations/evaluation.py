"""What the adapters to evaluation packages share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

from openmodels.errors import InvalidRequest

if TYPE_CHECKING:
    from openmodels.compare.comparison import Comparison

CONCURRENCY = 8
"""Calls at the same time: local ones share their forward passes."""
MAX_TOKENS = 256
"""The longest answer where a task sets no limit, as in lm-eval's own models."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def run_all(call: Callable[[_Item], _Result], items: Sequence[_Item]) -> list[_Result]:
    """Return the results of calls, in the order of the items.

    The first error cancels the calls that have not begun.
    """
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        futures = [pool.submit(copy_context().run, call, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def split_pair(context: str, continuation: str, prefix: str | None) -> tuple[str, str]:
    """Return a pair with the spaces between the two in the continuation.

    Raises:
        InvalidRequest: Context and prefix are both missing.
    """
    if not context and prefix is None:
        raise InvalidRequest(
            "A task scores a text without context, and a model needs something before it.",
            next_step='Give the adapter prefix="…", e.g. the text of the token that begins a text.',
        )
    start = context.rstrip()
    return (start, context[len(start) :] + continuation) if start else (prefix or context, continuation)


def make_row(model: str, index: int, *, prompt: Any, reference: Any, task: str, **facts: Any) -> dict[str, Any]:
    """Return a result as a row of a comparison, with prompt and task.

    `facts` are those of `compare.results.make_row`.
    """
    from openmodels.compare import results

    prompt_facts = {"prompt": prompt, "reference": reference, "cluster": None, "tags": [task]}
    return results.make_row(model, index, **facts) | prompt_facts


def compare_rows(rows: Iterable[Mapping[str, Any]]) -> Comparison:
    """Return the rows of adapters as a comparison, with its table and statistics.

    Args:
        rows: What `as_rows` of the adapters returned, for several models on the same tasks.

    Raises:
        InvalidRequest: There are none, or rows with the same index have other prompts.
        MissingExtra: The statistics need a package that is not installed.
    """
    from openmodels.compare import results
    from openmodels.compare.comparison import Comparison
    from openmodels.compare.prompts import ComparedPrompt

    listed = [dict(row) for row in rows]
    prompts: dict[int, ComparedPrompt] = {}
    for row in listed:
        fields = {"reference": row["reference"], "cluster": row["cluster"], "tags": tuple(row["tags"])}
        prompt = ComparedPrompt(row["index"], row["prompt"], **fields)
        if prompts.setdefault(row["index"], prompt).prompt != prompt.prompt:
            raise InvalidRequest(f"rows: those of index {row['index']} have different prompts: the tasks differ.")
    if not listed or sorted(prompts) != list(range(len(prompts))):
        raise InvalidRequest("rows: expected what `as_rows` returned, with a row for each prompt.")
    ordered = [prompts[index] for index in range(len(prompts))]
    models = tuple(dict.fromkeys(row["model"] for row in listed))
    metrics = tuple(dict.fromkeys(name for row in listed for name in row["scores"]))
    summaries: dict[str, results.MetricSummary] = {}
    for name in metrics:
        is_bounded = all(0 <= row["scores"].get(name, 0) <= 1 for row in listed)
        summaries[name] = results.summarize_metric(name, listed, models, ordered, is_bounded=is_bounded)
    costs = [row["cost"] for row in listed if row["cost"] is not None]
    return Comparison(
        models=models,
        prompts=tuple(ordered),
        metrics=metrics,
        rows=listed,
        pairs=tuple(pair for summary in summaries.values() for pair in summary.pairs),
        scores={name: summary.scores for name, summary in summaries.items()},
        groups={name: summary.groups for name, summary in summaries.items()},
        judge=None,
        estimate=(),
        cost=sum(costs) if costs else None,
    )
