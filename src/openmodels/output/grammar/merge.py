"""One flat JSON Schema in place of several that an answer must all satisfy."""

import json
import math
import operator
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from jsonschema_rs import CanonicalSchema, Validator, canonicalize, validator_for
from jsonschema_rs.canonical import CanonicalizationError, Satisfiability

from openmodels.errors import InvalidRequest, UnsupportedFeature

Schema = dict[str, Any]
Flat = Schema | bool  # a schema in the form that `Merger.flatten` gives it

_NOTES = frozenset(
    {"title", "description", "default", "examples", "example", "$schema", "$id", "id", "$comment", "$anchor"}
    | {"deprecated", "readOnly", "writeOnly", "$defs", "definitions", "contentEncoding", "discriminator"}
)
_DEEPEST = 60
_DEEPEST_COMPARED = 4
_LISTED = {"anyOf": "$anyOf", "oneOf": "$oneOf", "not": "$not", "pattern": "$patterns"}
"""Keywords that can repeat, and those that list them in a flat schema."""


class SchemaRefused(UnsupportedFeature):
    """A keyword that has no grammar."""


def unsupported(keyword: str, why: str) -> SchemaRefused:
    """Return the error for a keyword of a schema."""
    return SchemaRefused(
        f"schema: {keyword}: {why}.",
        next_step="Write the schema without it, or choose an engine or a server that keeps to it.",
    )


def resolve(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference within a schema points to."""
    if reference != "#" and not reference.startswith("#/"):
        raise unsupported("$ref", "it points out of the schema, and addresses are not fetched")
    place: Any = root
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and name in place:
            place = place[name]
        elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
            place = place[int(name)]
        else:
            raise InvalidRequest(f"schema: {reference!r} points to nothing in the schema.")
    return place


class Merger:
    """Merges parts of a schema: no references, no `allOf`, lists under own keywords.

    `jsonschema_rs.canonicalize` would sort the properties of objects, and models answer in the order of the schema.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._validators: dict[str, Validator] = {}
        self._canonicals: dict[str, CanonicalSchema] = {}

    def flatten(self, schema: Any, above: tuple[str, ...] = ()) -> Flat:
        """Return one schema of the keywords of a schema, its references and its `allOf`.

        Keywords that can repeat become lists, as `_LISTED` names them.

        Raises:
            UnsupportedFeature: Its parts have no common form.
            InvalidRequest: A reference points to nothing, or in a circle.
        """
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, Mapping):
            raise InvalidRequest(f"schema: expected a schema, not {type(schema).__name__}.")
        if len(above) > _DEEPEST:
            raise InvalidRequest(f"schema: more than {_DEEPEST} references lead to one another.")
        flat: Schema = {key: value for key, value in schema.items() if key not in _NOTES}
        others = []
        if (reference := flat.pop("$ref", None)) is not None:
            if reference in above:
                raise InvalidRequest(f"schema: the reference {reference!r} leads back to itself.")
            others.append(self.flatten(resolve(self._root, reference), (*above, reference)))
        _upgrade_keywords(flat)
        others += [self.flatten(part, (*above, "allOf")) for part in flat.pop("allOf", ())]
        merged: Flat = flat
        for other in others:
            merged = self.merge(merged, _close_unevaluated(other))
        return merged

    def merge(self, left: Flat, right: Flat) -> Flat:
        """Return the schema of what two flat schemas both allow."""
        if isinstance(left, bool):
            return left and right
        if isinstance(right, bool) or left == right:
            return right and left
        merged = {**left, **right}
        for key in left.keys() & right.keys():
            if key not in _OBJECTS and _key(left[key]) != _key(right[key]):
                merged[key] = _merge_keyword(key, left[key], right[key])
        if "type" in merged and not merged["type"]:
            return False
        return merged | _merge_objects(left, right) | _merge_arrays(left, right)

    def is_valid(self, flat: Flat, value: Any) -> bool:
        """Return whether a value satisfies a flat schema."""
        key = _key(flat)
        if key not in self._validators:
            self._validators[key] = validator_for(self._to_json_schema(flat), offline=True, validate_formats=True)
        return self._validators[key].is_valid(value)

    def _to_json_schema(self, flat: Flat) -> Flat:
        """Return a flat schema in keywords that validators know, with what it refers to."""
        if isinstance(flat, bool):
            return flat
        plain = {key: value for key, value in flat.items() if not key.startswith("$")}
        parts = [{word: part} for word, listed in _LISTED.items() for part in flat.get(listed, ())]
        shared = {key: self._root[key] for key in ("$defs", "definitions") if key in self._root and _refers(flat)}
        return {**plain, **({"allOf": parts} if parts else {}), **shared}

    def are_disjoint(self, left: Flat, right: Flat, depth: int = 0) -> bool:
        """Return whether visibly no value satisfies two flat schemas."""
        if self._admits_nothing(left, right):
            return True
        if not (isinstance(left, dict) and isinstance(right, dict)) or depth > _DEEPEST_COMPARED:
            return False
        # Behind references: a property that tells objects apart may hold one.
        listed, others = left.get("properties", {}), right.get("properties", {})
        needed = {*left.get("required", ())} & {*right.get("required", ())} & listed.keys() & others.keys()
        return any(
            self._admits_nothing(left, right, {"properties": {name: False}})
            for name in needed
            if self.are_disjoint(self.flatten(listed[name]), self.flatten(others[name]), depth + 1)
        )

    def _admits_nothing(self, *parts: Flat) -> bool:
        """Return whether it can be shown that no value satisfies all flat schemas."""
        try:
            common = reduce(CanonicalSchema.intersect, map(self._canonical, parts))
        except CanonicalizationError:
            return False
        return common.satisfiability() == Satisfiability.NO

    def _canonical(self, flat: Flat) -> CanonicalSchema:
        key = _key(flat)
        if key not in self._canonicals:
            # Canonical schemas do not look behind references, and carrying their targets along takes the most time:
            # a `oneOf` of 120 objects that refer to each other took 4.6 s, and takes 0.2 s.
            plain = self._to_json_schema(_without_references(flat))
            self._canonicals[key] = canonicalize(plain, offline=True, validate_formats=True)
        return self._canonicals[key]


