"""Gathering evidence about a model from the Hub, GitHub or a folder."""

import re
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from openmodels import errors, settings
from openmodels.hub import card as hub_card, untrusted_fields as fields
from openmodels.hub.client import HubClient
from openmodels.hub.model_names import family, split_repo_id, split_words
from openmodels.hub.model_page import ModelPage, parse_license
from openmodels.licenses.files import FileRole, find_role, is_license_file, why_unreadable
from openmodels.openness.evidence import Evidence, now, without_deep_fields
from openmodels.openness.evidence_pages import ID, ModelEvidence, RepositoryEvidence
from openmodels.openness.github import GitHubClient
from openmodels.openness.lineage import find_bases
from openmodels.openness.model_shape import read_shape
from openmodels.openness.repositories import find_recipes, find_repositories, parse_github_link
from openmodels.openness.repository_layout import classify_files

MOST_DATASETS = 30
MOST_REPOSITORIES = 12
MOST_RECIPES = 6  # configurations read in all; without a token GitHub answers sixty requests in an hour
MOST_PAPERS = 8
MOST_BASES = 16
MOST_RENAMED = 4
MOST_GENERATIONS = 8
"""How far back base models are gathered; what lies further is named in the evidence, with this reason."""
MOST_PATHS = 20_000
MOST_LICENSE_FILES = 20
MOST_FILES = 10_000
MOST_DATA_FILES = 1_000
TOTAL_SECONDS = 240.0  # seconds all pages of one model may take; those that come no more are unknown
KEEP_DAYS = 7  # days for which pages of data sets and repositories are taken from the cache
_FORMAT = 3  # raised when pages of data sets or repositories hold more than before: kept ones are then read anew

_KEPT_FIELDS = """
id author sha createdAt lastModified downloads likes gated private disabled pipeline_tag library_name tags cardData
siblings config safetensors
""".split()  # noqa: SIM905 - seventeen lines otherwise
_UNREAD = (
    errors.ModelNotFound,
    errors.AccessDenied,
    errors.AuthenticationFailed,
    errors.ServerFailed,
    errors.RateLimited,
    errors.InvalidResponse,
    errors.DeadlineExceeded,
)
"""What one page of several may fail with: it is then unknown."""
UNREACHABLE = (errors.Offline, errors.ConnectionFailed, errors.DeadlineExceeded)
"""Errors after which kept evidence may stand in."""
_LICENSE_BYTES = 100_000


class EvidenceSources(NamedTuple):
    """Where evidence is gathered from; the clients may be shared among threads."""

    hub: HubClient
    github: GitHubClient

    @classmethod
    def connect(cls, *, interval: float = 0.0) -> Self:
        """Return clients of the Hub and of GitHub, with seconds between two requests."""
        return cls(HubClient(interval=interval), GitHubClient(interval=interval))

    def until(self, deadline: float) -> Self:
        """Return the sources with a `time.monotonic()` deadline for all requests."""
        return self._replace(hub=self.hub.with_deadline(deadline), github=self.github.with_deadline(deadline))

    def close(self) -> None:
        """Close the connections."""
        self.hub.close()
        self.github.close()


def gather(model: str, *, deep: bool = True, sources: EvidenceSources | None = None) -> Evidence:
    """Return fresh evidence about a model on the Hub; it is also kept in the cache.

    Args:
        model: "org/name".
        deep: False leaves it at the Hub's own facts and the front matter.
        sources: Where to gather; connected and closed here when None.

    Raises:
        ModelNotFound: No such model, or it is private.
        Offline: The network is switched off.
        DeadlineExceeded, ConnectionFailed, RateLimited, ServerFailed, InvalidResponse: The Hub could not be read.
    """
    if settings.is_offline():
        raise errors.Offline(
            "The network is switched off, and openness needs it to gather evidence.",
            next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE, or give evidence='a saved folder'.",
        )
    connected = sources or EvidenceSources.connect()
    try:
        bounded = connected.until(time.monotonic() + TOTAL_SECONDS)
        page = fetch_model_evidence(bounded.hub, model, deep=deep)
        evidence = Evidence(page["id"])
        evidence.add("models", model, page)
        if deep:
            _gather_papers(bounded.hub, page)
            _gather_bases(bounded.hub, evidence)
            _gather_datasets(bounded.hub, evidence)
            _gather_repositories(bounded.github, evidence)
            _gather_recipes(bounded.github, evidence)
        evidence.finish(deep=deep)
        evidence.save(store())
        return evidence
    finally:
        if sources is None:
            connected.close()


