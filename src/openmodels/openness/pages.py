"""Evidence about one model, data set or repository, and what is not known of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from openmodels import licenses
from openmodels.hub import card
from openmodels.hub.model_names import split
from openmodels.hub.model_page import Gate, ModelPage, parse_gate, parse_license
from openmodels.openness.findings import Proof

LONGEST_TEXT = 100_000
"""Characters of a license file that are kept."""


ID = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", re.ASCII)
"""An id on the Hub or on GitHub."""
_ARXIV = re.compile(r"(?i)(?:arxiv\.org/(?:abs|pdf|html)/|arxiv:)(\d{4}\.\d{4,5})")
_WEIGHTS = re.compile(r"(?i)\.(?:safetensors|bin|pt|pth|gguf|ggml|h5|msgpack|onnx|ckpt|nemo|npz|pdparams)$")
_NOT_WEIGHTS = re.compile(r"(?i)(?:^|/)(?:training_args|optimizer|scheduler|rng_state|tokenizer)[^/]*$")
_WEIGHT_TAGS = frozenset({"safetensors", "pytorch", "gguf", "tf", "jax", "onnx", "ggml"})


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a model card: its address, its text and the heading it stands under."""

    url: str
    text: str = ""
    section: str = ""

    @property
    def host(self) -> str:
        """The host in lower case, "" for anything but an https address."""
        return card.https_host(self.url)

    @property
    def path(self) -> list[str]:
        """The segments of the path."""
        return [part for part in urlsplit(self.url).path.split("/") if part] if self.host else []


_TYPES: dict[str, type] = {
    "cardData": dict, "readme": dict, "siblings": list, "siblings_status": dict, "safetensors": dict, "config": dict,
    "refs": dict, "license_texts": dict, "provenance": list, "checkpoint_repository": dict, "tags": list, "tree": list,
}  # fmt: skip
_OBJECTS = {"siblings": None, "provenance": None, "readme": ("links", "claims")}


def _sound(name: str, value: Any) -> Any:
    """Return a field's value with nothing but objects where objects are read."""
    if name not in _OBJECTS or not value:
        return value
    if (inner := _OBJECTS[name]) is None:
        return [entry for entry in value if isinstance(entry, dict)]
    return value | {
        key: [entry for entry in items(value.get(key)) if isinstance(entry, dict)] for key in inner if key in value
    }


class EvidencePage:
    """One evidence file: of a model, a data set or a repository."""

    site = "https://huggingface.co/"

    def __init__(self, data: dict[str, Any]) -> None:
        # A field of the wrong type says nothing: it counts as one that was not seen.
        wrong = {name for name, kind in _TYPES.items() if not isinstance(data.get(name), kind | None)}
        self.data = {name: _sound(name, value) for name, value in data.items() if name not in wrong}
        self.id: str = str(data.get("id") or data.get("repo") or "")
        self._unknown = {str(entry).split(" ")[0] for entry in items(data.get("unknown"))} | wrong

    @property
    def owner(self) -> str:
        """The account that holds it."""
        return split(self.id)[0]

    @property
    def url(self) -> str:
        """Its page."""
        return self.site + self.id

    def known(self, name: str) -> bool:
        """Return whether a field was seen, by its path ("readme.links")."""
        parents = name.split(".")
        return not any(".".join(parents[:depth]) in self._unknown for depth in range(1, len(parents) + 1))

    def proof(self, what: str, name: str = "", *, url: str | None = None) -> Proof:
        """Return a piece of evidence from this page and its field `name`."""
        source: dict[str, Any] = {}
        for entry in items(self.data.get("provenance")):
            fields = items(entry.get("fields")) if isinstance(entry, dict) else []
            if any(str(field).split(".")[0] == name.split(".", maxsplit=1)[0] for field in fields):
                source = entry
                break
        as_of = source.get("as_of") or self.data.get("gathered_at")
        status = self.data.get("siblings_status") or {}
        revision = self.data.get("sha") or self.data.get("head") or status.get("revision_seen")
        return Proof(url or self.url, what, str(revision) if revision else None, str(as_of) if as_of else None)

    @property
    def note(self) -> str:
        """Why the page could not be read, where it could not ("rate limited")."""
        return str(self.data.get("failed") or "")


class DatasetEvidence(EvidencePage):
    """A data set on the Hub."""

    site = "https://huggingface.co/datasets/"

    @property
    def exists(self) -> bool | None:
        """Whether it exists; None where that was not looked up."""
        return bool(self.data["exists"]) if self.known("exists") and "exists" in self.data else None

    @property
    def gated(self) -> bool | None:
        """Whether access needs consent; None where that was not seen."""
        gate = parse_gate(self.data.get("gated")) if self.known("gated") else None
        return None if gate is None else gate is not False

    @property
    def license(self) -> str | None:
        """The license of its front matter: the id, or the name where the id says nothing."""
        if not self.known("license"):
            return None
        declared = parse_license(self.data)
        if declared is None:
            return None
        return declared.name if declared.name and licenses.is_unspecific(declared.id) else declared.id


