"""Evidence about one model, data set or repository, and what is not known of it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from openmodels import columns, licenses
from openmodels.hub import card
from openmodels.hub.model_names import split_repo_id
from openmodels.hub.model_page import Gate, ModelPage, parse_gate, parse_license
from openmodels.licenses.files import is_license_file
from openmodels.openness.findings import Proof
from openmodels.openness.model_shape import parse_shape

LONGEST_TEXT = 100_000  # characters of a license file that are kept
ID = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", re.ASCII)  # an id on the Hub or on GitHub
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
    """One evidence file: of a model, a data set or a repository."""

    site = "https://huggingface.co/"

    def __init__(self, data: dict[str, Any]) -> None:
        # A field of the wrong type says nothing: it counts as one that was not seen.
        wrong = {name for name, kind in _TYPES.items() if not isinstance(data.get(name), kind | None)}
        # The content of the file, without fields of a wrong type.
        self.data = {name: value for name, value in data.items() if name not in wrong}
        for name in ("siblings", "provenance"):
            if name in self.data:
                self.data[name] = objects(self.data[name])
        if readme := self.data.get("readme"):
            self.data["readme"] = readme | {
                name: objects(readme[name]) for name in ("links", "claims") if name in readme
            }
        self.id = str(data.get("id") or data.get("repo") or "")  # "owner/name"
        self.owner = split_repo_id(self.id)[0]  # the account that holds it
        # The name and the address of the bill of materials that states this, or nothing.
        self.bom = self.data.get("bom") or {}
        self.url = str(self.bom.get("url") or self.site + self.id)  # its page, or the bill's address
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
    """A data set on the Hub."""

    site = "https://huggingface.co/datasets/"

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        # Whether it exists; None where that was not looked up.
        self.exists = bool(data["exists"]) if self.known("exists") and "exists" in data else None
        gate = parse_gate(data.get("gated")) if self.known("gated") else None
        # Whether access needs consent; None where that was not seen.
        self.gated = None if gate is None else gate is not False
        # The license of its front matter: the id, or the name where the id says nothing.
        self.license: str | None = None
        if self.known("license") and (declared := parse_license(data)):
            terms = licenses.find_stated(declared.id, declared.name)
            # By its name alone, a license beside "other" would count as one that is known.
            self.license = terms.id if licenses.find(terms.id).kind is terms.kind else declared.id
        self.is_disabled = bool(self.data.get("disabled")) and self.known("disabled")  # whether the Hub switched it off
        self.is_private = bool(self.data.get("private")) and self.known("private")  # whether only its owner can read it
        self.files: list[str] | None = None  # the names of its files; None where they were not seen
        if "siblings" in self.data and self.known("siblings"):
            self.files = [file.name for file in ModelPage(self.data).files]
        # The beginning of its card, as the Hub's page gives it.
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
    """A repository on GitHub: its file names and its license."""

    site = "https://github.com/"

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.tree = [str(path) for path in items(self.data.get("tree"))]  # the paths that were listed
        total = data.get("tree_total")
        seen = not isinstance(total, int | float) or total <= len(self.tree)
        self.complete = bool(self.tree) and not data.get("tree_truncated") and seen  # whether the whole tree was listed
        # The license id, or None for no license file or a mix.
        self.license = str(data["license"]) if data.get("license") and self.known("license") else None
        self.parent = str(data.get("parent") or "")  # the "owner/name" it was forked from, or ""
        # Whether GitHub says that it was forked from another repository.
        self.is_fork = bool(data.get("fork") or self.parent)
        # The folders that hold another repository, whose files are not in the tree.
        self.submodules = [str(path) for path in items(self.data.get("submodules"))]
        readme = self.data.get("readme") or {}
        # The first heading of its README, where that was read.
        self.title = next(map(str, items(readme.get("headings"))), "")
        self.links = _parse_links(readme)  # the links of its README
        self.sentences = _parse_sentences(readme)  # the sentences of its README
        self.citations = _parse_citations(items(readme.get("citations")))  # the BibTeX entries of its README
        # The sizes in configurations and launchers whose content was read, by path.
        self.recipes = {path: parse_shape(stated) for path, stated in (self.data.get("recipes") or {}).items()}

    def file_proof(self, path: str) -> Proof:
        """Return a file of the repository as a piece of evidence."""
        return self.proof(path, "tree", url=f"{self.url}/blob/{self.data.get('head') or 'HEAD'}/{path}")


class ModelEvidence(EvidencePage):
    """A model on the Hub."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.page = ModelPage(self.data)  # the fields that catalogs read too
        self.tags = self.page.tags  # the Hub's tags
        # How access is gated: False, "auto" or "manual"; None where that was not seen.
        self.gated: Gate | None = self.page.gated if self.known("gated") else None
        # The file names that were seen; not all of them unless `files_complete`.
        self.files = [file.name for file in self.page.files]
        listing = self.data.get("siblings_status") or {}
        is_listed_whole = listing.get("coverage", "complete") == "complete"
        # Whether every file of the repository is in `files`.
        self.files_complete = "siblings" in self.data and self.known("siblings") and is_listed_whole
        # Folders that exist although their files were not listed.
        self.folders = [str(name) for name in items(listing.get("folders_not_expanded"))]
        # The names of the files that hold parameters.
        self.weight_files = [name for name in self.files if _WEIGHTS.search(name) and not _NOT_WEIGHTS.search(name)]
        # The names of the files that hold results of evaluations.
        self.result_files = list(filter(_RESULT_FILE.search, self.files))
        # The formats of weights that the Hub itself tagged.
        self.weight_tags = sorted(_WEIGHT_TAGS.intersection(self.tags))
        # The number of parameters that the Hub counted; 0 where it did not.
        self.parameters = self.page.counted_parameters or 0
        readme = self.data.get("readme") or {}
        self.headings = [str(text) for text in items(readme.get("headings"))]  # the headings of the card
        # Those of them under which nothing is written but placeholders.
        self.empty_headings = [str(text) for text in items(readme.get("empty_headings"))]
        papers = (self.data.get("papers") or {}).items()
        on_arxiv = [row | {"arxiv": name} for name, row in papers if isinstance(row, dict)]
        # Papers of which title or authors are known: BibTeX entries of the card, and those on arXiv.
        self.citations = _parse_citations([*items(readme.get("citations")), *on_arxiv])
        # Sentences of the card; text by strangers, to be matched and never obeyed.
        self.sentences = _parse_sentences(readme)
        self.links = _parse_links(readme)  # the https links of the card
        # Whether the card's text was read as a whole.
        self.card_seen = "readme" in self.data and self.known("readme.headings") and self.known("readme.links")
        # Whether it is known to have no card.
        self.card_missing = self.files_complete and "readme.md" not in map(str.lower, self.files)
        self.license_files = list(filter(is_license_file, self.files))  # the names of the files that hold terms
        texts = self.data.get("license_texts") or {}
        # The text of each of them that was read, by file name.
        self.license_texts = {str(name): str(text)[:LONGEST_TEXT] for name, text in texts.items()}
        # The data sets the front matter or the tags name.
        self.datasets = [name for name in self.page.datasets if ID.fullmatch(name)]
        bases = self.page.base_models.items()
        # The models it declares to be made from, each with the relation ("finetune", …).
        self.bases = [(name, relation or "finetune") for name, relation in bases if name != self.id]
        texts_with_papers = [tag for tag in self.tags if tag.startswith("arxiv:")]
        # "Gao et al., 2020" is a citation of somebody else's work.
        texts_with_papers += [link.url for link in self.links if "et al" not in link.text]
        # The arXiv ids of tags and links.
        self.papers = list(dict.fromkeys(paper for text in texts_with_papers for paper in find_arxiv_ids(text)))
        refs = self.data.get("refs") or {}
        branches_and_tags = [*items(refs.get("branches")), *items(refs.get("tags"))]
        names = [ref.get("name") if isinstance(ref, dict) else ref for ref in branches_and_tags]
        self.refs = list(dict.fromkeys(str(name) for name in names if name))  # branches and tags that were seen
        # Whether every branch and tag is in `refs`.
        self.refs_complete = bool(refs) and refs.get("branches_complete") is not False and self.known("refs.branches")
        self.shape = parse_shape(self.data.get("shape"))  # the sizes in its config.json, where that was read
        # A separate repository of checkpoints, "" where none is known.
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
        return self.proof(f"the card says: {columns.shorten(sentence, length)}", "readme", url=url)


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


def objects(value: Any) -> list[dict[str, Any]]:
    """Return the objects of a value of JSON, as `items` reads it."""
    return [entry for entry in items(value) if isinstance(entry, dict)]
