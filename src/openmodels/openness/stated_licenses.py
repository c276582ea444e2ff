"""The license that each source states for a model, and their contradictions.

Sources are the front matter, the license files, sentences of the card, and the base models whose
terms bind more than the model's own. The strictest license counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openmodels.hub.model_names import same_owner
from openmodels.licenses import LicenseClass, LicenseTerms, find
from openmodels.licenses.identification import identify
from openmodels.licenses.table import strictness
from openmodels.openness.datasets import DatasetUse, NamedDataset
from openmodels.openness.findings import LicenseConflict, Proof
from openmodels.openness.pages import ModelEvidence

if TYPE_CHECKING:
    from openmodels.openness.lineage import Ancestor

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
class StatedLicense:
    """A license as one source states it."""

    source: str  # "front matter", "file NAME", "card text" or "base model NAME"
    license: LicenseTerms
    proof: Proof
    base: Ancestor | None = None  # the base model that states it, or None for the model itself


def find_stated_licenses(model: ModelEvidence, bases: Iterable[Ancestor]) -> Iterator[StatedLicense]:
    """Yield each license that is stated for the weights, the model's own first."""
    declared = model.declared_license
    if declared is not None:
        yield StatedLicense("front matter", declared, model.proof(f"license: {declared.id}", "cardData"))
    for name, text in model.license_texts.items():
        if not _CODE_FILE.search(name.removesuffix(".txt")):
            terms = identify(text).license
            proof = model.file_proof(name, f"the text of {name} is {terms.id}", "license_texts")
            yield StatedLicense(f"file {name}", terms, proof)
    for sentence in model.sentences:
        if (stated := _license_in_sentence(sentence)) is not None:
            yield StatedLicense("card text", stated, model.sentence_proof(sentence, 200))
    if declared is None or declared.kind is LicenseClass.NON_COMMERCIAL:
        return
    # A base by another owner binds where its terms are stricter than the declared ones.
    for base in bases:
        required = base.license
        if required is None or not required.restrictive or required.id == declared.id:
            continue
        is_covered = declared.restrictive and set(required.restrictions) <= set(declared.restrictions)
        if not is_covered and not same_owner(base.owner, model.owner):
            proof = base.page.proof(f"license {required.id}", "cardData") if base.page else base.via
            yield StatedLicense(f"base model {base.id}", required, proof, base)


def find_binding_license(stated_licenses: Sequence[StatedLicense]) -> StatedLicense | None:
    """Return the strictest license, of those that name a license if any does."""
    naming = [stated for stated in stated_licenses if not stated.license.is_placeholder] or stated_licenses
    return max(naming, key=lambda stated: strictness(stated.license), default=None)


def find_conflicts(
    model: ModelEvidence, datasets: Iterable[NamedDataset], stated_licenses: Iterable[StatedLicense]
) -> list[LicenseConflict]:
    """Return where a model's license contradicts its bases, data sets or sources."""
    conflicts: list[LicenseConflict] = []
    if (declared := model.declared_license) is not None:
        conflicts += [_base_conflict(model, declared, stated, stated.base) for stated in stated_licenses if stated.base]
        if not declared.restrictive:
            conflicts += _dataset_conflicts(model, declared, datasets)
    by_model = [stated for stated in stated_licenses if stated.base is None and stated.license.id]
    for other in by_model[1:]:
        first = by_model[0]
        if other.license.kind is not first.license.kind and not first.license.is_placeholder:
            reason = f"The {first.source} states {first.license.id}, the {other.source} states {other.license.id}."
            conflicts.append(LicenseConflict("license-sources", reason, (first.proof, other.proof)))
    return conflicts


def _base_conflict(
    model: ModelEvidence, declared: LicenseTerms, stated: StatedLicense, base: Ancestor
) -> LicenseConflict:
    terms = stated.license
    demands = ", ".join(terms.restrictions) or "terms of its own"
    relation = "is made from" if base.stated else "seems, by its name, to be made from"
    reason = (
        f"{model.id} states {declared.id} but {relation} {base.id}, whose license {terms.id} demands {demands}; "
        "permission to relicense was not seen."
    )
    proofs = (model.proof(f"states {declared.id}", "cardData"), stated.proof, base.via)
    return LicenseConflict("base-license", reason, proofs)


def _dataset_conflicts(
    model: ModelEvidence, declared: LicenseTerms, datasets: Iterable[NamedDataset]
) -> Iterator[LicenseConflict]:
    for dataset in datasets:
        page = dataset.page
        if dataset.use is DatasetUse.EVALUATION or page is None or not (terms := find(page.license)).restrictive:
            continue
        effect = "forbids commercial use" if terms.kind is LicenseClass.NON_COMMERCIAL else "has terms of its own"
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
