"""A token as httpx sends it: put into the request when that is made, and shown by no frame before."""

from __future__ import annotations

from collections.abc import Generator

import httpx2

from openmodels.http.address import Secret


class Bearer(httpx2.Auth):
    """Authenticates a request by a token; None sends nothing."""

    def __init__(self, token: Secret | None) -> None:
        self._token = token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Put the token into the request's headers."""
        if self._token is not None:
            request.headers["Authorization"] = f"Bearer {self._token.reveal()}"
        yield request
