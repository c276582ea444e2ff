"""Grammars of requests in GBNF (llama.cpp, XGrammar), in Lark and as a regex."""

import json
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import groupby
from typing import Literal

from openmodels.errors import InvalidRequest, UnsupportedFeature
from openmodels.output.grammar import regex
from openmodels.output.grammar.expression import (
    EMPTY,
    Alt,
    And,
    Chars,
    Expression,
    Range,
    Repeat,
    Rule,
    Seq,
    leaves,
    repeat,
    sequence,
    text,
    union,
)
from openmodels.output.grammar.json_schema import Grammar, from_schema
from openmodels.output.grammar.merge import unsupported
from openmodels.types.request import ResponseFormat

Notation = Literal["gbnf", "lark"]

_KEPT = 64  # grammars kept; one is needed again for every call with the same schema
_LONGEST = 1_000  # times that a repetition in GBNF goes at most; longer ones are nested, since engines write them out


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
    return lark(grammar) if name == "lark" else gbnf(grammar, engine)


def regular_expression(expression: Expression) -> str:
    """Return an expression without rules as a regex that all dialects read alike."""
    return _regex(expression, "\\u{:04x}".format, "\\u{{{:x}}}".format)


def _regex(expression: Expression, short: Callable[[int], str], long: Callable[[int], str]) -> str:
    def code(point: int) -> str:
        letter = chr(point)
        if point < 128 and letter.isalnum():
            return letter
        return short(point) if point < 0x10000 else long(point)

    def write(part: Expression) -> str:
        match part:
            case Chars(ranges=ranges):
                return code(ranges[0][0]) if _is_single(part) else _set(ranges, code)
            case Seq(parts=parts):
                return "".join(f"(?:{write(inner)})" if isinstance(inner, Alt) else write(inner) for inner in parts)
            case Alt(parts=parts):
                return "|".join(map(write, parts))
            case Repeat(inner=inner, least=least, most=most):
                return f"{write(inner) if isinstance(inner, Chars) else f'(?:{write(inner)})'}{_times(least, most)}"
        raise TypeError(type(part).__name__)

    return write(expression)


def _set(ranges: Iterable[Range], write: Callable[[int], str]) -> str:
    spans = (write(low) if low == high else f"{write(low)}-{write(high)}" for low, high in ranges)
    return f"[{''.join(spans)}]"


def _times(least: int, most: int | None) -> str:
    match least, most:
        case 0, None:
            return "*"
        case 1, None:
            return "+"
        case 0, 1:
            return "?"
    return f"{{{least}}}" if least == most else f"{{{least},{'' if most is None else most}}}"


def lark(grammar: Grammar) -> str:
    """Return a grammar in Lark, as llguidance reads it.

    An expression without rules is a terminal, which llguidance follows fastest.
    """
    terminals: dict[str, str] = {}

    def write(expression: Expression) -> str:
        if isinstance(expression, And) or _is_terminal(expression):
            return '""' if expression == EMPTY else terminal(expression)
        match expression:
            case Rule(name=name):
                return name
            case Seq(parts=parts):
                return " ".join(write_row(parts))
            case Alt(parts=parts):
                return f"({' | '.join(map(write, parts))})"
            case Repeat(inner=inner, least=least, most=most):
                return f"({write(inner)}){_times(least, most)}"
        raise TypeError(type(expression).__name__)

    def write_row(parts: tuple[Expression, ...]) -> Iterator[str]:
        for is_terminal, group in groupby(parts, _is_terminal):
            row = list(group)
            yield from map(write, [sequence(row)] if is_terminal else row)

    def terminal(expression: Expression) -> str:
        parts = expression.parts if isinstance(expression, And) else (expression,)
        source = " & ".join(f"/{_regex(part, rust, rust)}/" for part in parts)
        return terminals.setdefault(source, f"T{len(terminals)}")

    rust = "\\x{{{:x}}}".format
    rules = {"start": grammar.start, **grammar.rules}
    lines = [f"{name}: {write(expression)}" for name, expression in rules.items()]
    lines += [f"{name}: {source}" for source, name in terminals.items()]
    return "\n".join(lines) + "\n"


