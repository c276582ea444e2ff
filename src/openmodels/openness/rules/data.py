"""Rules about data: what a model was trained on, and what it was tuned on."""

from __future__ import annotations

import re

from openmodels.hub.model_names import same_owner, split
from openmodels.openness import card_claims
from openmodels.openness.datasets import Access, Named, Role
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Criterion, Finding, Proof, Verdict, unknown
from openmodels.openness.model_context import Case

_SCRATCH = re.compile(r"\bpre-?train|\btrained (?:on|with|from scratch)|\bdata sequence", re.IGNORECASE)


def training_data(case: Case) -> Finding:
    """Judge the data a model was (pre-)trained on.

    A fine-tune owes its knowledge to its base: the base's data are judged, unless the card itself
    describes the pre-training of the same owner's base.
    """
    sets = case.sets(Role.PRETRAINING)
    sentences = card_claims.about_training_data(case.model.statements)
    describes = bool(sets) or any(_SCRATCH.search(text) for text in sentences)
    if case.tuned and case.bases and not (describes and case.foreign_base is None):
        return _inherited(case)
    if case.tuned and not case.bases and not sets and not card_claims.withholding(sentences):
        return unknown(
            Criterion.TRAINING_DATA,
            "data.base-unknown",
            "It is a fine-tune, and which model it was made from was not seen.",
            "the base model",
            evidence=tuple(one.proof for one in case.datasets),
        )
    return _judge(case, Criterion.TRAINING_DATA, sets, sentences)


def finetuning_data(case: Case) -> Finding:
    """Judge the data a model was fine-tuned on."""
    criterion = Criterion.FINETUNING_DATA
    sets = case.sets(Role.TUNING)
    sentences = card_claims.about_tuning_data(case.model.statements)
    if not case.tuned and not sets:
        return unknown(
            criterion, "tuning.base-model", "It is a base model: no fine-tuning is claimed.", "any fine-tuning to judge"
        )
    return _judge(case, criterion, sets, sentences)


def _inherited(case: Case) -> Finding:
    base = case.bases[-1] if case.bases[-1].page is not None else case.bases[0]
    asked = (*case.asked, case.model.id.lower())
    nearest = next((one for one in case.bases if one.page is not None and one.page.id.lower() not in asked), None)
    if nearest is None or nearest.page is None:
        return unknown(
            Criterion.TRAINING_DATA,
            "data.base-unseen",
            f"It was made from {base.id}, about which nothing was gathered.",
            f"the page of the base model {base.id}",
            evidence=(base.via,),
        )
    theirs = training_data(Case(Evidence(nearest.page.id, case.evidence.pages, case.evidence.folder), asked))
    verdict, reason = theirs.verdict, f"Its base {nearest.id}: {theirs.reason}"
    foreign = not same_owner(split(nearest.id)[0], case.model.owner)
    own = [one for one in case.sets(Role.PRETRAINING) if one.access is Access.PUBLIC]
    if verdict is Verdict.CLOSED and foreign and own:
        verdict, reason = Verdict.PARTIAL, f"{reason} Its own further training data {own[0].id} are public."
    confidence = theirs.confidence * (0.9 if nearest.stated else 0.7)
    return Finding(
        Criterion.TRAINING_DATA,
        verdict,
        reason,
        "data.base",
        round(confidence, 2),
        (nearest.via, *theirs.evidence),
        theirs.missing,
    )


