"""What a model was made from, as its card or the Hub states or its name suggests."""

from __future__ import annotations

import re
from dataclasses import dataclass

from openmodels.hub.card import states_derivation
from openmodels.hub.model_names import family, is_tuned_name, normalize_name, same_owner, split_repo_id
from openmodels.licenses import LicenseTerms
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Proof
from openmodels.openness.pages import ModelEvidence

_MAX_DEPTH = 6
_HUB_ID = re.compile(r"\b[\w.-]+/[\w.-]+", re.ASCII)
_HUB_PAGES = frozenset(
    {"datasets", "spaces", "blog", "docs", "papers", "collections", "models", "tasks", "tensorboard"}
)
_TUNING_TAGS = frozenset({"trl", "sft", "dpo", "alignment-handbook", "peft", "axolotl"})


@dataclass(frozen=True)
class Ancestor:
    """A model another one was made from.

    Attributes:
        id: Its id on the Hub.
        relation: "finetune", "adapter", "quantized", "merge", or "continued".
        page: What is known of it; None where it was not gathered.
        via: Where the relation is stated.
        stated: Whether the card or the Hub states it; otherwise the names suggest it.
    """

    id: str
    relation: str
    page: ModelEvidence | None
    via: Proof
    stated: bool

    @property
    def owner(self) -> str:
        """The account that holds it."""
        return split_repo_id(self.id)[0] or self.id

    @property
    def license(self) -> LicenseTerms | None:
        """Its license, where it is known."""
        return self.page.declared_license if self.page is not None else None


def find_ancestors(evidence: Evidence, model: ModelEvidence, depth: int = 0) -> list[Ancestor]:
    """Return what a model was made from, the nearest first."""
    if depth >= _MAX_DEPTH:
        return []
    nearest = _stated_bases(evidence, model) or _suggested_bases(evidence, model)
    ancestors = {base.id.lower(): base for base in nearest}
    for base in nearest:
        if base.page is not None:
            for further in find_ancestors(evidence, base.page, depth + 1):
                if further.id.lower() != model.id.lower():
                    ancestors.setdefault(further.id.lower(), further)
    return list(ancestors.values())


def is_finetune(model: ModelEvidence, bases: list[Ancestor]) -> bool:
    """Return whether a model has a base, or its name, license or tags imply one."""
    if bases or is_tuned_name(model.id) or _has_license_of_another_family(model):
        return True
    return not _TUNING_TAGS.isdisjoint(model.tags)


def _has_license_of_another_family(model: ModelEvidence) -> bool:
    """Return whether license and architecture are those of another family."""
    declared = model.declared_license
    if declared is None or not declared.restrictive:
        return False
    license_family = re.sub(r"[\d.]+$", "", declared.id)
    model_type = normalize_name(str((model.data.get("config") or {}).get("model_type") or ""))
    return (
        len(license_family) >= 4
        and model_type.startswith(license_family)
        and license_family not in normalize_name(model.id)
    )


def _stated_bases(evidence: Evidence, model: ModelEvidence) -> list[Ancestor]:
    if model.bases:
        return [
            Ancestor(
                name,
                relation,
                evidence.other_model(name),
                model.proof(f"front matter or tag names the base model {name} ({relation})", "cardData"),
                stated=True,
            )
            for name, relation in model.bases
        ]
    sentences = [text for text in model.sentences if states_derivation(text)]
    for link in model.links:
        path = link.path
        if link.host != "huggingface.co" or len(path) < 2 or path[0] in _HUB_PAGES:
            continue
        name = "/".join(path[:2])
        sentence = next((text for text in sentences if normalize_name(path[1]) in normalize_name(text)), "")
        if sentence and name.lower() != model.id.lower() and _HUB_ID.fullmatch(name):
            via = model.sentence_proof(sentence, 160, url=link.url)
            return [Ancestor(name, "finetune", evidence.other_model(name), via, stated=True)]
    for sentence in sentences:
        for name in _HUB_ID.findall(sentence):
            page = evidence.other_model(name.rstrip("."))
            if page is not None and page.id.lower() != model.id.lower():
                return [Ancestor(page.id, "finetune", page, model.sentence_proof(sentence, 160), stated=True)]
    return []


def _suggested_bases(evidence: Evidence, model: ModelEvidence) -> list[Ancestor]:
    """Guess the base: of the same project and paper, or with its name in this name."""
    name = normalize_name(split_repo_id(model.id)[1])
    longest, base_id = 0, ""
    for candidate in evidence.names("models"):
        owner, candidate_name = split_repo_id(candidate)
        base_name = normalize_name(candidate_name).removesuffix("hf")
        if candidate.lower() == model.id.lower() or len(base_name) < 5 or is_tuned_name(candidate):
            continue
        if same_owner(owner, model.owner):
            page = evidence.other_model(candidate)
            fits = (
                is_tuned_name(model.id)
                and family(candidate) == family(model.id)
                and name.startswith(base_name)
                and page is not None
                and not set(page.papers).isdisjoint(model.papers)
            )
        else:
            fits = base_name in name and len(base_name) >= 7 and any(letter.isdigit() for letter in base_name)
        if fits and len(base_name) > longest:
            longest, base_id = len(base_name), candidate
    if not base_id:
        return []
    via = model.proof(f"its name contains the name of {base_id}", "id")
    return [Ancestor(base_id, "finetune", evidence.other_model(base_id), via, stated=False)]
