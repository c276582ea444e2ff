"""What is known of a route's members: price, speed, context and openness.

Facts come from the caller, from the member itself and from the catalogs; what none of them states is unknown.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from openmodels import model_reference
from openmodels.catalog.api import info
from openmodels.catalog.record import ModelRecord
from openmodels.choose import choosing, needs as needs_of
from openmodels.choose.axes import Candidate
from openmodels.choose.needs import Needs
from openmodels.combine.combination import MemberModel
from openmodels.errors import InvalidRequest, ModelNotFound, OpenModelsError
from openmodels.hub.offers import price_tokens

FACTS = ("id", "price_in", "price_out", "context", "speed")
"""What a caller may state of a member."""

_POLICIES = ("fastest", "preferred", None)
"""Suffixes with which the router chooses a provider by something else than the price."""

_COPYLEFT = re.compile(
    r"\b(?:[AL]?GPL|GFDL|MPL|EPL|EUPL|CDDL|OSL|CPL|CPAL|IPL|LPL|MS-RL|CECILL|SLEEPYCAT|.*-SA-)", re.IGNORECASE
)
_REREAD = 60.0  # seconds after which a look-up that failed is tried again


@dataclass(slots=True)
class MemberFacts:
    """What is known of a member; None is unknown.

    Attributes:
        price_in: US dollars for a million input tokens.
        price_out: US dollars for a million output tokens.
        context: Tokens of prompt and answer together at most.
        speed: Output tokens per second.
        openness: How many criteria are open, partly open ones as halves.
        unmet: Why it does not meet the route's requirements, or "".
        why_unknown: Why the catalogs say nothing of it, or "".
    """

    price_in: Decimal | None = None
    price_out: Decimal | None = None
    context: int | None = None
    speed: float | None = None
    openness: float | None = None
    unmet: str = ""
    why_unknown: str = ""

    def cost(self, tokens_in: int, tokens_out: int) -> Decimal | None:
        """Return US dollars for a call, or None where a price that it needs is unknown."""
        return price_tokens(self.price_in, self.price_out, tokens_in, tokens_out)


@dataclass(slots=True)
class FactTable:
    """The facts on all members, in their order.

    Attributes:
        rows: The facts.
        expires: When to read them again, on the clock of `time.monotonic()`; None is never.
    """

    rows: list[MemberFacts]
    expires: float | None = None


@dataclass(slots=True)
class FactReader:
    """Reads the facts on members.

    Attributes:
        members: The members.
        stated: What the caller states, by the member's reference.
        requirements: What a member must meet, or None.
        needs_permissive: Whether its license must be a permissive one.
        reads_catalog: Whether prices, speeds and context lengths are looked up.
        judges_openness: Whether each member's openness is judged.
    """

    members: Sequence[MemberModel]
    stated: Mapping[str, Mapping[str, Any]]
    requirements: Needs | None = None
    needs_permissive: bool = False
    reads_catalog: bool = False
    judges_openness: bool = False
    _failed: bool = field(default=False, init=False)

    def read(self, deadline: float | None) -> FactTable:  # noqa: ARG002 - the look-ups have their own limits
        """Return the facts; what cannot be looked up is unknown."""
        self._failed = False
        rows = [self._read(member) for member in self.members]
        return FactTable(rows, time.monotonic() + _REREAD if self._failed else None)

    def _read(self, member: MemberModel) -> MemberFacts:
        stated = self.stated.get(member.reference, {})
        facts = MemberFacts(context=member.model.capabilities.context)
        if self.reads_catalog or self.judges_openness or self.requirements is not None:
            model_id = stated.get("id") or _model_id(member)
            candidate = None
            if model_id is None:
                facts.why_unknown = "what model it is, is not known: state its id in `facts`"
            else:
                candidate = self._look_up(model_id, facts)
            if candidate is not None:
                _add_offers(facts, candidate, member)
            if self.requirements is not None:
                facts.unmet = self._check(candidate, self.requirements, facts)
            if self.judges_openness and candidate is not None:
                facts.openness = self._judge(candidate.record, facts)
        for name in ("price_in", "price_out"):
            if stated.get(name) is not None:
                setattr(facts, name, Decimal(str(stated[name])))
        facts.context = stated.get("context") or facts.context
        facts.speed = stated.get("speed") or facts.speed
        return facts

    def _look_up(self, model_id: str, facts: MemberFacts) -> Candidate | None:
        notes: list[str] = []
        try:
            (candidate,) = choosing.gather([info(model_id)], (), (), notes)
        except OpenModelsError as error:
            self._failed |= not isinstance(error, ModelNotFound)
            facts.why_unknown = error.cause.rstrip(".")
            return None
        self._failed |= bool(notes)
        facts.why_unknown = "; ".join(notes)
        return candidate

    def _check(self, candidate: Candidate | None, needs: Needs, facts: MemberFacts) -> str:
        if candidate is None:
            return f"{', '.join(needs.stated)}: not known: {facts.why_unknown}"
        failed = needs_of.check(replace(candidate, offers=list(candidate.offers)), needs)
        terms = candidate.record.license.terms if candidate.record.license else None
        if self.needs_permissive and terms is not None and "license_class" not in failed and _is_copyleft(terms.label):
            failed["license_class"] = f"copyleft ({terms.label}), not permissive"
        failed = failed or needs_of.check_closely(candidate.record, needs)
        return "; ".join(f"{name}: {reason}" for name, reason in failed.items())

    def _judge(self, record: ModelRecord, facts: MemberFacts) -> float | None:
        from openmodels.openness.api import openness
        from openmodels.openness.findings import Verdict

        try:
            report = openness(record)
        except OpenModelsError as error:
            self._failed |= not isinstance(error, ModelNotFound)
            facts.why_unknown = error.cause.rstrip(".")
            return None
        weights = {Verdict.OPEN: 1.0, Verdict.PARTIAL: 0.5}
        return sum(weights.get(finding.verdict, 0.0) for finding in report)


def read_stated(facts: Any, members: Sequence[MemberModel]) -> dict[str, dict[str, Any]]:
    """Return the facts that a caller states, checked.

    Raises:
        InvalidRequest: They are about no member, or a key or a number is wrong.
    """
    if not isinstance(facts, Mapping) or not all(isinstance(row, Mapping) for row in facts.values()):
        raise InvalidRequest("facts: expected a dict of references, each with a dict of facts.")
    references = [member.reference for member in members]
    for reference, row in facts.items():
        if reference not in references:
            raise InvalidRequest(f"facts: {str(reference)[:80]!r} is not in the list.")
        for name, value in row.items():
            is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool) and value >= 0
            if name not in FACTS or not (isinstance(value, str) if name == "id" else is_number):
                raise InvalidRequest(
                    f"facts: {reference}: {str(name)[:40]!r} is unknown or has a wrong value.",
                    next_step=f"There are {', '.join(FACTS)}; numbers are 0 or more.",
                )
    return {str(reference): dict(row) for reference, row in facts.items()}


def read_requirements(require: Any) -> tuple[Needs | None, bool]:
    """Return what members must meet, and whether their license must be permissive.

    Raises:
        InvalidRequest: A key or a value is wrong; the message names the known ones.
    """
    if require is None:
        return None, False
    stated = dict(require) if isinstance(require, Mapping) else require
    is_permissive = isinstance(stated, dict) and stated.get("license_class") == "permissive"
    if is_permissive:
        stated["license_class"] = "open"
    return needs_of.read_needs(stated, (Decimal(3), Decimal(1))), is_permissive


def _model_id(member: MemberModel) -> str | None:
    """Return the id in the catalogs of a member whose reference says it."""
    if member.backend.name != "local" and not getattr(member.backend, "is_routed", False):
        return None
    try:
        return model_reference.parse_hub_id(member.backend.rest).repo
    except OpenModelsError:
        return None


def _add_offers(facts: MemberFacts, candidate: Candidate, member: MemberModel) -> None:
    """Add the context length, and the terms of the provider that serves the member."""
    facts.context = facts.context or candidate.record.context_length
    if member.backend.name != "hf":
        return  # what others ask for the model is not what this one costs
    suffix = model_reference.parse_hub_id(member.backend.rest).suffix
    offers = [offer for offer in candidate.offers if offer.status != "error"]
    if suffix not in (*_POLICIES, "cheapest"):
        offers = [offer for offer in offers if offer.provider == suffix]
    speeds = [offer.throughput for offer in offers if offer.throughput is not None]
    facts.speed = max(speeds, default=None) if suffix == "fastest" else min(speeds, default=None)
    prices = [(offer.price_in, offer.price_out) for offer in offers]
    priced = [(first, second) for first, second in prices if first is not None and second is not None]
    if not priced or (suffix != "cheapest" and len(priced) < len(prices)):
        return  # the router may choose one without a price
    pick = min if suffix == "cheapest" else max
    facts.price_in, facts.price_out = pick(priced, key=lambda pair: 3 * pair[0] + pair[1])


def _is_copyleft(label: str) -> bool:
    return _COPYLEFT.search(label) is not None
