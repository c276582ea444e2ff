"""What a model must have to be ranked: constraints, checked one by one.

A fact that no source states does not meet a need; the reason then says "not known".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from openmodels.catalog import query as queries
from openmodels.catalog.query import Query
from openmodels.catalog.record import ModelRecord
from openmodels.choose.axes import Candidate
from openmodels.choose.prices import PricedOffer
from openmodels.errors import InvalidRequest, OpenModelsError

_SYNONYMS = {
    "language": "languages",
    "modality": "modalities",
    "fits": "fit",
    "structured_output": "schema",
    "price": "max_price",
    "price_in": "max_price_in",
    "price_out": "max_price_out",
}
_AS_IN_SEARCH = ("license", "license_class", "open", "gated", "parameters", "context", "provider")
_TOOLS = ("tool-calling", "function-calling", "tool-use")
_SCHEMA = ("structured-output", "structured-outputs", "json-schema")


class Needs(NamedTuple):
    """Checked needs.

    Attributes:
        stated: The value of each need, as the caller wrote it.
        query: The needs that `om.search` knows too, read as it reads them.
        languages: Codes.
        inputs: Modalities that go in.
        outputs: Modalities that come out.
        prices: The most of each price in US dollars per million tokens.
        ratio: Input to output tokens in a blended price.
    """

    stated: dict[str, Any]
    query: Query
    languages: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    prices: dict[str, Decimal]
    ratio: tuple[Decimal, Decimal]


def read_needs(need: Any, ratio: tuple[Decimal, Decimal]) -> Needs:
    """Return checked needs.

    Raises:
        InvalidRequest: A key or a value is wrong; the message names the known keys.
    """
    if not isinstance(need, Mapping):
        raise InvalidRequest(f"need: expected a dict, not {type(need).__name__}.", next_step=f"Keys: {_known()}.")
    stated: dict[str, Any] = {}
    for key, value in need.items():
        name = _SYNONYMS.get(key, key)
        if name == "license" and isinstance(value, str) and value in queries.LICENSE_CLASSES:
            name = "license_class"
        if name not in NEEDS:
            raise InvalidRequest(f"need: {str(key)[:60]!r} is no constraint.", next_step=f"There are: {_known()}.")
        if value is None or (value is False and name in ("tools", "schema", "fit")):
            continue  # not needed
        if name in ("tools", "schema") and value is not True:
            raise InvalidRequest(f"need: {name} is True or False, not {str(value)[:60]!r}.")
        stated[name] = value
    shared = {name: stated[name] for name in _AS_IN_SEARCH if name in stated}
    if "languages" in stated:
        shared["language"] = stated["languages"]
    query = queries.build_query(**shared)
    inputs, outputs = _modalities(stated.get("modalities"))
    prices = {name: _dollars(name, stated[name]) for name in _CEILINGS if name in stated}
    for name in _texts(stated.get("openness"), "openness"):
        _read_openness(name)
    _texts(stated.get("region"), "region")
    if "fit" in stated and not isinstance(stated["fit"], str | bool):
        raise InvalidRequest(f'need: fit is a device such as "cuda:24GB", not {str(stated["fit"])[:60]!r}.')
    return Needs(stated, query, query.language or (), inputs, outputs, prices, ratio)


def _known() -> str:
    return ", ".join(NEEDS)


def _texts(value: Any, name: str) -> tuple[str, ...]:
    listed = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(listed, list | tuple) or not all(isinstance(text, str) for text in listed):
        raise InvalidRequest(f"need: {name} is a text, or several in a list, not {str(value)[:60]!r}.")
    return tuple(listed)


def _read_openness(name: str) -> tuple[str | None, str]:
    """Return the criterion that a name means, or None, and the profile to judge by."""
    from openmodels.openness import criteria, profiles

    if name in criteria.criterion_names():
        return name, profiles.DEFAULT
    try:
        return None, profiles.find_profile(name)
    except InvalidRequest as error:
        known = ", ".join((*profiles.PROFILES, *criteria.criterion_names()))
        raise InvalidRequest(
            f"need: openness: {name[:60]!r} is no profile and no criterion.", next_step=f"There are: {known}."
        ) from error


def _dollars(name: str, value: Any) -> Decimal:
    price = queries.build_query(max_price=value).max_price
    if price is None:
        raise InvalidRequest(f"need: {name} is a price in US dollars per million tokens.")
    return price


def _modalities(stated: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the modalities that must go in, and those that must come out."""
    sides = stated if isinstance(stated, Mapping) else {"input": stated if stated is not None else ()}
    if extra := set(sides) - {"input", "output"}:
        raise InvalidRequest(f'need: modalities has "input" and "output", not {str(min(map(str, extra)))[:60]!r}.')
    listed = {side: (value,) if isinstance(value, str) else tuple(value) for side, value in sides.items()}
    known = ("text", "image", "audio", "video", "embeddings")
    for modality in (modality for side in listed.values() for modality in side):
        if modality not in known:
            raise InvalidRequest(
                f"need: {str(modality)[:60]!r} is no modality.", next_step=f"There are: {', '.join(known)}."
            )
    return listed.get("input", ()), listed.get("output", ())


