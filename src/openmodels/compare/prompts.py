"""The prompts of a comparison: lists, JSONL and CSV files, rows of data sets."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openmodels import files
from openmodels.errors import InvalidRequest
from openmodels.types.messages import Message

_LARGEST_FILE = 2**30  # bytes
_FIELDS = ("prompt", "messages", "reference", "tags")
_SHOWN_COLUMNS = 8  # of those that are not read


@dataclass(frozen=True, slots=True)
class ComparedPrompt:
    """A prompt of a comparison.

    Attributes:
        index: Its place in the input, from 0.
        prompt: What `chat` takes.
        reference: The expected answer, a list of accepted ones, or None.
        cluster: The group that it belongs to, as the document it is about; None is a group of its own.
        tags: Words to filter by.
    """

    index: int
    prompt: Any = field(repr=False)
    reference: Any = field(default=None, repr=False)
    cluster: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The prompt as text: the last message of a conversation."""
        if isinstance(self.prompt, str):
            return self.prompt
        last = self.prompt[-1] if isinstance(self.prompt, list | tuple) and self.prompt else self.prompt
        content = last.get("content") if isinstance(last, Mapping) else getattr(last, "text", last)
        return content if isinstance(content, str) else json.dumps(content, default=str, ensure_ascii=False)


def read_prompts(source: Any, cluster: str, notes: list[str]) -> list[ComparedPrompt]:
    """Return the prompts of a list, a file or a data set.

    Args:
        source: Prompts as `chat` takes them; dicts with "prompt" or "messages", "reference", "tags" and the name of
            the cluster; the path of a JSONL or CSV file of those.
        cluster: The name of the field that holds a prompt's group.
        notes: Gets a sentence for each thing that is not read.

    Raises:
        InvalidRequest: A prompt is missing or cannot be read.
    """
    if isinstance(source, str | os.PathLike):
        rows: Iterable[Any] = _read_file(Path(source))
    elif isinstance(source, Mapping | bytes) or not isinstance(source, Iterable):
        raise InvalidRequest(f"prompts: expected many prompts or the path of a file, not {type(source).__name__}.")
    else:
        rows = source
    ignored: dict[str, None] = {}
    prompts = [_read_row(index, row, cluster, ignored) for index, row in enumerate(rows)]
    if not prompts:
        raise InvalidRequest("prompts: there is none.")
    if ignored:
        names = list(ignored)
        more = f" and {len(names) - _SHOWN_COLUMNS} more" if len(names) > _SHOWN_COLUMNS else ""
        notes.append(f"Fields of the prompts that are not read: {', '.join(names[:_SHOWN_COLUMNS])}{more}.")
    return prompts


def _read_row(index: int, row: Any, cluster: str, ignored: dict[str, None]) -> ComparedPrompt:
    if not isinstance(row, Mapping) or ("role" in row and "prompt" not in row):
        if not isinstance(row, str | Message | Mapping | list | tuple):
            raise InvalidRequest(f"prompts: item {index} is no prompt but {type(row).__name__}.")
        return ComparedPrompt(index, row)
    # A data frame has NaN where a value is missing.
    row = {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
    prompt = row.get("prompt") if row.get("prompt") is not None else row.get("messages")
    if prompt is None:
        if "prompt" in row:
            raise InvalidRequest(f'prompts: item {index} has an empty "prompt".', next_step="Leave it out.")
        names = ", ".join(str(name) for name in list(row)[:_SHOWN_COLUMNS])
        raise InvalidRequest(
            f'prompts: item {index} has no "prompt", only {names or "nothing"}.',
            next_step='Name the field "prompt" (or "messages"), and the expected answer "reference".',
        )
    ignored |= dict.fromkeys(str(name) for name in row if name not in {*_FIELDS, cluster})
    group, tags = row.get(cluster), row.get("tags")
    if isinstance(tags, str):
        tags = tags.replace(",", " ").split()
    elif not isinstance(tags, Iterable) and tags is not None:
        tags = (tags,)
    return ComparedPrompt(
        index,
        prompt,
        reference=row.get("reference"),
        cluster=None if group in (None, "") else str(group),
        tags=tuple(str(tag) for tag in (() if tags is None else tags)),
    )


def _read_file(path: Path) -> Iterator[Any]:
    suffix = path.suffix.lower()
    if suffix not in {".jsonl", ".ndjson", ".csv", ".tsv"}:
        raise InvalidRequest(
            f"{path}: prompts come from a .jsonl or .csv file.", next_step="Write one prompt as a list of one."
        )
    try:
        text = files.read_bounded(path, largest=_LARGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{path} is not UTF-8 text: byte {error.start} is wrong.") from None
    if suffix in {".csv", ".tsv"}:
        rows = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if suffix == ".tsv" else ",", strict=True)
        try:
            for number, row in enumerate(rows, 1):
                if None in row:
                    raise InvalidRequest(f"{path}, row {number}: it has more cells than the head has names.")
                yield {name.strip(): cell or None for name, cell in row.items()}
        except csv.Error as error:
            raise InvalidRequest(f"{path} is not CSV: {error}.") from error
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield files.parse_json(line, f"{path}, line {number}")
