"""Messages as a prompt, by the model's own chat template.

A chat template is a program of strangers, rendered in `sandbox`. Many leave messages out silently: those that read
`content` as a list of parts render a string to nothing, others know no system message, no history or no tools. So a
template renders every new shape of conversation once with a unique word in every place, and the list of what it leaves
out is cached. Content that it reads only as parts is passed as parts; what it still leaves out is an error.

What a user types is data: control tokens in it are encoded as plain text, so it cannot forge a turn.
"""

import functools
import inspect
import json
import re
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jinja2

from openmodels.backends.local.prompt import length_check, sandbox
from openmodels.errors import InvalidRequest, LoadFailed, UnsupportedFeature
from openmodels.output import call_ids
from openmodels.types.messages import Message

ContentFormat = Literal["unchanged", "parts", "text"]
"""How a template gets the content of messages: as it is, all as lists of parts, or all as text."""

_IMAGE = {"type": "image", "image": "image"}
_NEXT_STEP = "Use another model, or give this one a chat template that you trust."
_MIN_EVIDENCE = 16
"""Characters from which a text in the prompt comes from a message; a shorter one may stand there by chance."""


class RenderedPrompt(NamedTuple):
    """A conversation as the template renders it."""

    text: str
    is_marked: bool  # whether control tokens that a user typed are marked in it; see `token_ids`


def encode(
    tokenizer: Any,
    messages: Sequence[Message],
    variables: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]] = (),
    *,
    special: bool = False,
    context: int | None = None,
    deadline: float | None = None,
) -> list[int]:
    """Return the tokens of a conversation, ready for the assistant's turn.

    With `special` the tokenizer adds the special tokens that the template does not write, as transformers' processors
    have it do.

    Raises:
        ContextTooLong: It certainly has more tokens than the context.
        DeadlineExceeded: The deadline passed.
        UnsupportedFeature: The model has no chat template, several without a default, or one that leaves out
            the content of a message.
        InvalidRequest: The template refuses these messages.
        LoadFailed: The template is broken or hostile.
    """
    rendered = render(tokenizer, messages, variables, tools)
    if context is not None:
        length_check.check_length(tokenizer, rendered.text, context, deadline)
    tokens = token_ids(tokenizer, rendered.text, marked=rendered.is_marked, special=special)
    if not tokens:
        raise LoadFailed("The model's chat template renders these messages to nothing.", next_step=_NEXT_STEP)
    return tokens


def render(
    tokenizer: Any, messages: Sequence[Message], variables: Mapping[str, Any], tools: Sequence[Mapping[str, Any]] = ()
) -> RenderedPrompt:
    """Render a conversation with the model's chat template; see `encode`."""
    template = get_template(tokenizer, tools=bool(tools))
    messages = _adapt_messages(messages, template)
    definitions = list(tools) or None
    settings = _to_json_types(variables)
    special_tokens = dict(tokenizer.special_tokens_map)
    try:
        masked = _make_turns([_mask_texts(message, index) for index, message in enumerate(messages)])
        content_format, omissions = _probe_template(
            template, _json(masked), _json(definitions), _json(special_tokens | settings)
        )
        inputs = _convert(_make_turns(messages), content_format), definitions, settings
        turns, marked_tools, marked_settings = marked = _mark_control_tokens(tokenizer, template, *inputs)
        length = sum(len(message.text) for message in messages) + len(_json(definitions))
        text = _render(template, turns, marked_tools, special_tokens | marked_settings, length)
    except (sandbox.LimitExceeded, MemoryError, RecursionError, OverflowError) as error:
        raise LoadFailed(f"The model's chat template is out of bounds: {error}.", next_step=_NEXT_STEP) from error
    except jinja2.exceptions.SecurityError as error:
        reason = str(error).rstrip(".")
        raise LoadFailed(
            f"The model's chat template tries to leave its sandbox: {reason}.", next_step=_NEXT_STEP
        ) from error
    except (jinja2.exceptions.TemplateSyntaxError, jinja2.exceptions.UndefinedError, TypeError) as error:
        raise LoadFailed(f"The model's chat template is broken: {error}.", next_step=_NEXT_STEP) from error
    except (jinja2.exceptions.TemplateError, ValueError) as error:
        raise InvalidRequest(
            f"messages: the model's chat template refuses them: {error}.",
            next_step="Some templates know no system message or want user and assistant to alternate.",
        ) from error
    _check_omissions(omissions, messages, text)
    return RenderedPrompt(text, marked != inputs)


