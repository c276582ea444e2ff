"""Rules about data: what a model was trained on, and what it was tuned on."""

import re
from dataclasses import replace

from openmodels import columns
from openmodels.hub.model_names import same_owner, split_repo_id
from openmodels.openness import card_claims
from openmodels.openness.criteria import criterion
from openmodels.openness.datasets import MOST_EPOCHS, Access, DatasetUse, NamedDataset, find_size_gap, format_count
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, UNKNOWN, Judgement, Proof, unknown
from openmodels.openness.lineage import Ancestor, find_bases
from openmodels.openness.model_context import ModelContext

_PRETRAINING_SENTENCE = re.compile(
    r"(?i)\bpre-?train|\btrained (?:on|with|from scratch)|\bdata sequence|预训练|預訓練|事前学習|사전\s?(?:학습|훈련)"
    r"|\bvortrain|\bpré-?entra[iî]n|\bpre-?entren|\bpré-?trein|\bpre-?addestr|\bfortren"
)
_MADE_WITHOUT_TUNING = frozenset({"merge", "quantized"})  # relations to a base that add no training
_RANK = {CLOSED: 0, UNKNOWN: 1, PARTIAL: 2, OPEN: 3}
_NOT_PREPARATION = re.compile(r"(?i)tokeniz|eval")


@criterion(
    "training_data",
    "every pre-training set named exists, holds data, is public and ungated, no sample, and large enough for the "
    "tokens claimed, and the card names no more; a fine-tune inherits from its base, a merge from its worst part",
)
def training_data(context: ModelContext) -> Judgement:
    """Judge the data a model was (pre-)trained on.

    A fine-tune owes its knowledge to its base: the base's data are judged, unless the card itself
    describes the pre-training of the same owner's base. Of several bases, as of a merge, the worst counts.
    """
    datasets = context.datasets_for(DatasetUse.PRETRAINING)
    sentences = card_claims.training_data_sentences(context.model.sentences)
    describes_pretraining = bool(datasets) or any(_PRETRAINING_SENTENCE.search(text) for text in sentences)
    if context.is_finetune and context.bases and not (describes_pretraining and context.foreign_base is None):
        return _inherited(context, "training_data")
    if context.is_finetune and not context.bases and not datasets and not card_claims.WITHHELD_DATA.first(sentences):
        reason = "It is a fine-tune, and which model it was made from was not seen."
        proofs = tuple(dataset.proof for dataset in context.datasets)
        return unknown("data.base-unknown", reason, "the base model", evidence=proofs)
    judgement = _judge(context, DatasetUse.PRETRAINING, datasets, sentences)
    return (
        _about(f"The pre-training that {context.model.id} describes", judgement) if context.is_finetune else judgement
    )


@criterion("finetuning_data", "the same for the tuning sets; a merge or a conversion inherits from what it was made of")
def finetuning_data(context: ModelContext) -> Judgement:
    """Judge the data of a model's own tuning; its base's data are another finding."""
    datasets = context.datasets_for(DatasetUse.TUNING)
    sentences = card_claims.tuning_data_sentences(context.model.sentences)
    relations = {relation for _, relation in context.model.bases}
    if relations and relations <= _MADE_WITHOUT_TUNING and not datasets and not sentences:
        return _inherited(context, "finetuning_data")
    if not context.is_finetune and not datasets and not card_claims.TUNED.first(context.model.sentences):
        reason = "It is a base model: no fine-tuning is claimed."
        missing = "any fine-tuning to judge" if context.model.card_seen else "the text of the model card"
        return unknown("tuning.base-model", reason, missing)
    judgement = _judge(context, DatasetUse.TUNING, datasets, sentences)
    return _about(f"The fine-tuning of {context.model.id} itself", judgement) if context.is_finetune else judgement


def _about(part: str, judgement: Judgement) -> Judgement:
    """Return a judgement whose reason names the part that it speaks of."""
    return replace(judgement, reason=f"{part}: {judgement.reason}")


def _inherited(context: ModelContext, criterion_name: str) -> Judgement:
    """Return the judgement of the worst of a model's bases, in any order."""
    descendants = (*context.descendants, context.model.id.lower())
    parts = find_bases(context.evidence, context.model)
    parts = [part for part in parts if part.id.lower() not in descendants]
    judgements = [_judge_part(context, part, criterion_name) for part in parts]
    if not judgements:
        reason = "It was made from models that were made from it."
        return unknown("data.base-unseen", reason, "the model that all began with")
    worst = min(judgements, key=lambda judgement: (_RANK[judgement.verdict], judgement.confidence, judgement.reason))
    if len(judgements) == 1:
        return worst
    names = ", ".join(sorted(part.id for part in parts))
    return replace(worst, reason=f"Of its {len(parts)} parts ({names}) the worst counts. {worst.reason}")


