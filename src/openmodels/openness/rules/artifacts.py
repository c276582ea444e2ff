"""Rules about what comes with weights: training logs, checkpoints, report, card."""

import re
from collections import Counter

from openmodels import columns
from openmodels.hub.model_names import family, mentions, normalize_name, same_owner, strip_version
from openmodels.openness import card_claims
from openmodels.openness.criteria import criterion
from openmodels.openness.evidence_pages import Citation, Link, ModelEvidence, RepositoryEvidence, find_arxiv_ids
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, Judgement, Proof, unknown
from openmodels.openness.model_context import ModelContext
from openmodels.openness.repositories import parse_model_name

_STEP = re.compile(
    r"(?i)(?:step|ckpt|checkpoint|tokens?|iter(?:ation)?|epoch|stage|global_?step)[-_]?\d+|\d+[-_]?(?:steps?"
    r"|b?tokens?"
    r"|k)$"
)
_LOG_HOST = re.compile(r"(?:^|\.)(?:wandb\.ai|comet\.com|comet\.ml|tensorboard\.dev|neptune\.ai|clear\.ml)$")
_LOG_FILE = re.compile(r"(?i)events\.out\.tfevents|(?:^|/)trainer_state\.json$|(?:^|/)(?:training|train)[-_]?logs?\b")
_CURVE = re.compile(r"(?i)(?:loss|train\w*)[-_]?curves?|(?:^|/)(?:train|all)_results\.json$")
_CHECKPOINT_LINK = re.compile(r"(?i)checkpoints|-ckpts?\b")
_REPORT = re.compile(r"(?i)\b(?:technical report|tech report|paper|report|arxiv|preprint|publication)\b")
_CITATION = re.compile(r"et al|\d{4}\b.*\)")
_MAX_OWN_PAPERS = 4  # a card that names more papers cites other people's
_MONTHS_EARLIER = 3  # a model's own paper comes out at most as many months before it; papers of methods are older
_MONTHS_LATER = 18  # a model's own paper may follow as many months later
_METHOD_SECTION = re.compile(
    r"(?i)\bmethod|\bapproach|\btechnique|\barchitecture|\btraining\b|\bfine-?tun|\bevaluat|\bbenchmark|\bdata\b"
    r"|\bdataset"
    r"|\backnowledg|\brelated|\breferences?\b|\bimplementation|\bframework|\bhyper-?param|\bcitations?\b|\bcredits\b"
)
_PLAIN_WORDS = re.compile(
    r"(?i)\b(?:technical|tech|research|full|original|official|the|our|this|a|paper|report"
    r"|arxiv(?:[: ]*\d{4}\.\d{4,5})?|pre-?print"
    r"|publication|link|pdf|read|see|here|more|for|details|in|at|on|of|and|to|check|out|is|available|view|model"
    r"|release|v\d+)\b"
)
_NOT_ONLY_PAPER = re.compile(r"[^\W\d_]")
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
            reason = f"The card points to public training logs: “{columns.shorten(sentence, 160)}”"
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
            reason = f"{len(steps)} branches hold checkpoints, such as {steps[0]}."
            return Judgement(OPEN, reason, "checkpoints.refs", 0.9, (proof,))
        on_hub = (link.url for link in model.links if link.host == "huggingface.co")
        url = next((url for url in on_hub if _CHECKPOINT_LINK.search(url)), "")
        if url or model.checkpoint_repository:
            url = url or f"{model.site}{model.checkpoint_repository}"
            proof = model.proof("a repository of checkpoints", "checkpoint_repository", url=url)
            reason = "A repository of its own holds the checkpoints."
            return Judgement(OPEN, reason, "checkpoints.repository", 0.8, (proof,))
        if sentence := card_claims.CHECKPOINTS.first(model.sentences):
            reason = f"The card speaks of checkpoints: “{columns.shorten(sentence, 160)}”"
            return Judgement(PARTIAL, reason, "checkpoints.said", 0.6, (model.sentence_proof(sentence, 200),))
    if context.model.refs_complete:
        proof = context.model.proof("no branch or tag is a checkpoint", "refs")
        return Judgement(CLOSED, "No branch or tag is named as a checkpoint.", "checkpoints.none", 0.8, (proof,))
    return unknown("checkpoints.unseen", "No checkpoint was seen among the branches seen.", "all branches and tags")


