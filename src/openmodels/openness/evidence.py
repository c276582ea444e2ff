"""The evidence about a model: what was seen, where, when, and what was not seen.

A folder of evidence holds `models/<org>__<name>.json`, `datasets/<org>__<name>.json` and
`github/<owner>__<repo>.json`. A model file has the Hub's own shape (`id`, `gated`, `tags`,
`cardData`, `siblings`, `safetensors`, `refs`) and beside it `readme` (`headings`, `links`, `claims`:
sentences of the card), `papers` (by arXiv id), `shape` (sizes in config.json), `license_texts`, `provenance`
(per field: source and date) and `unknown` (the fields that could not be seen). A field named in `unknown` is never
read as absent, false or empty.

Beside them stand `renamed/<kind>/<old id>.json`, which names the present id, and
`gathered/<org>__<name>.json`: the manifest: which pages were gathered for that model, whether deeply, and
what could not be read, with the reason. A model is judged from those pages alone, even where the
folder holds more; in a folder without such a file, one made by hand, from all of them.
"""

import json
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from openmodels import files
from openmodels.errors import InvalidRequest, ModelNotFound
from openmodels.openness.evidence_pages import ID, DatasetEvidence, ModelEvidence, RepositoryEvidence, items

LARGEST_FILE = 64_000_000  # bytes: a larger evidence file is refused
_LARGEST_INDENTED = 1_000_000
_KINDS = ("models", "datasets", "github")
_DEEP_FIELDS = ("readme", "refs", "license_texts", "checkpoint_repository", "papers", "shape")
"""The fields of a model's page that only a deep look reads."""


@dataclass(frozen=True)
class EvidenceManifest:
    """Which pages were gathered for a model at one time."""

    deep: bool  # whether the card, the bases, data sets and repositories were looked at too
    pages: dict[str, list[str]]  # kind -> the ids of its pages, in lower case
    unread: dict[str, dict[str, str]]  # kind -> id in lower case -> why its page is not among them


