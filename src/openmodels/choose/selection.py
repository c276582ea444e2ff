"""The result of `om.choose`, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from openmodels import columns, escaping
from openmodels.catalog.record import ModelRecord
from openmodels.choose.axes import Axis, Value
from openmodels.choose.prices import PricedOffer

_LEAST_ID = 24
"""Columns that the ids have at least beside the axes in a table."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that meets the needs.

    Attributes:
        id: The model.
        reasons: Why it stands where it stands, a sentence for each axis.
        axes: Its value on each axis; None is unknown.
        percentiles: The per cent of the ranked models with a value that it equals or betters, by axis.
        shares: Where it stands on the scale of each axis: 1 is the best and 0 the worst of the models that no other
            dominates. The points are their weighted sum.
        points: The points, from 0 to 1; less for a model that is far below the others.
        pareto: Whether no other ranked model equals it on every axis and betters it on one; None where a value is
            unknown.
        values: The values with source, day and terms.
        offer: The offer that price and speed are of.
        record: Its record in the catalog.
    """

    id: str
    reasons: tuple[str, ...]
    axes: Mapping[str, float | None]
    percentiles: Mapping[str, float | None]
    shares: Mapping[str, float | None]
    points: float
    pareto: bool | None
    values: Mapping[str, Value]
    offer: PricedOffer | None
    record: ModelRecord

    def __str__(self) -> str:
        """Return the id and the reasons."""
        return f"{self.id}: {' '.join(self.reasons)}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the record as JSON takes it."""
        lifecycle = self.record.lifecycle
        return {
            "id": self.id,
            "reasons": list(self.reasons),
            "axes": dict(self.axes),
            "percentiles": dict(self.percentiles),
            "shares": dict(self.shares),
            "points": self.points,
            "pareto": self.pareto,
            "values": {name: value.to_dict() for name, value in self.values.items()},
            "offer": self.offer.to_dict() if self.offer else None,
            "lifecycle": lifecycle.model_dump(mode="json") if lifecycle else None,
        }


@dataclass(frozen=True, slots=True)
class Rejection:
    """A model that does not meet the needs.

    Attributes:
        id: The model.
        failed: The constraints that it fails, each with the reason.
        constraints: The names of these constraints.
    """

    id: str
    failed: str
    constraints: tuple[str, ...]

    def __str__(self) -> str:
        """Return the id and what failed."""
        return f"{self.id}: {self.failed}"


