"""Charts of a comparison as SVG, without any package."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from openmodels import columns
from openmodels.compare.results import MeanScore
from openmodels.escaping import escape_html
from openmodels.plotting import ChartScale

_WIDTH, _ROW, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 34, 240, 30, 12, 44
_LONGEST_NAME = 28  # columns of about 7 pixels; a Chinese character takes two
COLORS = ("#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#be185d")
"""Of the models, in their order; they repeat."""


def draw_scores(name: str, means: Mapping[str, MeanScore | None]) -> str:
    """Return mean scores as dots with their 95 % intervals as lines."""
    known = {model: mean for model, mean in means.items() if mean is not None}
    edges = [edge for mean in known.values() for edge in (*mean.interval, mean.mean) if math.isfinite(edge)]
    is_rate = all(mean.is_rate for mean in known.values())
    axis = ChartScale([*edges, 0.0, 1.0] if is_rate else edges, _LEFT, _WIDTH - _RIGHT)

    def row(model: str, y: float, color: str) -> Iterator[str]:
        if (mean := means[model]) is None:
            return
        low, x, high = (axis.position(value) for value in (mean.interval[0], mean.mean, mean.interval[1]))
        yield f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{color}" stroke-width="3"/>'
        title = escape_html(f"{model}: {mean}")
        yield f'<circle cx="{x:.1f}" cy="{y}" r="6" fill="{color}"><title>{title}</title></circle>'

    return _draw(list(means), row, axis, "{:.0%}" if is_rate else "{:.3g}", f"{name}: mean score and 95 % interval")


def draw_times(times: Mapping[str, Sequence[float]], title: str) -> str:
    """Return the seconds of each answer as dots, with a line at the median."""
    axis = ChartScale([0.0, *(value for values in times.values() for value in values)], _LEFT, _WIDTH - _RIGHT)

    def row(model: str, y: float, color: str) -> Iterator[str]:
        values = times[model]
        for number, value in enumerate(values):
            # Spread, so that equal times do not hide each other.
            x, offset = axis.position(value), (number * 7 % 17) - 8
            yield f'<circle cx="{x:.1f}" cy="{y + offset}" r="2.5" fill="{color}" fill-opacity="0.45"/>'
        if values:
            x = axis.position(median(values))
            shown = escape_html(f"{model}: median {median(values):.3g} s of {len(values)}")
            line = f'x1="{x:.1f}" y1="{y - 12}" x2="{x:.1f}" y2="{y + 12}"'
            yield f'<line {line} stroke="{color}" stroke-width="3"><title>{shown}</title></line>'

    return _draw(list(times), row, axis, "{:.3g} s", title)


def draw_costs(costs: Mapping[str, float]) -> str:
    """Return the total cost of each model as a bar."""
    axis = ChartScale([0.0, *costs.values()], _LEFT, _WIDTH - _RIGHT)

    def row(model: str, y: float, color: str) -> Iterator[str]:
        start, end = axis.position(0.0), axis.position(costs[model])
        title = escape_html(f"{model}: ${costs[model]:.6g}")
        yield (
            f'<rect x="{start:.1f}" y="{y - 8}" width="{max(1.0, end - start):.1f}" height="16" fill="{color}">'
            f"<title>{title}</title></rect>"
        )

    return _draw(list(costs), row, axis, "${:.3g}", "cost of all answers in US dollars")


def _draw(
    models: Sequence[str],
    row: Callable[[str, float, str], Iterator[str]],
    axis: ChartScale,
    tick_format: str,
    title: str,
) -> str:
    """Return a chart; `row` yields a model's marks at a height y and in a color."""
    height = _TOP + _ROW * len(models) + _BOTTOM
    bottom = height - _BOTTOM
    label = escape_html(title)
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">', f"<title>{label}</title>"]
    for tick in axis.ticks:
        x = axis.position(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{tick_format.format(tick)}</text>')
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
