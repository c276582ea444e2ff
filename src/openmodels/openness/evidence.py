"""The evidence about a model, kept as data: what was seen, where, when, and what was not seen.

A folder of evidence holds `models/<org>__<name>.json`, `datasets/<org>__<name>.json` and
`github/<owner>__<repo>.json`. A model file has the Hub's own shape (`id`, `gated`, `tags`,
`cardData`, `siblings`, `safetensors`, `refs`) and beside it `readme` (`headings`, `links`, `claims`:
sentences of the card), `license_texts`, `provenance` (per field: source and date) and `unknown` (the
fields nobody could see). A field named in `unknown` is never read as absent, false or empty.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from openmodels.errors import InvalidRequest, ModelNotFound
from openmodels.openness.findings import Proof
from openmodels.openness.names import split

LARGEST_FILE = 8_000_000
"""Bytes: a larger evidence file is refused."""
LONGEST_TEXT = 100_000
"""Characters of a license file that are kept."""

_ID = re.compile(r"[\w.-]{1,96}(?:/[\w.-]{1,96})?", re.ASCII)
_KINDS = ("models", "datasets", "github")
_ARXIV = re.compile(r"(?:arxiv\.org/(?:abs|pdf|html)/|arxiv:)(\d{4}\.\d{4,5})", re.IGNORECASE)
_WEIGHTS = re.compile(r"\.(?:safetensors|bin|pt|pth|gguf|ggml|h5|msgpack|onnx|ckpt|nemo|npz|pdparams)$", re.IGNORECASE)
_NOT_WEIGHTS = re.compile(r"(?:^|/)(?:training_args|optimizer|scheduler|rng_state|tokenizer)[^/]*$", re.IGNORECASE)
_WEIGHT_TAGS = frozenset({"safetensors", "pytorch", "gguf", "tf", "jax", "onnx", "ggml"})


@dataclass(frozen=True, slots=True)
class Link:
    """A link of a model card: its address, its text and the heading it stands under."""

    url: str
    text: str = ""
    section: str = ""

    @property
    def host(self) -> str:
        """The host in lower case, "" for what is no https address."""
        parts = urlsplit(self.url)
        return (parts.hostname or "").lower() if parts.scheme == "https" else ""

    @property
    def path(self) -> list[str]:
        """The segments of the path."""
        return [part for part in urlsplit(self.url).path.split("/") if part]


class Page:
    """One evidence file: a model, a data set or a repository, with what is not known of it."""

    site = "https://huggingface.co/"

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        self.id: str = str(data.get("id") or data.get("repo") or "")
        self._unknown = {str(entry).split(" ")[0] for entry in _list(data.get("unknown"))}

    @property
    def owner(self) -> str:
        """The account that holds it."""
        return split(self.id)[0]

    @property
    def url(self) -> str:
        """Its page."""
        return self.site + self.id

    def known(self, name: str) -> bool:
        """Return whether a field was seen, by its path: "gated", "readme.links", "cardData.datasets"."""
        parents = name.split(".")
        return not any(".".join(parents[:depth]) in self._unknown for depth in range(1, len(parents) + 1))

    def proof(self, what: str, name: str = "", *, url: str | None = None) -> Proof:
        """Return a piece of evidence drawn from this page; `name` is the field it comes from."""
        source: dict[str, Any] = {}
        for entry in _list(self.data.get("provenance")):
            fields = _list(entry.get("fields")) if isinstance(entry, dict) else []
            if any(str(one).split(".")[0] == name.split(".", maxsplit=1)[0] for one in fields):
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


class DatasetPage(Page):
    """A data set on the Hub."""

    site = "https://huggingface.co/datasets/"

    @property
    def exists(self) -> bool | None:
        """Whether it was found; None where nobody looked."""
        return bool(self.data["exists"]) if self.known("exists") and "exists" in self.data else None

    @property
    def gated(self) -> bool | None:
        """Whether access needs consent; None where that was not seen."""
        return bool(self.data.get("gated")) if self.known("gated") and "gated" in self.data else None

    @property
    def license(self) -> str | None:
        """The license id of its front matter, or its own name for it."""
        found = self.data.get("license_name") or self.data.get("license")
        return str(found) if found and self.known("license") else None


class RepositoryPage(Page):
    """A repository on GitHub: its file names and its license."""

    site = "https://github.com/"

    @property
    def tree(self) -> list[str]:
        """The paths that were listed."""
        return [str(path) for path in _list(self.data.get("tree"))]

    @property
    def complete(self) -> bool:
        """Whether the whole tree was listed."""
        total = self.data.get("tree_total")
        return (
            bool(self.tree) and not self.data.get("tree_truncated") and (total is None or int(total) <= len(self.tree))
        )

    @property
    def license(self) -> str | None:
        """The license id, or None for no license file or a mix."""
        found = self.data.get("license")
        return str(found) if found and self.known("license") else None


class ModelPage(Page):
    """A model on the Hub."""

    @property
    def card(self) -> dict[str, Any]:
        """The front matter of the card."""
        found = self.data.get("cardData")
        return found if isinstance(found, dict) else {}

    @property
    def tags(self) -> list[str]:
        """The Hub's tags."""
        return [str(tag) for tag in _list(self.data.get("tags"))]

    @property
    def gated(self) -> str | None:
        """How access is gated: "no", "auto" or "manual"; None where that was not seen."""
        if not self.known("gated") or "gated" not in self.data:
            return None
        value = self.data["gated"]
        return "no" if not value else value if value in ("auto", "manual") else "manual"

    @cached_property
    def files(self) -> list[str]:
        """The file names that were seen; not all of them unless `files_complete`."""
        return [str(entry.get("rfilename")) for entry in _list(self.data.get("siblings")) if isinstance(entry, dict)]

    @property
    def files_complete(self) -> bool:
        """Whether every file of the repository is in `files`."""
        coverage = (self.data.get("siblings_status") or {}).get("coverage", "complete")
        return "siblings" in self.data and self.known("siblings") and coverage == "complete"

    @property
    def folders(self) -> list[str]:
        """Folders that exist although their files were not listed."""
        return [str(name) for name in _list((self.data.get("siblings_status") or {}).get("folders_not_expanded"))]

    @property
    def weight_files(self) -> list[str]:
        """The names of the files that hold parameters."""
        return [name for name in self.files if _WEIGHTS.search(name) and not _NOT_WEIGHTS.search(name)]

    @property
    def parameters(self) -> int:
        """The number of parameters the Hub counted in safetensors files; 0 where it did not."""
        total = (self.data.get("safetensors") or {}).get("total")
        return int(total) if isinstance(total, int | float) else 0

    @property
    def weight_tags(self) -> list[str]:
        """The formats of weights that the Hub itself tagged."""
        return sorted(_WEIGHT_TAGS & set(self.tags))

    @property
    def _readme(self) -> dict[str, Any]:
        found = self.data.get("readme")
        return found if isinstance(found, dict) else {}

    @property
    def headings(self) -> list[str]:
        """The headings of the card."""
        return [str(text) for text in _list(self._readme.get("headings"))]

    @cached_property
    def statements(self) -> list[str]:
        """Sentences of the card; text by strangers, to be matched and never obeyed."""
        facts = (claim.get("fact") for claim in _list(self._readme.get("claims")) if isinstance(claim, dict))
        return [str(fact)[:1000] for fact in facts if fact]

    @cached_property
    def links(self) -> list[Link]:
        """The https links of the card."""
        found = []
        for entry in _list(self._readme.get("links")):
            link = Link(str(entry.get("url") or ""), str(entry.get("text") or ""), str(entry.get("section") or ""))
            if link.host:
                found.append(link)
        return found

    @property
    def card_seen(self) -> bool:
        """Whether the card's text was read as a whole."""
        return "readme" in self.data and self.known("readme.headings") and self.known("readme.links")

    @property
    def license_texts(self) -> dict[str, str]:
        """The text of each license file, by file name."""
        found = self.data.get("license_texts") or {}
        return {str(name): str(text)[:LONGEST_TEXT] for name, text in found.items()}

    @property
    def datasets(self) -> list[str]:
        """The data sets the front matter or the tags name."""
        named = [str(name) for name in _list(self.card.get("datasets"))]
        named += [tag.partition(":")[2] for tag in self.tags if tag.startswith("dataset:")]
        return list(dict.fromkeys(name for name in named if _ID.fullmatch(name)))

    @property
    def bases(self) -> list[tuple[str, str]]:
        """The models this one was made from, each with the relation the Hub gives ("finetune", …)."""
        named = {str(name): "finetune" for name in _list(self.card.get("base_model"))}
        for tag in self.tags:
            if tag.startswith("base_model:"):
                relation, _, name = tag.removeprefix("base_model:").rpartition(":")
                if not relation:
                    named.setdefault(name, "finetune")
                else:
                    named[name] = relation
        return [(name, relation) for name, relation in named.items() if _ID.fullmatch(name) and name != self.id]

    @property
    def papers(self) -> list[str]:
        """The arXiv ids of tags and links."""
        texts = [tag for tag in self.tags if tag.startswith("arxiv:")]
        # "Gao et al., 2020" is a citation of somebody else's work.
        texts += [link.url for link in self.links if "et al" not in link.text]
        return list(dict.fromkeys(found for text in texts for found in _ARXIV.findall(text)))

    @property
    def refs(self) -> list[str]:
        """Branches and tags that were seen."""
        refs = self.data.get("refs") or {}
        names = [
            one.get("name") if isinstance(one, dict) else one
            for key in ("branches", "tags")
            for one in _list(refs.get(key))
        ]
        return list(dict.fromkeys(str(name) for name in names if name))

    @property
    def refs_complete(self) -> bool:
        """Whether every branch and tag is in `refs`."""
        refs = self.data.get("refs") or {}
        return bool(refs) and refs.get("branches_complete") is not False and self.known("refs.branches")

    @property
    def named_elsewhere(self) -> str:
        """A separate repository of checkpoints, where one is known."""
        return str((self.data.get("checkpoint_repository") or {}).get("repo") or "")


