"""Evidence about one model, data set or repository, and what is not known of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from openmodels import licenses
from openmodels.hub import card
from openmodels.hub.model_names import split_repo_id
from openmodels.hub.model_page import Gate, ModelPage, parse_gate, parse_license
from openmodels.licenses.files import is_license_file
from openmodels.openness.findings import Proof
from openmodels.openness.model_shape import parse_shape

LONGEST_TEXT = 100_000
"""Characters of a license file that are kept."""
ID = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", re.ASCII)
"""An id on the Hub or on GitHub."""
_ARXIV = re.compile(r"(?i)(?:arxiv\.org/(?:abs|pdf|html)/|arxiv:)(\d{4}\.\d{4,5})")
_WEIGHTS = re.compile(r"(?i)\.(?:safetensors|bin|pt|pth|gguf|ggml|h5|msgpack|onnx|ckpt|nemo|npz|pdparams)$")
_NOT_WEIGHTS = re.compile(r"(?i)(?:^|/)(?:training_args|optimizer|scheduler|rng_state|tokenizer)[^/]*$")
_RESULT_FILE = re.compile(r"(?i)(?:^|/)(?:eval|evaluation|results?|all_results|benchmark)[\w.-]*\.(?:json|csv|ya?ml)$")
_NOT_DATA = re.compile(
    r"(?i)(?:^|/)(?:\.[^/]*|readme[^/]*|[^/]*licen[cs]e[^/]*|notice[^/]*|citation[^/]*|dataset_infos\.json|[^/]*\.md)$"
    r"|^(?:assets|figures)/|^[^/]*(?:logo|banner|thumbnail|overview)[^/]*$"
)
"""Files of a data set that hold no data: its card, its terms, what git needs, pictures of the card."""
_MOST_ROWS = re.compile(r"(?i)(?:\d+[KMBT]?)?n?<n?<?(\d+)([KMBT]?)")
_LONGEST_DESCRIPTION = 4_000
_WEIGHT_TAGS = frozenset({"safetensors", "pytorch", "gguf", "tf", "jax", "onnx", "ggml"})


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a model card.

    With its address, its text, the heading it stands under and the words before it.
    """

    url: str
    text: str = ""
    section: str = ""
    before: str = ""

    @property
    def host(self) -> str:
        """The host in lower case, "" for anything but an https address."""
        return card.https_host(self.url)

    @property
    def path(self) -> list[str]:
        """The segments of the path."""
        return [part for part in urlsplit(self.url).path.split("/") if part] if self.host else []

    @property
    def dataset(self) -> str:
        """The id of the data set on the Hub that it leads to, or ""."""
        return "/".join(self.path[1:3]) if self.host == "huggingface.co" and self.path[:1] == ["datasets"] else ""


@dataclass(frozen=True, slots=True)
class Citation:
    """A paper: a BibTeX entry of a card, or the Hub's page of one on arXiv.

    What is not given is "".
    """

    title: str
    authors: str  # separated by " and "
    arxiv: str
    organization: str = ""  # the account on the Hub that it is filed under


_TYPES: dict[str, type] = {
    "cardData": dict, "readme": dict, "siblings": list, "siblings_status": dict, "safetensors": dict, "config": dict,
    "refs": dict, "papers": dict, "recipes": dict, "license_texts": dict, "provenance": list,
    "checkpoint_repository": dict, "bom": dict, "tags": list, "tree": list,
}  # fmt: skip


