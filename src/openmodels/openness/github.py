"""The client of GitHub's API, which is asked about the repositories of models."""

import base64
import os
from typing import Any
from urllib.parse import quote

from openmodels.errors import AccessDenied, OpenModelsError, RateLimited
from openmodels.http.json_client import JSONClient
from openmodels.http.messages import BaseResponse
from openmodels.http.secrets import check_key
from openmodels.http.status_errors import StatusMeaning
from openmodels.hub import token as hub_token

API = "https://api.github.com"


class GitHubClient(JSONClient):
    """Requests to GitHub; after a rate limit is used up, no more are sent."""

    def __init__(self, address: str | None = None, *, interval: float = 0.0) -> None:
        address = address or API
        secret = os.environ.get("GITHUB_TOKEN") if hub_token.is_secure_address(address) else None
        token = check_key(secret or None, "GITHUB_TOKEN")
        super().__init__(address, "GitHub", token=token, interval=interval)
        # Shared with the copies of `with_deadline`.
        self._used_up: list[str] = []

    def get_repository(self, name: str) -> dict[str, Any]:
        """Return what GitHub says of a repository "owner/name"."""
        return self._get_object(f"/repos/{name}")

    def get_tree(self, name: str, branch: str) -> dict[str, Any]:
        """Return all paths of a branch."""
        return self._get_object(f"/repos/{name}/git/trees/{quote(branch, safe='')}", {"recursive": "1"})

    def get_readme(self, name: str) -> str:
        """Return the text of a repository's README; "" where it is not text."""
        return self._get_text(f"/repos/{name}/readme")

    def get_file(self, name: str, path: str) -> str:
        """Return the text of a file of a repository; "" where it is not text."""
        return self._get_text(f"/repos/{name}/contents/{quote(path)}")

    def _get_text(self, path: str) -> str:
        content = str(self._get_object(path).get("content") or "")
        try:
            return base64.b64decode(content).decode("utf-8", "replace")
        except ValueError:  # GitHub sends no content of large files
            return ""

    def _get_object(self, path: str, params: Any = None) -> dict[str, Any]:
        if self._used_up:
            raise RateLimited(self._used_up[0], retryable=False)
        value = self.get_json(path, params)
        return value if isinstance(value, dict) else {}

    def _status_meaning(self, response: BaseResponse) -> StatusMeaning:
        meaning = super()._status_meaning(response)
        remaining = response.headers.get("x-ratelimit-remaining")
        if meaning.kind is RateLimited or (meaning.kind is AccessDenied and remaining == "0"):
            next_step = "Set GITHUB_TOKEN for a higher limit, or try again in an hour."
            return StatusMeaning(RateLimited, next_step, "GitHub answers no more, since its rate limit is used up")
        return meaning._replace(cause=meaning.cause.replace("model", "repository"))

    def _error(self, response: BaseResponse, content: bytes) -> OpenModelsError:
        error = super()._error(response, content)
        if isinstance(error, RateLimited):
            error.retryable = False  # the limit is that of an hour
            self._used_up.append(error.cause)
        return error