def store() -> Path:
    """Return the folder of kept evidence."""
    return settings.openmodels_cache_folder() / "openness"


def fetch_model_evidence(hub: HubClient, model: str, *, deep: bool = True) -> dict[str, Any]:
    """Return the page of one model; see `gather` for what it raises."""
    row = hub.get_model(model)
    page: dict[str, Any] = {"id": model, "gathered_at": now(), "deep": True} | {
        name: row[name] for name in _KEPT_FIELDS if name in row
    }
    if not isinstance(page["id"], str) or not ID.fullmatch(page["id"]):
        raise errors.InvalidResponse(f"The Hub's page of {model} has no usable id.")
    if isinstance(page.get("siblings"), list):
        # Hashes and the like: with a hundred thousand files they take more room than all the rest.
        page["siblings"] = [
            {name: entry[name] for name in ("rfilename", "size") if name in entry}
            for entry in fields.objects(page["siblings"])
        ]
    page["unknown"] = [name for name in ("gated", "siblings", "tags") if name not in page]
    if not deep:
        return without_deep_fields(page)
    names = [file.name for file in ModelPage(page).files]
    read_file = partial(hub.get_file, page["id"], revision=page.get("sha"))
    with _unknown_if_unread(page, "readme"):
        if page.get("siblings") is not None and "README.md" not in names:
            page["readme"] = {"headings": [], "links": [], "claims": []}
        else:
            _add_card(page, read_file("README.md", hub_card.LONGEST))
    if "config.json" in names:
        with _unknown_if_unread(page, "shape"):
            page["shape"] = read_shape(read_file("config.json", _LICENSE_BYTES))
    with _unknown_if_unread(page, "refs"):
        page["refs"] = {**hub.get_refs(page["id"]), "branches_complete": True}
    page["license_texts"] = {}
    for name in _readable_license_files(names):
        with _unknown_if_unread(page, f"license_texts.{name}"):
            page["license_texts"][name] = read_file(name, _LICENSE_BYTES)
    return page


def from_folder(folder: Path) -> Evidence:
    """Return evidence about a model in a folder: its files, card and license texts.

    Raises:
        InvalidRequest: The folder holds neither a card nor a configuration.
    """
    paths = islice((path for path in folder.rglob("*") if path.is_file() and ".git" not in path.parts), MOST_FILES)
    names = sorted(path.relative_to(folder).as_posix() for path in paths)
    if not any(name in ("config.json", "README.md") or name.endswith((".gguf", ".safetensors")) for name in names):
        raise errors.InvalidRequest(f"The folder {str(folder)!r} holds neither a model card nor a model.")
    read_file = partial(Path.read_text, encoding="utf-8", errors="replace")
    page: dict[str, Any] = {
        "id": re.sub(r"[^A-Za-z0-9_.-]+", "-", folder.name)[:96] or "model",
        "siblings": [{"rfilename": name} for name in names],
        "license_texts": {name: read_file(folder / name)[:_LICENSE_BYTES] for name in _readable_license_files(names)},
        "gathered_at": now(),
        "unknown": ["gated", "refs", "safetensors"],
    }
    if "config.json" in names:
        page["shape"] = read_shape(read_file(folder / "config.json")[:_LICENSE_BYTES])
    if (readme := folder / "README.md").is_file():
        _add_card(page, read_file(readme))
    else:
        page["unknown"] += ["readme", "cardData"]
    evidence = Evidence(page["id"])
    evidence.pages["models"][page["id"].lower()] = page
    evidence.finish(deep=True)
    return evidence


def _readable_license_files(names: Iterable[str]) -> list[str]:
    """Return the files of terms to fetch, those nearest to the root first."""
    readable = [name for name in names if is_license_file(name) and not why_unreadable(name)]
    return sorted(readable, key=lambda name: (find_role(name) is FileRole.OTHERS, name.count("/")))[:MOST_LICENSE_FILES]


@contextmanager
def _unknown_if_unread(page: dict[str, Any], name: str) -> Iterator[None]:
    """Note a field as unknown where reading it fails."""
    try:
        yield
    except _UNREAD:
        page["unknown"].append(name)


