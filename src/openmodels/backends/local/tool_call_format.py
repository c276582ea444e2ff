"""Tools of a local model: how prompts present them and answers call them."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from openmodels.backends.local.prompt import chat_template
from openmodels.backends.local.reasoning_parser import ResponseTemplateParser, TextParser, control_tokens
from openmodels.errors import UnsupportedFeature
from openmodels.output import call_ids, schema
from openmodels.output.tool_formats import detect
from openmodels.output.tool_formats.parser import ToolFormatParser
from openmodels.types.messages import ToolCall
from openmodels.types.request import ChatRequest, ResponseFormat, ToolSpec

_PROMPT_END = 64  # tokens of the prompt's end in which an opened reasoning tag would stand
_NAME = re.compile(r'"name"\s*:\s*"([^"\\]+)"|<function=([^>\s]+)>|functions\.([\w.-]+?)(?::\d+)?\s*<\|')


class ToolCallFormat(NamedTuple):
    """How the answer to one request calls tools."""

    parser: TextParser  # parses the answer
    control_tokens: dict[int, str]  # the markers that are control tokens, by token id
    start: str = ""  # the text that the answer is made to begin with; "" where the model is free
    output: ResponseFormat | None = None  # what must follow it, where a call is demanded
    close: str = ""  # what ends a demanded call


def offered_tools(request: ChatRequest) -> tuple[ToolSpec, ...]:
    """Return the tools that the prompt presents to the model."""
    return () if request.tool_choice == "none" else request.tools


def check_tools(request: ChatRequest, tokenizer: Any) -> None:
    """Check that the model's files say how tools are presented and called.

    Raises:
        UnsupportedFeature: They do not, or the answer must also have another form.
    """
    if not request.tools or not tokenizer.chat_template:
        return
    template = chat_template.get_template(tokenizer, tools=True)
    has_parser = detect.find_parser(template) is not None or getattr(tokenizer, "response_template", None) is not None
    if not has_parser or not chat_template.knows_tools(tokenizer, encode_definitions(request.tools)):
        raise UnsupportedFeature(
            "The backend 'local' cannot honour the option 'tools' for this model: its chat template knows no tools, "
            "or writes calls in a format that openmodels does not read.",
            next_step="Use a model that was trained to call tools, or ask for the arguments with `schema=`.",
        )
    if request.output is not None and offered_tools(request):
        raise UnsupportedFeature(
            f"The backend 'local' cannot honour 'tools' and {request.output.kind!r} in one call: what keeps the "
            "answer in its form keeps the model from calling tools.",
            next_step="Leave one out; to demand a call there is tool_choice='required'.",
        )


def resolve_tool_call_format(request: ChatRequest, tokenizer: Any, prompt: Sequence[int]) -> ToolCallFormat | None:
    """Return how the answer to a request calls tools; None where it offers none.

    `check_tools` has passed the request; `prompt` holds the token ids of the rendered prompt.

    Raises:
        UnsupportedFeature: A call is demanded, and this model's format of calls cannot be forced.
    """
    tools = offered_tools(request)
    if not tools or request.prompt is not None:
        return None
    template = chat_template.get_template(tokenizer, tools=True)
    family = detect.find_parser(template)
    is_free = request.tool_choice in (None, "auto")
    if family is None:
        if not is_free:
            raise _cannot_force(request)
        rendered = tokenizer.decode(list(prompt), skip_special_tokens=False)
        parser = ResponseTemplateParser(tokenizer.response_template, encode_definitions(tools), rendered)
        return ToolCallFormat(parser, control_tokens(tokenizer))
    prompt_end = tokenizer.decode(list(prompt[-_PROMPT_END:]), skip_special_tokens=False)
    tool_format = ToolCallFormat(family(tools, prompt_end), control_tokens(tokenizer, family.markers()))
    return tool_format if is_free else _force_call(request, family, tool_format, template)


def _force_call(
    request: ChatRequest, family: type[ToolFormatParser], tool_format: ToolCallFormat, template: str
) -> ToolCallFormat:
    tools = [tool for tool in request.tools if request.tool_choice in ("required", tool.name)]
    forcing = family.find_forced_call(template)
    if forcing is None or ("{name}" in forcing.start and len(tools) > 1):
        raise _cannot_force(request)
    parameters = {tool.name: tool.parameters for tool in tools}
    output = ResponseFormat(
        kind="schema",
        json_schema=schema.forbid_additional_properties(schema.tool_calls_schema(parameters, forcing.key)),
    )
    # A model in the middle of its reasoning has to leave it before it can call.
    end_of_reasoning = f"{tool_format.parser.reasoning_end}\n\n" if tool_format.parser.reasoning_end else ""
    start = end_of_reasoning + forcing.start.replace("{name}", tools[0].name)
    return tool_format._replace(start=start, output=output, close=forcing.end)


def _cannot_force(request: ChatRequest) -> UnsupportedFeature:
    return UnsupportedFeature(
        f"The backend 'local' cannot honour tool_choice={request.tool_choice!r} for this model: its format of calls "
        "cannot be forced" + (" on a choice of several tools." if request.tool_choice == "required" else "."),
        next_step="Name the tool, leave tool_choice out, or ask for the arguments with `schema=`.",
    )


def malformed_call(raw: str) -> ToolCall:
    """Return the call that malformed or cut text stands for, with what is wrong."""
    match = _NAME.search(raw)
    name = next(filter(None, match.groups()), "unknown") if match else "unknown"
    return ToolCall(
        id=call_ids.make_id(), name=name, arguments=None, raw=raw, errors=("the call is malformed or cut off",)
    )


def encode_definitions(tools: Sequence[ToolSpec]) -> list[dict[str, Any]]:
    """Return tools as chat templates expect them."""
    return [{"type": "function", "function": tool.model_dump(exclude={"strict"})} for tool in tools]
