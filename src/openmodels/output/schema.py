"""JSON Schemas: closed for generation, checked for limits, and measured.

Everything here narrows: an answer that a schema made here accepts is one that the original accepts.
"""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from pydantic.errors import PydanticUserError

from openmodels.errors import InvalidRequest

Schema = dict[str, Any]

DEEPEST = 200  # values of a schema inside of each other at most
LARGEST = 200_000  # values that a schema holds at most, all lists and properties counted
COSTLIEST = 100_000  # schemas that one value is checked against at most, references followed

KEY = "answer"  # where a value that is no object lies when a vendor wants an object

_DEFINED = ("$defs", "definitions")
_MAPS = (*_DEFINED, "properties", "patternProperties", "dependentSchemas")
_SAME = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas")
"""The keywords whose schemas look at the same value."""
_INNER = ("properties", "patternProperties", "additionalProperties", "items", "prefixItems", "contains")
"""The keywords whose schemas look at a value in it."""
_TOGETHER = {"allOf", "if", "then", "else", "dependentSchemas", "$dynamicRef", "unevaluatedProperties", "not"}
_MAY_ADD = {"anyOf", "oneOf", "$ref"}
_STRICT = {
    *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf"),
    *("$ref", "$defs", "title", "description"),
}
"""What strict modes know. Azure's knows no lengths, limits or patterns, so they are not among them."""


def strip_titles(schema: Schema) -> Schema:
    """Take the titles out, which only repeat names: each costs tokens."""
    for node in walk_schemas(schema):
        if isinstance(node.get("title"), str):
            del node["title"]
    return schema


def forbid_additional_properties(schema: Mapping[str, Any]) -> Schema:
    """Return the schema with objects that take only the properties they list.

    A schema that composes objects (`allOf`, `if`, …) is left as it is: its parts only count together.
    """
    copied: Schema = json.loads(json.dumps(schema))
    reference = copied.get("$ref", "")
    if set(copied) <= {"$ref", "$defs"} and reference.startswith("#/$defs/"):
        # Vendors want the type at the root, also of a schema that refers to itself.
        copied = {**copied["$defs"][_unescaped(reference.removeprefix("#/$defs/"))], "$defs": copied["$defs"]}
    nodes = list(walk_schemas(copied))
    if any(_TOGETHER & node.keys() or ("properties" in node and _MAY_ADD & node.keys()) for node in nodes):
        return copied
    for node in nodes:
        if "properties" in node and not {"additionalProperties", "patternProperties"} & node.keys():
            node["additionalProperties"] = False
    return copied


def is_object(schema: Mapping[str, Any]) -> bool:
    """Return whether every answer is an object."""
    return schema.get("type") == "object"


def wrap_in_object(schema: Schema) -> Schema:
    """Return the schema of an object with the answer under `KEY`."""
    if is_object(schema):
        return schema
    inner = dict(schema)
    shared: Schema = {name: inner.pop(name) for name in ("$defs", "definitions") if name in inner}
    return _closed_object({KEY: inner}) | shared