def _add_card(page: dict[str, Any], text: str) -> None:
    page["readme"] = hub_card.parse_outline(text)
    page.setdefault("cardData", hub_card.parse_front_matter(text))


def _gather_papers(hub: HubClient, page: dict[str, Any]) -> None:
    """Gather title and authors of the papers that a model names."""
    names = ModelEvidence(page).papers
    page["papers"] = {}
    for name in names[:MOST_PAPERS]:
        with _unknown_if_unread(page, f"papers.{name}"):
            row = hub.get_paper(name)
            authors = [str(author.get("name")) for author in fields.objects(row.get("authors"))]
            page["papers"][name] = {
                "title": str(row.get("title") or ""),
                "authors": " and ".join(authors),
                "organization": str(fields.mapping(row.get("organization")).get("name") or ""),
            }
    page["unknown"] += [f"papers.{name}" for name in names[MOST_PAPERS:]]


def _gather_bases(hub: HubClient, evidence: Evidence) -> None:
    """Gather the base models of each model, the nearest first, until the roots."""
    waiting, gathered = deque([(evidence.model, 1)]), 0
    unread = evidence.unread["models"]
    while waiting:
        model, generation = waiting.popleft()
        for former, current in list(model.page.renamed_bases.items())[:MOST_RENAMED]:
            # Anybody can write a tag: only a redirect of the Hub itself makes an id another one's.
            with suppress(*_UNREAD):
                if str(hub.get_model(former, expand=("gated",)).get("id")).lower() == current.lower():
                    evidence.renamed["models"][former.lower()] = current
        for name in [base.id for base in find_bases(evidence, model) if base.stated]:
            if evidence.find("models", name) is not None or name.lower() in unread:
                continue
            if generation > MOST_GENERATIONS or gathered >= MOST_BASES:
                unread[name.lower()] = (
                    f"bases are gathered up to {MOST_GENERATIONS} generations back, and {MOST_BASES} in all"
                )
                continue
            gathered += 1
            try:
                page = fetch_model_evidence(hub, name)
            except _UNREAD as error:
                unread[name.lower()] = error.cause.rstrip(".")
                continue
            evidence.add("models", name, page)
            waiting.append((ModelEvidence(page), generation + 1))


def _gather_datasets(hub: HubClient, evidence: Evidence) -> None:
    models = list(map(ModelEvidence, evidence.pages["models"].values()))
    names = [name for model in models for name in (*model.datasets, *(link.dataset for link in model.links)) if name]
    names = list(dict.fromkeys(names))
    for name in names[:MOST_DATASETS]:
        evidence.add("datasets", name, _kept("datasets", name) or _fetch_dataset_evidence(hub, name))
    for name in names[MOST_DATASETS:]:
        evidence.unread["datasets"][name.lower()] = f"no more than {MOST_DATASETS} data sets are looked up"


def _fetch_dataset_evidence(hub: HubClient, name: str) -> dict[str, Any]:
    page: dict[str, Any] = {"id": name, "gathered_at": now(), "format": _FORMAT, "unknown": []}
    try:
        row = hub.get_dataset(name)
    except errors.ModelNotFound:
        return page | {"exists": False}
    except _UNREAD as error:
        return page | {"failed": error.cause, "unknown": ["exists", "gated", "license"]}
    if isinstance(row.get("id"), str) and ID.fullmatch(row["id"]):
        page["id"] = row["id"]
    page |= {"exists": True, "gated": row.get("gated"), "tags": row.get("tags") or []}
    page |= {name: row[name] for name in ("sha", "disabled", "private", "usedStorage", "description") if name in row}
    card = fields.mapping(row.get("cardData"))
    page["cardData"] = {name: card[name] for name in ("dataset_info", "size_categories") if name in card}
    if isinstance(listed := row.get("siblings"), list):
        page["siblings"] = listed[:MOST_DATA_FILES]
        page["siblings_status"] = {"coverage": "complete" if len(listed) <= MOST_DATA_FILES else "partial"}
    if page["gated"] is None:
        page["unknown"] = ["gated"]
    if declared := parse_license(card):
        page |= {"license": declared.id, "license_name": declared.name}
    return page


