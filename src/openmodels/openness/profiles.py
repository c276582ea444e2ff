"""Yardsticks over the same findings: what "open" demands, by four definitions.

- `default`: the lesson's criteria: OSI-approved weights, public training data, full weights, evaluation code,
  fine-tuning code and training metrics. "lesson" is another name for it.
- `osaid-1.0`: the Open Source AI Definition (OSI, 28 October 2024): data information, the complete code and the
  parameters, code and parameters under terms that the OSI approved.
- `mof-1.0`: the Model Openness Framework's classes.
- `eu-gpai`: whether a general-purpose model counts as free and open-source in the sense of the EU AI
  Act's exemption (Commission guidelines C(2025) 5045, points 76-92). A reading by a machine, no advice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from openmodels.errors import InvalidRequest
from openmodels.openness import model_openness_framework as mof
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, UNKNOWN, Finding, Findings, Proof, Verdict
from openmodels.openness.model_context import ModelContext
from openmodels.openness.stated_licenses import find_binding_license

DEFAULT = "default"
_ALIASES = {"lesson": DEFAULT}
_MET = {OPEN: True, PARTIAL: False, CLOSED: False, UNKNOWN: None}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One demand of a profile.

    Attributes:
        name: What is demanded.
        met: True, False, or None where the evidence does not decide.
        reason: Why, in a sentence.
        evidence: Where the reason can be checked, the deciding piece first.
        group: The part of the profile that asks for it, e.g. "Class III - Open Model"; "" where it has no parts.
        required: Whether the result depends on it.
    """

    name: str
    met: bool | None
    reason: str
    evidence: tuple[Proof, ...] = ()
    group: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True)
class Assessment:
    """A profile's result.

    Attributes:
        profile: Its name.
        grade: The result in the profile's own words, e.g. "open weights", "Class III - Open Model".
        requirements: Its demands.
        because: What stands between the model and more, in sentences; empty where nothing does.
    """

    profile: str
    grade: str
    requirements: tuple[Requirement, ...]
    because: tuple[str, ...] = ()

    @property
    def passed(self) -> bool | None:
        """Whether every demand is met; None when evidence is missing."""
        return _all_met(self.requirements)

    @property
    def tally(self) -> str:
        """How many demands are met and unknown: "4 of 6 criteria, 1 unknown"."""
        results = [requirement.met for requirement in self.requirements if requirement.required]
        return f"{results.count(True)} of {len(results)} criteria, {results.count(None)} unknown"


@dataclass(frozen=True, slots=True)
class Profile:
    """A yardstick.

    Attributes:
        title: The definition it follows.
        assess: Applies it.
    """

    title: str
    assess: Callable[[ModelContext, Findings], tuple[str, tuple[Requirement, ...], tuple[str, ...]]]


def find_profile(name: str) -> str:
    """Return the full name of a profile, whose version may be left out.

    Raises:
        InvalidRequest: No such profile.
    """
    short_names = {profile.partition("-")[0]: profile for profile in PROFILES}
    name = str(name)
    name = _ALIASES.get(name) or short_names.get(name.lower(), name)
    if name not in PROFILES:
        raise InvalidRequest(f"There is no profile {name[:100]!r}.", next_step=f"Profiles: {', '.join(PROFILES)}.")
    return name


def assess(profile: str, context: ModelContext, findings: Findings) -> Assessment:
    """Apply a profile to findings."""
    profile = find_profile(profile)
    return Assessment(profile, *PROFILES[profile].assess(context, findings))


_Result = tuple[str, tuple[Requirement, ...], tuple[str, ...]]
"""A grade, the requirements it follows from, and what stands between the model and more."""


def _assess_default(context: ModelContext, findings: Findings) -> _Result:
    names = ("weights", "evaluation_code", "finetuning_code", "training_metrics")
    requirements = (
        _require(findings["license"]),
        _require_data(context, findings, _MET, "training data"),
        *(_require(findings[name]) for name in names),
    )
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
    return grade, requirements, _explain("Not open", requirements)


def _assess_osaid(context: ModelContext, findings: Findings) -> _Result:
    license_ = findings["license"]
    components = mof.ComponentReader(context, findings).read()
    code = [components[name] for name in ("Training code", "Data preprocessing code", "Inference code")]
    parts = (
        # The definition asks for data information, not for the data: partial may be enough, and a person must say so.
        _require_data(context, findings, _MET | {PARTIAL: None}, "data information"),
        _require(findings["training_code"]),
        # "Code used for processing and filtering data", "if used": what was not found may not have been needed.
        Requirement("data processing code", code[1].released or None, code[1].reason, code[1].evidence),
        Requirement("inference code", code[2].released, code[2].reason, code[2].evidence),
        _require(findings["weights"], "parameters"),
    )
    terms = (
        _require_approved_code(code),
        Requirement("parameters under OSI-approved terms", _MET[license_.verdict], license_.reason, license_.evidence),
    )
    requirements = (*parts, *terms)
    grade = {True: "conforms", None: "uncertain", False: "does not conform"}[_all_met(requirements)]
    if _all_met(parts) and not _all_met(terms):
        grade = "uncertain" if _all_met(terms) is None else "would conform but for its license"
    return grade, requirements, _explain("Does not conform", requirements)