class EvidencePage:
    """One evidence file: of a model, a data set or a repository.

    Attributes:
        data: The content of the file, without fields of a wrong type.
        id: "owner/name".
        owner: The account that holds it.
        bom: The name and the address of the bill of materials that states this, or nothing.
        url: Its page, or the bill's address.
    """

    site = "https://huggingface.co/"

    def __init__(self, data: dict[str, Any]) -> None:
        # A field of the wrong type says nothing: it counts as one that was not seen.
        wrong = {name for name, kind in _TYPES.items() if not isinstance(data.get(name), kind | None)}
        self.data = {name: value for name, value in data.items() if name not in wrong}
        for name in ("siblings", "provenance"):
            if name in self.data:
                self.data[name] = _objects(self.data[name])
        if readme := self.data.get("readme"):
            self.data["readme"] = readme | {
                name: _objects(readme[name]) for name in ("links", "claims") if name in readme
            }
        self.id = str(data.get("id") or data.get("repo") or "")
        self.owner = split_repo_id(self.id)[0]
        self.bom = self.data.get("bom") or {}
        self.url = str(self.bom.get("url") or self.site + self.id)
        self._unknown = {str(entry).split(" ")[0] for entry in items(data.get("unknown"))} | wrong

    def known(self, name: str) -> bool:
        """Return whether a field was seen, by its path ("readme.links")."""
        parents = name.split(".")
        return not any(".".join(parents[:depth]) in self._unknown for depth in range(1, len(parents) + 1))

    def proof(self, what: str, name: str = "", *, url: str | None = None) -> Proof:
        """Return a piece of evidence from this page and its field `name`."""
        field = name.partition(".")[0]
        sources = (
            entry
            for entry in items(self.data.get("provenance"))
            if field in (str(stated).partition(".")[0] for stated in items(entry.get("fields")))
        )
        source: dict[str, Any] = next(sources, {})
        as_of = source.get("as_of") or self.data.get("gathered_at")
        status = self.data.get("siblings_status") or {}
        revision = self.data.get("sha") or self.data.get("head") or status.get("revision_seen")
        if self.bom:
            # Where a bill was read, it is the bill that can be checked.
            what, url = f"{self.bom.get('name')}: {what}", None if url and url.startswith(self.url) else url
        return Proof(url or self.url, what, str(revision) if revision else None, str(as_of) if as_of else None)


class DatasetEvidence(EvidencePage):
    """A data set on the Hub.

    Attributes:
        exists: Whether it exists; None where that was not looked up.
        gated: Whether access needs consent; None where that was not seen.
        license: The license of its front matter: the id, or the name where the id says nothing.
        is_disabled: Whether the Hub switched it off.
        is_private: Whether only its owner can read it.
        files: The names of its files; None where they were not seen.
        description: The beginning of its card, as the Hub's page gives it.
    """

    site = "https://huggingface.co/datasets/"

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.exists = bool(data["exists"]) if self.known("exists") and "exists" in data else None
        gate = parse_gate(data.get("gated")) if self.known("gated") else None
        self.gated = None if gate is None else gate is not False
        self.license: str | None = None
        if self.known("license") and (declared := parse_license(data)):
            terms = licenses.find_stated(declared.id, declared.name)
            # By its name alone, a license beside "other" would count as one that is known.
            self.license = terms.id if licenses.find(terms.id).kind is terms.kind else declared.id
        self.is_disabled = bool(self.data.get("disabled")) and self.known("disabled")
        self.is_private = bool(self.data.get("private")) and self.known("private")
        self.files: list[str] | None = None
        if "siblings" in self.data and self.known("siblings"):
            self.files = [file.name for file in ModelPage(self.data).files]
        self.description = str(self.data.get("description") or "")[:_LONGEST_DESCRIPTION]

    @property
    def is_emptied(self) -> bool:
        """Whether its list of files was seen and holds no data any more."""
        # A repository always has a file, if only `.gitattributes`: an empty list is one that was not given.
        if not self.files or (self.data.get("siblings_status") or {}).get("coverage", "complete") != "complete":
            return False
        return all(map(_NOT_DATA.search, self.files))

    @property
    def has_only_a_script(self) -> bool:
        """Whether it holds a program that loads data from elsewhere, and no data."""
        names = [name for name in self.files or () if not _NOT_DATA.search(name)]
        return bool(names) and all(name.endswith(".py") for name in names)

    @cached_property
    def bytes(self) -> int | None:
        """The bytes of its data, or None where the page does not state them."""
        infos = [info for info in items(self.page_card.get("dataset_info")) if isinstance(info, dict)]
        stated = (info.get("dataset_size") or info.get("download_size") for info in infos)
        sizes = [size for size in stated if isinstance(size, int) and size > 0]
        if sizes and len(sizes) == len(infos):
            return sum(sizes)
        stored = self.data.get("usedStorage")
        return stored if isinstance(stored, int) and stored > 0 and self.known("usedStorage") else None

    @cached_property
    def most_rows(self) -> int | None:
        """The number of rows it has at most, by its size category, or None."""
        tagged = [str(tag).removeprefix("size_categories:") for tag in items(self.data.get("tags"))]
        stated = [*map(str, items(self.page_card.get("size_categories"))), *tagged]
        bounds = [_to_count(*match.groups()) for text in stated if (match := _MOST_ROWS.fullmatch(text))]
        return max(bounds, default=None)

    @property
    def page_card(self) -> dict[str, Any]:
        """Its front matter."""
        return self.data.get("cardData") or {}


