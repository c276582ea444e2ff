"""Rules about terms: the license of the weights, and of all parts together."""

from __future__ import annotations

from dataclasses import replace

from openmodels.licenses import LicenseClass, LicenseTerms, find
from openmodels.openness.criteria import criterion
from openmodels.openness.datasets import DatasetUse
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, UNKNOWN, Judgement, Proof, unknown
from openmodels.openness.model_context import ModelContext
from openmodels.openness.pages import LICENSE_FILE
from openmodels.openness.stated_licenses import find_binding_license


@criterion("license", "OSI-approved by every source: front matter, license file, card text, base models")
def license_of_weights(context: ModelContext) -> Judgement:
    """Judge the license of the weights: open if OSI-approved by every source."""
    model, stated_licenses = context.model, context.stated_licenses
    proofs = tuple(stated.proof for stated in stated_licenses)
    license_files = [name for name in model.files if LICENSE_FILE.fullmatch(name.rpartition("/")[2])]
    unread_files = [name for name in license_files if name not in model.license_texts]
    binding = find_binding_license(stated_licenses)
    if binding is None or not binding.license.kind.is_known:
        return _unresolved(context, binding.license if binding else None, unread_files, proofs)
    terms = binding.license
    if terms.restrictive:
        is_guessed = binding.base is not None and not binding.base.stated
        verdict, confidence = (PARTIAL, 0.6) if is_guessed else (CLOSED, 0.95)
        demands = ", ".join(kind.replace("_", " ") for kind in terms.restrictions) or "terms of its own"
        reason = f"The {binding.source} states {terms.id}, which is not open: {demands}."
        return Judgement(verdict, reason, f"license.{terms.kind}", confidence, proofs)
    if not terms.osi_approved:
        reason = f"The {binding.source} states {terms.id}: free to use, but not approved by the OSI."
        return Judgement(PARTIAL, reason, f"license.{terms.kind}", 0.9, proofs)
    if model.license_texts:
        return Judgement(OPEN, f"{terms.id}, OSI-approved, by front matter and text.", "license.osi", 0.98, proofs)
    gap = f"the text of {unread_files[0]} was not read" if unread_files else "no license text was read"
    return Judgement(OPEN, f"{terms.id}, OSI-approved; {gap}.", "license.osi-stated", 0.85, proofs)


@criterion("license_all_parts", "the weights, the code and the data seen are all under open licenses")
def license_all_parts(context: ModelContext) -> Judgement:
    """Judge the licenses of weights, code and data together."""
    weights = context.finding("license")
    if weights.verdict is UNKNOWN:
        return unknown("license_all_parts.weights", "The license of the weights is not known.", *weights.missing)
    if weights.verdict is CLOSED:
        return replace(weights, rule="license_all_parts.weights")
    parts: list[tuple[str, str | None, Proof]] = []
    for repository in context.repositories:
        if repository.page.tree:
            license_id = repository.page.license
            proof = repository.page.proof(f"license: {license_id or 'none'}", "license")
            parts.append((repository.name, license_id, proof))
    parts += [
        (dataset.id, dataset.page.license, dataset.page.proof(f"license: {dataset.page.license}", "license"))
        for dataset in context.datasets
        if dataset.page is not None and dataset.page.license and dataset.use is not DatasetUse.EVALUATION
    ]
    proofs = (*weights.evidence, *(proof for _, _, proof in parts))
    for name, license_id, _ in parts:
        if not (terms := find(license_id)).open:
            is_unread = license_id is None and not context.evidence.repository(name).known("license")
            license_name = terms.id or ("a license that was not seen" if is_unread else "no license")
            reason = f"The weights are open, but {name} is under {license_name}."
            return Judgement(PARTIAL, reason, "license_all_parts.mixed", 0.7, proofs)
    reason = "Of the parts seen, all are open."
    if parts:
        reason = f"The weights and the {len(parts)} other parts seen are under open licenses."
    return Judgement(OPEN, reason, "license_all_parts.open", 0.7, proofs)


def _unresolved(
    context: ModelContext, terms: LicenseTerms | None, unread_files: list[str], proofs: tuple[Proof, ...]
) -> Judgement:
    model = context.model
    missing = [f"the text of {name}" for name in unread_files]
    if terms is not None and terms.id:
        names_none = terms.kind is LicenseClass.AMBIGUOUS or terms.is_placeholder
        problem = "names no license" if names_none else "names a license whose terms are not known here"
        missing = missing or [f"the text of the license {terms.id}"]
        return unknown("license.unresolved", f"“{terms.id}” {problem}.", *missing, evidence=proofs)
    if not model.known("cardData.license") or "cardData" not in model.data or missing:
        missing = missing or ["the license in the front matter"]
        return unknown("license.unseen", "No license was seen.", *missing, evidence=proofs)
    proofs = (model.proof("no license", "cardData"),)
    return Judgement(CLOSED, "No license is stated: nothing is permitted.", "license.none", 0.8, proofs)
