"""Which GitHub repositories belong to a model, and how that is known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

from openmodels.hub.model_names import family, mentions, plain, same_owner, split, stem, words
from openmodels.openness import repository_layout
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Proof
from openmodels.openness.pages import Link, ModelEvidence, RepositoryEvidence

_USE = re.compile(
    r"\b(?:how to|usage|use|inference|run|runn?ing|deploy\w*|quick\s?start|serv\w+|locally|acknowledg\w*|citation)\b",
    re.IGNORECASE,
)
_OWN = re.compile(
    r"\b(?:code|repo(?:sitory)?|github|train\w*|fine-?tun\w*|sft|recipe|source|evaluat\w*|metrics|data prep\w*)\b",
    re.IGNORECASE,
)
_PLAINLY = re.compile(r"\b(?:pre-?)?train(?:ing)?\b|\bfine-?tun\w*|\brecipes?\b|\bour\b|\bofficial\b", re.IGNORECASE)
_ROLE = re.compile(
    r"(?:pre|post)?-?train\w*|code|core|data|prep\w*|eval\w*|infer\w*|models?|llm|project|official|release|recipes?|"
    r"v?\d[\d.]*[bmk]?",
    re.IGNORECASE,
)
_WORK = re.compile(
    r"\.(?:py|sh|slurm|sbatch|ipynb|ya?ml|json|jsonnet|libsonnet|toml|gin|txt|tsv|csv|jsonl)$", re.IGNORECASE
)
_LIBRARY = re.compile(
    r"(?:^|/)(?:models?|modell?ing|model_executor|tests?|docs?|tutorials?|integrations?|templates?|conversion"
    r"|layers|ops|kernels)/"
    r"|(?:^|/)(?:modell?ing|configuration|tokenization|convert|test)_[^/]*$",
    re.IGNORECASE,
)
_NOT_OWNERS = frozenset(
    {"orgs", "features", "topics", "search", "sponsors", "settings", "marketplace", "user-attachments"}
)


class Tie(IntEnum):
    """How surely a repository belongs to a model, the surest last."""

    NAME = 1
    OWNER = 2
    NAMESAKE = 3
    CARD = 4


@dataclass(frozen=True)
class Related:
    """A repository of a model.

    Attributes:
        name: "owner/repo".
        tie: How it is tied to the model.
        below: The folder inside of it that the card links to, or "".
        page: What is known of it; None where nobody looked.
        tree: Its files by kind, or None where nobody looked.
        via: The link or page that ties it.
    """

    name: str
    tie: Tie
    below: str
    page: RepositoryEvidence | None
    tree: repository_layout.Tree | None
    via: Proof

    @property
    def seen(self) -> bool:
        """Whether the file list was read."""
        return self.page is not None and bool(self.page.tree)


def github_name(link: Link) -> tuple[str, str]:
    """Return "owner/repo" and the folder a GitHub link points to, or two empty strings."""
    path = link.path
    if link.host not in ("github.com", "www.github.com") or len(path) < 2 or path[0].lower() in _NOT_OWNERS:
        return "", ""
    below = "/".join(path[4:]) + "/" if len(path) > 4 and path[2] == "tree" else ""
    return f"{path[0]}/{path[1].removesuffix('.git')}", below


def related(evidence: Evidence, model: ModelEvidence, ancestors: tuple[ModelEvidence, ...] = ()) -> list[Related]:
    """Return the repositories of a model, the surest first.

    Args:
        evidence: Where to look.
        model: The model.
        ancestors: Base models by the same owner: their repositories made this model too.
    """
    found: dict[str, Related] = {}

    def add(name: str, tie: Tie, below: str, via: Proof) -> None:
        page = evidence.repository(name)
        known = found.get(name.lower())
        if known is None or known.tie < tie or (known.tie == tie and below and not known.below):
            found[name.lower()] = Related(
                name, tie, below, page, repository_layout.read(page) if page and page.tree else None, via
            )

    for one in (model, *ancestors):
        for link in one.links:
            name, below = github_name(link)
            if name and _is_own(one, link, name, evidence.repository(name)):
                add(name, Tie.CARD, below, one.proof(f"the card links {name}", "readme", url=link.url))
        for name in evidence.names["github"]:
            if (tie := _tie_by_name(evidence, one, name)) and (page := evidence.repository(name)) is not None:
                add(page.id, tie, "", page.proof(_WHY[tie]))
    return sorted(found.values(), key=lambda one: (-one.tie, len(one.name), one.name.lower()))


_WHY = {
    Tie.NAMESAKE: "a repository of the model's owner named after the model",
    Tie.OWNER: "a repository of the model's owner whose files name the model",
    Tie.NAME: "a repository named as the model and its organisation",
}


def _is_own(model: ModelEvidence, link: Link, name: str, page: RepositoryEvidence | None) -> bool:
    """Tell a model's own code from the libraries and servers its card recommends."""
    owner, repo = split(name)
    kin = family(model.id)
    if mentions(f"{repo} {link.url.partition(repo)[2]}", stem(kin)) or plain(repo) == plain(model.owner):
        return True
    if _USE.search(link.section) or _USE.search(link.text):
        return False
    if page is not None and page.tree and _names(page, kin):
        return True
    if page is None or not page.tree or same_owner(owner, model.owner):
        return same_owner(owner, model.owner) or bool(_OWN.search(f"{link.text} {link.section}"))
    # Seen, by somebody else, and silent about this model: only plain words make it the model's own.
    return bool(_PLAINLY.search(link.text))


def _tie_by_name(evidence: Evidence, model: ModelEvidence, name: str) -> Tie | None:
    owner, repo = split(name)
    kin = family(model.id)
    if same_owner(owner, model.owner):
        if _is_namesake(split(model.id)[1], repo, kin):
            return Tie.NAMESAKE
        page = evidence.repository(name)
        return Tie.OWNER if page is not None and _names(page, kin) else None
    # An organisation named after its project, and a repository named so too: the same project.
    return Tie.NAME if plain(repo) == kin == plain(model.owner) and len(kin) >= 5 else None


def _is_namesake(name: str, repo: str, kin: str) -> bool:
    """Return whether a repository carries the family's name, and no other word that the model lacks."""
    parts = words(repo)
    for count in range(1, len(parts) + 1):
        if plain("".join(parts[:count])) == kin:
            own = {plain(word) for word in words(name)}
            return all(plain(word) in own or _ROLE.fullmatch(word) for word in parts[count:])
    return False


def _names(page: RepositoryEvidence, kin: str) -> bool:
    """Return whether a repository's scripts or configurations name the family.

    A library's definition, tests or manual of a model do not: they serve everybody's models.
    """
    if len(kin) < 4:
        return False
    return any(mentions(path, kin) for path in page.tree if _WORK.search(path) and not _LIBRARY.search(path))
