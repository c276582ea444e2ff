"""What charts share: a scale with round ticks, and the axes of matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from openmodels.errors import MissingExtra
from openmodels.settings import install_hint


class ChartScale:
    """Maps values to positions in a chart; its range begins and ends at round ticks.

    Args:
        values: What is drawn; none gives the range from 0 to 1.
        start: The position of the first tick.
        end: The position of the last tick.

    Attributes:
        ticks: The values of the ticks, the lowest first.
    """

    def __init__(self, values: Iterable[float], start: float, end: float) -> None:
        drawn = list(values) or [0.0, 1.0]
        low, high = min(drawn), max(drawn)
        if low == high:
            margin = abs(low) / 2 or 0.5
            low, high = low - margin, high + margin
        step = 10.0 ** math.floor(math.log10((high - low) / 4))
        step = next(step * factor for factor in (1, 2, 2.5, 5, 10) if step * factor * 5 >= high - low)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        # Rounded, since 3 * 0.1 is not 0.3.
        self.ticks = [float(f"{step * number:.12g}") for number in range(first, last + 1)]
        self._start, self._end = start, end

    def position(self, value: float) -> float:
        """Return where a value is drawn; one beyond the ticks stands at the nearest."""
        fraction = (value - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self._start + min(1.0, max(0.0, fraction)) * (self._end - self._start)


def matplotlib_axes(axes: Any, instead: str) -> Any:
    """Return axes of matplotlib: those of the caller, or of a new figure for None.

    Args:
        axes: The caller's axes, or None.
        instead: What draws without matplotlib, for the error.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "plot needs matplotlib, which is not installed.",
            next_step=f"Run: {install_hint('plot')}; or call {instead}, which needs nothing.",
        ) from error
    # Not by pyplot: it would keep the figure and choose a window system.
    return Figure().subplots() if axes is None else axes
