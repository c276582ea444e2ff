"""What the Hub and the way to it can answer, as errors of the tree."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager

from huggingface_hub import constants
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from openmodels.errors import (
    AccessDenied,
    AuthenticationFailed,
    ConnectionFailed,
    DoesNotFit,
    GatedModel,
    ModelNotFound,
    Offline,
    OpenModelsError,
    RateLimited,
    ServerFailed,
)
from openmodels.hub import token


def endpoint() -> str:
    """Return the Hub's address as the environment has it now; huggingface_hub reads it only at import."""
    return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")


@contextmanager
def explained(repo: str, revision: str | None) -> Generator[None, None, None]:
    """Turn what huggingface_hub raises inside the block into errors of the tree."""
    try:
        yield
    except OpenModelsError:
        raise
    except Exception as error:
        told = _classified(error, repo, revision)
        told.status = getattr(getattr(error, "response", None), "status_code", None)
        told.request_id = getattr(error, "request_id", None)
        if token.of(endpoint(), endpoint()) is not None:
            # The frames of huggingface_hub hold the token in their variables.
            for link in _chain(error):
                link.__traceback__ = None
        raise told from error


def offline(repo: str, why: str) -> Offline:
    """Return the error for a model that is not on this disk when there is no network."""
    return Offline(
        f"{repo} is not in the cache, and {why}.",
        next_step="Connect, unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE, and start it once; "
        "or name a folder or .gguf file on this disk.",
    )


def _classified(error: Exception, repo: str, revision: str | None) -> OpenModelsError:
    page = f"{endpoint()}/{repo}"
    match error:
        case GatedRepoError():
            return GatedModel(
                f"{repo} is gated: its terms must be accepted first.",
                next_step=f"Accept them at {page}, then set HF_TOKEN or run: hf auth login",
            )
        case RevisionNotFoundError():
            return ModelNotFound(f"{repo} has no revision {revision!r}.", next_step=f"See {page}/commits")
        case RepositoryNotFoundError():
            return ModelNotFound(
                f"There is no model {repo} on the Hub, or it is private.",
                next_step="Check the spelling; for a private model set HF_TOKEN or run: hf auth login",
            )
        case LocalEntryNotFoundError() if isinstance(error.__cause__, Exception):
            return _classified(error.__cause__, repo, revision)
        case LocalEntryNotFoundError() | OfflineModeIsEnabled():
            return offline(repo, "the network is switched off or out of reach")
        case EntryNotFoundError():
            return ModelNotFound(f"{repo} lacks a file it should have.", next_step=f"See {page}/tree/main")
        case HfHubHTTPError():
            return _refused(error.response.status_code, repo)
        case OSError() if error.errno == errno.ENOSPC:
            return DoesNotFit("The disk is full.", next_step="Free some space, or point HF_HOME to a larger disk.")
        case _:
            return _network(error, repo)


def _refused(status: int, repo: str) -> OpenModelsError:
    match status:
        case 401:
            return AuthenticationFailed("The Hub refused the token.", next_step="Renew HF_TOKEN, or run: hf auth login")
        case 403:
            return AccessDenied(f"The Hub does not allow access to {repo}.", next_step="Check the token's rights.")
        case 404:
            return ModelNotFound(f"There is no model {repo} on the Hub.", next_step="Check the spelling.")
        case 429:
            return RateLimited("The Hub gets too many requests from here.", next_step="Set HF_TOKEN, or wait.")
        case _:
            return ServerFailed(f"The Hub answered with status {status}.", next_step="Try again later.")


def _network(error: Exception, repo: str) -> OpenModelsError:
    chain = list(_chain(error))
    if any(isinstance(link, socket.gaierror) for link in chain):
        return offline(repo, "the Hub's address cannot be looked up: there seems to be no network")
    if any(isinstance(link, OSError) and link.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) for link in chain):
        return offline(repo, "there is no way to the Hub from here")
    if any(isinstance(link, ssl.SSLError) for link in chain):
        reason = "the TLS handshake failed"
    elif any(isinstance(link, TimeoutError) or "Timeout" in type(link).__name__ for link in chain):
        reason = "it did not answer in time"
    elif any(isinstance(link, ConnectionRefusedError) for link in chain):
        reason = "the connection was refused"
    else:
        reason = f"{type(error).__name__}: {error}".rstrip(".")
    return ConnectionFailed(
        f"{repo} could not be fetched from the Hub: {reason}.", next_step="Check the network, then try again."
    )


def _chain(error: BaseException) -> Generator[BaseException, None, None]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__
