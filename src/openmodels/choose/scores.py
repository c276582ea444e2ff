"""Scores of models on benchmarks, each with its source, day and terms.

Scores come from the catalog's records (evaluation results of the Hub and the model index of cards) and from files of
leaderboards. They are joined by the model's id, by the table of former ids in `former_ids.json`, or by aliases of the
caller; names that merely look alike are never joined.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

from openmodels.catalog.record import ModelRecord
from openmodels.errors import InvalidRequest, MissingExtra
from openmodels.hub import untrusted_fields as fields
from openmodels.hub.model_page import HUB_ID
from openmodels.settings import install_hint

PREFIX = "score:"
"""How the names of axes that are benchmarks begin."""

_LOWER_IS_BETTER = re.compile(r"(?:^|[^a-z])(?:perplexity|ppl|wer|cer|ter|loss|rmse|mae|mse|errors?|error[ _-]rate)$")
_ARCHIVED = re.compile(r"open[ _-]?llm[ _-]leaderboard(?!.*\(archived\))", re.IGNORECASE)
"""What cards and evaluation results call the Open LLM Leaderboard, or its address."""
_ID_COLUMNS = ("hub_id", "model_id", "fullname", "model_name", "model")
_SCORE_COLUMN = re.compile(r"(.+)_score")


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """What is known of a published leaderboard whose file can be read.

    Attributes:
        name: Its name.
        url: Where its file is.
        license: The terms of its data.
        columns: Its columns of scores and the benchmarks' names; None for every column that ends in "_score".
        is_archived: Whether nothing is added any more.
    """

    name: str
    url: str
    license: str
    columns: Mapping[str, str] | None = None
    is_archived: bool = False


LEADERBOARDS = (
    Leaderboard(
        "Open LLM Leaderboard v2",
        "https://huggingface.co/datasets/open-llm-leaderboard/contents",
        "not stated",
        {
            "IFEval": "ifeval",
            "BBH": "bbh",
            "MATH Lvl 5": "math-lvl-5",
            "GPQA": "gpqa",
            "MUSR": "musr",
            "MMLU-PRO": "mmlu-pro",
        },
        is_archived=True,
    ),
    Leaderboard("OpenEvals leaderboard data", "https://huggingface.co/datasets/OpenEvals/leaderboard-data", "MIT"),
    Leaderboard(
        "Artificial Analysis (https://artificialanalysis.ai)",
        "https://artificialanalysis.ai/api/v2/language/models/free",
        "with attribution; not to be redistributed",
    ),
)
"""Leaderboards that are recognised by their columns. None is shipped: the user fetches a file from its address."""


@dataclass(frozen=True, slots=True)
class BenchmarkScore:
    """A score of a model.

    Attributes:
        benchmark: The benchmark; scores of different benchmarks are never mixed.
        value: The number, in the benchmark's own unit.
        source: Who reports it, or the leaderboard.
        as_of: The day; None where the source has none.
        license: The terms of the data.
        verified: Whether the Hub checked the run; None where that is not stated.
    """

    benchmark: str
    value: float
    source: str
    as_of: date | None = None
    license: str = "not stated"
    verified: bool | None = None


def scores_of(record: ModelRecord, tables: Sequence[ScoreTable] = ()) -> dict[str, BenchmarkScore]:
    """Return one score for each benchmark that a record or a table has of a model.

    Of several a verified one counts, then the newest, then the lowest: none is flattered by its choice of runs.
    """
    stated = [
        BenchmarkScore(
            score.benchmark,
            score.value,
            _mark_archived(score.source or "the model's repository"),
            score.date,
            "of the model's repository",
            score.verified,
        )
        for score in record.scores or ()
    ]
    stated += [score for table in tables for score in table.find(record)]
    best: dict[str, BenchmarkScore] = {}
    for score in stated:
        kept = best.get(score.benchmark)
        if kept is None or _worth(score) > _worth(kept):
            best[score.benchmark] = score
    return best


def _mark_archived(source: str) -> str:
    """Return a source with a mark if it is a leaderboard that was closed."""
    return f"{source} (archived)" if _ARCHIVED.search(source) else source


def _worth(score: BenchmarkScore) -> tuple[Any, ...]:
    sign = 1 if is_lower_better(score.benchmark) else -1
    return bool(score.verified), score.as_of or date.min, sign * score.value


def is_lower_better(benchmark: str) -> bool:
    """Return whether lower values are better, as of a perplexity or an error rate."""
    # The metric stands last: "org/error-correction:acc" is an accuracy.
    return _LOWER_IS_BETTER.search(benchmark.lower().rpartition(":")[2]) is not None


def find_benchmark(name: str, known: Iterable[str]) -> str | None:
    """Return the benchmark that a name means, or None.

    The name is that of the benchmark, of its data set, or of its task.

    Raises:
        InvalidRequest: The name fits several.
    """
    names = sorted(set(known))
    if name in names:
        return name
    wanted = _plain(name)
    matches = [
        benchmark
        for benchmark in names
        if wanted in {_plain(part) for part in (benchmark, *re.split(r"[/:]", benchmark), benchmark.rpartition("/")[2])}
        or wanted == _plain(benchmark.rpartition(":")[0] or benchmark)
    ]
    if len(matches) > 1:
        raise InvalidRequest(
            f"{PREFIX}{name} fits several benchmarks.", next_step=f"Write one of: {', '.join(matches)}."
        )
    return matches[0] if matches else None


def present_id(hub_id: str) -> str:
    """Return the present id, in lower case, of a model or account that was renamed.

    `former_ids.json` holds the known renamings of the Hub, each with its source.
    """
    accounts, models = _former_ids()
    name = models.get(hub_id.lower(), hub_id.lower())
    account, slash, model = name.partition("/")
    return f"{accounts.get(account, account)}{slash}{model}"


@lru_cache(maxsize=1)
def _former_ids() -> tuple[dict[str, str], dict[str, str]]:
    """Return the present names of accounts and of models by their former ones."""
    table = json.loads(Path(__file__).with_name("former_ids.json").read_text(encoding="utf-8"))
    accounts = {former.lower(): entry["now"].lower() for former, entry in table["accounts"].items()}
    return accounts, {former.lower(): now.lower() for former, now in table["models"].items()}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


class ScoreTable:
    """The scores of a leaderboard's file, by model id.

    Args:
        scores: The scores by the id, or by the leaderboard's own name, of a model.
        aliases: The hub id of each own name.
    """

    def __init__(
        self, scores: Mapping[str, Sequence[BenchmarkScore]], aliases: Mapping[str, str] | None = None
    ) -> None:
        known = {name.lower(): hub_id for name, hub_id in (aliases or {}).items()}
        self._scores: dict[str, list[BenchmarkScore]] = {}
        self.unjoined: list[str] = []  # names that are no id and have no alias
        for name, listed in scores.items():
            hub_id = known.get(name.lower(), name)
            if "/" not in hub_id or not HUB_ID.fullmatch(hub_id):
                self.unjoined.append(name)
                continue
            self._scores.setdefault(present_id(hub_id), []).extend(listed)

    def __len__(self) -> int:
        return len(self._scores)

    def find(self, record: ModelRecord) -> list[BenchmarkScore]:
        """Return the scores of a model, by its present or a former id."""
        ids = [record.ids.hub or record.id, *(record.renamed_from or ())]
        return next((scores for name in ids if (scores := self._scores.get(present_id(name)))), [])


def read_table(file: str | Path, aliases: Mapping[str, str] | None = None) -> ScoreTable:
    """Return the scores of a leaderboard's file: parquet, CSV, JSON or JSON lines.

    The columns tell the leaderboards of `LEADERBOARDS`; in another file each column that ends in "_score" is a
    benchmark. A column "date" dates a row.

    Raises:
        InvalidRequest: The file does not exist, or has no column of ids or of scores.
        MissingExtra: Reading parquet needs the extra `parquet`.
    """
    path = Path(file)
    rows = [_flatten(row) for row in _read_rows(path)]
    heads = list(dict.fromkeys(head for row in rows for head in row))
    id_column = next((head for head in _ID_COLUMNS if head in heads), None)
    board = next(
        (board for board in LEADERBOARDS if board.columns and len(board.columns.keys() & set(heads)) > 1), None
    )
    if board and board.columns:
        columns = {head: name for head, name in board.columns.items() if head in heads}
    else:
        columns = {head: match[1] for head in heads if (match := _SCORE_COLUMN.fullmatch(head))}
        is_open_evals = "aggregate_score" in columns or {"mmluPro_score", "gpqa_score"} <= set(columns)
        is_analysis = any(name.startswith("artificial_analysis_") for name in columns.values())
        board = LEADERBOARDS[1] if is_open_evals else LEADERBOARDS[2] if is_analysis else None
        # An average over other columns is no benchmark.
        columns = {head: name for head, name in columns.items() if name not in ("aggregate", "average")}
    if id_column is None or not columns:
        raise InvalidRequest(
            f"scores: {path.name} has no column of ids and of scores.",
            next_step=f"Name the ids {_ID_COLUMNS[1]!r} and each column of scores '…_score'.",
        )
    archived = " (archived)" if board and board.is_archived else ""
    source = f"{board.name}{archived}" if board else path.name
    scores: dict[str, list[BenchmarkScore]] = {}
    for row in rows:
        name = fields.text(row.get(id_column))
        for head, benchmark in columns.items() if name else ():
            value = _number(row.get(head))
            if value is not None and name:
                day = fields.day(row.get("date") or row.get("Submission Date"))
                license_ = board.license if board else "not stated"
                scores.setdefault(name, []).append(BenchmarkScore(benchmark, value, source, day, license_))
    return ScoreTable(scores, aliases)


def _flatten(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a row with the nested scores of Artificial Analysis as columns."""
    nested = row.get("evaluations")
    if not isinstance(nested, Mapping):
        return row
    return {"model": row.get("slug") or row.get("name"), **{f"{name}_score": value for name, value in nested.items()}}


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return fields.number(value)


def _read_rows(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        match path.suffix.lower():
            case ".parquet":
                yield from _read_parquet(path)
            case ".csv":
                with path.open(encoding="utf-8", newline="") as lines:
                    yield from csv.DictReader(lines)
            case ".jsonl":
                yield from (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
            case _:
                content = json.loads(path.read_text(encoding="utf-8"))
                yield from fields.objects(content.get("data") if isinstance(content, Mapping) else content)
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidRequest(f"scores: {path} cannot be read as a table.", next_step="Check the path.") from error


def _read_parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "Reading parquet needs pyarrow, which is not installed.", next_step=f"Run: {install_hint('parquet')}"
        ) from error
    try:
        yield from parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise InvalidRequest(f"scores: {path} is no parquet file.", next_step="Check the path.") from error
