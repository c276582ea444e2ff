"""The components of the Model Openness Framework that the evidence shows, and under which licenses.

What lies in a model's repository is under the repository's license, as the framework lets a license
of the whole distribution stand for its parts; code and data are under their own repository's. A paper
elsewhere has a license of its own, which the evidence does not hold: it is unknown, not missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from openmodels.hub.model_names import split
from openmodels.licenses import LicenseClass, LicenseTerms, find, most_restrictive
from openmodels.openness.datasets import Access, Named, Role
from openmodels.openness.findings import Criterion, Finding, Verdict
from openmodels.openness.model_context import Case
from openmodels.openness.mof import PAPER, REPORT
from openmodels.openness.rules.license import sources

# Libraries that hold the code of the models they load, with their licenses.
_LIBRARIES = {"transformers": "Apache-2.0", "diffusers": "Apache-2.0", "sentence-transformers": "Apache-2.0"}
_RESULTS = re.compile(r"\b(?:evaluat\w*|benchmarks?|results?|performance)\b", re.IGNORECASE)
_RESULT_FILE = re.compile(r"(?:^|/)(?:eval|evaluation|results?|all_results)[\w.-]*\.(?:json|csv|ya?ml)$", re.IGNORECASE)
_OWN_CODE = re.compile(r"(?:^|/)modell?ing_[\w-]+\.py$")
_NO_PROGRAM = re.compile(r"(?:^|/)(?:__init__|tokenization_\w+|test_\w+)\.py$")
_GITHUB = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")


@dataclass(frozen=True, slots=True)
class Part:
    """A component as far as it was seen.

    Attributes:
        released: Whether it is published; None where that was not seen.
        license: The id of its license; None for "released without a license".
        read: Whether its license is known.
        reason: Why, in a sentence.
    """

    released: bool | None
    license: str | None
    read: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Terms:
    license: str | None
    read: bool
    where: str


def components(case: Case, findings: Mapping[Criterion, Finding]) -> dict[str, Part]:
    """Return every component that a class of the framework needs, by its name in the framework."""
    own = _terms(binding(case), "the model's repository")
    code = {name: _code(case, findings[name], own) for name in (Criterion.TRAINING_CODE, Criterion.EVALUATION_CODE)}
    data, data_card = _data(case, findings[Criterion.TRAINING_DATA])
    return {
        "Model architecture": _in_code(case, "architecture", own, findings[Criterion.TRAINING_CODE]),
        "Model parameters (Final)": _in_repository(findings[Criterion.WEIGHTS], own, gated=True),
        "Model card": _card(case, own),
        "Data card": data_card,
        REPORT: _report(case, findings[Criterion.TECHNICAL_REPORT], own),
        "Evaluation results": _results(case, findings[Criterion.TECHNICAL_REPORT], own),
        "Training code": code[Criterion.TRAINING_CODE],
        "Inference code": _in_code(case, "inference", own, findings[Criterion.TRAINING_CODE]),
        "Evaluation code": code[Criterion.EVALUATION_CODE],
        "Evaluation data": Part(None, None, False, "What it was evaluated on is not gathered."),
        "Datasets": data,
        "Model parameters (Intermediate)": _in_repository(findings[Criterion.CHECKPOINTS], own),
        "Data preprocessing code": _in_code(case, "preparation", own, findings[Criterion.TRAINING_CODE]),
        PAPER: _paper(case, findings[Criterion.TECHNICAL_REPORT]),
    }


def binding(case: Case) -> LicenseTerms | None:
    """Return the license of the model's repository: the strictest that a source states."""
    found = [one.license for one in sources(case)]
    return most_restrictive([one for one in found if one.id.lower() not in ("", "other", "unknown")] or found)


def _terms(stated: LicenseTerms | None, where: str) -> _Terms:
    if stated is None or not stated.id:
        return _Terms(None, False, where)
    read = stated.kind not in (LicenseClass.UNKNOWN, LicenseClass.AMBIGUOUS)
    return _Terms(stated.spdx or stated.id, read, where)


def _released(terms: _Terms, what: str) -> Part:
    if terms.read:
        return Part(True, terms.license, True, f"{what}, under {terms.license or 'no license'} of {terms.where}.")
    return Part(True, None, False, f"{what}; the license of {terms.where} is not known.")


def _absent(finding: Finding) -> Part:
    """Return the part of a criterion that is not open: not released, or not seen."""
    return Part(None if finding.verdict is Verdict.UNKNOWN else False, None, False, finding.reason)


def _in_repository(finding: Finding, own: _Terms, *, gated: bool = False) -> Part:
    there = finding.verdict is Verdict.OPEN or (gated and finding.verdict is Verdict.PARTIAL)
    return _released(own, finding.reason.rstrip(".")) if there else _absent(finding)


