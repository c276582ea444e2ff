"""The license that each source states for a model, and their contradictions.

Sources are the front matter, the license files, sentences of the card, and the base models whose
terms bind more than the model's own. The strictest statement counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from openmodels.hub.model_names import same_owner
from openmodels.licenses import LicenseClass, LicenseTerms, find, most_restrictive
from openmodels.licenses.identification import identify
from openmodels.openness.datasets import NamedDataset, Role
from openmodels.openness.findings import LicenseConflict, Proof
from openmodels.openness.lineage import Ancestor
from openmodels.openness.pages import ModelEvidence

_CODE_FILE = re.compile(r"(?i)code")
_PAST = re.compile(r"(?i)\b(?:earlier|previous\w*|former\w*|was|were|had|used to|until|originally|changed)\b")
_OTHERS = re.compile(
    r"(?i)\b(?:data ?sets?|code|base model|dependencies|third|library|project|benchmark|builds? on"
    r"|distilled models keep)\b"
)
_RESEARCH = re.compile(
    r"(?i)\b(?:non-?commercial(?: use| purposes)? only|(?:for|to) (?:academic "
    r"|non-?commercial )?research (?:purposes? )?only|not (?:be used )?for commercial|research purposes only"
    r"|only for research)\b"
)


@dataclass(frozen=True)
class LicenseStatement:
    """A license as one source states it."""

    source: str  # "front matter", "file NAME", "card text" or "base model NAME"
    license: LicenseTerms
    proof: Proof
    base: Ancestor | None = None  # the base model that states it, or None for the model itself


def list_license_statements(model: ModelEvidence, bases: Iterable[Ancestor]) -> list[LicenseStatement]:
    """Return every statement of the weights' license, the model's own first."""
    statements: list[LicenseStatement] = []
    if (declared := model.declared_license) is not None:
        proof = model.proof(f"license: {declared.id}", "cardData")
        statements.append(LicenseStatement("front matter", declared, proof))
    for name, text in model.license_texts.items():
        if not _CODE_FILE.search(name.removesuffix(".txt")):
            terms = identify(text).license
            proof = model.file_proof(name, f"the text of {name} is {terms.id}", "license_texts")
            statements.append(LicenseStatement(f"file {name}", terms, proof))
    statements += [
        LicenseStatement("card text", stated, model.sentence_proof(sentence, 200))
        for sentence in model.sentences
        if (stated := _license_in_sentence(sentence)) is not None
    ]
    for base, terms in _stricter_bases(model, bases):
        proof = base.page.proof(f"license {terms.id}", "cardData") if base.page else base.via
        statements.append(LicenseStatement(f"base model {base.id}", terms, proof, base))
    return statements


def binding_statement(statements: Sequence[LicenseStatement]) -> LicenseStatement | None:
    """Return the strictest statement, of those that name a license if any does."""
    naming = [statement for statement in statements if not statement.license.is_placeholder] or statements
    terms = most_restrictive(statement.license for statement in naming)
    return next((statement for statement in naming if statement.license is terms), None)


def find_conflicts(
    model: ModelEvidence, datasets: Iterable[NamedDataset], statements: Iterable[LicenseStatement]
) -> list[LicenseConflict]:
    """Return where a model's license contradicts its bases, data sets or sources."""
    by_bases = [_base_conflict(model, statement, statement.base) for statement in statements if statement.base]
    conflicts = [*by_bases, *_dataset_conflicts(model, datasets)]
    by_model = [statement for statement in statements if statement.base is None and statement.license.id]
    for other in by_model[1:]:
        first = by_model[0]
        if other.license.kind is not first.license.kind and not first.license.is_placeholder:
            reason = f"The {first.source} states {first.license.id}, the {other.source} states {other.license.id}."
            conflicts.append(LicenseConflict("license-sources", reason, (first.proof, other.proof)))
    return conflicts


def _stricter_bases(model: ModelEvidence, bases: Iterable[Ancestor]) -> list[tuple[Ancestor, LicenseTerms]]:
    """Return the bases of other owners with terms stricter than the declared ones."""
    declared = model.declared_license
    if declared is None or declared.kind is LicenseClass.NON_COMMERCIAL:
        return []
    stricter = []
    for base in bases:
        terms = base.license
        if terms is None or not terms.restrictive or same_owner(base.owner, model.owner) or terms.id == declared.id:
            continue
        if not (declared.restrictive and set(terms.restrictions) <= set(declared.restrictions)):
            stricter.append((base, terms))
    return stricter


def _base_conflict(model: ModelEvidence, statement: LicenseStatement, base: Ancestor) -> LicenseConflict:
    declared, terms = model.declared_license, statement.license
    declared_id = declared.id if declared else ""
    demands = ", ".join(terms.restrictions) or "terms of its own"
    relation = "is made from" if base.stated else "seems, by its name, to be made from"
    reason = (
        f"{model.id} states {declared_id or 'no license'} but {relation} {base.id}, whose license {terms.id} demands "
        f"{demands}; permission to relicense was not seen."
    )
    proofs = (model.proof(f"states {declared_id}", "cardData"), statement.proof, base.via)
    return LicenseConflict("base-license", reason, proofs)


def _dataset_conflicts(model: ModelEvidence, datasets: Iterable[NamedDataset]) -> Iterator[LicenseConflict]:
    declared = model.declared_license
    if declared is None or declared.restrictive:
        return
    for dataset in datasets:
        page = dataset.page
        if dataset.role is Role.EVALUATION or page is None or not page.license:
            continue
        terms = find(page.license)
        if terms.restrictive:
            is_non_commercial = terms.kind is LicenseClass.NON_COMMERCIAL
            effect = "forbids commercial use" if is_non_commercial else "has terms of its own"
            reason = f"{model.id} states {declared.id} but is trained on {page.id}, whose license {terms.id} {effect}."
            proofs = (model.proof(f"states {declared.id}", "cardData"), page.proof(f"license {terms.id}", "license"))
            yield LicenseConflict("dataset-license", reason, proofs)


def _license_in_sentence(sentence: str) -> LicenseTerms | None:
    """Return the restrictive license that a sentence states for the model, if any."""
    if _PAST.search(sentence) or _OTHERS.search(sentence):
        return None
    if _RESEARCH.search(sentence):
        if "cc-by-nc" in sentence.lower():
            return find("cc-by-nc-4.0")
        return LicenseTerms("research-only", "research use only", None, LicenseClass.NON_COMMERCIAL)
    if not re.search(r"licen[cs]e", sentence, re.IGNORECASE):
        return None
    identified = identify(sentence)
    return identified.license if identified.how == "title" and identified.license.restrictive else None
