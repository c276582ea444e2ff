"""The rules about weights, records and documents, and the judge that runs all rules.

A rule is a function from a case to a finding. It says `open` only on strong evidence, `closed` only
with a reason, and otherwise `unknown` with what was missing.
"""

from __future__ import annotations

import re

from openmodels.openness import card_claims
from openmodels.openness.findings import Criterion, Finding, Proof, Verdict, unknown
from openmodels.openness.model_context import Case
from openmodels.openness.pages import Link, ModelEvidence
from openmodels.openness.rules.code import evaluation_code, finetuning_code, training_code
from openmodels.openness.rules.data import finetuning_data, training_data
from openmodels.openness.rules.license import license_all_parts, license_of_weights

_ADAPTER = re.compile(r"(?:^|/)adapter_(?:model|config)", re.IGNORECASE)
_QUANTIZED = re.compile(r"\.(?:gguf|ggml)$|gptq|awq", re.IGNORECASE)
_SHARD = re.compile(r"-(\d{5,6})-of-(\d{5,6})\.")
_STEP = re.compile(
    r"(?:step|ckpt|checkpoint|tokens?|iter(?:ation)?|epoch|stage|global_?step)[-_]?\d+|\d+[-_]?(?:steps?|b?tokens?|k)$",
    re.IGNORECASE,
)
_LOG_HOST = re.compile(r"(?:^|\.)(?:wandb\.ai|comet\.com|comet\.ml|tensorboard\.dev|neptune\.ai|clear\.ml)$")
_LOG_FILE = re.compile(
    r"events\.out\.tfevents|(?:^|/)trainer_state\.json$|(?:^|/)(?:training|train)[-_]?logs?\b", re.IGNORECASE
)
_CURVE = re.compile(r"(?:loss|train\w*)[-_]?curves?|(?:^|/)(?:train|all)_results\.json$", re.IGNORECASE)
_REPORT = re.compile(r"\b(?:technical report|tech report|paper|report|arxiv|preprint|publication)\b", re.IGNORECASE)
_MANY_PAPERS = 4


def judge(case: Case) -> list[Finding]:
    """Return one finding per criterion, in the order of `Criterion`."""
    terms = license_of_weights(case)
    return [
        training_data(case),
        finetuning_data(case),
        weights(case),
        training_code(case),
        finetuning_code(case),
        evaluation_code(case),
        training_metrics(case),
        checkpoints(case),
        technical_report(case),
        model_card(case),
        terms,
        license_all_parts(case, terms),
    ]


def weights(case: Case) -> Finding:
    """Judge whether anybody can download the whole model."""
    criterion, model = Criterion.WEIGHTS, case.model
    files = model.weight_files
    there = bool(files or model.parameters or model.weight_tags)
    proofs = _weight_proofs(model, files)
    if model.data.get("private") or model.data.get("disabled"):
        return Finding(
            criterion,
            Verdict.CLOSED,
            "The repository is private or disabled.",
            "weights.private",
            0.95,
            (model.proof("private"),),
        )
    if model.gated in ("auto", "manual"):
        how = "after a click" if model.gated == "auto" else "after a request that somebody reviews"
        proofs = (model.proof(f"gated: {model.gated}", "gated"), *proofs)
        return Finding(criterion, Verdict.PARTIAL, f"The weights can be had only {how}.", "weights.gated", 0.95, proofs)
    if not there:
        if model.files_complete:
            reason = "The repository holds no file of parameters."
            return Finding(
                criterion, Verdict.CLOSED, reason, "weights.no-files", 0.9, (model.proof("no weights", "siblings"),)
            )
        return unknown(criterion, "weights.files-unseen", "No file of parameters was seen.", "the whole list of files")
    if model.gated is None:
        return unknown(
            criterion,
            "weights.gate-unseen",
            "Whether access is gated was not seen.",
            "whether access is gated",
            evidence=proofs,
        )
    if files and all(_ADAPTER.search(name) for name in files) and not model.parameters:
        return Finding(criterion, Verdict.PARTIAL, "Only an adapter is published.", "weights.adapter", 0.9, proofs)
    if model.files_complete and (gap := _missing_shard(files)):
        return Finding(criterion, Verdict.PARTIAL, f"{gap} is missing.", "weights.shards", 0.8, proofs)
    if model.files_complete and files and all(_QUANTIZED.search(name) for name in files):
        return Finding(
            criterion, Verdict.PARTIAL, "Only quantised weights are published.", "weights.quantised", 0.8, proofs
        )
    if not files and not model.parameters and checkpoints(case).verdict is not Verdict.OPEN:
        # The Hub derives the tag from files, but these may be gone since: something else must bear it out.
        return unknown(
            criterion,
            "weights.tag-only",
            f"The Hub tags the format {model.weight_tags[0]}, but no file of parameters was seen.",
            "a file of parameters in the list of files",
            evidence=proofs,
        )
    sure = 0.95 if files else 0.85 if model.parameters else 0.65
    proofs = (*proofs, model.proof("gated: no", "gated"))
    return Finding(criterion, Verdict.OPEN, "Anybody can download the parameters.", "weights.public", sure, proofs)