def _judge_part(context: ModelContext, base: Ancestor, criterion_name: str) -> Judgement:
    is_tuning = criterion_name == "finetuning_data"
    part = f"The {'fine-tuning' if is_tuning else 'pre-training'} of its base {base.id}"
    base_context = context.of_base(base)
    if base_context is None:
        why = context.why_not_followed(base)
        reason = f"It was made from {base.id}, about which nothing was gathered{f': {why}' if why else ''}."
        return unknown("data.base-unseen", reason, f"the page of the base model {base.id}", evidence=(base.via,))
    finding = base_context.finding(criterion_name)
    verdict = finding.verdict
    # The parts of a chain name themselves: "The pre-training of its base X: …".
    reason = (
        finding.reason if finding.reason.startswith("The pre-training of its base") else f"{part}: {finding.reason}"
    )
    is_foreign = not same_owner(split_repo_id(base.id)[0], context.model.owner)
    public = [dataset for dataset in context.datasets_for(DatasetUse.PRETRAINING) if dataset.access is Access.PUBLIC]
    if verdict is CLOSED and is_foreign and public and not is_tuning:
        verdict, reason = PARTIAL, f"{reason} Its own further training data {public[0].id} are public."
    confidence = round(finding.confidence * (0.9 if base.stated else 0.7), 2)
    return Judgement(verdict, reason, "data.base", confidence, (base.via, *finding.evidence), finding.missing)


def _judge(context: ModelContext, use: DatasetUse, datasets: list[NamedDataset], sentences: list[str]) -> Judgement:
    """Judge the data sets of one use, with the card's sentences about that use."""
    rule = "data" if use is DatasetUse.PRETRAINING else "tuning"
    if not datasets:
        return _without_datasets(context, use, rule, sentences)
    names, proofs = _names(datasets), _proofs(datasets)
    public = [dataset for dataset in datasets if dataset.access is Access.PUBLIC]
    gated = [dataset for dataset in datasets if dataset.access is Access.GATED]
    gone = [dataset for dataset in datasets if dataset.access.is_gone]
    unseen = [dataset for dataset in datasets if dataset.access is Access.UNSEEN]
    if unseen and not public and not gated:
        missing = [f"whether the data set {dataset.id} exists and is free to take" for dataset in unseen]
        reason = f"It names {names}; whether the data can be had was not seen."
        return unknown(f"{rule}.unchecked", reason, *missing, evidence=proofs)
    if gone and not public and not gated:
        reason = " ".join(f"{dataset.id}, named as the data, {dataset.barrier}." for dataset in gone[:3])
        return Judgement(CLOSED, reason, f"{rule}.gone", 0.8, proofs)
    if shortfall := _find_shortfall(context, use, datasets, sentences):
        return shortfall
    is_checked = not unseen and all(dataset.page is not None and dataset.page.gated is False for dataset in public)
    reason = f"{names}: public and named as the data{_size_note(datasets, sentences, context.model.id)}."
    return Judgement(OPEN, reason, f"{rule}.public", 0.9 if is_checked else 0.75, proofs)


def _proofs(datasets: list[NamedDataset]) -> tuple[Proof, ...]:
    """Return the pages of data sets and the places that name them."""
    named = tuple(dataset.via for dataset in datasets if dataset.page is not None)
    return (*(dataset.proof for dataset in datasets), *named)


def _names(datasets: list[NamedDataset]) -> str:
    return ", ".join(dataset.id for dataset in datasets[:4]) + (" and more" if len(datasets) > 4 else "")


def _find_shortfall(
    context: ModelContext, use: DatasetUse, datasets: list[NamedDataset], sentences: list[str]
) -> Judgement | None:
    """Return why data sets that can be had are not the whole data, or None."""
    rule = "data" if use is DatasetUse.PRETRAINING else "tuning"
    model, names, proofs = context.model, _names(datasets), _proofs(datasets)
    says_complete = bool(card_claims.COMPLETE_DATA.first(sentences))
    further = card_claims.WITHHELD_DATA.first([*sentences, *_unassigned_sentences(context, use, sentences)])
    if not further and not says_complete:
        further = card_claims.INCOMPLETE_DATA.first(sentences)
    if further:
        further = columns.shorten(further, 200)
        reason = f"{names} can be had at least in part, but the card names more: “{further}”"
        return Judgement(PARTIAL, reason, f"{rule}.incomplete", 0.8, (model.proof(further, "readme"), *proofs))
    if barred := next((dataset for dataset in datasets if dataset.barrier), None):
        return Judgement(PARTIAL, f"{barred.id} {barred.barrier}.", f"{rule}.barred", 0.8, proofs)
    if sample := next((dataset for dataset in datasets if dataset.sample_sign), None):
        reason = f"{sample.id} is a sample, not the data: {sample.sample_sign}."
        return Judgement(PARTIAL, reason, f"{rule}.sample", 0.75, proofs)
    if gap := find_size_gap(datasets, sentences, model.id):
        reason = f"{names} cannot be the whole of the data: {gap}, in {MOST_EPOCHS} passes over them or fewer."
        return Judgement(PARTIAL, reason, f"{rule}.size", 0.75, proofs)
    if unchecked := _find_unchecked(use, datasets):
        reason = f"A part of {names} is public; whether {unchecked} can be had was not seen."
        return Judgement(PARTIAL, reason, f"{rule}.some-unchecked", 0.6, proofs)
    is_described = says_complete or any(dataset.is_stated for dataset in datasets)
    # The front matter of a fine-tune names its tuning sets; of other models it may name a part of the data.
    if not is_described and not (use is DatasetUse.TUNING and context.is_finetune and model.card_seen):
        reason = f"{names} can be had, but no sentence of the card was seen that says the model was trained on no more."
        return Judgement(PARTIAL, reason, f"{rule}.front-matter-only", 0.6, proofs)
    return None


