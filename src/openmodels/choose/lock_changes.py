"""What changed between two states of a model, and whether for the worse."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from openmodels.choose.lock_file import LockedLicense, LockedModel, LockedOffer
from openmodels.licenses import LicenseClass
from openmodels.openness.findings import Verdict

_GATES = {False: 0, "auto": 1, "manual": 2}
_OPENNESS = {Verdict.CLOSED: 0, Verdict.UNKNOWN: 0, Verdict.PARTIAL: 1, Verdict.OPEN: 2}


@dataclass(frozen=True, slots=True)
class Change:
    """One fact about a model that differs from the lock file.

    Attributes:
        model: The model's id.
        field: The fact: "license", "gated", "available", "disabled", "id", "revision", "retires_on", "status",
            "successor", "openness.CRITERION", "offers.PROVIDER" and its "status", "price_in" and "price_out".
        before: What the lock file says; None where it had no such thing.
        after: What holds now; None where that thing has gone.
        is_worse: Whether the user of the model is worse off.
        successor: What to use in its place, where the vendor or the model's card names it.
    """

    model: str
    field: str
    before: str | None
    after: str | None
    is_worse: bool
    successor: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the change as JSON takes it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StateComparison:
    """How two states of one model are compared.

    Attributes:
        before: The locked state.
        after: The present one.
        price_rise: The share by which a price may rise.
        since: The day of the lock file.
        today: The present day.
    """

    before: LockedModel
    after: LockedModel
    price_rise: Decimal
    since: date
    today: date

    def changes(self) -> list[Change]:
        """Return what changed, the worse first."""
        before, after = self.before, self.after
        if "model" in after.sources and not (before.is_available and after.is_available):
            if before.is_available == after.is_available:
                return []
            return [self._change("available", _yes(before.is_available), _yes(after.is_available), before.is_available)]
        changes: list[Change] = []
        # A part that only one of the states has cannot be compared; a date of retirement counts all the same.
        both = before.sources.keys() & after.sources.keys()
        if "model" in both:
            changes += self._model()
        if "openness" in both:
            changes += self._openness()
        if "offers" in both:
            changes += self._offers()
        if "lifecycle" in after.sources:
            changes += self._lifecycle()
        return sorted(changes, key=lambda change: not change.is_worse)

    def _change(self, field: str, before: Any, after: Any, is_worse: bool) -> Change:  # noqa: FBT001 - as in `Change`
        old, new = (None if value is None else str(value) for value in (before, after))
        return Change(self.after.id, field, old, new, is_worse, self.after.successor or self.before.successor)

    def _model(self) -> Iterator[Change]:
        before, after = self.before, self.after
        if (before.current_id or before.id) != (after.current_id or after.id):
            yield self._change("id", before.current_id or before.id, after.current_id or after.id, is_worse=False)
        if before.disabled != after.disabled:
            yield self._change("disabled", _yes(before.disabled), _yes(after.disabled), after.disabled)
        if before.gated != after.gated and after.gated is not None:
            is_worse = _GATES[after.gated] > _GATES[before.gated or False]
            yield self._change("gated", _gate(before.gated), _gate(after.gated), is_worse)
        if before.license != after.license:
            is_worse = _is_less_open(before.license, after.license)
            old, new = _license(before.license, after.license), _license(after.license, before.license)
            yield self._change("license", old, new, is_worse)
        if before.revision != after.revision and after.revision is not None:
            yield self._change("revision", before.revision, after.revision, is_worse=False)
        if before.newer_version != after.newer_version:
            yield self._change("successor", before.newer_version, after.newer_version, is_worse=False)

    def _openness(self) -> Iterator[Change]:
        for criterion in dict.fromkeys([*self.before.verdicts, *self.after.verdicts]):
            old, new = (state.verdicts.get(criterion) for state in (self.before, self.after))
            if old is None or new is None:
                # Another version of the rules has other criteria.
                yield self._change(f"openness.{criterion}", old and old.verdict, new and new.verdict, is_worse=False)
            elif old.verdict != new.verdict:
                is_worse = _OPENNESS[new.verdict] < _OPENNESS[old.verdict]
                yield self._change(f"openness.{criterion}", old.verdict, new.verdict, is_worse)

    def _offers(self) -> Iterator[Change]:
        for provider in sorted({*self.before.offers, *self.after.offers}):
            old, new = self.before.offers.get(provider), self.after.offers.get(provider)
            name = f"offers.{provider}"
            if old is None or new is None:
                yield self._change(name, old and _offer(old), new and _offer(new), is_worse=new is None)
                continue
            if old.status != new.status:
                yield self._change(f"{name}.status", old.status, new.status, is_worse=old.status == "live")
            for field in ("price_in", "price_out"):
                price, now = getattr(old, field), getattr(new, field)
                if price != now:
                    is_worse = price is not None and now is not None and now > price * (1 + self.price_rise)
                    yield self._change(f"{name}.{field}", _dollars(price), _dollars(now), is_worse)

    def _lifecycle(self) -> Iterator[Change]:
        before, after = self.before, self.after
        day, other = before.retires_on, after.retires_on
        has_passed = after.retires_on is not None and self.since < after.retires_on <= self.today
        if day != other or has_passed:
            is_worse = other is not None and (has_passed or day is None or other < day)
            yield self._change("retires_on", day, f"{other}, passed" if has_passed else other, is_worse)
        if before.status != after.status:
            end_words = ("retired", "deprecat", "legacy", "retiring")
            was, is_ending = (any(word in (status or "").lower() for word in end_words)
                              for status in (before.status, after.status))  # fmt: skip
            is_worse = is_ending and (not was or "retired" in (after.status or "").lower())
            yield self._change("status", before.status, after.status, is_worse)
        if before.replacement != after.replacement:
            yield self._change("successor", before.replacement, after.replacement, is_worse=False)


def _is_less_open(before: LockedLicense | None, after: LockedLicense | None) -> bool:
    """Return whether a license is less open, unknown now, or restricts in more ways."""
    old, new = (state.kind if state else LicenseClass.UNKNOWN for state in (before, after))
    order = list(LicenseClass)
    if old != new:
        return order.index(new) > order.index(old) or (old.is_known and not new.is_known)
    return bool(set(after.restrictions if after else ()) - set(before.restrictions if before else ()))


def _license(license_: LockedLicense | None, other: LockedLicense | None) -> str | None:
    """Return a license as text.

    It has the restrictions where only they tell it from the other.
    """
    if license_ is None:
        return None
    text = f"{license_.id} ({license_.kind})"
    is_alike = other is not None and (license_.id, license_.kind) == (other.id, other.kind)
    return f"{text}: {', '.join(license_.restrictions) or 'no restrictions'}" if is_alike else text


def _yes(value: bool) -> str:  # noqa: FBT001 - a text for it
    return "yes" if value else "no"


def _gate(gate: object) -> str | None:
    return None if gate is None else str(gate or "no")


def _dollars(price: Decimal | None) -> str | None:
    return None if price is None else f"${price.normalize():f} per million tokens"


def _offer(offer: LockedOffer) -> str:
    prices = [f"${price.normalize():f}" for price in (offer.price_in, offer.price_out) if price is not None]
    return ", ".join(filter(None, [offer.status, " / ".join(prices)])) or "offered"
