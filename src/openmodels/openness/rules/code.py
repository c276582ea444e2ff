"""Rules about code: file lists decide, links do not."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from openmodels import columns
from openmodels.hub.model_names import same_owner
from openmodels.openness.criteria import criterion
from openmodels.openness.datasets import DatasetUse
from openmodels.openness.evidence_pages import ModelEvidence, RepositoryEvidence
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, UNKNOWN, Judgement, unknown
from openmodels.openness.lineage import Ancestor
from openmodels.openness.model_context import ModelContext
from openmodels.openness.model_shape import same_shape
from openmodels.openness.recipes import ModelName, is_framework, names_framework
from openmodels.openness.repositories import Attribution, RelatedRepository, parse_github_link, parse_model_name
from openmodels.openness.repository_layout import (
    find_evaluation_code,
    is_configuration,
    is_library_file,
    is_pretraining,
)

_NO_CODE = re.compile(
    r"(?i)\bno (?:\w+ )?(?:training|pre-?training|fine-?tuning) (?:code|scripts?)\b"
    r"|\bonly (?:an? )?(?:\w+ )?inference\b|\binference (?:folder|code|scripts?) only\b|\btraining (?:code"
    r"|scripts?)[^.;]{0,40}\bnot (?:be )?(?:released|available|public|open)"
)
_TRAINING_SCRIPT = re.compile(r"(?i)(?:^|/)(?:pre)?train(?:ing|er)?(?:_?script)?\.(?:py|sh)$|(?:^|/)train_[\w-]+\.py$")
_TRAINING_CONFIG = re.compile(r"data_config|train\w*config|config.*train")
_TRAINS = re.compile(r"(?i)\b(?:pre-?)?train(?:ed|ing|s)?\b")
_ORDER = (CLOSED, UNKNOWN, PARTIAL, OPEN)
_CONFIDENCE = {Attribution.CARD: 0.9, Attribution.NAMESAKE: 0.9, Attribution.OWNER: 0.8, Attribution.NAME: 0.7}


@dataclass(frozen=True)
class CodeMatch:
    """Files of a repository that prove code of one kind."""

    paths: tuple[str, ...]  # the files, the recipe of this very model first
    lack: str = ""  # what is missing to the whole, in words; "" where nothing is
    rank: float = 0.0  # how closely the recipe names this very model
    note: str = ""  # what else is to say, a sentence


Finder = Callable[[RelatedRepository], CodeMatch | None]  # finds code of one kind in a repository

_FRAMEWORK = "the programs of a framework that {what} any model, and no recipe of this one"
_OTHER_SIZE = "programs that train, with recipes of other sizes or versions alone"


@criterion(
    "training_code",
    "a program that trains and a recipe of this model (a configuration, launcher or document), in a repository of "
    "the model; for a fine-tune, also that of its base",
)
def training_code(context: ModelContext) -> Judgement:
    """Judge the training code: a program, and a recipe that names the model.

    A framework, or an unchanged fork of one, trains any model and is partial. The code of a fine-tune of another
    owner's model is whole only with that of its base.
    """

    def find(repository: RelatedRepository) -> CodeMatch | None:
        is_named = any(_names_library(page, repository.name) for page in (context.model, repository.page))
        is_named = is_named or any(map(names_framework, repository.page.submodules))
        return _find_training(repository, is_library_named=is_named)

    judgement = _judge_repositories(context, "training_code", find, "training code")
    model = context.model
    scripts = [name for name in model.files if _TRAINING_SCRIPT.search(name)]
    if scripts and judgement.verdict not in (OPEN, PARTIAL):
        configs = [name for name in model.files if _TRAINING_CONFIG.search(name)]
        proofs = tuple(model.file_proof(name) for name in (*scripts[:2], *configs[:1]))
        if configs:
            reason = f"The model's own repository holds {scripts[0]} and {configs[0]}."
            judgement = Judgement(OPEN, reason, "training_code.files", 0.75, proofs)
        else:
            reason = f"The model's own repository holds {scripts[0]}."
            judgement = Judgement(PARTIAL, reason, "training_code.file", 0.6, proofs)
    return _join_base(context, judgement) if context.is_finetune else judgement


@criterion(
    "finetuning_code",
    "tuning programs with recipes of this model; notebooks for users are partial; of a base model, only what there is",
)
def finetuning_code(context: ModelContext) -> Judgement:
    """Judge the code for fine-tuning: scripts with recipes, not a notebook for users."""
    subject = parse_model_name(context.model)

    def find(repository: RelatedRepository) -> CodeMatch | None:
        match = _find_tuning(repository, subject)
        if not context.is_finetune:
            # A framework's programs for tuning say nothing of a model that was not tuned.
            return match if match and (repository.is_dedicated or not match.lack) else None
        if match is not None and not match.lack:
            return match
        training = _find_training(repository)
        # What trains a model that another owner's was made into tunes it.
        if training is not None and (context.foreign_base is not None or not context.bases) and not training.lack:
            return training
        return match or (training and replace(training, lack="training code, but no recipe of fine-tuning"))

    judgement = _judge_repositories(context, "finetuning_code", find, "fine-tuning code")
    if context.is_finetune or judgement.verdict in (OPEN, PARTIAL) or context.datasets_for(DatasetUse.TUNING):
        return judgement
    reason = "It is a base model: no fine-tuning is claimed."
    missing = (*judgement.missing, "any fine-tuning to judge")
    return unknown("finetuning_code.base-model", reason, *missing, evidence=judgement.evidence)


@criterion("evaluation_code", "several programs in a folder for evaluation; tables of results are partial")
def evaluation_code(context: ModelContext) -> Judgement:
    """Judge the code that evaluated the model."""
    judgement = _judge_repositories(context, "evaluation_code", _find_evaluation, "evaluation code")
    results = context.model.result_files
    if not results or judgement.verdict in (OPEN, PARTIAL):
        return judgement
    proofs = (*(context.model.file_proof(name) for name in results[:3]), *judgement.evidence)
    reason = "Results are published as files; the code that made them was not found."
    return Judgement(PARTIAL, reason, "evaluation_code.results", 0.5, proofs)


def _find_training(repository: RelatedRepository, *, is_library_named: bool = False) -> CodeMatch | None:
    """Find training code: a program with a recipe of the model, or less.

    Args:
        repository: Where to look.
        is_library_named: Whether the card or the README names the library whose program trained.
    """
    layout, name = repository.layout, repository.model_name
    settings = list(dict.fromkeys((*layout.launchers, *layout.training_configs)))
    named = _named_files(repository, (*settings, *layout.recipes, *layout.training, *layout.documents))
    fitting = [path for path in named if name.fits(path)]
    recipes = fitting + [path for path in settings if repository.is_dedicated and name.fits(path)]
    # A file of the right name and other sizes trains another model.
    sizes = {path: same_shape(repository.shape, stated) for path, stated in repository.page.recipes.items()}
    recipes = [path for path in recipes if sizes.get(path) is not False]
    if layout.training:
        if recipes:
            recipe = max(
                recipes, key=lambda path: (sizes.get(path) is True, name.rank(path), _is_beside(path, layout.training))
            )
            programs = _sort_by_distance(recipe, (*layout.training, *layout.launchers))
            paths = tuple(dict.fromkeys((recipe, *programs[:2])))
            if len({*paths, *settings}) > 1:
                note = f"The sizes in {recipe} are those of config.json." if sizes.get(recipe) else ""
                return CodeMatch(paths, rank=name.rank(recipe), note=note)
        lack = "a part of the training code"
        if named or (repository.is_dedicated and settings):
            lack = _OTHER_SIZE
        elif not repository.is_dedicated:
            lack = _FRAMEWORK.format(what="trains")
        return CodeMatch((*layout.training[:2], *named[:1]), lack)
    return _find_pretraining_run(repository, recipes, is_library_named=is_library_named) or _find_parts(repository)


def _find_pretraining_run(
    repository: RelatedRepository, recipes: list[str], *, is_library_named: bool
) -> CodeMatch | None:
    """Find the recipe of a pre-training run whose program lies in a library."""
    name, layout, subfolder = repository.model_name, repository.layout, repository.subfolder
    runs = [path for path in recipes if is_pretraining(path) or (subfolder and path.startswith(subfolder))]
    starts = [path for path in runs if path in layout.launchers]
    if starts and len(set(runs)) > 1:
        recipe = max(runs, key=name.rank)
        return CodeMatch(tuple(dict.fromkeys((recipe, max(starts, key=name.rank), *runs)))[:2], rank=name.rank(recipe))
    # In other formats, a configuration that names the model may be that of its architecture.
    configs = [
        path
        for path in recipes
        if is_configuration(path) and (is_pretraining(path) or (path in layout.recipes and name.is_named_in(path)))
    ]
    # A launcher may hold the whole configuration in its arguments.
    trainers = [path for path in recipes if path in layout.launchers]
    if not configs and not trainers:
        return None
    recipe = max(configs or trainers, key=name.rank)
    launchers = [*trainers, *(path for path in recipes if name.is_named_in(path.rpartition("/")[2]))]
    launchers = [path for path in launchers if not is_configuration(path)]
    paths = tuple(dict.fromkeys((recipe, *_sort_by_distance(recipe, launchers)[:1])))
    if is_library_named or any(map(names_framework, paths)):
        note = "The program lies in a library that the card, the README or the recipe names."
        return CodeMatch(paths, rank=name.rank(recipe), note=note)
    return CodeMatch(paths, "the configuration of a training run, but not the program that runs it")


def _sort_by_distance(recipe: str, paths: Iterable[str]) -> list[str]:
    """Sort files by their distance to a recipe in the tree, then to the top."""
    folders = recipe.split("/")[:-1]

    def key(path: str) -> tuple[int, int]:
        parts = path.split("/")
        shared = next((at for at, (a, b) in enumerate(zip(folders, parts, strict=False)) if a != b), len(folders))
        return -min(shared, len(parts) - 1), len(parts)

    return sorted(dict.fromkeys(paths), key=key)


def _is_beside(path: str, programs: Iterable[str]) -> bool:
    """Return whether a file lies in the folder of a program, or below it."""
    return any(path.startswith(program.rpartition("/")[0]) for program in programs)


def _find_parts(repository: RelatedRepository) -> CodeMatch | None:
    layout = repository.layout
    paths = (*layout.launchers, *layout.tuning, *layout.tuning_configs)
    return CodeMatch(paths[:3], "only fine-tuning code, or a part of the training code") if paths else None


def _find_tuning(repository: RelatedRepository, subject: ModelName) -> CodeMatch | None:
    """Find fine-tuning code: a program with a recipe of the model, or less.

    The repository may be that of a base, whose recipes are of several tunes: `subject` is the name of this one.
    """
    layout, name = repository.layout, repository.model_name
    settings = [path for path in layout.tuning_configs if path.startswith(repository.subfolder)]
    named = _named_files(repository, (*settings, *layout.tuning))
    recipes = [path for path in (settings if repository.is_dedicated else named) if name.fits(path)]
    if layout.tuning and settings and recipes:
        recipe = max(recipes, key=subject.rank)
        paths = tuple(dict.fromkeys((recipe, *layout.tuning[:2])))
        if len({*paths, *settings}) > 1:
            return CodeMatch(paths, rank=subject.rank(recipe))
    paths = (*layout.tuning, *layout.tuning_configs, *layout.examples)
    if paths:
        is_whole = bool(layout.tuning and settings) and not repository.is_dedicated
        lack = _FRAMEWORK.format(what="tunes") if is_whole else "recipes without programs, or examples"
        return CodeMatch(paths[:3], lack)
    return None


def _find_evaluation(repository: RelatedRepository) -> CodeMatch | None:
    """Find evaluation code: several programs in a folder for it, or less."""
    layout, name = repository.layout, repository.model_name
    if paths := find_evaluation_code(layout):
        named = list(filter(name.fits, _named_files(repository, layout.evaluation)))
        if repository.is_dedicated or named or (repository.is_of_owner and not is_framework(repository.name, name)):
            return CodeMatch(tuple(dict.fromkeys((*named, *paths)))[:3])
        return CodeMatch(paths, _FRAMEWORK.format(what="evaluates"))
    return CodeMatch(layout.evaluation[:3], "a part of the evaluation code") if layout.evaluation else None


def _named_files(repository: RelatedRepository, paths: Iterable[str]) -> list[str]:
    """Return the files that name the model, or lie in the folder that its card links."""
    name, subfolder = repository.model_name, repository.subfolder
    # Frameworks hold recipes of others for well-known architectures: these are not the authors'.
    is_readable = not name.is_architecture or repository.is_of_owner or repository.is_dedicated
    return [
        path
        for path in dict.fromkeys(paths)
        if (is_readable and name.is_named_in(path) and (repository.is_dedicated or not is_library_file(path)))
        or (subfolder and path.startswith(subfolder))
    ]


def _names_library(page: ModelEvidence | RepositoryEvidence, repository: str) -> bool:
    """Return whether a card or README names the library whose program trained.

    That is another repository than `repository`, linked as the code of training, or a framework in a sentence
    about training.
    """
    for link in page.links:
        other = parse_github_link(link)[0]
        if other and other.lower() != repository.lower():
            is_for_training = _TRAINS.search(f"{link.text} {link.section}")
            if (
                is_pretraining(link.text)
                or is_pretraining(link.section)
                or (is_for_training and names_framework(other))
            ):
                return True
    return any(_TRAINS.search(text) and names_framework(text) for text in page.sentences)


def _judge_repositories(context: ModelContext, rule: str, find: Finder, kind: str) -> Judgement:
    """Judge by the repository whose whole code names the model most closely."""
    matches = [(repository, match) for repository in context.repositories if (match := find(repository))]
    if not matches:
        return _without_code(context, rule, kind)
    repository, match = max(
        matches, key=lambda pair: (not pair[1].lack, round(pair[1].rank), _CONFIDENCE[pair[0].attribution])
    )
    confidence, paths = _CONFIDENCE[repository.attribution], match.paths[:3]
    proofs = (*map(repository.page.file_proof, paths), repository.via)
    if match.lack:
        reason = f"{repository.name} holds {match.lack}: {', '.join(paths)}."
        return Judgement(PARTIAL, reason, f"{rule}.tree-part", confidence - 0.1, proofs)
    reason = f"{repository.name} holds {kind}: {', '.join(paths)}. {match.note}".rstrip()
    return Judgement(OPEN, reason, f"{rule}.tree", confidence, proofs)


def _join_base(context: ModelContext, judgement: Judgement) -> Judgement:
    """Say which training a fine-tune's verdict speaks of; join a foreign base's."""
    if not (bases := _find_foreign_bases(context)):
        other = f"that of its base {context.bases[0].id}" if context.bases else "not of its base, which was not seen"
        return replace(judgement, reason=f"{judgement.reason} This speaks of its own training and {other}.")
    # A merge is no more open than the least open of its parts.
    base, finding = min(
        ((base, _find_base_finding(context, base)) for base in bases), key=lambda pair: _ORDER.index(pair[1].verdict)
    )
    reason = f"Its own tuning: {judgement.reason} The pre-training of its base {base.id}: {finding.reason}"
    is_part = {judgement.verdict, finding.verdict} & {OPEN, PARTIAL} and judgement.verdict is not UNKNOWN
    if not is_part or judgement.verdict is finding.verdict is OPEN:
        return replace(judgement, reason=reason)
    evidence = (*judgement.evidence, base.via, *finding.evidence)
    return Judgement(PARTIAL, reason, "training_code.base", judgement.confidence, evidence)


def _find_foreign_bases(context: ModelContext) -> list[Ancestor]:
    """Return the models of other owners that this one was made from directly."""
    foreign = [base for base in context.bases if not same_owner(base.owner, context.model.owner)]
    pages = (context.model, *context.same_owner_bases)
    direct = {name.lower() for page in pages for name, _ in page.bases}
    return [base for base in foreign if base.id.lower() in direct] or foreign[:1]


def _find_base_finding(context: ModelContext, base: Ancestor) -> Judgement:
    """Return the finding on a base's training code."""
    base_context = context.of_base(base)
    if base_context is None:
        why = context.why_not_followed(base)
        reason = f"nothing was gathered about it{f': {why}' if why else ''}."
        return unknown("training_code.base-unseen", reason, f"the page of the base model {base.id}")
    return base_context.finding("training_code")


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
        reason = f"No {kind} is published: “{columns.shorten(denial, 200)}”"
        return Judgement(CLOSED, reason, f"{rule}.denied", 0.85, (model.sentence_proof(denial, 200), *links))
    submodules = [f"the files of {path} in {name}" for name in read for path in pages[name].submodules]
    if unread or cut or submodules:
        failures = {name: failed for name in unread if (failed := pages[name].data.get("failed"))}
        missing = [f"the file list of {name}" + (f" ({failures[name]})" if name in failures else "") for name in unread]
        missing += [f"the rest of the file list of {name}, which was cut" for name in cut]
        missing += submodules
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
