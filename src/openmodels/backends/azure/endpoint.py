"""Azure addresses: the kind of an endpoint, and the dialect it speaks.

Azure has served models at many addresses. The one that lasts is "https://RESOURCE/openai/v1"; a bare
resource, a project and the retired "/models" are led there. Sources: Microsoft's migration guide "From
the Model Inference API to the OpenAI/v1 API", and its OpenAPI descriptions of both.
"""

import logging
import re
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from openmodels.errors import EndpointRetired, InvalidRequest, NotConfigured
from openmodels.http.address import Address, is_loopback, parse_address

log = logging.getLogger("openmodels.backends.azure.backend")

Kind = Literal["v1", "deployment", "serverless", "other"]

ENDPOINTS = ("AZURE_AI_ENDPOINT", "AZURE_INFERENCE_ENDPOINT")
"""Environment variables that hold the address, the first one set counting."""
KEYS = ("AZURE_AI_API_KEY", "AZURE_INFERENCE_CREDENTIAL")  # environment variables that hold the key
V1_PATH = "/openai/v1"
_CLOUDS = ("com", "us", "cn")
_RESOURCES = tuple(
    f".{service}.azure.{cloud}" for service in ("services.ai", "openai", "cognitiveservices") for cloud in _CLOUDS
)
_SERVERLESS = (".models.ai.azure.com", ".inference.ml.azure.com")
_RETIRED = {
    "models.github.ai": "GitHub Models was retired on 2026-07-30",
    "models.inference.ai.azure.com": "GitHub Models left this address on 2025-10-17 and was retired on 2026-07-30",
}
_DEPLOYMENT_VERSION = "2024-10-21"
_SERVERLESS_VERSION = "2024-05-01-preview"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint of Azure and its dialect."""

    address: Address  # what paths are appended to; its query holds the API version where one is needed
    # "v1", the OpenAI dialect with the deployment's name in the body; "deployment", the older one with the name in the
    # path; "serverless", the Model Inference API of serverless and managed deployments; "other", a gateway or a server
    # on this machine.
    kind: Kind
    is_azure: bool  # whether the host is Azure's own
    scope: str  # what a Microsoft Entra token must be for
    deployment: str | None = None  # the deployment that the address names, or None
    # Where the resource of a project speaks the same dialect, on the same host; else None.
    resource: Address | None = None


def parse_endpoint(base_url: str, deployment: str = "", *, allow_http: bool = False) -> Endpoint:
    """Read an address, leading a retired one to its successor.

    Raises:
        EndpointRetired: It has been switched off and has no successor.
        NotConfigured: It is on an Azure resource, but not where models are.
        InvalidRequest: It is not an acceptable address, or names another deployment.
    """
    to = parse_address(base_url, allow_http=allow_http)
    host = to.host.rstrip(".")
    if host in _RETIRED:
        raise EndpointRetired(
            f"{_RETIRED[host]}.",
            next_step="Deploy the model on an Azure resource and use https://RESOURCE.services.ai.azure.com/openai/v1.",
        )
    if host.endswith(_SERVERLESS):
        to = replace(to, path=to.path.removesuffix("/score"))
        version = _with_version(to, _SERVERLESS_VERSION)
        return Endpoint(version, "serverless", is_azure=True, scope="https://ml.azure.com/.default")
    is_azure = host.endswith(_RESOURCES)
    if (match := re.match(r"(.*/openai/deployments)(?:/([^/]+))?", to.path)) is not None:
        return _deployment_endpoint(to, match[1], unquote(match[2] or ""), deployment, is_azure=is_azure)
    scope = "https://ai.azure.com/.default" if not is_azure or host.endswith(".com") else _cognitive_scope(host)
    path = _v1_path(to, is_azure=is_azure)
    if not path.endswith(V1_PATH):
        return Endpoint(replace(to, path=path), "other", is_azure=is_azure, scope=scope)
    if re.search(r"/models\b", urlsplit(base_url.strip()).path) and is_azure:
        log.warning("The Model Inference API at %s/models is retired; using %s%s.", to.origin, to.origin, path)
    # A dated version belongs to the older dialects, and this one answers it with an error.
    query = [(name, value) for name, value in parse_qsl(to.query) if name != "api-version" or value in _V1_VERSIONS]
    to = replace(to, path=path, query=urlencode(query))
    project = re.fullmatch(rf"(.*)/api/projects/[^/]+{V1_PATH}", path)
    resource = replace(to, path=f"{project[1]}{V1_PATH}") if project else None
    return Endpoint(to, "v1", is_azure=is_azure, scope=scope, resource=resource)


_V1_VERSIONS = ("v1", "preview", "latest")


def _v1_path(to: Address, *, is_azure: bool) -> str:
    """Return the path below which the dialect v1 is spoken."""
    if not is_azure:
        if re.search(r"/api/projects/[^/]+$", to.path):  # behind a gateway
            return f"{to.path}{V1_PATH}"
        return to.path or ("/v1" if is_loopback(to.host) else V1_PATH)
    if to.path in ("", "/models", "/openai", "/v1", V1_PATH):
        return V1_PATH
    if match := re.fullmatch(rf"(/api/projects/[^/]+)({V1_PATH}|/models)?", to.path):
        return f"{match[1]}{V1_PATH}"
    raise NotConfigured(
        f"base_url: {to.origin} is an Azure resource, but it serves no models at {to.path}.",
        next_step=f"Write base_url='{to.origin}{V1_PATH}'.",
    )


def _deployment_endpoint(to: Address, path: str, deployment: str, requested: str, *, is_azure: bool) -> Endpoint:
    if deployment and requested and deployment != requested:
        raise InvalidRequest(
            f"base_url: it names the deployment {deployment!r}, the reference {requested!r}.",
            next_step=f"Write 'azure:{deployment}', or end base_url with {V1_PATH}, which serves every deployment.",
        )
    name = deployment or requested
    if not name:
        raise NotConfigured("base_url: it names no deployment.", next_step="Write 'azure:DEPLOYMENT'.")
    to = _with_version(replace(to, path=f"{path}/{quote(name, safe='')}"), _DEPLOYMENT_VERSION)
    return Endpoint(to, "deployment", is_azure=is_azure, scope=_cognitive_scope(to.host), deployment=name)


def _with_version(to: Address, version: str) -> Address:
    if any(name == "api-version" for name, _ in parse_qsl(to.query)):
        return to
    return replace(to, query="&".join(part for part in (to.query, f"api-version={version}") if part))


def _cognitive_scope(host: str) -> str:
    cloud = host.rpartition(".")[2]
    return f"https://cognitiveservices.azure.{cloud if cloud in _CLOUDS else 'com'}/.default"
