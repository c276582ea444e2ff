"""Rules about code: file lists decide, links do not."""

from __future__ import annotations

import re
from collections.abc import Callable

from openmodels.openness.criteria import criterion
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, Judgement, Proof, unknown
from openmodels.openness.model_context import ModelContext
from openmodels.openness.repositories import Attribution, RelatedRepository
from openmodels.openness.repository_layout import find_evaluation_code, find_training_code

_NO_CODE = re.compile(
    r"(?i)\bno (?:\w+ )?(?:training|pre-?training|fine-?tuning) (?:code|scripts?)\b"
    r"|\bonly (?:an? )?(?:\w+ )?inference\b|\binference (?:folder|code|scripts?) only\b|\btraining (?:code"
    r"|scripts?)[^.;]{0,40}\bnot (?:be )?(?:released|available|public|open)"
)
_TRAINING_SCRIPT = re.compile(r"(?i)(?:^|/)(?:pre)?train(?:ing|er)?(?:_?script)?\.(?:py|sh)$|(?:^|/)train_[\w-]+\.py$")
_TRAINING_CONFIG = re.compile(r"data_config|train\w*config|config.*train")
_CONFIDENCE = {Attribution.CARD: 0.9, Attribution.NAMESAKE: 0.9, Attribution.OWNER: 0.8, Attribution.NAME: 0.7}

Paths = tuple[str, ...]
Selector = Callable[[RelatedRepository], Paths]
"""Selects the files of a repository that prove code of one kind."""


@criterion(
    "training_code",
    "a program that trains and a configuration or launcher for it, in a repository of the model",
)
def training_code(context: ModelContext) -> Judgement:
    """Judge the training code: a program and its configuration in a repository."""

    def complete(repository: RelatedRepository) -> Paths:
        return find_training_code(repository.layout, repository.subfolder)

    def partial(repository: RelatedRepository) -> Paths:
        layout = repository.layout
        return (*layout.training, *layout.launchers, *layout.tuning, *layout.tuning_configs)

    less = "only fine-tuning code, or a part of the training code"
    judgement = _judge_repositories(context, "training_code", complete, partial, "training code", less)
    model = context.model
    scripts = [name for name in model.files if _TRAINING_SCRIPT.search(name)]
    if not scripts or judgement.verdict in (OPEN, PARTIAL):
        return judgement
    configs = [name for name in model.files if _TRAINING_CONFIG.search(name)]
    proofs = tuple(model.file_proof(name) for name in (*scripts[:2], *configs[:1]))
    if configs:
        reason = f"The model's own repository holds {scripts[0]} and {configs[0]}."
        return Judgement(OPEN, reason, "training_code.files", 0.75, proofs)
    return Judgement(PARTIAL, f"The model's own repository holds {scripts[0]}.", "training_code.file", 0.6, proofs)


@criterion("finetuning_code", "tuning programs with recipes; notebooks for users are partial")
def finetuning_code(context: ModelContext) -> Judgement:
    """Judge the code for fine-tuning: scripts with recipes, not a notebook for users."""

    def complete(repository: RelatedRepository) -> Paths:
        tuning, recipes = repository.layout.tuning, repository.layout.tuning_configs
        recipes = tuple(path for path in recipes if path.startswith(repository.subfolder))
        if tuning and recipes and len({*tuning, *recipes}) > 1:
            return tuple(dict.fromkeys((tuning[0], recipes[-1])))
        return find_training_code(repository.layout) if context.foreign_base is not None else ()

    def partial(repository: RelatedRepository) -> Paths:
        layout = repository.layout
        return (*layout.tuning, *layout.tuning_configs, *layout.examples, *find_training_code(layout))

    less = "recipes without programs, or examples"
    return _judge_repositories(context, "finetuning_code", complete, partial, "fine-tuning code", less)


@criterion("evaluation_code", "several programs in a folder for evaluation; tables of results are partial")
def evaluation_code(context: ModelContext) -> Judgement:
    """Judge the code that evaluated the model."""
    judgement = _judge_repositories(
        context,
        "evaluation_code",
        lambda repository: find_evaluation_code(repository.layout),
        lambda repository: repository.layout.evaluation,
        "evaluation code",
        "a part of the evaluation code",
    )
    results = context.model.result_files
    if not results or judgement.verdict in (OPEN, PARTIAL):
        return judgement
    proofs = (*(context.model.file_proof(name) for name in results[:3]), *judgement.evidence)
    reason = "Results are published as files; the code that made them was not found."
    return Judgement(PARTIAL, reason, "evaluation_code.results", 0.5, proofs)


def _judge_repositories(  # noqa: PLR0917 - two selectors and their words
    context: ModelContext, rule: str, complete: Selector, partial: Selector, kind: str, less: str
) -> Judgement:
    """Judge by the surest of a model's repositories that holds complete code."""
    partly: Judgement | None = None
    for repository in context.repositories:
        confidence = _CONFIDENCE[repository.attribution]
        if paths := complete(repository):
            reason = f"{repository.name} holds {kind}: {', '.join(paths[:3])}."
            return Judgement(OPEN, reason, f"{rule}.tree", confidence, _path_proofs(repository, paths))
        if partly is None and (paths := partial(repository)[:3]):
            reason = f"{repository.name} holds {less}: {', '.join(paths[:2])}."
            proofs = _path_proofs(repository, paths)
            partly = Judgement(PARTIAL, reason, f"{rule}.tree-part", confidence - 0.1, proofs)
    return partly or _without_code(context, rule, kind)


def _without_code(context: ModelContext, rule: str, kind: str) -> Judgement:
    """Judge where no repository holds such code: denied, not seen, or not there."""
    model = context.model
    pages = {repository.name: repository.page for repository in context.repositories}
    unread = [name for name, page in pages.items() if not page.tree]
    read = [name for name in pages if name not in unread]
    cut = [name for name in read if not pages[name].complete]
    links = tuple(repository.via for repository in context.repositories)
    denial = next(filter(_NO_CODE.search, model.sentences), "")
    if denial and rule != "evaluation_code" and not cut:
        reason = f"No {kind} is published: “{denial[:200]}”"
        return Judgement(CLOSED, reason, f"{rule}.denied", 0.85, (model.sentence_proof(denial, 200), *links))
    if unread or cut:
        failures = {name: failed for name in unread if (failed := pages[name].data.get("failed"))}
        missing = [f"the file list of {name}" + (f" ({failures[name]})" if name in failures else "") for name in unread]
        missing += [f"the rest of the file list of {name}, which was cut" for name in cut]
        reason = f"No {kind} was found in what was seen; missing: {missing[0]}."
        return unknown(f"{rule}.tree-unseen", reason, *missing, evidence=links)
    if read:
        count = sum(len(page.tree) for page in pages.values())
        reason = f"{', '.join(read[:3])}: all {count} files were looked at, none is {kind}."
        return Judgement(CLOSED, reason, f"{rule}.tree-none", 0.85, links)
    if model.card_seen:
        proof = model.proof("no repository that the card links is the model's own", "readme")
        reason = f"The card links no repository of the model that could hold {kind}."
        return Judgement(CLOSED, reason, f"{rule}.no-link", 0.75, (proof,))
    reason = "No repository of the model was seen, and the card's links were not seen as a whole."
    missing = ["the links of the model card", "a repository of the model on GitHub"]
    return unknown(f"{rule}.card-unseen", reason, *missing)


def _path_proofs(repository: RelatedRepository, paths: Paths) -> tuple[Proof, ...]:
    """Return the files as evidence, then what ties the repository to the model."""
    return (*map(repository.page.file_proof, paths), repository.via)
