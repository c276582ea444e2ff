"""Charts of a comparison as SVG, without any package."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from openmodels import columns
from openmodels.compare.results import MeanScore
from openmodels.escaping import escape_html

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 34, 240, 30, 12, 44
_LONGEST_NAME = 28  # columns of about 7 pixels; a Chinese character takes two
COLORS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#be185d")
"""Of the models, in their order; they repeat."""


def draw_scores(name: str, means: Mapping[str, MeanScore | None]) -> str:
    """Return mean scores as dots with their 95 % intervals as lines."""
    known = {model: mean for model, mean in means.items() if mean is not None}
    edges = [edge for mean in known.values() for edge in (*mean.interval, mean.mean) if math.isfinite(edge)]
    axis = _ChartScale(edges, "percent" if all(mean.is_rate for mean in known.values()) else "plain")

    def row(model: str, y: float, color: str) -> Iterator[str]:
        if (mean := means[model]) is None:
            return
        low, high = (axis.place(edge) for edge in mean.interval)
        yield f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{color}" stroke-width="3"/>'
        title = escape_html(f"{model}: {mean}")
        yield f'<circle cx="{axis.place(mean.mean):.1f}" cy="{y}" r="6" fill="{color}"><title>{title}</title></circle>'

    return _draw(list(means), row, axis, f"{name}: mean score and 95 % interval")


def draw_times(times: Mapping[str, Sequence[float]], title: str) -> str:
    """Return the seconds of each answer as dots, with a line at the median."""
    axis = _ChartScale([0.0, *(value for values in times.values() for value in values)], "seconds")

    def row(model: str, y: float, color: str) -> Iterator[str]:
        values = times[model]
        for number, value in enumerate(values):
            # Spread, so that equal times do not hide each other.
            offset = (number * 7 % 17) - 8
            yield f'<circle cx="{axis.place(value):.1f}" cy="{y + offset}" r="2.5" fill="{color}" fill-opacity="0.45"/>'
        if values:
            x = axis.place(median(values))
            shown = escape_html(f"{model}: median {median(values):.3g} s of {len(values)}")
            line = f'x1="{x:.1f}" y1="{y - 12}" x2="{x:.1f}" y2="{y + 12}"'
            yield f'<line {line} stroke="{color}" stroke-width="3"><title>{shown}</title></line>'

    return _draw(list(times), row, axis, title)


def draw_costs(costs: Mapping[str, float]) -> str:
    """Return the total cost of each model as a bar."""
    axis = _ChartScale([0.0, *costs.values()], "dollars")

    def row(model: str, y: float, color: str) -> Iterator[str]:
        start, end = axis.place(0.0), axis.place(costs[model])
        title = escape_html(f"{model}: ${costs[model]:.6g}")
        yield (
            f'<rect x="{start:.1f}" y="{y - 8}" width="{max(1.0, end - start):.1f}" height="16" fill="{color}">'
            f"<title>{title}</title></rect>"
        )

    return _draw(list(costs), row, axis, "cost of all answers in US dollars")


class _ChartScale:
    """The way from values to places, and the ticks with their texts."""

    def __init__(self, values: Sequence[float], kind: str) -> None:
        low, high = min(values, default=0.0), max(values, default=1.0)
        if kind == "percent":
            low, high = min(low, 0.0), max(high, 1.0)
        if low == high:
            low, high = low - 0.5, high + 0.5
        self._kind = kind
        step = 10.0 ** math.floor(math.log10((high - low) / 4))
        step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if step * factor * 5 >= high - low)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        self.ticks = [step * number for number in range(first, last + 1)]
        self._low, self._high = self.ticks[0], self.ticks[-1]

    def place(self, value: float) -> float:
        fraction: float = (value - self._low) / (self._high - self._low)
        return _LEFT + min(1.0, max(0.0, fraction)) * (_WIDTH - _LEFT - _RIGHT)

    def show(self, tick: float) -> str:
        return {"percent": f"{tick:.0%}", "seconds": f"{tick:.3g} s", "dollars": f"${tick:.3g}"}.get(
            self._kind, f"{tick:.3g}"
        )


def _draw(models: Sequence[str], row: Callable[[str, float, str], Iterator[str]], axis: _ChartScale, title: str) -> str:
    height = _TOP + _ROW * len(models) + _BOTTOM
    bottom = height - _BOTTOM
    label = escape_html(title)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">', f"<title>{label}</title>"]
    for tick in axis.ticks:
        x = axis.place(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{escape_html(axis.show(tick))}</text>')
    for number, model in enumerate(models):
        y = _TOP + _ROW * number + _ROW / 2
        name, title = escape_html(_shorten_name(model)), escape_html(model)
        parts.append(f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end">{name}<title>{title}</title></text>')
        parts += row(model, y, COLORS[number % len(COLORS)])
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{bottom + 36}" text-anchor="middle">{label}</text>')
    return "".join([*parts, "</svg>"])


def _shorten_name(name: str) -> str:
    """Return a name that fits beside a chart.

    What follows its last slash stays whole, where that fits.
    """
    slash = name.rfind("/")
    width = _LONGEST_NAME - columns.width(name[slash:]) - 1
    if columns.width(name) <= _LONGEST_NAME or slash < 0 or width < 1:
        return columns.shorten(name, _LONGEST_NAME)
    start = name[: min(slash, width)]
    while columns.width(start) > width:
        start = start[:-1]
    return f"{start}{columns.CUT}{name[slash:]}"
