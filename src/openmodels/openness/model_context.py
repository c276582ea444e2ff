"""One model with its lineage, repositories, data sets and licenses."""

from functools import cached_property

from openmodels.hub.model_names import same_owner
from openmodels.openness import criteria
from openmodels.openness.datasets import DatasetUse, NamedDataset, find_datasets
from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Finding
from openmodels.openness.lineage import Ancestor, find_ancestors, is_finetune
from openmodels.openness.repositories import find_repositories
from openmodels.openness.stated_licenses import StatedLicense, find_stated_licenses

MOST_GENERATIONS = 40  # how far back base models are judged; each generation is a level of recursion


_Contexts = dict[tuple[str, frozenset[str]], "ModelContext"]


class ModelContext:
    """What the evidence shows of one model, derived once."""

    def __init__(
        self, evidence: Evidence, descendants: tuple[str, ...] = (), contexts: _Contexts | None = None
    ) -> None:
        self.evidence = evidence  # all pages
        self.descendants = descendants  # models judged by this one's data, in lower case: circles of bases end here
        self.model = evidence.model  # the model under judgement
        owner = self.model.owner
        self.bases = find_ancestors(evidence, self.model)  # the models it was made from, the nearest first
        self.is_finetune = is_finetune(self.model, self.bases)  # whether it is a fine-tune
        pages = [base.page for base in self.bases if base.page is not None]
        # The pages of base models by the same owner: one project, judged together.
        self.same_owner_bases = [page for page in pages if same_owner(page.owner, owner)]
        # The nearest base model by another owner, if any.
        self.foreign_base = next((base for base in self.bases if not same_owner(base.owner, owner)), None)
        self.repositories = find_repositories(evidence, self.model, self.same_owner_bases)  # its GitHub repositories
        # The data sets it names itself.
        self.datasets = find_datasets(
            evidence, self.model, is_finetune=self.is_finetune, has_foreign_base=self.foreign_base is not None
        )
        self._findings: dict[str, Finding] = {}
        self._contexts = {} if contexts is None else contexts

    def datasets_for(self, use: DatasetUse) -> list[NamedDataset]:
        """Return the data sets of one use."""
        return [dataset for dataset in self.datasets if dataset.use is use]

    def of_base(self, base: Ancestor) -> "ModelContext | None":
        """Return the context of a base model, or None where it is not followed.

        It is made once for all that are made from it: in a merge of merges many paths lead to one base.
        """
        descendants = (*self.descendants, self.model.id.lower())
        if base.page is None or base.page.id.lower() in descendants or len(descendants) > MOST_GENERATIONS:
            return None
        evidence = self.evidence.about(base.page.id)
        above = (ancestor.id.lower() for ancestor in find_ancestors(evidence, base.page))
        key = base.page.id.lower(), frozenset(above).intersection(descendants)
        if key not in self._contexts:
            self._contexts[key] = ModelContext(evidence, descendants, self._contexts)
        return self._contexts[key]

    def why_not_followed(self, base: Ancestor) -> str:
        """Return why nothing is known of a base model, or ""."""
        if base.page is None:
            return self.evidence.unread["models"].get(base.id.lower(), "")
        if base.page.id.lower() in (*self.descendants, self.model.id.lower()):
            return "it was made from this model itself"
        return f"bases are judged up to {MOST_GENERATIONS} generations back"

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