def _refers(schema: Any) -> bool:
    return '"$ref"' in _key(schema)


def _without_references(flat: Flat) -> Flat:
    """Return a schema without references that is at least as wide as a flat one."""
    if isinstance(flat, bool):
        return flat
    dropped = {key for key, value in flat.items() if _refers(value)} - {"properties"}
    if dropped:  # these depend on what stands beside them
        dropped |= {"additionalProperties", "unevaluatedProperties", "items", "unevaluatedItems"}
    wider = {key: value for key, value in flat.items() if key not in dropped}
    if "properties" in flat:
        wider["properties"] = {name: True if _refers(part) else part for name, part in flat["properties"].items()}
    return wider


def _merge_keyword(key: str, left: Any, right: Any) -> Any:
    """Return the value of a keyword that says what two values of it say together."""
    if key in _CANNOT or (key == "multipleOf" and not (isinstance(left, int) and isinstance(right, int))):
        raise unsupported(key, "two that differ have no common form")
    if key in _SCHEMAS:
        return {"allOf": [left, right]}
    return _TOGETHER[key](left, right) if key in _TOGETHER else right


def _merge_objects(left: Schema, right: Schema) -> Schema:
    """Return the keywords of objects; unlisted properties are additional ones."""
    sides = [part for part in (left, right) if part.keys() & _OBJECTS]
    if len(sides) < 2:
        return {}
    more = [part["additionalProperties"] for part in sides if "additionalProperties" in part]
    patterns = [part["patternProperties"] for part in sides if "patternProperties" in part]
    if patterns and any(schema is not True for schema in more):
        raise unsupported("patternProperties", "together with additionalProperties of another part it has no grammar")
    merged: Schema = {}
    listed = [part.get("properties", {}) for part in sides]
    if names := listed[0] | listed[1]:
        free = [part.get("additionalProperties", True) for part in sides]
        merged["properties"] = {
            name: _all_of([known.get(name, other) for known, other in zip(listed, free, strict=True)]) for name in names
        }
    if more:
        merged["additionalProperties"] = False if False in more else _all_of(more)
    if patterns:
        merged["patternProperties"] = {
            key: {"allOf": [part[key] for part in patterns if key in part]}
            for key in dict.fromkeys(key for part in patterns for key in part)
        }
    return merged


