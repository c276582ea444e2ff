"""The evidence about a model: what was seen, where, when, and what was not seen.

A folder of evidence holds `models/<org>__<name>.json`, `datasets/<org>__<name>.json` and
`github/<owner>__<repo>.json`. A model file has the Hub's own shape (`id`, `gated`, `tags`,
`cardData`, `siblings`, `safetensors`, `refs`) and beside it `readme` (`headings`, `links`, `claims`:
sentences of the card), `license_texts`, `provenance` (per field: source and date) and `unknown` (the
fields that could not be seen). A field named in `unknown` is never read as absent, false or empty.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from openmodels import files
from openmodels.errors import InvalidRequest, ModelNotFound
from openmodels.openness.pages import ID, DatasetEvidence, ModelEvidence, RepositoryEvidence

LARGEST_FILE = 8_000_000
"""Bytes: a larger evidence file is refused."""
_KINDS = ("models", "datasets", "github")


@dataclass
class Evidence:
    """The gathered pages by kind and id; those not in memory are read from `folder`."""

    subject: str  # the id of the model under judgement
    # kind ("models", "datasets", "github") -> id in lower case -> the file's content
    pages: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in _KINDS})
    folder: Path | None = None

    @classmethod
    def load(cls, folder: str | Path, subject: str) -> Evidence:
        """Read what a folder knows about a model.

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
        if evidence.find("models", subject) is None:
            raise ModelNotFound(
                f"The folder of evidence {str(folder)!r} has no file about {subject!r}.",
                reference=subject,
                next_step="Gather it once with a network; om.openness(id).save('folder') keeps it.",
            )
        return evidence

    @cached_property
    def model(self) -> ModelEvidence:
        """The model under judgement."""
        return self.other_model(self.subject) or ModelEvidence({"id": self.subject})

    def other_model(self, name: str) -> ModelEvidence | None:
        """Return another model, where something is known of it."""
        data = self.find("models", name)
        return ModelEvidence(data) if data else None

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
        return sorted(filter(ID.fullmatch, ids))

    def find(self, kind: str, name: str) -> dict[str, Any] | None:
        """Return a page's content, or None; raise `InvalidRequest` for a damaged file."""
        if not ID.fullmatch(name):
            return None
        pages, key = self.pages[kind], name.lower()
        if key not in pages and (path := self._files.get(kind, {}).get(key.replace("/", "__"))):
            description = f"The evidence file {path.name!r}"
            page = files.parse_json(files.read(path, largest=LARGEST_FILE), description)
            if not isinstance(page, dict):
                raise InvalidRequest(f"{description} holds no JSON object.")
            pages[key] = page
        return pages.get(key)

    def save(self, folder: str | Path) -> Path:
        """Write every page in memory to a folder that `load` reads; return the folder."""
        root = Path(folder)
        for kind in _KINDS:
            try:
                (root / kind).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise files.write_failed(root / kind, error) from error
            for page in self.pages[kind].values():
                name = str(page.get("id") or page.get("repo"))
                if not ID.fullmatch(name):
                    continue
                path = root / kind / f"{name.replace('/', '__')}.json"
                text = json.dumps(page, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
                if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
                    files.write(path, text)
        return root


def now() -> str:
    """Return the present moment (UTC, ISO 8601, seconds)."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
