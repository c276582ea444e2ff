"""The results of `om.lock` and `om.audit`, and how they are shown."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from openmodels import escaping
from openmodels.catalog.index.codec import today
from openmodels.choose.lock_changes import Change
from openmodels.choose.lock_file import LockedModel


@dataclass(frozen=True, slots=True)
class Unchecked:
    """What could not be compared.

    Attributes:
        model: The model's id.
        part: "model", "openness", "offers", "lifecycle" or a field of them.
        reason: Why.
    """

    model: str
    part: str
    reason: str


@dataclass(frozen=True, slots=True)
class EvidenceAge:
    """Where a part of a model's present state comes from.

    Attributes:
        model: The model's id.
        part: "model", "openness", "offers" or "lifecycle".
        source: The catalog, the router or the index.
        as_of: The day it was read; None for a part that neither the lock file nor this look has.
        reason: Why it was not read now; "" where it was.
    """

    model: str
    part: str
    source: str
    as_of: date | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Lock:
    """What was written into a lock file.

    Attributes:
        path: The file.
        models: The state of each model by its id.
        changes: What is not as in the file that was there before, the worse first.
        added: Models that it did not have.
        removed: Models that it had, and that are locked no more.
        unchecked: What could not be read now, and why; it is missing in the file, or of an earlier look.
    """

    path: Path
    models: dict[str, LockedModel]
    changes: tuple[Change, ...] = ()
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()

    def __str__(self) -> str:
        """Return the report as text of at most 80 columns."""
        return self.to_text()

    @property
    def verdict(self) -> str:
        """The result in one line."""
        return f"{_count(self.models, 'model')} locked"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "path": str(self.path),
            "models": [state.to_dict() for state in self.models.values()],
            "changes": [change.to_dict() for change in self.changes],
            "added": list(self.added),
            "removed": list(self.removed),
            "unchecked": [asdict(item) for item in self.unchecked],
        }

    def to_text(self, width: int | None = 80) -> str:
        """Return the report in lines of `width` columns; None does not break lines."""
        lines = _change_lines(self.changes, width)
        for title, texts in self._lists():
            lines += _list_lines(title, texts, width)
        return _joined([f"{self.path}: {self.verdict}", *lines])

    def _lists(self) -> Iterator[tuple[str, Iterable[str]]]:
        yield "Added", self.added
        yield "Locked no more", self.removed
        yield "Not read now", _unchecked_lines(self.unchecked)

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return _html(f"{self.path}: {self.verdict}", self.changes, self._lists())


@dataclass(frozen=True, slots=True)
class Audit:
    """A lock file compared with what holds now.

    Attributes:
        path: The lock file.
        locked_on: The day it was written.
        changes: What changed, by model, the worse first.
        unchecked: What could not be compared, and why.
        evidence: Where the present state comes from, by model and part.
        models: The models of the file.
    """

    path: Path
    locked_on: date
    changes: tuple[Change, ...]
    unchecked: tuple[Unchecked, ...]
    evidence: tuple[EvidenceAge, ...]
    models: tuple[str, ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """The changes for the worse."""
        return tuple(change for change in self.changes if change.is_worse)

    @property
    def is_clean(self) -> bool:
        """Whether all was compared and nothing is worse."""
        return not self.worse and not self.unchecked

    def __str__(self) -> str:
        """Return the report as text of at most 80 columns."""
        return self.to_text()

    @property
    def verdict(self) -> str:
        """The result in one line."""
        worse, others = len(self.worse), len(self.changes) - len(self.worse)
        parts = [f"{worse} for the worse"] if worse else []
        parts += [f"{others} other {'change' if others == 1 else 'changes'}"] if others else []
        parts += [f"{len(self.unchecked)} not checked"] if self.unchecked else []
        return f"{_count(self.models, 'model')} locked on {self.locked_on}: {', '.join(parts) or 'nothing changed'}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON takes it."""
        return {
            "path": str(self.path),
            "locked_on": self.locked_on.isoformat(),
            "is_clean": self.is_clean,
            "models": list(self.models),
            "changes": [change.to_dict() for change in self.changes],
            "unchecked": [asdict(item) for item in self.unchecked],
            "evidence": [{**asdict(item), "as_of": item.as_of and item.as_of.isoformat()} for item in self.evidence],
        }

    def to_text(self, width: int | None = 80) -> str:
        """Return the report in lines of `width` columns; None does not break lines."""
        lines = _change_lines(self.changes, width)
        for title, texts in self._lists():
            lines += _list_lines(title, texts, width)
        return _joined([f"{self.path}: {self.verdict}", *lines])

    def _lists(self) -> Iterator[tuple[str, Iterable[str]]]:
        yield "Not checked", _unchecked_lines(self.unchecked)
        yield "Evidence", self._age_lines()

    def _age_lines(self) -> Iterator[str]:
        """Yield how old the evidence is, a line for each day and reason."""
        days: dict[tuple[str, str], dict[str, list[str]]] = {}
        for item in self.evidence:
            if item.reason:
                day = f"kept of {item.as_of}, {_age(item.as_of)}" if item.as_of else "never read"
                days.setdefault((day, item.reason), {}).setdefault(item.model, []).append(item.part)
        for (day, reason), parts in sorted(days.items()):
            named = "; ".join(f"{model} ({', '.join(names)})" for model, names in parts.items())
            yield f"{day}: {named}. {reason}"
        if fresh := sum(not item.reason for item in self.evidence):
            yield f"read now: {fresh} of {len(self.evidence)} parts"

    def _repr_html_(self) -> str:
        """Return a table for notebooks."""
        return _html(f"{self.path}: {self.verdict}", self.changes, self._lists())