@criterion("technical_report", "a paper of its own: by its title, its authors, or the card's own words")
def technical_report(context: ModelContext) -> Judgement:
    """Judge whether a paper or report describes the model.

    Cards link the papers of methods, data and benchmarks too: a link alone proves nothing.
    """
    model = context.model
    # A fine-tune's card names the paper of its base: that one describes the base.
    strangers = [base.page for base in context.bases if base.page and not same_owner(base.owner, model.owner)]
    foreign_papers = {paper for stranger in strangers for paper in stranger.papers}
    reports = [link for link in model.links if _is_report(link) and not foreign_papers & set(find_arxiv_ids(link.url))]
    if link := next((link for link in reports if _is_own_report(context, link)), None):
        proof = model.proof(f"the card links “{link.text}”", "readme", url=link.url)
        return Judgement(OPEN, f"The card links its report as “{link.text}”.", "report.link", 0.85, (proof,))
    pages: list[ModelEvidence | RepositoryEvidence] = [model]
    pages += [repository.page for repository in context.repositories if repository.is_dedicated]
    for page in pages:
        citations = (entry for entry in page.citations if _is_own_citation(context, entry, foreign_papers))
        if citation := next(citations, None):
            where = "card" if page is model else f"README of {page.id}"
            proof = page.proof(f"the {where} cites “{citation.title}”", "readme", url=_arxiv_url(citation.arxiv))
            reason = f"The {where} names its own report, “{citation.title}”."
            return Judgement(OPEN, reason, "report.cited", 0.8, (proof,))
    papers = [paper for paper in model.papers if paper not in foreign_papers]
    own_words = card_claims.OWN_PAPER.first(model.sentences)
    if len(papers) == 1 and own_words:
        reason = f"The card names the paper arXiv {papers[0]} as its own: “{columns.shorten(own_words, 160)}”"
        return Judgement(OPEN, reason, "report.arxiv", 0.75, _paper_proofs(model, papers))
    contemporary = [paper for paper in papers if _came_with(model, paper)]
    if len(contemporary) == 1 and len(papers) <= _MAX_OWN_PAPERS and not reports and not context.foreign_base:
        reason = f"Of the papers that the card names, arXiv {contemporary[0]} alone is as new as the model."
        return Judgement(OPEN, reason, "report.arxiv", 0.6, _paper_proofs(model, contemporary))
    if papers or reports:
        named = [f"arXiv {paper}" for paper in papers] or [f"“{link.text}”" for link in reports]
        shown = ", ".join(named[:_MAX_OWN_PAPERS]) + (" and more" if len(named) > _MAX_OWN_PAPERS else "")
        which = "it" if len(named) == 1 else "one of them"
        reason = f"The card names {shown}; nothing seen says that {which} describes this model."
        missing = "the title or the authors of the model's own report"
        return unknown("report.others", reason, missing, evidence=_paper_proofs(model, papers))
    if model.card_seen:
        proof = model.proof("no paper or report of its own is linked", "readme")
        return Judgement(CLOSED, "The card links no paper or report of its own.", "report.none", 0.75, (proof,))
    reason = "No paper was seen, and the card was not seen as a whole."
    return unknown("report.unseen", reason, "the links of the model card")


@criterion("model_card", "sections, not left empty, about use, limits, data, evaluation and make-up")
def model_card(context: ModelContext) -> Judgement:
    """Judge whether the card covers use, limits, data, evaluation and make-up."""
    model = context.model
    if model.card_missing:
        return Judgement(CLOSED, "There is no card.", "card.none", 0.95, (model.proof("no README.md", "siblings"),))
    if not model.headings and not model.card_seen:
        return unknown("card.unseen", "The card's text was not seen.", "the text of the model card")
    written = _written_headings(model)
    headings = " | ".join(written).lower()
    covered = sum(bool(re.search(pattern, headings)) for pattern in _CARD_TOPICS)
    if not covered and model.empty_headings:
        empty = ", ".join(model.empty_headings[:8])
        proof = model.proof(f"sections without text: {empty}", "readme")
        reason = f"The card is a template that was not filled in: {len(model.empty_headings)} sections are empty."
        return Judgement(CLOSED, reason, "card.template", 0.9, (proof,))
    proof = model.proof(f"headings: {', '.join(written[:8])}" if written else "a card without headings", "readme")
    verdict = OPEN if covered >= 4 else PARTIAL if covered >= 1 else CLOSED
    reason = f"The card has headings for {covered} of {len(_CARD_TOPICS)} things a card should cover."
    if model.empty_headings:
        reason += f" Empty sections: {', '.join(model.empty_headings[:12])}."
    return Judgement(verdict, reason, "card.headings", 0.6, (proof,))


