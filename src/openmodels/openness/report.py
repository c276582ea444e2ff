"""The report about one model: findings, conflicts, a profile's result; as text, JSON, badge or BOM."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from openmodels import escaping
from openmodels.errors import InvalidRequest
from openmodels.openness import bom
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Conflict, Criterion, Finding, Proof, Verdict
from openmodels.openness.model_context import Case
from openmodels.openness.overrides import overrides
from openmodels.openness.profiles import PROFILES, Assessment, Requirement, assess
from openmodels.openness.rules.license import Stated, conflicts, sources
from openmodels.openness.rules.weights import judge

SCHEMA_VERSION = "1.0"
_MARKS = {
    Verdict.OPEN: "✔ open",
    Verdict.PARTIAL: "◐ partial",
    Verdict.CLOSED: "✘ closed",
    Verdict.UNKNOWN: "? unknown",
}
_COLORS = {
    True: "#2e7d32",
    None: "#757575",
    False: "#c62828",
    "open weights": "#1565c0",
    "restricted weights": "#ef6c00",
}
DISCLAIMER = "Found by rules from public evidence; no legal advice."


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
    findings: dict[Criterion, Finding]
    conflicts: tuple[Conflict, ...]
    licenses: tuple[Stated, ...]
    assessment: Assessment
    as_of: str
    offline: bool
    _case: Case = field(repr=False, compare=False)

    @classmethod
    def of(cls, evidence: Evidence, *, profile: str = "lesson", offline: bool = False) -> Report:
        """Judge evidence; the same evidence always gives the same report.

        Raises:
            InvalidRequest: No such profile.
        """
        case = Case(evidence)
        findings = {one.criterion: one for one in judge(case)} | overrides(evidence.model.id)
        as_of = str(evidence.model.data.get("gathered_at") or "")
        return cls(
            evidence.model.id,
            findings,
            tuple(conflicts(case)),
            tuple(sources(case)),
            assess(profile, case, findings),
            as_of,
            offline,
            case,
        )

    def __getitem__(self, criterion: str) -> Finding:
        try:
            return self.findings[Criterion(criterion)]
        except ValueError as error:
            raise InvalidRequest(
                f"There is no criterion {criterion!r}.", next_step=f"Criteria: {', '.join(Criterion)}."
            ) from error

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings.values())

    def __contains__(self, criterion: object) -> bool:
        return criterion in self.findings or criterion in self.findings.values()

    def __str__(self) -> str:
        date = f"  (evidence of {self.as_of[:10]}{', offline' if self.offline else ''})" if self.as_of else ""
        lines = [f"{self.id}: {self.grade} [{self.profile}]{date}"]
        for finding in self:
            where = f"\n{'':30s}{finding.evidence[0].url}" if finding.evidence else ""
            lines.append(f"  {finding.criterion:18s} {finding.verdict:8s} {finding.reason}{where}")
        return escaping.terminal(
            "\n".join([*lines, *(f"  conflict: {conflict.reason}" for conflict in self.conflicts)])
        )

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
        return tuple(one.name for one in self.requirements if not one.met)

    @property
    def obligations(self) -> dict[str, tuple[str, ...]]:
        """What the terms forbid or demand: restriction -> the sources that say so, base models included."""
        found: dict[str, list[str]] = {}
        pairs = [(one.source, one.license) for one in self.licenses]
        pairs += [(f"base model {base.id}", base.license) for base in self._case.bases if base.license is not None]
        for source, license_ in pairs:
            for restriction in license_.restrictions:
                found.setdefault(restriction.value, []).append(source)
        return {name: tuple(dict.fromkeys(by)) for name, by in sorted(found.items())}

    @cached_property
    def bases(self) -> tuple[str, ...]:
        """The models it was made from, the nearest first."""
        return tuple(base.id for base in self._case.bases)

    @property
    def summary(self) -> str:
        """The result in two or three sentences."""
        by = {
            verdict: [one.criterion.replace("_", " ") for one in self if one.verdict is verdict] for verdict in Verdict
        }
        parts = [f"{self.id}: {self.grade} ({self.profile})."]
        parts += [f"{verdict.capitalize()}: {', '.join(names)}." for verdict, names in by.items() if names]
        parts += [f"{len(self.conflicts)} conflict(s): {self.conflicts[0].reason}"] if self.conflicts else []
        return " ".join(parts)

    def using(self, profile: str) -> Report:
        """Return the same report by another profile.

        Raises:
            InvalidRequest: No such profile.
        """
        return replace(self, assessment=assess(profile, self._case, self.findings))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, valid by `openmodels.openness.report.schema()`."""
        return {
            "schema": SCHEMA_VERSION,
            "id": self.id,
            "url": self._case.model.url,
            "revision": self._case.model.data.get("sha"),
            "as_of": self.as_of or None,
            "offline": self.offline,
            "profile": self.profile,
            "grade": self.grade,
            "passed": self.passed,
            "requirements": [asdict(one) for one in self.requirements],
            "findings": {name.value: _plain(finding) for name, finding in self.findings.items()},
            "conflicts": [
                asdict(one) | {"evidence": [asdict(proof) for proof in one.evidence]} for one in self.conflicts
            ],
            "licenses": [
                {
                    "source": one.source,
                    "id": one.license.id,
                    "spdx": one.license.spdx,
                    "class": one.license.kind.value,
                    "restrictions": [restriction.value for restriction in one.license.restrictions],
                    "url": one.proof.url,
                }
                for one in self.licenses
            ],
            "obligations": {name: list(by) for name, by in self.obligations.items()},
            "bases": list(self.bases),
            "disclaimer": DISCLAIMER,
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def to_bom(self) -> dict[str, Any]:
        """Return a CycloneDX 1.6 bill of materials with a model card (an ML-BOM)."""
        return bom.build(self.to_dict(), self._case)

    def to_markdown(self) -> str:
        """Return the report as Markdown: a table of findings with links, conflicts, demands."""
        date = f", evidence of {escaping.markdown(self.as_of[:10])}" if self.as_of else ""
        lines = [
            f"## {escaping.markdown(self.id)}: {self.grade}",
            "",
            f"Profile `{self.profile}`{date}{', offline' if self.offline else ''}.",
            "",
            "| criterion | verdict | why | evidence |",
            "|---|---|---|---|",
        ]
        for one in self:
            links = ", ".join(_numbered(one.evidence[:3]))
            verdict = _MARKS[one.verdict] + (" (curated)" if one.curated else "")
            lines.append(
                f"| {one.criterion.replace('_', ' ')} | {verdict} | {escaping.markdown(one.reason)} | {links} |"
            )
        if self.conflicts:
            lines += ["", "Conflicts:"]
            lines += [
                f"- {escaping.markdown(one.reason)} {' '.join(_numbered(one.evidence))}" for one in self.conflicts
            ]
        met = {True: "met", False: "not met", None: "not shown"}
        lines += ["", "Demands: " + "; ".join(f"{one.name} {met[one.met]}" for one in self.requirements) + "."]
        return "\n".join([*lines, "", f"_{DISCLAIMER}_"])

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escaping.html(one.criterion.replace('_', ' '))}</td><td>{_MARKS[one.verdict]}</td>"
            f"<td>{escaping.html(one.reason)}</td><td>{_links(one)}</td></tr>"
            for one in self
        )
        notes = "".join(f"<li>{escaping.html(one.reason)}</li>" for one in self.conflicts)
        return (
            f"<h4>{escaping.html(self.id)}: {escaping.html(self.grade)}</h4>"
            "<table><tr><th>criterion</th><th>verdict</th>"
            f"<th>why</th><th>evidence</th></tr>{rows}</table><ul>{notes}</ul><small>{DISCLAIMER}</small>"
        )

    def badge(self) -> str:
        """Return a badge as SVG."""
        left, right = "openness", self.grade
        color = _COLORS.get(right) or _COLORS[self.passed]
        first, second = 8 + 7 * len(left), 12 + 7 * len(right)
        title = escaping.html(f"{self.id}: {right} ({self.profile})")
        texts = "".join(
            f'<text x="{place}" y="14">{escaping.html(text)}</text>'
            for place, text in ((first / 2, left), (first + second / 2, right))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{first + second}" height="20" role="img" '
            f'aria-label="{title}"><title>{title}</title><rect width="{first}" height="20" fill="#555"/>'
            f'<rect x="{first}" width="{second}" height="20" fill="{color}"/><g fill="#fff" '
            f'font-family="Verdana,Geneva,sans-serif" font-size="11" text-anchor="middle">{texts}</g></svg>'
        )

    def save(self, folder: str | Path) -> Path:
        """Store the evidence in a folder, to be judged again by `om.openness(id, evidence=folder)`."""
        return self._case.evidence.save(folder)