def _card(case: Case, own: _Terms) -> Part:
    if case.model.headings or case.model.statements:
        return _released(own, "In the model's repository")
    if case.model.files_complete and not any(name.lower() == "readme.md" for name in case.model.files):
        return Part(False, None, False, "There is no card.")
    return Part(None, None, False, "The card's text was not seen.")


def _results(case: Case, report: Finding, own: _Terms) -> Part:
    model = case.model
    if any(_RESULT_FILE.search(name) for name in model.files) or "model-index" in model.card:
        return _released(own, "Results in the model's repository")
    if "eval-results" in model.tags or any(_RESULTS.search(heading) for heading in model.headings):
        return _released(own, "Results in the model card")
    if model.card_seen and report.verdict is Verdict.CLOSED:
        return Part(False, None, False, "The card has no results, and there is no report that could.")
    return Part(None, None, False, "No results were seen; a report may hold them.")


def _report(case: Case, finding: Finding, own: _Terms) -> Part:
    if finding.verdict is not Verdict.OPEN:
        return _absent(finding)
    terms = _at(case, finding.evidence[0].url, own)
    return _released(terms, "A report is published") if terms else _elsewhere(finding)


def _paper(case: Case, finding: Finding) -> Part:
    if case.model.papers and finding.verdict is Verdict.OPEN:
        return Part(True, None, False, f"The paper arXiv {case.model.papers[0]}; its license was not seen.")
    if finding.verdict is Verdict.CLOSED:
        return Part(False, None, False, finding.reason)
    return Part(None, None, False, "No research paper of its own was seen.")


def _elsewhere(finding: Finding) -> Part:
    return Part(True, None, False, f"Published at {finding.evidence[0].url}; its license was not seen.")


def _code(case: Case, finding: Finding, own: _Terms) -> Part:
    if finding.verdict is not Verdict.OPEN:
        return _absent(finding)
    terms = _at(case, finding.evidence[0].url, own)
    return _released(terms, finding.reason.rstrip(".")) if terms else _elsewhere(finding)


def _in_code(case: Case, kind: str, own: _Terms, training: Finding) -> Part:
    """Judge code that no criterion asks for, by the kind of files in a tree."""
    for one in case.repositories:
        paths = [path for path in getattr(one.tree, kind, ()) if not _NO_PROGRAM.search(path)]
        if paths:
            return _released(_repository(case, one.name), f"{one.name} holds {paths[0]}")
    if kind != "preparation":
        model = case.model
        library = str(model.data.get("library_name") or next((tag for tag in model.tags if tag in _LIBRARIES), ""))
        if files := [name for name in model.files if _OWN_CODE.search(name)]:
            return _released(own, f"The model's repository holds {files[0]}")
        if library in _LIBRARIES and "custom_code" not in model.tags:
            return _released(_Terms(_LIBRARIES[library], True, "the library"), f"It runs in {library}")
    unread = not case.model.card_seen or any(one.page is None or not one.page.complete for one in case.repositories)
    if unread or training.verdict is Verdict.UNKNOWN:
        return Part(None, None, False, "No such code was found in what was seen.")
    return Part(False, None, False, "No such code is in the model's repositories.")


def _data(case: Case, finding: Finding) -> tuple[Part, Part]:
    """Judge the training data, and the card that every data set on the Hub has."""
    sets = [one for one in case.sets(Role.PRETRAINING) if one.access in (Access.PUBLIC, Access.GATED)]
    card = _released(_of_sets(sets), f"{sets[0].id} has a card") if sets else _absent(finding)
    if finding.verdict is not Verdict.OPEN:
        # A part of the data is no release of the data.
        return _absent(finding), card
    whole = _released(_of_sets(sets), finding.reason.rstrip("."))
    return whole, card if sets else whole


def _of_sets(sets: list[Named]) -> _Terms:
    found = [_terms(find(one.page.license if one.page else None), "the data") for one in sets]
    unread = next((one for one in found if not one.read), None)
    if not found or unread:
        return _Terms(None, False, "the data")
    strictest = most_restrictive([find(one.license) for one in found])
    return _terms(strictest, "the data")


def _at(case: Case, url: str, own: _Terms) -> _Terms | None:
    """Return the terms of the place a file lies in, or None for a place that is not the model's own."""
    if found := _GITHUB.match(url):
        return _repository(case, found[1])
    return own if url.startswith((f"{case.model.url}/blob/", f"{case.model.url}/resolve/")) else None


def _repository(case: Case, name: str) -> _Terms:
    page = case.evidence.repository(name)
    where = f"the repository {split(name)[1]}"
    if page is None or not page.known("license") or not page.tree:
        return _Terms(None, False, where)
    # A repository that was read and has no license file is released without a license.
    return _terms(find(page.license), where) if page.license else _Terms(None, True, where)
