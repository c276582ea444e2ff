"""The OpenAPI document of the server, made from the bodies that it checks."""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from openmodels.serve.endpoint import ModelEndpoint
from openmodels.settings import DISTRIBUTION

_REFUSALS = {
    "400": "The request is wrong; the message names the field.",
    "401": "The key is missing or wrong.",
    "403": "The request comes from a page of another origin.",
    "404": "No such model.",
    "408": "The body has not come in time.",
    "410": "The model's vendor has switched it off.",
    "413": "The body is too large.",
    "415": "The body is compressed.",
    "421": "The Host is not a name of this server.",
    "422": "The model's answer does not satisfy the form that was asked for.",
    "424": "The server lacks a key, an access or a package that the model needs.",
    "429": "Too many requests, or a budget is spent; Retry-After says how long to wait.",
    "502": "What is behind the model has failed.",
    "503": "The model cannot be loaded, or the server ends.",
    "504": "The time is up.",
}


def make_document(endpoints: Sequence[type[ModelEndpoint[Any]]]) -> dict[str, Any]:
    """Return the document."""
    _, schemas = models_json_schema(
        [(endpoint.body, "validation") for endpoint in endpoints], ref_template="#/components/schemas/{model}"
    )
    failures = {status: _response(text) for status, text in _REFUSALS.items()}
    paths: dict[str, Any] = {
        endpoint.path: {
            "post": {
                "summary": (endpoint.__doc__ or "").partition("\n")[0],
                "requestBody": {
                    "required": True,
                    "content": _content(f"#/components/schemas/{endpoint.body.__name__}"),
                },
                "responses": {"200": _response("The answer."), **failures},
            }
        }
        for endpoint in endpoints
    }
    gets = {
        "/health": "Tell whether the server takes requests; needs no key.",
        "/metrics": "Give the counters in the text format of Prometheus.",
        "/openapi.json": "Give this document.",
        "/v1/models": "List the models.",
    }
    for path, summary in gets.items():
        refusals = {status: failures[status] for status in ("401", "403", "421", "503")}
        paths[path] = {"get": {"summary": summary, "responses": {"200": {"description": "The answer."}, **refusals}}}
    schemes = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "openmodels serve", "version": version(DISTRIBUTION)},
        "paths": paths,
        "components": {"schemas": schemas.get("$defs", {}), "securitySchemes": schemes},
        "security": [{"bearer": []}, {"header": []}],
    }


def _content(reference: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": reference}}}


def _response(text: str) -> dict[str, Any]:
    return {"description": text}