def _is_terminal(expression: Expression) -> bool:
    """Return whether an expression holds neither rules nor conjunctions."""
    return all(isinstance(leaf, Chars) for leaf in leaves(expression))


def gbnf(grammar: Grammar, engine: str) -> str:
    """Return a grammar in GBNF, as llama.cpp and XGrammar read it.

    Raises:
        UnsupportedFeature: It demands what GBNF cannot say: that a text satisfies two expressions at once.
    """
    writer = _Gbnf(engine)
    for name, expression in {"root": grammar.start, **grammar.rules}.items():
        writer.rules[name] = writer.write(expression)
    return "".join(f"{name} ::= {body}\n" for name, body in writer.rules.items())


class _Gbnf:
    """Writes one grammar in GBNF."""

    def __init__(self, engine: str) -> None:
        self.rules: dict[str, str] = {}
        self._engine = engine
        self._names: dict[Expression, str] = {}

    def write(self, expression: Expression) -> str:
        match expression:
            case Chars(ranges=ranges):
                # llama.cpp takes NUL for the end of a literal.
                spans = [(max(low, 1), high) for low, high in ranges if high]
                if not spans:
                    raise unsupported("NUL", f"the engine {self._engine!r} cannot write this character")
                return _set(spans, _gbnf)
            case Rule(name=name):
                return name
            case Seq(parts=parts):
                return " ".join(self._row(parts)) if parts else '""'
            case Alt(parts=parts):
                return f"({' | '.join(map(self.write, parts))})"
            case Repeat(inner=inner, least=least, most=most):
                return self._repeated(inner, least, most)
            case And(keywords=keywords):
                raise unsupported(keywords, f"the engine {self._engine!r} cannot keep to both at once")
        raise TypeError(type(expression).__name__)

    def _row(self, parts: tuple[Expression, ...]) -> Iterator[str]:
        """Yield the parts of a row, single characters beside each other as one literal."""
        for is_literal, group in groupby(parts, _is_single):
            if is_literal:
                letters = (_gbnf(part.ranges[0][0]) for part in group if isinstance(part, Chars))
                yield f'"{"".join(letters)}"'
            else:
                yield from map(self.write, group)

    def _repeated(self, inner: Expression, least: int, most: int | None) -> str:
        if max(least, most or 0) <= _LONGEST:
            return f"({self.write(inner)}){_times(least, most)}"
        block = self._named(repeat(inner, _LONGEST, _LONGEST))
        if least > _LONGEST:
            rest = repeat(inner, least - _LONGEST, None if most is None else most - _LONGEST)
            return f"{block} {self._named(rest)}"
        # Up to a block, or a block and what may follow: one way to write each length.
        assert most is not None  # noqa: S101 - what has no end is repeated `least` times above
        few = self._named(repeat(inner, least, _LONGEST - 1))
        return f"({few} | {block} {self._named(repeat(inner, 0, most - _LONGEST))})"

    def _named(self, expression: Expression) -> str:
        if expression not in self._names:
            self._names[expression] = name = f"x{len(self._names)}"
            self.rules[name] = self.write(expression)
        return self._names[expression]


def _is_single(part: Expression) -> bool:
    """Return whether a part is one character, and not NUL."""
    return isinstance(part, Chars) and len(part.ranges) == 1 and 0 < part.ranges[0][0] == part.ranges[0][1]


_AS_THEY_ARE = frozenset(" _,:;{}()=/<>'.@")
"""Characters beside letters and digits that mean themselves in literals and in sets."""


def _gbnf(point: int) -> str:
    letter = chr(point)
    if (point < 0x80 and letter.isalnum()) or letter in _AS_THEY_ARE:
        return letter
    # Not \\x: XGrammar reads as many digits after it as there are.
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"
