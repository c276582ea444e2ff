"""`om.compare` and `om.acompare`: models on the same prompts."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from typing_extensions import Unpack

from openmodels import background
from openmodels.bulk.iterators import LoopThread
from openmodels.compare import bradley_terry, judging, metrics as row_metrics, results, spending
from openmodels.compare.calls import CallGrid, ComparedCall, ReplyCache
from openmodels.compare.comparison import CallEstimate, Comparison
from openmodels.compare.prompts import ComparedPrompt, read_prompts
from openmodels.errors import ErrorBoundary, InvalidRequest
from openmodels.model import Model
from openmodels.types.options import CallOptions

CONCURRENCY = 8
"""Calls in flight at a server, or on this machine, where the caller does not say."""
MAX_TOKENS = 1024
"""The longest answer where the caller does not say: it bounds what a call costs, and a model that cannot end."""
_JUDGE = "the judge"


class CompareOptions(CallOptions, total=False):
    """The options of `compare`; those of `CallOptions` are for each call.

    Attributes:
        judge: A model that compares the answers of each two models, in both orders.
        embedder: A model with embeddings, for the metric "embedding".
        repeats: How often each prompt is asked; the scores of repeats are averaged. A `seed` grows by 1 with each.
        cluster: The field of a prompt that names its group; default "cluster".
        save: A JSONL file for replies. If it exists, what is in it is not asked again.
        max_usd: The most that the calls may cost in US dollars. A call that could exceed it is not made.
        prices: US dollars for a million tokens of input and of output, by model: {"hf:org/model": (0.1, 0.4)}.
        dry_run: Make no call; the summary says what they would be and cost.
        concurrency: Calls in flight at a server, or on this machine; default 8.
        progress: Whether to show a progress bar where standard error is a terminal; default true.
    """

    judge: str | Model | None
    embedder: str | Model | None
    repeats: int
    cluster: str
    save: str | os.PathLike[str] | None
    max_usd: float | None
    prices: Mapping[str, tuple[float, float]] | None
    dry_run: bool
    concurrency: int
    progress: bool


class ComparisonRun:
    """Makes the calls of a comparison, and a `Comparison` of what they returned."""

    def __init__(
        self,
        models: Mapping[str, str | Model] | Iterable[str | Model],
        prompts: Any,
        metrics: Iterable[str | Callable[..., Any]] | None,
        options: CompareOptions,
    ) -> None:
        call_options: dict[str, Any] = dict(options)
        settings = {name: call_options.pop(name) for name in _OWN_OPTIONS if name in call_options}
        self.notes: list[str] = []
        self.repeats = _check_count(settings.get("repeats", 1), "repeats")
        self.concurrency = _check_count(settings.get("concurrency", CONCURRENCY), "concurrency")
        self.shows_progress = settings.get("progress", True)
        self.dry_run = settings.get("dry_run", False)
        self.save = settings.get("save")
        self.call_options = call_options
        self.prompts = read_prompts(prompts, settings.get("cluster", "cluster"), self.notes)
        self._opened: list[Model] = []
        self.models = self._open_all(models)
        self.judge = self._open_one(settings.get("judge"))
        embedder = self._open_one(settings.get("embedder"))
        self.metrics = row_metrics.build_metrics(
            metrics, self.prompts, call_options.get("schema"), embedder, self.notes
        )
        if self.judge is not None and any(metric.name == results.JUDGE for metric in self.metrics):
            raise InvalidRequest(f"metrics: {results.JUDGE!r} is the judge's name.", next_step="Rename the function.")
        if not self.metrics and self.judge is None:
            self.notes.append("There is no metric and no judge, so the answers are not scored.")
        everyone = self.models | ({_JUDGE: self.judge} if self.judge is not None else {})
        self.prices = spending.read_prices(settings.get("prices"), everyone)
        self.ledger = spending.SpendingLedger(settings.get("max_usd"))
        if self.dry_run or self.ledger.max_usd is not None:
            unpriced = spending.complete_prices(self.prices, everyone, self.notes)
            if unpriced and self.ledger.max_usd is not None:
                raise InvalidRequest(
                    f"max_usd: no price of {unpriced[0]} is known, so nothing can keep it below a ceiling.",
                    next_step=f"Say prices={{{unpriced[0]!r}: (US dollars per million tokens in, out)}}.",
                )
        self.calls = {
            (name, prompt.index, repeat): ComparedCall(
                name, prompt.prompt, self._options_of(model, repeat), f"repeat {repeat}"
            )
            for name, model in self.models.items()
            for prompt in self.prompts
            for repeat in range(self.repeats)
        }
        self.judged: list[judging.JudgedPair] = []
        self.estimate: tuple[CallEstimate, ...] = ()
        self._everyone = everyone

    def _open_all(self, models: Mapping[str, str | Model] | Iterable[str | Model]) -> dict[str, Model]:
        if isinstance(models, str | Model) or not isinstance(models, Iterable):
            raise InvalidRequest("models: expected several models.", next_step="Write a list, or a dict with names.")
        if isinstance(models, Mapping):
            named = {str(name): self._open(model) for name, model in models.items()}
        else:
            opened = [self._open(model) for model in models]
            references = [model.reference for model in opened]
            named = {}
            for model in opened:
                name = model.reference.removesuffix(":") or model.reference
                if references.count(model.reference) > 1:
                    name = next(text for number in range(1, 10_000) if (text := f"{name} #{number}") not in named)
                named[name] = model
        if not named:
            raise InvalidRequest("models: there is none.")
        return named

    def _open(self, model: Any) -> Model:
        if isinstance(model, Model):
            return model
        opened = Model(model)
        self._opened.append(opened)
        return opened

    def _open_one(self, model: Any) -> Model | None:
        return None if model is None else self._open(model)

    def _options_of(self, model: Model, repeat: int) -> dict[str, Any]:
        options = dict(self.call_options)
        if options.get("max_tokens") is None and "max_tokens" in model.backend.options:
            options["max_tokens"] = MAX_TOKENS
        if options.get("seed") is not None:
            options["seed"] += repeat
        return options

    async def run(self) -> Comparison:
        """Make the calls and return what they tell."""
        cache = ReplyCache(self.save)
        if cache.damaged:
            self.notes.append(f"{cache.damaged:,} damaged lines of {self.save} were skipped.")
        closes = [name for name, model in self.models.items() if model in self._opened and model is not self.judge]
        grid = CallGrid(
            self._everyone,
            self.prices,
            self.ledger,
            cache,
            concurrency=self.concurrency,
            closes=closes,
            shows_progress=self.shows_progress,
        )
        try:
            refused = await grid.prepare(list(self.calls.values()))
            if len(refused) == len(self.calls):  # as for an option that is misspelt
                raise refused[0]
            self.estimate = tuple(self._estimate())
            if self.dry_run:
                return self.result(with_rows=False)
            await grid.run(list(self.calls.values()), "answers")
            if self.judge is not None:
                self.judged = list(judging.build_judgements(self.judge, _JUDGE, self._answers(), self.call_options))
                calls = [call for pair in self.judged for call in pair.calls]
                await grid.prepare(calls)
                await grid.run(calls, "judgements")
            return await asyncio.to_thread(self.result)
        finally:
            cache.close()
            for model in self._opened:
                model.close()

    def _answers(self) -> list[tuple[ComparedPrompt, int, dict[str, str]]]:
        answers = []
        for prompt in self.prompts:
            for repeat in range(self.repeats):
                calls = {name: self.calls[name, prompt.index, repeat] for name in self.models}
                texts = {name: call.reply.text for name, call in calls.items() if call.reply and call.error is None}
                answers.append((prompt, repeat, texts))
        return answers

    def _estimate(self) -> Iterable[CallEstimate]:
        for name in self.models:
            calls = [call for call in self.calls.values() if call.model == name]
            left = [call.built for call in calls if not call.is_done and call.built is not None]
            requests = [built.request for built in left]
            worst = [self.prices[name].worst_cost(built.request, built.corrections + 1) for built in left]
            limits = [request.max_tokens for request in requests]
            yield CallEstimate(
                model=name,
                calls=len(left),
                kept=sum(call.resumed for call in calls),
                input_tokens=sum(
                    len("".join(message.text for message in request.messages).encode()) for request in requests
                )
                // 4,
                output_tokens=None if None in limits else sum(limit or 0 for limit in limits),
                cost=None if None in worst else sum(cost or 0.0 for cost in worst),
            )
        if self.judge is not None and self.dry_run:
            pairs = len(self.models) * (len(self.models) - 1) // 2
            self.notes.append(
                f"The judge is called up to {2 * pairs * len(self.prompts) * self.repeats:,} times beyond that."
            )

    def result(self, *, with_rows: bool = True) -> Comparison:
        """Return what the calls that have ended tell."""
        rows = self._rows() if with_rows else []
        names, models = [metric.name for metric in self.metrics], list(self.models)
        summaries: dict[str, results.MetricSummary] = {}
        report = None
        if with_rows:
            for metric in self.metrics:
                summaries[metric.name] = results.summarize_metric(
                    metric.name, rows, models, self.prompts, is_bounded=metric.is_bounded
                )
            if self.judge is not None:
                report = self._judge_report(self.judge, rows)
                names.append(results.JUDGE)
                summaries[results.JUDGE] = results.summarize_metric(
                    results.JUDGE, rows, models, self.prompts, is_bounded=True, judged=self.judged
                )
        fresh = [call.cost for call in self._all_calls() if call.cost is not None and not call.resumed]
        return Comparison(
            models=tuple(self.models),
            prompts=tuple(self.prompts),
            metrics=tuple(names),
            rows=rows,
            pairs=tuple(pair for summary in summaries.values() for pair in summary.pairs),
            scores={name: summary.scores for name, summary in summaries.items()},
            groups={name: summary.groups for name, summary in summaries.items()},
            judge=report,
            estimate=self.estimate,
            cost=sum(fresh) if fresh else None,
            notes=tuple(dict.fromkeys(self.notes)),
        )

    def _all_calls(self) -> list[ComparedCall]:
        return [*self.calls.values(), *(call for pair in self.judged for call in pair.calls)]

    def _rows(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for (name, index, repeat), call in self.calls.items():
            reply = call.reply
            facts: dict[str, Any] = {} if reply is None else {field: getattr(reply, field) for field in _REPLY_FIELDS}
            error = call.error if call.is_done else "not asked: the comparison was stopped"
            facts |= {"cost": call.cost, "error": error, "resumed": call.resumed}
            rows.append(results.make_row(name, index, repeat=repeat, **facts))
        # An answer that does not fit the schema is one; what was cut off by an error is none.
        scored = [row for row in rows if _is_answer(row)]
        answers = [(row["text"], self.prompts[row["index"]]) for row in scored]
        for metric in self.metrics:
            for row, score in zip(scored, metric.score(answers), strict=True):
                row["scores"][metric.name] = score
        return rows

    def _judge_report(self, judge: Model, rows: Sequence[dict[str, Any]]) -> judging.JudgeReport:
        """Return the report on the judge, and put its scores into the rows."""
        points: dict[tuple[str, int], list[float]] = {}
        outcomes: list[tuple[str, str, Any, float]] = []
        for pair in self.judged:
            if (outcome := pair.outcome) is None:
                continue
            points.setdefault((pair.a, pair.index), []).append((1 + outcome) / 2)
            points.setdefault((pair.b, pair.index), []).append((1 - outcome) / 2)
            outcomes.append((pair.a, pair.b, self.prompts[pair.index].cluster or pair.index, outcome))
        for row in rows:
            won = points.get((row["model"], row["index"]))
            if won and row["error"] is None:
                row["scores"][results.JUDGE] = sum(won) / len(won)
        ratings, tie = bradley_terry.rate_models(list(self.models), outcomes)
        return judging.summarize_judge(judge, self.judged, ratings, tie)


_REPLY_FIELDS = ("text", "finish_reason", "seconds", "first_token_seconds", "usage")
_OWN_OPTIONS = frozenset(CompareOptions.__annotations__) - frozenset(CallOptions.__annotations__)


def _check_count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRequest(f"{name}: expected a whole number, 1 or more.")
    return value


def _is_answer(row: Mapping[str, Any]) -> bool:
    return row["text"] is not None and (row["error"] is None or row["error"].startswith("OutputInvalid"))


@ErrorBoundary()
def compare(
    models: Mapping[str, str | Model] | Iterable[str | Model],
    prompts: Any,
    *,
    metrics: Iterable[str | Callable[..., Any]] | None = None,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Ask models the same prompts, and return what their answers tell.

    A model that fails has errors in its rows; the others are compared. Ctrl-C raises `KeyboardInterrupt`, whose
    attribute `comparison` holds what was answered before; with `save`, calling again asks only the rest.

    Args:
        models: References or `Model` objects; a dict gives them names.
        prompts: Texts, messages, or dicts {"prompt": …, "reference": …, "cluster": …, "tags": […]}; or the path of a
            JSONL or CSV file of those; or the rows of a data set.
        metrics: "exact", "contains", "regex" (the reference is the pattern), "regex:PATTERN", "numeric", "json",
            "schema", "rouge_l", "chrf", "bleu", "embedding", or functions that take an answer and its reference and
            return a number or a bool. Default: "contains" where there are references.
        **options: See `CompareOptions`; `timeout` in seconds counts for each call alone.

    Raises:
        InvalidRequest: An argument is wrong; nothing was asked.
        MissingExtra: A metric, or the statistics, need a package that is not installed.
        WriteFailed: The file for replies cannot be written.
    """
    run = ComparisonRun(models, prompts, metrics, options)
    thread = LoopThread()
    try:
        return thread.submit(run.run()).result()
    except KeyboardInterrupt as interrupt:
        thread.close()
        interrupt.comparison = run.result()  # type: ignore[attr-defined]
        raise
    finally:
        thread.close()


async def acompare(
    models: Mapping[str, str | Model] | Iterable[str | Model],
    prompts: Any,
    *,
    metrics: Iterable[str | Callable[..., Any]] | None = None,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """The asynchronous twin of `compare`.

    Raises: what `compare` does.
    """
    with ErrorBoundary():
        # A file of prompts and the router's list of prices are read on a thread, so that the event loop runs on.
        run = await background.arun(ComparisonRun, models, prompts, metrics, options)
        return await run.run()
