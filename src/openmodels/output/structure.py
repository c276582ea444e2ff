"""The form of an answer: its options, and the check of complete answers."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from openmodels.errors import InvalidRequest, OutputInvalid
from openmodels.output import schema as schemas, type_schemas
from openmodels.output.grammar.validation import Validator, matcher
from openmodels.types.reply import CUT_SHORT, Reply
from openmodels.types.request import ResponseFormat

FORM_OPTIONS = ("schema", "choices", "pattern", "grammar")  # the options that ask for a form of the answer

_NEXT_STEP = (
    "Give a pydantic model, a dataclass, a TypedDict, another type that pydantic knows, or a JSON Schema as a dict."
)
_LONGEST_TOKEN = 16  # characters that a token of an answer has on average at most; real ones have three to five


_CUT_OFF = {
    "length": (
        "was cut off at its length limit",
        "Raise `max_tokens`, or bound texts and lists in the schema (maxLength, maxItems).",
    ),
    "repetition": (
        "was ended as a repetition",
        "Bound texts and lists in the schema (maxLength, maxItems), or use another model.",
    ),
}
"""What happened to an answer that is cut off, and what to do, by its finish reason."""


class _FormMismatch(Exception):
    """Text of another form; the arguments say what is wrong, each with its place."""


@dataclass(frozen=True, slots=True)
class OutputValidator:
    """Check the form of complete replies, and parse the beginning of unfinished ones."""

    output: ResponseFormat  # the form, as the backend gets it
    parse: Callable[[str], Any]  # returns the value of a text, or raises `_FormMismatch`

    def check_reply(self, reply: Reply) -> Reply:
        """Return the reply with `parsed`, or as it is when it asks for tools instead.

        Raises:
            OutputInvalid: It has another form.
        """
        if reply.tool_calls:
            return reply
        try:
            parsed = self.parse(reply.text)
            # What closes itself is whole even at the limit; a number, a text or a word may be cut.
            if reply.finish_reason in CUT_SHORT and not reply.text.rstrip().endswith(("}", "]")):
                raise _FormMismatch("the answer is cut off")
        except _FormMismatch as error:
            raise self._invalid(reply, error.args) from error.__cause__
        # Where the backend wraps it in JSON, the chosen text counts all the same.
        text = parsed if self.output.kind == "choices" else reply.text
        return reply.model_copy(update={"parsed": parsed, "text": text})

    def _invalid(self, reply: Reply, errors: tuple[str, ...]) -> OutputInvalid:
        if reply.finish_reason in _CUT_OFF:
            cause, next_step = _CUT_OFF[reply.finish_reason]
            message = f"The answer {cause} before it satisfied `{self.output.kind}`."
        else:
            shown = "; ".join(errors[:5]) + (f"; and {len(errors) - 5} more" if len(errors) > 5 else "")
            message = f"The answer does not satisfy `{self.output.kind}`: {shown}."
            next_step = "The answer is in the error's `reply`; `retries=` asks again with the faults shown."
        return OutputInvalid(message, next_step=next_step, reply=reply, errors=errors)

    def partial(self, text: str) -> Any:
        """Return what the start of an answer holds as plain data, or None."""
        if self.output.json_schema is None:
            return text or None
        try:
            value = from_json(text, allow_partial="trailing-strings")
        except ValueError:
            return None
        if not schemas.is_object(self.output.json_schema) and isinstance(value, dict):
            return value.get(schemas.KEY) if value.keys() <= {schemas.KEY} else value
        return value

    def correction(self, errors: Sequence[str]) -> str:
        """Return the message to a model whose answer had these errors."""
        wanted = ""
        if self.output.json_schema is not None:
            plain = json.dumps(self.output.json_schema, ensure_ascii=False, separators=(",", ":"))
            wanted = f" Answer with nothing but JSON that satisfies this JSON Schema: {plain}"
        elif self.output.choices:
            wanted = f" Answer with nothing but one of: {', '.join(self.output.choices)}"
        elif self.output.pattern:
            wanted = f" Answer with nothing but text that matches this regular expression: {self.output.pattern}"
        listing = "\n".join(f"- {error}" for error in errors[:20])
        return f"That answer is not what was asked for:\n{listing}\n{wanted.strip()}".strip()


def make_validator(options: Mapping[str, Any], max_tokens: object = None) -> OutputValidator | None:
    """Return the validator of the form that options ask for, or None.

    Raises:
        InvalidRequest: An option is wrong, or no answer within `max_tokens` can have the form.
    """
    if not options:
        return None
    if len(options) > 1:
        raise InvalidRequest(f"{' and '.join(options)}: only one of them can shape the answer.")
    ((kind, value),) = options.items()
    readers = {"schema": _read_schema, "choices": _read_choices, "pattern": _read_pattern, "grammar": _read_grammar}
    validator = readers[kind](value)
    least = 1
    if validator.output.json_schema is not None:
        least = schemas.min_text_length(validator.output.json_schema)
    elif validator.output.choices:
        least = min(map(len, validator.output.choices))
    if isinstance(max_tokens, int) and max_tokens * _LONGEST_TOKEN < least:
        raise InvalidRequest(
            f"max_tokens: {max_tokens} tokens cannot hold the shortest answer, which has {least} characters.",
            next_step=f"Raise it to {least // 2} or more.",
        )
    return validator


def _read_schema(value: Any) -> OutputValidator:
    if isinstance(value, Mapping):
        with schemas.schema_errors("schema", _NEXT_STEP):
            schemas.check_limits(value)
            schema = json.loads(json.dumps(dict(value), allow_nan=False))
            reader = _make_schema_reader(schema)
            return _json_validator(schemas.forbid_additional_properties(schema), schema.get("title"), reader)
    if isinstance(value, bool | str | int | float | bytes | list | tuple):
        raise InvalidRequest(f"schema: expected a type or a JSON Schema as a dict, not {type(value).__name__}.")
    with schemas.schema_errors("schema", _NEXT_STEP):
        adapter = value if isinstance(value, TypeAdapter) else TypeAdapter(value)
        schema = type_schemas.answer_schema(adapter)
        schemas.check_limits(schema)
        schema = schemas.forbid_additional_properties(schema)
    name = getattr(value, "__name__", None) if isinstance(value, type) else None
    return _json_validator(schema, name or schema.get("title"), _make_type_reader(adapter))


def _json_validator(schema: dict[str, Any], title: Any, reader: Callable[[str], Any]) -> OutputValidator:
    def read_wrapped(text: str) -> Any:
        value = _load_json(text)
        if not _is_wrapped(value):
            return reader(text)
        try:
            return reader(json.dumps(value[schemas.KEY]))
        except _FormMismatch as error:
            try:
                return reader(text)
            except _FormMismatch:
                raise error from error.__cause__

    name = re.sub(r"[^A-Za-z0-9_-]+", "_", str(title or "")).strip("_")[:64]
    output = ResponseFormat(kind="schema", json_schema=schema, name=name or "answer")
    return OutputValidator(output, reader if schemas.is_object(schema) else read_wrapped)


def _load_json(text: str) -> Any:
    """Return a JSON value; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_wrapped(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {schemas.KEY}


def _make_type_reader(adapter: TypeAdapter[Any]) -> Callable[[str], Any]:
    def reader(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            raise _FormMismatch(*schemas.list_errors(error)) from error

    return reader


def _make_schema_reader(schema: dict[str, Any]) -> Callable[[str], Any]:
    validator = Validator(schema)

    def reader(text: str) -> Any:
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
            raise _FormMismatch(f"invalid JSON{place}") from error
        if errors := validator.find_errors(value):
            raise _FormMismatch(*errors)
        return value

    return reader


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _read_choices(value: Any) -> OutputValidator:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise InvalidRequest(f"choices: expected a list of texts, not {type(value).__name__}.")
    if any(not isinstance(text, str) or text.strip() != text for text in value):
        raise InvalidRequest("choices: expected texts without white space at their ends.")
    if not value or len(set(value)) != len(value):
        raise InvalidRequest("choices: expected one or more texts, each once.")
    output = _make_format(kind="choices", choices=tuple(value))

    def reader(text: str) -> str:
        choice: Any = text.strip()
        if choice not in value:
            choice = _load_json(text)
            choice = choice[schemas.KEY] if _is_wrapped(choice) else choice
        if not isinstance(choice, str) or choice not in value:
            raise _FormMismatch("it is none of the choices")
        return choice

    return OutputValidator(output, reader)


def _read_pattern(value: Any) -> OutputValidator:
    output = _make_format(kind="pattern", pattern=value)
    matches = matcher(value)

    def reader(text: str) -> str:
        if not matches(text):
            raise _FormMismatch("it does not match the pattern")
        return text

    return OutputValidator(output, reader)


def _read_grammar(value: Any) -> OutputValidator:
    # Grammars have as many notations as engines: what keeps to one is only known to its engine.
    return OutputValidator(_make_format(kind="grammar", grammar=value), lambda text: text)


def _make_format(**fields: Any) -> ResponseFormat:
    # An empty pattern or grammar would be taken for none at all, further on.
    if "" in fields.values():
        raise InvalidRequest(f"{fields['kind']}: it is empty.", next_step="Leave it out, or write what to keep to.")
    try:
        return ResponseFormat(**fields)
    except ValidationError as error:
        raise InvalidRequest(schemas.describe_errors(error)) from error