def _find_unchecked(use: DatasetUse, datasets: list[NamedDataset]) -> str:
    """Return the first data set whose access was not seen, or ""."""
    public = [dataset for dataset in datasets if dataset.access is Access.PUBLIC]
    # A further part of the same owner's published mix is taken to be public like the rest of it.
    owners = [split_repo_id(dataset.id)[0] for dataset in public] if use is DatasetUse.PRETRAINING else []
    unseen = (dataset.id for dataset in datasets if dataset.access is Access.UNSEEN)
    return next((name for name in unseen if not any(same_owner(split_repo_id(name)[0], owner) for owner in owners)), "")


def _size_note(datasets: list[NamedDataset], sentences: list[str], model_id: str) -> str:
    """Return a clause about sizes not seen, where the card claims tokens."""
    unsized = [dataset.id for dataset in datasets if dataset.most_tokens(model_id) is None]
    claimed = card_claims.claimed_tokens(sentences)
    if claimed is None or not unsized:
        return ""
    return f"; size not known, so the {format_count(claimed)} tokens that the card claims were not checked"


def _unassigned_sentences(context: ModelContext, use: DatasetUse, sentences: list[str]) -> list[str]:
    """Return the further sentences that speak of this use of data.

    Those that say neither pre-training nor fine-tuning speak of the tuning of a fine-tune, else of the training.
    """
    is_tuning = use is DatasetUse.TUNING
    others = [text for text in context.model.sentences if text not in sentences]
    if is_tuning and context.is_finetune:
        return [text for text in others if not _PRETRAINING_SENTENCE.search(text)]
    if context.is_finetune:
        return []
    return [text for text in others if card_claims.TUNING.matches(text) is is_tuning]


def _without_datasets(context: ModelContext, use: DatasetUse, rule: str, sentences: list[str]) -> Judgement:
    """Judge by the card's sentences and the repositories where no data set is named."""
    model = context.model
    is_tuning = use is DatasetUse.TUNING
    kind = "fine-tuning" if is_tuning else "training"
    unassigned = _unassigned_sentences(context, use, sentences)
    if sentence := card_claims.WITHHELD_DATA.first([*sentences, *unassigned]):
        reason = f"The card gives no {kind} data: “{columns.shorten(sentence, 200)}”"
        return Judgement(CLOSED, reason, f"{rule}.withheld", 0.9, (model.sentence_proof(sentence, 200),))
    if sentence := card_claims.DATA_ON_REQUEST.first([*sentences, *unassigned]):
        reason = f"The {kind} data are given to those who ask: “{columns.shorten(sentence, 200)}”"
        return Judgement(PARTIAL, reason, f"{rule}.on-request", 0.7, (model.sentence_proof(sentence, 200),))
    if sentence := card_claims.COMPLETE_DATA.first(sentences):
        quote = columns.shorten(sentence, 160)
        reason = f"The card claims public {kind} data without naming a set that was found: “{quote}”"
        proofs = (model.sentence_proof(sentence, 160),)
        return unknown(f"{rule}.claimed", reason, f"a link to the {kind} data", evidence=proofs)
    if not is_tuning and (judgement := _by_preparation_code(context)):
        return judgement
    if not is_tuning and (sentence := card_claims.find_named_corpora(sentences)):
        reason = f"The card names public corpora, but not what was taken from them: “{columns.shorten(sentence, 200)}”"
        return Judgement(PARTIAL, reason, "data.named-only", 0.5, (model.sentence_proof(sentence, 200),))
    if not is_tuning and (sentence := card_claims.VAGUE_DATA.first(sentences)):
        quote = columns.shorten(sentence, 200)
        reason = f"The card describes its training data without naming a set anybody could get: “{quote}”"
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
