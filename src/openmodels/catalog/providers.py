"""Who serves a model behind Hugging Face's router, at what price, how fast, and with which features.

Read from the router's public list of models, documented at
https://huggingface.co/docs/inference-providers/hub-api. No token is sent.
"""

from __future__ import annotations

import time
from contextlib import closing

from openmodels import ref
from openmodels.backends.hf.backend import HfBackend
from openmodels.core import retry
from openmodels.deadline import check_timeout
from openmodels.errors import ErrorBoundary
from openmodels.hub.offers import Provider, parse_router_list, providers_of
from openmodels.openai_wire import decode

PATIENCE = 30.0
"""Total seconds that the router may take unless the caller says otherwise."""
_RETRIES = 2


class _Router(HfBackend):
    def authorization(self) -> dict[str, str]:
        """Return no header, since the list is public; check that the network is on."""
        self.check_online()
        return {}


def providers(model: str, *, timeout: float | None = PATIENCE) -> list[Provider]:
    """Return who serves a model, in the router's order.

    Args:
        model: "org/model", also with "hf:" before or a provider behind it.
        timeout: Total seconds, retries included; None lifts the limit.

    Raises:
        InvalidReference: It is no model id.
        ModelNotFound: No provider serves it; the message names models with a similar name.
        Offline: The environment switches the network off.
        ConnectionFailed: The router cannot be reached.
        OpenModelsError: Anything else of the tree, as for a call.
    """
    with ErrorBoundary():
        repo, deadline = _asked(model, timeout)
    with ErrorBoundary(f"hf:{repo}"), closing(_Router(repo)) as router:
        body = retry.call(lambda: router.get("/models", deadline), retries=_RETRIES, deadline=deadline)
        return providers_of(repo, parse_router_list(decode.json_value(body)))


async def aproviders(model: str, *, timeout: float | None = PATIENCE) -> list[Provider]:  # noqa: ASYNC109
    """The asynchronous twin of `providers`.

    Raises:
        OpenModelsError: As for `providers`.
    """
    with ErrorBoundary():
        repo, deadline = _asked(model, timeout)
    with ErrorBoundary(f"hf:{repo}"), closing(_Router(repo)) as router:

        async def ask() -> bytes:
            return await router.aget("/models", deadline)

        body = await retry.acall(ask, retries=_RETRIES, deadline=deadline)
        return providers_of(repo, parse_router_list(decode.json_value(body)))


def _asked(model: str, timeout: float | None) -> tuple[str, float | None]:
    limit = check_timeout(timeout)
    repo = ref.hub_id(model.removeprefix("hf:") if isinstance(model, str) else "").repo
    return repo, None if limit is None else time.monotonic() + limit
