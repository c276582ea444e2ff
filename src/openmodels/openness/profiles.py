"""Yardsticks over the same findings: what "open" demands, by four definitions.

- `lesson`: OSI-approved weights, public training data, full weights, evaluation code, fine-tuning code
  and training metrics.
- `osaid-1.0`: the Open Source AI Definition (OSI, 28 October 2024): data information, code, parameters.
- `mof-1.0`: the Model Openness Framework's classes.
- `eu-gpai`: whether a general-purpose model counts as free and open-source in the sense of the EU AI
  Act's exemption (Commission guidelines C(2025) 5045, points 76-92). A reading by a machine, no advice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openmodels.errors import InvalidRequest
from openmodels.openness import mof
from openmodels.openness.findings import Criterion, Finding, Verdict
from openmodels.openness.model_context import Case
from openmodels.openness.mof_components import binding, components

Findings = Mapping[Criterion, Finding]
_MET = {Verdict.OPEN: True, Verdict.PARTIAL: False, Verdict.CLOSED: False, Verdict.UNKNOWN: None}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand of a profile.

    Attributes:
        name: What is demanded.
        met: True, False, or None where the evidence does not decide.
        reason: Why, in a sentence.
    """

    name: str
    met: bool | None
    reason: str


@dataclass(frozen=True, slots=True)
class Assessment:
    """A profile's result.

    Attributes:
        profile: Its name.
        grade: The result in the profile's own words, e.g. "open weights", "Class III - Open Model".
        requirements: Its demands.
    """

    profile: str
    grade: str
    requirements: tuple[Requirement, ...]

    @property
    def passed(self) -> bool | None:
        """True when every demand is met, False when one is not, None when evidence is missing."""
        results = [one.met for one in self.requirements]
        return False if False in results else None if None in results else True


def assess(profile: str, case: Case, findings: Findings) -> Assessment:
    """Apply a profile to findings.

    Raises:
        InvalidRequest: No such profile.
    """
    if profile not in PROFILES:
        raise InvalidRequest(f"There is no profile {profile!r}.", next_step=f"Profiles: {', '.join(PROFILES)}.")
    return PROFILES[profile](case, findings)


def _lesson(_: Case, findings: Findings) -> Assessment:
    wanted = (
        Criterion.LICENSE,
        Criterion.TRAINING_DATA,
        Criterion.WEIGHTS,
        Criterion.EVALUATION_CODE,
        Criterion.FINETUNING_CODE,
        Criterion.TRAINING_METRICS,
    )
    demands = tuple(_from(findings[one]) for one in wanted)
    license_, weights = findings[Criterion.LICENSE].verdict, findings[Criterion.WEIGHTS].verdict
    if all(one.met for one in demands):
        grade = "open"
    elif weights is Verdict.OPEN and license_ is Verdict.OPEN:
        grade = "open weights"
    elif weights is Verdict.CLOSED:
        grade = "closed"
    elif Verdict.UNKNOWN in (weights, license_):
        grade = "undetermined"
    else:
        grade = "restricted weights"
    return Assessment("lesson", grade, demands)


def _osaid(_: Case, findings: Findings) -> Assessment:
    data, code = findings[Criterion.TRAINING_DATA], findings[Criterion.TRAINING_CODE]
    # The definition asks for data information, not for the data: partial may be enough, and a person must say so.
    told = None if data.verdict is Verdict.PARTIAL else _MET[data.verdict]
    demands = (
        Requirement("data information", told, data.reason),
        Requirement("code", _MET[code.verdict], code.reason),
        Requirement("parameters", _MET[findings[Criterion.WEIGHTS].verdict], findings[Criterion.WEIGHTS].reason),
        _from(findings[Criterion.LICENSE]),
    )
    results = [one.met for one in demands]
    grade = "does not conform" if False in results else "uncertain" if None in results else "conforms"
    if results[:3] == [True, True, True] and results[3] is False:
        grade = "would conform but for its license"
    return Assessment("osaid-1.0", grade, demands)


def _mof(case: Case, findings: Findings) -> Assessment:
    parts = components(case, findings)
    seen = {name: part.license for name, part in parts.items() if part.released and part.read}
    # At best everything whose release or license was not seen is there and open.
    unseen = dict.fromkeys((name for name, part in parts.items() if part.released is None), mof.ANY_OPEN)
    unseen |= dict.fromkeys((name for name, part in parts.items() if part.released and not part.read), mof.ANY_OPEN)
    sure, best = mof.classify(seen), mof.classify(seen | unseen)
    demands = tuple(
        Requirement(
            name,
            True if name in sure.valid else None if name in unseen else False,
            f"{part.reason} That is not open." if name in sure.invalid else part.reason,
        )
        for name, part in parts.items()
    )
    if best.level == sure.level:
        return Assessment("mof-1.0", sure.label, demands)
    reached = sure.label if sure.level else "undetermined"
    return Assessment("mof-1.0", f"{reached}, at best {best.label}", demands)


def _eu(case: Case, findings: Findings) -> Assessment:
    stated = binding(case)
    reading = {"yes": True, "no": False}.get(stated.eu_gpai if stated else "unknown")
    name = stated.id if stated and stated.id else "no license"
    words = {True: "is free and open", False: "restricts use, sharing or users", None: "needs a lawyer's reading"}
    gated = case.model.gated
    access = True if gated is False else None
    card = findings[Criterion.MODEL_CARD].verdict
    demands = (
        Requirement("license free and open", reading, f"{name} {words[reading]} in the sense of points 76-84."),
        Requirement(
            "access without condition",
            access,
            "Anybody can download it." if access else "Access is gated or was not seen: points 79 and 85-89.",
        ),
        Requirement(
            "parameters public",
            _MET[findings[Criterion.WEIGHTS].verdict] if access else access,
            findings[Criterion.WEIGHTS].reason,
        ),
        Requirement(
            "architecture and usage described",
            True if card in (Verdict.OPEN, Verdict.PARTIAL) else None if card is Verdict.UNKNOWN else False,
            findings[Criterion.MODEL_CARD].reason,
        ),
    )
    results = [one.met for one in demands]
    return Assessment("eu-gpai", "no" if False in results else "uncertain" if None in results else "yes", demands)


def _from(finding: Finding) -> Requirement:
    return Requirement(finding.criterion.value.replace("_", " "), _MET[finding.verdict], finding.reason)


PROFILES: dict[str, Callable[[Case, Findings], Assessment]] = {
    "lesson": _lesson,
    "osaid-1.0": _osaid,
    "mof-1.0": _mof,
    "eu-gpai": _eu,
}
