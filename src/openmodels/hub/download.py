"""Downloads from the Hugging Face Hub, by huggingface_hub, into its cache."""

import errno
import socket
import ssl
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import constants, errors as hub_errors, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.utils.tqdm import tqdm

from openmodels import background, settings
from openmodels.errors import ConnectionFailed, DeadlineExceeded, DoesNotFit, Offline, OpenModelsError
from openmodels.hub import token
from openmodels.hub.client import HubClient, hub_status_meaning
from openmodels.hub.model_page import ModelPage

_SMALL_FILE_SECONDS = 60.0  # seconds that a file which is read before the weights may take in all


def cached_file(repo: str, file: str, revision: str | None) -> Path | None:
    """Return a file of the Hub's cache if it is there; the network is not used."""
    path = try_to_load_from_cache(repo, file, revision=revision)
    return Path(path) if isinstance(path, str) else None


def cache_folder() -> Path:
    """Return the folder of the Hub's cache."""
    return Path(constants.HF_HUB_CACHE)


def list_files(repo: str, revision: str | None, deadline: float | None, timeout: float) -> dict[str, int]:
    """Return the sizes in bytes of a model's files, by name.

    The Hub may take `timeout` seconds, until the `time.monotonic()` deadline. A revision of None is the default branch.

    Raises:
        ModelNotFound: No such repository or revision.
        GatedModel: The terms must be accepted first.
        AuthenticationFailed: The token was refused.
        Offline: The network is switched off or out of reach.
        DeadlineExceeded: The deadline has passed.
        OpenModelsError: Another failure of the network or the Hub, as its class says.
    """
    if settings.is_offline():
        raise offline_error(repo, "the network is switched off")
    check_deadline(deadline)
    if deadline is not None:
        timeout = min(timeout, deadline - time.monotonic())
    hub = HubClient()
    hub.retries, hub.request_seconds = 0, max(0.0, timeout)
    try:
        row = hub.get_model(repo, revision=revision)
    except (ConnectionFailed, DeadlineExceeded) as error:
        raise _network_error(error, repo) from error
    finally:
        hub.close()
    return {file.name: file.size or 0 for file in ModelPage(row).files}


def download_small_file(repo: str, file: str, revision: str | None, deadline: float | None) -> Path:
    """Return a file that is read before the weights, downloaded if need be.

    Raises:
        DeadlineExceeded: It did not come in full in time.
        OpenModelsError: As for `list_files`.
    """
    left = _SMALL_FILE_SECONDS if deadline is None else min(_SMALL_FILE_SECONDS, deadline - time.monotonic())
    with translated_errors(repo, revision):
        try:
            # On a thread: looking up a name has no time limit of its own.
            return background.start(_fetch, repo, file, revision).result(max(0.0, left))
        except TimeoutError as error:  # the Hub's client limits only each read
            raise DeadlineExceeded(
                f"{file} of {repo} did not come in full in time.", next_step="Allow more time, or check the network."
            ) from error


def download_file(repo: str, file: str, revision: str | None, deadline: float | None) -> Path:
    """Return a file, downloaded if need be; a bar shows the progress on a terminal."""
    check_deadline(deadline)
    with translated_errors(repo, revision):
        return _fetch(repo, file, revision, shows_progress=True)


def _fetch(repo: str, file: str, revision: str | None, *, shows_progress: bool = False) -> Path:
    bar = _progress_bar(shown=shows_progress)
    # The token is read inside the call: no frame of ours, which a traceback may show, holds it.
    return Path(hf_hub_download(repo, file, tqdm_class=bar, revision=revision, **_access()))


def download_files(
    repo: str, files: Iterable[str], revision: str | None, deadline: float | None, *, progress: bool
) -> Path:
    """Return the folder with some files of a model, downloaded if need be.

    The download is not begun after the `time.monotonic()` deadline. With `progress` a bar shows it on a terminal.
    """
    check_deadline(deadline)
    with translated_errors(repo, revision):
        bar = _progress_bar(shown=progress)
        return Path(snapshot_download(repo, allow_patterns=list(files), tqdm_class=bar, revision=revision, **_access()))


