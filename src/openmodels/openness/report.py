"""The report on one model: findings, conflicts, and a profile's result."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from openmodels.openness import rendering
from openmodels.openness.bom_writer import build_bom
from openmodels.openness.criteria import find_criterion
from openmodels.openness.evidence import Evidence
from openmodels.openness.evidence_pages import items
from openmodels.openness.findings import Finding, LicenseConflict, Verdict
from openmodels.openness.lineage import find_circle
from openmodels.openness.model_context import ModelContext
from openmodels.openness.overrides import find_overrides
from openmodels.openness.profiles import DEFAULT, PROFILES, Assessment, Requirement, assess
from openmodels.openness.stated_licenses import StatedLicense, find_conflicts

SCHEMA_VERSION = "1.1"


@dataclass(frozen=True)
class Report:
    """How open a model is.

    `report["training_data"]` is the finding on a criterion. Iterating gives the findings in order.

    Attributes:
        id: The model.
        findings: criterion -> finding.
        conflicts: Contradictions between sources, base models and data sets.
        licenses: Every license that was stated for the weights, and where.
        assessment: The result by the profile asked for.
        as_of: When the newest evidence was gathered (ISO 8601), or "" where the evidence has no one date.
        offline: Whether the report rests on saved evidence alone.
    """

    id: str
    findings: dict[str, Finding]
    conflicts: tuple[LicenseConflict, ...]
    licenses: tuple[StatedLicense, ...]
    assessment: Assessment
    as_of: str
    offline: bool
    _context: ModelContext = field(repr=False, compare=False)

    @classmethod
    def of(cls, evidence: Evidence, *, profile: str = DEFAULT, offline: bool = False) -> Self:
        """Judge evidence; the same evidence always gives the same report.

        Raises:
            InvalidRequest: No such profile.
        """
        context = ModelContext(evidence)
        findings = context.findings() | find_overrides(evidence.model.id)
        stated_licenses = context.stated_licenses
        return cls(
            evidence.model.id,
            findings,
            tuple(find_conflicts(context.model, context.datasets, stated_licenses)),
            stated_licenses,
            assess(profile, context, findings),
            str(evidence.model.data.get("gathered_at") or ""),
            offline,
            context,
        )

    def __getitem__(self, criterion: str) -> Finding:
        return self.findings[find_criterion(criterion)]

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings.values())

    def __contains__(self, criterion: object) -> bool:
        return criterion in self.findings or criterion in self.findings.values()

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"Report({self.id!r}, {self.grade!r}, profile={self.profile!r})"

    def is_about(self, model: str) -> bool:
        """Return whether it is the report on a model, by its present or a former id."""
        return self._context.evidence.current_id("models", model).lower() == self.id.lower()

    @property
    def profile(self) -> str:
        """The name of the profile."""
        return self.assessment.profile

    @property
    def grade(self) -> str:
        """The profile's result in a few words, e.g. "open weights"."""
        return self.assessment.grade

    @property
    def passed(self) -> bool | None:
        """Whether the profile's demands are met; None where evidence is missing."""
        return self.assessment.passed

    @property
    def requirements(self) -> tuple[Requirement, ...]:
        """The profile's demands."""
        return self.assessment.requirements

    @property
    def unmet(self) -> tuple[str, ...]:
        """The names of demands that are not shown to be met."""
        return tuple(
            requirement.name for requirement in self.requirements if requirement.required and not requirement.met
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What was not looked at or read, and circles of base models, in sentences."""
        evidence, model = self._context.evidence, self._context.model
        notes = list(map(str, items(model.data.get("notes"))))
        if evidence.manifest is not None and not evidence.manifest.deep and not model.bom:
            notes.append("Only the Hub's own facts were looked at: no card, base models, data sets or repositories.")
        notes += [
            f"Nothing was gathered about {name}: {why}."
            for reasons in evidence.unread.values()
            for name, why in sorted(reasons.items())
        ]
        if circle := find_circle(evidence, model):
            notes.append(f"The base models form a circle, which was followed once: {', '.join(circle)}.")
        return tuple(notes)

    @property
    def obligations(self) -> dict[str, tuple[str, ...]]:
        """What the terms forbid or demand: restriction -> the sources that say so."""
        terms = [(stated.source, stated.license) for stated in self.licenses]
        terms += [(f"base model {base.id}", base.license) for base in self._context.bases if base.license is not None]
        return {
            name.value: tuple(dict.fromkeys(source for source, license_ in terms if name in license_.restrictions))
            for name in sorted({name for _, license_ in terms for name in license_.restrictions})
        }

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """The models it was made from, the nearest first."""
        return tuple(base.id for base in self._context.bases)

    @property
    def summary(self) -> str:
        """The result in two or three sentences."""
        sentences = [f"{self.id}: {self.grade} ({self.profile}; {self.assessment.tally}).", *self.assessment.because]
        for verdict in Verdict:
            labels = [finding.criterion.label for finding in self if finding.verdict is verdict]
            sentences += [f"{verdict.capitalize()}: {', '.join(labels)}."] if labels else []
        if self.conflicts:
            sentences.append(f"{len(self.conflicts)} conflict(s): {self.conflicts[0].reason}")
        return " ".join(sentences)

    def using(self, profile: str) -> Self:
        """Return the same report by another profile.

        Raises:
            InvalidRequest: No such profile.
        """
        return replace(self, assessment=assess(profile, self._context, self.findings))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data that is valid by `schema()`."""
        return {
            "schema": SCHEMA_VERSION,
            "id": self.id,
            "url": self._context.model.url,
            "revision": self._context.model.data.get("sha"),
            "as_of": self.as_of or None,
            "offline": self.offline,
            "profile": self.profile,
            "grade": self.grade,
            "passed": self.passed,
            "tally": self.assessment.tally,
            "because": list(self.assessment.because),
            "requirements": [_plain(requirement) for requirement in self.requirements],
            "findings": {str(name): _plain(finding) for name, finding in self.findings.items()},
            "conflicts": [_plain(conflict) for conflict in self.conflicts],
            "licenses": [
                {
                    "source": stated.source,
                    "id": stated.license.id,
                    "spdx": stated.license.spdx,
                    "class": stated.license.kind.value,
                    "restrictions": [restriction.value for restriction in stated.license.restrictions],
                    "url": stated.proof.url,
                }
                for stated in self.licenses
            ],
            "obligations": {name: list(sources) for name, sources in self.obligations.items()},
            "bases": list(self.bases),
            "notes": list(self.notes),
            "disclaimer": rendering.DISCLAIMER,
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def to_bom(self) -> dict[str, Any]:
        """Return a CycloneDX 1.6 bill of materials with a model card (an ML-BOM)."""
        return build_bom(self.to_dict(), self._context)

    def to_text(self, columns: int | None = None) -> str:
        """Return the report as text: demands, findings, what each profile still wants.

        Args:
            columns: The width of a terminal, for which addresses that are longer lose their middle; None wraps at
                80 columns and keeps addresses whole.
        """
        return rendering.to_text(self, columns)

    def to_markdown(self) -> str:
        """Return the report as Markdown: findings and demands with links, conflicts."""
        return rendering.to_markdown(self)

    def _repr_html_(self) -> str:
        return rendering.to_html(self)

    def badge(self) -> str:
        """Return a badge as SVG: the profile and its grade."""
        return rendering.to_badge(self)

    def save(self, folder: str | Path) -> Path:
        """Store the evidence in a folder for `om.openness(id, evidence=folder)`."""
        return self._context.evidence.save(folder)


def schema() -> dict[str, Any]:
    """Return the JSON schema of `Report.to_dict()`."""
    text = (files("openmodels.openness") / "data" / "report.schema.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def profiles() -> tuple[str, ...]:
    """Return the names of the profiles."""
    return tuple(PROFILES)


def _plain(part: Finding | LicenseConflict | Requirement) -> dict[str, Any]:
    """Return a part of a report in the types of JSON, without its criterion."""
    data = asdict(part)
    data |= {name: list(value) for name, value in data.items() if isinstance(value, tuple)}
    data.pop("criterion", None)
    return data
