"""Rules about terms: the license of the weights, and of all parts together."""

from dataclasses import replace

from openmodels.hub.model_names import same_owner
from openmodels.licenses import LicenseClass, LicenseTerms, find
from openmodels.licenses.files import has_own_terms, why_unreadable
from openmodels.licenses.statements import Part
from openmodels.openness.criteria import criterion
from openmodels.openness.datasets import DatasetUse
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, UNKNOWN, Judgement, Proof, unknown
from openmodels.openness.model_context import ModelContext
from openmodels.openness.stated_licenses import (
    StatedLicense,
    count_unread_sentences,
    find_binding_license,
    find_card_license,
    find_part_licenses,
)


@criterion("license", "OSI-approved by every source: front matter, license file, card text, base models")
def license_of_weights(context: ModelContext) -> Judgement:
    """Judge the license of the weights: open if OSI-approved by every source."""
    stated_licenses = context.stated_licenses
    proofs = tuple(stated.proof for stated in stated_licenses)
    binding = find_binding_license(stated_licenses)
    if binding is None or not binding.license.kind.is_known:
        return _unresolved(context, binding, proofs)
    terms = binding.license
    if terms.restrictive:
        is_guessed = binding.base is not None and not binding.base.stated
        verdict, confidence = (PARTIAL, 0.6) if is_guessed else (CLOSED, 0.95)
        demands = ", ".join(kind.replace("_", " ") for kind in terms.restrictions) or "terms of its own"
        reason = f"The {binding.source} states {binding.detail or terms.id}, which is not open; its terms: {demands}."
        return Judgement(verdict, reason, f"license.{terms.kind}", confidence, proofs)
    if not terms.osi_approved:
        reason = f"The {binding.source} states {terms.id}: free to use, but not approved by the OSI."
        return Judgement(PARTIAL, reason, f"license.{terms.kind}", 0.9, proofs)
    return _open(context, terms, proofs)


def _open(context: ModelContext, terms: LicenseTerms, proofs: tuple[Proof, ...]) -> Judgement:
    """Return the judgement of an OSI-approved license that no source contradicts."""
    model = context.model
    sources = {stated.source for stated in context.stated_licenses if stated.base is None}
    texts = sorted(source for source in sources if source.startswith("file "))
    unread = _unread_files(context)
    if own_files := [f"{name} ({why})" for name, why in unread.items() if has_own_terms(name)]:
        reason = f"The front matter states {terms.id}, but terms of its own stand in {', '.join(own_files)}."
        return unknown(
            "license.own-terms-unread", reason, *(f"the text of {name}" for name in own_files), evidence=proofs
        )
    languages = count_unread_sentences(model)
    unheard = [
        f"the card has {count} {'sentence' if count == 1 else 'sentences'} in {name} about licenses that were not read"
        for name, count in languages.items()
    ]
    if unheard and not texts:
        reason = f"The front matter states {terms.id}, but {'; '.join(unheard)}."
        return unknown("license.language-unread", reason, *unheard, evidence=proofs)
    strangers = [base for base in context.bases if not same_owner(base.owner, model.owner)]
    notes = [f"{name} was not read: {why}" for name, why in unread.items()] + unheard
    notes += [f"the license of its base {base.id} was not seen" for base in strangers if base.license is None]
    if texts:
        where = "front matter and text" if "front matter" in sources else f"the text of {texts[0][5:]}"
        reason = "; ".join([f"{terms.id}, OSI-approved, by {where}", *notes])
        return Judgement(OPEN, f"{reason}.", "license.osi", 0.9 if notes else 0.98, proofs)
    reason = "; ".join([f"{terms.id}, OSI-approved, by the front matter", *(notes or ["no license text was seen"])])
    return Judgement(OPEN, f"{reason}.", "license.osi-stated", 0.85, proofs)


def _unread_files(context: ModelContext) -> dict[str, str]:
    """Return the files of terms that were not read, each with the reason."""
    texts = context.model.license_texts
    unread = {name: why_unreadable(name) or "not fetched" for name in context.model.license_files if name not in texts}
    return unread | {name: why for name, text in texts.items() if (why := why_unreadable(name, text))}


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
        (f"the {part}, by {stated.source},", stated.license.id, stated.proof)
        for part in (Part.CODE, Part.DATA)
        for stated in find_part_licenses(context.model, part)
    ]
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
        others = "the other part" if len(parts) == 1 else f"the {len(parts)} other parts"
        reason = f"The weights and {others} seen are under open licenses."
    return Judgement(OPEN, reason, "license_all_parts.open", 0.7, proofs)


def _unresolved(context: ModelContext, binding: StatedLicense | None, proofs: tuple[Proof, ...]) -> Judgement:
    model = context.model
    missing = [f"the text of {name} ({why})" for name, why in _unread_files(context).items()]
    if binding is not None and binding.detail:
        reason = f"The {binding.source} holds {binding.detail}."
        return unknown("license.altered", reason, f"what the {binding.source} permits", *missing, evidence=proofs)
    terms = binding.license if binding is not None else None
    if terms is not None and terms.id:
        names_none = terms.kind is LicenseClass.AMBIGUOUS or terms.is_placeholder
        problem = "names no license" if names_none else "names a license whose terms are not known here"
        missing = missing or [f"the text of the license {terms.id}"]
        return unknown("license.unresolved", f"“{terms.id}” {problem}.", *missing, evidence=proofs)
    if not model.known("cardData.license") or "cardData" not in model.data or missing:
        missing = missing or ["the license in the front matter"]
        return unknown("license.unseen", "No license was seen.", *missing, evidence=proofs)
    if (named := find_card_license(model)) is not None:
        if named.license.osi_approved:
            reason = f"{named.license.id}, OSI-approved, by a sentence of the card alone."
            return Judgement(OPEN, reason, "license.osi-sentence", 0.7, (named.proof,))
        reason = f"A sentence of the card states {named.license.id}: free to use, but not approved by the OSI."
        return Judgement(PARTIAL, reason, f"license.{named.license.kind}", 0.7, (named.proof,))
    proofs = (model.proof("no license", "cardData"),)
    return Judgement(CLOSED, "No license is stated: nothing is permitted.", "license.none", 0.8, proofs)
