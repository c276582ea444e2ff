"""JSON Schemas of Python types, for generation.

pydantic's own schemas describe what types accept in part; texts that look like a number, keys that must be numbers,
dates in the past or URLs of one scheme are wider there than the type. Here they are narrowed. What a validator
function of the caller's checks is not known and not narrowed.
"""

import datetime as dt
import math
from decimal import Decimal
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from openmodels.output import schema as schemas

_HOST = "[a-z][a-z0-9]{0,14}(?:[.][a-z][a-z0-9]{0,9}){0,2}[.][a-z]{2,6}"
_PATH = "(?:/[A-Za-z0-9_-]{1,30}){0,6}"
_MONTH = "(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]"
_MOST_DAYS = 1_000  # days that are listed one by one at most, where a date has limits on both sides
_DECIMALS = 2  # decimals of a number whose digits are limited and whose decimals are not
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_QUAD = "[A-Za-f][{}][{}][A-Za-z0-9]".format(
    "".join(letter for place, letter in enumerate(_LETTERS) if not place & 8),
    "".join(letter for place, letter in enumerate(_LETTERS) if not place & 2),
)
"""Four characters of Base64 that stand for three characters of ASCII, in the alphabet of either kind."""
_BASE64 = f"^(?:{_QUAD}){{1,60}}$"
_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_CHANGES = ("strip_whitespace", "to_lower", "to_upper", "ascii_only")


