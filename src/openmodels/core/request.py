"""What a caller says, checked and made into the request that a backend gets."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from openmodels.backends.base import Backend
from openmodels.core import retry
from openmodels.errors import InvalidRequest, OutputInvalid, UnsupportedFeature
from openmodels.output import history, schema, structure, tools
from openmodels.types.embeddings import EmbedRequest
from openmodels.types.messages import Message
from openmodels.types.options import CallOptions, EmbedOptions, RerankOptions
from openmodels.types.rankings import RerankRequest
from openmodels.types.reply import CUT_SHORT, Reply
from openmodels.types.request import ChatRequest

_HABITS: dict[tuple[str, str], str] = {
    ("call", "stream"): "For an answer as it comes write `with model.stream(…) as stream`.",
    ("call", "system"): "Begin the list of messages with om.system(…), or use om.Conversation(model, system=…).",
    ("call", "model"): 'A Model is one model: open the other one, om.Model("BACKEND:NAME").',
    ("call", "messages"): "The messages are the first argument: model.chat([…]).",
    ("call", "response_format"): "Use `schema` for JSON of a form, and `choices` or `pattern` for a text of a form.",
    ("call", "functions"): "Use `tools`.",
    ("call", "function_call"): "Use `tool_choice`.",
    ("call", "max_new_tokens"): "Use `max_tokens`.",
    ("call", "max_length"): "Use `max_tokens`, which counts the answer alone.",
    ("call", "max_completion_tokens"): "Use `max_tokens`.",
    ("call", "max_output_tokens"): "Use `max_tokens`.",
    ("call", "stop_sequences"): "Use `stop`.",
    ("call", "top_logprobs"): "Use `logprobs`, a number.",
    ("call", "do_sample"): "Use `temperature`: 0 is greedy.",
    ("call", "json"): "Use `schema`, e.g. schema=dict.",
    ("call", "extra_body"): "Use `extra`.",
    ("call", "api_key"): "It belongs to the model: om.Model(…, api_key=…).",
    ("call", "base_url"): "It belongs to the model: om.Model(…, base_url=…).",
}
"""What to write instead of a name that other packages have for it, by who was given it."""


class Limits(NamedTuple):
    """What a model grants each call that says nothing itself.

    Attributes:
        timeout: Total seconds; None is no limit.
        max_retries: How often a failed call is tried again.
    """

    timeout: float | None
    max_retries: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its request, and what the core does around it.

    Attributes:
        request: What the backend gets.
        retries: How often a failed call is tried again before its first delta.
        shape: What the answer must look like, or None.
        corrections: How often an answer that does not may be asked for again.
        before: The reply before it that did not, with what all rounds consumed.
    """

    request: ChatRequest
    retries: int
    shape: structure.Shape | None = None
    corrections: int = 0
    before: Reply | None = None

    @property
    def check(self) -> Callable[[Reply], Reply] | None:
        """What makes the whole reply what the caller asked for; raises OutputInvalid when it is not."""
        return self.shape if self.before is None else self._check_again

    def _check_again(self, reply: Reply) -> Reply:
        assert self.shape is not None  # noqa: S101 - only they are asked for again
        assert self.before is not None  # noqa: S101
        return self.shape(_with_costs(reply, self.before))

    def corrected(self, error: OutputInvalid) -> Call | None:
        """Return the call that shows the model its answer and the faults in it; None to give up."""
        reply = error.reply
        # An answer that was cut off would be cut off again.
        if not self.corrections or self.shape is None or reply.finish_reason in CUT_SHORT:
            return None
        said = (Message(role="assistant", content=reply.text),) if reply.text else ()
        asked = Message(role="user", content=self.shape.correction(error.errors))
        request = self.request.model_copy(update={"messages": (*self.request.messages, *said, asked)})
        return replace(self, request=request, corrections=self.corrections - 1, before=reply)


def chat(backend: Backend, feature: str, said: Any, options: CallOptions, limits: Limits, *, stream: bool) -> Call:
    """Return the call that `chat` or `complete` asks for.

    Args:
        backend: Who will answer.
        feature: "chat" or "complete".
        said: The messages or the prompt.
        options: What the caller set.
        limits: What counts where the caller set nothing.
        stream: Whether the caller wants deltas as they come.

    Raises:
        InvalidRequest: An argument is wrong.
        UnsupportedFeature: The backend cannot honour an option.
    """
    fields, deadline, retries = _options(backend, feature, options, CallOptions.__annotations__, limits)
    fields |= {"prompt": _text(said)} if feature == "complete" else {"messages": _messages(said)}
    shape, corrections = _shape(fields, again=feature == "chat" and not stream)
    fields["output"] = shape and shape.output
    if fields.get("tools") is not None:
        fields["tools"] = tuple(one.spec for one in tools.toolbox(fields["tools"]))
        if fields["tools"] and feature == "complete":
            raise UnsupportedFeature("tools: `complete` has no turns to call them in.", next_step="Use `chat`.")
    if isinstance(fields.get("tool_choice"), Mapping):
        fields["tool_choice"] = _choice(fields["tool_choice"])
    try:
        request = ChatRequest(stream=stream, deadline=deadline, **fields)
    except ValidationError as error:
        raise InvalidRequest(faults(error)) from error
    if "images" not in backend.features and any(message.images for message in request.messages):
        raise UnsupportedFeature(
            f"The backend {backend.name!r} takes no 'images' in messages.", next_step="Use another backend."
        )
    if missing := sorted(request.options - backend.options):
        raise UnsupportedFeature(
            f"The backend {backend.name!r} cannot honour the option {missing[0]!r}.",
            next_step="Leave it out, or use another backend.",
        )
    return Call(request, retries, shape, corrections)


