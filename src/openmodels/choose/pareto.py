"""`om.pareto`: the models that no other betters on two axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from openmodels import background, escaping
from openmodels.catalog.record import ModelRecord
from openmodels.choose import axes as axis_names, choosing, prices, ranking
from openmodels.choose.axes import Axis, Value
from openmodels.choose.scores import ScoreTable
from openmodels.choose.selection import Selection
from openmodels.errors import ErrorBoundary, InvalidRequest
from openmodels.plotting import ChartScale, matplotlib_axes

_WIDTH, _HEIGHT, _MARGIN = 640, 400, 56
_FONT = 'font-family="sans-serif" font-size="11"'


@dataclass(frozen=True, slots=True)
class Point:
    """A model on two axes.

    Attributes:
        id: The model.
        x: The value on the first axis, with source and day.
        y: The value on the second axis, with source and day.
        pareto: Whether no other model equals it on both axes and betters it on one.
    """

    id: str
    x: Value
    y: Value
    pareto: bool


@dataclass(frozen=True, slots=True)
class Pareto:
    """Models on two axes, and the front of those that no other betters.

    Attributes:
        points: The models with a value on both axes, by x.
        missing: The others, each with the axes that it lacks.
        x: The first axis.
        y: The second axis.
        ratio: Input to output tokens in a blended price.
        notes: What could not be read.
    """

    points: tuple[Point, ...]
    missing: Mapping[str, tuple[str, ...]]
    x: Axis
    y: Axis
    ratio: str
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Point]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    @property
    def front(self) -> tuple[Point, ...]:
        """The models that no other betters, by x."""
        return tuple(point for point in self.points if point.pareto)

    def __str__(self) -> str:
        """Return the front in lines, and how many models have both values."""
        lines = [
            f"{escaping.escape_line(point.id)}: {self.x.show(point.x.number)}, {self.y.show(point.y.number)}"
            for point in self.front
        ]
        return "\n".join([*lines, self.coverage, *map(escaping.escape_line, self.notes)])

    @property
    def coverage(self) -> str:
        """How many of the models have both values, in a sentence."""
        total = len(self.points) + len(self.missing)
        return f"{len(self.points)} of {total} models have {self.x.label} and {self.y.label}."

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "points": [
                {"id": point.id, "x": point.x.to_dict(), "y": point.y.to_dict(), "pareto": point.pareto}
                for point in self.points
            ],
            "missing": {name: list(axes) for name, axes in self.missing.items()},
            "x": {"name": self.x.name, "unit": self.x.unit, "benchmark": self.x.benchmark},
            "y": {"name": self.y.name, "unit": self.y.unit, "benchmark": self.y.benchmark},
            "ratio": self.ratio,
            "notes": list(self.notes),
        }

    def to_svg(self) -> str:
        """Return the chart as SVG.

        A line joins the front; the tooltip of a point has its values with source and day.
        """
        horizontal = ChartScale([point.x.number for point in self.points], _MARGIN, _WIDTH - _MARGIN)
        vertical = ChartScale([point.y.number for point in self.points], _HEIGHT - _MARGIN, _MARGIN // 2)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" {_FONT}>',
            f"<title>{escaping.escape_html(f'{self.y.label} by {self.x.label}')}</title>",
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        ]
        bottom, left = _HEIGHT - _MARGIN, _MARGIN
        for number in horizontal.ticks:
            at = horizontal.position(number)
            parts.append(_line(at, bottom, at, bottom + 4))
            parts.append(_text(at, bottom + 16, _tick(self.x, number), "middle"))
        for number in vertical.ticks:
            at = vertical.position(number)
            parts.append(_line(left - 4, at, left, at))
            parts.append(_text(left - 6, at + 4, _tick(self.y, number), "end"))
        parts += [_line(left, bottom, _WIDTH - _MARGIN, bottom), _line(left, bottom, left, _MARGIN // 2)]
        parts.append(_text(_WIDTH / 2, _HEIGHT - 12, _title(self.x), "middle"))
        parts.append(_text(left, 14, _title(self.y), "start"))
        front = [(horizontal.position(point.x.number), vertical.position(point.y.number)) for point in self.front]
        joined = " ".join(f"{x:.1f},{y:.1f}" for x, y in front)
        parts.append(f'<polyline points="{joined}" fill="none" stroke="#1a66b8" stroke-dasharray="4 3"/>')
        for point in self.points:
            x, y = horizontal.position(point.x.number), vertical.position(point.y.number)
            values = ((self.x, point.x), (self.y, point.y))
            facts = ", ".join(f"{axis.show(value.number)} ({value.origin})" for axis, value in values)
            color = "#1a66b8" if point.pareto else "#999"
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}">'
                f"<title>{escaping.escape_html(f'{point.id}: {facts}')}</title></circle>"
            )
            if point.pareto:
                anchor = "end" if x > _WIDTH * 0.6 else "start"
                parts.append(_text(x - 7 if anchor == "end" else x + 7, y - 6, point.id.rpartition("/")[2], anchor))
        return "\n".join([*parts, "</svg>"])

    def plot(self, axes: Any = None) -> Any:
        """Draw the chart with matplotlib; return its axes.

        Args:
            axes: Axes of matplotlib to draw on; None makes a figure.

        Raises:
            MissingExtra: matplotlib is not installed.
        """
        axes = matplotlib_axes(axes, "to_svg()")
        for points, color in (((p for p in self.points if not p.pareto), "0.6"), (self.front, "tab:blue")):
            listed = list(points)
            axes.scatter([p.x.number for p in listed], [p.y.number for p in listed], color=color)
        axes.plot([p.x.number for p in self.front], [p.y.number for p in self.front], "--", color="tab:blue")
        for point in self.front:
            name, place = escaping.escape_line(point.id.rpartition("/")[2]), (point.x.number, point.y.number)
            axes.annotate(name, place, xytext=(5, 5), textcoords="offset points")
        axes.set(xlabel=_title(self.x), ylabel=_title(self.y))
        return axes

    def _repr_html_(self) -> str:
        """Return the chart for notebooks, with its coverage."""
        texts = "".join(f"<p><small>{escaping.escape_html(text)}</small></p>" for text in (self.coverage, *self.notes))
        return f'<div style="max-width:{_WIDTH}px">{self.to_svg()}</div>{texts}'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#444"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222">{escaping.escape_html(text)}</text>'


def _tick(axis: Axis, number: float) -> str:
    """Return a value without its unit, which the axis's title has."""
    return axis.show(number).removesuffix(f" {axis.unit}")


