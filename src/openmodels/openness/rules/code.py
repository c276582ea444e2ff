"""Rules about code: training, fine-tuning, evaluation. Trees decide, links do not."""

from __future__ import annotations

import re
from collections.abc import Callable

from openmodels.openness import repository_layout
from openmodels.openness.findings import Criterion, Finding, Proof, Verdict, unknown
from openmodels.openness.model_context import Case
from openmodels.openness.repositories import Related, Tie
from openmodels.openness.repository_layout import Tree

_NO_CODE = re.compile(
    r"\bno (?:\w+ )?(?:training|pre-?training|fine-?tuning) (?:code|scripts?)\b|\bonly (?:an? )?(?:\w+ )?inference\b"
    r"|\binference (?:folder|code|scripts?) only\b|\btraining (?:code"
    r"|scripts?)[^.;]{0,40}\bnot (?:be )?(?:released|available|public|open)",
    re.IGNORECASE,
)
_RESULTS = re.compile(
    r"(?:^|/)(?:eval|evaluation|results?|all_results|benchmark)[\w.-]*\.(?:json|csv|yaml|yml)$", re.IGNORECASE
)
_SCRIPT_HERE = re.compile(
    r"(?:^|/)(?:pre)?train(?:ing|er)?(?:_?script)?\.(?:py|sh)$|(?:^|/)train_[\w-]+\.py$", re.IGNORECASE
)
_SURE = {Tie.CARD: 0.9, Tie.NAMESAKE: 0.9, Tie.OWNER: 0.8, Tie.NAME: 0.7}

Paths = tuple[str, ...]


def training_code(case: Case) -> Finding:
    """Judge the code that trained the model: a program and its configuration in a tree."""
    criterion = Criterion.TRAINING_CODE

    def whole(one: Related, tree: Tree) -> Paths:
        return repository_layout.trains(tree, one.below)

    def part(_: Related, tree: Tree) -> Paths:
        return (*tree.training, *tree.launchers, *tree.tuning, *tree.tuning_configs)[:3]

    here = [name for name in case.model.files if _SCRIPT_HERE.search(name)]
    found = _by_trees(
        case, criterion, whole, part, "training code", "only fine-tuning code, or a part of the training code"
    )
    if here and found.verdict in (Verdict.UNKNOWN, Verdict.CLOSED):
        settings = [name for name in case.model.files if re.search(r"data_config|train\w*config|config.*train", name)]
        proofs = tuple(_here(case, name) for name in (*here[:2], *settings[:1]))
        if settings:
            reason = f"The model's own repository holds {here[0]} and {settings[0]}."
            return Finding(criterion, Verdict.OPEN, reason, "training_code.files", 0.75, proofs)
        return Finding(
            criterion,
            Verdict.PARTIAL,
            f"The model's own repository holds {here[0]}.",
            "training_code.file",
            0.6,
            proofs,
        )
    return found


def finetuning_code(case: Case) -> Finding:
    """Judge the code for fine-tuning: scripts with recipes, not a notebook for users."""

    def whole(one: Related, tree: Tree) -> Paths:
        recipes = (
            [path for path in tree.tuning_configs if path.startswith(one.below)]
            if one.below
            else list(tree.tuning_configs)
        )
        if tree.tuning and len({*tree.tuning, *recipes}) > 1 and recipes:
            return tuple(dict.fromkeys((tree.tuning[0], recipes[-1])))
        return repository_layout.trains(tree) if case.foreign_base is not None else ()

    def part(_: Related, tree: Tree) -> Paths:
        return (*tree.tuning, *tree.tuning_configs, *tree.examples, *repository_layout.trains(tree))[:3]

    return _by_trees(
        case, Criterion.FINETUNING_CODE, whole, part, "fine-tuning code", "recipes without programs, or examples"
    )


