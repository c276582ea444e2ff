"""From a caller's arguments to the checked request that a backend gets."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Any, NamedTuple, Self, TypeVar

from pydantic import ValidationError

from openmodels.backends.base import Backend
from openmodels.core.stream import ReplyValidator
from openmodels.deadline import check_timeout, deadline_after
from openmodels.errors import InvalidRequest, OutputInvalid, UnsupportedFeature
from openmodels.output import history, schema, structure, tools
from openmodels.types.decisions import DecideRequest
from openmodels.types.embeddings import EmbedRequest
from openmodels.types.messages import Message
from openmodels.types.options import CallOptions, EmbedOptions, RerankOptions, ScoreOptions
from openmodels.types.rankings import RerankRequest
from openmodels.types.reply import CUT_SHORT, Reply
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest

_Request = TypeVar("_Request", ChatRequest, EmbedRequest, RerankRequest, ScoreRequest, DecideRequest)


class CallDefaults(NamedTuple):
    """The limits of calls that do not set their own."""

    timeout: float | None  # total seconds; None lifts the limit
    max_retries: int  # how often a failed call is tried again


@dataclass(frozen=True, slots=True)
class ChatCall:
    """A call of `chat`, `stream` or `complete`: the request and its limits."""

    request: ChatRequest  # what the backend gets
    retries: int  # how often a failed call is tried again before its first delta
    output: structure.OutputValidator | None = None  # what checks the form of the answer, or None
    corrections: int = 0  # how often an answer of another form may be asked for again
    previous: Reply | None = None  # the reply before it that had another form, with what all rounds consumed

    @property
    def validators(self) -> tuple[ReplyValidator, ...]:
        """What the complete reply passes, in order."""
        if self.output is None:
            return ()
        return (self.output,) if self.previous is None else (_PreviousRounds(self.previous), self.output)

    def correct(self, error: OutputInvalid) -> Self | None:
        """Return the call that shows the model its errors, or None to give up."""
        reply = error.reply
        # An answer that was cut off would be cut off again.
        if not self.corrections or self.output is None or reply.finish_reason in CUT_SHORT:
            return None
        answer = (Message(role="assistant", content=reply.text),) if reply.text else ()
        correction = Message(role="user", content=self.output.correction(error.errors))
        messages = (*self.request.messages, *answer, correction)
        return replace(
            self,
            request=self.request.model_copy(update={"messages": messages}),
            corrections=self.corrections - 1,
            previous=reply,
        )


@dataclass(frozen=True, slots=True)
class _PreviousRounds:
    """Add what the rounds before a reply consumed to it."""

    reply: Reply

    def check_reply(self, reply: Reply) -> Reply:
        before = self.reply
        cost = None if reply.cost is None or before.cost is None else reply.cost + before.cost
        first = before.seconds + (reply.first_token_seconds or 0.0)
        update = {
            "usage": reply.usage + before.usage,
            "cost": cost,
            "seconds": reply.seconds + before.seconds,
            "trace": before.trace + reply.trace,
            "first_token_seconds": before.first_token_seconds or first,
        }
        return reply.model_copy(update=update)


def build_chat(
    backend: Backend, feature: str, prompt: Any, options: CallOptions, defaults: CallDefaults, *, stream: bool
) -> ChatCall:
    """Return the call that `chat` or `complete`, the feature, asks for.

    Raises:
        InvalidRequest: An argument is wrong.
        UnsupportedFeature: The backend cannot honour an option.
    """
    fields, retries = _split_options(backend, feature, options, CallOptions, defaults)
    if feature == "chat":
        fields["messages"] = _list_messages(prompt)
    elif isinstance(prompt, str):
        fields["prompt"] = prompt
    else:
        raise InvalidRequest(f"prompt: expected text, not {type(prompt).__name__}.")
    output, corrections = _pop_output(fields, can_correct=feature == "chat" and not stream)
    if output is not None:
        fields["output"] = output.output
    if fields.get("tools") is not None:
        fields["tools"] = tuple(tool.spec for tool in tools.make_tools(fields["tools"]))
        if fields["tools"] and feature == "complete":
            raise UnsupportedFeature("tools: `complete` has no turns to call them in.", next_step="Use `chat`.")
    if isinstance(fields.get("tool_choice"), Mapping):
        fields["tool_choice"] = _tool_choice(fields["tool_choice"])
    request = _validate(ChatRequest, stream=stream, **fields)
    if "images" not in backend.features and any(message.images for message in request.messages):
        raise UnsupportedFeature(
            f"The backend {backend.name!r} takes no 'images' in messages.", next_step="Use another backend."
        )
    if missing := sorted(request.options - backend.options):
        raise UnsupportedFeature(
            f"The backend {backend.name!r} cannot honour the option {missing[0]!r}.",
            next_step="Leave it out, or use another backend.",
        )
    return ChatCall(request, retries, output, corrections)


def build_embed(
    backend: Backend, texts: Any, options: EmbedOptions, defaults: CallDefaults
) -> tuple[EmbedRequest, int]:
    """Return the request of `embed` and its retries; raises as `build_chat` does."""
    fields, retries = _split_options(backend, "embed", options, EmbedOptions, defaults)
    texts = _check_list((texts,) if isinstance(texts, str) else texts, "texts")
    return _validate(EmbedRequest, texts=texts, **fields), retries


def build_rerank(
    backend: Backend, query: Any, documents: Any, options: RerankOptions, defaults: CallDefaults
) -> tuple[RerankRequest, int]:
    """Return the request of `rerank` and its retries; raises as `build_chat` does."""
    fields, retries = _split_options(backend, "rerank", options, RerankOptions, defaults)
    return _validate(RerankRequest, query=query, documents=_check_list(documents, "documents"), **fields), retries


def build_score(
    backend: Backend, prompt: Any, continuations: Any, options: ScoreOptions, defaults: CallDefaults
) -> tuple[ScoreRequest, int]:
    """Return the request of `score` and its retries; raises as `build_chat` does."""
    fields, retries = _split_options(backend, "score", options, ScoreOptions, defaults)
    fields |= {"prompt": prompt} if isinstance(prompt, str) else {"messages": _list_messages(prompt)}
    if "messages" in fields and not fields["messages"]:
        raise InvalidRequest("messages: messages is empty.")
    request = _validate(ScoreRequest, continuations=_check_list(continuations, "continuations"), **fields)
    if any(message.images for message in request.messages):
        raise UnsupportedFeature("`score` takes no 'images' in messages.")
    return request, retries


def build_decide(
    backend: Backend, state: Any, questions: Any, options: ScoreOptions, defaults: CallDefaults
) -> tuple[DecideRequest, int]:
    """Return the request of `decide` and its retries; raises as `build_chat` does."""
    fields, retries = _split_options(backend, "decide", options, ScoreOptions, defaults)
    return _validate(DecideRequest, state=state, questions=questions, **fields), retries


def _validate(request: type[_Request], **fields: Any) -> _Request:
    try:
        return request(**fields)
    except ValidationError as error:
        raise InvalidRequest(schema.describe_errors(error)) from error


def _tool_choice(choice: Mapping[str, Any]) -> Any:
    """Return a choice in OpenAI's or Anthropic's spelling as a word or a name."""
    function = choice.get("function")
    name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
    if name is None and choice.get("type") in ("auto", "none", "any", "required"):
        return "required" if choice["type"] == "any" else choice["type"]
    return name if isinstance(name, str) else dict(choice)


def _check_list(texts: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(texts, Sequence) or isinstance(texts, str | bytes | bytearray):
        raise InvalidRequest(f"{name}: expected a list of texts, not {type(texts).__name__}.")
    return tuple(texts)


def _split_options(
    backend: Backend, feature: str, options: Mapping[str, Any], table: type, defaults: CallDefaults
) -> tuple[dict[str, Any], int]:
    """Return the fields of the options and the deadline, and the retries."""
    if feature not in backend.features:
        raise UnsupportedFeature(f"The backend {backend.name!r} has no {feature!r}.")
    known = table.__annotations__
    for name in options:
        if name not in known:
            raise unknown_option(name, known, "call")
    limits = {**defaults._asdict(), **options}
    fields = {name: value for name, value in options.items() if value is not None and name not in defaults._fields}
    fields["deadline"] = deadline_after(check_timeout(limits["timeout"]))
    return fields, check_retries(limits["max_retries"])


def _pop_output(fields: dict[str, Any], *, can_correct: bool) -> tuple[structure.OutputValidator | None, int]:
    """Take the form of the answer and the number of corrections out of the fields."""
    corrections = check_retries(fields.pop("retries", 0), "retries")
    options = {name: fields.pop(name) for name in structure.FORM_OPTIONS if name in fields}
    if corrections and not (can_correct and options):
        raise InvalidRequest(
            "retries: only `chat` can ask again, for an answer with `schema`, `choices` or `pattern`.",
            next_step="Leave it out; for calls that fail there is `max_retries`.",
        )
    return structure.make_validator(options, fields.get("max_tokens")), corrections


def unknown_option(name: str, known: Mapping[str, Any] | Sequence[str], owner: str) -> UnsupportedFeature:
    """Return the error for an unknown option, with the nearest known one."""
    other_names = json.loads((files("openmodels.core") / "other_names.json").read_text(encoding="utf-8"))["options"]
    if owner == "call" and (advice := other_names.get(name)):
        return UnsupportedFeature(f"The {owner} has no option {name!r}.", next_step=advice)
    near = difflib.get_close_matches(name, list(known), n=1)
    suggestion = f"Did you mean {near[0]!r}? " if near else ""
    return UnsupportedFeature(
        f"The {owner} has no option {name!r}.", next_step=f"{suggestion}It knows: {', '.join(sorted(known)) or 'none'}."
    )


def _list_messages(prompt: Any) -> tuple[Any, ...]:
    items = [prompt] if isinstance(prompt, str | Message | Mapping) else prompt
    if not isinstance(items, Sequence) or isinstance(items, bytes | bytearray):
        raise InvalidRequest(f"messages: expected text, a message or a list of them, not {type(prompt).__name__}.")
    return history.read_turns(items)


def read_messages(prompt: Any) -> tuple[Message, ...]:
    """Return a prompt of `chat` as messages. Raises InvalidRequest where it is wrong."""
    return _validate(ChatRequest, messages=_list_messages(prompt)).messages


def check_retries(value: Any, name: str = "max_retries") -> int:
    """Return a number of retries, checked. Raises InvalidRequest where it is wrong."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidRequest(f"{name}: expected a whole number, 0 or more.")
    return value