def _judge(case: Case, criterion: Criterion, sets: list[Named], sentences: list[str]) -> Finding:
    kind = "data" if criterion is Criterion.TRAINING_DATA else "tuning"
    if not sets:
        return _without_sets(case, criterion, kind, sentences)
    proofs = tuple(one.proof for one in sets) + tuple(one.via for one in sets if one.page is not None)
    names = ", ".join(one.id for one in sets[:4]) + (" and more" if len(sets) > 4 else "")
    public = [one for one in sets if one.access is Access.PUBLIC]
    barred = [one for one in sets if one.access in (Access.GATED, Access.MISSING)]
    unseen = [one for one in sets if one.access is Access.UNSEEN]
    more = card_claims.withholding(sentences) or (
        "" if card_claims.complete(sentences) else card_claims.incomplete(sentences)
    )
    if not public and not barred:
        return unknown(
            criterion,
            f"{kind}.unchecked",
            f"It names {names}; whether they can be had was not seen.",
            *(f"whether the data set {one.id} exists and is free to take" for one in unseen),
            evidence=proofs,
        )
    if more:
        reason = f"{names} can be had at least in part, but the card names more: “{more[:200]}”"
        return Finding(
            criterion,
            Verdict.PARTIAL,
            reason,
            f"{kind}.incomplete",
            0.8,
            (case.model.proof(more[:200], "readme"), *proofs),
        )
    if barred:
        reason = f"{barred[0].id} is {'gated' if barred[0].access is Access.GATED else 'gone'}."
        return Finding(criterion, Verdict.PARTIAL, reason, f"{kind}.barred", 0.8, proofs)
    # A further part of the same owner's published mix is taken to be public like the rest of it.
    mixes = public if criterion is Criterion.TRAINING_DATA else []
    stray = [one for one in unseen if not any(same_owner(split(one.id)[0], split(other.id)[0]) for other in mixes)]
    if stray:
        reason = f"{public[0].id} is public; whether {stray[0].id} can be had was not seen."
        return Finding(criterion, Verdict.PARTIAL, reason, f"{kind}.some-unchecked", 0.6, proofs)
    told = card_claims.complete(sentences) or any(one.said for one in sets) or criterion is Criterion.FINETUNING_DATA
    if not told and not case.model.card_seen:
        reason = f"{names} can be had, but no sentence of the card was seen that says the model was trained on no more."
        return Finding(criterion, Verdict.PARTIAL, reason, f"{kind}.front-matter-only", 0.6, proofs)
    sure = 0.9 if all(one.page is not None and one.page.gated is False for one in public) and not unseen else 0.75
    return Finding(criterion, Verdict.OPEN, f"{names}: public and named as the data.", f"{kind}.public", sure, proofs)


def _without_sets(case: Case, criterion: Criterion, kind: str, sentences: list[str]) -> Finding:
    model = case.model
    what = "training" if criterion is Criterion.TRAINING_DATA else "fine-tuning"
    tuning = criterion is Criterion.FINETUNING_DATA
    rest = [text for text in model.statements if text not in sentences and card_claims.is_tuning(text) is tuning]
    if said := card_claims.withholding([*sentences, *rest]):
        proof = model.proof(f"the card says: {said[:200]}", "readme")
        return Finding(
            criterion,
            Verdict.CLOSED,
            f"The card gives no {what} data: “{said[:200]}”",
            f"{kind}.withheld",
            0.9,
            (proof,),
        )
    if said := card_claims.complete(sentences):
        return unknown(
            criterion,
            f"{kind}.claimed",
            f"The card claims public {what} data without naming a set that was found: “{said[:160]}”",
            f"a link to the {what} data",
            evidence=(model.proof(f"the card says: {said[:160]}", "readme"),),
        )
    if not tuning and (found := _preparing(case)):
        return found
    if not tuning and (said := card_claims.corpora(sentences)):
        proof = model.proof(f"the card says: {said[:200]}", "readme")
        reason = f"The card names public corpora, but not what was taken from them: “{said[:200]}”"
        return Finding(criterion, Verdict.PARTIAL, reason, "data.named-only", 0.5, (proof,))
    if not tuning and (said := card_claims.vague(sentences)):
        proof = model.proof(f"the card says: {said[:200]}", "readme")
        reason = f"The card describes its training data without naming a set anybody could get: “{said[:200]}”"
        return Finding(criterion, Verdict.CLOSED, reason, "data.vague", 0.75, (proof,))
    if model.card_seen and model.known("cardData.datasets") | bool(model.headings):
        proof = model.proof("the card and its front matter name and link no data set", "readme")
        reason = f"The card names and links no {what} data."
        return Finding(criterion, Verdict.CLOSED, reason, f"{kind}.none-named", 0.8, (proof,))
    return unknown(
        criterion,
        f"{kind}.card-unseen",
        f"No {what} data are named in what was seen, and the card was not seen as a whole.",
        "the text of the model card",
        *(["the data sets of the front matter"] if not model.known("cardData.datasets") else []),
    )


def _preparing(case: Case) -> Finding | None:
    """Return a finding where training code stands beside programs that rebuild the data."""
    for one in case.repositories:
        if one.tree is None:
            continue
        paths = [path for path in one.tree.preparation if not re.search(r"tokeniz|eval", path, re.IGNORECASE)]
        if len(paths) >= 3 and one.tree.training:
            proofs = tuple(_file(one.name, path) for path in paths[:2])
            reason = f"No data set is named, but {one.name} holds programs that prepare the training data."
            return Finding(Criterion.TRAINING_DATA, Verdict.PARTIAL, reason, "data.scripts", 0.5, (*proofs, one.via))
    return None


def _file(repository: str, path: str) -> Proof:
    return Proof(f"https://github.com/{repository}/blob/HEAD/{path}", path)