def get_template(tokenizer: Any, *, tools: bool = False) -> str:
    """Return the source of a tokenizer's chat template; tools may have their own.

    Raises:
        UnsupportedFeature: The tokenizer has none, or several without a default.
    """
    template = tokenizer.chat_template
    if isinstance(template, Mapping) and template:
        names = [*(["tool_use"] if tools else []), "default", *(template if len(template) == 1 else ())]
        name = next((name for name in names if name in template), None)
        if name is None:
            raise UnsupportedFeature(
                f"The model has several chat templates and none is the default: {', '.join(sorted(template))}.",
                next_step="Name one when you open the model: chat_template=….",
            )
        template = template[name]
    if not template:
        raise UnsupportedFeature(
            "This is a base model: it has no chat template.",
            next_step="Use `complete` to continue a text, or the model's instruct version to chat.",
        )
    return str(template)


def knows_tools(tokenizer: Any, tools: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the chat template renders the definitions of tools."""
    template = get_template(tokenizer, tools=True)
    if "tools" not in template:
        return False
    masked = _make_turns([_mask_texts(Message(role="user", content="Hi"), 0)])
    special_tokens = dict(tokenizer.special_tokens_map)
    try:
        _, omissions = _probe_template(template, _json(masked), _json(list(tools)), _json(special_tokens))
    except sandbox.LimitExceeded:
        return True  # rendering the messages says what is wrong with it
    return omissions is None or not omissions.tools


def turn_end(tokenizer: Any) -> int | None:
    """Return the control token that closes an assistant's turn, or None."""
    try:
        template = get_template(tokenizer)
    except UnsupportedFeature:
        return None
    known = _turn_ends.get(tokenizer)
    if known is None or known[0] != template:
        known = _turn_ends[tokenizer] = (template, _find_turn_end(tokenizer, template))
    return known[1]


_turn_ends: weakref.WeakKeyDictionary[Any, tuple[str, int | None]] = weakref.WeakKeyDictionary()


def _find_turn_end(tokenizer: Any, template: str) -> int | None:
    mark = _make_word("end", 0)
    special_tokens = dict(tokenizer.special_tokens_map)
    for content_format in ("unchanged", "parts"):
        turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": mark}]
        try:
            text = _render(template, _convert(turns, content_format), None, special_tokens, 0, prompt=False)
        except (sandbox.LimitExceeded, jinja2.TemplateError, TypeError, ValueError, RecursionError):
            continue
        behind = text.rpartition(mark)[2].lstrip() if mark in text else ""
        matches: list[tuple[int, int]] = [
            (len(added.content), token)
            for token, added in tokenizer.added_tokens_decoder.items()
            if added.content.strip() and behind.startswith(added.content)
        ]
        if matches:
            return max(matches)[1]
    return None


def token_ids(tokenizer: Any, text: str, *, marked: bool = False, special: bool = False) -> list[int]:
    """Return the tokens of a rendered prompt.

    With `marked`, the control tokens that a user typed are marked and encoded as text. With `special`, the tokenizer
    adds its special tokens where the prompt does not begin with them.
    """
    bos = tokenizer.bos_token
    special = special and not (bos is not None and text.startswith(bos))
    if not marked:
        return list(tokenizer(text, add_special_tokens=special)["input_ids"])
    tokens = list(tokenizer(text, add_special_tokens=False, sanitize_control_tokens=True)["input_ids"])
    return _add_special_tokens(tokenizer, tokens) if special else tokens


def split_marked(text: str) -> str:
    """Return a prompt in which typed control tokens are split by a mark.

    Code that looks for a control token in the text does not see them; `token_ids` encodes their pieces as text.
    """
    from transformers.utils import chat_template_utils

    start, end = chat_template_utils._CONTROL_TOKEN_START, chat_template_utils._CONTROL_TOKEN_END  # noqa: SLF001
    return re.sub(f"{start}(.)([^{start}{end}]+){end}", rf"\g<1>{start}\g<2>", text, flags=re.DOTALL)


def _add_special_tokens(tokenizer: Any, tokens: list[int]) -> list[int]:
    """Return tokens with the special ones that the tokenizer puts around a text."""
    bare, full = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    at = next((at for at in range(len(full)) if full[at : at + len(bare)] == bare), 0)
    return [*full[:at], *tokens, *full[at + len(bare) :]]


def _adapt_messages(messages: Sequence[Message], template: str) -> Sequence[Message]:
    """Return the messages with ids of tool calls that the template accepts."""
    if any(message.name for message in messages):
        raise UnsupportedFeature(
            "The backend 'local' cannot honour the 'name' of a message.", next_step="Write the name into its content."
        )
    # The templates of Mistral's models refuse ids that are not nine letters or digits.
    nine = re.search(r"length\s*(!=|==|<|>)\s*9\b", template)
    return call_ids.rewrite_ids(messages, "nine" if nine else "any")


def _make_turns(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages as chat templates expect them."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [_make_turn(message, names) for message in messages]


def _make_turn(message: Message, names: Mapping[str, str]) -> dict[str, Any]:
    content: Any = message.content
    if not isinstance(content, str):
        # A template asks whether there is an image; the processor gets the image itself.
        content = [{"type": "text", "text": part} if isinstance(part, str) else _IMAGE for part in content]
    turn: dict[str, Any] = {"role": message.role, "content": content}
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
    if message.reasoning:
        # The name that most templates read, and gpt-oss's; they drop it themselves where it is of an earlier turn.
        turn |= {"reasoning_content": message.reasoning, "thinking": message.reasoning}
    return turn


def _convert(turns: Sequence[Mapping[str, Any]], content_format: ContentFormat) -> list[dict[str, Any]]:
    return [{**turn, "content": _convert_content(turn["content"], content_format)} for turn in turns]


def _convert_content(content: Any, content_format: ContentFormat) -> Any:
    if content_format == "parts" and isinstance(content, str):
        return [{"type": "text", "text": content}]
    if content_format == "text" and not isinstance(content, str):
        return "\n".join(part["text"] for part in content if "text" in part)
    return content


class _Omissions(NamedTuple):
    """The parts of conversations of one shape that a template leaves out."""

    messages: tuple[int, ...]  # indices of the messages whose text, or calls, it does not render
    tools: bool  # whether it leaves out the definitions of tools


@functools.lru_cache(maxsize=256)
def _probe_template(template: str, turns: str, tools: str, variables: str) -> tuple[ContentFormat, _Omissions | None]:
    """Find the content format for masked messages, and what is left out all the same.

    The omissions are None where the template does not render words in the place of the messages. The arguments are
    JSON, so that they can be hashed.
    """
    conversation, definitions = json.loads(turns), json.loads(tools)
    for index, definition in enumerate(definitions or ()):
        definition["function"]["name"] = _make_word("tool", index)
    expected = [
        _WANTED.findall(json.dumps((turn["content"], turn.get("tool_calls"))).casefold()) for turn in conversation
    ]
    best: tuple[ContentFormat, _Omissions | None] = ("unchanged", None)
    has_image = any(isinstance(turn["content"], list) and _IMAGE in turn["content"] for turn in conversation)
    formats: tuple[ContentFormat, ...] = ("unchanged", "parts") if has_image else ("unchanged", "parts", "text")
    for content_format in formats:
        masked = _convert(conversation, content_format)
        try:
            text = _render(template, masked, definitions, json.loads(variables), 0).casefold()
        except (jinja2.TemplateError, TypeError, ValueError, RecursionError, OverflowError):
            continue
        missing = tuple(index for index, words in enumerate(expected) if any(word not in text for word in words))
        ignored = any(_make_word("tool", index) not in text for index in range(len(definitions or ())))
        if best[1] is None or len(missing) < len(best[1].messages):
            best = content_format, _Omissions(missing, ignored)
        if not missing:
            break
    return best


def _mask_texts(message: Message, index: int) -> Message:
    """Return a message with unique words for its texts; some must be rendered."""
    content: Any = message.content
    if isinstance(content, str):
        # Many templates render what stands beside a call as reasoning or not at all, as the model was trained.
        # An empty content has no text to look for.
        content = content.strip() and _make_word("m", index, is_wanted=not message.tool_calls)
    else:
        content = tuple(
            _make_word("p", index, place) if isinstance(part, str) and part.strip() else part
            for place, part in enumerate(content)
        )
    calls = tuple(
        call.model_copy(
            update={"name": _make_word("f", index, place), "arguments": {"key": _make_word("a", index, place)}}
        )
        for place, call in enumerate(message.tool_calls)
    )
    reasoning = _make_word("r", index, is_wanted=False) if message.reasoning else message.reasoning
    return message.model_copy(update={"content": content, "tool_calls": calls, "reasoning": reasoning})


def _make_word(kind: str, *places: int, is_wanted: bool = True) -> str:
    # Letters and digits alone: no template trims, splits or escapes them; comparison ignores case.
    return f"{'zq' if is_wanted else 'xq'}{kind}{'x'.join(map(str, places))}qz"


_WANTED = re.compile("zq[a-z]+[0-9x]+qz")


def _check_omissions(omissions: _Omissions | None, messages: Sequence[Message], text: str) -> None:
    """Check that a rendered prompt holds the content of the messages."""
    if omissions is None:
        # Of a template that renders none but these messages, only what it must not change is known.
        candidates = tuple(index for index, message in enumerate(messages) if message.role in {"system", "user"})
    else:
        candidates = omissions.messages
    squeezed = _squeeze(text) if candidates else ""
    min_length = 0 if omissions is None else _MIN_EVIDENCE
    missing = [index for index in candidates if not _is_in(messages[index], squeezed, min_length)]
    if len(missing) == len(messages):
        raise LoadFailed("The model's chat template renders nothing of the messages.", next_step=_NEXT_STEP)
    if missing:
        message = messages[missing[0]]
        what = "tool calls" if message.tool_calls else "text"
        raise UnsupportedFeature(
            f"The model's chat template leaves out the {what} of message {missing[0] + 1}, "
            f"which is of the role {message.role!r}.",
            next_step="Say it in a user message, use another model, or give this one another template with "
            "chat_template=….",
        )
    if omissions is not None and omissions.tools:
        raise UnsupportedFeature(
            "The model's chat template leaves out the tools.",
            next_step="Use a model that was trained to call tools, or ask for the arguments with `schema=`.",
        )


def _is_in(message: Message, squeezed: str, min_length: int) -> bool:
    parts = [message.content] if isinstance(message.content, str) else message.content
    texts = [part for part in parts if isinstance(part, str)]
    return not message.tool_calls and all(
        len(text) >= min_length and (_squeeze(text) in squeezed or _squeeze(json.dumps(text)[1:-1]) in squeezed)
        for text in texts
    )


def _squeeze(text: str) -> str:
    return "".join(text.split()).casefold()


def _render(
    template: str,
    turns: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, Any],
    length: int,
    *,
    prompt: bool = True,
) -> str:
    context = {"messages": turns, "tools": tools, "documents": None, "add_generation_prompt": prompt}
    return sandbox.render(template, length, context | dict(variables))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _to_json_types(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Return variables as JSON types: the sandbox knows no methods of others."""
    try:
        converted: dict[str, Any] = json.loads(json.dumps(dict(variables)))
    except (TypeError, ValueError) as error:
        raise InvalidRequest(
            f"extra: a variable for the chat template is not of JSON's types: {error}.",
            next_step="Pass text, numbers, booleans, lists and dicts.",
        ) from error
    return converted


def _mark_control_tokens(
    tokenizer: Any, template: str, turns: list[Any], tools: Any, variables: dict[str, Any]
) -> tuple[list[Any], Any, dict[str, Any]]:
    """Mark the control tokens in the input of a template, where transformers can."""
    kind: Any = type(tokenizer)
    if not _can_mark(kind):
        return turns, tools, variables
    mark = tokenizer._mark_chat_inputs  # noqa: SLF001 - transformers offers it only along with its own rendering
    marked, tools, _, variables = mark(template, [turns], tools, None, variables, True, False)
    return marked[0], tools, variables


@functools.lru_cache(maxsize=32)
def _can_mark(kind: Any) -> bool:
    parameters = inspect.signature(kind.apply_chat_template).parameters
    return "sanitize_control_tokens" in parameters and hasattr(kind, "_mark_chat_inputs")
