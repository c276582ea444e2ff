"""What a model was made from, as its card or the Hub states or its name suggests."""

import re
from collections import deque
from dataclasses import dataclass
from functools import cached_property

from openmodels.hub.card import find_model_links, read_base_mentions
from openmodels.hub.model_names import family, is_tuned_name, normalize_name, same_owner, split_repo_id
from openmodels.licenses import LicenseTerms
from openmodels.openness.evidence import Evidence
from openmodels.openness.evidence_pages import ModelEvidence
from openmodels.openness.findings import Proof
from openmodels.openness.stated_licenses import find_binding_license, find_stated_licenses

_TUNING_TAGS = frozenset({"trl", "sft", "dpo", "alignment-handbook", "peft", "axolotl"})


@dataclass(frozen=True)
class Ancestor:
    """A model another one was made from."""

    id: str  # on the Hub
    page: ModelEvidence | None  # None where it was not gathered
    via: Proof  # where the relation is stated
    stated: bool  # whether the card or the Hub states it; otherwise the names suggest it

    @property
    def owner(self) -> str:
        """The account that holds it."""
        return split_repo_id(self.id)[0] or self.id

    @cached_property
    def license(self) -> LicenseTerms | None:
        """Its license by all that it states itself, where that is known."""
        binding = find_binding_license(list(find_stated_licenses(self.page, ()))) if self.page is not None else None
        return binding.license if binding is not None else None


def find_bases(evidence: Evidence, model: ModelEvidence) -> list[Ancestor]:
    """Return what a model was made from directly: several models for a merge."""
    return _stated_bases(evidence, model) or _suggested_bases(evidence, model)


def find_ancestors(evidence: Evidence, model: ModelEvidence) -> list[Ancestor]:
    """Return what a model was made from, the nearest first."""
    ancestors: dict[str, Ancestor] = {}
    waiting = deque([model])
    while waiting:
        for base in find_bases(evidence, waiting.popleft()):
            if base.id.lower() != model.id.lower() and base.id.lower() not in ancestors:
                ancestors[base.id.lower()] = base
                waiting += [base.page] if base.page is not None else []
    return list(ancestors.values())


def find_circle(evidence: Evidence, model: ModelEvidence) -> list[str]:
    """Return the ids, sorted, of models that are made from each other in a circle.

    They are among the model and its ancestors.
    """
    pages = [model, *(base.page for base in find_ancestors(evidence, model) if base.page is not None)]
    ids = {page.id.lower(): page.id for page in pages}
    bases = {
        page.id.lower(): {
            *(base.id.lower() for base in find_bases(evidence, page)),
            *(evidence.current_id("models", name).lower() for name in page.page.base_models),
        }
        for page in pages
    }
    # A model that is made from none of the others, or that none of the others is made from, is in no circle.
    while left := {name: bases[name] & bases.keys() for name in set().union(*bases.values()) & bases.keys()}:
        left = {name: others for name, others in left.items() if others}
        if left == bases:
            return sorted(ids[name] for name in left)
        bases = left
    return []


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
        what = "front matter or tag names the base model"
        bases: dict[str, Ancestor] = {}
        for name, relation in model.bases:
            # Named twice, by its former and its present id, it is one base.
            page = evidence.other_model(name)
            base_id = page.id if page is not None else evidence.current_id("models", name)
            via = model.proof(f"{what} {name} ({relation})", "cardData")
            if base_id.lower() != model.id.lower():
                bases.setdefault(base_id.lower(), Ancestor(base_id, page, via, stated=True))
        return list(bases.values())
    links = find_model_links("\n".join(link.url for link in model.links))
    mentioned: dict[str, Ancestor] = {}
    for mention in read_base_mentions(model.sentences, model.id, links):
        page = evidence.other_model(mention.name)
        base_id = page.id if page is not None else mention.name
        if base_id.lower() != model.id.lower() and (page is not None or mention.name in links):
            url = f"{model.site}{mention.name}" if mention.name in links else None
            via = model.sentence_proof(mention.sentence, 160, url=url)
            # Only a merge has several bases: of others the likeliest counts.
            if not mentioned or mention.relation == "merge":
                mentioned.setdefault(base_id.lower(), Ancestor(base_id, page, via, stated=True))
            if mention.relation != "merge":
                break
    return list(mentioned.values())


def _suggested_bases(evidence: Evidence, model: ModelEvidence) -> list[Ancestor]:
    """Guess the base: of the same project and paper, or with its name in this name."""
    name = normalize_name(split_repo_id(model.id)[1])
    suggested: dict[str, int] = {}
    for candidate in evidence.names("models"):
        owner, candidate_name = split_repo_id(candidate)
        base_name = normalize_name(candidate_name).removesuffix("hf")
        if candidate.lower() == model.id.lower() or len(base_name) < 5 or is_tuned_name(candidate):
            continue
        if not same_owner(owner, model.owner):
            fits = base_name in name and len(base_name) >= 7 and any(letter.isdigit() for letter in base_name)
        elif fits := is_tuned_name(model.id) and family(candidate) == family(model.id) and name.startswith(base_name):
            page = evidence.other_model(candidate)
            fits = page is not None and not set(page.papers).isdisjoint(model.papers)
        if fits:
            suggested[candidate] = len(base_name)
    if not suggested:
        return []
    base_id = max(suggested, key=suggested.__getitem__)
    via = model.proof(f"its name contains the name of {base_id}", "id")
    return [Ancestor(base_id, evidence.other_model(base_id), via, stated=False)]