def _choice(choice: Mapping[str, Any]) -> Any:
    """Return the choice of a tool that OpenAI or Anthropic spell as an object: a word or the tool's name."""
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
    if name is None and choice.get("type") in ("auto", "none", "any", "required"):
        return "required" if choice["type"] == "any" else choice["type"]
    return name if isinstance(name, str) else dict(choice)


def embedding(backend: Backend, texts: Any, options: EmbedOptions, limits: Limits) -> tuple[EmbedRequest, int]:
    """Return the request that `embed` asks for, and how often a failed call is tried again.

    Raises:
        InvalidRequest: An argument is wrong.
        UnsupportedFeature: The backend has no embeddings.
    """
    fields, deadline, retries = _options(backend, "embed", options, EmbedOptions.__annotations__, limits)
    given = _listed((texts,) if isinstance(texts, str) else texts, "texts")
    try:
        return EmbedRequest(texts=given, deadline=deadline, **fields), retries
    except ValidationError as error:
        raise InvalidRequest(faults(error)) from error


def reranking(
    backend: Backend, query: Any, documents: Any, options: RerankOptions, limits: Limits
) -> tuple[RerankRequest, int]:
    """Return the request that `rerank` asks for, and how often a failed call is tried again.

    Raises:
        InvalidRequest: An argument is wrong.
        UnsupportedFeature: The backend has no rankings.
    """
    fields, deadline, retries = _options(backend, "rerank", options, RerankOptions.__annotations__, limits)
    given = _listed(documents, "documents")
    try:
        return RerankRequest(query=query, documents=given, deadline=deadline, **fields), retries
    except ValidationError as error:
        raise InvalidRequest(faults(error)) from error


def _listed(texts: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(texts, Sequence) or isinstance(texts, str | bytes | bytearray):
        raise InvalidRequest(f"{name}: expected a list of texts, not {type(texts).__name__}.")
    return tuple(texts)


def _options(
    backend: Backend, feature: str, options: Mapping[str, Any], known: Mapping[str, Any], limits: Limits
) -> tuple[dict[str, Any], float | None, int]:
    """Return the options that were given, the deadline and the number of retries."""
    if feature not in backend.features:
        raise UnsupportedFeature(f"The backend {backend.name!r} has no {feature!r}.")
    if unknown := [name for name in options if name not in known]:
        raise no_such_option(unknown[0], known, "call")
    given = dict(options)
    timeout = retry.seconds(given.pop("timeout", limits.timeout))
    retries = retry_count(given.pop("max_retries", limits.max_retries))
    deadline = None if timeout is None else time.monotonic() + timeout
    return {name: value for name, value in given.items() if value is not None}, deadline, retries


def _shape(fields: dict[str, Any], *, again: bool) -> tuple[structure.Shape | None, int]:
    """Take what the answer must look like, and how often it may be asked for again, out of the fields."""
    corrections = retry_count(fields.pop("retries", 0), "retries")
    given = {kind: fields.pop(kind) for kind in structure.KINDS if kind in fields}
    if corrections and not (again and given):
        raise InvalidRequest(
            "retries: only `chat` can ask again, for an answer with `schema`, `choices` or `pattern`.",
            next_step="Leave it out; for calls that fail there is `max_retries`.",
        )
    return structure.read(given, fields.get("max_tokens")), corrections


def _with_costs(reply: Reply, before: Reply) -> Reply:
    """Return a reply that also counts what the rounds before it consumed."""
    cost = None if reply.cost is None or before.cost is None else reply.cost + before.cost
    usage = reply.usage + before.usage
    return reply.model_copy(update={"usage": usage, "cost": cost, "seconds": reply.seconds + before.seconds})


def no_such_option(name: str, known: Mapping[str, Any] | Sequence[str], owner: str) -> UnsupportedFeature:
    """Return the error that an unknown option is, with the nearest known one."""
    if advice := _HABITS.get((owner, name)):
        return UnsupportedFeature(f"The {owner} has no option {name!r}.", next_step=advice)
    near = difflib.get_close_matches(name, list(known), n=1)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return UnsupportedFeature(
        f"The {owner} has no option {name!r}.", next_step=f"{guess}It knows: {', '.join(sorted(known)) or 'none'}."
    )


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise InvalidRequest(f"prompt: expected text, not {type(said).__name__}.")
    return said


def _messages(said: Any) -> tuple[Any, ...]:
    items = [said] if isinstance(said, str | Message | Mapping) else said
    if not isinstance(items, Sequence) or isinstance(items, bytes | bytearray):
        raise InvalidRequest(f"messages: expected text, a message or a list of them, not {type(said).__name__}.")
    return history.turns(items)


def turns(said: Any) -> tuple[Message, ...]:
    """Return what a caller says as messages. Raises InvalidRequest when it is none."""
    try:
        return ChatRequest(messages=_messages(said)).messages
    except ValidationError as error:
        raise InvalidRequest(faults(error)) from error


def faults(error: ValidationError) -> str:
    """Return what pydantic found wrong in one line, without the input."""
    return "; ".join(schema.faults(error)) + "."


def retry_count(value: Any, name: str = "max_retries") -> int:
    """Return a checked number of retries. Raises InvalidRequest when it is none."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"{name}: expected a whole number, 0 or more.")
    return value
