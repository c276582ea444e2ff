"""Tools that a model may call: made, run, and their calls checked."""

import asyncio
import functools
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import islice
from typing import Any, get_type_hints, overload

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ArgsKwargs, SchemaValidator

from openmodels.errors import InvalidRequest, OutputInvalid
from openmodels.output import schema as schemas, tool_results, type_schemas
from openmodels.output.grammar.validation import Validator
from openmodels.output.tool_results import ToolResult
from openmodels.types.messages import ToolCall
from openmodels.types.reply import CUT_SHORT, Reply
from openmodels.types.request import ChatRequest, ToolSpec

_NEXT = "Give a function with type hints, a pydantic model, or a JSON definition as a dict."


class Tool:
    """A tool as the model sees it, with the function that runs.

    Made by `tool`. Calling it calls the function.

    Attributes:
        spec: Name, description and the JSON Schema of the arguments.
        function: What runs; None for a definition, whose calls the caller answers.
    """

    def __init__(self, spec: ToolSpec, function: Callable[..., Any] | None, adapter: TypeAdapter[Any] | None) -> None:
        self.spec = spec
        self.function = function
        self._adapter = adapter

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it is.

        Raises:
            InvalidRequest: It is a definition without a function.
        """
        if self.function is None:
            raise InvalidRequest(f"The tool {self.name!r} is a definition and has no function to call.")
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        words = self.spec.parameters.get("properties", {})
        return f"<Tool {self.name}({', '.join(words)})>"

    @property
    def name(self) -> str:
        """What the model calls it."""
        return self.spec.name

    def run(self, call: ToolCall) -> ToolResult:
        """Run a call and return its result; an exception becomes the message.

        A coroutine function gets an event loop of its own, on a thread of its own. What a generator yields
        becomes a list.
        """
        began = time.perf_counter()
        try:
            value = self._call(*self._arguments(call))
            if inspect.isawaitable(value) or inspect.isasyncgen(value):
                with ThreadPoolExecutor(1) as pool:
                    value = pool.submit(copy_context().run, asyncio.run, _await_value(value)).result()
        except Exception as error:  # noqa: BLE001 - whatever it is, the model gets its text
            return make_error_result(call, error, began)
        return tool_results.make_result(call, value, began)

    async def arun(self, call: ToolCall) -> ToolResult:
        """The asynchronous twin of `run`; a plain function runs on a thread."""
        began = time.perf_counter()
        try:
            args, words = self._arguments(call)
            if inspect.iscoroutinefunction(inspect.unwrap(self.function or self)):
                value = await self._call(args, words)
            else:
                value = await asyncio.to_thread(self._call, args, words)
                value = await _await_value(value) if inspect.isawaitable(value) or inspect.isasyncgen(value) else value
        except Exception as error:  # noqa: BLE001 - as above
            return make_error_result(call, error, began)
        return tool_results.make_result(call, value, began)

    def _arguments(self, call: ToolCall) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments as the function takes them."""
        if call.errors:
            raise InvalidRequest("; ".join(call.errors))
        arguments = call.arguments or {}
        if self._adapter is None:
            return (), arguments
        try:
            if self.function is None:
                return (self._validator.validate_python(arguments),), {}
            args, words = self._validator.validate_python(ArgsKwargs((), arguments))
        except ValidationError as error:
            raise InvalidRequest(f"the arguments do not fit: {_describe(error)}") from error
        return args, words

    @functools.cached_property
    def _validator(self) -> SchemaValidator:
        """The validator of arguments, which does not call the function."""
        core: Any = self._adapter and self._adapter.core_schema
        if self.function is None:
            return SchemaValidator(core)
        inner = core["schema"] if core["type"] == "definitions" else core
        arguments = inner["arguments_schema"]
        return SchemaValidator({**core, "schema": arguments} if inner is not core else arguments)

    def _call(self, args: tuple[Any, ...], words: dict[str, Any]) -> Any:
        if self.function is None and self._adapter is not None:
            return args[0]  # a type: the arguments as one of its objects
        value = self(*args, **words)
        return list(islice(value, tool_results.MOST_ITEMS)) if inspect.isgenerator(value) else value

    def read(self, call: ToolCall) -> Any:
        """Return a call's arguments as the type that the tool was made from.

        Raises:
            InvalidRequest: They do not fit, or the tool was made from no type.
        """
        if self.function is not None or self._adapter is None:
            raise InvalidRequest(f"The tool {self.name!r} was made from no type; read `call.arguments`.")
        try:
            return self._adapter.validate_python(call.arguments)
        except ValidationError as error:
            raise InvalidRequest(f"The arguments of {self.name!r} do not fit: {_describe(error)}.") from error