def _age(day: date) -> str:
    days = (today() - day).days
    return "of today" if days < 1 else "1 day old" if days == 1 else f"{days} days old"


def _count(things: Iterable[object], noun: str) -> str:
    number = len(list(things))
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _unchecked_lines(items: Iterable[Unchecked]) -> Iterator[str]:
    for item in items:
        yield f"{item.model}, {item.part}: {item.reason}"


def _change_lines(changes: Iterable[Change], width: int | None) -> list[str]:
    from openmodels import columns

    by_model: dict[str, list[Change]] = {}
    for change in changes:
        by_model.setdefault(change.model, []).append(change)
    lines = []
    for model, group in by_model.items():
        lines += ["", model]
        left = min(30, max(len(change.field) for change in group))
        for change in group:
            start = f"  {'worse' if change.is_worse else '':<5}  {change.field:<{left}}  "
            lines += columns.wrap_hanging(_text(change), width, start)
        if successor := next((change.successor for change in group if change.successor), None):
            lines.append(f"  successor: {successor}")
    return lines


def _list_lines(title: str, texts: Iterable[str], width: int | None) -> list[str]:
    from openmodels import columns

    lines = [line for text in texts for line in columns.wrap_hanging(text, width)]
    return ["", f"{title}:", *lines] if lines else []


def _joined(lines: Iterable[str]) -> str:
    return "\n".join(escaping.escape_line(line) if line else line for line in lines)


def _html(title: str, changes: Iterable[Change], lists: Iterable[tuple[str, Iterable[str]]]) -> str:
    rows = []
    for change in changes:
        cells = (change.model, change.field, _text(change), "worse" * change.is_worse, change.successor or "")
        texts = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        rows.append(f'<tr style="text-align:left">{texts}</tr>')
    parts = [f"<p>{html.escape(title)}</p>"]
    if rows:
        heads = "".join(f"<th>{name}</th>" for name in ("model", "field", "change", "", "successor"))
        parts.append(f"<table><tr>{heads}</tr>{''.join(rows)}</table>")
    for name, texts_ in lists:
        if items := "".join(f"<li>{html.escape(text)}</li>" for text in texts_):
            parts.append(f"<p>{name}:</p><ul>{items}</ul>")
    return "".join(parts)


def _text(change: Change) -> str:
    return f"{change.before or 'none'} → {change.after or 'none'}"
