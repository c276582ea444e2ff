"""A report as text, Markdown, HTML and a badge."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from openmodels import columns, escaping
from openmodels.openness.findings import Finding, Proof, Verdict
from openmodels.openness.profiles import PROFILES, Requirement

if TYPE_CHECKING:
    from openmodels.openness.report import Report

VERDICT_SIGNS = {Verdict.OPEN: "✔", Verdict.PARTIAL: "◐", Verdict.CLOSED: "✘", Verdict.UNKNOWN: "?"}
LEGEND = "✔ open, ◐ partial, ✘ closed, ? unknown"
DISCLAIMER = "Found by rules from public evidence; no legal advice."
WIDTH = 80  # columns of a report where the terminal's are not known
_MEANING = (
    "✔ open or met, ◐ partial, ✘ closed or not met, ? unknown: evidence is missing. "
    "The number after a verdict is the rule's confidence, from 0 to 1."
)
_MET_SIGNS = {True: "✔", False: "✘", None: "?"}
_MET_WORDS = {True: "met", False: "not met", None: "not shown"}
_MAX_LINKS = 3  # pieces of evidence that a table shows for a finding
_MAX_LINK_COLUMNS = 60
_SHOWN_PROOFS = 2  # pieces of evidence that the text shows for a finding or a demand
_FINDING_HEADER = ("criterion", "verdict", "confidence", "why", "evidence")
_DEMAND_HEADER = ("demand", "result", "why", "evidence")
_COLORS = {
    True: "#2e7d32",
    None: "#757575",
    False: "#c62828",
    "open weights": "#1565c0",
    "restricted weights": "#ef6c00",
}
_COMMIT = re.compile(r"\b([0-9a-f]{10})[0-9a-f]{30}\b")


def to_text(report: Report, terminal_columns: int | None = None) -> str:
    """Return a report as lines of text.

    Args:
        report: The report.
        terminal_columns: The width of the terminal: addresses that are longer lose their middle, and a last line
            says so. None wraps at 80 columns and keeps every address whole.
    """
    layout = _TextLayout(terminal_columns)
    layout.add(0, f"{report.id}: {report.grade} [{report.profile}]")
    layout.add(0, f"{PROFILES[report.profile].title}: {report.assessment.tally}. {_date(report)}")
    for sentence in (*report.assessment.because, *(f"Conflict: {conflict.reason}" for conflict in report.conflicts)):
        layout.add(0, sentence)
    demanded = _findings_demanded(report)
    layout.title(f"What {report.profile} asks for")
    if demanded:
        layout.add_findings(demanded)
    else:
        layout.add_requirements(report.requirements)
    layout.title("What else was found" if demanded else "What was found")
    layout.add_findings([finding for finding in report if finding not in demanded])
    layout.title("What each profile still wants")
    for profile in PROFILES:
        assessment = report.using(profile).assessment
        layout.add(2, f"{profile}: {assessment.grade}")
        is_first = profile == report.profile and assessment.because
        for sentence in ("As said at the top.",) if is_first else assessment.because or ("Nothing more.",):
            layout.add(6, sentence)
    for note in report.notes:
        layout.add(0, f"Note: {note}")
    layout.add_legend()
    return escaping.escape_terminal("\n".join(layout.lines))


class _TextLayout:
    """The lines of a report, wrapped between words."""

    def __init__(self, terminal_columns: int | None) -> None:
        self.lines: list[str] = []
        self.is_cut = False
        self.is_terminal = terminal_columns is not None
        self.columns = max(20, terminal_columns or WIDTH)

    def title(self, text: str) -> None:
        self.lines += ["", text]

    def add(self, indent: int, text: str) -> None:
        text = escaping.escape_line(text)
        lines = list(columns.wrap(text, self.columns - indent, whole_words=not self.is_terminal))
        # A quotation may have a "…" of its own, which --json has too.
        self.is_cut |= "".join(lines).count(columns.CUT) > text.count(columns.CUT)
        self.lines += [" " * indent + line for line in lines]

    def add_findings(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            sure = "" if finding.verdict is Verdict.UNKNOWN else f" {finding.confidence:.2g}"
            curated = " (curated)" if finding.curated else ""
            sign = VERDICT_SIGNS[finding.verdict]
            self.add(2, f"{sign} {finding.criterion.label}: {finding.verdict}{sure}{curated}")
            self._add_reason(finding.reason, finding.evidence)

    def add_requirements(self, requirements: Sequence[Requirement]) -> None:
        for group in dict.fromkeys(requirement.group for requirement in requirements):
            members = [requirement for requirement in requirements if requirement.group == group]
            if group:
                needed = [requirement.met for requirement in members if requirement.required]
                self.add(2, f"{group}: {needed.count(True)} of {len(needed)} met, {needed.count(None)} unknown")
            for requirement in members:
                optional = "" if requirement.required else " (optional)"
                met = _MET_WORDS[requirement.met]
                self.add(2, f"{_MET_SIGNS[requirement.met]} {requirement.name}{optional}: {met}")
                self._add_reason(requirement.reason, requirement.evidence)

    def add_legend(self) -> None:
        self.lines.append("")
        self.add(0, _MEANING)
        self.add(0, "--json gives every piece of evidence.")
        if self.is_cut:
            self.add(0, "… stands for a part left out: --markdown and --json give it whole.")
        self.add(0, DISCLAIMER)

    def _add_reason(self, reason: str, evidence: Sequence[Proof]) -> None:
        self.add(6, reason)
        proofs = _distinct_places(evidence)
        for proof in proofs[:_SHOWN_PROOFS]:
            # GitHub and the Hub take the first letters of a commit for the whole.
            self.add(6, _COMMIT.sub(r"\1", proof.url) if self.is_terminal else proof.url)
        if len(proofs) > _SHOWN_PROOFS:
            self.add(6, f"and {len(proofs) - _SHOWN_PROOFS} more")


def to_markdown(report: Report) -> str:
    """Return a report as Markdown: findings with links, conflicts, demands."""
    escape = escaping.escape_markdown
    lines = [
        f"## {escape(report.id)}: {report.grade}",
        "",
        f"Profile `{report.profile}` ({PROFILES[report.profile].title}): {report.assessment.tally}. {_date(report)}",
        *map(escape, report.assessment.because),
        "",
        *markdown_table(_FINDING_HEADER, _finding_rows(report, escape, _markdown_links)),
        "",
        LEGEND,
        "",
        f"Demands of `{report.profile}`:",
        "",
        *markdown_table(_DEMAND_HEADER, _demand_rows(report, escape, _markdown_links)),
    ]
    if report.conflicts:
        lines += ["", "Conflicts:"]
        lines += [
            f"- {escape(conflict.reason)} {_markdown_links(conflict.evidence, ' ')}" for conflict in report.conflicts
        ]
    if report.notes:
        lines += ["", "Notes:", *(f"- {escape(note)}" for note in report.notes)]
    return "\n".join([*lines, "", f"_{DISCLAIMER}_"])


def to_html(report: Report) -> str:
    """Return a report as HTML: profile, date, findings, demands, a legend."""
    escape = escaping.escape_html
    notes = [
        *report.assessment.because,
        *(f"Conflict: {conflict.reason}" for conflict in report.conflicts),
        *(f"Note: {note}" for note in report.notes),
    ]
    profile = f"Profile {report.profile} ({PROFILES[report.profile].title}): {report.assessment.tally}. {_date(report)}"
    return (
        f"<h4>{escape(report.id)}: {escape(report.grade)}</h4><p>{escape(profile)}</p>"
        f"<ul>{''.join(f'<li>{escape(note)}</li>' for note in notes)}</ul>"
        f"{html_table(_FINDING_HEADER, _finding_rows(report, escape, _html_links))}"
        f"<p>{LEGEND}</p>"
        f"{html_table(_DEMAND_HEADER, _demand_rows(report, escape, _html_links))}"
        f"<small>{DISCLAIMER}</small>"
    )


def to_badge(report: Report) -> str:
    """Return a badge as SVG: the profile and its grade."""
    left, right = f"openness: {report.profile}", report.grade
    color = _COLORS.get(right) or _COLORS[report.passed]
    first, second = 8 + 7 * len(left), 12 + 7 * len(right)
    title = escaping.escape_html(f"{report.id}: {right} ({report.profile}). {_date(report)}")
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


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table in Markdown; the cells are Markdown already."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return [lines[0], "|" + "---|" * len(header), *lines[1:]]


def html_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in HTML; the cells are HTML already."""
    lines = [f"<tr><th>{'</th><th>'.join(header)}</th></tr>"]
    lines += [f"<tr><td>{'</td><td>'.join(cells)}</td></tr>" for cells in rows]
    return f"<table>{''.join(lines)}</table>"