def schema() -> dict[str, Any]:
    """Return the JSON schema of `Report.to_dict()`."""
    text = (files("openmodels.openness") / "data" / "report.schema.json").read_text(encoding="utf-8")
    content: dict[str, Any] = json.loads(text)
    return content


def profiles() -> tuple[str, ...]:
    """Return the names of the profiles."""
    return tuple(PROFILES)


def _plain(finding: Finding) -> dict[str, Any]:
    return {
        "verdict": finding.verdict.value,
        "reason": finding.reason,
        "rule": finding.rule,
        "confidence": finding.confidence,
        "curated": finding.curated,
        "missing": list(finding.missing),
        "evidence": [asdict(proof) for proof in finding.evidence],
    }


def _links(finding: Finding) -> str:
    return ", ".join(
        f'<a href="{escaping.html(url)}" rel="nofollow noopener">{escaping.html(proof.what[:40])}</a>'
        for proof in finding.evidence[:3]
        if (url := escaping.https(proof.url))
    )


def _numbered(proofs: Sequence[Proof]) -> list[str]:
    """Return a Markdown link for each piece of evidence, or its number where the address is not https."""
    return [
        f"[{number}](<{url}>)" if (url := escaping.https(proof.url)) else f"{number} (no https address)"
        for number, proof in enumerate(proofs, 1)
    ]
