"""The report on one model: findings, conflicts, and a profile's result."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

from openmodels import escaping
from openmodels.openness.bom import build_bom
from openmodels.openness.criteria import find_criterion
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Finding, LicenseConflict, Proof, Verdict
from openmodels.openness.model_context import ModelContext
from openmodels.openness.overrides import find_overrides
from openmodels.openness.profiles import PROFILES, Assessment, Requirement, assess
from openmodels.openness.stated_licenses import StatedLicense, find_conflicts

SCHEMA_VERSION = "1.0"
VERDICT_SIGNS = {Verdict.OPEN: "✔", Verdict.PARTIAL: "◐", Verdict.CLOSED: "✘", Verdict.UNKNOWN: "?"}
_MAX_LINKS = 3
"""Pieces of evidence that a table shows for a finding."""
_COLORS = {
    True: "#2e7d32",
    None: "#757575",
    False: "#c62828",
    "open weights": "#1565c0",
    "restricted weights": "#ef6c00",
}
_HEADER = ("criterion", "verdict", "why", "evidence")
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
    findings: dict[str, Finding]
    conflicts: tuple[LicenseConflict, ...]
    licenses: tuple[StatedLicense, ...]
    assessment: Assessment
    as_of: str
    offline: bool
    _context: ModelContext = field(repr=False, compare=False)

    @classmethod
    def of(cls, evidence: Evidence, *, profile: str = "lesson", offline: bool = False) -> Report:
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
        date = f"  (evidence of {self.as_of[:10]}{', offline' if self.offline else ''})" if self.as_of else ""
        lines = [f"{self.id}: {self.grade} [{self.profile}]{date}"]
        for finding in self:
            where = f"\n{'':30s}{finding.evidence[0].url}" if finding.evidence else ""
            lines.append(f"  {finding.criterion:18s} {finding.verdict:8s} {finding.reason}{where}")
        return escaping.escape_terminal(
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
        return tuple(requirement.name for requirement in self.requirements if not requirement.met)

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
        sentences = [f"{self.id}: {self.grade} ({self.profile})."]
        for verdict in Verdict:
            labels = [finding.criterion.label for finding in self if finding.verdict is verdict]
            sentences += [f"{verdict.capitalize()}: {', '.join(labels)}."] if labels else []
        if self.conflicts:
            sentences.append(f"{len(self.conflicts)} conflict(s): {self.conflicts[0].reason}")
        return " ".join(sentences)

    def using(self, profile: str) -> Report:
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
            "disclaimer": DISCLAIMER,
        }

    def to_json(self) -> str:
        """Return the report as JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2)

    def to_bom(self) -> dict[str, Any]:
        """Return a CycloneDX 1.6 bill of materials with a model card (an ML-BOM)."""
        return build_bom(self.to_dict(), self._context)

    def to_markdown(self) -> str:
        """Return the report as Markdown: findings with links, conflicts, demands."""
        date = f", evidence of {escaping.escape_markdown(self.as_of[:10])}" if self.as_of else ""
        lines = [
            f"## {escaping.escape_markdown(self.id)}: {self.grade}",
            "",
            f"Profile `{self.profile}`{date}{', offline' if self.offline else ''}.",
            "",
            *markdown_table(_HEADER, self._rows(escaping.escape_markdown, _markdown_links)),
        ]
        if self.conflicts:
            lines += ["", "Conflicts:"]
            lines += [
                f"- {escaping.escape_markdown(conflict.reason)} {_markdown_links(conflict.evidence, ' ')}"
                for conflict in self.conflicts
            ]
        states = {True: "met", False: "not met", None: "not shown"}
        demands = "; ".join(f"{requirement.name} {states[requirement.met]}" for requirement in self.requirements)
        return "\n".join([*lines, "", f"Demands: {demands}.", "", f"_{DISCLAIMER}_"])

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escaping.escape_html(conflict.reason)}</li>" for conflict in self.conflicts)
        return (
            f"<h4>{escaping.escape_html(self.id)}: {escaping.escape_html(self.grade)}</h4>"
            f"{html_table(_HEADER, self._rows(escaping.escape_html, _html_links))}"
            f"<ul>{notes}</ul><small>{DISCLAIMER}</small>"
        )

    def _rows(self, escape: Callable[[str], str], link: Callable[[Sequence[Proof]], str]) -> list[list[str]]:
        """Return the cells of a table of the findings."""
        return [
            [
                escape(finding.criterion.label),
                f"{VERDICT_SIGNS[finding.verdict]} {finding.verdict}{' (curated)' if finding.curated else ''}",
                escape(finding.reason),
                link(finding.evidence[:_MAX_LINKS]),
            ]
            for finding in self
        ]

    def badge(self) -> str:
        """Return a badge as SVG."""
        left, right = "openness", self.grade
        color = _COLORS.get(right) or _COLORS[self.passed]
        first, second = 8 + 7 * len(left), 12 + 7 * len(right)
        title = escaping.escape_html(f"{self.id}: {right} ({self.profile})")
        texts = "".join(
            f'<text x="{place}" y="14">{escaping.escape_html(text)}</text>'
            for place, text in ((first / 2, left), (first + second / 2, right))
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{first + second}" height="20" role="img" '
            f'aria-label="{title}"><title>{title}</title><rect width="{first}" height="20" fill="#555"/>'
            f'<rect x="{first}" width="{second}" height="20" fill="{color}"/><g fill="#fff" '
            f'font-family="Verdana,Geneva,sans-serif" font-size="11" text-anchor="middle">{texts}</g></svg>'
        )

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


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown; the cells are Markdown already."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in HTML; the cells are HTML already."""
    lines = [f"<tr><th>{'</th><th>'.join(header)}</th></tr>"]
    lines += [f"<tr><td>{'</td><td>'.join(cells)}</td></tr>" for cells in rows]
    return f"<table>{''.join(lines)}</table>"


def _html_links(proofs: Sequence[Proof]) -> str:
    return ", ".join(
        f'<a href="{escaping.escape_html(url)}" rel="nofollow noopener">{escaping.escape_html(proof.what[:40])}</a>'
        for proof in proofs
        if (url := escaping.quote_https_url(proof.url))
    )


def _markdown_links(proofs: Sequence[Proof], separator: str = ", ") -> str:
    """Return a Markdown link for each proof, its number if the address is not https."""
    return separator.join(
        f"[{number}](<{url}>)" if (url := escaping.quote_https_url(proof.url)) else f"{number} (no https address)"
        for number, proof in enumerate(proofs, 1)
    )
