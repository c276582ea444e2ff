"""Judgements by people that stand in for a rule's, each dated and sourced, and shown as such."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from openmodels.errors import InvalidRequest
from openmodels.openness.findings import Criterion, Finding, Proof, Verdict

_ADDED: dict[str, dict[Criterion, Finding]] = {}


def add_override(model: str, criterion: str, verdict: str, *, reason: str, source: str, date: str) -> Finding:
    """Let a person's judgement stand in for the rules, for this process.

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
    try:
        kind, value = Criterion(criterion), Verdict(verdict)
    except ValueError as error:
        raise InvalidRequest(f"The override of {criterion!r} is not understood: {error}.") from error
    if not source.startswith("https://") or not date or not reason:
        raise InvalidRequest("An override needs a reason, a date, and a source that starts with https://.")
    proof = Proof(source, "judged by a person", None, date)
    found = Finding(
        kind, value, reason, "override", 1.0, (proof,), () if value is not Verdict.UNKNOWN else (reason,), curated=True
    )
    _ADDED.setdefault(model.lower(), {})[kind] = found
    return found


def overrides(model: str) -> dict[Criterion, Finding]:
    """Return the overrides of a model: the shipped ones, then those added in this process."""
    return _shipped().get(model.lower(), {}) | _ADDED.get(model.lower(), {})


@cache
def _shipped() -> dict[str, dict[Criterion, Finding]]:
    text = (files("openmodels.openness") / "data" / "overrides.json").read_text(encoding="utf-8")
    found: dict[str, dict[Criterion, Finding]] = {}
    for row in json.loads(text)["overrides"]:
        proof = Proof(row["source"], "judged by a person", None, row["date"])
        finding = Finding(
            Criterion(row["criterion"]),
            Verdict(row["verdict"]),
            row["reason"],
            "override",
            1.0,
            (proof,),
            (),
            curated=True,
        )
        found.setdefault(row["model"].lower(), {})[finding.criterion] = finding
    return found
