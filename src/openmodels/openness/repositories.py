"""Which GitHub repositories belong to a model, and how that is known."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from openmodels.hub.model_names import family, normalize_name, same_owner, split_repo_id, split_words
from openmodels.openness.evidence import Evidence
from openmodels.openness.evidence_pages import Link, ModelEvidence, RepositoryEvidence
from openmodels.openness.findings import Proof
from openmodels.openness.model_shape import Shape
from openmodels.openness.recipes import ModelName, is_framework
from openmodels.openness.repository_layout import RepositoryLayout, classify_files, is_library_file

_USE = re.compile(
    r"(?i)\b(?:how to|usage|use|inference|run|runn?ing|deploy\w*|quick\s?start|serv\w+|locally|acknowledg\w*"
    r"|citation)\b"
)
_OWN = re.compile(
    r"(?i)\b(?:code|repo(?:sitory)?|github|train\w*|fine-?tun\w*|sft|recipe|source|evaluat\w*|metrics|data prep\w*)\b"
)
_PLAINLY = re.compile(r"(?i)\b(?:pre-?)?train(?:ing)?\b|\bfine-?tun\w*|\brecipes?\b|\bour\b|\bofficial\b")
_ROLE = re.compile(
    r"(?i)(?:pre|post)?-?train\w*|code|core|data|prep\w*|eval\w*|infer\w*|models?|llm|project|official|release"
    r"|recipes?|v?\d[\d.]*[bmk]?"
)
_WORK = re.compile(r"(?i)\.(?:py|sh|slurm|sbatch|ipynb|ya?ml|json|jsonnet|libsonnet|toml|gin|txt|tsv|csv|jsonl)$")
_NOT_OWNERS = frozenset(
    {"orgs", "features", "topics", "search", "sponsors", "settings", "marketplace", "user-attachments"}
)


class Attribution(IntEnum):
    """How surely a repository belongs to a model, the surest last."""

    NAME = 1
    OWNER = 2
    NAMESAKE = 3
    CARD = 4


@dataclass(frozen=True)
class RelatedRepository:
    """A repository of a model."""

    name: str  # "owner/repo"
    attribution: Attribution
    subfolder: str  # the folder inside of it that the card links to, or ""
    page: RepositoryEvidence  # without a tree where its files were not listed
    layout: RepositoryLayout
    via: Proof  # the link or page that shows that it belongs to the model
    model_name: ModelName  # the name by which its files are recognised: the model's, or that of its owner's base
    is_of_owner: bool  # whether the model's owner holds it
    shape: Shape  # the sizes of the model, or of its owner's base, where its config.json was read
    is_dedicated: bool  # whether it is named after the model or project, and no fork or copy of a framework


def find_recipes(repository: RelatedRepository) -> list[str]:
    """Return the files that may be recipes of the model, the likeliest first."""
    layout, name = repository.layout, repository.model_name
    settings = dict.fromkeys((*layout.launchers, *layout.training_configs, *layout.recipes))
    fitting = (path for path in settings if name.fits(path) and (repository.is_dedicated or name.is_named_in(path)))
    return sorted(fitting, key=name.rank, reverse=True)


def parse_github_link(link: Link) -> tuple[str, str]:
    """Return the "owner/repo" and the folder that a link to GitHub points to, or ""."""
    path = link.path
    if link.host not in ("github.com", "www.github.com") or len(path) < 2 or path[0].lower() in _NOT_OWNERS:
        return "", ""
    subfolder = "/".join(path[4:]) + "/" if len(path) > 4 and path[2] == "tree" else ""
    return f"{path[0]}/{path[1].removesuffix('.git')}", subfolder


def find_repositories(
    evidence: Evidence, model: ModelEvidence, ancestors: Sequence[ModelEvidence] = ()
) -> list[RelatedRepository]:
    """Return the repositories of a model, the surest first.

    Those of `ancestors`, base models by the same owner, made this model too.
    """
    repositories: dict[str, RelatedRepository] = {}

    def add(name: str, attribution: Attribution, subfolder: str, page: RepositoryEvidence, via: Proof) -> None:
        key = page.id.lower()  # linked by a former and by its present name, it is one repository
        known = repositories.get(key)
        if known is None or (known.attribution, bool(known.subfolder)) < (attribution, bool(subfolder)):
            repositories[key] = RelatedRepository(
                name=name,
                attribution=attribution,
                subfolder=subfolder,
                page=page,
                layout=classify_files(page),
                via=via,
                model_name=model_name,
                is_of_owner=same_owner(split_repo_id(name)[0], source.owner),
                shape=source.shape,
                is_dedicated=_is_dedicated(source, model_name, page),
            )

    for source in (model, *ancestors):
        model_name = parse_model_name(source)
        for link in source.links:
            name, subfolder = parse_github_link(link)
            if name and _is_own_code(source, model_name, link, name, page := evidence.repository(name)):
                via = source.proof(f"the card links {name}", "readme", url=link.url)
                add(name, Attribution.CARD, subfolder, page, via)
        for name in evidence.names("github"):
            if attribution := _attribute_by_name(evidence, source, model_name, name):
                page = evidence.repository(name)
                add(page.id, attribution, "", page, page.proof(_WHY[attribution]))
    return sorted(
        repositories.values(),
        key=lambda repository: (-repository.attribution, len(repository.name), repository.name.lower()),
    )


_WHY = {
    Attribution.NAMESAKE: "a repository of the model's owner named after the model",
    Attribution.OWNER: "a repository of the model's owner whose files name the model",
    Attribution.NAME: "a repository named as the model and its organisation",
}


def parse_model_name(model: ModelEvidence) -> ModelName:
    """Return the name by which the files of a model are recognised."""
    model_type = str((model.data.get("config") or {}).get("model_type") or "")
    bases = [base for base, _ in model.bases if not same_owner(split_repo_id(base)[0], model.owner)]
    return ModelName.parse(model.id, parameters=model.parameters, model_type=model_type, bases=bases)


def _is_dedicated(model: ModelEvidence, model_name: ModelName, page: RepositoryEvidence) -> bool:
    """Return whether a repository is that of a model or project, and no copy."""
    owner, repo = split_repo_id(page.id)
    is_named = model_name.is_repository(page.id) or normalize_name(repo) == normalize_name(model.owner)
    # A short name, as "Yi", or a common one must be the whole name.
    is_named = is_named or (same_owner(owner, model.owner) and normalize_name(repo) == family(model.id))
    if model_name.is_architecture and not same_owner(owner, model.owner):
        return False  # libraries are named after architectures too
    if model_name.is_titled(page.title):
        return True  # a framework that was changed for this model
    is_copy = page.is_fork and not (page.parent and model_name.is_repository(page.parent))
    return is_named and not is_copy and not is_framework(page.id, model_name)


def _is_own_code(model: ModelEvidence, model_name: ModelName, link: Link, name: str, page: RepositoryEvidence) -> bool:
    """Tell a model's own code from the libraries and servers its card recommends."""
    owner, repo = split_repo_id(name)
    if normalize_name(repo) == normalize_name(model.owner):
        return True
    if model_name.mentions_family(f"{repo} {link.url.partition(repo)[2]}"):
        return True
    if _USE.search(link.section) or _USE.search(link.text):
        return False
    if _names_model(page, model_name):
        return True
    if not page.tree or same_owner(owner, model.owner):
        return same_owner(owner, model.owner) or bool(_OWN.search(f"{link.text} {link.section}"))
    # Listed, by another owner, and silent about this model: only plain words make it the model's own.
    return bool(_PLAINLY.search(link.text))


