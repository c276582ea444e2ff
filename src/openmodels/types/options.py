"""The call options, one table: a key of the typed dicts below is a row.

A row gives an option's name and type, and in its `Option` the range, the default, the wire key and the
description. Everything else derives from it: the names that a call takes, the checks of the request, the
encoding for servers, the table in the documentation. A backend or engine honours the options that it names
and refuses all others, so a new option is a row and the code that honours it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from pydantic import Field
from typing_extensions import TypedDict

from openmodels.types.messages import Text


@dataclass(frozen=True, slots=True)
class Option:
    """What a row of the table holds beside its name and type.

    Attributes:
        description: What the option does.
        default: What counts where it is not set.
        wire_key: Its key in the body for an OpenAI-compatible server; None where it is not sent as it is.
        wire_alias: A second key, which other servers read.
        ge, gt, le, lt: The range of a number, in pydantic's words.
        is_sampling: Whether it chooses the next token, or when to stop.
        is_core: Whether the core acts on it and backends never see it.
        is_field: Whether a request has a field of its name and type; others are made into something else.
    """

    description: str
    default: str = "none"
    wire_key: str | None = None
    wire_alias: str | None = None
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    is_sampling: bool = False
    is_core: bool = False
    is_field: bool = True

    @property
    def limits(self) -> dict[str, Any]:
        """The range by pydantic's words."""
        return {word: limit for word in ("ge", "gt", "le", "lt") if (limit := getattr(self, word)) is not None}


_OWN = "the model's or provider's own"
_EXTRA = Option("Vendor options, passed through as they are.", is_field=False)
_sampling = partial(Option, is_sampling=True)
_TIMEOUT = Option("Total seconds for the call, retries included; None lifts the limit.", "the model's", is_core=True)
_MAX_RETRIES = Option("How often a failed call is tried again before the first token.", "the model's", is_core=True)


class ToolRunOptions(TypedDict, total=False):
    """The options of every call but `tools`, which `run_tools` takes by itself."""

    temperature: Annotated[float, _sampling("0 is greedy; higher is more random.", _OWN, "temperature", ge=0, le=100)]
    top_p: Annotated[float, _sampling("The smallest set of tokens with this probability.", _OWN, "top_p", gt=0, le=1)]
    top_k: Annotated[int, _sampling("The k likeliest tokens.", _OWN, "top_k", ge=1, lt=2**31)]
    max_tokens: Annotated[
        int,
        _sampling("The answer's length limit in tokens.", "what is left of the context", "max_tokens", ge=1, lt=2**31),
    ]
    stop: Annotated[
        str | Sequence[str],
        _sampling("A string or strings that end the answer; they are not part of it.", wire_key="stop", is_field=False),
    ]
    seed: Annotated[
        int,
        _sampling(
            "The same seed, request and model give the same text where the backend can.",
            wire_key="seed",
            ge=0,
            lt=2**63,
        ),
    ]
    frequency_penalty: Annotated[
        float, _sampling("Lowers tokens by how often they came.", "0", "frequency_penalty", ge=-2, le=2)
    ]
    presence_penalty: Annotated[
        float, _sampling("Lowers tokens that came at all.", "0", "presence_penalty", ge=-2, le=2)
    ]
    repetition_penalty: Annotated[
        float,
        _sampling(
            "Divides the score of tokens that came, those of the prompt included; 1 changes nothing.",
            _OWN,
            # vLLM, SGLang and TGI read the first key, llama.cpp and LM Studio the second.
            "repetition_penalty",
            "repeat_penalty",
            gt=0,
            le=100,
        ),
    ]
    n: Annotated[int, Option("How many answers to give; the others are `Reply.alternatives`.", "1", "n", ge=1, le=128)]
    logprobs: Annotated[
        int,
        Option(
            "How many likeliest tokens to give at each place, with their logarithmic probabilities; 0 is the chosen "
            "token alone.",
            wire_key="logprobs",
            ge=0,
            le=100,
        ),
    ]
    schema: Annotated[
        Any,
        Option(
            "The type of the answer: a pydantic model, dataclass, `TypedDict`, any other type pydantic knows, or a "
            "JSON Schema as a dict. The value is in `Reply.parsed`.",
            is_field=False,
        ),
    ]
    choices: Annotated[Sequence[str], Option("The answer is one of these strings.", is_field=False)]
    pattern: Annotated[str, Option("The answer matches this regular expression as a whole.", is_field=False)]
    grammar: Annotated[str, Option("The answer follows this grammar, in the backend's notation.", is_field=False)]
    tool_choice: Annotated[str, Option('"auto", "none", "required" or the name of the tool to call.', '"auto"')]
    extra: Annotated[Mapping[str, Any], _EXTRA]
    retries: Annotated[
        int,
        Option(
            "How often an answer that does not satisfy `schema` is asked for again, with its errors shown to the "
            "model.",
            "0",
            is_core=True,
        ),
    ]
    timeout: Annotated[float | None, _TIMEOUT]
    max_retries: Annotated[int, _MAX_RETRIES]


class CallOptions(ToolRunOptions, total=False):
    """The options of every call: those of `ToolRunOptions`, and the tools."""

    tools: Annotated[
        Sequence[Any],
        Option("Functions, pydantic models or JSON definitions that the model may call; see `tool`.", is_field=False),
    ]


class EmbedOptions(TypedDict, total=False):
    """The options of `embed`."""

    dimensions: Annotated[
        int, Option("The length of each vector, for models that can shorten theirs.", _OWN, ge=1, lt=2**31)
    ]
    timeout: Annotated[float | None, _TIMEOUT]
    max_retries: Annotated[int, _MAX_RETRIES]
    extra: Annotated[Mapping[str, Any], _EXTRA]


class RerankOptions(TypedDict, total=False):
    """The options of `rerank`."""

    top_n: Annotated[int, Option("How many documents to return, the best first.", "all", ge=1, lt=2**31)]
    timeout: Annotated[float | None, _TIMEOUT]
    max_retries: Annotated[int, _MAX_RETRIES]
    extra: Annotated[Mapping[str, Any], _EXTRA]


class ScoreOptions(TypedDict, total=False):
    """The options of `score` and `decide`."""

    timeout: Annotated[float | None, _TIMEOUT]
    max_retries: Annotated[int, _MAX_RETRIES]
    extra: Annotated[Mapping[str, Any], _EXTRA]


class OptionRow(NamedTuple):
    """An option's type and the rest of its row."""

    type: Any
    option: Option


def read_rows(table: type) -> dict[str, OptionRow]:
    """Return the rows of a table by name, those of the class itself last."""
    return {name: OptionRow(*get_args(hint)[:2]) for name, hint in get_type_hints(table, include_extras=True).items()}


def request_fields(table: type) -> dict[str, Any]:
    """Return the request fields of a table, for `pydantic.create_model`."""
    fields = {}
    for name, (kind, option) in read_rows(table).items():
        if option.is_field and not option.is_core:
            # Strict: no bool for a number, no text. NaN and infinity are outside of any limits.
            field = Field(default=None, strict=True, **option.limits)
            fields[name] = ((Text if kind is str else kind) | None, field)
    return fields


CALL_OPTIONS = read_rows(CallOptions)
"""The rows of `chat`, `stream` and `complete`."""
SAMPLING_OPTIONS = tuple(name for name, row in CALL_OPTIONS.items() if row.option.is_sampling)
"""How the next token is chosen, and when to stop."""
OPTION_NAMES = tuple(name for name, row in CALL_OPTIONS.items() if not row.option.is_core)
"""Every option that a backend may or may not honour."""
