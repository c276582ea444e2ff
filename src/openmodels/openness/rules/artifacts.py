"""Rules about what comes with weights: training logs, checkpoints, report, card."""

from __future__ import annotations

import re

from openmodels.openness import card_claims
from openmodels.openness.criteria import criterion
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, Judgement, unknown
from openmodels.openness.model_context import ModelContext
from openmodels.openness.pages import Link

_STEP = re.compile(
    r"(?i)(?:step|ckpt|checkpoint|tokens?|iter(?:ation)?|epoch|stage|global_?step)[-_]?\d+|\d+[-_]?(?:steps?|b?tokens?"
    r"|k)$"
)
_LOG_HOST = re.compile(r"(?:^|\.)(?:wandb\.ai|comet\.com|comet\.ml|tensorboard\.dev|neptune\.ai|clear\.ml)$")
_LOG_FILE = re.compile(r"(?i)events\.out\.tfevents|(?:^|/)trainer_state\.json$|(?:^|/)(?:training|train)[-_]?logs?\b")
_CURVE = re.compile(r"(?i)(?:loss|train\w*)[-_]?curves?|(?:^|/)(?:train|all)_results\.json$")
_CHECKPOINT_LINK = re.compile(r"(?i)checkpoints|-ckpts?\b")
_REPORT = re.compile(r"(?i)\b(?:technical report|tech report|paper|report|arxiv|preprint|publication)\b")
_CITATION = re.compile(r"et al|\d{4}\b.*\)")
_MAX_OWN_PAPERS = 4
"""A card that names more papers cites other people's."""
_CARD_TOPICS = (
    r"intended|use[sd]?\b|usage",
    r"limitation|bias|risk|safety|out.of.scope",
    r"training (?:data|details|procedure|and)|pre-?training|dataset|\bdata\b",
    r"evaluat|benchmark|results|performance",
    r"hyper-?param|architecture|specification|compute|model (?:details|description|summary)",
    r"licen[cs]e|citation|contact|environment",
)


@criterion("training_metrics", "TensorBoard files, a trainer state, a public log")
def training_metrics(context: ModelContext) -> Judgement:
    """Judge whether the records of the training (losses over steps) are public."""
    for model in (context.model, *context.same_owner_bases):
        if link := next((link for link in model.links if _is_log(link)), None):
            proof = model.proof(f"the card links {link.text or 'logs'}", "readme", url=link.url)
            return Judgement(OPEN, f"The card links the training's log on {link.host}.", "metrics.link", 0.85, (proof,))
        if name := next((name for name in model.files if _LOG_FILE.search(name)), ""):
            reason = f"The repository holds the log {name}."
            return Judgement(OPEN, reason, "metrics.file", 0.85, (model.file_proof(name),))
        has_tab = model.data.get("training_metrics_tab") or "tensorboard" in model.tags
        if has_tab and ("runs" in model.folders or not model.files_complete):
            proof = model.proof("the Hub shows the training's TensorBoard", "training_metrics_tab")
            reason = "The Hub shows TensorBoard logs of the training."
            return Judgement(OPEN, reason, "metrics.tensorboard", 0.8, (proof,))
        if sentence := card_claims.TRAINING_LOGS.first(model.sentences):
            reason = f"The card points to public training logs: “{sentence[:160]}”"
            return Judgement(OPEN, reason, "metrics.said", 0.65, (model.sentence_proof(sentence, 200),))
    model = context.model
    if name := next((name for name in model.files if _CURVE.search(name)), ""):
        reason = f"Only a summary is published: {name}."
        return Judgement(PARTIAL, reason, "metrics.curve", 0.7, (model.file_proof(name),))
    if model.card_seen and model.files_complete:
        proof = model.proof("neither card nor files hold a training log", "siblings")
        return Judgement(CLOSED, "Neither the card nor the files hold a training log.", "metrics.none", 0.75, (proof,))
    missing = [] if model.card_seen else ["the links of the model card"]
    missing += [] if model.files_complete else ["the whole list of files"]
    return unknown("metrics.unseen", "No training log was found in what was seen.", *missing)


