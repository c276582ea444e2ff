"""One JSON Schema in place of several that an answer must all satisfy."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from openmodels.errors import InvalidRequest, UnsupportedFeature

Schema = dict[str, Any]
Flat = Schema | bool
"""A schema in the form that `Merger.flat` gives it."""

_NOTES = frozenset(
    {"title", "description", "default", "examples", "example", "$schema", "$id", "id", "$comment", "$anchor"}
    | {"deprecated", "readOnly", "writeOnly", "$defs", "definitions", "contentEncoding", "discriminator"}
)
_DEEPEST = 60


class SchemaRefused(UnsupportedFeature):
    """A keyword that has no grammar."""


def refused(keyword: str, why: str) -> SchemaRefused:
    """Return the error for a keyword of a schema."""
    return SchemaRefused(
        f"schema: {keyword}: {why}.",
        next_step="Write the schema without it, or choose an engine or a server that keeps to it.",
    )


def resolve(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a reference within a schema points to.

    Raises:
        InvalidRequest: It points nowhere, or to another address.
    """
    if reference != "#" and not reference.startswith("#/"):
        raise refused("$ref", "it points out of the schema, and addresses are not fetched")
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
    """Merges schemas: no references, no `allOf`, lists under keywords of its own.

    Args:
        root: The whole schema.
    """

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def flat(self, schema: Any, above: tuple[str, ...] = ()) -> Flat:
        """Return one schema of the keywords of a schema, its references and its `allOf`.

        `anyOf`, `oneOf`, `not` and `pattern` become lists: "$anyOf", "$oneOf", "$not", "$patterns".

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
            others.append(self.flat(resolve(self._root, reference), (*above, reference)))
        _modern(flat)
        others += [self.flat(part, (*above, "allOf")) for part in flat.pop("allOf", ())]
        merged: Flat = flat
        for other in others:
            merged = self.merged(merged, _closed(other))
        return merged

    def merged(self, left: Flat, right: Flat) -> Flat:
        """Return the schema of what two flat schemas both allow."""
        if left is False or right is False:
            return False
        if right is True or left == right:
            return left
        if left is True:
            return right
        assert isinstance(left, dict) and isinstance(right, dict)  # noqa: S101, PT018 - the booleans are gone
        merged = {**left, **right}
        for key in left.keys() & right.keys():
            if key not in _OBJECTS and _key(left[key]) != _key(right[key]):
                merged[key] = self._both(key, left[key], right[key])
        if "type" in merged and not merged["type"]:
            return False
        self._objects(left, right, merged)
        _arrays(left, right, merged)
        return merged

    def _both(self, key: str, left: Any, right: Any) -> Any:
        """Return the value of a keyword that says what two values of it say together."""
        if key in _CANNOT or (key == "multipleOf" and not (isinstance(left, int) and isinstance(right, int))):
            raise refused(key, "two that differ have no common form")
        if key in _SCHEMAS:
            return {"allOf": [left, right]}
        if key in ("dependentRequired", "dependentSchemas"):
            return self._dependent(key, left, right)
        return _TOGETHER[key](left, right) if key in _TOGETHER else right

    def _dependent(self, key: str, left: Schema, right: Schema) -> Schema:
        if key == "dependentRequired":
            return {name: [*left.get(name, ()), *right.get(name, ())] for name in {**left, **right}}
        return {name: {"allOf": [left.get(name, True), right.get(name, True)]} for name in {**left, **right}}

    def _objects(self, left: Schema, right: Schema, merged: Schema) -> None:
        """Set the keywords of objects; unlisted properties are additional ones."""
        if not (_OBJECTS & left.keys() and _OBJECTS & right.keys()):
            return
        if any("patternProperties" in part for part in (left, right)) and any(
            part.get("additionalProperties", True) is not True for part in (left, right)
        ):
            raise refused("patternProperties", "together with additionalProperties of another part it has no grammar")
        sides = [(part.get("properties", {}), part.get("additionalProperties", True)) for part in (left, right)]
        names = dict.fromkeys([*sides[0][0], *sides[1][0]])
        properties: Schema = {}
        for name in names:
            properties[name] = _all_of([listed.get(name, more) for listed, more in sides])
        if properties:
            merged["properties"] = properties
        more = [part["additionalProperties"] for part in (left, right) if "additionalProperties" in part]
        if more:
            merged["additionalProperties"] = False if False in more else {"allOf": more} if len(more) > 1 else more[0]
        patterns = [part["patternProperties"] for part in (left, right) if "patternProperties" in part]
        if patterns:
            keys = dict.fromkeys(key for part in patterns for key in part)
            merged["patternProperties"] = {
                key: {"allOf": [part[key] for part in patterns if key in part]} for key in keys
            }


_OBJECTS = {"properties", "additionalProperties", "patternProperties"}


def _closed(part: Flat) -> Flat:
    """Return a part with its unevaluated properties as additional ones.

    A part does not see what its neighbours list.
    """
    if not isinstance(part, dict) or part.keys() & {"$anyOf", "$oneOf", "if"}:
        return part
    closed = dict(part)
    for word, plain in (("unevaluatedProperties", "additionalProperties"), ("unevaluatedItems", "items")):
        if word in closed:
            closed.setdefault(plain, closed.pop(word))
    return closed


def _arrays(left: Schema, right: Schema, merged: Schema) -> None:
    """Set the first items of arrays; for others a schema has `items`."""
    sides = [(part.get("prefixItems", []), part.get("items", True)) for part in (left, right)]
    longest = max(len(listed) for listed, _ in sides)
    if longest:
        merged["prefixItems"] = [
            _all_of([listed[place] if place < len(listed) else more for listed, more in sides])
            for place in range(longest)
        ]


def _all_of(schemas: list[Any]) -> Any:
    first, second = schemas
    return first if _key(first) == _key(second) else {"allOf": schemas}


def _modern(schema: Schema) -> None:
    """Write keywords as the newest draft does, and those that can repeat as lists."""
    for keyword in ("$dynamicRef", "$recursiveRef"):
        if keyword in schema:
            raise refused(keyword, "references of this kind have no grammar")
    for word, listed in (("anyOf", "$anyOf"), ("oneOf", "$oneOf"), ("not", "$not"), ("pattern", "$patterns")):
        if word in schema:
            schema[listed] = [schema.pop(word)]
    if "const" in schema:
        value = schema.pop("const")
        allowed = schema.get("enum", [value])
        schema["enum"] = [value] if any(_key(value) == _key(each) for each in allowed) else []
    _modern_limits(schema)
    if isinstance(schema.get("items"), list):
        schema["prefixItems"] = schema.pop("items")
        schema["items"] = schema.pop("additionalItems", True)
    schema.pop("additionalItems", None)
    for name, needed in schema.pop("dependencies", {}).items():
        word = "dependentRequired" if isinstance(needed, list) else "dependentSchemas"
        schema[word] = {**schema.get(word, {}), name: needed}


def _modern_limits(schema: Schema) -> None:
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(flag := schema.get(exclusive), bool):
            del schema[exclusive]
            if flag and bound in schema:
                schema[exclusive] = schema.pop(bound)


def _types(left: Any, right: Any) -> list[str]:
    first, second = ([kind] if isinstance(kind, str) else list(kind) for kind in (left, right))
    both = [kind for kind in first if kind in second]
    if "integer" not in both and "number" in (*first, *second) and "integer" in (*first, *second):
        both += ["integer"] if ("number" in first) != ("number" in second) else []
    return both


def _listed_in_both(left: list[Any], right: list[Any]) -> list[Any]:
    allowed = {_key(value) for value in right}
    return [value for value in left if _key(value) in allowed]


def _joined(left: list[Any], right: list[Any]) -> list[Any]:
    return [*left, *(part for part in right if part not in left)]


_TOGETHER: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("$anyOf", "$oneOf", "$not", "$patterns", "required"), _joined),
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
    "type": _types,
    "enum": _listed_in_both,
    "uniqueItems": operator.or_,
    "multipleOf": math.lcm,
}
"""What two values of a keyword say together."""
_SCHEMAS = {"items", "propertyNames", "unevaluatedProperties", "unevaluatedItems"}
_CANNOT = {"if", "then", "else", "format", "contains", "minContains", "maxContains", "contentMediaType"}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