def _gather_repositories(github: GitHubClient, evidence: Evidence) -> None:
    model = evidence.model
    names = [repository.name for repository in find_repositories(evidence, model) if repository.name]
    for page in map(ModelEvidence, evidence.pages["models"].values()):
        if page.owner == model.owner:
            names += [name for link in page.links if (name := parse_github_link(link)[0])]
        else:
            # The code of a fine-tune is whole only with that of its base.
            names += [repository.name for repository in find_repositories(evidence, page)]
    # A card that links no repository may still have one of its own name.
    guesses = [f"{model.owner}/{split_words(split_repo_id(model.id)[1])[0]}"] if not names and family(model.id) else []
    names = list(dict.fromkeys([*names, *guesses]))
    for name in names[:MOST_REPOSITORIES]:
        repository = _kept("github", name) or _fetch_repository_evidence(github, name)
        if not (repository.get("missing") and name in guesses):
            evidence.add("github", name, repository)
    for name in names[MOST_REPOSITORIES:]:
        evidence.unread["github"][name.lower()] = f"no more than {MOST_REPOSITORIES} repositories are looked at"


def _fetch_repository_evidence(github: GitHubClient, name: str) -> dict[str, Any]:
    page: dict[str, Any] = {"repo": name, "gathered_at": now(), "format": _FORMAT, "tree": []}
    page["unknown"] = ["tree", "license"]
    try:
        about = github.get_repository(name)
        tree = github.get_tree(name, str(about.get("default_branch") or "HEAD"))
    except errors.ModelNotFound:
        return page | {"missing": True, "failed": "there is no such repository"}
    except (*_UNREAD, errors.ConnectionFailed) as error:
        return page | {"failed": error.cause.rstrip(".")}
    if isinstance(about.get("full_name"), str) and ID.fullmatch(about["full_name"]):
        page["repo"] = about["full_name"]
    entries = [entry for entry in tree.get("tree") or [] if entry.get("type") != "tree"]
    paths = [str(entry.get("path")) for entry in entries]
    spdx = str((about.get("license") or {}).get("spdx_id") or "")
    page |= {
        "tree": paths[:MOST_PATHS],
        "tree_total": len(paths),
        "tree_truncated": bool(tree.get("truncated")) or len(paths) > MOST_PATHS,
        # The files of another repository, which the list does not hold.
        "submodules": [str(entry.get("path")) for entry in entries if entry.get("type") == "commit"],
        "head": tree.get("sha"),
        "fork": bool(about.get("fork")),
        "parent": (about.get("parent") or {}).get("full_name"),
        # GitHub found a license file, but no license it knows.
        "license": "other" if spdx == "NOASSERTION" else spdx.lower() or None,
        "unknown": [],
    }
    layout = classify_files(RepositoryEvidence(page))
    if layout.training or layout.launchers or layout.training_configs:
        # It may name the library that holds the program, or the model that a framework was changed for.
        with _unknown_if_unread(page, "readme"):
            try:
                page["readme"] = hub_card.parse_outline(github.get_readme(str(page["repo"])))
            except errors.ModelNotFound:
                page["readme"] = {}
    return page


def _gather_recipes(github: GitHubClient, evidence: Evidence) -> None:
    """Gather the sizes that the likeliest recipes of a model state."""
    model, left = evidence.model, MOST_RECIPES
    for repository in find_repositories(evidence, model) if model.shape else ():
        page = evidence.find("github", repository.name) or {}
        for path in find_recipes(repository)[:left]:
            if path not in repository.page.recipes:
                left -= 1
                with suppress(*_UNREAD, errors.ConnectionFailed):
                    page.setdefault("recipes", {})[path] = read_shape(github.get_file(repository.page.id, path))


def _kept(kind: str, name: str) -> dict[str, Any] | None:
    """Return a page from the cache, if it is young and was read whole."""
    try:
        page = Evidence(name, folder=store()).find(kind, name) or {}
        age = datetime.now(UTC) - datetime.fromisoformat(str(page.get("gathered_at")))
    except (ValueError, TypeError, AttributeError):  # a damaged page is fetched again
        return None
    is_whole = page.get("format") == _FORMAT and not page.get("failed") and "readme" not in page["unknown"]
    return page if is_whole and age <= timedelta(days=KEEP_DAYS) else None