@criterion("checkpoints", "branches or a repository of intermediate checkpoints")
def checkpoints(context: ModelContext) -> Judgement:
    """Judge whether intermediate checkpoints are public."""
    for model in (context.model, *context.same_owner_bases):
        steps = [name for name in model.refs if _STEP.search(name)]
        if len(steps) >= 2:
            proof = model.proof(f"branches {', '.join(steps[:3])}", "refs", url=f"{model.url}/tree/{steps[0]}")
            reason = f"{len(steps)} branches hold checkpoints, as {steps[0]}."
            return Judgement(OPEN, reason, "checkpoints.refs", 0.9, (proof,))
        on_hub = (link.url for link in model.links if link.host == "huggingface.co")
        url = next((url for url in on_hub if _CHECKPOINT_LINK.search(url)), "")
        if url or model.checkpoint_repository:
            url = url or f"{model.site}{model.checkpoint_repository}"
            proof = model.proof("a repository of checkpoints", "checkpoint_repository", url=url)
            reason = "A repository of its own holds the checkpoints."
            return Judgement(OPEN, reason, "checkpoints.repository", 0.8, (proof,))
        if sentence := card_claims.CHECKPOINTS.first(model.sentences):
            reason = f"The card speaks of checkpoints: “{sentence[:160]}”"
            return Judgement(PARTIAL, reason, "checkpoints.said", 0.6, (model.sentence_proof(sentence, 200),))
    if context.model.refs_complete:
        proof = context.model.proof("no branch or tag is a checkpoint", "refs")
        return Judgement(CLOSED, "No branch or tag is named as a checkpoint.", "checkpoints.none", 0.8, (proof,))
    return unknown("checkpoints.unseen", "No checkpoint was seen among the branches seen.", "all branches and tags")


@criterion("technical_report", "a paper of its own")
def technical_report(context: ModelContext) -> Judgement:
    """Judge whether a paper or report describes the model."""
    model = context.model
    if link := next((link for link in model.links if _is_report(link)), None):
        proof = model.proof(f"the card links “{link.text}”", "readme", url=link.url)
        return Judgement(OPEN, "The card links a report.", "report.link", 0.85, (proof,))
    papers = model.papers
    proofs = tuple(
        model.proof(f"arXiv {paper}", "tags", url=f"https://arxiv.org/abs/{paper}")
        for paper in papers[:_MAX_OWN_PAPERS]
    )
    if papers and len(papers) <= _MAX_OWN_PAPERS:
        return Judgement(OPEN, f"The card names the paper arXiv {papers[0]}.", "report.arxiv", 0.7, proofs)
    if papers:
        reason = f"The card cites {len(papers)} papers; which is its own was not seen."
        return unknown("report.many", reason, "the model's own report", evidence=proofs)
    if model.card_seen:
        proof = model.proof("no paper or report is linked", "readme")
        return Judgement(CLOSED, "The card links no paper or report.", "report.none", 0.75, (proof,))
    reason = "No paper was seen, and the card was not seen as a whole."
    return unknown("report.unseen", reason, "the links of the model card")


@criterion("model_card", "headings for use, limits, data, evaluation and make-up")
def model_card(context: ModelContext) -> Judgement:
    """Judge whether the card covers use, limits, data, evaluation and make-up."""
    model = context.model
    if not model.headings:
        if model.card_missing:
            return Judgement(CLOSED, "There is no card.", "card.none", 0.95, (model.proof("no README.md", "siblings"),))
        return unknown("card.unseen", "The card's text was not seen.", "the text of the model card")
    headings = " | ".join(model.headings).lower()
    covered = sum(bool(re.search(pattern, headings)) for pattern in _CARD_TOPICS)
    proof = model.proof(f"headings: {', '.join(model.headings[:8])}", "readme")
    verdict = OPEN if covered >= 4 else PARTIAL if covered >= 1 else CLOSED
    reason = f"The card has headings for {covered} of {len(_CARD_TOPICS)} things a card should cover."
    return Judgement(verdict, reason, "card.headings", 0.6, (proof,))


def _is_log(link: Link) -> bool:
    if _LOG_HOST.search(link.host):
        return True
    is_hub_page = link.host == "huggingface.co" and bool(link.path)
    return is_hub_page and ("tensorboard" in link.path or link.path[-1] == "metrics")


def _is_report(link: Link) -> bool:
    is_document = "arxiv.org" in link.host or link.url.lower().endswith(".pdf") or _REPORT.search(link.text)
    return bool(is_document and _REPORT.search(f"{link.text} {link.url}")) and not _CITATION.search(link.text)
