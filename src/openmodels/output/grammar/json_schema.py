"""Grammars of the JSON that a schema accepts, written without white space."""

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, permutations
from typing import Any

import jsonschema_rs

from openmodels.errors import InvalidRequest
from openmodels.output.grammar import formats, json_text, numbers, regex
from openmodels.output.grammar.expression import (
    ANY,
    NEVER,
    And,
    Chars,
    Expression,
    Repeat,
    Rule,
    Seq,
    any_text_except,
    lengths,
    repeat,
    sequence,
    size,
    text,
    transform,
    union,
)
from openmodels.output.grammar.merge import Flat, Merger, Schema, unsupported

_LARGEST = 500_000  # characters of a grammar with its repetitions written out, at most
_MOST_VALUES = 20_000  # values of an `enum` at most
_DEEPEST = 100  # schemas inside of each other at most
_INLINE = 60  # characters of an expression up to which it is repeated in place of a rule of its own
_MOST_ORDERS = 2_000  # orders of different items that are listed at most
_TYPES = ("object", "array", "string", "number", "boolean", "null")
_KEYWORDS = {
    "object": (
        *("properties", "required", "additionalProperties", "patternProperties", "propertyNames"),
        *("minProperties", "maxProperties", "dependentRequired", "dependentSchemas", "unevaluatedProperties"),
    ),
    "array": ("items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains", "unevaluatedItems"),
    "string": ("$patterns", "format", "minLength", "maxLength", "contentMediaType"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


@dataclass(frozen=True, slots=True)
class Grammar:
    """A start and the rules that it refers to, by name."""

    start: Expression
    rules: Mapping[str, Expression]


def from_schema(schema: Mapping[str, Any]) -> Grammar:
    """Return the grammar of the answers that a schema accepts.

    It may be narrower than the schema (objects take no properties that are not listed, formats are those that every
    reader accepts), never wider.

    Raises:
        UnsupportedFeature: A keyword has no grammar; the message names it.
        InvalidRequest: No answer satisfies the schema, or it is larger than a limit that the message names.
    """
    translator = _Translator(schema)
    start = translator.translate(schema)
    if start == NEVER:
        raise InvalidRequest("schema: no answer satisfies it.")
    total = size(start) + sum(map(size, translator.rules.values()))
    if total > _LARGEST:
        raise InvalidRequest(
            f"schema: its grammar has {total:,} characters with repetitions written out; the limit is {_LARGEST:,}.",
            next_step="Lower minItems, minLength, maxItems or maxLength, or split the schema.",
        )
    return Grammar(start, translator.rules)


class _Translator:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.rules: dict[str, Expression] = {}
        self._merger = Merger(root)
        self._names: dict[str, str] = {}
        self._used: set[str] = set()
        self._known: dict[str, Expression] = {}
        self._depth = 0

    def translate(self, schema: Any) -> Expression:
        return self._translate_flat(self._merger.flatten(schema))

    def _translate_flat(self, flat: Flat) -> Expression:
        if flat is False:
            return NEVER
        flat = {} if flat is True else flat
        key = json.dumps(flat, sort_keys=True)
        if key in self._known:
            return self._known[key]
        if key in self._names:  # it is being translated: a value that holds values of its own kind
            self._used.add(key)
            return Rule(self._names[key])
        self._depth += 1
        if self._depth > _DEEPEST:
            raise InvalidRequest(f"schema: it is more than {_DEEPEST} schemas deep, which is the limit.")
        self._names[key] = name = f"r{len(self._names)}"
        expression = self._translate_keywords(flat)
        self._depth -= 1
        if key in self._used or (size(expression) > _INLINE and expression != NEVER):
            self.rules[name] = expression
            expression = Rule(name)
        self._known[key] = expression
        return expression

    def _translate_keywords(self, flat: Schema) -> Expression:
        if "enum" in flat:
            return self._enum_values(flat)
        if "if" in flat:
            return self._conditional(flat)
        for word in ("$anyOf", "$oneOf"):
            if groups := flat.get(word):
                rest = {key: value for key, value in flat.items() if key != word}
                if groups[1:]:
                    rest[word] = groups[1:]
                branches = [self._merger.flatten(part) for part in groups[0]]
                pairs = combinations(branches, 2)
                if word == "$oneOf" and not all(self._merger.are_disjoint(*pair) for pair in pairs):
                    raise unsupported("oneOf", "a value may satisfy two of its branches, and that has no grammar")
                return union(self._translate_flat(self._merger.merge(rest, branch)) for branch in branches)
        words, excluded = self._excluded(flat)
        kinds = [kind for kind in self._kinds(flat) if kind not in excluded]
        if words and kinds not in ([], ["string"]):
            raise unsupported("not", "of other values than texts it has no grammar")
        return union([self._translate_kind(kind, flat, words) for kind in kinds])

    def _kinds(self, flat: Schema) -> list[str]:
        wanted = flat.get("type")
        if wanted is None:
            # Keywords say which kind of value is meant where `type` is missing.
            return [kind for kind, keys in _KEYWORDS.items() if flat.keys() & {*keys}] or list(_TYPES)
        wanted = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
        return [kind for kind in wanted if kind != "integer" or "number" not in wanted]

    def _translate_kind(self, kind: str, flat: Schema, words: list[str]) -> Expression:
        match kind:
            case "object":
                return self._object(flat)
            case "array":
                return self._array(flat)
            case "string":
                return json_text.build_string(self._string_content(flat, words))
            case "integer" | "number":
                return _numbers(flat, is_whole=kind == "integer")
            case "boolean":
                return union([text("true"), text("false")])
        return text("null")

    def _enum_values(self, flat: Schema) -> Expression:
        """Return the listed values that satisfy everything else, too."""
        values = flat["enum"]
        if len(values) > _MOST_VALUES:
            raise InvalidRequest(f"schema: enum: it lists {len(values):,} values; the limit is {_MOST_VALUES:,}.")
        rest = {key: value for key, value in flat.items() if key != "enum"}
        return union(json_text.build_value(value) for value in values if self._merger.is_valid(rest, value))

    def _conditional(self, flat: Schema) -> Expression:
        """Return the values of `if` on listed values of a property, `then` and `else`."""
        rest = {key: value for key, value in flat.items() if key not in ("if", "then", "else")}
        condition = flat["if"] if isinstance(flat["if"], dict) else {}
        tested = condition.get("properties", {})
        if len(tested) != 1 or not condition.keys() <= {"properties", "required", "type"}:
            raise unsupported("if", "only a condition on the listed values of one property has a grammar")
        ((name, schema),) = tested.items()
        wanted = self._merger.flatten(schema)
        listed = self._merger.flatten(rest.get("properties", {}).get(name, True))
        if not isinstance(listed, dict) or ("enum" not in listed and listed.get("type") != "boolean"):
            raise unsupported("if", f"the property {name!r} lists no values to tell the cases apart")
        values = listed.get("enum", [True, False])
        branches = []
        for word, meets in (("then", True), ("else", False)):
            chosen = [value for value in values if self._merger.is_valid(wanted, value) == meets]
            if chosen:
                fixed = {"properties": {name: {"enum": chosen}}, "required": [name]}
                merged = self._merger.merge(rest, self._merger.flatten({"allOf": [fixed, flat.get(word, True)]}))
                branches.append(self._translate_flat(merged))
        return union(branches)

    def _excluded(self, flat: Schema) -> tuple[list[str], set[str]]:
        """Return the texts and the kinds that `not` excludes."""
        words: list[str] = []
        kinds: set[str] = set()
        for part in flat.get("$not", ()):
            inner = self._merger.flatten(part)
            if inner is False:
                continue
            if isinstance(inner, dict) and inner.keys() == {"enum"}:
                if any(not isinstance(value, str) for value in inner["enum"]):
                    raise unsupported("not", "of other values than texts it has no grammar")
                words += inner["enum"]
            elif isinstance(inner, dict) and inner.keys() == {"type"} and "integer" not in inner["type"]:
                kinds |= {inner["type"]} if isinstance(inner["type"], str) else {*inner["type"]}
                kinds |= {"integer"} if "number" in kinds else set()
            else:
                raise unsupported("not", "only listed texts and types can be excluded")
        return words, kinds

    def _string_content(self, flat: Schema, words: list[str]) -> Expression:
        """Return the texts of a string, without quotes."""
        parts = [(_pattern(pattern), "pattern") for pattern in flat.get("$patterns", ())]
        kind = flat.get("format")
        if isinstance(kind, str) and kind in formats.PATTERNS:
            parts.append((regex.fullmatch(formats.PATTERNS[kind]), f"format {kind!r}"))
        if flat.get("contentMediaType") == "application/json":
            schema = flat.get("contentSchema") or {"type": ["number", "boolean", "null"]}
            parts.append((self._inline(self.translate(schema), ()), "contentSchema"))
        if words:
            parts.append((any_text_except(words), "not"))
        least, most = _count(flat, "minLength", 0), _count(flat, "maxLength", None)
        length = repeat(ANY, least, most)
        return _with_length(parts, least, most) if parts and length != NEVER else length

    def _inline(self, expression: Expression, above: tuple[str, ...]) -> Expression:
        """Return an expression with what its rules stand for in their places."""

        def replace(leaf: Chars | Rule) -> Expression:
            if isinstance(leaf, Chars):
                return leaf
            if leaf.name in above or leaf.name not in self.rules:
                raise unsupported("contentSchema", "of values that hold values of their own kind has no grammar")
            return self._inline(self.rules[leaf.name], (*above, leaf.name))

        return transform(expression, replace)

    def _array(self, flat: Schema) -> Expression:
        first = flat.get("prefixItems", [])
        items = flat.get("items", flat.get("unevaluatedItems", True))
        least, most = _count(flat, "minItems", 0), _count(flat, "maxItems", None)
        if first and "items" not in flat:
            items = False  # as objects that list their properties take no others
        if most is not None and most < least:
            return NEVER
        if flat.get("uniqueItems") and (most is None or most > 1):
            return self._unique_items(first, items, least, most)
        if "contains" in flat:
            return self._containing(flat, first, items, least, most)
        heads = [self.translate(part) for part in (first if most is None else first[:most])]
        item = NEVER if most is not None and most <= len(heads) else self.translate(items)
        return json_text.build_array(heads, item, least, most)

    def _containing(self, flat: Schema, first: list[Any], items: Any, least: int, most: int | None) -> Expression:
        wanted = flat.get("minContains", 1)
        if wanted == 0 and "maxContains" not in flat:
            rest = {key: value for key, value in flat.items() if key not in ("contains", "minContains")}
            return self._array(rest)
        if first or wanted != 1 or "maxContains" in flat or most is not None or least > 1:
            raise unsupported("contains", "together with prefixItems, minItems, maxItems or a count it has no grammar")
        item, match = self.translate(items), self.translate({"allOf": [items, flat["contains"]]})
        many = repeat(sequence([item, text(",")]), 0, None)
        return sequence([text("["), many, match, repeat(sequence([text(","), item]), 0, None), text("]")])

    def _unique_items(self, first: list[Any], items: Any, least: int, most: int | None) -> Expression:
        """Return lists of different items, of which there must be few."""
        flat = self._merger.flatten(items)
        values: list[Any] | None = None
        if isinstance(flat, dict):
            values = flat.get("enum") or ([True, False] if flat.get("type") == "boolean" else None)
        if first or values is None:
            raise unsupported("uniqueItems", "only lists of a few listed values (enum) can be kept free of repetition")
        texts = list(dict.fromkeys(json_text.write(value) for value in values if self._merger.is_valid(flat, value)))
        longest = len(texts) if most is None else min(most, len(texts))
        orders = sum(math.perm(len(texts), count) for count in range(least, longest + 1))
        if orders > _MOST_ORDERS:
            raise unsupported(
                "uniqueItems", f"there are {orders:,} such lists, and at most {_MOST_ORDERS:,} are written out"
            )
        lists = [chosen for count in range(least, longest + 1) for chosen in permutations(texts, count)]
        return union(text("[" + ",".join(chosen) + "]") for chosen in lists)

    def _object(self, flat: Schema) -> Expression:
        is_map = not any(flat.get(word) for word in ("properties", "patternProperties", "required"))
        flat = self._with_dependencies(flat)
        patterns: Schema = flat.get("patternProperties", {})
        required = dict.fromkeys(flat.get("required", ()))
        more = flat.get("additionalProperties", flat.get("unevaluatedProperties", is_map))
        listed = _named_properties(flat, required, more)
        names = self._merger.flatten(flat.get("propertyNames", True))
        if isinstance(names, dict) and "enum" in names:
            # Names that are listed are properties, each at most once.
            named = {name: _unlisted_schema(patterns, name, more) for name in names["enum"] if isinstance(name, str)}
            listed, more, patterns = {**named, **listed}, False, {}
        members = []
        for name, schema in listed.items():
            written = self.translate(schema) if self._merger.is_valid(names, name) else NEVER
            if written != NEVER:
                members.append(json_text.build_member(name, written, is_needed=name in required))
            elif name in required:
                return NEVER
        others = self._additional(patterns, more, names, [*listed])
        return json_text.build_object(
            members, others, _count(flat, "minProperties", 0), _count(flat, "maxProperties", None)
        )

    def _with_dependencies(self, flat: Schema) -> Schema:
        """Return an object's schema with all demands of its properties unconditional.

        That is narrower, which is safe: each value it allows satisfies the schema.
        """
        required = dict.fromkeys(flat.get("required", ()))
        listed = flat.get("properties", {})
        begun: set[str] = set()
        needed: dict[str, list[str]] = flat.get("dependentRequired", {})
        schemas: Schema = flat.get("dependentSchemas", {})
        while todo := [name for name in needed if name not in begun and (name in listed or name in required)]:
            begun.update(todo)
            required |= dict.fromkeys(other for name in todo for other in needed[name])
        known = {**listed, **required}
        plain: Schema = {key: value for key, value in flat.items() if not key.startswith("dependent")}
        if begun:
            plain["required"] = list(required)
        # A free name has no place for what it would demand.
        if free := [name for name in (*needed, *schemas) if name not in known]:
            plain["properties"] = {**listed, **dict.fromkeys(free, False)}
        merged: Flat = plain
        for name, schema in schemas.items():
            if name in known:
                merged = self._merger.merge(merged, self._merger.flatten(schema))
        if not isinstance(merged, dict) or any(word in merged for word in ("$anyOf", "$oneOf", "if", "enum")):
            raise unsupported("dependentSchemas", "with a choice in it it has no grammar")
        return merged

    def _additional(self, patterns: Schema, more: Any, names: Flat, listed: list[str]) -> Expression:
        """Return the name, the colon and the value of a property that is not listed."""
        if len(patterns) > 1:
            raise unsupported("patternProperties", "several patterns of names have no grammar")
        pattern, schema = next(iter(patterns.items()), (None, more))
        written = self.translate(schema)
        if written == NEVER or names is False:
            return NEVER
        rules: Schema = dict(names) if isinstance(names, dict) else {}
        words, _ = self._excluded(rules)
        if pattern is not None:
            rules["$patterns"] = [*rules.get("$patterns", ()), pattern]
        clashes = [name for name in listed if pattern is None or _matches(pattern, name)]
        name = json_text.build_string(self._string_content(rules, [*clashes, *words]))
        return sequence([name, text(":"), written])


def _limit(flat: Schema, closed: str, exclusive: str, tightest: Callable[[Iterable[Decimal]], Decimal]) -> Any:
    """Return a limit of numbers, or None, and whether it is itself left out."""
    bounds = {name: Decimal(str(flat[name])) for name in (closed, exclusive) if flat.get(name) is not None}
    if not bounds:
        return None, False
    bound = tightest(bounds.values())
    return bound, bounds.get(exclusive) == bound


def _numbers(flat: Schema, *, is_whole: bool) -> Expression:
    low, above = _limit(flat, "minimum", "exclusiveMinimum", max)
    high, below = _limit(flat, "maximum", "exclusiveMaximum", min)
    by = flat.get("multipleOf")
    step = None if by is None else Decimal(str(by))
    try:
        if not is_whole:
            return numbers.build_decimal(low, high, above=above, below=below, step=step)
        least = None if low is None else math.floor(low) + 1 if above else math.ceil(low)
        most = None if high is None else math.ceil(high) - 1 if below else math.floor(high)
        if least is not None and most is not None and least > most:
            return NEVER
        # The smallest whole number that the step divides.
        return numbers.build_integer(least, most, 1 if step is None else step.as_integer_ratio()[0])
    except numbers.NumberRefused as error:
        raise unsupported("multipleOf" if step is not None else "minimum or maximum", str(error)) from error


def _count(flat: Schema, keyword: str, usual: Any) -> Any:
    value = flat.get(keyword, usual)
    return int(value) if isinstance(value, float) else value


def _matches(pattern: str, name: str) -> bool:
    return jsonschema_rs.validator_for({"pattern": pattern}, offline=True).is_valid(name)


def _named_properties(flat: Schema, required: Iterable[str], more: Any) -> Schema:
    """Return the schemas of named properties, also of those that are only required."""
    patterns: Schema = flat.get("patternProperties", {})
    listed = {
        name: {"allOf": [schema, *_matching_schemas(patterns, name)]} if patterns else schema
        for name, schema in flat.get("properties", {}).items()
    }
    free = more if "additionalProperties" in flat else True
    return listed | {name: _unlisted_schema(patterns, name, free) for name in required if name not in listed}


def _matching_schemas(patterns: Schema, name: str) -> list[Any]:
    return [schema for pattern, schema in patterns.items() if _matches(pattern, name)]


def _unlisted_schema(patterns: Schema, name: str, more: Any) -> Any:
    """Return the schema of a property that is not listed."""
    schemas = _matching_schemas(patterns, name)
    return {"allOf": schemas} if schemas else more


def _pattern(pattern: str) -> Expression:
    try:
        return regex.search(pattern)
    except regex.PatternRefused as error:
        raise unsupported(f"pattern {pattern!r}"[:200], str(error)) from error


def _conjunction(parts: list[tuple[Expression, str]]) -> Expression:
    """Return the texts that all expressions match, each given with its keyword."""
    flat = [inner for part, _ in parts for inner in (part.parts if isinstance(part, And) else (part,))]
    unique = tuple(dict.fromkeys(flat))
    return unique[0] if len(unique) == 1 else And(unique, " with ".join(dict.fromkeys(word for _, word in parts)))


def _with_length(parts: list[tuple[Expression, str]], least: int, most: int | None) -> Expression:
    """Return the texts of a length that all expressions match."""
    conjunction = _conjunction(parts)
    shortest, longest = lengths(conjunction)
    allowed = math.inf if most is None else most
    if shortest >= least and longest <= allowed:
        return conjunction
    if shortest > allowed or longest < least:
        return NEVER
    return _bounded(conjunction, least, allowed) or _conjunction(
        [*parts, (repeat(ANY, least, most), "minLength or maxLength")]
    )


def _bounded(expression: Expression, least: int, most: float) -> Expression | None:
    """Return an expression with its only repetition bounded, or None for others."""
    parts: list[Expression] = [*expression.parts] if isinstance(expression, Seq) else [expression]
    sizes = [lengths(part) for part in parts]
    loose = [place for place, (low, high) in enumerate(sizes) if low != high]
    if len(loose) != 1:
        return None
    part = parts[place := loose[0]]
    if not isinstance(part, Repeat) or not isinstance(part.inner, Chars):
        return None
    fixed = sum(low for low, _ in sizes) - sizes[place][0]
    low, high = max(part.least, least - fixed), min(sizes[place][1], most - fixed)
    parts[place] = repeat(part.inner, low, None if high == math.inf else int(high))
    return sequence(parts)
