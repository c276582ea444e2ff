"""The backend of models deployed on Azure.

They are on Foundry and Azure OpenAI resources, serverless and managed endpoints, or behind gateways.
"""

from __future__ import annotations

import logging
import os
import re
from dataclasses import replace
from typing import Any, ClassVar

from azure.core.credentials import AzureKeyCredential
from typing_extensions import Unpack

from openmodels import errors
from openmodels.backends.azure import endpoint as azure_endpoint
from openmodels.backends.azure.credential import TokenSource
from openmodels.backends.azure.exchange import AzureExchange
from openmodels.backends.openai_compatible import EncodedRequest, OpenAICompatible, ServerOptions
from openmodels.deadline import deadline_after
from openmodels.errors import InvalidReference, InvalidRequest, NotConfigured, OpenModelsError, UnsupportedFeature
from openmodels.http import status_errors
from openmodels.http.address import Address, is_loopback
from openmodels.http.client import Exchange, HttpClient
from openmodels.http.secrets import Secret, check_key
from openmodels.openai_wire import decode
from openmodels.types.request import ChatRequest

log = logging.getLogger("openmodels.backends.azure.backend")


class AzureBackend(OpenAICompatible):
    """A model deployed on Azure.

    Args:
        rest: The deployment's name.
        base_url: The endpoint, e.g. "https://my-resource.services.ai.azure.com"; by default that of
            the environment (`azure_endpoint.ENDPOINTS`).
        api_key: The endpoint's key; by default that of the environment (`azure_endpoint.KEYS`), which goes only to
            the endpoint of the environment and to Azure's own hosts.
        credential: Instead of a key, any credential of azure-identity; by default its
            `DefaultAzureCredential`, where the environment's key might go and there is none.
        scope: What tokens must be for, where it is not Azure's own, e.g. behind a gateway.
        **options: As for `OpenAICompatible`.

    Raises:
        NotConfigured: No endpoint is named, or it serves no models.
        EndpointRetired: The endpoint has been switched off and has no successor.
        InvalidRequest: The address, the key or a header is not acceptable; no key is shown.
    """

    name: ClassVar[str] = "azure"
    # Without "complete": Microsoft's descriptions of its APIs know no /completions any more.
    features: frozenset[str] = frozenset({"chat", "embed", "images"})

    def __init__(
        self,
        rest: str = "",
        *,
        base_url: str | None = None,
        credential: Any = None,
        scope: str | None = None,
        **options: Unpack[ServerOptions],
    ) -> None:
        _, default_url = _read_environment(azure_endpoint.ENDPOINTS)
        base_url = default_url if base_url is None else base_url
        if base_url is None:
            raise NotConfigured(
                "The backend 'azure' needs the endpoint's address.",
                next_step="Write base_url='https://RESOURCE.services.ai.azure.com', "
                f"or set {azure_endpoint.ENDPOINTS[0]}.",
            )
        self.endpoint = azure_endpoint.parse_endpoint(base_url, rest, allow_http=options.get("allow_http", False))
        super().__init__(rest, base_url=base_url, **options)
        self.address = self.endpoint.address
        is_trusted = self.endpoint.is_azure or base_url == default_url
        self._authentication = self._choose_authentication(credential, is_trusted=is_trusted)
        self._scope = scope or self.endpoint.scope
        self._answered: set[str] = set()  # the addresses at which something has been answered

    def _choose_authentication(self, credential: Any, *, is_trusted: bool) -> Secret | TokenSource | None:
        if self.api_key is not None and credential is not None:
            raise InvalidRequest("credential: it and `api_key` exclude each other.", next_step="Pass one of them.")
        if isinstance(credential, AzureKeyCredential):
            self.api_key = check_key(credential.key, "credential")
        elif credential is not None:
            if not (hasattr(credential, "get_token") or hasattr(credential, "get_token_info")):
                raise InvalidRequest(f"credential: an object of {type(credential).__name__} gives no tokens.")
            return TokenSource(credential)
        elif self.api_key is None and is_trusted:
            name, value = _read_environment(azure_endpoint.KEYS)
            self.api_key = check_key(value, name)
            if value is None and not is_loopback(self.address.host):
                return TokenSource(connection=self.connection)
        return self.api_key

    def make_exchange(self) -> Exchange:
        """Return the exchange through Azure's client."""
        return AzureExchange(self.address, self._authentication, self._scope, HttpClient(self.connection))

    def authorization(self) -> dict[str, str]:
        """Return the headers that an endpoint needs beside the key."""
        return {"extra-parameters": "pass-through"} if self.endpoint.kind == "serverless" else {}

    def body(self, request: ChatRequest, model: str | None) -> dict[str, Any]:
        """Return the JSON body of a request, spelled as the deployment wants it."""
        body = super().body(request, model)
        if self.endpoint.kind == "serverless" and "stream_options" not in request.extra:
            body.pop("stream_options", None)  # that API gives usage unasked, and does not know the option
        return body

    def resolve_model(self, deadline: float | None) -> str | None:  # noqa: ARG002 - as the base
        """Return the deployment's name. Raises InvalidReference where one is needed."""
        if not self.rest and self.endpoint.kind == "v1":
            raise InvalidReference(
                "The reference names no deployment.",
                next_step="Write 'azure:DEPLOYMENT'; `model.backend.list_deployments()` lists what there is.",
            )
        return self.rest or self.endpoint.deployment

    def can_recover(self, error: OpenModelsError, prepared: EncodedRequest) -> bool:
        """Return whether to send a refused request again, if need be to the resource."""
        if super().can_recover(error, prepared):
            return True
        # A project's address offers some models through another API than chat completions only, while the
        # address of the resource, on the same host, has them all.
        tried = self.endpoint.resource
        if tried is None or error.status not in (400, 404) or prepared.http_request.url in self._answered:
            return False
        if prepared.http_request.url.startswith(str(tried)):
            self.address = self.endpoint.address
            error.cause = f"{error.cause} So does the project's address, {self.endpoint.address}."
            return False
        log.warning("%s refuses (%s); trying %s.", self.endpoint.address, error.status, tried)
        self.address = tried
        return True

    def record_success(self, prepared: EncodedRequest, reasoning: str | None = None) -> None:
        """Take a response as a sign that its address is right."""
        self._answered.add(prepared.http_request.url)
        super().record_success(prepared, reasoning)

    def list_deployments(self, *, timeout: float | None = 60.0) -> list[str]:
        """Return the names that the endpoint lists at /models.

        On an Azure resource these are the models that it may use, deployed or not.

        Args:
            timeout: Total seconds to wait, or None for no limit.

        Raises:
            UnsupportedFeature: Endpoints of this kind list nothing.
            OpenModelsError: As for a call.
        """
        return decode.read_models(self.get(self._models_path(), deadline_after(timeout)))

    async def alist_deployments(self, *, timeout: float | None = 60.0) -> list[str]:  # noqa: ASYNC109 - the twin's
        """The asynchronous twin of `list_deployments`."""
        return decode.read_models(await self.aget(self._models_path(), deadline_after(timeout)))

    def _models_path(self) -> str:
        if self.endpoint.kind in ("deployment", "serverless"):
            raise UnsupportedFeature(
                f"The endpoint {self.address} serves one deployment and lists none.",
                next_step=f"Use the resource's address, which ends with {azure_endpoint.V1_PATH}.",
            )
        return "/models"

    def translate_error(self, failure: status_errors.FailedResponse) -> OpenModelsError:
        """Return the error for a failed response, with what Azure says beside it."""
        return translate_error(failure, self.address, self._authentication_advice())

    def _authentication_advice(self) -> str:
        if isinstance(self._authentication, TokenSource):
            return f"Check the credential's role on the resource; its token was for {self._scope}."
        if self._authentication is None:
            return "No key was sent: pass `api_key=`; one from the environment goes only to Azure's own hosts."
        return f"Check the key: `api_key=` or {azure_endpoint.KEYS[0]}; it must be the key of {self.address.host}."

    def _secrets(self, prepared: EncodedRequest) -> tuple[str, ...]:
        seen = self._authentication.seen if isinstance(self._authentication, TokenSource) else (self.api_key,)
        return (*super()._secrets(prepared), *(secret.reveal() for secret in seen if secret is not None))