def check(candidate: Candidate, needs: Needs) -> dict[str, str]:
    """Return the needs that a model's facts do not meet, each with the reason.

    Offers that do not meet them, or failed the router's last probe, are taken out of the candidate.
    """
    failed = {}
    candidate.offers = [offer for offer in candidate.offers if offer.status != "error"]
    for name in needs.stated:
        reason = NEEDS[name](candidate, needs)
        if reason:
            failed[name] = reason
    if candidate.record.disabled:
        failed["disabled"] = "the Hub has disabled it"
    wanted = [name for name in needs.stated if name in _OFFER_TESTS]
    fitting = [offer for offer in candidate.offers if all(_meets(name, offer, candidate, needs) for name in wanted)]
    if not failed and not fitting and any(name in _OFFERS_ONLY for name in wanted):
        failed[" and ".join(wanted)] = "no provider meets them together"
    candidate.offers = fitting
    return failed


def _license(candidate: Candidate, needs: Needs) -> str | None:
    license_ = candidate.record.license
    wanted = needs.query.license or ()
    if license_ is None:
        return "not known"
    return None if license_.id.lower() in map(str.lower, wanted) else f"{license_.label}, not {' or '.join(wanted)}"


def _license_class(candidate: Candidate, needs: Needs) -> str | None:
    license_ = candidate.record.license
    kind = license_.license_class if license_ else "unknown"
    wanted = needs.query.license_class or ()
    if kind in wanted:
        return None
    label = f" ({license_.label})" if license_ else ""
    return f"not known{label}" if kind == "unknown" else f"{kind}{label}, not {' or '.join(wanted)}"


def _flag(name: str) -> Callable[[Candidate, Needs], str | None]:
    def test(candidate: Candidate, needs: Needs) -> str | None:
        value, wanted = getattr(candidate.record, name), getattr(needs.query, name)
        if value is None:
            return "not known"
        return None if bool(value) == wanted else f"{'yes' if value else 'no'}, not {'yes' if wanted else 'no'}"

    return test


def _range(value: int | None, bounds: queries.Range | None) -> str | None:
    if bounds is None:
        return None
    if value is None:
        return "not known"
    if bounds.low is not None and value < bounds.low:
        return f"{value:,}, at least {bounds.low:,} needed"
    return f"{value:,}, at most {bounds.high:,} wanted" if bounds.high is not None and value > bounds.high else None


def _parameters(candidate: Candidate, needs: Needs) -> str | None:
    parameters = candidate.record.parameters
    return _range(parameters.total if parameters else None, needs.query.parameters)


def _context(candidate: Candidate, needs: Needs) -> str | None:
    lengths = [offer.context_length for offer in candidate.offers if offer.context_length]
    return _range(candidate.record.context_length or max(lengths, default=None), needs.query.context)


def _languages(candidate: Candidate, needs: Needs) -> str | None:
    known = candidate.record.languages
    if known is None:
        return "not known"
    spoken = {code.lower() for code in known} | {code.lower().partition("-")[0] for code in known}
    missing = [code for code in needs.languages if code.lower() not in spoken]
    return f"{', '.join(missing)} not among {', '.join(known[:8])}" if missing else None


def _modality(candidate: Candidate, needs: Needs) -> str | None:
    stated = candidate.record.modalities
    for side, wanted in (("input", needs.inputs), ("output", needs.outputs)):
        known = getattr(stated, side) if stated else None
        if wanted and known is None:
            return "not known"
        if missing := [modality for modality in wanted if modality not in (known or ())]:
            return f"{', '.join(missing)} not among its {side}: {', '.join(known or ())}"
    return None


def _capability(name: str, words: Iterable[str], field: str) -> Callable[[Candidate, Needs], str | None]:
    def test(candidate: Candidate, needs: Needs) -> str | None:  # noqa: ARG001 - the form of all tests
        if any(word in (candidate.record.capabilities or ()) for word in words):
            return None
        stated = [getattr(offer, field) for offer in candidate.offers]
        if any(stated):
            return None
        return f"no provider offers {name}" if False in stated and None not in stated else "not known"

    return test


