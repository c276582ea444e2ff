"""Rules about data: what a model was trained on, and what it was tuned on."""

from __future__ import annotations

import re

from openmodels.hub.model_names import same_owner, split_repo_id
from openmodels.openness import card_claims
from openmodels.openness.criteria import criterion
from openmodels.openness.datasets import Access, DatasetUse, NamedDataset
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, Judgement, unknown
from openmodels.openness.model_context import ModelContext

_PRETRAINING_SENTENCE = re.compile(r"(?i)\bpre-?train|\btrained (?:on|with|from scratch)|\bdata sequence")
_NOT_PREPARATION = re.compile(r"(?i)tokeniz|eval")


@criterion(
    "training_data",
    "every pre-training set named is public and ungated, and the card names no more; "
    "a fine-tune inherits from its base",
)
def training_data(context: ModelContext) -> Judgement:
    """Judge the data a model was (pre-)trained on.

    A fine-tune owes its knowledge to its base: the base's data are judged, unless the card itself
    describes the pre-training of the same owner's base.
    """
    datasets = context.datasets_for(DatasetUse.PRETRAINING)
    sentences = card_claims.training_data_sentences(context.model.sentences)
    describes_pretraining = bool(datasets) or any(_PRETRAINING_SENTENCE.search(text) for text in sentences)
    if context.is_finetune and context.bases and not (describes_pretraining and context.foreign_base is None):
        return _inherited(context)
    if context.is_finetune and not context.bases and not datasets and not card_claims.WITHHELD_DATA.first(sentences):
        reason = "It is a fine-tune, and which model it was made from was not seen."
        proofs = tuple(dataset.proof for dataset in context.datasets)
        return unknown("data.base-unknown", reason, "the base model", evidence=proofs)
    return _judge(context, DatasetUse.PRETRAINING, datasets, sentences)


@criterion("finetuning_data", "the same for the tuning sets")
def finetuning_data(context: ModelContext) -> Judgement:
    """Judge the data a model was fine-tuned on."""
    datasets = context.datasets_for(DatasetUse.TUNING)
    if not context.is_finetune and not datasets:
        reason = "It is a base model: no fine-tuning is claimed."
        return unknown("tuning.base-model", reason, "any fine-tuning to judge")
    sentences = card_claims.TUNING_DATA.select(context.model.sentences)
    return _judge(context, DatasetUse.TUNING, datasets, sentences)


def _inherited(context: ModelContext) -> Judgement:
    """Return the judgement of the nearest base whose page was gathered."""
    descendants = (*context.descendants, context.model.id.lower())
    base = next((base for base in context.bases if base.page and base.page.id.lower() not in descendants), None)
    if base is None or base.page is None:
        unseen = context.bases[-1] if context.bases[-1].page is not None else context.bases[0]
        why = context.evidence.unread["models"].get(unseen.id.lower())
        reason = f"It was made from {unseen.id}, about which nothing was gathered{f': {why}' if why else ''}."
        return unknown("data.base-unseen", reason, f"the page of the base model {unseen.id}", evidence=(unseen.via,))
    finding = ModelContext(context.evidence.about(base.page.id), descendants).finding("training_data")
    verdict, reason = finding.verdict, f"Its base {base.id}: {finding.reason}"
    is_foreign = not same_owner(split_repo_id(base.id)[0], context.model.owner)
    public = [dataset for dataset in context.datasets_for(DatasetUse.PRETRAINING) if dataset.access is Access.PUBLIC]
    if verdict is CLOSED and is_foreign and public:
        verdict, reason = PARTIAL, f"{reason} Its own further training data {public[0].id} are public."
    confidence = round(finding.confidence * (0.9 if base.stated else 0.7), 2)
    return Judgement(verdict, reason, "data.base", confidence, (base.via, *finding.evidence), finding.missing)


