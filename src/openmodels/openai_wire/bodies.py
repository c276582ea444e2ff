"""The bodies of requests that a server gets, checked field by field.

A field that is set has an effect, or is named in what `ignored` returns, or is refused by its name.
"""

import difflib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from openmodels.errors import InvalidRequest
from openmodels.output.schema import describe_error
from openmodels.types.messages import Text
from openmodels.types.options import CALL_OPTIONS, CallOptions, EmbedOptions, RerankOptions, request_fields

_FORWARDED = frozenset({"logit_bias", "min_p", "reasoning_effort", "verbosity"})
"""Fields without an option of ours, which only the server of a model acts on."""
_SEEDS = 2**63
MAX_ITEMS = 20_000
"""Messages or items of a request at most: reading them takes time in which no other request is answered."""
MAX_TOOLS = 1024
"""Tools of a request at most."""


class WireBody(BaseModel):
    """The base of a request's body: a misspelled field is an error.

    Attributes:
        model: The name under which the model is served; None is the only one.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    without_effect: ClassVar[frozenset[str]] = frozenset()  # fields that clients send and that change no answer here

    model: Text | None = None

    @classmethod
    def read(cls, value: Any) -> Self:
        """Return the checked body of a JSON value.

        Raises:
            InvalidRequest: A field is wrong or unknown; the message names it.
        """
        try:
            return cls.model_validate(value)
        except ValidationError as error:
            raise InvalidRequest(_describe(error, cls), next_step="Correct it, or leave it out.") from None

    def set_fields(self) -> dict[str, Any]:
        """Return the fields that the client has set to something other than null."""
        return {name: value for name in self.model_fields_set if (value := getattr(self, name)) is not None}

    def ignored(self) -> list[str]:
        """Return the names of the fields that are set and change nothing."""
        return sorted(name for name, value in self.set_fields().items() if name in self.without_effect and value)


def _describe(error: ValidationError, body: type[WireBody]) -> str:
    """Return what is wrong with a body, without what it holds."""
    messages: dict[str, None] = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        message = "it must be an object" if item["type"] == "model_type" else item["msg"]
        # pydantic puts the types of a union among the places.
        place = tuple(part for part in item["loc"] if isinstance(part, int) or "[" not in part)
        if item["type"] == "extra_forbidden":
            place = item["loc"]
            name = str(place[-1])[:60]
            near = difflib.get_close_matches(name, list(body.model_fields), n=1) if len(place) == 1 else []
            message = "this server does not know this field" + (f" (did you mean {near[0]!r}?)" if near else "")
        messages[describe_error(place, message)] = None
    shown = list(messages)[:5]
    return "; ".join(shown) + (f"; and {len(messages) - 5} more." if len(messages) > 5 else ".")


_options = request_fields(CallOptions)
_Sampling: Any = create_model(
    "_Sampling",
    __base__=WireBody,
    **{name: _options[name] for name, row in CALL_OPTIONS.items() if row.option.is_sampling and name in _options},
)


class StreamOptions(BaseModel):
    """How a stream ends.

    Attributes:
        include_usage: Whether a last chunk holds the usage.
        include_obfuscation: OpenAI's padding against observers of a network; there is none here.
        continuous_usage_stats: vLLM's usage in each chunk; there is none here.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    include_usage: bool | None = None
    include_obfuscation: bool | None = None
    continuous_usage_stats: Literal[False] | None = None


