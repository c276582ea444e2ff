"""The progress bar of many calls, on a terminal or in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def start_progress_bar(description: str, total: int | None) -> tuple[Progress, TaskID] | None:
    """Return a bar on standard error and its task, or None where nothing can show it.

    The task's field "status" stands at its end.
    """
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        return None
    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[status]}"),
    )
    bar = progress.Progress(*columns, console=console)
    bar.start()
    return bar, bar.add_task(description, total=total, status="")
