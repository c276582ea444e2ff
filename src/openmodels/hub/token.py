"""The user's token of Hugging Face, and the addresses it may be sent to."""

import os
import re
from urllib.parse import urlsplit

from openmodels import settings
from openmodels.errors import NotConfigured, OpenModelsError
from openmodels.http.address import Address, is_loopback
from openmodels.http.secrets import Secret, check_key

HUB = "https://huggingface.co"  # the public Hub
_HTTPS = 443
_HOSTS = ("huggingface.co", "hf.co", "endpoints.huggingface.cloud")  # not hf.space: there, strangers' code runs
"""The token belongs to these hosts and the hosts below them."""


def hub_endpoint() -> str:
    """Return the Hub's address as the environment has it now."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def is_hugging_face(to: Address) -> bool:
    """Return whether an address is Hugging Face's: the user's token may go there."""
    plain = to.scheme == "https" and to.port == _HTTPS and re.fullmatch(r"[a-z0-9.-]+", to.host)
    return bool(plain) and any(to.host == host or to.host.endswith(f".{host}") for host in _HOSTS)


def is_secure_address(address: str) -> bool:
    """Return whether a request to an address is encrypted or stays on this machine."""
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host))


def token_for(address: str) -> Secret | None:
    """Return the token for an address, or None where it must not go there.

    It goes to the hosts of Hugging Face and to the origin of the Hub that the environment names, never
    unencrypted to another machine, and nowhere where HF_HUB_DISABLE_IMPLICIT_TOKEN is set. NotConfigured: the
    saved login cannot be read.
    """
    try:
        parts, hub = urlsplit(address), urlsplit(hub_endpoint())
        origin = Address(parts.scheme, parts.hostname or "", parts.port or _HTTPS)
    except ValueError:
        return None
    belongs = parts[:2] == hub[:2] or is_hugging_face(origin)
    return stored_token() if belongs and is_secure_address(address) and not is_implicit_token_disabled() else None


def is_implicit_token_disabled() -> bool:
    """Return whether the environment keeps the token from being sent unasked."""
    return settings.is_true(os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN"))


def stored_token() -> Secret | None:
    """Return HF_TOKEN or the saved login, which raises where it cannot be read."""
    from huggingface_hub import get_token

    try:
        return check_key(get_token() or None, "HF_TOKEN")
    except OpenModelsError:
        raise
    except Exception as error:  # a login by the vendor's own means fails in the vendor's own ways
        raise NotConfigured(
            f"The saved login of Hugging Face cannot be read ({type(error).__name__}).",
            next_step="Set HF_TOKEN, or run `hf auth login` again.",
        ) from error
