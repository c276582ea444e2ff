"""Who serves a model behind Hugging Face's router, and at what price.

Read from the router's public list of models, documented at
https://huggingface.co/docs/inference-providers/hub-api. No token is sent.
"""

from contextlib import closing

from openmodels import model_reference, settings
from openmodels.deadline import check_timeout
from openmodels.errors import ErrorBoundary, Offline
from openmodels.http.address import is_loopback, parse_address
from openmodels.hub.client import RouterClient
from openmodels.hub.offers import Provider, find_providers

DEFAULT_TIMEOUT = 30.0  # total seconds that the router may take unless the caller says otherwise
_RETRIES = 2


def providers(model: str, *, timeout: float | None = DEFAULT_TIMEOUT) -> list[Provider]:
    """Return who serves a model, in the router's order.

    Args:
        model: "org/model", also with "hf:" before or a provider behind it.
        timeout: Total seconds, retries included; None lifts the limit.

    Raises:
        InvalidReference: It is not a model id.
        ModelNotFound: No provider serves it; the message names models with a similar name.
        Offline: The environment switches the network off.
        ConnectionFailed: The router cannot be reached.
        OpenModelsError: Anything else of the tree, as for a call.
    """
    with ErrorBoundary():
        repo, limit = _parse(model, timeout)
    with ErrorBoundary(f"hf:{repo}"), closing(_router(limit)) as router:
        return find_providers(repo, router.list_providers())


async def aproviders(model: str, *, timeout: float | None = DEFAULT_TIMEOUT) -> list[Provider]:  # noqa: ASYNC109
    """The asynchronous twin of `providers`.

    Raises:
        OpenModelsError: As for `providers`.
    """
    with ErrorBoundary():
        repo, limit = _parse(model, timeout)
    with ErrorBoundary(f"hf:{repo}"), closing(_router(limit)) as router:
        return find_providers(repo, await router.alist_providers())


def _parse(model: str, timeout: float | None) -> tuple[str, float | None]:
    """Return the id of a model, and the seconds that the request may take."""
    limit = check_timeout(timeout)
    return model_reference.parse_hub_id(model.removeprefix("hf:") if isinstance(model, str) else "").repo, limit


def _router(timeout: float | None) -> RouterClient:
    router = RouterClient()
    router.retries, router.request_seconds = _RETRIES, timeout
    address = parse_address(router.origin)
    if settings.is_offline() and not is_loopback(address.host):
        raise Offline(
            f"{address.authority} is needed, but the network is switched off.",
            next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.",
        )
    return router