def _judge(context: ModelContext, use: DatasetUse, datasets: list[NamedDataset], sentences: list[str]) -> Judgement:
    """Judge the data sets of one use, with the card's sentences about that use."""
    rule = "data" if use is DatasetUse.PRETRAINING else "tuning"
    if not datasets:
        return _without_datasets(context, use, rule, sentences)
    model = context.model
    proofs = tuple(dataset.proof for dataset in datasets)
    proofs += tuple(dataset.via for dataset in datasets if dataset.page is not None)
    names = ", ".join(dataset.id for dataset in datasets[:4]) + (" and more" if len(datasets) > 4 else "")
    public = [dataset for dataset in datasets if dataset.access is Access.PUBLIC]
    barred = [dataset for dataset in datasets if dataset.access in (Access.GATED, Access.MISSING)]
    unseen = [dataset for dataset in datasets if dataset.access is Access.UNSEEN]
    if not public and not barred:
        missing = [f"whether the data set {dataset.id} exists and is free to take" for dataset in unseen]
        reason = f"It names {names}; whether they can be had was not seen."
        return unknown(f"{rule}.unchecked", reason, *missing, evidence=proofs)
    says_complete = bool(card_claims.COMPLETE_DATA.first(sentences))
    further = card_claims.WITHHELD_DATA.first(sentences)
    if not further and not says_complete:
        further = card_claims.INCOMPLETE_DATA.first(sentences)
    if further:
        reason = f"{names} can be had at least in part, but the card names more: “{further[:200]}”"
        return Judgement(PARTIAL, reason, f"{rule}.incomplete", 0.8, (model.proof(further[:200], "readme"), *proofs))
    if barred:
        reason = f"{barred[0].id} is {'gated' if barred[0].access is Access.GATED else 'gone'}."
        return Judgement(PARTIAL, reason, f"{rule}.barred", 0.8, proofs)
    # A further part of the same owner's published mix is taken to be public like the rest of it.
    owners = [split_repo_id(dataset.id)[0] for dataset in public] if use is DatasetUse.PRETRAINING else []
    unchecked = [
        dataset for dataset in unseen if not any(same_owner(split_repo_id(dataset.id)[0], owner) for owner in owners)
    ]
    if unchecked:
        reason = f"{public[0].id} is public; whether {unchecked[0].id} can be had was not seen."
        return Judgement(PARTIAL, reason, f"{rule}.some-unchecked", 0.6, proofs)
    is_described = says_complete or any(dataset.is_stated for dataset in datasets) or use is DatasetUse.TUNING
    if not is_described and not model.card_seen:
        reason = f"{names} can be had, but no sentence of the card was seen that says the model was trained on no more."
        return Judgement(PARTIAL, reason, f"{rule}.front-matter-only", 0.6, proofs)
    is_checked = not unseen and all(dataset.page is not None and dataset.page.gated is False for dataset in public)
    reason = f"{names}: public and named as the data."
    return Judgement(OPEN, reason, f"{rule}.public", 0.9 if is_checked else 0.75, proofs)


def _without_datasets(context: ModelContext, use: DatasetUse, rule: str, sentences: list[str]) -> Judgement:
    """Judge by the card's sentences and the repositories where no data set is named."""
    model = context.model
    is_tuning = use is DatasetUse.TUNING
    kind = "fine-tuning" if is_tuning else "training"
    others = [
        text for text in model.sentences if text not in sentences and card_claims.TUNING.matches(text) is is_tuning
    ]
    if sentence := card_claims.WITHHELD_DATA.first([*sentences, *others]):
        reason = f"The card gives no {kind} data: “{sentence[:200]}”"
        return Judgement(CLOSED, reason, f"{rule}.withheld", 0.9, (model.sentence_proof(sentence, 200),))
    if sentence := card_claims.COMPLETE_DATA.first(sentences):
        reason = f"The card claims public {kind} data without naming a set that was found: “{sentence[:160]}”"
        proofs = (model.sentence_proof(sentence, 160),)
        return unknown(f"{rule}.claimed", reason, f"a link to the {kind} data", evidence=proofs)
    if not is_tuning and (judgement := _by_preparation_code(context)):
        return judgement
    if not is_tuning and (sentence := card_claims.find_named_corpora(sentences)):
        reason = f"The card names public corpora, but not what was taken from them: “{sentence[:200]}”"
        return Judgement(PARTIAL, reason, "data.named-only", 0.5, (model.sentence_proof(sentence, 200),))
    if not is_tuning and (sentence := card_claims.VAGUE_DATA.first(sentences)):
        reason = f"The card describes its training data without naming a set anybody could get: “{sentence[:200]}”"
        return Judgement(CLOSED, reason, "data.vague", 0.75, (model.sentence_proof(sentence, 200),))
    front_matter_seen = model.known("cardData.datasets")
    if model.card_seen and (front_matter_seen or model.headings):
        proof = model.proof("the card and its front matter name and link no data set", "readme")
        return Judgement(CLOSED, f"The card names and links no {kind} data.", f"{rule}.none-named", 0.8, (proof,))
    reason = f"No {kind} data are named in what was seen, and the card was not seen as a whole."
    missing = ["the text of the model card", *([] if front_matter_seen else ["the data sets of the front matter"])]
    return unknown(f"{rule}.card-unseen", reason, *missing)


def _by_preparation_code(context: ModelContext) -> Judgement | None:
    """Return a judgement if training code lies beside programs that rebuild the data."""
    for repository in context.repositories:
        programs = [path for path in repository.layout.preparation if not _NOT_PREPARATION.search(path)]
        if len(programs) >= 3 and repository.layout.training:
            proofs = map(repository.page.file_proof, programs[:2])
            reason = f"No data set is named, but {repository.name} holds programs that prepare the training data."
            return Judgement(PARTIAL, reason, "data.scripts", 0.5, (*proofs, repository.via))
    return None
