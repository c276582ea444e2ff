"""The model's own chat template, treated as what it is: somebody else's program.

transformers renders it in a sandbox that keeps it from the interpreter. What the sandbox does not
bound is bounded here: arithmetic that makes huge strings is refused before the template is
compiled, and rendering stops after too much time, memory or output. What a user types is data:
control tokens in it are encoded as plain text, so that nobody can forge a turn.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jinja2
import jinja2.ext
from jinja2 import nodes

from openmodels import call_ids
from openmodels.errors import InvalidRequest, LoadFailed, UnsupportedFeature
from openmodels.messages import ImagePart, Message

try:
    import resource
except ImportError:  # Windows has no such counter; time and output stay bounded there
    resource = None  # type: ignore[assignment]

SECONDS = 2.0
"""How long rendering may take."""
CHARACTERS = 16 * 1024 * 1024
"""How long the rendered text may be, beyond what the messages hold."""
MEGABYTES = 1024
"""How much the process may grow while rendering."""

_NUMBER = 1_000_000
_FACTOR = 10_000
_WIDE = re.compile(r"[%:{][^%{}]{0,8}\d{6,}")

_NEXT = "Use another model, or give this one a chat template that you trust."


class _TooMuch(BaseException):
    """Raised inside a template; not an Exception, so that the template cannot catch it."""


def encode(
    tokenizer: Any,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]] = (),
) -> list[int]:
    """Return the conversation as tokens, ready for the assistant's turn.

    Args:
        tokenizer: A transformers tokenizer.
        messages: The conversation.
        variables: Further variables for the template, e.g. `enable_thinking`.
        tools: Definitions of the tools that the model may call.

    Raises:
        UnsupportedFeature: The model has no chat template.
        InvalidRequest: The template refuses these messages, in its own words.
        LoadFailed: The template is broken or hostile.
    """
    if not tokenizer.chat_template:
        raise UnsupportedFeature(
            "This is a base model: it has no chat template.",
            next_step="Use `complete` to continue a text, or the model's instruct version to chat.",
        )
    told = list(tools) or None
    template = tokenizer.get_chat_template(tools=told)
    check(template)
    with explained(messages):
        tokens = tokenizer.apply_chat_template(
            turns(messages, template=template),
            tools=told,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
            **safety(tokenizer),
            **variables,
        )
    if not tokens:
        raise LoadFailed("The model's chat template renders these messages to nothing.", next_step=_NEXT)
    return list(tokens)


@contextmanager
def explained(messages: Sequence[Message]) -> Iterator[None]:
    """Bound the template that is rendered in this block, and tell what goes wrong as errors of the tree.

    Raises:
        InvalidRequest: The template refuses the messages, in its own words.
        LoadFailed: The template is broken or hostile.
    """
    try:
        with _bounded(CHARACTERS + sum(len(message.text) for message in messages)):
            yield
    except (_TooMuch, MemoryError, RecursionError, OverflowError) as error:
        raise LoadFailed(f"The model's chat template is out of bounds: {error}.", next_step=_NEXT) from error
    except jinja2.exceptions.SecurityError as error:
        said = str(error).rstrip(".")
        raise LoadFailed(f"The model's chat template tries to leave its sandbox: {said}.", next_step=_NEXT) from error
    except (jinja2.exceptions.TemplateSyntaxError, jinja2.exceptions.UndefinedError, TypeError) as error:
        raise LoadFailed(f"The model's chat template is broken: {error}.", next_step=_NEXT) from error
    except (jinja2.exceptions.TemplateError, ValueError) as error:
        raise InvalidRequest(
            f"messages: the model's chat template refuses them: {error}.",
            next_step="Some templates know no system message or want user and assistant to alternate.",
        ) from error


def turns(
    messages: Sequence[Message], show: Callable[[ImagePart], Any] = lambda image: image, *, template: str = ""
) -> list[dict[str, Any]]:
    """Return messages as chat templates expect them.

    Args:
        messages: The conversation.
        show: What a template is given for an image.
        template: The template, which may take ids of tool calls in one form only.

    Raises:
        UnsupportedFeature: A message names its participant, which templates have no common place for.
    """
    if any(message.name for message in messages):
        raise UnsupportedFeature(
            "The backend 'local' cannot honour the 'name' of a message.", next_step="Write the name into its content."
        )
    # The templates of Mistral's models refuse ids that are not nine letters or digits.
    nine = re.search(r"length\s*(!=|==|<|>)\s*9\b", template)
    messages = call_ids.consistent(messages, "nine" if nine else "any")
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    made = [_turn(message, names) for message in messages]
    for turn, message in zip(made, messages, strict=True):
        if not isinstance(message.content, str):
            turn["content"] = [
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": show(part)}
                for part in message.content
            ]
    return made


def _turn(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        # Templates want the arguments as an object, where the wire has text.
        turn["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.raw if call.arguments is None else call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        turn |= {"tool_call_id": message.tool_call_id, "name": names.get(message.tool_call_id, "")}
    # The name that most templates read; they drop it themselves where it is of an earlier turn.
    return turn | ({"reasoning_content": message.reasoning} if message.reasoning else {})


@functools.lru_cache(maxsize=32)
def check(template: str) -> None:
    """Refuse a template whose arithmetic could fill the memory in one step.

    Raises:
        LoadFailed: It is no template, or raises to a power, multiplies by anything but a small
            number, or holds a number or a format width over a million.
    """
    try:
        tree = jinja2.Environment(extensions=[jinja2.ext.loopcontrols, _Generation], autoescape=False).parse(template)  # noqa: S701 - text, not HTML
    except (jinja2.exceptions.TemplateSyntaxError, RecursionError) as error:
        raise LoadFailed(f"The model's chat template is broken: {error}.", next_step=_NEXT) from error
    fault = next(filter(None, map(_fault, tree.find_all(nodes.Expr))), None)
    if fault:
        raise LoadFailed(f"The model's chat template is out of bounds: {fault}.", next_step=_NEXT)


def _fault(node: nodes.Expr) -> str | None:
    if isinstance(node, nodes.Pow):
        return "it raises to a power"
    if isinstance(node, nodes.Mul):
        # Nested products count together, else small factors would add up to a large one.
        constants = [n for n in node.find_all(nodes.Const) if isinstance(n.value, int | float)]
        product = math.prod(max(abs(n.value), 1) for n in constants)
        if not any(n in constants for n in (node.left, node.right)) or product > _FACTOR:
            return "it multiplies by something that may be large"
    if isinstance(node, nodes.Const):
        if isinstance(node.value, int | float) and abs(node.value) > _NUMBER:
            return f"it holds the number {node.value:.0f}"
        if isinstance(node.value, str) and _WIDE.search(node.value):
            return "it holds a format with a huge width"
    return None


class _Generation(jinja2.ext.Extension):
    """Knows transformers' `{% generation %}` tag, so that templates with it can be read."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

    def parse(self, parser: Any) -> list[nodes.Node]:
        next(parser.stream)
        body: list[nodes.Node] = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return body