def _provider(candidate: Candidate, needs: Needs) -> str | None:
    wanted = (needs.query.provider or "").lower()
    names = [offer.provider for offer in candidate.offers]
    if wanted in map(str.lower, names):
        return None
    if not names:
        return "not known: no source that was read states a provider"
    return f"{needs.query.provider} does not serve it; {', '.join(names[:6])}"


def _region(candidate: Candidate, needs: Needs) -> str | None:  # noqa: ARG001 - as above
    return "not known: no source that is read states regions"


def _price(name: str) -> Callable[[Candidate, Needs], str | None]:
    def test(candidate: Candidate, needs: Needs) -> str | None:
        prices = [price for offer in candidate.offers if (price := _amount(name, offer, needs)) is not None]
        if not prices:
            return "no price known"
        most = needs.prices[name]
        return None if min(prices) <= most else f"${min(prices):.4g} per M tokens at least, ${most} at most wanted"

    return test


def _amount(name: str, offer: PricedOffer, needs: Needs) -> Decimal | None:
    match name:
        case "max_price":
            return offer.blended(needs.ratio)
        case "max_price_in":
            return offer.price_in
        case _:
            return offer.price_out


def _later(candidate: Candidate, needs: Needs) -> str | None:  # noqa: ARG001 - `check_closely` tests it
    return None


NEEDS: dict[str, Callable[[Candidate, Needs], str | None]] = {
    "license": _license,
    "license_class": _license_class,
    "open": _flag("open"),
    "gated": _flag("gated"),
    "openness": _later,
    "fit": _later,
    "parameters": _parameters,
    "context": _context,
    "languages": _languages,
    "modalities": _modality,
    "tools": _capability("tool calls", _TOOLS, "tools"),
    "schema": _capability("structured output", _SCHEMA, "structured_output"),
    "provider": _provider,
    "region": _region,
    "max_price": _price("max_price"),
    "max_price_in": _price("max_price_in"),
    "max_price_out": _price("max_price_out"),
}
"""The test of each constraint: None where it is met, else why it is not."""

_CEILINGS = ("max_price", "max_price_in", "max_price_out")
_OFFERS_ONLY = ("provider", *_CEILINGS)
"""Needs that only an offer can meet."""
_OFFER_TESTS = ("tools", "schema", "context", *_OFFERS_ONLY)
"""Needs that a provider may fail although the model meets them."""


def _meets(name: str, offer: PricedOffer, candidate: Candidate, needs: Needs) -> bool:
    match name:
        case "tools" | "schema":
            field, words = ("tools", _TOOLS) if name == "tools" else ("structured_output", _SCHEMA)
            stated = getattr(offer, field)
            return bool(stated) or (
                stated is None and any(word in (candidate.record.capabilities or ()) for word in words)
            )
        case "context":
            return not (offer.context_length and _range(offer.context_length, needs.query.context))
        case "provider":
            return offer.provider.lower() == (needs.query.provider or "").lower()
        case _:
            amount = _amount(name, offer, needs)
            return amount is not None and amount <= needs.prices[name]


def needs_a_closer_look(needs: Needs) -> bool:
    """Return whether a need takes requests about each model."""
    return "openness" in needs.stated or "fit" in needs.stated


def check_closely(record: ModelRecord, needs: Needs) -> dict[str, str]:
    """Return why a model fails the needs that take requests: openness and fit."""
    failed = {}
    for name, test in (("openness", _fails_openness), ("fit", _fails_fit)):
        if name in needs.stated and (reason := test(record, needs)):
            failed[name] = reason
    return failed


def _fails_openness(record: ModelRecord, needs: Needs) -> str | None:
    from openmodels.openness import api

    for name in _texts(needs.stated["openness"], "openness"):
        criterion, profile = _read_openness(name)
        try:
            report = api.openness(record, profile=profile)
        except OpenModelsError as error:
            return f"not known: {error.cause}"
        if criterion is not None:
            finding = report[criterion]
            if finding.verdict != "open":
                return f"{criterion} is {finding.verdict}: {finding.reason}"
        elif not report.passed:
            how = "does not meet" if report.passed is False else "is not shown to meet"
            return f"{how} the profile {profile}: {', '.join(report.unmet) or report.grade}"
    return None


def _fails_fit(record: ModelRecord, needs: Needs) -> str | None:
    from openmodels.choose.fit import fit

    stated = needs.stated["fit"]
    device = "auto" if stated is True else str(stated)
    # An amount of memory alone is that of a GPU, which most ask about.
    device = f"cuda:{device}" if device[:1].isdigit() else device
    context = needs.query.context.low if needs.query.context else None
    try:
        result = fit(record, device=device, context=context)
    except InvalidRequest as error:
        if error.cause.startswith("device"):
            raise
        return f"not known: {error.cause}"
    except OpenModelsError as error:
        return f"not known: {error.cause}"
    return None if result.fits else result.verdict
