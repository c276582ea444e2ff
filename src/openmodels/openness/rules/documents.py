"""Rules about documents: the technical report and the model card."""

from __future__ import annotations

import re

from openmodels.openness.criteria import criterion
from openmodels.openness.findings import Judgement, Verdict, unknown
from openmodels.openness.model_context import ModelContext
from openmodels.openness.pages import Link

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


@criterion("technical_report", "a paper of its own")
def technical_report(context: ModelContext) -> Judgement:
    """Judge whether a paper or report describes the model."""
    model = context.model
    if link := next((link for link in model.links if _is_report(link)), None):
        proof = model.proof(f"the card links “{link.text}”", "readme", url=link.url)
        return Judgement(Verdict.OPEN, "The card links a report.", "report.link", 0.85, (proof,))
    papers = model.papers
    proofs = tuple(
        model.proof(f"arXiv {paper}", "tags", url=f"https://arxiv.org/abs/{paper}")
        for paper in papers[:_MAX_OWN_PAPERS]
    )
    if papers and len(papers) <= _MAX_OWN_PAPERS:
        reason = f"The card names the paper arXiv {papers[0]}."
        return Judgement(Verdict.OPEN, reason, "report.arxiv", 0.7, proofs)
    if papers:
        reason = f"The card cites {len(papers)} papers; which is its own was not seen."
        return unknown("report.many", reason, "the model's own report", evidence=proofs)
    if model.card_seen:
        proof = model.proof("no paper or report is linked", "readme")
        return Judgement(Verdict.CLOSED, "The card links no paper or report.", "report.none", 0.75, (proof,))
    reason = "No paper was seen, and the card was not seen as a whole."
    return unknown("report.unseen", reason, "the links of the model card")


@criterion("model_card", "headings for use, limits, data, evaluation and make-up")
def model_card(context: ModelContext) -> Judgement:
    """Judge whether the card covers use, limits, data, evaluation and make-up."""
    model = context.model
    if not model.headings:
        if model.card_missing:
            proof = model.proof("no README.md", "siblings")
            return Judgement(Verdict.CLOSED, "There is no card.", "card.none", 0.95, (proof,))
        return unknown("card.unseen", "The card's text was not seen.", "the text of the model card")
    headings = " | ".join(model.headings).lower()
    covered = sum(bool(re.search(pattern, headings)) for pattern in _CARD_TOPICS)
    proof = model.proof(f"headings: {', '.join(model.headings[:8])}", "readme")
    verdict = Verdict.OPEN if covered >= 4 else Verdict.PARTIAL if covered >= 1 else Verdict.CLOSED
    reason = f"The card has headings for {covered} of {len(_CARD_TOPICS)} things a card should cover."
    return Judgement(verdict, reason, "card.headings", 0.6, (proof,))


def _is_report(link: Link) -> bool:
    is_document = "arxiv.org" in link.host or link.url.lower().endswith(".pdf") or _REPORT.search(link.text)
    return bool(is_document and _REPORT.search(f"{link.text} {link.url}")) and not _CITATION.search(link.text)
