"""Hugging Face: the router to inference providers, and Inference Endpoints.

The router speaks the OpenAI dialect at one address, so it is a server like any other; what differs is
the reference (`org/model:provider`), the token, its dialect of errors, and embeddings, which go through
the Hub's task API. `InferenceClient` is not used: it rewrites JSON schemas, sends the user's token to any
`base_url`, does not retry, and its stream reader breaks on what providers really send.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

from typing_extensions import Unpack

from openmodels import errors, model_reference, settings
from openmodels.backends.openai_compatible import ServerOptions
from openmodels.backends.server import ServerBackend
from openmodels.http import status_errors
from openmodels.http.address import is_loopback, parse_address
from openmodels.http.secrets import Secret, check_headers
from openmodels.http.status_errors import StatusMeaning
from openmodels.hub import offers as hub_offers, token
from openmodels.hub.client import ROUTER, router_address
from openmodels.hub.offers import Provider
from openmodels.hub.token import is_hugging_face
from openmodels.openai_wire import decode, embeddings as vectors, encode
from openmodels.types.capabilities import Capabilities
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest

_EMBEDDING_PROVIDER = "hf-inference"
_PROVIDER_HEADER = "x-inference-provider"  # the header in which the router names the provider that it chose
_POLICIES = frozenset({None, "fastest", "cheapest", "preferred"})  # suffixes that leave the choice to the router


class HfBackend(ServerBackend):
    """A model behind the router, on an Inference Endpoint, or on another server.

    Args:
        rest: "org/model", optionally with ":provider", ":fastest" or ":cheapest"; with `base_url` the
            model's name for that server, or "" for the only one it has.
        base_url: The address of an Inference Endpoint or another server; the router if left out.
        api_key: A token; by default HF_TOKEN or the saved login, for hosts of Hugging Face only.
        bill_to: The organisation that pays for the request.
        prices: Read the router's list of providers and prices once, before the first call: replies then
            have a `cost`, and `capabilities` what the list says.
        **options: As for `OpenAICompatible`.

    Raises:
        InvalidReference: The reference is not a model id.
        UnsupportedFeature: It names a revision, which the router cannot choose.
        InvalidRequest: The address, the key or a header is not acceptable.
    """

    name: ClassVar[str] = "hf"

    def __init__(
        self,
        rest: str = "",
        *,
        base_url: str | None = None,
        bill_to: str | None = None,
        prices: bool = False,
        **options: Unpack[ServerOptions],
    ) -> None:
        super().__init__(rest, base_url=router_address() if base_url is None else base_url, **options)
        is_routed = base_url is None or self.address == parse_address(ROUTER)
        self._id = _parse_routable(rest) if is_routed else None
        if self._id is not None:
            # Providers differ beyond OpenAI's options: some refuse the others, some ignore them.
            self.options = encode.OPENAI_OPTIONS | {"extra", *encode.FORM_OPTIONS}
        if prices and self._id is None:
            raise errors.UnsupportedFeature(
                "prices: only the router of Hugging Face has a list of prices.", next_step="Leave it or base_url= out."
            )
        self._offers: list[Provider] | None = None if prices else []
        if bill_to is not None:
            self.headers |= check_headers({"X-HF-Bill-To": bill_to})
        self._token: Secret | None = None

    @property
    def is_routed(self) -> bool:
        """Whether the router answers, which passes each call on to a provider."""
        return self._id is not None

    @property
    def origin(self) -> str | None:
        """The server's address; behind the router each model is another server."""
        return f"{self.address}/{self.rest}" if self._id is not None else super().origin

    def load(self) -> None:
        """Find the token and, where the reference names no model, the server's only one."""
        self.authorization()
        super().load()

    def close(self) -> None:
        """Close idle connections and forget the stored token until the next call."""
        self._token = None
        super().close()

    def resolve_model(self, deadline: float | None) -> str | None:
        """Return the model's name; with `prices=True` the first call reads the prices."""
        if self._offers is None and self._id is not None:
            self._offers = _read_providers(self._id.repo, self.get("/models", deadline))
        return super().resolve_model(deadline)

    async def aresolve_model(self, deadline: float | None) -> str | None:
        """The asynchronous twin of `resolve_model`."""
        if self._offers is None and self._id is not None:
            self._offers = _read_providers(self._id.repo, await self.aget("/models", deadline))
        return await super().aresolve_model(deadline)

    def compute_cost(self, last: Delta, headers: Mapping[str, str]) -> float | None:
        """Return what a call costs in US dollars by the router's list, or None."""
        if not self._offers or self._id is None or last.usage is None:
            return None
        provider = None if self._id.suffix in _POLICIES else self._id.suffix
        return hub_offers.compute_cost(self._offers, provider or headers.get(_PROVIDER_HEADER), last.usage)

    def capabilities(self) -> Capabilities:
        """Return what the model can be asked for.

        With `prices=True`, once a call has read the router's list, it is what the list says.
        """
        declared = super().capabilities()
        if self._id is not None:
            declared = replace(declared, complete=False, rerank=False)
        chosen = [offer for offer in self._offers or () if self._id and offer.provider == self._id.suffix]
        offers = chosen or self._offers or []
        contexts = [offer.context_length for offer in offers if offer.context_length]
        return replace(
            declared,
            context=max(contexts, default=None),
            tools=declared.tools and _is_offered(offer.tools for offer in offers),
            schema=declared.schema and _is_offered(offer.structured_output for offer in offers),
        )

    def authorization(self) -> dict[str, str]:
        """Return the header with the token, if the network is not switched off."""
        if settings.is_offline() and not is_loopback(self.address.host):
            raise errors.Offline(
                f"{self.address.authority} is needed, but the network is switched off.",
                next_step="Unset HF_HUB_OFFLINE and OPENMODELS_OFFLINE.",
            )
        if any(name.lower() == "authorization" for name in self.headers):
            return {}
        key = self.api_key or self._token
        if key is None and is_hugging_face(self.address) and not token.is_implicit_token_disabled():
            key = self._token = token.stored_token()
        if key is None and self._id is not None:
            raise errors.NotConfigured(
                "There is no token of Hugging Face, and the router answers nobody without one.",
                next_step=f"Create one ({_TOKENS_PAGE}) and set HF_TOKEN, run `hf auth login`, or pass api_key=.",
            )
        return {} if key is None else {"Authorization": f"Bearer {key.reveal()}"}

    def path(self, request: ChatRequest) -> str:
        """Return the path below the address for a request."""
        if request.prompt is not None:
            self._refuse_for_router("complete")
        return super().path(request)

    def body(self, request: ChatRequest, model: str | None) -> dict[str, Any]:
        """Return the JSON body of a request."""
        if self._id is None:
            return super().body(request, model)
        return encode.encode_chat(request, model, encode.OPENAI_OPTIONS)

    def rerank_target(self) -> str:
        """Return the request target of rankings, which the router has not."""
        self._refuse_for_router("rerank")
        return super().rerank_target()

    def _refuse_for_router(self, feature: str) -> None:
        if self._id is not None:
            raise errors.UnsupportedFeature(
                f"The router of Hugging Face only chats and embeds: it has no {feature!r}.",
                next_step="Use an Inference Endpoint with base_url=, or the backend 'local'.",
            )

    def encode_embedding(self, request: EmbedRequest, model: str | None) -> tuple[str, dict[str, Any]]:
        """Return the target and the JSON body; on the router, those of the task API."""
        if self._id is None:
            return super().encode_embedding(request, model)
        if self._id.suffix not in (None, _EMBEDDING_PROVIDER):
            raise errors.UnsupportedFeature(
                f"Embeddings come from {_EMBEDDING_PROVIDER!r}; the router cannot be asked for {self._id.suffix!r}.",
                next_step=f"Write 'hf:{self._id.repo}'.",
            )
        if request.dimensions is not None:
            raise errors.UnsupportedFeature(
                "The router of Hugging Face cannot honour the option 'dimensions'.",
                next_step="Leave it out, or use an Inference Endpoint with base_url=.",
            )
        root = self.address.path.removesuffix("/v1")
        target = f"{root}/{_EMBEDDING_PROVIDER}/models/{self._id.repo}/pipeline/feature-extraction"
        return target, encode.add_extra({"inputs": list(request.texts)}, request.extra)

    def read_embeddings(self, body: bytes, request: EmbedRequest, translate_error: decode.TranslateError) -> Embeddings:
        """Return what the answer to a request for embeddings holds."""
        if self._id is None:
            return super().read_embeddings(body, request, translate_error)
        rows = decode.json_value(body)
        if isinstance(rows, dict) and "error" in rows:
            raise translate_error(rows)
        if not isinstance(rows, list):
            raise errors.InvalidResponse(f"The answer is JSON, but {type(rows).__name__} where a list was expected.")
        if any(isinstance(row, list) and row and isinstance(row[0], list) for row in rows):
            raise errors.InvalidResponse(
                f"{self._id.repo} gives a vector for each token, not for each text.",
                next_step="Choose a model for sentence embeddings.",
            )
        return Embeddings(vectors.stack_vectors(rows, len(request.texts)), model=self._id.repo)

    def translate_error(self, failure: status_errors.FailedResponse) -> errors.OpenModelsError:
        """Return the error for a failed response, in Hugging Face's dialect."""
        error = translate_error(failure, is_routed=self._id is not None)
        if isinstance(error, errors.AuthenticationFailed):
            self._token = None  # a new login is found by the next call
            if not is_hugging_face(self.address):
                error.next_step = "Pass this server's key as api_key=; HF_TOKEN goes to Hugging Face only."
        return error


