"""`om.lock` and `om.audit`: the state of a project's models, and its changes."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from openmodels import background, model_reference
from openmodels.catalog.index.codec import today
from openmodels.catalog.record import ModelRecord
from openmodels.catalog.sources import base as catalogs
from openmodels.choose import lock_file
from openmodels.choose.lock_changes import Change, StateComparison
from openmodels.choose.lock_file import DEFAULT_PATH, PARTS, LockedModel
from openmodels.choose.lock_reports import Audit, EvidenceAge, Lock, Unchecked
from openmodels.choose.lock_state import Observation, observe
from openmodels.errors import ErrorBoundary, InvalidReference, InvalidRequest, ModelNotFound, Offline
from openmodels.hub import addresses
from openmodels.model import Model
from openmodels.openness.findings import Verdict


@ErrorBoundary()
def lock(
    models: str | Model | ModelRecord | Iterable[str | Model | ModelRecord] = (),
    *,
    path: str | Path = DEFAULT_PATH,
) -> Lock:
    """Write the state of the models that a project uses into a lock file.

    For each: revision, license, gating, openness verdicts, who serves it at what price, retirement and successor.
    `audit` compares the file with a later day.

    Args:
        models: Ids ("org/model", "azure:registry/model"), references, records or models; none takes those of the file
            that is there. The file then holds these models only.
        path: The file.

    Raises:
        InvalidRequest: There is neither a model nor a lock file, or the file is damaged or another program's.
        InvalidReference: A text names no model.
        ModelNotFound: No catalog has a model that the file did not have before.
        Offline: A model's page can be read neither from the network nor from what is kept on this disk.
        WriteFailed: The file cannot be written.
    """
    return _lock(models, path)


async def alock(
    models: str | Model | ModelRecord | Iterable[str | Model | ModelRecord] = (),
    *,
    path: str | Path = DEFAULT_PATH,
) -> Lock:
    """Write a lock file: the async twin of `lock`.

    Raises:
        OpenModelsError: As `lock` does.
    """
    with ErrorBoundary():
        return await background.arun(_lock, models, path)


@ErrorBoundary()
def audit(path: str | Path = DEFAULT_PATH, *, price_rise: float | str | Decimal = 0) -> Audit:
    """Compare a lock file with what holds now.

    Without a network the evidence of an earlier look on this machine is compared; the result says how old it is. What
    could not be compared is in `unchecked`.

    Args:
        path: The file.
        price_rise: The share by which a price may rise before that counts as worse: 0.1 or "10%". By default any rise
            does.

    Raises:
        InvalidRequest: The lock file is missing, damaged, newer or that of another program; or `price_rise` is not a
            share.
    """
    return _audit(path, price_rise)


async def aaudit(path: str | Path = DEFAULT_PATH, *, price_rise: float | str | Decimal = 0) -> Audit:
    """Compare a lock file with what holds now: the async twin of `audit`.

    Raises:
        OpenModelsError: As `audit` does.
    """
    with ErrorBoundary():
        return await background.arun(_audit, path, price_rise)


def _lock(models: Any, path: str | Path) -> Lock:
    ids = _read_ids(models)
    before: dict[str, LockedModel] = {}
    since = today()
    if not ids or Path(path).exists():
        before, since = lock_file.read(path)
    ids = ids or list(before)
    observations = observe(ids)
    states: dict[str, LockedModel] = {}
    unchecked: list[Unchecked] = []
    changes: list[Change] = []
    for model_id, observation in observations.items():
        state, old = observation.state, before.get(model_id)
        if old:
            for part in PARTS:
                if part not in state.sources and part in old.sources and state.is_available:
                    state = state.with_part(part, old)
        if "model" not in state.sources:
            cause = observation.failures.get("model", "nothing is known of it")
            raise Offline(
                f"The page of {model_id} cannot be read: {cause.rstrip('.')}.",
                reference=model_id,
                next_step="Connect, and lock again.",
            )
        if not state.is_available and (old is None or not old.is_available):
            raise ModelNotFound(
                f"No catalog has {model_id}.", reference=model_id, next_step="Check the spelling, or lock without it."
            )
        if old:
            changes += StateComparison(old, state, Decimal(0), since, today()).changes()
        states[model_id] = state
        unchecked += [Unchecked(model_id, part, reason) for part, reason in observation.failures.items()]
    lock_file.write(path, states, today())
    return Lock(
        path=Path(path),
        models=states,
        changes=tuple(changes),
        added=tuple(name for name in states if name not in before),
        removed=tuple(name for name in before if name not in states),
        unchecked=tuple(unchecked),
    )


def _audit(path: str | Path, price_rise: Any) -> Audit:
    accepted = _read_share(price_rise)
    locked, since = lock_file.read(path)
    changes: list[Change] = []
    unchecked: list[Unchecked] = []
    evidence: list[EvidenceAge] = []
    for model_id, observation in observe(locked).items():
        before, after = locked[model_id], observation.state
        after = _without_older(before, after, observation)
        for part, reason in observation.failures.items():
            if part in before.sources and part not in after.sources:
                unchecked.append(Unchecked(model_id, part, reason))
            elif part not in after.sources:
                evidence.append(EvidenceAge(model_id, part, "", None, reason))
        unchecked += [
            Unchecked(model_id, part, "The lock file lacks it; lock again to compare it from then on.")
            for part in after.sources
            if part not in before.sources
        ]
        for part, source in after.sources.items():
            reason = observation.failures.get(part, "")
            evidence.append(EvidenceAge(model_id, part, source.source, source.as_of, reason))
        unread = sorted({*after.unread} - {*before.unread})
        for change in StateComparison(before, after, accepted, since, today()).changes():
            if change.is_worse and change.after == Verdict.UNKNOWN and unread:
                # Evidence that could not be read is no evidence of a change.
                reason = f"Pages could not be read this time: {', '.join(unread[:5])}."
                unchecked.append(Unchecked(model_id, change.field, reason))
            else:
                changes.append(change)
    return Audit(Path(path), since, tuple(changes), tuple(unchecked), tuple(evidence), tuple(locked))


def _without_older(before: LockedModel, after: LockedModel, observation: Observation) -> LockedModel:
    """Return the state without kept parts that are older than the lock.

    They show no change since.
    """
    sources = dict(after.sources)
    for part, source in after.sources.items():
        locked = before.sources.get(part)
        if part in observation.failures and locked and source.as_of < locked.as_of:
            observation.failures[part] += f" What is kept of it is of {source.as_of}, before the lock."
            del sources[part]
    return after.model_copy(update={"sources": sources})


def _read_ids(models: Any) -> list[str]:
    if isinstance(models, str | Model | ModelRecord):
        models = [models]
    if not isinstance(models, Iterable):
        raise InvalidRequest(f"models: {str(models)[:60]!r} names no model.", next_step='Write "org/model".')
    return list(dict.fromkeys(map(_read_id, models)))


def _read_id(model: Any) -> str:
    """Return the id in a catalog that a text, a record or a model means."""
    if isinstance(model, ModelRecord):
        if model.ids.root:
            return model.id
        model = model.local
    elif isinstance(model, Model):
        model = model.reference
    if not isinstance(model, str) or not model.strip():
        raise InvalidRequest(f"models: {str(model)[:60]!r} names no model.", next_step='Write "org/model".')
    text = model.strip()
    if text.removeprefix("local:").startswith((".", "/", "~")):
        raise InvalidReference(
            f"{text!r} is a folder or file: only a model of a catalog can change.", next_step='Write "org/model".'
        )
    owner = catalogs.owner_of(text)
    if owner.prefix:
        if "/" in text:
            return text
        raise InvalidReference(
            f"{text!r} names a deployment, whose model is not known here.",
            next_step=f'Write the model of the catalog: "{owner.prefix}registry/model".',
        )
    return model_reference.parse_hub_id(addresses.model_id_of(text)).repo


def _read_share(value: Any) -> Decimal:
    text = str(value).strip()
    try:
        is_percent = text.endswith("%")
        number = Decimal(text.removesuffix("%")) / (100 if is_percent else 1)
        # 10 is more likely meant as 10 % than as ten times the price.
        if number.is_finite() and number >= 0 and (is_percent or number <= 1) and not isinstance(value, bool):
            return number
    except InvalidOperation:
        pass
    raise InvalidRequest(f"price_rise: {text[:60]!r} is not a share.", next_step='Write "10%" or 0.1.')