def _require_approved_code(code: list[mof.ComponentStatus]) -> Requirement:
    """Return the requirement that the OSI approved the licenses of all code seen.

    The training code stands first.
    """
    name = "code under OSI-approved licenses"
    training, *_ = code
    seen = [status for status in code if status.released]
    if not seen:
        return Requirement(name, None, "No code was seen that could have a license.")
    # Training code that was not seen has a license that was not seen.
    results = [status.is_osi_approved for status in seen] + ([] if training.released else [None])
    decisive = next((status for status in seen if status.is_osi_approved is not True), seen[0])
    return Requirement(name, _join(results), decisive.reason, decisive.evidence)


def _assess_mof(context: ModelContext, findings: Findings) -> _Result:
    components = mof.ComponentReader(context, findings).read()
    seen = {name: entry.license for name, entry in components.items() if entry.released and entry.is_license_known}
    # At best every component whose release or license was not seen is there and open.
    unseen = dict.fromkeys(
        (name for name, entry in components.items() if entry.released is not False and name not in seen), mof.ANY_OPEN
    )
    certain, best = mof.classify(seen), mof.classify(seen | unseen)
    # A paper stands in for a report, as in `mof.classify`.
    valid = {*certain.valid, *([mof.REPORT] if mof.PAPER in certain.valid else [])}
    requirements = tuple(
        Requirement(
            component.name,
            True if component.name in valid else None if component.name in unseen else False,
            f"{entry.reason} That is not open." if component.name in certain.invalid else entry.reason,
            entry.evidence,
            mof.LABELS[component.level],
            component.required,
        )
        for component in mof.COMPONENTS
        for entry in (components[component.name],)
    )
    because = []
    if best.next_level:
        at_best = "At best " if best.level != certain.level else ""
        missing = [
            f"{name} under an open license" if name in best.invalid else name for name in best.missing[best.next_level]
        ]
        needs = f"{mof.LABELS[best.next_level]} needs: {', '.join(missing)}"
        because.append(f"{at_best}{best.label}, because {needs}.")
    if certain.next_level and best.level != certain.level:
        unshown = [
            f"{name} (its license)" if components[name].released else name
            for name in certain.missing[certain.next_level]
        ]
        because.append(f"Not shown for {mof.LABELS[certain.next_level]}: {', '.join(unshown)}.")
    if best.level == certain.level:
        return certain.label, requirements, tuple(because)
    reached = certain.label if certain.level else "undetermined"
    return f"{reached}, at best {best.label}", requirements, tuple(because)


def _assess_eu_gpai(context: ModelContext, findings: Findings) -> _Result:
    binding = find_binding_license(context.stated_licenses)
    is_free = {"yes": True, "no": False}.get(binding.license.eu_gpai if binding else "unknown")
    name = binding.license.id if binding and binding.license.id else "no license"
    terms = {True: "is free and open", False: "restricts use, sharing or users", None: "needs a lawyer's reading"}
    has_free_access = True if context.model.gated is False else None
    access = "Anybody can download it." if has_free_access else "Access is gated or was not seen: points 79 and 85-89."
    weights, card = findings["weights"], findings["model_card"]
    is_described = True if card.verdict is PARTIAL else _MET[card.verdict]
    requirements = (
        Requirement(
            "license free and open",
            is_free,
            f"{name} {terms[is_free]} in the sense of points 76-84.",
            (binding.proof,) if binding else (),
        ),
        Requirement("access without condition", has_free_access, access, (context.model.proof(access, "gated"),)),
        Requirement(
            "parameters public", _MET[weights.verdict] if has_free_access else None, weights.reason, weights.evidence
        ),
        Requirement("architecture and usage described", is_described, card.reason, card.evidence),
    )
    grade = {True: "yes", None: "uncertain", False: "no"}[_all_met(requirements)]
    return grade, requirements, _explain("Not exempt", requirements)


def _require_data(context: ModelContext, findings: Findings, met: dict[Verdict, bool | None], name: str) -> Requirement:
    """Return the requirement of open data: for a fine-tune, its base's and its own."""
    training, tuning = findings["training_data"], findings["finetuning_data"]
    if not context.is_finetune:
        return Requirement(name, met[training.verdict], training.reason, training.evidence)
    is_met = _join([met[training.verdict], met[tuning.verdict]])
    how = f"A fine-tune needs both: pre-training data ({training.verdict}) and fine-tuning data ({tuning.verdict})."
    return Requirement(name, is_met, f"{how} {training.reason} {tuning.reason}", (*training.evidence, *tuning.evidence))


def _require(finding: Finding, name: str = "") -> Requirement:
    """Return the requirement that a criterion is open."""
    return Requirement(name or finding.criterion.label, _MET[finding.verdict], finding.reason, finding.evidence)


def _explain(result: str, requirements: Iterable[Requirement]) -> tuple[str, ...]:
    """Return sentences on what the best grade still wants."""
    missing = [requirement.name for requirement in requirements if requirement.met is False]
    unknown = [requirement.name for requirement in requirements if requirement.met is None]
    sentences = [f"{result}, because not met: {', '.join(missing)}."] if missing else []
    return (*sentences, *([f"Not shown: {', '.join(unknown)}."] if unknown else []))


def _all_met(requirements: Iterable[Requirement]) -> bool | None:
    return _join([requirement.met for requirement in requirements if requirement.required])


def _join(results: list[bool | None]) -> bool | None:
    return False if False in results else None if None in results else True


PROFILES = {
    DEFAULT: Profile("The lesson's criteria", _assess_default),
    "osaid-1.0": Profile("Open Source AI Definition 1.0", _assess_osaid),
    "mof-1.0": Profile("Model Openness Framework 1.0", _assess_mof),
    "eu-gpai": Profile("Open-source exemption of the EU AI Act", _assess_eu_gpai),
}