def _read_providers(repo: str, body: bytes) -> list[Provider]:
    try:
        return hub_offers.find_providers(repo, hub_offers.parse_router_list(decode.json_value(body)))
    except (errors.ModelNotFound, errors.InvalidResponse):
        return []  # no price is known; whether the model is there, the call itself tells


def _is_offered(values: Iterable[bool | None]) -> bool:
    """Return whether any provider says yes, or none says anything."""
    known = [value for value in values if value is not None]
    return any(known) if known else True


def _parse_routable(rest: str) -> model_reference.HubId:
    hub_id = model_reference.parse_hub_id(rest)
    if hub_id.revision is not None:
        raise errors.UnsupportedFeature(
            f"The router of Hugging Face cannot choose the revision {hub_id.revision!r}: a request names only the "
            "model, and each provider serves the revision it has loaded.",
            next_step=f"Leave it out, or write 'local:{hub_id.repo}@{hub_id.revision}' to run it on this machine.",
        )
    if hub_id.file is not None:
        raise errors.InvalidReference(
            f"{rest!r} names a file, but the router of Hugging Face serves whole models.",
            next_step=f"Write 'hf:{hub_id.repo}', or 'local:{rest}' to run the file on this machine.",
        )
    return hub_id


_TOKENS_PAGE = "https://huggingface.co/settings/tokens"  # where tokens are created
_ACCEPT = "Accept the model's terms on its page, with the account whose token is used."
_PERMIT = f"Give the token the permission 'Make calls to Inference Providers' at {_TOKENS_PAGE}."
_BUY = "Buy credit, free accounts have none: https://huggingface.co/settings/billing; or name who pays: bill_to=."
_WHO_SERVES = "Check the name; om.providers('org/model') lists who serves it."
_ENABLE = "om.providers('org/model') lists who serves it; https://huggingface.co/settings/inference-providers who may."