def _date(report: Report) -> str:
    days = sorted({proof.retrieved[:10] for finding in report for proof in finding.evidence if proof.retrieved})
    days = [report.as_of[:10]] if report.as_of else days
    when = f"of {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else "without a date"
    return f"Evidence {when}{', offline' if report.offline else ''}."


def _findings_demanded(report: Report) -> list[Finding]:
    """Return the findings that are the profile's demands, if all demands are some."""
    labels = {finding.criterion.label: finding for finding in report}
    names = [requirement.name for requirement in report.requirements]
    return [labels[name] for name in names] if all(name in labels for name in names) else []


_Link = Callable[[Sequence[Proof]], str]


def _finding_rows(report: Report, escape: Callable[[str], str], link: _Link) -> Iterator[list[str]]:
    for finding in report:
        is_unknown = finding.verdict is Verdict.UNKNOWN
        yield [
            escape(finding.criterion.label),
            f"{VERDICT_SIGNS[finding.verdict]} {finding.verdict}{' (curated)' if finding.curated else ''}",
            "" if is_unknown else f"{finding.confidence:.2g}",
            escape(finding.reason),
            link(finding.evidence),
        ]


def _demand_rows(report: Report, escape: Callable[[str], str], link: _Link) -> Iterator[list[str]]:
    for requirement in report.requirements:
        where = f"{requirement.group}: " if requirement.group else ""
        yield [
            escape(f"{where}{requirement.name}{'' if requirement.required else ' (optional)'}"),
            f"{_MET_SIGNS[requirement.met]} {_MET_WORDS[requirement.met]}",
            escape(requirement.reason),
            link(requirement.evidence),
        ]


