"""Yardsticks over the same findings: what "open" demands, by four definitions.

- `lesson`: OSI-approved weights, public training data, full weights, evaluation code, fine-tuning code
  and training metrics.
- `osaid-1.0`: the Open Source AI Definition (OSI, 28 October 2024): data information, code, parameters.
- `mof-1.0`: the Model Openness Framework's classes.
- `eu-gpai`: whether a general-purpose model counts as free and open-source in the sense of the EU AI
  Act's exemption (Commission guidelines C(2025) 5045, points 76-92). A reading by a machine, no advice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from openmodels.errors import InvalidRequest
from openmodels.openness import mof
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, UNKNOWN, Finding, Findings
from openmodels.openness.model_context import ModelContext
from openmodels.openness.stated_licenses import find_binding_license

_MET = {OPEN: True, PARTIAL: False, CLOSED: False, UNKNOWN: None}


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
        """Whether every demand is met; None when evidence is missing."""
        return _all_met(self.requirements)


def check_profile(name: str) -> None:
    """Raise `InvalidRequest` unless a profile exists."""
    if name not in PROFILES:
        raise InvalidRequest(f"There is no profile {name!r}.", next_step=f"Profiles: {', '.join(PROFILES)}.")


def assess(profile: str, context: ModelContext, findings: Findings) -> Assessment:
    """Apply a profile to findings."""
    check_profile(profile)
    grade, requirements = PROFILES[profile](context, findings)
    return Assessment(profile, grade, requirements)


_Result = tuple[str, tuple[Requirement, ...]]
"""A grade and the requirements it follows from."""


def _assess_lesson(_: ModelContext, findings: Findings) -> _Result:
    names = ("license", "training_data", "weights", "evaluation_code", "finetuning_code", "training_metrics")
    requirements = tuple(_require(findings[name]) for name in names)
    license_, weights = findings["license"].verdict, findings["weights"].verdict
    if _all_met(requirements):
        grade = "open"
    elif weights is OPEN and license_ is OPEN:
        grade = "open weights"
    elif weights is CLOSED:
        grade = "closed"
    elif UNKNOWN in (weights, license_):
        grade = "undetermined"
    else:
        grade = "restricted weights"
    return grade, requirements


def _assess_osaid(_: ModelContext, findings: Findings) -> _Result:
    data = findings["training_data"]
    # The definition asks for data information, not for the data: partial may be enough, and a person must say so.
    has_data_information = None if data.verdict is PARTIAL else _MET[data.verdict]
    parts = (
        Requirement("data information", has_data_information, data.reason),
        _require(findings["training_code"], "code"),
        _require(findings["weights"], "parameters"),
    )
    license_ = _require(findings["license"])
    requirements = (*parts, license_)
    grade = {True: "conforms", None: "uncertain", False: "does not conform"}[_all_met(requirements)]
    if _all_met(parts) and license_.met is False:
        grade = "would conform but for its license"
    return grade, requirements


def _assess_mof(context: ModelContext, findings: Findings) -> _Result:
    components = mof.ComponentReader(context, findings).read()
    seen = {name: entry.license for name, entry in components.items() if entry.released and entry.is_license_known}
    # At best every component whose release or license was not seen is there and open.
    unseen = dict.fromkeys(
        (name for name, entry in components.items() if entry.released is not False and name not in seen), mof.ANY_OPEN
    )
    certain, best = mof.classify(seen), mof.classify(seen | unseen)
    requirements = tuple(
        Requirement(
            name,
            True if name in certain.valid else None if name in unseen else False,
            f"{entry.reason} That is not open." if name in certain.invalid else entry.reason,
        )
        for name, entry in components.items()
    )
    if best.level == certain.level:
        return certain.label, requirements
    reached = certain.label if certain.level else "undetermined"
    return f"{reached}, at best {best.label}", requirements


def _assess_eu(context: ModelContext, findings: Findings) -> _Result:
    binding = find_binding_license(context.stated_licenses)
    is_free = {"yes": True, "no": False}.get(binding.license.eu_gpai if binding else "unknown")
    name = binding.license.id if binding and binding.license.id else "no license"
    terms = {True: "is free and open", False: "restricts use, sharing or users", None: "needs a lawyer's reading"}
    has_free_access = True if context.model.gated is False else None
    access = "Anybody can download it." if has_free_access else "Access is gated or was not seen: points 79 and 85-89."
    weights, card = findings["weights"], findings["model_card"]
    is_described = True if card.verdict is PARTIAL else _MET[card.verdict]
    requirements = (
        Requirement("license free and open", is_free, f"{name} {terms[is_free]} in the sense of points 76-84."),
        Requirement("access without condition", has_free_access, access),
        Requirement("parameters public", _MET[weights.verdict] if has_free_access else None, weights.reason),
        Requirement("architecture and usage described", is_described, card.reason),
    )
    return {True: "yes", None: "uncertain", False: "no"}[_all_met(requirements)], requirements


def _require(finding: Finding, name: str = "") -> Requirement:
    """Return the requirement that a criterion is open."""
    return Requirement(name or finding.criterion.label, _MET[finding.verdict], finding.reason)


def _all_met(requirements: tuple[Requirement, ...]) -> bool | None:
    results = [requirement.met for requirement in requirements]
    return False if False in results else None if None in results else True


PROFILES: dict[str, Callable[[ModelContext, Findings], _Result]] = {
    "lesson": _assess_lesson,
    "osaid-1.0": _assess_osaid,
    "mof-1.0": _assess_mof,
    "eu-gpai": _assess_eu,
}
