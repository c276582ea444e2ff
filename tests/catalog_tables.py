"""Models and judged queries for tests, from tables of facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query and what a search for it must find.

    Attributes:
        text: The query.
        wanted: Hub ids.
        any: Whether one of them is enough.
    """

    text: str
    wanted: tuple[str, ...]
    any: bool

    def recall(self, first: Iterable[str]) -> float:
        """Return the share of the wanted models among the first results, from 0 to 1."""
        shown = set(first)
        hits = sum(name in shown for name in self.wanted)
        return float(hits > 0) if self.any else hits / len(self.wanted)


def hub_records(table: Path) -> list[dict[str, Any]]:
    """Return the rows of a table of models, in the shape of the Hub's listing.

    The columns are id, task, license, parameters, downloads, likes, languages, tags, base model
    ("relation:id") and, where it is known, the context length in tokens, with tabs between them
    and "-" for what is not known.
    """
    return [_row(cells) for cells in _cells(table)]


def judged_queries(table: Path) -> list[JudgedQuery]:
    """Return the queries of a table: a text, a tab, and ids with " | " between them."""
    return [
        JudgedQuery(text, tuple(name.strip() for name in wanted.removeprefix("?").split("|")), wanted.startswith("?"))
        for text, wanted in _cells(table)
    ]


def recall_at_5(
    queries: Iterable[JudgedQuery], search: Callable[[str], Iterable[str]]
) -> tuple[float, dict[str, list[str]]]:
    """Return the mean recall of queries, from 0 to 1, and the ids found for each that is below 1.

    `search` returns the ids that it finds for a query, best first.
    """
    shares, missed = [], {}
    for judged in queries:
        first = list(islice(search(judged.text), 5))
        shares.append(judged.recall(first))
        if shares[-1] < 1:
            missed[judged.text] = first
    return fmean(shares), missed


def _cells(table: Path) -> Iterator[list[str]]:
    for line in table.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def _row(cells: list[str]) -> dict[str, Any]:
    name, task, license_, parameters, downloads, likes, languages, tags, base, *others = (
        None if cell == "-" else cell for cell in cells
    )
    context = int(others[0]) if others and others[0] else None
    listed = (tags or "").split(",") if tags else []
    spoken = (languages or "").split(",") if languages else []
    library = "diffusers" if "diffusers" in listed else "transformers"
    weights = "gguf" if "gguf" in listed else "safetensors"
    marks = [library, weights, *listed, *spoken, *([f"license:{license_}"] if license_ else ())]
    if base:
        relation, _, parent = base.partition(":")
        marks += [f"base_model:{parent}", f"base_model:{relation}:{parent}"]
    return {
        "id": name,
        "pipeline_tag": task,
        "library_name": library,
        "tags": list(dict.fromkeys(marks)),
        "downloads": int(downloads) if downloads else None,
        "likes": int(likes) if likes else None,
        "gated": False,
        "private": False,
        "safetensors": {"total": int(parameters), "parameters": {}} if parameters else None,
        "createdAt": "2024-06-01T00:00:00.000Z",
        "lastModified": "2025-06-01T00:00:00.000Z",
        "cardData": {"language": spoken, **({"license": license_} if license_ else {})},
        **({"config": {"max_position_embeddings": context}} if context else {}),
    }
