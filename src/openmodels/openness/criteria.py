"""The criteria: each is one rule, a function with the `criterion` decorator.

    @criterion("inference_code", "a program that runs the model")
    def inference_code(context: ModelContext) -> Judgement: ...

Reports, the comparison, the command and the table of `docs/openness.md` read the criteria from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from openmodels.errors import InvalidRequest
from openmodels.openness.findings import Criterion, Finding, Judgement

if TYPE_CHECKING:
    from openmodels.openness.model_context import ModelContext

Rule = Callable[["ModelContext"], Judgement]


@dataclass(frozen=True, slots=True)
class RegisteredRule:
    """A criterion with its rule."""

    name: Criterion
    open_needs: str  # what the verdict "open" needs, for the documentation
    judge: Rule


_RULES: dict[str, RegisteredRule] = {}


def criterion(name: str, open_needs: str) -> Callable[[Rule], Rule]:
    """Register the decorated function as the rule of a criterion.

    Raises:
        InvalidRequest: The criterion has a rule already.
    """
    _load_built_in_rules()

    def register(rule: Rule) -> Rule:
        if name in _RULES:
            raise InvalidRequest(f"The criterion {name!r} has a rule already.")
        _RULES[name] = RegisteredRule(Criterion(name), open_needs, rule)
        return rule

    return register


def registered_rules() -> tuple[RegisteredRule, ...]:
    """Return every criterion with its rule, in the order of a report."""
    _load_built_in_rules()
    return tuple(_RULES.values())


def criterion_names() -> tuple[Criterion, ...]:
    """Return the names of all criteria, in the order of a report."""
    return tuple(rule.name for rule in registered_rules())


def find_criterion(name: str) -> Criterion:
    """Return the criterion of a name; raise `InvalidRequest` where there is none."""
    _load_built_in_rules()
    if name not in _RULES:
        raise InvalidRequest(f"There is no criterion {name!r}.", next_step=f"Criteria: {', '.join(criterion_names())}.")
    return _RULES[name].name


def judge(context: "ModelContext", name: str) -> Finding:
    """Return the finding of one criterion's rule."""
    registered = _RULES[find_criterion(name)]
    return Finding(**vars(registered.judge(context)) | {"criterion": registered.name})


def _load_built_in_rules() -> None:
    # The built-in criteria stand before those that others add.
    import openmodels.openness.rules  # noqa: F401
