"""Findings by people that replace a rule's: dated, sourced, marked as curated."""

import json
from functools import cache
from importlib.resources import files

from openmodels.errors import InvalidRequest
from openmodels.openness.criteria import find_criterion
from openmodels.openness.findings import Finding, Proof, Verdict

_ADDED: dict[str, dict[str, Finding]] = {}


def add_override(model: str, criterion: str, verdict: str, *, reason: str, source: str, date: str) -> Finding:
    """Replace a rule's finding by a person's judgement, for this process.

    Args:
        model: "org/name".
        criterion: e.g. "training_data".
        verdict: "open", "partial", "closed" or "unknown".
        reason: Why, in a sentence.
        source: An https address that shows it.
        date: The day it was judged, e.g. "2026-11-25".

    Raises:
        InvalidRequest: An unknown criterion or verdict, or no https source.
    """
    if not source.startswith("https://") or not date or not reason:
        raise InvalidRequest("An override needs a reason, a date, and a source that starts with https://.")
    finding = _curated(criterion, verdict, reason, source, date)
    _ADDED.setdefault(model.lower(), {})[finding.criterion] = finding
    return finding


def find_overrides(model: str) -> dict[str, Finding]:
    """Return a model's overrides; those added in this process replace shipped ones."""
    return _shipped().get(model.lower(), {}) | _ADDED.get(model.lower(), {})


@cache
def _shipped() -> dict[str, dict[str, Finding]]:
    text = (files("openmodels.openness") / "data" / "overrides.json").read_text(encoding="utf-8")
    by_model: dict[str, dict[str, Finding]] = {}
    for row in json.loads(text)["overrides"]:
        finding = _curated(row["criterion"], row["verdict"], row["reason"], row["source"], row["date"])
        by_model.setdefault(row["model"].lower(), {})[finding.criterion] = finding
    return by_model


def _curated(criterion: str, verdict: str, reason: str, source: str, date: str) -> Finding:
    try:
        value = Verdict(verdict)
    except ValueError as error:
        raise InvalidRequest(
            f"The override of {criterion!r} is not understood: {error}.", next_step=f"Verdicts: {', '.join(Verdict)}."
        ) from error
    proofs = (Proof(source, "judged by a person", None, date),)
    missing = (reason,) if value is Verdict.UNKNOWN else ()
    return Finding(value, reason, "override", 1.0, proofs, missing, curated=True, criterion=find_criterion(criterion))