@dataclass(frozen=True, slots=True)
class Selection:
    """Models ranked by weights, and rejected ones. Iterating gives the ranked ones.

    Attributes:
        ranked: The models that meet the needs, the best first.
        rejected: The others, with what failed.
        weights: The weight of each axis; they sum to 1.
        axes: The axes by name.
        coverage: How many of the ranked models have a value on each axis.
        ratio: Input to output tokens in the blended price.
        notes: What could not be read, and how things were understood.
    """

    ranked: tuple[Choice, ...]
    rejected: tuple[Rejection, ...]
    weights: Mapping[str, float]
    axes: Mapping[str, Axis]
    coverage: Mapping[str, int]
    ratio: str
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Choice]:
        return iter(self.ranked)

    def __len__(self) -> int:
        return len(self.ranked)

    def __bool__(self) -> bool:
        """Return whether a model meets the needs."""
        return bool(self.ranked)

    def __str__(self) -> str:
        """Return the ranked models as text of at most 80 columns."""
        return self.to_text()

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "ranked": [choice.to_dict() for choice in self.ranked],
            "rejected": [
                {"id": item.id, "failed": item.failed, "constraints": list(item.constraints)} for item in self.rejected
            ],
            "weights": dict(self.weights),
            "axes": {
                name: {"unit": axis.unit, "lower_is_better": axis.lower_is_better, "benchmark": axis.benchmark}
                for name, axis in self.axes.items()
            },
            "coverage": {name: {"known": known, "of": len(self.ranked)} for name, known in self.coverage.items()},
            "ratio": self.ratio,
            "notes": list(self.notes),
        }

    def to_text(self, width: int = 80, most: int = 10) -> str:
        """Return the result as text.

        Args:
            width: Columns of a line.
            most: How many models of each kind to show at most.
        """
        lines = [*self._table(width, most), ""] if self.ranked else ["No model meets the needs.", ""]
        for choice in self.ranked[:most]:
            lines += _wrapped(str(choice), width)
        if len(self.ranked) > most:
            lines.append(f"... and {len(self.ranked) - most} more")
        if self.rejected:
            lines += ["", f"Rejected ({len(self.rejected)}):"]
            for item in self.rejected[:most]:
                lines += _wrapped(str(item), width)
            if len(self.rejected) > most:
                lines.append(f"... and {len(self.rejected) - most} more")
        lines += ["", *self._footer(width)]
        return "\n".join(lines)

    @property
    def legend(self) -> str:
        """The weights and how many models have a value, in a sentence."""
        total = len(self.ranked)
        parts = (
            f"{self.axes[name].label} {weight:.0%} ({self.coverage[name]} of {total} have it)"
            for name, weight in self.weights.items()
        )
        return f"Weights: {', '.join(parts)}."

    def _footer(self, width: int) -> Iterator[str]:
        texts = [self.legend] if self.ranked else []
        if self.ranked and "price" in self.weights:
            texts.append(f"Prices are US dollars per million tokens, {self.ratio} input to output.")
        if self.ranked:
            texts.append("In brackets: the per cent of models that it equals or betters. *: on the Pareto front.")
        for text in (*texts, *self.notes):
            yield from _wrapped(text, width, mark="")

    def rows(self, most: int | None = None) -> Iterator[tuple[Choice, list[str]]]:
        """Yield each ranked model with its cells: points, then each value and percentile."""
        for choice in self.ranked[:most]:
            cells = [f"{choice.points:.2f}{'*' if choice.pareto else ''}"]
            for name in self.weights:
                percentile = choice.percentiles[name]
                shown = self.axes[name].show(choice.axes[name]).removesuffix(f" {self.axes[name].unit}")
                cells.append(shown if percentile is None else f"{shown} [{percentile:.0f}]")
            yield choice, cells

    def _table(self, width: int, most: int) -> Iterator[str]:
        """Yield the lines of the table; the last names the axes that do not fit."""
        heads = ["points", *self.weights]
        rows = list(self.rows(most))
        widths = [
            max(columns.width(head), *(columns.width(cells[place]) for _, cells in rows))
            for place, head in enumerate(heads)
        ]
        while len(widths) > 1 and width - sum(widths) - 2 * len(widths) < _LEAST_ID:
            widths.pop()
        left = width - sum(widths) - 2 * len(widths)
        names = [columns.shorten(escaping.escape_line(choice.id), left) for choice, _ in rows]
        left = max(map(columns.width, ("model", *names)))
        for name, cells in [("model", heads), *zip(names, (cells for _, cells in rows), strict=True)]:
            padding = " " * (left - columns.width(name))
            right = "  ".join(cell.rjust(size) for cell, size in zip(cells, widths, strict=False))
            yield f"{name}{padding}  {right}"
        if len(widths) < len(heads):
            yield from _wrapped(f"Left out for want of room: {', '.join(heads[len(widths) :])}.", width, mark="")

    def _repr_html_(self) -> str:
        """Return tables for notebooks."""
        heads = "".join(f"<th>{escaping.escape_html(text)}</th>" for text in ("model", "points", *self.weights, "why"))
        body = "".join(
            "<tr>"
            + "".join(
                f"<td>{escaping.escape_html(text)}</td>" for text in (choice.id, *cells, " ".join(choice.reasons))
            )
            + "</tr>"
            for choice, cells in self.rows()
        )
        rejected = "".join(f"<li>{escaping.escape_html(str(item))}</li>" for item in self.rejected)
        notes = "".join(f"<p><small>{escaping.escape_html(text)}</small></p>" for text in (self.legend, *self.notes))
        summary = f"<details><summary>Rejected: {len(self.rejected)}</summary><ul>{rejected}</ul></details>"
        return f"<table><tr>{heads}</tr>{body}</table>{summary if self.rejected else ''}{notes}"


def _wrapped(text: str, width: int, mark: str = "- ") -> Iterator[str]:
    return columns.wrap_hanging(escaping.escape_line(text), width, mark)
