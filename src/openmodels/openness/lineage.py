"""What a model was made from, and which obligations and contradictions follow."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from openmodels.hub.model_names import family, is_tuned_name, plain, same_owner, split
from openmodels.licenses import LicenseClass, LicenseTerms, find, find_stated
from openmodels.openness import card_claims
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Conflict, Proof
from openmodels.openness.pages import ModelEvidence

_DEEPEST = 6
_HUB_ID = re.compile(r"\b[\w.-]+/[\w.-]+", re.ASCII)
_HUB_PAGES = frozenset(
    {"datasets", "spaces", "blog", "docs", "papers", "collections", "models", "tasks", "tensorboard"}
)


@dataclass(frozen=True)
class Ancestor:
    """A model another one was made from.

    Attributes:
        id: Its id on the Hub.
        relation: "finetune", "adapter", "quantized", "merge", or "continued".
        page: What is known of it; None where nobody looked.
        via: Where the relation is stated.
        stated: Whether the card or the Hub states it; otherwise the names suggest it.
    """

    id: str
    relation: str
    page: ModelEvidence | None
    via: Proof
    stated: bool

    @property
    def license(self) -> LicenseTerms | None:
        """Its license, where it is known."""
        return front_license(self.page) if self.page is not None else None


def ancestors(evidence: Evidence, model: ModelEvidence, depth: int = 0) -> list[Ancestor]:
    """Return what a model was made from, the nearest first."""
    if depth >= _DEEPEST:
        return []
    nearest = _stated(evidence, model) or _suggested(evidence, model)
    found = {one.id.lower(): one for one in nearest}
    for one in nearest:
        if one.page is not None:
            for further in ancestors(evidence, one.page, depth + 1):
                if further.id.lower() != model.id.lower():
                    found.setdefault(further.id.lower(), further)
    return list(found.values())


def is_tuned(model: ModelEvidence, bases: list[Ancestor]) -> bool:
    """Return whether a model is a fine-tune: it has a base, or its name or tags say so."""
    if bases or is_tuned_name(model.id):
        return True
    if (front := front_license(model)) is not None and _is_of_another(model, front):
        return True
    return bool({"trl", "sft", "dpo", "alignment-handbook", "peft", "axolotl"} & set(model.tags))


def _is_of_another(model: ModelEvidence, front: LicenseTerms) -> bool:
    """Return whether the license is that of another family, whose architecture the model has too."""
    theirs = re.sub(r"[\d.]+$", "", front.id)
    kind = plain(str((model.data.get("config") or {}).get("model_type") or ""))
    return front.restrictive and len(theirs) >= 4 and kind.startswith(theirs) and theirs not in plain(model.id)


def front_license(model: ModelEvidence) -> LicenseTerms | None:
    """Return the license a model's front matter or tags state, or None for none."""
    declared = model.page.license
    if declared is None:
        return None
    return find_stated(declared.id, declared.name)


def license_conflicts(model: ModelEvidence, mine: LicenseTerms | None, bases: Iterable[Ancestor]) -> list[Conflict]:
    """Return the bases whose terms bind more than the model's own license admits."""
    found = []
    for base in bases:
        theirs = base.license
        if mine is None or theirs is None or not theirs.restrictive or same_owner(base.id.split("/")[0], model.owner):
            continue
        if mine.id == theirs.id or mine.kind is LicenseClass.NON_COMMERCIAL:
            continue
        if mine.restrictive and set(theirs.restrictions) <= set(mine.restrictions):
            continue
        assert base.page is not None  # noqa: S101 - a license was read from it
        named = ", ".join(theirs.restrictions) or "terms of its own"
        how = "is made from" if base.stated else "seems, by its name, to be made from"
        found.append(
            Conflict(
                "base-license",
                f"{model.id} states {mine.id or 'no license'} but {how} {base.id}, whose license {theirs.id} demands "
                f"{named}; permission to relicense was not seen.",
                (
                    model.proof(f"states {mine.id}", "cardData"),
                    base.page.proof(f"license {theirs.id}", "cardData"),
                    base.via,
                ),
            )
        )
    return found


def dataset_conflicts(
    evidence: Evidence, model: ModelEvidence, mine: LicenseTerms | None, names: Iterable[str]
) -> list[Conflict]:
    """Return the data sets whose terms bind more than the model's own license admits."""
    found = []
    for name in names:
        page = evidence.dataset(name)
        if page is None or not page.license or mine is None or mine.restrictive:
            continue
        theirs = find(page.license)
        if theirs.restrictive:
            what = "forbids commercial use" if theirs.kind is LicenseClass.NON_COMMERCIAL else "has terms of its own"
            found.append(
                Conflict(
                    "dataset-license",
                    f"{model.id} states {mine.id} but is trained on {page.id}, whose license {theirs.id} {what}.",
                    (model.proof(f"states {mine.id}", "cardData"), page.proof(f"license {theirs.id}", "license")),
                )
            )
    return found


def _stated(evidence: Evidence, model: ModelEvidence) -> list[Ancestor]:
    found = [
        Ancestor(
            name,
            relation,
            evidence.other_model(name),
            model.proof(f"front matter or tag names the base model {name} ({relation})", "cardData"),
            stated=True,
        )
        for name, relation in model.bases
    ]
    if found:
        return found
    sentences = card_claims.derivations(model.statements)
    for link in model.links:
        path = link.path
        if link.host != "huggingface.co" or len(path) < 2 or path[0] in _HUB_PAGES:
            continue
        name = "/".join(path[:2])
        said = next((text for text in sentences if plain(path[1]) in plain(text)), "")
        if said and name.lower() != model.id.lower() and _HUB_ID.fullmatch(name):
            via = model.proof(f"the card says: {said[:160]}", "readme", url=link.url)
            found.append(Ancestor(name, "finetune", evidence.other_model(name), via, stated=True))
    for text in sentences:
        for name in _HUB_ID.findall(text):
            page = evidence.other_model(name.rstrip("."))
            if page is not None and page.id.lower() != model.id.lower():
                via = model.proof(f"the card says: {text[:160]}", "readme")
                found.append(Ancestor(page.id, "finetune", page, via, stated=True))
    return found[:1]


def _suggested(evidence: Evidence, model: ModelEvidence) -> list[Ancestor]:
    """Guess a base from names: a model of the same project and paper, or one whose whole name is in this name."""
    mine = plain(split(model.id)[1])
    best: tuple[int, str] | None = None
    for name in evidence.names["models"]:
        owner, other = split(name)
        theirs = plain(other).removesuffix("hf")
        if name.lower() == model.id.lower() or len(theirs) < 5 or is_tuned_name(name):
            continue
        sibling = same_owner(owner, model.owner)
        if sibling:
            page = evidence.other_model(name)
            fits = (
                is_tuned_name(model.id)
                and family(name) == family(model.id)
                and mine.startswith(theirs)
                and page is not None
                and bool(set(page.papers) & set(model.papers))
            )
        else:
            fits = theirs in mine and len(theirs) >= 7 and any(letter.isdigit() for letter in theirs)
        if fits and (best is None or len(theirs) > best[0]):
            best = (len(theirs), name)
    if best is None:
        return []
    page = evidence.other_model(best[1])
    via = model.proof(f"its name contains the name of {best[1]}", "id")
    return [Ancestor(best[1], "finetune", page, via, stated=False)]