class ArgumentSchemaGenerator(GenerateJsonSchema):
    """Narrows what pydantic describes too widely; a default is left as it is."""

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a number: texts of decimals are written in too many alternatives."""
        keywords = _LIMITS | {"multiple_of": "multipleOf"}
        narrowed: JsonSchemaValue = {
            keyword: _to_number(schema[name]) for name, keyword in keywords.items() if schema.get(name) is not None
        }
        digits, places = schema.get("max_digits"), schema.get("decimal_places")
        if digits is not None and places is None:
            places = min(_DECIMALS, digits - 1)
        if places is not None and "multipleOf" not in narrowed:
            narrowed["multipleOf"] = _to_number(Decimal(1).scaleb(-places))
        if digits is not None:
            # Every number below this has few enough digits.
            edge = _to_number(Decimal(1).scaleb(digits - places))
            narrowed["exclusiveMaximum"] = min(edge, narrowed.get("exclusiveMaximum", edge))
            narrowed["exclusiveMinimum"] = max(-edge, narrowed.get("exclusiveMinimum", -edge))
        return {"type": "number"} | narrowed

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a number; an infinite limit does not count."""
        narrowed = super().float_schema(schema)
        return {key: value for key, value in narrowed.items() if not (isinstance(value, float) and math.isinf(value))}

    def complex_schema(self, schema: Any) -> JsonSchemaValue:
        """Return the text of a complex number."""
        return super().complex_schema(schema) | {
            "pattern": r"^-?[0-9]{1,6}(\.[0-9]{1,4})?[+-][0-9]{1,6}(\.[0-9]{1,4})?j$"
        }

    def fraction_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 - as the base
        """Return the text of a fraction."""
        return {"type": "string", "pattern": "^-?[0-9]{1,6}/[1-9][0-9]{0,5}$"}

    def str_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a text that stays as long as it is when it is stripped or changes case."""
        narrowed = super().str_schema(schema)
        if "pattern" in narrowed or not any(schema.get(name) for name in _CHANGES):
            return narrowed
        letter = r"\P{Lu}" if schema.get("to_lower") else r"\P{Ll}" if schema.get("to_upper") else r"[\s\S]"
        letter = "[ -~]" if schema.get("ascii_only") else letter
        least, most = narrowed.pop("minLength", 0), narrowed.pop("maxLength", None)
        return narrowed | {"pattern": _text_pattern(letter, least, most, trimmed=bool(schema.get("strip_whitespace")))}

    def bytes_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a text; where bytes are counted, one whose characters are bytes."""
        narrowed = super().bytes_schema(schema)
        if getattr(self._config, "val_json_bytes", "utf8") == "base64":
            return {"type": "string", "pattern": _BASE64}
        if "maxLength" in narrowed or "minLength" in narrowed:
            return narrowed | {"pattern": "^[ -~]*$"}
        return narrowed

    def date_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a date between limits."""
        if listed := _list_days(schema):
            return {"type": "string", "enum": listed}
        years = _year_pattern(schema)
        return super().date_schema(schema) if years is None else {"type": "string", "pattern": f"^{years}-{_MONTH}$"}

    def datetime_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a date with its time, between limits, with or without a zone."""
        years, zone = _year_pattern(schema), schema.get("tz_constraint")
        bounds = [limit for name in _LIMITS if (limit := schema.get(name)) is not None]
        is_naive = zone == "naive" or any(limit.tzinfo is None for limit in bounds)
        if isinstance(zone, int) or (years is None and not is_naive):
            return super().datetime_schema(schema)
        end = "" if is_naive else "Z"
        return {"type": "string", "pattern": f"^{years or '[1-9][0-9]{3}'}-{_MONTH}T{_CLOCK}{end}$"}

    def url_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a URL of a scheme that is allowed."""
        narrowed = super().url_schema(schema)
        schemes = schema.get("allowed_schemes")
        if not schemes or {"http", "https"} <= set(schemes):
            return narrowed
        if schemes == ["file"]:
            return {"type": "string", "pattern": "^file://(?:/[A-Za-z0-9_-]{1,30}){1,6}$"}
        return {"type": "string", "pattern": f"^(?:{'|'.join(map(_escape, schemes))})://{_HOST}{_PATH}$"}

    def multi_host_url_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a URL of a scheme that is allowed, with a user and one host."""
        schemes = "|".join(map(_escape, schema.get("allowed_schemes") or ["https"]))
        return {"type": "string", "pattern": f"^(?:{schemes})://[a-z]{{1,12}}:[a-z0-9]{{1,12}}@{_HOST}/[a-z]{{1,20}}$"}

    def set_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a list; what it repeats counts once in the set."""
        return _allow_repeats(super().set_schema(schema))

    frozenset_schema = set_schema

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        """Return an object whose names have the keys' type; numbers are text."""
        narrowed = super().dict_schema(schema)
        if "keys_schema" not in schema or "propertyNames" in narrowed or "patternProperties" in narrowed:
            return narrowed
        keys = self.resolve_ref_schema(self.generate_inner(schema["keys_schema"]))
        if "enum" in keys:
            narrowed["propertyNames"] = {"enum": list(map(str, keys["enum"]))}
        elif keys.get("type") in ("integer", "number", "boolean"):
            narrowed["propertyNames"] = {"contentMediaType": "application/json", "contentSchema": keys}
        return narrowed

    def tagged_union_schema(self, schema: Any) -> JsonSchemaValue:
        """Return alternatives; their tags tell them apart."""
        narrowed = super().tagged_union_schema(schema)
        if "oneOf" in narrowed:
            narrowed["anyOf"] = narrowed.pop("oneOf")
        narrowed.pop("discriminator", None)
        return narrowed

    def model_fields_schema(self, schema: Any) -> JsonSchemaValue:
        """Return a model's fields, each at the place that its alias names."""
        narrowed = super().model_fields_schema(schema)
        paths = {name: path for name, field in schema["fields"].items() if (path := _alias_path(field))}
        if not paths or "properties" not in narrowed:
            return narrowed
        parts = [_nest(path, narrowed["properties"].pop(name, {})) for name, path in paths.items()]
        needed = [name for name in narrowed.pop("required", ()) if name not in paths]
        return {"type": "object", "allOf": [narrowed | ({"required": needed} if needed else {}), *parts]}


class AnswerSchemaGenerator(ArgumentSchemaGenerator):
    """Requires every field: a default is for data, not for an answer."""

    def field_is_required(self, field: Any, total: bool) -> bool:  # noqa: FBT001 - as the base
        """Return whether a field is required: all but a `NotRequired` one."""
        return field["type"] != "typed-dict-field" or bool(field.get("required", total))

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        """Return the schema of a field with a default, without it."""
        return self.generate_inner(schema["schema"])


