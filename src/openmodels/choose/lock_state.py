"""The present state of models, from the network or from what is kept here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from openmodels import files, settings
from openmodels.catalog import api as catalog_api
from openmodels.catalog.index.codec import today
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources import base as catalogs, hub_records
from openmodels.choose.lock_file import (
    LockedLicense,
    LockedModel,
    LockedOffer,
    LockedVerdict,
    Part,
    Source,
)
from openmodels.errors import InvalidRequest, ModelNotFound, Offline, OpenModelsError
from openmodels.hub import untrusted_fields as fields
from openmodels.hub.client import HubClient, RouterClient
from openmodels.hub.model_page import ModelPage
from openmodels.hub.offers import HostedModel, Provider
from openmodels.openness.api import compare_openness
from openmodels.openness.evidence import Evidence
from openmodels.openness.gather import store
from openmodels.openness.report import Report

_LARGEST = 10_000_000  # bytes of a kept state


@dataclass(slots=True)
class Observation:
    """What is known of a model now.

    Attributes:
        state: Its state; `sources` holds the parts that are known, and from when.
        failures: Why a part could not be read now; it is missing, or kept from an earlier look.
    """

    state: LockedModel
    failures: dict[Part, str] = field(default_factory=dict)


def observe(model_ids: Iterable[str]) -> dict[str, Observation]:
    """Return the present state of models.

    A part that cannot be read now is taken from an earlier look, or from the index; `failures` says why.
    """
    observations = {model_id: Observation(LockedModel(id=model_id)) for model_id in model_ids}
    hub_name = catalogs.catalogs()[0].name
    on_hub = {}
    for model_id, observation in observations.items():
        if catalogs.owner_of(model_id).name == hub_name:
            on_hub[model_id] = model_id
        else:
            record = _read_catalog(observation)
            if record and record.ids.hub:
                on_hub[model_id] = record.ids.hub
    _read_openness(observations, on_hub)
    of_hub = [observations[model_id] for model_id in observations if on_hub.get(model_id) == model_id]
    _read_offers(of_hub)
    for observation in of_hub:
        _read_lifecycle(observation)
    for observation in observations.values():
        _fill_from_kept(observation)
    return observations


def _read_catalog(observation: Observation) -> ModelRecord | None:
    """Read the state of a model of another catalog than the Hub."""
    state = observation.state
    owner = catalogs.owner_of(state.id)
    parts: tuple[Part, ...] = ("model", "offers", "lifecycle")
    try:
        _check_network()
        source = owner()
        source.limit_time(owner.lookup_seconds)
        record = source.get(state.id)
    except ModelNotFound:
        gone = LockedModel(id=state.id, is_available=False, sources={"model": Source(source=owner.name, as_of=today())})
        observation.state = state.with_part("model", gone)
        return None
    except OpenModelsError as error:
        observation.failures |= dict.fromkeys(parts, error.cause)
        return None
    for part in parts:
        observation.state = observation.state.with_part(part, _of_record(state.id, record, owner.name, today()))
    return record


def _read_openness(observations: Mapping[str, Observation], on_hub: Mapping[str, str]) -> None:
    """Read pages and verdicts of models on the Hub.

    Of a model of another catalog that is there too, the verdicts alone.
    """
    if not on_hub:
        return
    failures: Mapping[str, OpenModelsError] = {}
    reports: dict[str, Report] = {}
    try:
        comparison = compare_openness(dict.fromkeys(on_hub.values()))
        failures = comparison.failures
        reports = {name: comparison[name] for name in on_hub.values() if name not in failures}
    except Offline as error:
        failures = dict.fromkeys(on_hub.values(), error)
    for model_id, name in on_hub.items():
        observation, error_ = observations[model_id], failures.get(name)
        parts: tuple[Part, ...] = ("model", "openness") if model_id == name else ("openness",)
        if isinstance(error_, ModelNotFound) and model_id == name:
            gone = Source(source="hub", as_of=today())
            lost = LockedModel(id=model_id, is_available=False, sources={"model": gone, "openness": gone})
            observation.state = observation.state.with_part("model", lost)
        elif error_ is not None:
            observation.failures |= dict.fromkeys(parts, error_.cause)
        else:
            state = _of_report(model_id, reports[name])
            for part in parts:
                observation.state = observation.state.with_part(part, state)
            if reports[name].offline:
                observation.failures |= dict.fromkeys(parts, "the Hub cannot be read now")


def _of_report(model_id: str, report: Report) -> LockedModel:
    """Return the parts that a report and its evidence state."""
    as_of = fields.day(report.as_of) or today()
    evidence = Evidence.load(store(), report.id)
    page = evidence.model.data
    record = hub_records.build_record(page, as_of)
    state = _of_record(model_id, record, "hub", as_of)
    newer = fields.mapping(page.get("cardData")).get("new_version")
    verdicts = {}
    for finding in report:
        day = next((fields.day(proof.retrieved) for proof in finding.evidence if proof.retrieved), None)
        verdicts[str(finding.criterion)] = LockedVerdict(verdict=finding.verdict, as_of=day or as_of)
    unread = [f"{kind} {name}" for kind, reasons in evidence.unread.items() for name in reasons]
    for kind in evidence.unread:
        for name in evidence.names(kind):
            unread += [f"{kind} {name}: {part}" for part in (evidence.find(kind, name) or {}).get("unknown") or ()]
    source = Source(source="openness", as_of=as_of)
    changes = {
        "current_id": record.id if record.id != model_id else None,
        "revision": fields.text(page.get("sha")),
        "newer_version": fields.text(newer),
        "grade": report.grade,
        "verdicts": verdicts,
        "unread": tuple(sorted(unread)),
        "sources": {**state.sources, "model": Source(source="hub", as_of=as_of), "openness": source},
    }
    return state.model_copy(update=changes)


def _of_record(model_id: str, record: ModelRecord, source: str, as_of: date) -> LockedModel:
    """Return the parts that a catalog's record states."""
    terms = record.license.terms if record.license else None
    license_ = None
    if terms is not None:
        license_ = LockedLicense(id=terms.label, kind=terms.kind, restrictions=tuple(terms.restrictions))
    offers = {offer.provider: _of_provider(offer) for offer in record.offers or ()}
    offers |= {f"azure {name}": LockedOffer() for name in record.deployments or ()}
    lifecycle = record.lifecycle

    def dated(*names: str) -> Source:
        stated = [record.provenance[name] for name in names if name in record.provenance]
        if not stated:
            return Source(source=source, as_of=as_of)
        return Source(source=stated[0].source, as_of=stated[0].as_of or as_of)

    return LockedModel(
        id=model_id,
        revision=record.version,
        license=license_,
        gated=record.gated,
        disabled=bool(record.disabled),
        offers=offers,
        status=lifecycle.status if lifecycle else None,
        retires_on=lifecycle.retires_on if lifecycle else None,
        replacement=lifecycle.replacement if lifecycle else None,
        sources={
            "model": dated("license", "gated", "tags"),
            "offers": dated("offers", "deployments"),
            "lifecycle": dated("lifecycle"),
        },
    )