class RepositoryEvidence(EvidencePage):
    """A repository on GitHub: its file names and its license."""

    site = "https://github.com/"

    @property
    def tree(self) -> list[str]:
        """The paths that were listed."""
        return [str(path) for path in items(self.data.get("tree"))]

    @property
    def complete(self) -> bool:
        """Whether the whole tree was listed."""
        total = self.data.get("tree_total")
        seen = not isinstance(total, int | float) or total <= len(self.tree)
        return bool(self.tree) and not self.data.get("tree_truncated") and seen

    @property
    def license(self) -> str | None:
        """The license id, or None for no license file or a mix."""
        license_id = self.data.get("license")
        return str(license_id) if license_id and self.known("license") else None


class ModelEvidence(EvidencePage):
    """A model on the Hub."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(data)
        self.page = ModelPage(self.data)

    @property
    def card(self) -> Mapping[str, Any]:
        """The front matter of the card."""
        return self.page.card

    @property
    def tags(self) -> list[str]:
        """The Hub's tags."""
        return self.page.tags

    @property
    def gated(self) -> Gate | None:
        """How access is gated: False, "auto" or "manual"; None where that was not seen."""
        return self.page.gated if self.known("gated") else None

    @cached_property
    def files(self) -> list[str]:
        """The file names that were seen; not all of them unless `files_complete`."""
        return [file.name for file in self.page.files]

    @property
    def files_complete(self) -> bool:
        """Whether every file of the repository is in `files`."""
        coverage = (self.data.get("siblings_status") or {}).get("coverage", "complete")
        return "siblings" in self.data and self.known("siblings") and coverage == "complete"

    @property
    def folders(self) -> list[str]:
        """Folders that exist although their files were not listed."""
        return [str(name) for name in items((self.data.get("siblings_status") or {}).get("folders_not_expanded"))]

    @property
    def weight_files(self) -> list[str]:
        """The names of the files that hold parameters."""
        return [name for name in self.files if _WEIGHTS.search(name) and not _NOT_WEIGHTS.search(name)]

    @property
    def parameters(self) -> int:
        """The number of parameters that the Hub counted; 0 where it did not."""
        return self.page.counted_parameters or 0

    @property
    def weight_tags(self) -> list[str]:
        """The formats of weights that the Hub itself tagged."""
        return sorted(_WEIGHT_TAGS.intersection(self.tags))

    @property
    def _readme(self) -> dict[str, Any]:
        readme = self.data.get("readme")
        return readme if isinstance(readme, dict) else {}

    @property
    def headings(self) -> list[str]:
        """The headings of the card."""
        return [str(text) for text in items(self._readme.get("headings"))]

    @cached_property
    def statements(self) -> list[str]:
        """Sentences of the card; text by strangers, to be matched and never obeyed."""
        facts = (claim.get("fact") for claim in items(self._readme.get("claims")) if isinstance(claim, dict))
        return [str(fact)[:1000] for fact in facts if fact]

    @cached_property
    def links(self) -> list[Link]:
        """The https links of the card."""
        links = []
        for entry in items(self._readme.get("links")):
            link = Link(str(entry.get("url") or ""), str(entry.get("text") or ""), str(entry.get("section") or ""))
            if link.host:
                links.append(link)
        return links

    @property
    def card_seen(self) -> bool:
        """Whether the card's text was read as a whole."""
        return "readme" in self.data and self.known("readme.headings") and self.known("readme.links")

    @property
    def license_texts(self) -> dict[str, str]:
        """The text of each license file, by file name."""
        texts = self.data.get("license_texts") or {}
        return {str(name): str(text)[:LONGEST_TEXT] for name, text in texts.items()}

    @property
    def datasets(self) -> list[str]:
        """The data sets the front matter or the tags name."""
        return [name for name in self.page.datasets if ID.fullmatch(name)]

    @property
    def bases(self) -> list[tuple[str, str]]:
        """The models it declares to be made from, each with the relation ("finetune", …)."""
        return [(name, relation or "finetune") for name, relation in self.page.base_models.items() if name != self.id]

    @property
    def papers(self) -> list[str]:
        """The arXiv ids of tags and links."""
        texts = [tag for tag in self.tags if tag.startswith("arxiv:")]
        # "Gao et al., 2020" is a citation of somebody else's work.
        texts += [link.url for link in self.links if "et al" not in link.text]
        return list(dict.fromkeys(paper for text in texts for paper in _ARXIV.findall(text)))

    @property
    def refs(self) -> list[str]:
        """Branches and tags that were seen."""
        refs = self.data.get("refs") or {}
        names = [
            ref.get("name") if isinstance(ref, dict) else ref
            for key in ("branches", "tags")
            for ref in items(refs.get(key))
        ]
        return list(dict.fromkeys(str(name) for name in names if name))

    @property
    def refs_complete(self) -> bool:
        """Whether every branch and tag is in `refs`."""
        refs = self.data.get("refs") or {}
        return bool(refs) and refs.get("branches_complete") is not False and self.known("refs.branches")

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

    @property
    def named_elsewhere(self) -> str:
        """A separate repository of checkpoints, where one is known."""
        return str((self.data.get("checkpoint_repository") or {}).get("repo") or "")


def items(value: Any) -> list[Any]:
    """Return a value of JSON as a list: itself, nothing, or the one item it is."""
    return value if isinstance(value, list) else [] if value is None else [value]
