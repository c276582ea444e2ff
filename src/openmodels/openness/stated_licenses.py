"""The license that each source states for a model, and their contradictions.

Sources are the front matter, the license files, sentences of the card, and the base models whose
terms bind more than the model's own. The strictest license counts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openmodels.hub.model_names import same_owner
from openmodels.licenses import LicenseClass, LicenseTerms, find
from openmodels.licenses.files import FileRole, find_role, why_unreadable
from openmodels.licenses.identification import identify, identify_policy
from openmodels.licenses.phrases import unread_language
from openmodels.licenses.statements import LicenseStatement, Part, find_open_license, read_statements
from openmodels.licenses.table import strictness
from openmodels.openness.datasets import DatasetUse, NamedDataset
from openmodels.openness.evidence_pages import ModelEvidence
from openmodels.openness.findings import LicenseConflict, Proof

if TYPE_CHECKING:
    from openmodels.openness.lineage import Ancestor


@dataclass(frozen=True)
class StatedLicense:
    """A license as one source states it."""

    source: str  # "front matter", "file NAME", "card text" or "base model NAME"
    license: LicenseTerms
    proof: Proof
    base: "Ancestor | None" = None  # the base model that states it, or None for the model itself
    detail: str = ""  # what a text is beside a known license: "7 words beyond MIT: “…”"


def find_stated_licenses(model: ModelEvidence, bases: "Iterable[Ancestor]") -> Iterator[StatedLicense]:
    """Yield each license that is stated for the weights, the model's own first."""
    yield from _own_licenses(model)
    declared = model.declared_license
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


def _own_licenses(model: ModelEvidence) -> Iterator[StatedLicense]:
    declared = model.declared_license
    if declared is not None:
        detail = f"{declared.id} ({declared.basis})" if declared.basis else ""
        proof = model.proof(f"license: {declared.id}", "cardData")
        yield StatedLicense("front matter", declared, proof, detail=detail)
    for name, text in model.license_texts.items():
        role = find_role(name)
        if role in (FileRole.CODE, FileRole.DATA, FileRole.OTHERS) or why_unreadable(name, text):
            continue
        if role is FileRole.LICENSE:
            identified = identify(text)
            detail = "" if identified.how in ("text", "title") else identified.description
            proof = model.file_proof(name, f"the text of {name} is {identified.description}", "license_texts")
            yield StatedLicense(f"file {name}", identified.license, proof, detail=detail)
        elif role is FileRole.POLICY:
            policy = identify_policy(text)
            if policy is not None:
                proof = model.file_proof(name, f"{name}: {policy.description}", "license_texts")
                yield StatedLicense(f"file {name}", policy.license, proof, detail=policy.description)
        else:
            for statement in _weights_statements(text.splitlines()):
                proof = model.file_proof(name, f"{name} states {statement.license.id}", "license_texts")
                yield StatedLicense(f"file {name}", statement.license, proof)
    for sentence in model.sentences:
        for statement in _weights_statements([sentence]):
            yield StatedLicense("card text", statement.license, model.sentence_proof(sentence, 200))


def find_part_licenses(model: ModelEvidence, part: Part) -> Iterator[StatedLicense]:
    """Yield the terms that card and files state for the code or the data."""
    role = FileRole.CODE if part is Part.CODE else FileRole.DATA
    for name, text in model.license_texts.items():
        if find_role(name) is role and not why_unreadable(name, text):
            identified = identify(text)
            proof = model.file_proof(name, f"the text of {name} is {identified.description}", "license_texts")
            yield StatedLicense(f"file {name}", identified.license, proof, detail=identified.description)
    for sentence in model.sentences:
        for statement in read_statements(sentence):
            if part in statement.parts:
                yield StatedLicense("card text", statement.license, model.sentence_proof(sentence, 200))


def find_card_license(model: ModelEvidence) -> StatedLicense | None:
    """Return the open license that a sentence of the card names, or None."""
    for sentence in model.sentences:
        if (terms := find_open_license(sentence)) is not None:
            return StatedLicense("card text", terms, model.sentence_proof(sentence, 200))
    return None


def count_unread_sentences(model: ModelEvidence) -> dict[str, int]:
    """Count the sentences about licenses in languages that are not read."""
    return dict(Counter(name for sentence in model.sentences if (name := unread_language(sentence))))


def _weights_statements(sentences: Iterable[str]) -> Iterator[LicenseStatement]:
    for sentence in sentences:
        yield from (statement for statement in read_statements(sentence) if Part.WEIGHTS in statement.parts)


def find_binding_license(stated_licenses: Sequence[StatedLicense]) -> StatedLicense | None:
    """Return the strictest license, of those that name a license if any does."""
    naming = [stated for stated in stated_licenses if not stated.license.is_placeholder] or stated_licenses

    def key(stated: StatedLicense) -> tuple[int, bool, int, str]:
        # Of several bases, as of a merge, the same one binds in whatever order they are named.
        base_id = stated.base.id.lower() if stated.base else ""
        restrictions = len(stated.license.restrictions) if stated.base else 0
        return strictness(stated.license), stated.base is None, restrictions, base_id

    return max(naming, key=key, default=None)


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
    model: ModelEvidence, declared: LicenseTerms, stated: StatedLicense, base: "Ancestor"
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