@overload
def tool(source: Any, *, name: str | None = None, description: str | None = None) -> Tool: ...


@overload
def tool(*, name: str | None = None, description: str | None = None) -> Callable[[Any], Tool]: ...


def tool(
    source: Any = None, *, name: str | None = None, description: str | None = None
) -> Tool | Callable[[Any], Tool]:
    """Return a tool; also a decorator, with or without arguments.

    Args:
        source: A function (its schema comes from its signature and type hints, the descriptions from its
            docstring in Google's, NumPy's or Sphinx's style), a pydantic model, dataclass or `TypedDict`, a
            JSON definition as OpenAI, Anthropic or MCP write it, or a `Tool`.
        name: What the model calls it, where that is not the function's or type's own name.
        description: What it does, where the docstring does not say.

    Raises:
        InvalidRequest: Nothing can be made of it; the message says why.
    """
    if source is None:
        return functools.partial(tool, name=name, description=description)
    if isinstance(source, Tool):
        return source if name is None and description is None else _rename(source, name, description)
    if isinstance(source, ToolSpec):
        return Tool(_make_spec(source.name, source.description, source.parameters, strict=source.strict), None, None)
    if isinstance(source, Mapping):
        return _rename(_read_definition(source), name, description)
    if not callable(source):
        raise InvalidRequest(f"tools: expected a tool, not {type(source).__name__}.", next_step=_NEXT)
    label = name or str(getattr(source, "__name__", "") or getattr(getattr(source, "func", source), "__name__", ""))
    with schemas.schema_errors(f"tools: no JSON Schema can be made of {label or source!r}", _NEXT):
        adapter: TypeAdapter[Any] = TypeAdapter(_resolve_hints(source))
        parameters = schemas.strip_titles(type_schemas.arguments_schema(adapter))
    about, words = _read_docstring(source, label)
    for word, schema in parameters.get("properties", {}).items():
        if word in words:
            schema.setdefault("description", words[word])
    parameters = {key: value for key, value in parameters.items() if key != "description"}
    spec = _make_spec(label, description if description is not None else about, parameters)
    return Tool(spec, None if isinstance(source, type) else source, adapter)


def make_tools(sources: Any) -> tuple[Tool, ...]:
    """Return the tools of a caller's list.

    Raises:
        InvalidRequest: It is none, or two of them have the same name.
    """
    if isinstance(sources, str | bytes | Mapping) or not isinstance(sources, Iterable):
        raise InvalidRequest(f"tools: expected a list of tools, not {type(sources).__name__}.", next_step=_NEXT)
    sources = tuple(sources)
    if any(source is None for source in sources):
        raise InvalidRequest("tools: expected a tool, not NoneType.", next_step=_NEXT)
    made = tuple(tool(source) for source in sources)
    names = [item.name for item in made]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"tools: two tools have the name {twice!r}.", next_step="Rename one: om.tool(…, name=…).")
    return made


def make_error_result(call: ToolCall, error: Exception, began: float) -> ToolResult:
    """Return the result of a call that failed, with the message to the model."""
    if isinstance(error, InvalidRequest):
        words = error.cause
    else:
        text = _describe(error) if isinstance(error, ValidationError) else tool_results.describe_exception(error)
        words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    message = call.answer(tool_results.truncate(f"Error: {words}"))
    return ToolResult(call, message, None, error, time.perf_counter() - began)


class ToolCallValidator:
    """Checks tool calls against their schemas, and replies against `tool_choice`."""

    def __init__(self, request: ChatRequest) -> None:
        self._choice = request.tool_choice
        self._specs = {spec.name: spec for spec in request.tools}
        self._validators: dict[str, Validator] = {}

    def check_calls(self, calls: Iterable[ToolCall]) -> tuple[ToolCall, ...]:
        """Return the calls, each with its errors."""
        return tuple(self._check_call(call) for call in calls)

    def check_reply(self, reply: Reply) -> Reply:
        """Return a complete reply.

        Raises:
            OutputInvalid: It calls no tool or another one than `tool_choice` demands.
        """
        if self._choice in (None, "auto"):
            return reply
        # With "none", every call is another one.
        others = [call.name for call in reply.tool_calls if self._choice not in ("required", call.name)]
        is_cut = reply.finish_reason in CUT_SHORT and all(call.arguments is None for call in reply.tool_calls)
        if self._choice != "none" and not reply.tool_calls:
            error = "it calls no tool"
        elif self._choice != "none" and is_cut:
            error = "its call is cut off"
        elif others:
            error = f"it calls {others[0]!r}"
        else:
            return reply
        raise OutputInvalid(
            f"The answer is not what `tool_choice={self._choice!r}` demands: {error}.",
            next_step="Raise `max_tokens`."
            if reply.finish_reason == "length"
            else "The answer is in the error's `reply`.",
            reply=reply,
            errors=(error,),
        )

    def _check_call(self, call: ToolCall) -> ToolCall:
        errors = call.errors
        if call.name not in self._specs:
            known = ", ".join(self._specs)
            errors += (f"there is no tool {call.name!r}; there are: {known}" if call.name else "it names no tool",)
        elif call.arguments is None:
            errors += ("the arguments are no JSON object",)
        else:
            if call.name not in self._validators:
                self._validators[call.name] = Validator(self._specs[call.name].parameters)
            errors += self._validators[call.name].find_errors(call.arguments)
        return call.model_copy(update={"errors": errors}) if errors else call


