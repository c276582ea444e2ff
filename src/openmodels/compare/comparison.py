"""`Comparison`: the answers of models to the same prompts, and what they tell."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from openmodels import columns, escaping, files
from openmodels.compare.judging import JudgeReport
from openmodels.compare.prompts import ComparedPrompt
from openmodels.compare.results import ComparedPair, MeanScore
from openmodels.errors import MissingExtra
from openmodels.plotting import matplotlib_axes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class CallEstimate:
    """What the calls to a model will be, before they are made.

    Attributes:
        model: The model's name.
        calls: Calls to make.
        kept: Calls whose replies an earlier run has kept.
        input_tokens: About how many tokens the prompts have: a quarter of their bytes.
        output_tokens: The most tokens of the answers; None without `max_tokens`.
        cost: The most that the calls can cost in US dollars; None where no price or limit is known.
    """

    model: str
    calls: int
    kept: int
    input_tokens: int
    output_tokens: int | None
    cost: float | None

    def __str__(self) -> str:
        kept = f" ({self.kept:,} more are kept from before)" if self.kept else ""
        output = "any number of" if self.output_tokens is None else f"at most {self.output_tokens:,}"
        cost = "at a price that is not known" if self.cost is None else f"at most ${self.cost:.4f}"
        calls = "call" if self.calls == 1 else "calls"
        return (
            f"{self.model}: {self.calls:,} {calls}{kept}, about {self.input_tokens:,} tokens in, {output} out, {cost}"
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """The answers of models to the same prompts, their scores, and what these tell.

    Attributes:
        models: The names of the models.
        prompts: The prompts.
        metrics: The names of the metrics; a judge's is "judge".
        rows: For each model, prompt and repeat a dict: model, index, repeat, text, finish_reason, seconds,
            first_token_seconds, tokens_per_second, input_tokens, output_tokens, cost in US dollars, error, scores,
            resumed. What is not known is None.
        pairs: Each two models on each metric, with test, interval and verdict.
        scores: By metric and model the mean score with its interval.
        groups: By metric the groups of models that no test distinguishes, the best first.
        judge: How far the judge can be relied on, where there was one.
        estimate: What the calls were expected to be before they were made.
        cost: US dollars of all calls of this run, where known; what earlier runs have kept costs nothing again.
        notes: What was not read, and what failed.
    """

    models: tuple[str, ...]
    prompts: tuple[ComparedPrompt, ...] = field(repr=False)
    metrics: tuple[str, ...]
    rows: list[dict[str, Any]] = field(repr=False)
    pairs: tuple[ComparedPair, ...] = field(repr=False)
    scores: Mapping[str, Mapping[str, MeanScore | None]] = field(repr=False)
    groups: Mapping[str, Sequence[tuple[str, ...]]] = field(repr=False)
    judge: JudgeReport | None
    estimate: tuple[CallEstimate, ...] = field(repr=False)
    cost: float | None
    notes: tuple[str, ...] = ()

    @property
    def summary(self) -> tuple[str, ...]:
        """What the comparison tells, in sentences; before the calls, what they would be."""
        if not self.rows:
            return (*(f"{item}." for item in self.estimate), *self.notes)
        several = len(self.metrics) > 1
        sentences = [f"{pair.metric}: {pair}" if several else str(pair) for pair in self.pairs]
        if len(self.models) > 2:
            sentences += [_describe_groups(name if several else "", self.groups[name]) for name in self.metrics]
        if self.judge is not None:
            sentences.append(str(self.judge).removesuffix("."))
        return (*(f"{sentence}." for sentence in sentences), *self._failures(), *self.notes)

    def _failures(self) -> Iterator[str]:
        for name in self.models:
            errors = [row["error"] for row in self._rows_of(name) if row["error"] is not None]
            if errors:
                total = len(self._rows_of(name))
                common = max(errors, key=errors.count)
                yield f"{name} failed on {len(errors)} of {total}: {common}"

    def _rows_of(self, name: str) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["model"] == name]

    def __str__(self) -> str:
        table = f"{self.table()}\n\n" if self.rows else ""
        return table + "\n".join(escaping.escape_line(sentence) for sentence in self.summary)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the heads and rows of the table as text, without empty columns."""
        heads = ["model", *self.metrics, "seconds", "first token", "tokens/s", "tokens out", "cost", "errors"]
        body = []
        for name in self.models:
            rows = self._rows_of(name)
            means = [self.scores[metric].get(name) for metric in self.metrics]
            costs = _numbers(rows, "cost")
            body.append(
                [
                    name,
                    *("" if mean is None else str(mean) for mean in means),
                    _show(_median(rows, "seconds"), ".2f"),
                    _show(_median(rows, "first_token_seconds"), ".2f"),
                    _show(_median(rows, "tokens_per_second"), ".1f"),
                    _show(_median(rows, "output_tokens"), ".0f"),
                    f"${sum(costs):.4f}" if costs else "",
                    str(sum(row["error"] is not None for row in rows) or ""),
                ]
            )
        kept = [number for number in range(len(heads)) if number == 0 or any(row[number] for row in body)]
        return [heads[number] for number in kept], [[row[number] for number in kept] for row in body]

    def table(self) -> str:
        """Return a line for each model as text.

        It holds mean scores with their 95 % intervals, medians of times, and the total cost.
        """
        heads, body = self.cells()
        lines = [[escaping.escape_line(cell) for cell in row] for row in (heads, *body)]
        widths = [max(map(columns.width, column)) for column in zip(*lines, strict=True)]

        def pad(text: str, number: int) -> str:
            blanks = " " * (widths[number] - columns.width(text))
            return text + blanks if number == 0 else blanks + text

        return "\n".join("  ".join(pad(cell, number) for number, cell in enumerate(line)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        """Return table and sentences for notebooks."""
        heads, body = self.cells()
        head = "".join(f"<th>{escaping.escape_html(text)}</th>" for text in heads)
        rows = "".join(
            "<tr>" + "".join(f"<td>{escaping.escape_html(cell)}</td>" for cell in row) + "</tr>" for row in body
        )
        sentences = "".join(f"<li>{escaping.escape_html(sentence)}</li>" for sentence in self.summary)
        table = f"<table><tr>{head}</tr>{rows}</table>" if self.rows else ""
        return f"{table}<ul>{sentences}</ul>"

    def to_pandas(self) -> pd.DataFrame:
        """Return the rows as a data frame, a column for each score.

        Raises:
            MissingExtra: pandas is not installed.
        """
        try:
            import pandas as pd
        except ModuleNotFoundError as error:
            raise MissingExtra(
                "to_pandas needs pandas, which is not installed.", next_step="Run: pip install pandas"
            ) from error
        return pd.DataFrame([{**row, "scores": None} | self._score_columns(row) for row in self.rows]).drop(
            columns="scores"
        )

    def _score_columns(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {metric: row["scores"].get(metric) for metric in self.metrics}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the rows with their prompts to a JSONL file.

        Raises:
            WriteFailed: The file cannot be written; what was there before is unchanged.
        """
        with files.atomic_writer(path) as file:
            for row in self.rows:
                prompt = self.prompts[row["index"]]
                facts = {"prompt": prompt.prompt, "reference": prompt.reference, "cluster": prompt.cluster}
                line = json.dumps(row | facts | {"tags": list(prompt.tags)}, default=_as_json, ensure_ascii=False)
                file.write(line.encode("utf-8", "replace") + b"\n")

    def html(self, path: str | os.PathLike[str]) -> None:
        """Write a report as one HTML file that loads nothing.

        It holds the statistics in words, the matrix, plots, and the answers side by side.

        Raises:
            WriteFailed: The file cannot be written; what was there before is unchanged.
        """
        from openmodels.compare.report import render_report

        files.write_atomically(path, render_report(self))

    def plot(self, axes: Any = None) -> Any:
        """Draw mean scores and their 95 % intervals with matplotlib; return its axes.

        Args:
            axes: Axes of matplotlib to draw on; None makes a figure.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        axes = matplotlib_axes(axes, "html()")
        for number, metric in enumerate(self.metrics):
            known = [(place, mean) for place, name in enumerate(self.models) if (mean := self.scores[metric].get(name))]
            places = [place + 0.15 * (number - (len(self.metrics) - 1) / 2) for place, _ in known]
            means = [mean.mean for _, mean in known]
            below = [max(0.0, mean.mean - mean.interval[0]) for _, mean in known]
            above = [max(0.0, mean.interval[1] - mean.mean) for _, mean in known]
            axes.errorbar(means, places, xerr=[below, above], fmt="o", capsize=3, label=metric)
        axes.set_yticks(range(len(self.models)), [escaping.escape_line(name) for name in self.models])
        axes.invert_yaxis()
        axes.set(xlabel="mean score, 95 % interval")
        if self.metrics:
            axes.legend()
        return axes


def _describe_groups(metric: str, groups: Sequence[tuple[str, ...]]) -> str:
    start = f"{metric}: " if metric else ""
    kinds = [
        (f"{', '.join(group[:-1])} and {group[-1]} are not told apart" if len(group) > 1 else f"{group[0]} alone")
        for group in groups
    ]
    return f"{start}from the best down: {'; '.join(kinds)}" if kinds else f"{start}no model has a score"


def _numbers(rows: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if row[name] is not None]


def _median(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    numbers = _numbers(rows, name)
    return median(numbers) if numbers else None


def _show(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


def _as_json(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", exclude_defaults=True)
    return repr(value)