def answer_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a type for answers, every field of it required."""
    return _narrow_formats(adapter.json_schema(schema_generator=AnswerSchemaGenerator))


def arguments_schema(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the JSON Schema of a type for a tool's arguments."""
    return _narrow_formats(adapter.json_schema(schema_generator=ArgumentSchemaGenerator))


def _narrow_formats(schema: dict[str, Any]) -> dict[str, Any]:
    """Narrow what types describe by themselves, beside pydantic's generator."""
    for node in schemas.walk_schemas(schema):
        if node.get("type") == "string" and node.get("format") in ("base64", "base64url"):
            del node["format"]
            node["pattern"] = _BASE64
    return schema


def _to_number(limit: Any) -> int | float:
    return int(limit) if limit == int(limit) else float(limit)


def _text_pattern(letter: str, least: int, most: int | None, *, trimmed: bool) -> str:
    """Return a pattern of so many letters; `trimmed`: without outer white space."""

    def times(low: int, high: int | None) -> str:
        return f"{{{low},{'' if high is None else high}}}"

    if not trimmed:
        return f"^{letter}{times(least, most)}$"
    edge = {r"[\s\S]": r"\S", "[ -~]": "[!-~]", r"\P{Lu}": r"[^\p{Lu}\s]", r"\P{Ll}": r"[^\p{Ll}\s]"}[letter]
    longer = f"{edge}{letter}{times(max(0, least - 2), None if most is None else most - 2)}{edge}"
    alternatives = [longer] if most is None or most > 1 else []
    alternatives += [edge] if least <= 1 and (most is None or most > 0) else []
    alternatives += [""] if least == 0 else []
    return f"^(?:{'|'.join(alternatives)})$"


def _year_pattern(schema: Any) -> str | None:
    """Return a pattern of the years between the limits; None without limits."""
    limits = {name: schema[name].year for name in _LIMITS if schema.get(name) is not None}
    now = schema.get("now_op")
    if now is None and not limits:
        return None
    low, high = {"past": (1000, 2020), "future": (2100, 9999)}.get(now, (1000, 9999))
    low = max([low, *(limits[name] + 1 for name in ("ge", "gt") if name in limits)])
    high = min([high, *(limits[name] - 1 for name in ("le", "lt") if name in limits)])
    if low > high:
        return None
    if high - low < _MOST_DAYS:
        return f"(?:{'|'.join(f'{year:04}' for year in range(low, high + 1))})"
    return "(?:" + "|".join(f"{century:02}[0-9]{{2}}" for century in range(-(-low // 100), (high + 1) // 100)) + ")"


def _list_days(schema: Any) -> list[str]:
    """Return the days between two limits that lie close together."""
    day = dt.timedelta(days=1)
    low = schema["ge"] if schema.get("ge") is not None else schema["gt"] + day if schema.get("gt") else None
    high = schema["le"] if schema.get("le") is not None else schema["lt"] - day if schema.get("lt") else None
    if low is None or high is None or (high - low).days > _MOST_DAYS:
        return []
    return [(low + day * count).isoformat() for count in range((high - low).days + 1)]


def _escape(scheme: str) -> str:
    return scheme.replace("+", "[+]").replace(".", "[.]")


def _allow_repeats(narrowed: JsonSchemaValue) -> JsonSchemaValue:
    if narrowed.get("minItems", 0) <= 1:
        del narrowed["uniqueItems"]
    return narrowed


def _alias_path(field: Any) -> list[str | int] | None:
    """Return the path of a field whose alias is one, with more than a name in it."""
    alias = field.get("validation_alias")
    if not isinstance(alias, list) or not alias:
        return None
    paths: list[list[str | int]] = alias if isinstance(alias[0], list) else [alias]
    return None if any(len(path) == 1 for path in paths) else paths[0]


def _nest(path: list[str | int], schema: JsonSchemaValue) -> JsonSchemaValue:
    for step in reversed(path):
        if isinstance(step, str):
            schema = {"type": "object", "properties": {step: schema}, "required": [step]}
        else:
            count = max(0, step)
            schema = {"type": "array", "prefixItems": [*[{"type": "null"}] * count, schema], "minItems": count + 1}
    return schema