def _distinct_places(evidence: Iterable[Proof]) -> list[Proof]:
    """Return the first proof of each address."""
    by_url: dict[str, Proof] = {}
    for proof in evidence:
        by_url.setdefault(proof.url, proof)
    return list(by_url.values())


def _html_links(proofs: Sequence[Proof]) -> str:
    """Return links in HTML that say what was seen, and how many more there are."""
    links = [
        f'<a href="{escaping.escape_html(url)}" rel="nofollow noopener">{escaping.escape_html(what)}</a>'
        if (url := escaping.quote_https_url(proof.url))
        else escaping.escape_html(f"{what} ({proof.url})")
        for proof in proofs[:_MAX_LINKS]
        for what in (columns.shorten(proof.what, _MAX_LINK_COLUMNS),)
    ]
    return ", ".join(links + _count_rest(len(proofs)))


def _markdown_links(proofs: Sequence[Proof], separator: str = ", ") -> str:
    """Return a numbered Markdown link for each address, and how many more there are."""
    proofs = _distinct_places(proofs)
    links = [
        f"[{number}](<{url}>)"
        if (url := escaping.quote_https_url(proof.url))
        else escaping.escape_markdown(f"{columns.shorten(proof.what, _MAX_LINK_COLUMNS)} ({proof.url})")
        for number, proof in enumerate(proofs[:_MAX_LINKS], 1)
    ]
    return separator.join(links + _count_rest(len(proofs)))


def _count_rest(count: int) -> list[str]:
    return [f"and {count - _MAX_LINKS} more"] if count > _MAX_LINKS else []