class _Generating(_Sampling):  # type: ignore[misc]
    """What chat and completions have in common."""

    seed: Annotated[int, Field(strict=True, ge=-_SEEDS, lt=_SEEDS)] | None = None
    stop: Text | Annotated[list[Text], Field(max_length=64)] | None = None
    n: Annotated[int, Field(strict=True, ge=1, le=128)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    logit_bias: dict[str, float] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Field(gt=0, le=100)] | None = None
    pattern: Text | None = None
    grammar: Text | None = None
    choices: list[Text] | None = None
    extra: dict[str, Any] | None = None

    @property
    def includes_usage(self) -> bool:
        """Whether the last chunk of the stream holds the usage."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    def sampling(self) -> dict[str, Any]:
        """Return the call options of the fields that have the name of one."""
        fields = self.set_fields()
        options = {name: fields[name] for name in fields if name in CALL_OPTIONS and fields[name] not in ([], {})}
        if "seed" in options:
            options["seed"] %= _SEEDS  # the wire has negative ones
        if isinstance(stop := options.get("stop"), list):
            options["stop"] = tuple(stop)
        if "repeat_penalty" in fields:
            options.setdefault("repetition_penalty", fields["repeat_penalty"])
        if options.get("temperature") == 0:
            options.pop("top_p", None)  # clients send both; greedy is greedy
        return options

    def forwarded(self) -> dict[str, Any]:
        """Return the fields that only the server of a model acts on."""
        return {name: value for name, value in self.set_fields().items() if name in _FORWARDED and value != {}}


class FunctionTool(BaseModel):
    """A tool of a chat request.

    Attributes:
        type: "function"; others are a vendor's own.
        function: Its name, description and the JSON Schema of its arguments.
    """

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, frozen=True)

    type: Literal["function"]
    function: dict[str, Any]


class JsonSchemaFormat(BaseModel):
    """The JSON Schema of an answer.

    Attributes:
        name: A name for it.
        description: What it is for; models do not see it.
        json_schema: The schema.
        strict: Whether the answer has to keep to it; here it always has to.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    name: str = "answer"
    description: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema", default_factory=lambda: {"type": "object"})
    strict: bool | None = None


class OutputFormat(BaseModel):
    """The form of an answer.

    Attributes:
        type: Text, any JSON object, or JSON of a schema; "json" is that of Hugging Face's TGI.
        json_schema: The schema, for the type "json_schema".
        value: The schema where clients of TGI put it.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    type: Literal["text", "json_object", "json_schema", "json"]
    json_schema: JsonSchemaFormat | None = None
    value: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _has_schema(self) -> Self:
        if self.json_schema is not None and self.type != "json_schema":
            raise ValueError("json_schema goes with the type 'json_schema', and only with it")
        if self.type == "json_schema" and self.json_schema is None and self.value is None:
            raise ValueError("json_schema is missing")
        return self

    def schema_option(self) -> dict[str, Any] | None:
        """Return the option `schema` of a call, or None for text."""
        if self.type == "text":
            return None
        if self.json_schema is not None:
            return self.json_schema.json_schema
        return self.value or {"type": "object"}


class ChatBody(_Generating):
    """The body of `/v1/chat/completions`."""

    without_effect: ClassVar[frozenset[str]] = frozenset(
        {
            *("metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier"),
            *("store", "user"),
        }
    )

    messages: Annotated[list[dict[str, Any]], Field(min_length=1, max_length=MAX_ITEMS)]
    max_completion_tokens: Annotated[int, Field(strict=True, ge=1, lt=2**31)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: OutputFormat | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: list[Literal["text"]] | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    store: bool | None = None

    def options(self) -> dict[str, Any]:
        """Return the options of the call.

        Raises:
            InvalidRequest: Fields contradict each other.
        """
        options = self.sampling()
        options.pop("logprobs", None)
        if self.max_completion_tokens is not None:
            options["max_tokens"] = self.max_completion_tokens
        if self.logprobs:
            options["logprobs"] = self.top_logprobs or 0
        elif self.top_logprobs:
            raise InvalidRequest("top_logprobs: it goes with logprobs, which is not true.")
        if self.response_format is not None and (schema := self.response_format.schema_option()) is not None:
            options["schema"] = schema
        tools = [tool.model_dump() for tool in self.tools or ()]
        options |= select_tools(tools, options.pop("tool_choice", None))
        if self.chat_template_kwargs:
            options["extra"] = {**options.get("extra", {}), "chat_template_kwargs": self.chat_template_kwargs}
        return options


def select_tools(tools: list[dict[str, Any]], choice: Any) -> dict[str, Any]:
    """Return the options `tools` and `tool_choice` of a call.

    A choice of some allowed tools leaves the others out; "auto" and "none" need no tools.

    Raises:
        InvalidRequest: The choice demands a call, and no tool is left.
    """
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools", choice)
        listed = allowed.get("tools") if isinstance(allowed, Mapping) else None
        names = {_tool_name(tool) for tool in listed} if isinstance(listed, list) else set()
        tools = [tool for tool in tools if _tool_name(tool) in names]
        choice = allowed.get("mode", "auto") if isinstance(allowed, Mapping) else "auto"
    if not tools:
        if choice in (None, "auto", "none"):
            return {}
        raise InvalidRequest("tool_choice: it demands a call, and there are no tools.")
    return {"tools": tools} if choice is None else {"tools": tools, "tool_choice": choice}


def _tool_name(tool: Any) -> Any:
    fields = tool if isinstance(tool, Mapping) else {}
    function = fields.get("function")
    return function.get("name") if isinstance(function, Mapping) else fields.get("name")


class CompletionBody(_Generating):
    """The body of `/v1/completions`."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"user"})

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=128)]
    logprobs: Annotated[int, Field(strict=True, ge=0, le=100)] | None = None
    echo: bool | None = None
    suffix: Literal[""] | None = None
    best_of: Annotated[int, Field(strict=True, ge=1, le=128)] | None = None

    @property
    def prompts(self) -> list[str]:
        """The texts to continue."""
        return [self.prompt] if isinstance(self.prompt, str) else self.prompt

    def options(self) -> dict[str, Any]:
        """Return the options of the call of each prompt.

        Raises:
            InvalidRequest: `best_of` asks for more than `n` answers.
        """
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise InvalidRequest("best_of: answers are not ranked here.", next_step="Leave it out, or ask for `n`.")
        return self.sampling()