def training_metrics(case: Case) -> Finding:
    """Judge whether the records of the training (losses over steps) are public."""
    criterion = Criterion.TRAINING_METRICS
    for model in (case.model, *case.own_bases):
        if link := next((link for link in model.links if _is_log(link)), None):
            proof = model.proof(f"the card links {link.text or 'logs'}", "readme", url=link.url)
            return Finding(
                criterion,
                Verdict.OPEN,
                f"The card links the training's log on {link.host}.",
                "metrics.link",
                0.85,
                (proof,),
            )
        if name := next((name for name in model.files if _LOG_FILE.search(name)), ""):
            proof = model.proof(name, "siblings", url=f"{model.url}/blob/main/{name}")
            return Finding(
                criterion, Verdict.OPEN, f"The repository holds the log {name}.", "metrics.file", 0.85, (proof,)
            )
        shown = model.data.get("training_metrics_tab") or "tensorboard" in model.tags
        if shown and ("runs" in model.folders or not model.files_complete):
            proof = model.proof("the Hub shows the training's TensorBoard", "training_metrics_tab")
            return Finding(
                criterion,
                Verdict.OPEN,
                "The Hub shows TensorBoard logs of the training.",
                "metrics.tensorboard",
                0.8,
                (proof,),
            )
        if said := card_claims.logs(model.statements):
            proof = model.proof(f"the card says: {said[:200]}", "readme")
            return Finding(
                criterion,
                Verdict.OPEN,
                f"The card points to public training logs: “{said[:160]}”",
                "metrics.said",
                0.65,
                (proof,),
            )
    if name := next((name for name in case.model.files if _CURVE.search(name)), ""):
        proof = case.model.proof(name, "siblings", url=f"{case.model.url}/blob/main/{name}")
        return Finding(
            criterion, Verdict.PARTIAL, f"Only a summary is published: {name}.", "metrics.curve", 0.7, (proof,)
        )
    if case.model.card_seen and case.model.files_complete:
        proof = case.model.proof("neither card nor files hold a training log", "siblings")
        return Finding(
            criterion,
            Verdict.CLOSED,
            "Neither the card nor the files hold a training log.",
            "metrics.none",
            0.75,
            (proof,),
        )
    missing = [] if case.model.card_seen else ["the links of the model card"]
    missing += [] if case.model.files_complete else ["the whole list of files"]
    return unknown(criterion, "metrics.unseen", "No training log was found in what was seen.", *missing)


def checkpoints(case: Case) -> Finding:
    """Judge whether intermediate checkpoints are public."""
    criterion = Criterion.CHECKPOINTS
    for model in (case.model, *case.own_bases):
        steps = [name for name in model.refs if _STEP.search(name)]
        if len(steps) >= 2:
            proof = model.proof(f"branches {', '.join(steps[:3])}", "refs", url=f"{model.url}/tree/{steps[0]}")
            return Finding(
                criterion,
                Verdict.OPEN,
                f"{len(steps)} branches hold checkpoints, as {steps[0]}.",
                "checkpoints.refs",
                0.9,
                (proof,),
            )
        link = next(
            (
                link
                for link in model.links
                if link.host == "huggingface.co" and re.search(r"checkpoints|-ckpts?\b", link.url, re.IGNORECASE)
            ),
            None,
        )
        if link or model.named_elsewhere:
            url = link.url if link else f"{model.site}{model.named_elsewhere}"
            proof = model.proof("a repository of checkpoints", "checkpoint_repository", url=url)
            return Finding(
                criterion,
                Verdict.OPEN,
                "A repository of its own holds the checkpoints.",
                "checkpoints.repository",
                0.8,
                (proof,),
            )
        if said := card_claims.many_checkpoints(model.statements):
            proof = model.proof(f"the card says: {said[:200]}", "readme")
            return Finding(
                criterion,
                Verdict.PARTIAL,
                f"The card speaks of checkpoints: “{said[:160]}”",
                "checkpoints.said",
                0.6,
                (proof,),
            )
    if case.model.refs_complete:
        proof = case.model.proof("no branch or tag is a checkpoint", "refs")
        return Finding(
            criterion, Verdict.CLOSED, "No branch or tag is named as a checkpoint.", "checkpoints.none", 0.8, (proof,)
        )
    return unknown(
        criterion, "checkpoints.unseen", "No checkpoint was seen among the branches seen.", "all branches and tags"
    )