def _to_count(number: str, unit: str) -> int:
    return int(number) * {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}[unit.upper()]


class RepositoryEvidence(EvidencePage):
    """A repository on GitHub: its file names and its license.

    Attributes:
        tree: The paths that were listed.
        complete: Whether the whole tree was listed.
        license: The license id, or None for no license file or a mix.
        is_fork: Whether GitHub says that it was forked from another repository.
        parent: The "owner/name" it was forked from, or "".
        submodules: The folders that hold another repository, whose files are not in the tree.
        title: The first heading of its README, where that was read.
        links: The links of its README.
        sentences: The sentences of its README.
        citations: The BibTeX entries of its README.
        recipes: The sizes in configurations and launchers whose content was read, by path.
    """

    site = "https://github.com/"

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.tree = [str(path) for path in items(self.data.get("tree"))]
        total = data.get("tree_total")
        seen = not isinstance(total, int | float) or total <= len(self.tree)
        self.complete = bool(self.tree) and not data.get("tree_truncated") and seen
        self.license = str(data["license"]) if data.get("license") and self.known("license") else None
        self.parent = str(data.get("parent") or "")
        self.is_fork = bool(data.get("fork") or self.parent)
        self.submodules = [str(path) for path in items(self.data.get("submodules"))]
        readme = self.data.get("readme") or {}
        self.title = next(map(str, items(readme.get("headings"))), "")
        self.links = _parse_links(readme)
        self.sentences = _parse_sentences(readme)
        self.citations = _parse_citations(items(readme.get("citations")))
        self.recipes = {path: parse_shape(stated) for path, stated in (self.data.get("recipes") or {}).items()}

    def file_proof(self, path: str) -> Proof:
        """Return a file of the repository as a piece of evidence."""
        return self.proof(path, "tree", url=f"{self.url}/blob/{self.data.get('head') or 'HEAD'}/{path}")