class EmbeddingsBody(WireBody):
    """The body of `/v1/embeddings`."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"user"})

    input: Text | Annotated[list[Text], Field(min_length=1, max_length=2048)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: int | None = request_fields(EmbedOptions)["dimensions"][1]
    user: str | None = None
    extra: dict[str, Any] | None = None

    @property
    def texts(self) -> list[str]:
        """The texts to embed."""
        return [self.input] if isinstance(self.input, str) else self.input


class RankedText(BaseModel):
    """A document of a request for a ranking, as an object.

    Attributes:
        text: The document.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, frozen=True)

    text: Text


class RerankBody(WireBody):
    """The body of `/v1/rerank`."""

    without_effect: ClassVar[frozenset[str]] = frozenset({"user"})

    query: Text
    documents: Annotated[list[Text | RankedText], Field(min_length=1, max_length=2048)]
    top_n: int | None = request_fields(RerankOptions)["top_n"][1]
    return_documents: bool | None = None
    user: str | None = None
    extra: dict[str, Any] | None = None

    @property
    def texts(self) -> list[str]:
        """The texts to rank."""
        return [document if isinstance(document, str) else document.text for document in self.documents]


class SystemOneBody(WireBody):
    """The body of `/v1/systemone`; its questions are checked by the call.

    Clients of this wire may send fields that a server does not know.
    """

    model_config = ConfigDict(extra="allow", hide_input_in_errors=True, frozen=True)

    without_effect: ClassVar[frozenset[str]] = frozenset({"user"})

    state: Any
    questions: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    user: str | None = None
    extra: dict[str, Any] | None = None

    def ignored(self) -> list[str]:
        """Return the names of the fields that are set and change nothing."""
        return sorted({*super().ignored(), *(name[:60] for name in self.model_extra or ())})