def _of_provider(offer: HostedModel) -> LockedOffer:
    return LockedOffer(status=offer.status, price_in=offer.price_in, price_out=offer.price_out)


def _read_offers(observations: list[Observation]) -> None:
    """Read who serves models of the Hub, from the router and from their pages."""
    if not observations:
        return
    listed: dict[str, list[Provider]] = {}
    failure = ""
    try:
        _check_network()
        with closing(RouterClient()) as router:
            listed = {name.casefold(): providers for name, providers in router.list_providers().items()}
    except OpenModelsError as error:
        failure = error.cause
    with closing(HubClient()) as hub:
        for observation in observations:
            state = observation.state
            if not state.is_available:
                continue
            name = state.current_id or state.id
            try:
                _check_network()
                row = hub.get_model(name, expand=("disabled", "inferenceProviderMapping"))
            except OpenModelsError as error:
                observation.failures["offers"] = error.cause
                continue
            if row.get("disabled") is True:
                observation.state = state = state.model_copy(update={"disabled": True})
            if failure:
                observation.failures["offers"] = failure
                continue
            # The router's row has the price; the page names those too that serve other tasks than chat.
            providers = [*ModelPage({**row, "id": name}).providers, *listed.get(name.casefold(), ())]
            offers = {provider.provider: _of_provider(provider) for provider in providers}
            source = Source(source="router", as_of=today())
            observation.state = state.with_part(
                "offers", LockedModel(id=state.id, offers=offers, sources={"offers": source})
            )


def _read_lifecycle(observation: Observation) -> None:
    """Read what other catalogs say of a Hub model's retirement."""
    state = observation.state
    source = Source(source="catalogs", as_of=today())
    for catalog in catalogs.catalogs()[1:]:
        if catalog.is_local or not state.is_available:
            continue
        try:
            _check_network()
            opened = catalog()
            opened.limit_time(catalog.lookup_seconds)
            record = opened.find(state.current_id or state.id)
        except OpenModelsError as error:
            observation.failures["lifecycle"] = error.cause
            return
        if record and record.lifecycle:
            observation.state = state.with_part("lifecycle", _of_record(state.id, record, catalog.name, today()))
            return
    observation.state = state.with_part("lifecycle", LockedModel(id=state.id, sources={"lifecycle": source}))


def _check_network() -> None:
    if settings.is_offline():
        raise Offline("The network is switched off.", next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.")


def _fill_from_kept(observation: Observation) -> None:
    """Take what could not be read from an earlier look or the index.

    What was read is kept for the next time.
    """
    state = observation.state
    if observation.failures:
        kept, indexed = _read_kept(state.id), _read_indexed(state.id)
        for part in observation.failures:
            known = [other for other in (state, kept, indexed) if part in other.sources]
            if known:
                state = state.with_part(part, max(known, key=lambda other: other.sources[part].as_of))
        observation.state = state
    if set(state.sources) - set(observation.failures):
        path = _kept_path(state.id)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise files.write_failed(path.parent, error) from error
        files.write_atomically(path, state.model_dump_json(exclude_none=True))


def _kept_path(model_id: str) -> Path:
    name = model_id.lower().replace("/", "__").replace(":", "--")
    return settings.openmodels_cache_folder() / "lock" / f"{name}.json"


def _read_kept(model_id: str) -> LockedModel:
    path = _kept_path(model_id)
    with suppress(InvalidRequest, ValueError):  # a damaged copy counts as none
        return LockedModel.model_validate_json(files.read_bounded(path, largest=_LARGEST))
    return LockedModel(id=model_id)


def _read_indexed(model_id: str) -> LockedModel:
    """Return what the index states of a model."""
    nothing = LockedModel(id=model_id)
    with suppress(OpenModelsError):  # a damaged index counts as none
        index = catalog_api.open_index()
        record = catalog_api.find_in_index(index, model_id) if index else None
        if index and record and index.as_of:
            state = _of_record(model_id, record, "index", index.as_of)
            # What the index does not state may only not have been listed.
            is_stated = {"model": True, "offers": bool(state.offers), "lifecycle": record.lifecycle is not None}
            stated = {part: source for part, source in state.sources.items() if is_stated[part]}
            return state.model_copy(update={"sources": stated})
    return nothing
