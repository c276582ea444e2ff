"""`openness` and `compare_openness`: judge one model, or several side by side."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from openmodels import escaping, model_reference
from openmodels.errors import DeadlineExceeded, ErrorBoundary, InvalidRequest, ModelNotFound, Offline, OpenModelsError
from openmodels.hub import addresses
from openmodels.openness.bom_reader import read_bom
from openmodels.openness.criteria import criterion_names
from openmodels.openness.evidence import Evidence
from openmodels.openness.gather import UNREACHABLE, EvidenceSources, from_folder, gather, store
from openmodels.openness.profiles import DEFAULT, find_profile
from openmodels.openness.rendering import LEGEND, VERDICT_SIGNS, html_table, markdown_table
from openmodels.openness.report import Report

CONCURRENCY = 4  # models gathered at the same time in a batch
PACE = 0.1  # least seconds between two requests to one host in a batch

_Result = TypeVar("_Result")


@ErrorBoundary()
def openness(
    model: Any = None,
    *,
    bom: str | Path | Mapping[str, Any] | None = None,
    profile: str = DEFAULT,
    evidence: str | Path | None = None,
    deep: bool = True,
) -> Report:
    """Judge how open a model is, with evidence for every verdict.

    Args:
        model: "org/model", a record of a catalog, or the folder of a model; with `bom`, which of its models, None for
            the only one.
        bom: A bill of materials to judge from, without network: CycloneDX 1.5 to 1.7 or SPDX 3.0, as the path of
            a JSON file or its content. What it does not show is unknown; `report.notes` names what was not read.
        profile: "default" (also called "lesson"), "osaid-1.0", "mof-1.0" or "eu-gpai".
        evidence: A folder saved by `report.save`: judge that again, without network.
        deep: False looks only at the Hub's own facts and the front matter (license, gating).

    Without a network, evidence kept from an earlier call is judged, and the report says so and when
    it was gathered.

    Raises:
        InvalidRequest: An unknown profile, a folder that holds no evidence or model, or a bill that cannot be read.
        InvalidReference: `model` is not an id.
        ModelNotFound: No such model, or nothing about it in the evidence.
        Offline: No network, and no evidence kept.
    """
    return _open(model, bom, profile, evidence, deep=deep)


async def aopenness(
    model: Any = None,
    *,
    bom: str | Path | Mapping[str, Any] | None = None,
    profile: str = DEFAULT,
    evidence: str | Path | None = None,
    deep: bool = True,
) -> Report:
    """Judge how open a model is: the async twin of `openness`.

    Raises:
        InvalidRequest, InvalidReference, ModelNotFound, Offline: As `openness` does.
    """
    return await _on_thread(partial(_open, model, bom, profile, evidence, deep=deep))


@dataclass(frozen=True)
class OpennessComparison:
    """Several models side by side.

    Attributes:
        reports: The reports, in the order asked for.
        failures: model -> why it could not be judged.
    """

    reports: tuple[Report, ...]
    failures: dict[str, OpenModelsError]

    def __iter__(self) -> Iterator[Report]:
        return iter(self.reports)

    def __len__(self) -> int:
        return len(self.reports)

    def __contains__(self, model: object) -> bool:
        if isinstance(model, str):
            return any(report.is_about(model) for report in self.reports)
        return model in self.reports

    def __str__(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        return f"OpennessComparison({[report.id for report in self]!r}, failures={list(self.failures)!r})"

    def __getitem__(self, model: str) -> Report:
        for report in self.reports:
            if report.is_about(model):
                return report
        raise InvalidRequest(f"The comparison has no report on {model!r}.")

    def to_markdown(self) -> str:
        """Return a table: a row per model, a column per criterion."""
        rows = [
            [escaping.escape_markdown(report.id), *(VERDICT_SIGNS[finding.verdict] for finding in report), report.grade]
            for report in self
        ]
        lines = [*markdown_table(self._header(), rows), "", f"{LEGEND}. {self._profile()}"]
        lines += [
            f"- {escaping.escape_markdown(name)}: {escaping.escape_markdown(error.cause)}"
            for name, error in self.failures.items()
        ]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [
            [
                escaping.escape_html(report.id),
                *(
                    f'<span title="{escaping.escape_html(each.reason)}">{VERDICT_SIGNS[each.verdict]}</span>'
                    for each in report
                ),
                escaping.escape_html(report.grade),
            ]
            for report in self
        ]
        failures = "".join(
            f"<li>{escaping.escape_html(f'{name}: {error.cause}')}</li>" for name, error in self.failures.items()
        )
        return f"{html_table(self._header(), rows)}<p>{LEGEND}. {self._profile()}</p><ul>{failures}</ul>"

    def _profile(self) -> str:
        """Return the profile that graded and the days of the evidence."""
        profiles = " and ".join(dict.fromkeys(report.profile for report in self))
        days = sorted({report.as_of[:10] for report in self if report.as_of})
        of = f", evidence of {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
        return escaping.escape_line(f"Profile {profiles}{of}." if profiles else "")

    @staticmethod
    def _header() -> list[str]:
        return ["model", *(criterion.label for criterion in criterion_names()), "grade"]


@ErrorBoundary()
def compare_openness(
    models: Iterable[Any],
    *,
    profile: str = DEFAULT,
    evidence: str | Path | None = None,
    deep: bool = True,
    save: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> OpennessComparison:
    """Judge several models, a few at a time, at a pace the Hub bears.

    Args:
        models: Ids, records or folders; thousands are fine.
        profile: As in `openness`.
        evidence: A saved folder to judge from, without network.
        deep: As in `openness`.
        save: A folder to keep the evidence in. Models already in it are judged from there, so that a
            batch that was cut short continues where it stopped.
        progress: Called after each model with how many are done and how many there are. What it raises ends
            the batch, as Ctrl-C does: models under way are finished and kept, the others are not begun.

    A model that cannot be judged is in `failures` and stops nothing.

    Raises:
        InvalidRequest: An unknown profile, or no folder of evidence.
        Offline: No network, and no evidence kept of any model.
    """
    return _compare(models, profile, evidence, deep=deep, save=save, progress=progress, cancelled=threading.Event())


async def acompare_openness(
    models: Iterable[Any],
    *,
    profile: str = DEFAULT,
    evidence: str | Path | None = None,
    deep: bool = True,
    save: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> OpennessComparison:
    """Judge several models: the async twin of `compare_openness`.

    `progress` is called on another thread. A cancelled call begins no further model.

    Raises:
        InvalidRequest, Offline: As `compare_openness` does.
    """
    cancelled = threading.Event()
    compare = partial(_compare, models, profile, evidence, deep=deep, save=save, progress=progress, cancelled=cancelled)
    try:
        return await _on_thread(compare)
    finally:
        cancelled.set()


async def _on_thread(work: Callable[[], _Result]) -> _Result:
    # A thread of its own: the default pool is small, and gathering waits for the network.
    pool = ThreadPoolExecutor(1, thread_name_prefix="openmodels-openness")
    try:
        with ErrorBoundary():
            return await asyncio.get_running_loop().run_in_executor(pool, work)
    finally:
        pool.shutdown(wait=False)  # a cancelled call must not hold the loop until the network answers


def _compare(
    models: Iterable[Any],
    profile: str,
    evidence: str | Path | None,
    *,
    deep: bool,
    save: str | Path | None,
    progress: Callable[[int, int], None] | None,
    cancelled: threading.Event,
) -> OpennessComparison:
    """Judge several models as `compare_openness` does, until `cancelled` is set."""
    find_profile(profile)
    sources = None if evidence is not None else EvidenceSources.connect(interval=PACE)

    def judge(model: Any) -> Report | OpenModelsError:
        if cancelled.is_set():
            raise CancelledError
        try:
            is_kept = save is not None and _folder_of(model) is None
            if is_kept and (saved := _saved(model, Path(str(save)), profile, deep=deep)) is not None:
                return saved
            report = _judge(model, profile, evidence, deep=deep, sources=sources)
            if save is not None:
                report.save(save)
        except OpenModelsError as error:
            return error
        return report

    pool = ThreadPoolExecutor(CONCURRENCY, thread_name_prefix="openmodels-openness")
    try:
        futures = {pool.submit(judge, model): model for model in models}
        for done, _ in enumerate(as_completed(futures), start=1):
            if progress is not None:
                progress(done, len(futures))
        results = [(model, future.result()) for future, model in futures.items()]
    finally:
        pool.shutdown(cancel_futures=True)
        if sources is not None:
            sources.close()
    reports = tuple(result for _, result in results if isinstance(result, Report))
    failures = {_name(model): result for model, result in results if isinstance(result, OpenModelsError)}
    if failures and not reports and all(isinstance(error, Offline) for error in failures.values()):
        raise next(iter(failures.values()))
    return OpennessComparison(reports, failures)


def _open(
    model: Any, bom: str | Path | Mapping[str, Any] | None, profile: str, evidence: str | Path | None, *, deep: bool
) -> Report:
    """Judge a model from a bill of materials, or as `_judge` does."""
    if bom is None and model is None:
        raise InvalidRequest("There is nothing to judge.", next_step="Give a model's id, or bom=.")
    if bom is None:
        return _judge(model, profile, evidence, deep=deep, sources=None)
    if evidence is not None:
        raise InvalidRequest("A report rests on a bill of materials or on a folder of evidence, not on both.")
    find_profile(profile)
    return Report.of(read_bom(bom, None if model is None else _name(model)), profile=profile, offline=True)


def _judge(
    model: Any, profile: str, evidence: str | Path | None, *, deep: bool, sources: EvidenceSources | None
) -> Report:
    find_profile(profile)
    name = _name(model)
    if evidence is not None:
        saved = Evidence.load(evidence, _hub_id(name))
        return Report.of(saved if deep else saved.shallow(), profile=profile, offline=True)
    if (folder := _folder_of(model)) is not None:
        return Report.of(from_folder(folder), profile=profile, offline=True)
    hub_id = _hub_id(name)
    try:
        return Report.of(gather(hub_id, deep=deep, sources=sources), profile=profile)
    except UNREACHABLE as error:
        if (report := _saved(hub_id, store(), profile, deep=deep)) is not None:
            return report
        if isinstance(error, DeadlineExceeded):
            raise
        is_shallow = deep and _saved(hub_id, store(), profile, deep=False) is not None
        kept = "only a look with deep=False" if is_shallow else "none"
        raise Offline(
            f"There is no network to gather evidence, and {kept} is kept about {hub_id}.",
            reference=hub_id,
            next_step="Connect once; or give evidence='a folder saved by report.save()'.",
        ) from error


def _saved(model: Any, folder: Path, profile: str, *, deep: bool) -> Report | None:
    """Return the report by a folder's evidence.

    None where the folder holds less than the look that is asked for.
    """
    try:
        evidence = Evidence.load(folder, _hub_id(_name(model)))
        if deep and not evidence.is_deep:
            return None
        return Report.of(evidence if deep else evidence.shallow(), profile=profile, offline=True)
    except (InvalidRequest, ModelNotFound):
        return None


def _name(model: Any) -> str:
    """Return the id of a record, the path of a folder, or the text itself."""
    if isinstance(model, str | Path):
        return str(model)
    name = getattr(model, "id", None)
    if isinstance(name, str):
        return name
    raise InvalidRequest(f"A model is text, a record with an `id`, or a path, not {type(model).__name__}.")


def _folder_of(model: Any) -> Path | None:
    """Return the folder that is meant, or None for a model of the Hub."""
    name = _name(model).removeprefix("local:")
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - Path's own raises where there is no such user
    is_folder = isinstance(model, Path) or (name.startswith((".", "/", "~")) and path.is_dir())
    return path.resolve() if is_folder else None


def _hub_id(name: str) -> str:
    name = addresses.model_id_of(name)
    if "/" not in name and model_reference.is_backend_name(name):
        return name
    return model_reference.parse_hub_id(name).repo
