"""What a request's answer must look like, in the notation of an engine."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Literal

from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.output.grammar import notation, regex
from openmodels.output.grammar.expression import text, union
from openmodels.output.grammar.json_schema import Grammar, from_schema
from openmodels.types.request import ResponseFormat

Notation = Literal["gbnf", "lark"]

_KEPT = 64  # grammars kept; one is needed again for every call with the same schema


def write_grammar(output: ResponseFormat, notation: Notation, engine: str) -> str:
    """Return the grammar of an answer in the notation of an engine.

    Messages name the engine. The option `grammar` is already in its notation.

    Raises:
        UnsupportedFeature: The engine cannot keep to a keyword of the schema; the message names both.
        InvalidRequest: No answer has this form, or it is larger than a limit that the message names.
    """
    if output.grammar is not None:
        return output.grammar
    value = output.json_schema if output.json_schema is not None else output.pattern or output.choices
    try:
        return _write_grammar(output.kind, json.dumps(value), notation, engine)
    except UnsupportedFeature as error:
        raise UnsupportedFeature(
            f"The engine {engine!r} of the backend 'local' cannot keep an answer to what is asked for: "
            f"{error.cause.replace('schema', output.kind, 1)}",
            next_step=error.next_step,
        ) from error


@lru_cache(_KEPT)
def _write_grammar(kind: str, value: str, name: Notation, engine: str) -> str:
    match kind, json.loads(value):
        case "schema", schema:
            try:
                grammar = from_schema(schema)
            except RecursionError as error:
                raise InvalidRequest("schema: it is too deep or too large for a grammar.") from error
        case "pattern", pattern:
            grammar = Grammar(regex.fullmatch(pattern), {})
        case _, choices:
            grammar = Grammar(union(map(text, choices)), {})
    return notation.lark(grammar) if name == "lark" else notation.gbnf(grammar, engine)
