"""Tools of a local model: told in its chat template's format, and its calls read from what it writes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from openmodels.backends.local.prompt import chat_template
from openmodels.backends.local.response_parser import Declared
from openmodels.errors import UnsupportedFeature
from openmodels.output import schema
from openmodels.output.tool_formats import detect
from openmodels.output.tool_formats.parser import ParsedChunk, ToolFormatParser
from openmodels.types.messages import ToolCall
from openmodels.types.request import ChatRequest, OutputFormat, ToolSpec

_END = 64
"""Tokens of the prompt's end, in which the reasoning would be opened."""
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]+)"|<function=([^>\s]+)>|functions\.([\w.-]+?)(?::\d+)?\s*<\|')


class Reader(Protocol):
    """What tells text, reasoning and calls apart: a family's `ToolFormatParser`, or `Declared`."""

    @property
    def reasoning_end(self) -> str | None:
        """The marker that ends the reasoning that is open, or None."""

    def feed(self, text: str) -> ParsedChunk:
        """Take more of the answer; return what became complete."""

    def finish(self) -> ParsedChunk:
        """Return the rest, now that the answer is over."""


class Calling(NamedTuple):
    """How one request's tools are spoken of.

    Attributes:
        reader: Reads the answer.
        hidden: The markers that are control tokens, which decoding leaves out, by token.
        start: What the answer is made to begin with; "" where the model is free.
        output: What must follow it, where a call is demanded.
        close: What ends a demanded call.
    """

    reader: Reader
    hidden: dict[int, str]
    start: str = ""
    output: OutputFormat | None = None
    close: str = ""


def offered(request: ChatRequest) -> tuple[ToolSpec, ...]:
    """Return the tools that the model is told of."""
    return () if request.tool_choice == "none" else request.tools


def check(request: ChatRequest, tokenizer: Any) -> None:
    """Check that the model's files say how it is told of tools and how it calls them.

    Raises:
        UnsupportedFeature: They do not, or the answer must also have another form.
    """
    if not request.tools or not tokenizer.chat_template:
        return
    template = chat_template.get_template(tokenizer, tools=True)
    reads = detect.find_format(template) is not None or _declares(tokenizer)
    if not reads or not chat_template.knows_tools(tokenizer, definitions(request.tools)):
        raise UnsupportedFeature(
            "The backend 'local' cannot honour the option 'tools' for this model: its chat template knows no tools, "
            "or writes calls in a format that openmodels does not read.",
            next_step="Use a model that was trained to call tools, or ask for the arguments with `schema=`.",
        )
    if request.output is not None and offered(request):
        raise UnsupportedFeature(
            f"The backend 'local' cannot honour 'tools' and {request.output.kind!r} in one call: what keeps the "
            "answer in its form keeps the model from calling tools.",
            next_step="Leave one out; to demand a call there is tool_choice='required'.",
        )


def plan(request: ChatRequest, tokenizer: Any, prompt: Sequence[int]) -> Calling | None:
    """Return how a request's tools are spoken of; None where it offers none.

    Args:
        request: What is asked; `check` has passed it.
        tokenizer: A transformers tokenizer.
        prompt: The rendered prompt.

    Raises:
        UnsupportedFeature: A call is demanded, and this model's format of calls cannot be forced.
    """
    tools = offered(request)
    if not tools or request.prompt is not None:
        return None
    template = chat_template.get_template(tokenizer, tools=True)
    end = tokenizer.decode(list(prompt[-_END:]), skip_special_tokens=False)
    parser = detect.find_format(template)
    reader: Reader
    if parser is None:
        reader = Declared(tokenizer.response_template, tools, tokenizer.decode(list(prompt), skip_special_tokens=False))
        return (
            Calling(reader, _control(tokenizer, None)) if request.tool_choice in (None, "auto") else _unforced(request)
        )
    reader = parser(tools, end)
    hidden = _control(tokenizer, parser.markers())
    if request.tool_choice in (None, "auto"):
        return Calling(reader, hidden)
    return _forced(request, parser, reader, hidden, template)


def _forced(
    request: ChatRequest, parser: type[ToolFormatParser], reader: Reader, hidden: dict[int, str], template: str
) -> Calling:
    chosen = [tool for tool in request.tools if request.tool_choice in ("required", tool.name)]
    form = parser.find_forced_call(template)
    if form is None or ("{name}" in form.start and len(chosen) > 1):
        return _unforced(request)
    parameters = {tool.name: tool.parameters for tool in chosen}
    output = OutputFormat(kind="schema", json_schema=schema.closed(schema.calls(parameters, form.key)))
    # A model in the middle of its reasoning has to leave it before it can call.
    leave = f"{reader.reasoning_end}\n\n" if reader.reasoning_end else ""
    return Calling(reader, hidden, leave + form.start.replace("{name}", chosen[0].name), output, form.end)


def _unforced(request: ChatRequest) -> Calling:
    raise UnsupportedFeature(
        f"The backend 'local' cannot honour tool_choice={request.tool_choice!r} for this model: its format of calls "
        "cannot be forced" + (" on a choice of several tools." if request.tool_choice == "required" else "."),
        next_step="Name the tool, leave tool_choice out, or ask for the arguments with `schema=`.",
    )


class Caller:
    """Passes an answer's text on as reasoning, as answer, or as calls.

    Args:
        calling: How the tools are spoken of.

    Attributes:
        tokens: How many tokens were reasoning, as far as text came of them.
        called: Whether a call was given out.
    """

    def __init__(self, calling: Calling) -> None:
        self._reader, self._hidden, self._close = calling.reader, calling.hidden, calling.close
        self._held = self._reader.feed(calling.start) if calling.start else ParsedChunk()
        self.tokens = 0
        self.called = False

    @property
    def done(self) -> bool:
        """Whether what comes next is no reasoning."""
        return self._reader.reasoning_end is None

    def feed(self, text: str, token: int, *, last: bool, whole: bool) -> tuple[str, str, tuple[ToolCall, ...]]:
        """Return what is reasoning, what is answer, and the calls that became complete with a token.

        Args:
            text: The text that became complete with the token.
            token: The token.
            last: Whether it is the last one.
            whole: Whether the answer ended by itself, so that a demanded call can be closed.
        """
        piece = self._held + self._reader.feed(text + self._hidden.get(token, ""))
        self._held = ParsedChunk()
        if last:
            if self._close and whole:
                piece += self._reader.feed(self._close)
            piece += self._reader.finish()
        self.tokens += bool(piece.reasoning)
        calls = (*piece.calls, *map(broken, piece.broken))
        self.called = self.called or bool(calls)
        return piece.reasoning, piece.text, calls


def broken(raw: str) -> ToolCall:
    """Return the call that a malformed or cut one is: as the model wrote it, with what is wrong."""
    found = _NAME.search(raw)
    name = next(filter(None, found.groups()), "unknown") if found else "unknown"
    return ToolCall(
        id=secrets.token_hex(5)[:9], name=name, arguments=None, raw=raw, errors=("the call is malformed or cut off",)
    )


def definitions(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Return tools as chat templates expect them."""
    return [{"type": "function", "function": tool.model_dump(exclude={"strict"})} for tool in tools]


def _declares(tokenizer: Any) -> bool:
    return getattr(tokenizer, "response_template", None) is not None


def _control(tokenizer: Any, markers: Sequence[str] | None) -> dict[int, str]:
    """Return the control tokens that are markers, by token; all that there are where `markers` is None."""
    control = {token: added.content for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    return control if markers is None else {token: text for token, text in control.items() if text in markers}
