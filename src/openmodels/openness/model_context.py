"""One model with its lineage, repositories, data sets and licenses."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from openmodels.hub.model_names import same_owner
from openmodels.openness import criteria
from openmodels.openness.datasets import DatasetUse, NamedDataset, find_datasets
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Finding
from openmodels.openness.lineage import Ancestor, find_ancestors, is_finetune
from openmodels.openness.pages import ModelEvidence
from openmodels.openness.repositories import RelatedRepository, find_repositories
from openmodels.openness.stated_licenses import StatedLicense, find_stated_licenses


@dataclass
class ModelContext:
    """What the evidence shows of one model, derived once."""

    evidence: Evidence
    descendants: tuple[str, ...] = ()  # models judged by this one's data, in lower case: circles of bases end here
    _findings: dict[str, Finding] = field(default_factory=dict, repr=False)

    @property
    def model(self) -> ModelEvidence:
        """The model under judgement."""
        return self.evidence.model

    @cached_property
    def bases(self) -> list[Ancestor]:
        """The models it was made from, the nearest first."""
        return find_ancestors(self.evidence, self.model)

    @cached_property
    def is_finetune(self) -> bool:
        """Whether it is a fine-tune."""
        return is_finetune(self.model, self.bases)

    @cached_property
    def same_owner_bases(self) -> tuple[ModelEvidence, ...]:
        """The pages of base models by the same owner: one project, judged together."""
        pages = (base.page for base in self.bases)
        return tuple(page for page in pages if page is not None and same_owner(page.owner, self.model.owner))

    @property
    def foreign_base(self) -> Ancestor | None:
        """The nearest base model by another owner, if any."""
        return next((base for base in self.bases if not same_owner(base.owner, self.model.owner)), None)

    @cached_property
    def repositories(self) -> list[RelatedRepository]:
        """Its GitHub repositories."""
        return find_repositories(self.evidence, self.model, self.same_owner_bases)

    @cached_property
    def datasets(self) -> list[NamedDataset]:
        """The data sets it names itself."""
        return find_datasets(self.evidence, self.model, is_finetune=self.is_finetune)

    def datasets_for(self, use: DatasetUse) -> list[NamedDataset]:
        """Return the data sets of one use."""
        return [dataset for dataset in self.datasets if dataset.use is use]

    @cached_property
    def stated_licenses(self) -> tuple[StatedLicense, ...]:
        """Every license stated for the weights, those of binding bases included."""
        return tuple(find_stated_licenses(self.model, self.bases))

    def finding(self, name: str) -> Finding:
        """Return the finding on one criterion, judged once."""
        if name not in self._findings:
            self._findings[name] = criteria.judge(self, name)
        return self._findings[name]

    def findings(self) -> dict[str, Finding]:
        """Return the findings on all criteria, in the order of a report."""
        return {name: self.finding(name) for name in criteria.criterion_names()}