def _title(axis: Axis) -> str:
    better = "lower is better" if axis.lower_is_better else "higher is better"
    return f"{axis.label} ({axis.unit + ', ' if axis.unit else ''}{better})"


@ErrorBoundary()
def pareto(
    models: Iterable[str | ModelRecord] | Selection,
    x: str = "price",
    y: str = "quality",
    *,
    ratio: str | tuple[float, float] | float = prices.RATIO,
    tables: Iterable[str | Path | ScoreTable] = (),
) -> Pareto:
    """Return models on two axes, and which of them no other betters.

    `missing` names the models that lack a value on an axis; they are not among the points.

    Args:
        models: Ids, records, the results of a search, or a `Selection`.
        x: The first axis, by the names that `prefer` of `choose` takes.
        y: The second axis, e.g. "score:gpqa".
        ratio: Input to output tokens in the blended price.
        tables: Files of leaderboards, as in `choose`.

    Raises:
        InvalidRequest: An argument is wrong; the message names the known axes.
        ModelNotFound: No catalog has one of the ids.
    """
    names = [axis_names.check_name(x, "x"), axis_names.check_name(y, "y")]
    if names[0] == names[1]:
        raise InvalidRequest(f"x, y: both are {names[0]!r}.", next_step="Name two axes.")
    parts = prices.read_ratio(ratio)
    boards = choosing.read_tables(tables)
    notes: list[str] = []
    records, taken_as_is = choosing.read_models(models)
    candidates = choosing.gather(records, taken_as_is, boards, notes)
    axes = [axis_names.find_axis(name, candidates, notes) for name in names]
    axis_names.pick_offers(candidates, axes, parts)
    values = [axis_names.read_axis(axis, candidates, parts, notes) for axis in axes]
    missing = {
        candidate.id: lacked
        for candidate in candidates
        if (lacked := tuple(name for name, known in zip(names, values, strict=True) if candidate.id not in known))
    }
    signs = [-1 if axis.lower_is_better else 1 for axis in axes]
    known = [candidate.id for candidate in candidates if candidate.id not in missing]
    front = ranking.undominated(
        {name: [sign * axis[name].number for sign, axis in zip(signs, values, strict=True)] for name in known}
    )
    points = (Point(name, values[0][name], values[1][name], name in front) for name in known)
    return Pareto(
        tuple(sorted(points, key=lambda point: (point.x.number, point.y.number, point.id))),
        missing,
        axes[0],
        axes[1],
        prices.show_ratio(parts),
        tuple(notes),
    )


async def apareto(
    models: Iterable[str | ModelRecord] | Selection,
    x: str = "price",
    y: str = "quality",
    *,
    ratio: str | tuple[float, float] | float = prices.RATIO,
    tables: Iterable[str | Path | ScoreTable] = (),
) -> Pareto:
    """Return models on two axes: the async twin of `pareto`.

    Raises:
        OpenModelsError: As `pareto` does.
    """
    return await background.arun(partial(pareto, models, x, y, ratio=ratio, tables=tables))