def _written_headings(model: ModelEvidence) -> list[str]:
    """Return the headings under which something is written."""
    left_out = Counter(model.empty_headings)
    written = []
    for heading in model.headings:
        if left_out[heading]:
            left_out[heading] -= 1
        else:
            written.append(heading)
    return written


def _is_log(link: Link) -> bool:
    if _LOG_HOST.search(link.host):
        return True
    is_hub_page = link.host == "huggingface.co" and bool(link.path)
    return is_hub_page and ("tensorboard" in link.path or link.path[-1] == "metrics")


def _is_report(link: Link) -> bool:
    is_document = "arxiv.org" in link.host or link.url.lower().endswith(".pdf") or _REPORT.search(link.text)
    return bool(is_document and _REPORT.search(f"{link.text} {link.url}")) and not _CITATION.search(link.text)


def _is_own_report(context: ModelContext, link: Link) -> bool:
    """Return whether a link leads to the model's own report.

    It does where its words, its file or its title name the model or its makers, where they say no more than
    "paper" outside of a section about methods, and where the card's words before it say "our".
    """
    text = re.sub(r"https?://\S+", " ", link.text)
    if _names_model(context, f"{text} {link.url.rpartition('/')[2]}") or card_claims.OWN_PAPER.matches(text):
        return True
    if _METHOD_SECTION.search(link.section):
        return False
    before = re.split(r"[.!?]\s|[|•]", link.before)[-1]
    if _names_model(context, before) or card_claims.OWN_PAPER.matches(f"{before} {text}"):
        return True
    return not _NOT_ONLY_PAPER.search(_PLAIN_WORDS.sub(" ", f"{before} {text}"))


def _is_own_citation(context: ModelContext, citation: Citation, foreign_papers: set[str]) -> bool:
    if citation.arxiv in foreign_papers:
        return False
    owner = context.model.owner
    if same_owner(citation.organization, owner) or _is_author(owner, citation.authors):
        return True
    return _names_model(context, citation.title)


def _is_author(owner: str, authors: str) -> bool:
    """Return whether the name of an author begins with that of an account.

    "Acme Team" is an author's name for acme.
    """
    names = (name.partition(",") for name in re.split(r"\s+and\s+", authors))
    written = (
        normalize_name(re.sub(r"(?i)^\W*the\b", "", f"{first_name} {surname}")) for surname, _, first_name in names
    )
    account = normalize_name(owner)
    return len(account) >= 3 and any(name.startswith(account) for name in written)


def _names_model(context: ModelContext, text: str) -> bool:
    """Return whether a title names the model's family or its organisation."""
    model = context.model
    name, owner = parse_model_name(model), normalize_name(model.owner)
    names = {family(model.id), name.stem}
    names -= {family(base.id) for base in context.bases if not same_owner(base.owner, model.owner)}
    if model.page.model_type and not name.is_architecture:
        # In "Llama-3-Cosy" the name of an architecture stands for the work of others.
        names = {word for word in names if strip_version(word) != strip_version(model.page.model_type)}
    names.add(owner)
    names |= set(map(strip_version, names))
    return any(len(word) >= 3 and mentions(text, word) for word in names)


def _came_with(model: ModelEvidence, paper: str) -> bool:
    """Return whether a paper on arXiv came out about when the model did, or later.

    What a model was made with is older than the model: a paper that its card names later is about it.
    """
    created = re.match(r"20(\d{2})-(\d{2})", str(model.data.get("createdAt") or model.data.get("createdAtDate") or ""))
    published = re.match(r"(\d{2})(\d{2})\.", paper)
    if created is None or published is None:
        return False
    months = (int(created[1]) - int(published[1])) * 12 + int(created[2]) - int(published[2])
    return -_MONTHS_LATER <= months <= _MONTHS_EARLIER


def _paper_proofs(model: ModelEvidence, papers: list[str]) -> tuple[Proof, ...]:
    return tuple(model.proof(f"arXiv {paper}", "tags", url=_arxiv_url(paper)) for paper in papers[:_MAX_OWN_PAPERS])


def _arxiv_url(paper: str) -> str | None:
    return f"https://arxiv.org/abs/{paper}" if paper else None
