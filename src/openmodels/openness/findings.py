"""What a judgement is made of: a verdict per criterion, its reason, and the evidence behind it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Verdict(StrEnum):
    """How open one part of a model is.

    `UNKNOWN` means that evidence is missing, never that the part is closed.
    """

    OPEN = "open"
    PARTIAL = "partial"
    CLOSED = "closed"
    UNKNOWN = "unknown"


class Criterion(StrEnum):
    """What is judged."""

    TRAINING_DATA = "training_data"
    FINETUNING_DATA = "finetuning_data"
    WEIGHTS = "weights"
    TRAINING_CODE = "training_code"
    FINETUNING_CODE = "finetuning_code"
    EVALUATION_CODE = "evaluation_code"
    TRAINING_METRICS = "training_metrics"
    CHECKPOINTS = "checkpoints"
    TECHNICAL_REPORT = "technical_report"
    MODEL_CARD = "model_card"
    LICENSE = "license"
    LICENSE_ALL_PARTS = "license_all_parts"


@dataclass(frozen=True, slots=True)
class Proof:
    """One piece of evidence.

    Attributes:
        url: Where it can be checked.
        what: What was seen there, in a few words.
        revision: The commit it was seen at, or None where the source does not say.
        retrieved: The day it was seen (ISO 8601), or None where the source does not say.
    """

    url: str
    what: str
    revision: str | None = None
    retrieved: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on one criterion.

    Attributes:
        criterion: What was judged.
        verdict: The result.
        reason: Why, in a sentence.
        rule: The id of the rule that decided, e.g. "weights.gated".
        confidence: 0 to 1: how sure the rule is, given its evidence; 0 for `UNKNOWN`.
        evidence: What the rule looked at, the deciding piece first.
        missing: For `UNKNOWN`: what would have to be seen.
        curated: Whether a person decided this (an override), and not a rule.
    """

    criterion: Criterion
    verdict: Verdict
    reason: str
    rule: str
    confidence: float = 0.0
    evidence: tuple[Proof, ...] = ()
    missing: tuple[str, ...] = field(default=())
    curated: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two sources that cannot both hold.

    Attributes:
        kind: "license-sources", "base-license", "dataset-license" or "base-gating".
        reason: What disagrees, in a sentence.
        evidence: Both sides.
    """

    kind: str
    reason: str
    evidence: tuple[Proof, ...]


def unknown(criterion: Criterion, rule: str, reason: str, *missing: str, evidence: tuple[Proof, ...] = ()) -> Finding:
    """Return the finding that nothing can be said, naming what was missing."""
    return Finding(criterion, Verdict.UNKNOWN, reason, rule, 0.0, evidence, missing or (reason,))