_RULES: tuple[tuple[type[errors.OpenModelsError], tuple[int, ...], str, str], ...] = (
    (errors.GatedModel, (401, 403), r"cannot access this model|access to model .{0,200} is restricted", _ACCEPT),
    (errors.AccessDenied, (403,), r"sufficient permissions", _PERMIT),
    (errors.AuthenticationFailed, (401,), "", f"Check HF_TOKEN, `hf auth whoami` or api_key=; tokens: {_TOKENS_PAGE}."),
    (errors.QuotaExceeded, (402,), "", _BUY),
    (errors.ModelNotFound, (400, 404, 422), r"model_not_supported|not supported by (any )?provider", _ENABLE),
    (errors.ModelNotFound, (400, 404), r"model.{0,200}(does not exist|not found)", _WHO_SERVES),
    # What a text-generation server answers when the model behind it fails.
    (errors.ServerFailed, (424,), "", "Ask again, or choose another provider."),
)
"""Class, statuses, pattern of code and message, next step; the first that fits counts."""


def translate_error(failure: status_errors.FailedResponse, *, is_routed: bool) -> errors.OpenModelsError:
    """Return the error for a failed response; the router's 404 is about the model."""
    if failure.retry_after is None:
        failure = replace(failure, retry_after=_loading_seconds(failure))
    general = status_errors.error_from_response(failure)
    if isinstance(general, errors.GatedModel | errors.ContextTooLong | errors.ContentFiltered):
        return general
    text = f"{failure.code} {failure.message}"
    for kind, statuses, pattern, next_step in _RULES:
        if failure.status in statuses and re.search(pattern, text, re.IGNORECASE):
            return status_errors.error_from_response(failure, StatusMeaning(kind, next_step))
    if is_routed and failure.status == 404 and type(general) is errors.NotConfigured:
        return status_errors.error_from_response(failure, StatusMeaning(errors.ModelNotFound, _WHO_SERVES))
    return general


def _loading_seconds(failure: status_errors.FailedResponse) -> float | None:
    """Return the seconds that the model takes to load, if the response says so."""
    seconds = failure.body.get("estimated_time") if isinstance(failure.body, dict) and failure.status == 503 else None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not math.isfinite(seconds) or seconds < 0:
        return None
    return float(seconds)
