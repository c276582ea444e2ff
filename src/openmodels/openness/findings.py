"""A finding on one criterion: the verdict, its reason, and its evidence."""

from collections.abc import Mapping
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


OPEN, PARTIAL, CLOSED, UNKNOWN = Verdict


class Criterion(str):
    """The name of a criterion, e.g. "training_data"."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The name as plain text."""
        return str(self)

    @property
    def label(self) -> str:
        """The name in words: "training data"."""
        return self.replace("_", " ")


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


@dataclass(frozen=True)
class Judgement:
    """What a rule says; `Finding` describes the fields."""

    verdict: Verdict
    reason: str
    rule: str
    confidence: float = 0.0
    evidence: tuple[Proof, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Finding(Judgement):
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

    criterion: Criterion = field(kw_only=True)
    curated: bool = False


Findings = Mapping[str, Finding]
"""The findings by the names of their criteria."""


@dataclass(frozen=True, slots=True)
class LicenseConflict:
    """Two sources whose terms cannot both hold.

    Attributes:
        kind: "license-sources", "base-license" or "dataset-license".
        reason: What disagrees, in a sentence.
        evidence: Both sides.
    """

    kind: str
    reason: str
    evidence: tuple[Proof, ...]


def unknown(rule: str, reason: str, *missing: str, evidence: tuple[Proof, ...] = ()) -> Judgement:
    """Return the judgement "unknown", naming what was missing."""
    return Judgement(UNKNOWN, reason, rule, 0.0, evidence, missing or (reason,))