def technical_report(case: Case) -> Finding:
    """Judge whether a paper or report describes the model."""
    criterion, model = Criterion.TECHNICAL_REPORT, case.model
    for link in model.links:
        papery = "arxiv.org" in link.host or link.url.lower().endswith(".pdf") or _REPORT.search(link.text)
        if papery and _REPORT.search(f"{link.text} {link.url}") and not re.search(r"et al|\d{4}\b.*\)", link.text):
            proof = model.proof(f"the card links “{link.text}”", "readme", url=link.url)
            return Finding(criterion, Verdict.OPEN, "The card links a report.", "report.link", 0.85, (proof,))
    papers = model.papers
    proofs = tuple(model.proof(f"arXiv {one}", "tags", url=f"https://arxiv.org/abs/{one}") for one in papers)
    if papers and len(papers) <= _MANY_PAPERS:
        return Finding(
            criterion, Verdict.OPEN, f"The card names the paper arXiv {papers[0]}.", "report.arxiv", 0.7, proofs[:4]
        )
    if papers:
        return unknown(
            criterion,
            "report.many",
            f"The card cites {len(papers)} papers; which is its own was not seen.",
            "the model's own report",
            evidence=proofs[:4],
        )
    if model.card_seen:
        proof = model.proof("no paper or report is linked", "readme")
        return Finding(criterion, Verdict.CLOSED, "The card links no paper or report.", "report.none", 0.75, (proof,))
    return unknown(
        criterion,
        "report.unseen",
        "No paper was seen, and the card was not seen as a whole.",
        "the links of the model card",
    )


_CARD_PARTS = (
    r"intended|use[sd]?\b|usage",
    r"limitation|bias|risk|safety|out.of.scope",
    r"training (?:data|details|procedure|and)|pre-?training|dataset|\bdata\b",
    r"evaluat|benchmark|results|performance",
    r"hyper-?param|architecture|specification|compute|model (?:details|description|summary)",
    r"licen[cs]e|citation|contact|environment",
)


def model_card(case: Case) -> Finding:
    """Judge whether the card covers use, limits, data, evaluation and make-up."""
    criterion, model = Criterion.MODEL_CARD, case.model
    if not model.headings:
        if model.files_complete and not any(name.lower() == "readme.md" for name in model.files):
            return Finding(
                criterion,
                Verdict.CLOSED,
                "There is no card.",
                "card.none",
                0.95,
                (model.proof("no README.md", "siblings"),),
            )
        return unknown(criterion, "card.unseen", "The card's text was not seen.", "the text of the model card")
    text = " | ".join(model.headings).lower()
    covered = sum(bool(re.search(pattern, text)) for pattern in _CARD_PARTS)
    proof = model.proof(f"headings: {', '.join(model.headings[:8])}", "readme")
    verdict = Verdict.OPEN if covered >= 4 else Verdict.PARTIAL if covered >= 1 else Verdict.CLOSED
    reason = f"The card has headings for {covered} of {len(_CARD_PARTS)} things a card should cover."
    return Finding(criterion, verdict, reason, "card.headings", 0.6, (proof,))


def _weight_proofs(model: ModelEvidence, files: list[str]) -> tuple[Proof, ...]:
    found = []
    if files:
        found.append(
            model.proof(f"{len(files)} files of parameters, as {files[0]}", "siblings", url=f"{model.url}/tree/main")
        )
    if model.parameters:
        found.append(model.proof(f"{model.parameters:,} parameters in safetensors files", "safetensors"))
    if model.weight_tags:
        found.append(model.proof(f"tagged by the Hub: {', '.join(model.weight_tags)}", "tags"))
    return tuple(found)


def _missing_shard(files: list[str]) -> str:
    """Return the name of a shard that should be there and is not, or ""."""
    for name in files:
        if found := _SHARD.search(name):
            width, count = len(found.group(1)), int(found.group(2))
            for number in range(1, min(count, 2000) + 1):
                wanted = f"{name[: found.start()]}-{number:0{width}d}-of-{found.group(2)}.{name[found.end() :]}"
                zero = f"{name[: found.start()]}-{0:0{width}d}-of-{found.group(2)}.{name[found.end() :]}"
                if wanted not in files and zero not in files:
                    return wanted
    return ""


def _is_log(link: Link) -> bool:
    if _LOG_HOST.search(link.host):
        return True
    return (
        link.host == "huggingface.co"
        and bool(link.path)
        and ("tensorboard" in link.path or link.path[-1:] == ["metrics"])
    )