@dataclass
class Evidence:
    """Everything gathered, by kind and id; what is not in memory is read from `folder`.

    Attributes:
        subject: The id of the model under judgement.
        pages: kind ("models", "datasets", "github") -> id in lower case -> the file's content.
        folder: A folder to look in for the rest, or None.
    """

    subject: str
    pages: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in _KINDS})
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path, subject: str) -> Evidence:
        """Read what a folder knows about a model.

        Raises:
            InvalidRequest: No such folder, or a file that is no evidence.
            ModelNotFound: The folder knows nothing of this model.
        """
        path = Path(folder)
        if not path.is_dir():
            raise InvalidRequest(
                f"{str(folder)!r} is no folder of evidence.", next_step="Save one with report.save('folder')."
            )
        evidence = cls(subject, folder=path)
        if evidence.find("models", subject) is None:
            raise ModelNotFound(
                f"The folder of evidence {str(folder)!r} has no file about {subject!r}.",
                reference=subject,
                next_step="Gather it once with a network: om.openness(id).save('folder').",
            )
        return evidence

    @cached_property
    def model(self) -> ModelPage:
        """The model under judgement."""
        return ModelPage(self.find("models", self.subject) or {"id": self.subject})

    def other_model(self, name: str) -> ModelPage | None:
        """Another model, where something is known of it."""
        data = self.find("models", name)
        return ModelPage(data) if data else None

    def dataset(self, name: str) -> DatasetPage | None:
        """A data set, where something is known of it."""
        data = self.find("datasets", name)
        return DatasetPage(data) if data else None

    def repository(self, name: str) -> RepositoryPage | None:
        """A GitHub repository "owner/name", where something is known of it."""
        data = self.find("github", name)
        return RepositoryPage(data) if data else None

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """The ids known of each kind, sorted."""
        known: dict[str, list[str]] = {}
        for kind in _KINDS:
            ids = {str(page.get("id") or page.get("repo") or key) for key, page in self.pages[kind].items()}
            if self.folder is not None:
                ids |= {path.stem.replace("__", "/", 1) for path in (self.folder / kind).glob("*.json")}
            known[kind] = sorted(ids)
        return known

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return the content of one page, or None."""
        if not _ID.fullmatch(name):
            return None
        kept = self.pages[kind]
        if name.lower() not in kept and self.folder is not None:
            wanted = name.replace("/", "__").lower()
            for path in (self.folder / kind).glob("*.json"):
                if path.stem.lower() == wanted:
                    kept[name.lower()] = _read(path)
        return kept.get(name.lower())

    def save(self, folder: str | Path) -> Path:
        """Write every page in memory to a folder, in the layout `load` reads; return the folder."""
        root = Path(folder)
        for kind in _KINDS:
            (root / kind).mkdir(parents=True, exist_ok=True)
            for page in self.pages[kind].values():
                name = str(page.get("id") or page.get("repo"))
                text = json.dumps(page, ensure_ascii=False, indent=1, sort_keys=True)
                (root / kind / f"{name.replace('/', '__')}.json").write_text(text + "\n", encoding="utf-8")
        return root


def now() -> str:
    """Return the present moment (UTC, ISO 8601, seconds)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _read(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST_FILE:
        raise InvalidRequest(f"The evidence file {path.name!r} is larger than {LARGEST_FILE} bytes.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InvalidRequest(f"The evidence file {path.name!r} is no JSON: {error}.") from error
    if not isinstance(data, dict):
        raise InvalidRequest(f"The evidence file {path.name!r} holds no JSON object.")
    return data


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