def _closed_object(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def tool_calls_schema(parameters: Mapping[str, Mapping[str, Any]], key: str | None) -> Schema:
    """Return the schema of a call of one of some tools.

    Args:
        parameters: The schemas of the tools' arguments, by the tools' names.
        key: What the arguments are called beside "name"; None for the arguments alone, of the only tool.
    """
    shared: Schema = {}
    parts = []
    for name, original in parameters.items():
        schema: Schema = json.loads(json.dumps(original))
        definitions = {inner: part for word in _DEFINED for inner, part in schema.pop(word, {}).items()}
        _move_references([schema, definitions], name)
        shared |= {f"{name}.{inner}": part for inner, part in definitions.items()}
        parts.append(schema if key is None else _closed_object({"name": {"const": name}, key: schema}))
    schema = parts[0] if len(parts) == 1 else {"anyOf": parts}
    return {**schema, "$defs": shared} if shared else schema


def _move_references(value: Any, name: str) -> None:
    """Point references at where `tool_calls_schema` puts a tool's definitions."""
    if isinstance(value, dict):
        _, word, *rest = [*str(value.get("$ref", "")).split("/", 2), ""]
        if word in _DEFINED:
            value["$ref"] = f"#/$defs/{name}.{rest[0]}"
        value = list(value.values())
    for part in value if isinstance(value, list) else ():
        _move_references(part, name)


def is_strict(schema: Schema) -> bool:
    """Return whether vendors' strict modes take the schema as it is."""
    for node in walk_schemas(schema):
        if not node.keys() <= _STRICT or isinstance(node.get("type"), list):
            return False
        objects = node.get("type") == "object" or "properties" in node
        listed = node.get("properties", {})
        if objects and (node.get("additionalProperties") is not False or set(node.get("required", ())) != set(listed)):
            return False
    return is_object(schema)


def check_limits(schema: Any) -> int:
    """Check that a schema can be read, sent and checked in reasonable time.

    Returns:
        How many schemas one value is checked against at most.

    Raises:
        InvalidRequest: It is deeper, larger or costlier than a limit, which the message names.
    """
    count, level = 0, [schema]
    for _ in range(DEEPEST):
        nested = (list(part.values()) if isinstance(part, Mapping) else part for part in level)
        level = [part for parts in nested if isinstance(parts, list | tuple) for part in parts if part is not None]
        count += len(level)
        if count > LARGEST:
            raise InvalidRequest(f"schema: it holds more than {LARGEST:,} values, which is the limit.")
        if not level:
            break
    if level:
        raise InvalidRequest(f"schema: it is more than {DEEPEST} values deep, which is the limit.")
    cost = _Cost(schema, cycle=1).of(schema)
    if cost > COSTLIEST:
        raise InvalidRequest(
            f"schema: its references make one value be checked against {cost:,} schemas; the limit is {COSTLIEST:,}.",
            next_step="Write alternatives that differ, and refer to each once.",
        )
    return cost


class _Measure(ABC):
    """A number for each schema in a root; a reference to itself counts as `cycle`."""

    def __init__(self, root: Any, cycle: int) -> None:
        self._root, self._cycle = root, cycle
        self._known: dict[str, int] = {}

    @abstractmethod
    def of(self, schema: Any) -> int:
        """Return the number for a schema."""

    def of_reference(self, schema: Mapping[str, Any]) -> int:
        """Return the number for what a schema refers to; 0 for none."""
        if not isinstance(reference := schema.get("$ref"), str):
            return 0
        if reference not in self._known:
            self._known[reference] = self._cycle
            self._known[reference] = self.of(_resolve(self._root, reference))
        return self._known[reference]


class _Cost(_Measure):
    """Counts the schemas that one value is checked against."""

    def of(self, schema: Any) -> int:
        if not isinstance(schema, Mapping):
            return 1
        # Its own keywords all look at the same value; of the values in it, the costliest counts.
        same = sum(map(self.of, _subschemas(schema, _SAME)))
        inner = max(map(self.of, _subschemas(schema, _INNER)), default=0)
        return 1 + same + inner + self.of_reference(schema)


def min_text_length(schema: Any) -> int:
    """Return the least number of characters of an answer without spaces."""
    return _MinLength(schema, cycle=0).of(schema)


class _MinLength(_Measure):
    """Computes the lengths of smallest answers."""

    def of(self, schema: Any) -> int:
        if not isinstance(schema, Mapping):
            return 0
        least = max(1, self.of_reference(schema))
        for name, fold in (("anyOf", min), ("oneOf", min), ("allOf", max)):
            if parts := schema.get(name):
                least = max(least, fold(map(self.of, parts)))
        if values := [schema["const"]] if "const" in schema else schema.get("enum"):
            least = max(least, min(map(_size, values)))
        return max(least, self._of_type(schema))

    def _of_type(self, schema: Mapping[str, Any]) -> int:
        match schema.get("type"):
            case "object":
                listed, needed = schema.get("properties", {}), schema.get("required", ())
                sizes = [_size(name) + 1 + self.of(listed.get(name)) for name in needed]
                return 2 + sum(sizes) + max(0, len(sizes) - 1)
            case "array":
                count: int = schema.get("minItems", 0)
                return 2 + count * self.of(schema.get("items")) + max(0, count - 1)
            case "string":
                return 2 + int(schema.get("minLength", 0))
            case "boolean" | "null":
                return 4
            case _:
                return 1


def walk_schemas(schema: Any) -> Iterator[Schema]:
    """Yield a schema and every schema in it."""
    if isinstance(schema, dict):
        yield schema
        for part in _subschemas(schema, {*_MAPS, *_SAME, *_INNER, "propertyNames"}):
            yield from walk_schemas(part)


def _subschemas(schema: Mapping[str, Any], keywords: Iterable[str]) -> Iterator[Any]:
    for name in keywords:
        value = schema.get(name)
        if name in _MAPS:
            yield from value.values() if isinstance(value, Mapping) else ()
        elif value is not None:
            yield from value if isinstance(value, list) else [value]


def _resolve(root: Mapping[str, Any], reference: str) -> Any:
    if reference != "#" and not reference.startswith("#/"):
        return None
    target: Any = root
    for part in reference.split("/")[1:]:
        target = target.get(_unescaped(part)) if isinstance(target, Mapping) else None
    return target


def _unescaped(part: str) -> str:
    return part.replace("~1", "/").replace("~0", "~")


def _size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


_PLAIN_WORDS = (
    (re.compile(r"^(Value|Tuple|Dictionary) should have at least 1 item after validation, not 0$"), "it is empty"),
    (re.compile(r"^(Value|Tuple|Dictionary) should have (at \w+ \d+) items? after validation.*$"), r"it takes \2"),
    (re.compile(r"^Input tag (.+) found using '(\w+)' does not match any .* tags: "), r"\2: \1 is none of "),
    (re.compile(r"^Unable to extract tag using discriminator '(\w+)'$"), r"\1: Field required"),
)
"""What pydantic says of its own types and steps, and the same for a caller."""


def describe_error(path: Sequence[int | str], message: str) -> str:
    """Return a validator's error with its place."""
    names = [part for part in path if part != "[key]"]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in names).lstrip(".")
    text = message.removeprefix("Value error, ").rstrip(".")
    for pattern, words in _PLAIN_WORDS:
        text = pattern.sub(words, text)
    if len(names) < len(path):
        text = f"as a key, {text[:1].lower()}{text[1:]}"
    return f"{place}: {text}" if place else text


def describe_errors(error: ValidationError) -> str:
    """Return pydantic's errors as a sentence, without the input."""
    return "; ".join(list_errors(error)) + "."


def list_errors(error: ValidationError) -> tuple[str, ...]:
    """Return pydantic's errors, each once with its place, without the input."""
    items = error.errors(include_url=False, include_input=False, include_context=False)
    # A list whose items are wrong has too few only for that.
    parents = {item["loc"][:-1] for item in items}
    items = [item for item in items if item["type"] != "too_short" or item["loc"] not in parents]
    return tuple(dict.fromkeys(describe_error(item["loc"], item["msg"]) for item in items))


@contextmanager
def schema_errors(subject: str, next_step: str) -> Iterator[None]:
    """Raise what reading a schema raises as `InvalidRequest` about a subject."""
    try:
        yield
    except InvalidRequest:
        raise
    except (PydanticUserError, TypeError, ValueError, RecursionError, KeyError, NameError, AttributeError) as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise InvalidRequest(f"{subject}: {reason}.", next_step=next_step) from error
