"""The progress bar of many calls, on a terminal or in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressBar:
    """A progress bar on standard error, shown on a terminal or in a notebook.

    Args:
        description: The text before the bar.
        total: How many calls there are; None is not known.
        is_shown: Whether to show it at all.
    """

    def __init__(self, description: str, total: int | None, *, is_shown: bool) -> None:
        self._bar: Progress | None = None
        if not is_shown:
            return
        from rich import progress
        from rich.console import Console

        console = Console(stderr=True)
        if not (console.is_terminal or console.is_jupyter):
            return
        columns = (
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[status]}"),
        )
        self._bar = progress.Progress(*columns, console=console)
        self._bar.start()
        self._task = self._bar.add_task(description, total=total, status="")

    def advance(self, status: str = "", calls: int = 1) -> None:
        """Count calls that have ended; `status` stands at the bar's end."""
        if self._bar is not None:
            self._bar.update(self._task, advance=calls, status=status)

    def stop(self) -> None:
        """Leave the bar as it is. Idempotent."""
        if self._bar is not None:
            self._bar.stop()