@dataclass
class Evidence:
    """The gathered pages by kind and id; those not in memory are read from `folder`."""

    subject: str  # the id of the model under judgement
    # kind ("models", "datasets", "github") -> id in lower case -> the file's content
    pages: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in _KINDS})
    folder: Path | None = None  # where pages that are not in memory are read from
    # kind -> former id in lower case -> present id
    renamed: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in _KINDS})
    # kind -> id in lower case -> why nothing was gathered about it
    unread: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in _KINDS})
    manifest: EvidenceManifest | None = None  # which pages count; None for all
    _models: dict[int, tuple[dict[str, Any], ModelEvidence]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, folder: str | Path, subject: str) -> Self:
        """Read what a folder knows about a model, by its present or a former id.

        Raises:
            InvalidRequest: There is not such a folder, or a file in it is not evidence.
            ModelNotFound: The folder knows nothing of this model.
        """
        path = Path(folder)
        if not path.is_dir():
            raise InvalidRequest(
                f"{str(folder)!r} is no folder of evidence.", next_step="Save one with report.save('folder')."
            )
        evidence = cls(subject, folder=path)
        page = evidence.find("models", subject)
        if page is None:
            raise ModelNotFound(
                f"The folder of evidence {str(folder)!r} has no file about {subject!r}.",
                reference=subject,
                next_step="Gather it once with a network; om.openness(id).save('folder') keeps it.",
            )
        evidence.subject = str(page.get("id") or subject)
        evidence.manifest = evidence._read_manifest()
        if evidence.manifest is not None:
            evidence.unread = evidence.manifest.unread
        return evidence

    @property
    def is_deep(self) -> bool:
        """Whether it is known to be gathered deeply for the subject."""
        return self.manifest is not None and self.manifest.deep

    @cached_property
    def model(self) -> ModelEvidence:
        """The model under judgement."""
        return self.other_model(self.subject) or ModelEvidence({"id": self.subject})

    def about(self, subject: str) -> Self:
        """Return the same evidence with another model under judgement."""
        return replace(self, subject=subject)

    def shallow(self) -> "Evidence":
        """Return what a gathering with `deep=False` sees: the Hub's own facts."""
        page = without_deep_fields(self.find("models", self.subject) or {"id": self.subject})
        shallow = Evidence(self.subject, {"models": {self.subject.lower(): page}, "datasets": {}, "github": {}})
        shallow.finish(deep=False)
        return shallow

    def add(self, kind: str, name: str, page: dict[str, Any]) -> None:
        """Add a page that an id led to.

        Where the page states another id than `name`, `name` is a former one.
        """
        current = str(page.get("id") or page.get("repo") or name)
        self.pages[kind][current.lower()] = page
        if current.lower() != name.lower():
            self.renamed[kind][name.lower()] = current

    def other_model(self, name: str) -> ModelEvidence | None:
        """Return another model, where something is known of it."""
        data = self.find("models", name)
        if not data:
            return None
        # The bases of a merge of merges are asked for very often.
        known = self._models.get(id(data))
        if known is None or known[0] is not data:
            known = self._models[id(data)] = data, ModelEvidence(data)
        return known[1]

    def dataset(self, name: str) -> DatasetEvidence | None:
        """Return a data set, where something is known of it."""
        data = self.find("datasets", name)
        return DatasetEvidence(data) if data else None

    def repository(self, name: str) -> RepositoryEvidence:
        """Return a GitHub repository; its tree is empty where nothing is known of it."""
        return RepositoryEvidence(self.find("github", name) or {"repo": name, "unknown": ["tree", "license"]})

    @cached_property
    def _files(self) -> dict[str, dict[str, Path]]:
        folders = {kind: self.folder / kind for kind in _KINDS} if self.folder is not None else {}
        return {
            kind: {path.stem.lower(): path for path in sorted(folder.glob("*.json"))}
            for kind, folder in folders.items()
        }

    def names(self, kind: str) -> list[str]:
        """Return the ids known of a kind, sorted."""
        ids = {str(page.get("id") or page.get("repo") or key) for key, page in self.pages[kind].items()}
        ids |= {path.stem.replace("__", "/", 1) for path in self._files.get(kind, {}).values()}
        return sorted(name for name in ids if ID.fullmatch(name) and self._counts(kind, name))

    def current_id(self, kind: str, name: str) -> str:
        """Return the present id of a former one, through several renamings.

        An id that is not known to be a former one is returned as it is.
        """
        seen: set[str] = set()
        while name.lower() not in seen and (later := self._next_id(kind, name)):
            seen.add(name.lower())
            name = later
        return name

    def _next_id(self, kind: str, name: str) -> str | None:
        """Return the id that a former one leads to, or None."""
        key = name.lower()
        if key in self.renamed[kind] or self.folder is None or not ID.fullmatch(name):
            return self.renamed[kind].get(key)
        path = _renamed_file(self.folder, kind, name)
        if path.is_file():
            stated = files.read_json(path, largest=_LARGEST_INDENTED)
            current = stated.get("id") if isinstance(stated, dict) else None
            if isinstance(current, str) and ID.fullmatch(current):
                self.renamed[kind][key] = current
        return self.renamed[kind].get(key)

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a page's content by a present or former id, or None.

        Raises:
            InvalidRequest: A damaged file.
        """
        if not ID.fullmatch(name):
            return None
        name = self.current_id(kind, name)
        if not self._counts(kind, name):
            return None
        pages, key = self.pages[kind], name.lower()
        if key not in pages and (path := self._files.get(kind, {}).get(key.replace("/", "__"))):
            description = f"The evidence file {path.name!r}"
            page = files.parse_json(files.read_bounded(path, largest=LARGEST_FILE), description)
            if not isinstance(page, dict):
                raise InvalidRequest(f"{description} holds no JSON object.")
            pages[key] = page
        return pages.get(key)

    def save(self, folder: str | Path) -> Path:
        """Write every page in memory to a folder that `load` reads; return the folder.

        A page that was not gathered deeply does not replace one that was.
        """
        root = Path(folder)
        for kind in _KINDS:
            for name in self.manifest.pages.get(kind, ()) if self.manifest else ():
                self.find(kind, name)
            for page in self.pages[kind].values():
                name = str(page.get("id") or page.get("repo"))
                if ID.fullmatch(name) and not (page.get("deep") is False and _is_deep(_file(root, kind, name))):
                    # In the order they came in: a report lists the files of licenses in it.
                    _write(_file(root, kind, name), page)
                    with suppress(OSError):  # the former id of another one until somebody took it anew
                        _renamed_file(root, kind, name).unlink()
            for former, current in self.renamed[kind].items():
                if ID.fullmatch(former):
                    _write(_renamed_file(root, kind, former), {"id": current})
        path = _manifest_file(root, self.subject)
        # Last of all: where saving was interrupted, the model counts as not gathered.
        if self.manifest is not None and (self.manifest.deep or not _is_deep(path)):
            _write(path, {"id": self.subject, **vars(self.manifest)})
        return root

    def finish(self, *, deep: bool) -> None:
        """Note that gathering is done.

        The manifest holds the pages that are now in memory.
        """
        pages = {kind: sorted(self.pages[kind]) for kind in _KINDS}
        self.manifest = EvidenceManifest(deep, pages, self.unread)

    def _counts(self, kind: str, name: str) -> bool:
        return self.manifest is None or name.lower() in self.manifest.pages.get(kind, ())

    def _read_manifest(self) -> EvidenceManifest | None:
        path = _manifest_file(self.folder or Path(), self.subject)
        if not path.is_file():
            return None
        stated = files.read_json(path, largest=LARGEST_FILE)
        stated = stated if isinstance(stated, dict) else {}
        pages, unread = _mapping(stated.get("pages")), _mapping(stated.get("unread"))
        return EvidenceManifest(
            stated.get("deep") is True,
            {kind: [str(name).lower() for name in items(pages.get(kind))] for kind in _KINDS},
            {kind: {str(name): str(why) for name, why in _mapping(unread.get(kind)).items()} for kind in _KINDS},
        )


def without_deep_fields(page: dict[str, Any]) -> dict[str, Any]:
    """Return a model's page without what only a deep gathering reads."""
    kept = {name: value for name, value in page.items() if name not in _DEEP_FIELDS}
    unseen = [name for name in page.get("unknown") or () if str(name).partition(".")[0] not in _DEEP_FIELDS]
    return kept | {"deep": False, "unknown": [*unseen, "readme", "refs"]}


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _file(root: Path, kind: str, name: str) -> Path:
    return root / kind / f"{name.replace('/', '__')}.json"


def _renamed_file(root: Path, kind: str, name: str) -> Path:
    return root / "renamed" / kind / f"{name.lower().replace('/', '__')}.json"


def _manifest_file(root: Path, subject: str) -> Path:
    return root / "gathered" / f"{subject.lower().replace('/', '__')}.json"


def _is_deep(path: Path) -> bool:
    """Return whether a page or manifest that is kept already was gathered deeply."""
    if not path.is_file():
        return False
    with suppress(InvalidRequest):
        return bool(_mapping(files.read_json(path, largest=LARGEST_FILE)).get("deep"))
    return False


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise files.write_failed(path.parent, error) from error
    text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    if len(text) > _LARGEST_INDENTED:
        text = json.dumps(content, ensure_ascii=False) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        files.write_atomically(path, text)


def now() -> str:
    """Return the present moment (UTC, ISO 8601, seconds)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