def evaluation_code(case: Case) -> Finding:
    """Judge the code that evaluated the model."""
    criterion = Criterion.EVALUATION_CODE

    def whole(_: Related, tree: Tree) -> Paths:
        return repository_layout.evaluates(tree)

    def part(_: Related, tree: Tree) -> Paths:
        return tuple(path for path in tree.evaluation if not path.endswith("__init__.py"))[:3]

    found = _by_trees(case, criterion, whole, part, "evaluation code", "a part of the evaluation code")
    results = [name for name in case.model.files if _RESULTS.search(name)]
    if results and found.verdict in (Verdict.UNKNOWN, Verdict.CLOSED):
        proofs = tuple(_here(case, name) for name in results[:3])
        reason = "Results are published as files; the code that made them was not found."
        return Finding(criterion, Verdict.PARTIAL, reason, "evaluation_code.results", 0.5, (*proofs, *found.evidence))
    return found


def _by_trees(  # noqa: PLR0917 - two callables and their words
    case: Case,
    criterion: Criterion,
    whole: Callable[[Related, Tree], Paths],
    part: Callable[[Related, Tree], Paths],
    what: str,
    less: str,
) -> Finding:
    """Look through the trees of a model's repositories, the surest repository first."""
    partial: tuple[Related, Paths] | None = None
    for one in case.repositories:
        if one.tree is None:
            continue
        if paths := whole(one, one.tree):
            proofs = (*(_file(one, path) for path in paths), one.via)
            reason = f"{one.name} holds {what}: {', '.join(paths[:3])}."
            return Finding(criterion, Verdict.OPEN, reason, f"{criterion}.tree", _SURE[one.tie], proofs)
        if partial is None and (paths := part(one, one.tree)):
            partial = (one, paths)
    if partial is not None:
        one, paths = partial
        proofs = (*(_file(one, path) for path in paths), one.via)
        reason = f"{one.name} holds {less}: {', '.join(paths[:2])}."
        return Finding(criterion, Verdict.PARTIAL, reason, f"{criterion}.tree-part", _SURE[one.tie] - 0.1, proofs)
    return _without(case, criterion, what)


def _without(case: Case, criterion: Criterion, what: str) -> Finding:
    model = case.model
    unread = [one for one in case.repositories if not one.seen]
    cut = [one for one in case.repositories if one.seen and one.page is not None and not one.page.complete]
    read = [one for one in case.repositories if one.seen and one not in cut]
    vias = tuple(one.via for one in case.repositories)
    said = next((text for text in model.statements if _NO_CODE.search(text)), "")
    if said and criterion is not Criterion.EVALUATION_CODE and not cut:
        proof = model.proof(f"the card says: {said[:200]}", "readme")
        reason = f"No {what} is published: “{said[:200]}”"
        return Finding(criterion, Verdict.CLOSED, reason, f"{criterion}.denied", 0.85, (proof, *vias))
    if unread or cut:
        notes = [
            f"the file list of {one.name}" + (f" ({one.page.note})" if one.page and one.page.note else "")
            for one in unread
        ]
        notes += [f"the rest of the file list of {one.name}, which was cut" for one in cut]
        return unknown(
            criterion,
            f"{criterion}.tree-unseen",
            f"No {what} was found in what was seen; missing: {notes[0]}.",
            *notes,
            evidence=vias,
        )
    if read:
        count = sum(len(one.page.tree) for one in read if one.page is not None)
        reason = f"{', '.join(one.name for one in read[:3])}: all {count} files were looked at, none is {what}."
        return Finding(criterion, Verdict.CLOSED, reason, f"{criterion}.tree-none", 0.85, vias)
    if model.card_seen:
        proof = model.proof("no repository that the card links is the model's own", "readme")
        return Finding(
            criterion,
            Verdict.CLOSED,
            f"The card links no repository of the model that could hold {what}.",
            f"{criterion}.no-link",
            0.75,
            (proof,),
        )
    return unknown(
        criterion,
        f"{criterion}.card-unseen",
        "No repository of the model was seen, and the card's links were not seen as a whole.",
        "the links of the model card",
        "a repository of the model on GitHub",
    )


def _file(one: Related, path: str) -> Proof:
    head = str(one.page.data.get("head") or "HEAD") if one.page else "HEAD"
    url = f"https://github.com/{one.name}/blob/{head}/{path}"
    return one.page.proof(path, "tree", url=url) if one.page else Proof(url, path)


def _here(case: Case, name: str) -> Proof:
    return case.model.proof(name, "siblings", url=f"{case.model.url}/blob/main/{name}")