@contextmanager
def _bounded(length: int) -> Iterator[None]:
    """Stop the template rendered in this block after too much time, memory or output (characters).

    A trace function sees every line of the compiled template, wherever it loops; a timer or a
    second thread could not stop it.
    """
    limit = time.monotonic() + SECONDS
    most = _peak() + MEGABYTES

    def on_line(_: FrameType, event: str, argument: Any) -> Any:
        nonlocal length
        if time.monotonic() > limit:
            raise _TooMuch(f"rendering takes more than {SECONDS:.0f} seconds")
        if _peak() > most:
            raise _TooMuch(f"rendering takes more than {MEGABYTES} MB")
        if event == "return" and isinstance(argument, str):
            length -= len(argument)
            if length < 0:
                raise _TooMuch("it renders far more text than the messages hold")
        return on_line

    def on_call(frame: FrameType, _: str, __: Any) -> Any:
        return on_line if frame.f_code.co_filename == "<template>" else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


def _peak() -> float:
    """Return the most memory this process has held, in MB; 0 where that is not known."""
    if resource is None:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def safety(tokenizer: Any) -> dict[str, bool]:
    """Return the argument that keeps what a user types from being control tokens, where there is one."""
    kind: Any = type(tokenizer)
    return {"sanitize_control_tokens": True} if _sanitizes(kind) else {}


@functools.lru_cache(maxsize=32)
def _sanitizes(kind: Any) -> bool:
    return "sanitize_control_tokens" in inspect.signature(kind.apply_chat_template).parameters
