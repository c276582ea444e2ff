"""The case about one model: everything the rules look at, put together once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from openmodels.hub.model_names import same_owner
from openmodels.openness.datasets import Named, Role, named
from openmodels.openness.evidence import Evidence
from openmodels.openness.lineage import Ancestor, ancestors, is_tuned
from openmodels.openness.pages import ModelEvidence
from openmodels.openness.repositories import Related, related


@dataclass
class Case:
    """What is known about a model.

    Attributes:
        evidence: All pages.
        asked: The models on whose behalf this one is looked at, so that circles of bases end.
    """

    evidence: Evidence
    asked: tuple[str, ...] = ()

    @property
    def model(self) -> ModelEvidence:
        """The model under judgement."""
        return self.evidence.model

    @cached_property
    def bases(self) -> list[Ancestor]:
        """What it was made from, the nearest first."""
        return ancestors(self.evidence, self.model)

    @cached_property
    def tuned(self) -> bool:
        """Whether it is a fine-tune."""
        return is_tuned(self.model, self.bases)

    @cached_property
    def own_bases(self) -> tuple[ModelEvidence, ...]:
        """The pages of base models by the same owner: one project, judged together."""
        return tuple(
            base.page for base in self.bases if base.page is not None and same_owner(base.page.owner, self.model.owner)
        )

    @property
    def foreign_base(self) -> Ancestor | None:
        """The nearest base model by somebody else, if any."""
        return next((base for base in self.bases if not same_owner(base.id.split("/")[0], self.model.owner)), None)

    @cached_property
    def repositories(self) -> list[Related]:
        """Its GitHub repositories."""
        return related(self.evidence, self.model, self.own_bases)

    @cached_property
    def datasets(self) -> list[Named]:
        """The data sets it names itself."""
        return named(self.evidence, self.model, tuned=self.tuned)

    def sets(self, role: Role) -> list[Named]:
        """Return the data sets of one role."""
        return [one for one in self.datasets if one.role is role]