_OBJECTS = {"properties", "additionalProperties", "patternProperties"}


def _close_unevaluated(part: Flat) -> Flat:
    """Return a part with its unevaluated properties as additional ones."""
    if not isinstance(part, dict) or part.keys() & {"$anyOf", "$oneOf", "if"}:
        return part
    closed = dict(part)
    for word, plain in (("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")):
        if word in closed:
            closed.setdefault(plain, closed.pop(word))
    return closed


def _merge_arrays(left: Schema, right: Schema) -> Schema:
    """Return the first items of arrays; for others a schema has `items`."""
    sides = [(part.get("prefixItems", []), part.get("items", True)) for part in (left, right)]
    first = [
        _all_of([listed[place] if place < len(listed) else more for listed, more in sides])
        for place in range(max(len(listed) for listed, _ in sides))
    ]
    return {"prefixItems": first} if first else {}


def _all_of(schemas: list[Any]) -> Any:
    return schemas[0] if len({_key(schema) for schema in schemas}) == 1 else {"allOf": schemas}


def _upgrade_keywords(schema: Schema) -> None:
    """Write keywords as the newest draft does, and those that can repeat as lists."""
    for keyword in ("$dynamicRef", "$recursiveRef"):
        if keyword in schema:
            raise unsupported(keyword, "references of this kind have no grammar")
    for word, listed in _LISTED.items():
        if word in schema:
            schema[listed] = [schema.pop(word)]
    if "const" in schema:
        value = schema.pop("const")
        schema["enum"] = _common_values([value], schema.get("enum", [value]))
    _upgrade_limits(schema)
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        schema["items"] = schema.pop("additionalItems", True)
    schema.pop("additionalItems", None)
    for name, needed in schema.pop("dependencies", {}).items():
        word = "dependentRequired" if isinstance(needed, list) else "dependentSchemas"
        schema[word] = {**schema.get(word, {}), name: needed}


def _upgrade_limits(schema: Schema) -> None:
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(flag := schema.get(exclusive), bool):
            del schema[exclusive]
            if flag and bound in schema:
                schema[exclusive] = schema.pop(bound)


def _common_types(left: Any, right: Any) -> list[str]:
    first, second = ([kind] if isinstance(kind, str) else list(kind) for kind in (left, right))
    return [
        kind
        for kind in dict.fromkeys([*first, *second])
        if all(kind in kinds or (kind == "integer" and "number" in kinds) for kinds in (first, second))
    ]


def _common_values(left: list[Any], right: list[Any]) -> list[Any]:
    allowed = {_key(value) for value in right}
    return [value for value in left if _key(value) in allowed]


def _union(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *(part for part in right if part not in left)]


_TOGETHER: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("$anyOf", "$oneOf", "$not", "$patterns", "required"), _union),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
    "type": _common_types,
    "enum": _common_values,
    "uniqueItems": operator.or_,
    "multipleOf": math.lcm,
    "dependentRequired": lambda left, right: {
        name: [*left.get(name, ()), *right.get(name, ())] for name in {**left, **right}
    },
    "dependentSchemas": lambda left, right: {
        name: {"allOf": [left.get(name, True), right.get(name, True)]} for name in {**left, **right}
    },
}
"""What two values of a keyword say together."""
_SCHEMAS = {"items", "propertyNames", "unevaluatedProperties", "unevaluatedItems"}
_CANNOT = {"if", "then", "else", "format", "contains", "minContains", "maxContains", "contentMediaType"}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