class ModelEvidence(EvidencePage):
    """A model on the Hub.

    Attributes:
        page: The fields that catalogs read too.
        tags: The Hub's tags.
        gated: How access is gated: False, "auto" or "manual"; None where that was not seen.
        files: The file names that were seen; not all of them unless `files_complete`.
        files_complete: Whether every file of the repository is in `files`.
        folders: Folders that exist although their files were not listed.
        weight_files: The names of the files that hold parameters.
        result_files: The names of the files that hold results of evaluations.
        weight_tags: The formats of weights that the Hub itself tagged.
        parameters: The number of parameters that the Hub counted; 0 where it did not.
        headings: The headings of the card.
        empty_headings: Those of them under which nothing is written but placeholders.
        citations: Papers of which title or authors are known: BibTeX entries of the card, and those on arXiv.
        sentences: Sentences of the card; text by strangers, to be matched and never obeyed.
        links: The https links of the card.
        card_missing: Whether it is known to have no card.
        card_seen: Whether the card's text was read as a whole.
        license_files: The names of the files that hold terms.
        license_texts: The text of each of them that was read, by file name.
        datasets: The data sets the front matter or the tags name.
        bases: The models it declares to be made from, each with the relation ("finetune", …).
        papers: The arXiv ids of tags and links.
        refs: Branches and tags that were seen.
        refs_complete: Whether every branch and tag is in `refs`.
        checkpoint_repository: A separate repository of checkpoints, "" where none is known.
        shape: The sizes in its config.json, where that was read.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.page = ModelPage(self.data)
        self.tags = self.page.tags
        self.gated: Gate | None = self.page.gated if self.known("gated") else None
        self.files = [file.name for file in self.page.files]
        listing = self.data.get("siblings_status") or {}
        is_listed_whole = listing.get("coverage", "complete") == "complete"
        self.files_complete = "siblings" in self.data and self.known("siblings") and is_listed_whole
        self.folders = [str(name) for name in items(listing.get("folders_not_expanded"))]
        self.weight_files = [name for name in self.files if _WEIGHTS.search(name) and not _NOT_WEIGHTS.search(name)]
        self.result_files = list(filter(_RESULT_FILE.search, self.files))
        self.weight_tags = sorted(_WEIGHT_TAGS.intersection(self.tags))
        self.parameters = self.page.counted_parameters or 0
        readme = self.data.get("readme") or {}
        self.headings = [str(text) for text in items(readme.get("headings"))]
        self.empty_headings = [str(text) for text in items(readme.get("empty_headings"))]
        papers = (self.data.get("papers") or {}).items()
        on_arxiv = [row | {"arxiv": name} for name, row in papers if isinstance(row, dict)]
        self.citations = _parse_citations([*items(readme.get("citations")), *on_arxiv])
        self.sentences = _parse_sentences(readme)
        self.links = _parse_links(readme)
        self.card_seen = "readme" in self.data and self.known("readme.headings") and self.known("readme.links")
        self.card_missing = self.files_complete and "readme.md" not in map(str.lower, self.files)
        self.license_files = list(filter(is_license_file, self.files))
        texts = self.data.get("license_texts") or {}
        self.license_texts = {str(name): str(text)[:LONGEST_TEXT] for name, text in texts.items()}
        self.datasets = [name for name in self.page.datasets if ID.fullmatch(name)]
        bases = self.page.base_models.items()
        self.bases = [(name, relation or "finetune") for name, relation in bases if name != self.id]
        texts_with_papers = [tag for tag in self.tags if tag.startswith("arxiv:")]
        # "Gao et al., 2020" is a citation of somebody else's work.
        texts_with_papers += [link.url for link in self.links if "et al" not in link.text]
        self.papers = list(dict.fromkeys(paper for text in texts_with_papers for paper in find_arxiv_ids(text)))
        refs = self.data.get("refs") or {}
        branches_and_tags = [*items(refs.get("branches")), *items(refs.get("tags"))]
        names = [ref.get("name") if isinstance(ref, dict) else ref for ref in branches_and_tags]
        self.refs = list(dict.fromkeys(str(name) for name in names if name))
        self.refs_complete = bool(refs) and refs.get("branches_complete") is not False and self.known("refs.branches")
        self.shape = parse_shape(self.data.get("shape"))
        self.checkpoint_repository = str((self.data.get("checkpoint_repository") or {}).get("repo") or "")

    @cached_property
    def declared_license(self) -> licenses.LicenseTerms | None:
        """The license that the front matter or the tags declare, or None for none."""
        declared = self.page.license
        return licenses.find_stated(declared.id, declared.name) if declared is not None else None

    def file_proof(self, name: str, what: str = "", field: str = "siblings") -> Proof:
        """Return a file of the repository as a piece of evidence."""
        return self.proof(what or name, field, url=f"{self.url}/blob/main/{name}")

    def sentence_proof(self, sentence: str, length: int, *, url: str | None = None) -> Proof:
        """Return a sentence of the card, cut to a length, as a piece of evidence."""
        return self.proof(f"the card says: {sentence[:length]}", "readme", url=url)


def _parse_links(readme: dict[str, Any]) -> list[Link]:
    names, entries = ("url", "text", "section", "before"), readme.get("links", ())
    links = [Link(*(str(entry.get(name) or "") for name in names)) for entry in entries]
    return [link for link in links if link.host]


def _parse_citations(entries: Iterable[Any]) -> list[Citation]:
    names = ("title", "authors", "arxiv", "organization")
    return [Citation(*(str(entry.get(name) or "") for name in names)) for entry in entries if isinstance(entry, dict)]


def _parse_sentences(readme: dict[str, Any]) -> list[str]:
    return [str(text)[:1000] for claim in readme.get("claims", ()) if (text := claim.get("fact"))]


def find_arxiv_ids(text: str) -> list[str]:
    """Return the arXiv ids that an address or a tag names."""
    return _ARXIV.findall(text)


def items(value: Any) -> list[Any]:
    """Return a value of JSON as a list: itself, nothing, or the one item it is."""
    return value if isinstance(value, list) else [] if value is None else [value]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in items(value) if isinstance(entry, dict)]
