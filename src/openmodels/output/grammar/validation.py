"""Checks of answers against schemas and patterns, in bounded time."""

from collections.abc import Callable, Mapping
from typing import Any

import jsonschema_rs

from openmodels.errors import InvalidRequest
from openmodels.output import schema as schemas
from openmodels.output.grammar import regex
from openmodels.output.grammar.notation import regular_expression

_BACKTRACKS = 100_000  # steps back that a pattern with look-around may take on one text
_EXPLAINED = 1_000
"""Schemas that one value is checked against, up to which every fault is listed, which takes the most time."""


class Validator:
    """Checks values against a schema.

    Raises:
        InvalidRequest: It is not a JSON Schema, or larger than a limit that the message names.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        cost = schemas.check_limits(schema)
        self._explains = cost <= _EXPLAINED
        self._validator = _compiled(dict(schema))

    def find_errors(self, value: Any) -> tuple[str, ...]:
        """Return the errors of a value, each with its place; the value is not quoted."""
        if self._validator.is_valid(value):
            return ()
        if not self._explains:
            return ("it does not satisfy the schema",)
        return tuple(
            schemas.describe_error(error.instance_path, error.message) for error in self._validator.iter_errors(value)
        )


def _compiled(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    # Offline: a reference must not make this process fetch an address. Masked: no fault quotes the answer.
    options: dict[str, Any] = {"offline": True, "mask": "the value", "validate_formats": True}
    linear = jsonschema_rs.RegexOptions()
    stepping = jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS)
    try:
        try:
            return jsonschema_rs.validator_for(schema, pattern_options=linear, **options)
        except jsonschema_rs.ValidationError:
            # Look-around needs the engine that steps back.
            return jsonschema_rs.validator_for(schema, pattern_options=stepping, **options)
    except jsonschema_rs.ValidationError as error:
        place = "/".join(map(str, error.instance_path))
        raise InvalidRequest(
            f"schema: this is no JSON Schema: {f'{place}: ' if place else ''}{error.message}."
        ) from error


def matcher(pattern: str) -> Callable[[str], bool]:
    """Return a check that a pattern matches all of a text, in linear time.

    Raises:
        InvalidRequest: It cannot be read or followed as a regular expression; the message says why.
    """
    try:
        expression = regular_expression(regex.fullmatch(pattern))
    except (regex.PatternRefused, RecursionError) as error:
        why = str(error) if isinstance(error, regex.PatternRefused) else "it is too deep"
        raise InvalidRequest(
            f"pattern: this regular expression cannot be followed: {why}.",
            next_step="Write it without; docs/structured.md names what patterns can hold.",
        ) from error
    options = jsonschema_rs.RegexOptions(size_limit=100_000_000)
    try:
        return jsonschema_rs.validator_for(
            {"pattern": f"^(?:{expression})$"}, offline=True, pattern_options=options
        ).is_valid
    except jsonschema_rs.ValidationError as error:
        raise InvalidRequest("pattern: it is too large with its repetitions written out.") from error