def _attribute_by_name(
    evidence: Evidence, model: ModelEvidence, model_name: ModelName, name: str
) -> Attribution | None:
    (owner, repo), kin = split_repo_id(name), family(model.id)
    if same_owner(owner, model.owner):
        if _is_namesake(split_repo_id(model.id)[1], repo, kin):
            return Attribution.NAMESAKE
        return Attribution.OWNER if _names_model(evidence.repository(name), model_name) else None
    # An organisation named after its project, and a repository named so too: the same project.
    return Attribution.NAME if normalize_name(repo) == kin == normalize_name(model.owner) and len(kin) >= 5 else None


def _is_namesake(name: str, repo: str, kin: str) -> bool:
    """Return whether a repository has the family's name and no other new word."""
    parts = split_words(repo)
    for count in range(1, len(parts) + 1):
        if normalize_name("".join(parts[:count])) == kin:
            model_words = {normalize_name(word) for word in split_words(name)}
            return all(normalize_name(word) in model_words or _ROLE.fullmatch(word) for word in parts[count:])
    return False


def _names_model(page: RepositoryEvidence, model_name: ModelName) -> bool:
    """Return whether scripts or configurations name the model's family."""
    work = (path for path in page.tree if _WORK.search(path) and not is_library_file(path))
    return len(model_name.stem) >= 4 and any(map(model_name.mentions_family, work))