async def _await_value(value: Any) -> Any:
    """Return what a coroutine returns, or what an asynchronous generator yields."""
    if not inspect.isasyncgen(value):
        return await value
    items: list[Any] = []
    async for item in value:
        items.append(item)
        if len(items) >= tool_results.MOST_ITEMS:
            break
    return items


def _rename(source: Tool, name: str | None, description: str | None) -> Tool:
    spec = source.spec
    about = spec.description if description is None else description
    spec = _make_spec(name or spec.name, about, spec.parameters, strict=spec.strict)
    return Tool(spec, source.function, source._adapter)  # noqa: SLF001 - its own


def _read_definition(definition: Mapping[str, Any]) -> Tool:
    """Return the tool of a JSON definition: OpenAI's, Anthropic's or MCP's."""
    inner = definition.get("function", definition) if definition.get("type", "function") == "function" else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str):
        raise InvalidRequest("tools: a definition needs at least a 'name'.", next_step=_NEXT)
    keys = ("parameters", "input_schema", "inputSchema")
    parameters = next((inner[key] for key in keys if inner.get(key) is not None), {"type": "object", "properties": {}})
    strict = inner.get("strict", definition.get("strict"))
    return Tool(_make_spec(inner["name"], inner.get("description") or "", parameters, strict=strict), None, None)


def _make_spec(name: str, description: str, parameters: Any, *, strict: bool | None = None) -> ToolSpec:
    try:
        schemas.check_limits(parameters)
        plain = json.loads(json.dumps(parameters, allow_nan=False))
        Validator(plain)
    except (TypeError, ValueError, RecursionError) as error:
        reason = error.cause if isinstance(error, InvalidRequest) else str(error).partition("\n")[0]
        reason = reason.removeprefix("schema: ").removeprefix("this is no JSON Schema: ")
        raise InvalidRequest(f"tools: the parameters of {name!r} are no JSON Schema: {reason.rstrip('.')}.") from error
    if not isinstance(plain, dict) or plain.get("type") != "object":
        raise InvalidRequest(f"tools: the parameters of {name!r} are no JSON Schema of the type 'object'.")
    try:
        return ToolSpec(name=name, description=description, parameters=plain, strict=strict)
    except ValidationError as error:
        raise InvalidRequest(
            f"tools: {_describe(error)}.",
            next_step="Give it a name of letters, digits, '_' and '-': om.tool(…, name=…).",
        ) from error


def _resolve_hints(source: Any) -> Any:
    """Return a partial function as one whose hints can be resolved."""
    if not isinstance(source, functools.partial):
        return source

    def bound(**arguments: Any) -> Any:
        return source(**arguments)

    bound.__signature__ = inspect.signature(source)  # type: ignore[attr-defined]
    bound.__annotations__ = get_type_hints(source.func, include_extras=True)
    return bound


def _read_docstring(source: Any, name: str) -> tuple[str, dict[str, str]]:
    """Return what a docstring says of the whole, and of each parameter."""
    # A class inherits the docstring of its base, which speaks of something else.
    text = vars(source).get("__doc__") if isinstance(source, type) else getattr(source, "__doc__", None)
    if not isinstance(text, str) or isinstance(source, functools.partial) or text.startswith(f"{name}("):
        return "", {}
    from docstring_parser import ParseError, parse

    try:
        documentation = parse(text)
    except ParseError:
        return inspect.cleandoc(text), {}
    words = {item.arg_name: item.description.replace("\n", " ") for item in documentation.params if item.description}
    return (documentation.description or "").strip(), words


def _describe(error: ValidationError) -> str:
    return "; ".join(schemas.list_errors(error))
