"""Rules about terms: the license of the weights, and of all parts together."""

from __future__ import annotations

import re
from dataclasses import dataclass

from openmodels.licenses import LicenseClass, LicenseTerms, find, most_restrictive
from openmodels.licenses.identification import identify
from openmodels.openness.datasets import Role
from openmodels.openness.findings import Conflict, Criterion, Finding, Proof, Verdict, unknown
from openmodels.openness.lineage import dataset_conflicts, front_license, license_conflicts
from openmodels.openness.model_context import Case

_LICENSE_FILE = re.compile(r"(?:^|/)(?:licen[cs]e|copying|model[-_]?licen[cs]e)[\w.-]*$", re.IGNORECASE)
_CODE_FILE = re.compile(r"code", re.IGNORECASE)
_PAST = re.compile(
    r"\b(?:earlier|previous\w*|former\w*|was|were|had|used to|until|originally|changed)\b", re.IGNORECASE
)
_OTHERS = re.compile(
    r"\b(?:data ?sets?|code|base model|dependencies|third|library|project|benchmark|builds? on"
    r"|distilled models keep)\b",
    re.IGNORECASE,
)
_RESEARCH = re.compile(
    r"\b(?:non-?commercial(?: use| purposes)? only|(?:for|to) (?:academic "
    r"|non-?commercial )?research (?:purposes? )?only|not (?:be used )?for commercial|research purposes only"
    r"|only for research)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Stated:
    """A license as one source states it.

    Attributes:
        source: "front matter", "file NAME", "card text" or "base model NAME".
        license: What it states.
        proof: Where.
    """

    source: str
    license: LicenseTerms
    proof: Proof


def sources(case: Case) -> list[Stated]:
    """Return every statement of the weights' license, its base models' included where they bind."""
    model = case.model
    found: list[Stated] = []
    if (front := front_license(model)) is not None:
        found.append(Stated("front matter", front, model.proof(f"license: {front.id}", "cardData")))
    for name, text in model.license_texts.items():
        if not _CODE_FILE.search(name.removesuffix(".txt")):
            read = identify(text).license
            url = f"{model.url}/blob/main/{name}"
            found.append(
                Stated(f"file {name}", read, model.proof(f"the text of {name} is {read.id}", "license_texts", url=url))
            )
    found += [
        Stated("card text", said, model.proof(f"the card says: {text[:200]}", "readme"))
        for text in model.statements
        if (said := _said(text)) is not None
    ]
    for conflict in base_conflicts(case):
        name = conflict.evidence[1].url.removeprefix(model.site)
        base = next(one for one in case.bases if one.page is not None and one.page.id == name)
        if base.license is not None:
            found.append(Stated(f"base model {base.id}", base.license, conflict.evidence[1]))
    return found


def base_conflicts(case: Case) -> list[Conflict]:
    """Return where a base model's terms are stricter than the model's own."""
    return license_conflicts(case.model, front_license(case.model), case.bases)


def conflicts(case: Case) -> list[Conflict]:
    """Return every contradiction about terms."""
    found = base_conflicts(case)
    names = [one.id for one in case.datasets if one.role is not Role.EVALUATION]
    found += dataset_conflicts(case.evidence, case.model, front_license(case.model), names)
    told = [one for one in sources(case) if not one.source.startswith("base model") and one.license.id]
    for one in told[1:]:
        first = told[0]
        if one.license.kind is not first.license.kind and not _placeholder(first.license):
            found.append(
                Conflict(
                    "license-sources",
                    f"The {first.source} states {first.license.id}, the {one.source} states {one.license.id}.",
                    (first.proof, one.proof),
                )
            )
    return found


def license_of_weights(case: Case) -> Finding:
    """Judge the license of the weights: open only if the OSI approved it and no source says otherwise."""
    criterion, model = Criterion.LICENSE, case.model
    found = sources(case)
    proofs = tuple(one.proof for one in found)
    named = [one for one in found if not _placeholder(one.license)] or found
    binding = most_restrictive([one.license for one in named])
    own_files = [name for name in model.files if _LICENSE_FILE.search(name) and name not in model.license_texts]
    if binding is None or binding.kind in (LicenseClass.UNKNOWN, LicenseClass.AMBIGUOUS):
        return _unresolved(case, binding, own_files, proofs)
    by = next(one for one in named if one.license is binding)
    suggested = (
        by.source.startswith("base model") and not next(one for one in case.bases if one.id == by.source[11:]).stated
    )
    if binding.restrictive:
        verdict = Verdict.PARTIAL if suggested else Verdict.CLOSED
        terms = ", ".join(one.replace("_", " ") for one in binding.restrictions) or "terms of its own"
        reason = f"The {by.source} states {binding.id}, which is not open: {terms}."
        return Finding(criterion, verdict, reason, f"license.{binding.kind}", 0.6 if suggested else 0.95, proofs)
    if not binding.osi_approved:
        reason = f"The {by.source} states {binding.id}: free to use, but not approved by the OSI."
        return Finding(criterion, Verdict.PARTIAL, reason, f"license.{binding.kind}", 0.9, proofs)
    if model.license_texts:
        return Finding(
            criterion,
            Verdict.OPEN,
            f"{binding.id}, OSI-approved, by front matter and text.",
            "license.osi",
            0.98,
            proofs,
        )
    seen = "no license text was read" if not own_files else f"the text of {own_files[0]} was not read"
    return Finding(criterion, Verdict.OPEN, f"{binding.id}, OSI-approved; {seen}.", "license.osi-stated", 0.85, proofs)


def license_all_parts(case: Case, weights: Finding) -> Finding:
    """Judge the licenses of weights, code and data together."""
    criterion = Criterion.LICENSE_ALL_PARTS
    if weights.verdict is Verdict.UNKNOWN:
        return unknown(
            criterion, "license_all_parts.weights", "The license of the weights is not known.", *weights.missing
        )
    if weights.verdict is Verdict.CLOSED:
        return Finding(
            criterion, Verdict.CLOSED, weights.reason, "license_all_parts.weights", weights.confidence, weights.evidence
        )
    parts: list[tuple[str, LicenseTerms, Proof]] = []
    for repository in case.repositories:
        if repository.page is not None and repository.page.tree:
            text = repository.page.license
            parts.append((repository.name, find(text), repository.page.proof(f"license: {text or 'none'}", "license")))
    parts += [
        (named.id, find(named.page.license), named.page.proof(f"license: {named.page.license}", "license"))
        for named in case.datasets
        if named.page is not None and named.page.license and named.role is not Role.EVALUATION
    ]
    proofs = (*weights.evidence, *(proof for _, _, proof in parts))
    odd = next(((name, one) for name, one, _ in parts if not one.open), None)
    if odd is not None:
        page = case.evidence.repository(odd[0])
        unread = page is not None and not page.known("license")
        under = odd[1].id or ("a license that was not seen" if unread else "no license")
        reason = f"The weights are open, but {odd[0]} is under {under}."
        return Finding(criterion, Verdict.PARTIAL, reason, "license_all_parts.mixed", 0.7, proofs)
    reason = (
        f"The weights and the {len(parts)} other parts seen are under open licenses."
        if parts
        else "Of the parts seen, all are open."
    )
    return Finding(criterion, Verdict.OPEN, reason, "license_all_parts.open", 0.7, proofs)


def _unresolved(case: Case, binding: LicenseTerms | None, own_files: list[str], proofs: tuple[Proof, ...]) -> Finding:
    model = case.model
    texts = [f"the text of {name}" for name in own_files]
    if binding is not None and binding.id:
        family = binding.kind is LicenseClass.AMBIGUOUS or _placeholder(binding)
        why = "names no license" if family else "names a license whose terms are not known here"
        missing = texts or [f"the text of the license {binding.id}"]
        return unknown(Criterion.LICENSE, "license.unresolved", f"“{binding.id}” {why}.", *missing, evidence=proofs)
    if not model.known("cardData.license") or "cardData" not in model.data or texts:
        return unknown(
            Criterion.LICENSE,
            "license.unseen",
            "No license was seen.",
            *(texts or ["the license in the front matter"]),
            evidence=proofs,
        )
    reason = "No license is stated: nothing is permitted."
    return Finding(
        Criterion.LICENSE, Verdict.CLOSED, reason, "license.none", 0.8, (model.proof("no license", "cardData"),)
    )


def _said(text: str) -> LicenseTerms | None:
    """Return the license a sentence states for the model, where it binds more than a tag could say."""
    if _PAST.search(text) or _OTHERS.search(text):
        return None
    if _RESEARCH.search(text):
        return (
            find("cc-by-nc-4.0")
            if "cc-by-nc" in text.lower()
            else LicenseTerms("research-only", "research use only", None, LicenseClass.NON_COMMERCIAL)
        )
    if not re.search(r"licen[cs]e", text, re.IGNORECASE):
        return None
    read = identify(text)
    return read.license if read.how == "title" and read.license.restrictive else None


def _placeholder(one: LicenseTerms) -> bool:
    return one.id.lower() in {"", "other", "unknown"}