def missing_bytes(repo: str, sizes: dict[str, int], revision: str | None) -> int:
    """Return how many bytes of some files are not in the cache yet."""
    return sum(size for name, size in sizes.items() if cached_file(repo, name, revision) is None)


def check_deadline(deadline: float | None) -> None:
    """Raise DeadlineExceeded if the deadline has passed."""
    if deadline is not None and time.monotonic() >= deadline:
        raise DeadlineExceeded("The time was up before the model was here.", next_step="Allow more time and retry.")


def _access() -> dict[str, Any]:
    """Return the Hub's address and the token; False keeps any other from being sent."""
    secret = token.token_for(token.hub_endpoint())
    return {"endpoint": token.hub_endpoint(), "token": False if secret is None else secret.reveal()}


@contextmanager
def translated_errors(repo: str, revision: str | None) -> Generator[None, None, None]:
    """Raise the errors of the tree in place of those of huggingface_hub."""
    try:
        yield
    except OpenModelsError:
        raise
    except Exception as error:
        translated = _translate(error, repo, revision)
        translated.status = getattr(getattr(error, "response", None), "status_code", None)
        translated.request_id = getattr(error, "request_id", None)
        if token.token_for(token.hub_endpoint()) is not None:
            # The frames of huggingface_hub hold the token in their variables.
            for link in _causes(error):
                link.__traceback__ = None
        raise translated from error


def offline_error(repo: str, reason: str) -> Offline:
    """Return the error for a model that is neither on this disk nor within reach."""
    return Offline(
        f"{repo} is not in the cache, and {reason}.",
        next_step="Connect, unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE, and start it once; "
        "or name a folder or .gguf file on this disk.",
    )


_CODES = {
    hub_errors.GatedRepoError: "GatedRepo",
    hub_errors.RevisionNotFoundError: "RevisionNotFound",
    hub_errors.RepositoryNotFoundError: "RepoNotFound",
    hub_errors.EntryNotFoundError: "EntryNotFound",
}
"""What the Hub calls these errors in X-Error-Code; the most special class first."""


def _translate(error: Exception, repo: str, revision: str | None) -> OpenModelsError:
    match error:
        case hub_errors.LocalEntryNotFoundError() if isinstance(error.__cause__, Exception):
            return _translate(error.__cause__, repo, revision)
        case hub_errors.LocalEntryNotFoundError() | hub_errors.OfflineModeIsEnabled():
            return offline_error(repo, "the network is switched off or out of reach")
        case hub_errors.HfHubHTTPError():
            code = next((code for kind, code in _CODES.items() if isinstance(error, kind)), "")
            meaning = hub_status_meaning(error.response.status_code, code, repo, revision)
            return meaning.kind(f"{meaning.cause}.", next_step=meaning.next_step)
        case OSError() if error.errno == errno.ENOSPC:
            return DoesNotFit("The disk is full.", next_step="Free some space, or point HF_HOME to a larger disk.")
        case _:
            return _network_error(error, repo)


def _network_error(error: Exception, repo: str) -> OpenModelsError:
    chain = list(_causes(error))
    if any(isinstance(link, socket.gaierror) for link in chain):
        return offline_error(repo, "the Hub's address cannot be looked up: there seems to be no network")
    if any(isinstance(link, OSError) and link.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH) for link in chain):
        return offline_error(repo, "there is no way to the Hub from here")
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


def _causes(error: BaseException) -> Generator[BaseException, None, None]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


def _progress_bar(*, shown: bool) -> type[tqdm]:
    """Return a bar that clears the terminal when it is full, else a silent one."""
    changes = {"leave": False} if shown and sys.stderr.isatty() else {"disable": True}

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, **changes})  # type: ignore[no-untyped-call]

    return Bar
