"""Clients of the Hugging Face Hub and of the router of its inference providers."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from openmodels.errors import (
    AuthenticationFailed,
    GatedModel,
    InvalidRequest,
    InvalidResponse,
    ModelNotFound,
    RateLimited,
)
from openmodels.http.json_client import JSONClient, default_status_meaning
from openmodels.http.messages import BaseResponse
from openmodels.http.secrets import Secret, check_key
from openmodels.http.status_errors import StatusMeaning
from openmodels.hub import token as hub_token, untrusted_fields as fields
from openmodels.hub.offers import Provider, parse_router_list

ROUTER = "https://router.huggingface.co/v1"
"""The router's address; OPENMODELS_HF_ROUTER names another one, e.g. a company's gateway."""


def router_address() -> str:
    """Return the address of the router, as the environment has it now."""
    return os.environ.get("OPENMODELS_HF_ROUTER") or ROUTER


class HubClient(JSONClient):
    """Requests to the Hub.

    Args:
        endpoint: Its address; default HF_ENDPOINT, else huggingface.co.
        token: An access token; default HF_TOKEN or the saved login, where it may go to this address; "" for none.
        interval: Seconds between the starts of two requests at least.

    Raises:
        InvalidRequest: The token would be sent unencrypted to another machine.
        NotConfigured: The saved login cannot be read.
    """

    def __init__(self, endpoint: str | None = None, token: str | None = None, *, interval: float = 0.0) -> None:
        address = endpoint or hub_token.hub_endpoint()
        super().__init__(address, "the Hub", token=_secret(token, address), interval=interval)

    def get_model(self, model_id: str, *, revision: str | None = None, expand: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return the row of a model at a branch, tag or commit; None is the default.

        `expand` names the fields to return; by default they are those of the Hub, with the size of each file.
        """
        params = {"expand": expand} if expand else {"blobs": "true"}
        path = f"models/{quote(model_id, safe='/')}"
        return self._get_row(f"{path}/revision/{quote(revision, safe='')}" if revision else path, params)

    def get_dataset(self, dataset_id: str) -> dict[str, Any]:
        """Return the row of a data set."""
        return self._get_row(f"datasets/{quote(dataset_id, safe='/')}")

    def get_paper(self, arxiv_id: str) -> dict[str, Any]:
        """Return the row of a paper on arXiv: its title and its authors."""
        return self._get_row(f"papers/{quote(arxiv_id, safe='')}")

    def _get_row(self, path: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        row = self.get_json(f"/api/{path}", params)
        if not isinstance(row, Mapping):
            raise InvalidResponse(f"The Hub's row of {path} is not an object.")
        return dict(row)

    def get_refs(self, model_id: str) -> dict[str, list[str]]:
        """Return the names of a model's branches and tags."""
        refs = fields.mapping(self.get_json(f"/api/models/{quote(model_id, safe='/')}/refs"))
        return {kind: [str(ref.get("name")) for ref in fields.objects(refs.get(kind))] for kind in ("branches", "tags")}

    def get_file(self, model_id: str, file: str, max_bytes: int, *, revision: str | None = None) -> str:
        """Return the first bytes of a file of a model, as text."""
        # Of the addresses of a file, "resolve" has the highest rate limit, "raw" the lowest.
        return self.get_text(
            f"/{quote(model_id, safe='/')}/resolve/{revision or 'main'}/{quote(file, safe='/')}", max_bytes
        )

    def get_start(self, model_id: str, file: str, size: int, *, revision: str | None = None) -> bytes:
        """Return the first `size` bytes of a file of a model; the rest is not fetched."""
        path = f"/{quote(model_id, safe='/')}/resolve/{quote(revision or 'main', safe='')}/{quote(file, safe='/')}"
        return self.send("GET", path, max_bytes=size, truncate=True, stop=size).body

    def list_models(self, params: Mapping[str, Any], *, start: str | None = None) -> Iterator[tuple[Any, str | None]]:
        """Return the rows of each page of the listing with the address of the next page.

        `params` are filters, order, page size and fields by the Hub's names; `start` is the address of a page to
        start from in their place.
        """
        return self.get_pages(start or "/api/models", None if start else params)

    def _status_meaning(self, response: BaseResponse) -> StatusMeaning:
        code = response.headers.get("x-error-code", "")
        match = _ADDRESS.match(response.url.removeprefix(self.origin))
        # For a repository that is private or does not exist, the Hub answers 401, unless the token itself is wrong.
        is_wrong_token = response.headers.get("x-error-message", "").startswith("Invalid credentials")
        if match is None or is_wrong_token:
            return hub_status_meaning(response.status, code)
        if match["dataset"]:
            return hub_status_meaning(404 if response.status == 401 else response.status, code)
        if response.status in (401, 404) and not code:
            code = "RepoNotFound"
        model_id = unquote(match["model"] or match["repo"])
        revision = unquote(match["revision"] or match["at"] or "")
        return hub_status_meaning(response.status, code, model_id, revision)


_ADDRESS = re.compile(
    r"/api/(?:models/(?P<model>[^/?]+(?:/[^/?]+)?)(?:/revision/(?P<revision>[^/?]+))?|datasets/(?P<dataset>[^?]+))"
    r"|/(?P<repo>[^/?]+/[^/?]+)/resolve/(?P<at>[^/?]+)/"
)


def hub_status_meaning(status: int, code: str, model_id: str = "", revision: str | None = None) -> StatusMeaning:
    """Return what the Hub means by a status other than 200.

    `code` is the header X-Error-Code, or ""; `model_id` the model that was asked for, or "".
    """
    page = f"{hub_token.hub_endpoint()}/{model_id}"
    match code if model_id else "", status:
        case "GatedRepo", _:
            return StatusMeaning(
                GatedModel,
                f"Accept them at {page}, then set HF_TOKEN or run: hf auth login",
                f"{model_id} is gated: its terms must be accepted first",
            )
        case "RevisionNotFound", _:
            return StatusMeaning(ModelNotFound, f"See {page}/commits", f"{model_id} has no revision {revision!r}")
        case "RepoNotFound", _:
            return StatusMeaning(
                ModelNotFound,
                "Check the spelling; for a private model set HF_TOKEN or run: hf auth login",
                f"There is no model {model_id} on the Hub, or it is private",
            )
        case "EntryNotFound", _:
            return StatusMeaning(ModelNotFound, f"See {page}/tree/main", f"{model_id} lacks a file it should have")
        case _, 401:
            next_step = "Renew HF_TOKEN, or run: hf auth login"
            return StatusMeaning(AuthenticationFailed, next_step, "The Hub refused the token")
        case _, 429:
            next_step = "Set HF_TOKEN, or try again later."
            return StatusMeaning(RateLimited, next_step, "The Hub gets too many requests from here")
    return default_status_meaning(status, "The Hub")


class RouterClient(JSONClient):
    """Requests to the router's list, which is public: no token is sent.

    The address is by default OPENMODELS_HF_ROUTER, else Hugging Face's.
    """

    def __init__(self, address: str | None = None) -> None:
        address = (address or router_address()).rstrip("/")
        address += "" if urlsplit(address).path else "/v1"
        super().__init__(address, "the router of the Hub")

    def list_providers(self) -> dict[str, list[Provider]]:
        """Return the providers of each model, by the model's id."""
        return parse_router_list(self.get_json("/models"))

    async def alist_providers(self) -> dict[str, list[Provider]]:
        """The asynchronous twin of `list_providers`."""
        return parse_router_list(await self.aget_json("/models"))


def _secret(token: str | None, address: str) -> Secret | None:
    """Return the caller's token, else the user's where it may go to this address."""
    if token is None:
        return hub_token.token_for(address)
    if token and not hub_token.is_secure_address(address):
        raise InvalidRequest("token: http to another machine would send it unencrypted.", next_step="Use https.")
    return check_key(token or None, "token")