def _read_environment(names: tuple[str, ...]) -> tuple[str, str | None]:
    """Return the first variable that is set with its value, else the first and None."""
    variables = ((name, os.environ[name]) for name in names if os.environ.get(name))
    return next(variables, (names[0], None))


def translate_error(failure: status_errors.FailedResponse, to: Address, identity: str) -> errors.OpenModelsError:
    """Return the error for a failed response, with `identity` for a refused key."""
    if categories := _read_categories(failure.body):
        failure = replace(failure, message=f"{failure.message} (filtered: {', '.join(categories)})")
    error = status_errors.error_from_response(failure)
    if type(error) in (errors.NotConfigured, errors.EndpointRetired) and failure.status in (404, 410):
        error.next_step = (
            f"Check `base_url`, {to}. The address of an Azure resource that is still served is "
            f"https://RESOURCE.services.ai.azure.com{azure_endpoint.V1_PATH}."
        )
    elif type(error) is errors.ModelNotFound:
        error.next_step = "Check the deployment's name; `model.backend.list_deployments()` may list it."
    elif type(error) in (errors.AuthenticationFailed, errors.AccessDenied):
        error.next_step = identity
    return error


def _read_categories(body: Any) -> list[str]:
    """Return a content filter's categories, e.g. "hate: high", from an error's body."""
    inner = body.get("error") if isinstance(body, dict) else None
    inner = inner.get("innererror") or inner.get("inner_error") or inner if isinstance(inner, dict) else {}
    results = (
        (inner.get("content_filter_result") or inner.get("content_filter_results")) if isinstance(inner, dict) else None
    )
    categories = []
    for name, result in results.items() if isinstance(results, dict) else ():
        if not (isinstance(result, dict) and (result.get("filtered") or result.get("detected"))):
            continue
        words = [str(word) for word in (name, result.get("severity")) if word]
        if all(re.fullmatch(r"[\w-]{1,40}", word, re.ASCII) for word in words):
            categories.append(": ".join(words))
    return categories
