"""A Jinja environment for chat templates that have not been reviewed.

Jinja's sandbox keeps a template from the interpreter, not from the machine's memory: one filter, one operator or one
string method can make gigabytes in a single call, which cannot be interrupted. Here the size of its result is computed
before the call. Loops are stopped by a trace function, which sees every line of the compiled template: a timer could
not, for Python code that loops can only be stopped from inside its thread. The names and filters are those that
transformers offers to chat templates, so a template renders to the same text.
"""

from __future__ import annotations

import functools
import json
import re
import string
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import BuiltinMethodType, FrameType
from typing import Any

import jinja2
import jinja2.ext
import psutil
from jinja2 import filters, nodes, sandbox, tests, utils, visitor

SECONDS = 2.0
"""Seconds of its thread that rendering may take."""
CHARACTERS = 16 * 1024 * 1024
"""Characters of the rendered text, and of any text on the way to it, beyond what the messages hold."""
MEGABYTES = 1024
"""How much the process may grow while rendering."""

_MAX_ITEMS = 1_000_000
"""Items of a list or mapping at most, those of the lists in it included."""
_MAX_BITS = 10_000
"""Bits of an integer at most; Python prints about as many."""
_LARGE_TEXT = 1 << 16
"""Characters from which the memory is checked before a text is made."""
_MAX_WIDTH = 100_000
"""The widest field of a format."""
_MEMORY_CHECK_LINES = 64
"""Lines of the template between two checks of the memory; a check takes about 10 us."""

_MAX_DECIMALS = 100

_NAME = "<template>"
_DIGITS = re.compile(r"\d+")


class LimitExceeded(BaseException):
    """Raised inside a template that exceeds a limit.

    It is not an `Exception`, so that code between the template and `render` does not catch it.
    """


class _RenderLimits:
    """The limits of one rendering.

    Args:
        characters: The longest text that it may make.
    """

    def __init__(self, characters: int) -> None:
        self.characters = characters
        self.produced = 0
        # The time of this thread: what others compute meanwhile, holding the interpreter's lock, is not the template's.
        self._until = time.thread_time() + SECONDS
        self._process = psutil.Process()
        self._max_rss = self._process.memory_info().rss + MEGABYTES * 10**6

    def check_time(self) -> None:
        if time.thread_time() > self._until:
            raise LimitExceeded(f"rendering takes more than {SECONDS:.0f} seconds")

    def check_memory(self) -> None:
        if self._process.memory_info().rss > self._max_rss:
            raise LimitExceeded(f"rendering takes more than {MEGABYTES} MB")

    def allow(self, size: int) -> None:
        """Check that a text of `size` characters may be made."""
        if size > self.characters:
            raise LimitExceeded("it makes far more text than the messages hold")
        if size > _LARGE_TEXT:
            self.check_time()
            self.check_memory()


_limits: ContextVar[_RenderLimits] = ContextVar("limits")


def render(template: str, length: int, variables: Mapping[str, Any]) -> str:
    """Render a chat template in bounded time and memory.

    Args:
        template: The template's source.
        length: Characters of the messages, which are added to the limits.
        variables: The variables of the template; plain JSON types.

    Raises:
        LimitExceeded: The template takes too much time or memory.
        jinja2.TemplateError: It is broken, tries to leave its sandbox or refuses the messages.
    """
    limits = _RenderLimits(CHARACTERS + length)
    token = _limits.set(limits)
    try:
        with _traced(limits):
            pieces: list[str] = []
            for piece in _compiled(template).generate(**variables):
                limits.produced += len(piece)
                limits.allow(limits.produced)
                pieces.append(piece)
            return "".join(pieces)
    finally:
        _limits.reset(token)


@functools.lru_cache(maxsize=64)
def _compiled(template: str) -> jinja2.Template:
    environment = _Environment()
    tree = _Rewriter().visit(environment.parse(template))
    code = environment.compile(tree, filename=_NAME)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


@contextmanager
def _traced(limits: _RenderLimits) -> Iterator[None]:
    """Stop the template that runs in this block after too much time or memory."""
    lines = 0

    def on_line(_: FrameType, __: str, ___: Any) -> Any:
        nonlocal lines
        lines += 1
        limits.check_time()
        if lines % _MEMORY_CHECK_LINES == 0:
            limits.check_memory()
        return on_line

    def on_call(frame: FrameType, _: str, __: Any) -> Any:
        return on_line if frame.f_code.co_filename == _NAME else None

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield
    finally:
        sys.settrace(before)


class _GenerationTag(jinja2.ext.Extension):
    """Reads transformers' tag `{% generation %}`, which marks the assistant's text."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class _Rewriter(visitor.NodeTransformer):
    """Sends the operations that the environment cannot intercept through its checks."""

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - jinja2 names it
        self.generic_visit(node)
        return _through("concatenated", node.nodes)

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node)
        return _through("sized", [node])

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node)
        return _through("sized", [node])

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node)
        return _through("sized", [node]) if node.ctx == "load" else node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - as above
        self.generic_visit(node)
        node.expr = _through("sized", [node.expr])
        for operand in node.ops:
            operand.expr = _through("sized", [operand.expr])
        return node


def _through(name: str, arguments: list[nodes.Expr]) -> nodes.Call:
    call = nodes.Call(nodes.EnvironmentAttribute(name), arguments, [], None, None)
    call.set_lineno(arguments[0].lineno if arguments else 1)
    return call


class _Namespace(utils.Namespace):
    """A namespace as in transformers: no names with underscores, printed as its name."""

    def __init__(*args: Any, **kwargs: Any) -> None:  # so that a variable may be called `self`
        self, *rest = args
        attributes = dict(*rest, **kwargs)
        for name in attributes:
            _Namespace.check_name(name)
        utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace.check_name(name)  # not by `self`, whose attributes are the template's
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"

    @staticmethod
    def check_name(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace has no attribute {name[:40]!r}")


class _Dict:
    """The template's `dict`; the attributes of the builtin lead out of the sandbox."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _sized(dict(*args, **kwargs))

    def fromkeys(self, *args: Any) -> Any:
        return _sized(dict.fromkeys(*args))


class _Environment(sandbox.ImmutableSandboxedEnvironment):
    """The sandbox with a check of the size of every result before it is computed."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self) -> None:
        # Not optimized: folding constants would compute with them outside of the limits.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_sized,
            extensions=[_GenerationTag, jinja2.ext.loopcontrols],
        )
        self.filters |= _FILTERS
        self.tests |= _TESTS
        self.globals |= {
            "dict": _Dict(),
            "namespace": _Namespace,
            "raise_exception": _raise,
            "strftime_now": _strftime_now,
        }
        del self.globals["lipsum"]
        self.sized, self.concatenated = _sized, _concatenated

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join the pieces of a macro, a block or a `set` block."""
        pieces = list(pieces)
        _limits.get().allow(sum(map(len, pieces)))
        return "".join(pieces)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` if the result is within the limits."""
        if operator == "+":
            if isinstance(left, str) and isinstance(right, str):
                _limits.get().allow(len(left) + len(right))
            else:
                _sized((left, right))
        elif operator == "*":
            _check_product(left, right)
        elif operator == "**":
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * abs(right) > _MAX_BITS:
                raise LimitExceeded("it makes a huge number")
        elif isinstance(left, str | bytes):
            _check_percent(left, right)
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063 - as jinja2 has it
        """Call a function for a template; methods of texts and numbers are checked first."""
        if isinstance(__obj, BuiltinMethodType):
            args = _checked_method(__obj, args, kwargs)
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return the sandboxed `str.format`, with a check of its size before it formats."""
        formatted = super().wrap_str_format(value)
        if formatted is None:
            return None

        @functools.wraps(formatted)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            _check_format(value.__self__, (args, kwargs))
            return formatted(*args, **kwargs)

        return wrapper


def _size(value: Any) -> int:
    """Return about how many characters a value prints as, or some above the limit."""
    if type(value) is str:
        return len(value)
    limits = _limits.get()
    total, items = 0, 0
    waiting: list[Any] = [value]
    while waiting and total <= limits.characters:
        item = waiting.pop()
        items += 1
        if isinstance(item, str | bytes):
            total += len(item) + 4
        elif isinstance(item, Mapping):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, _CONTAINERS):
            waiting += item
        else:
            _check_number(item)
            total += 16
        if items + len(waiting) > _MAX_ITEMS:
            raise LimitExceeded("it makes a list of more than a million items")
        if items % _LARGE_TEXT == 0:
            limits.check_time()
    return total + items


_CONTAINERS: tuple[Any, ...] = (list, tuple, set, frozenset, type({}.keys()), type({}.values()), type({}.items()))


def _check_number(value: Any) -> None:
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        raise LimitExceeded("it makes a huge number")


def _sized(value: Any) -> Any:
    """Check the size of a value to print, compare or put into another; return it."""
    if type(value) is not str:
        _limits.get().allow(_size(value))
    return value


def _concatenated(*values: Any) -> str:
    _limits.get().allow(sum(map(_size, values)))
    return "".join(map(str, values))


def _check_product(left: Any, right: Any) -> None:
    if isinstance(left, int) and isinstance(right, int):
        if left.bit_length() + right.bit_length() > _MAX_BITS:
            raise LimitExceeded("it makes a huge number")
        return
    sequence, count = (right, left) if isinstance(left, int) else (left, right)
    if not isinstance(count, int) or count < 1:
        return
    if isinstance(sequence, str | bytes):
        _limits.get().allow(len(sequence) * count)
    elif isinstance(sequence, list | tuple):
        if len(sequence) * count > _MAX_ITEMS:
            raise LimitExceeded("it makes a list of more than a million items")
        _limits.get().allow(_size(sequence) * count)


def _check_percent(template: str | bytes, values: Any) -> None:
    """Check the size of `template % values`; any field may print the largest value."""
    text = template if isinstance(template, str) else template.decode("latin-1")
    _check_fields(text, text.count("%"), values, is_width_a_value="*" in text)


def _check_format(template: str, values: Any) -> None:
    try:
        fields = [field for field in string.Formatter().parse(template) if field[1] is not None]
    except ValueError:
        return  # formatting raises it again
    _check_fields(template, len(fields), values, is_width_a_value=any("{" in (field[2] or "") for field in fields))


def _check_fields(template: str, fields: int, values: Any, *, is_width_a_value: bool) -> None:
    widths = [int(digits[:12]) for digits in _DIGITS.findall(template)]
    if is_width_a_value:
        widths += _numbers(values)
    if max(widths, default=0) > _MAX_WIDTH:
        raise LimitExceeded("it holds a format with a huge width")
    # `%r` and `%a` write up to ten characters for one.
    _limits.get().allow(len(template) + sum(widths[:fields]) + fields * (10 * _size(values)))


def _numbers(values: Any) -> list[int]:
    if isinstance(values, Mapping):
        values = list(values.values())
    if isinstance(values, list | tuple):
        return [number for value in values for number in _numbers(value)]
    return [abs(values)] if isinstance(values, int) else []


def _largest(values: Iterable[Any]) -> int:
    return max((value for value in values if isinstance(value, int)), default=0)


def _check_width(text: Any, *args: Any, **kwargs: Any) -> None:
    """Check methods that pad a text to a width: `center`, `ljust`, `zfill`, ..."""
    _limits.get().allow(max(_size(text), _largest((*args, *kwargs.values()))))


def _check_tabs(text: Any, *args: Any, **kwargs: Any) -> None:
    tab = b"\t" if isinstance(text, bytes) else "\t"
    _limits.get().allow(len(text) + text.count(tab) * max(8, _largest((*args, *kwargs.values()))))


def _check_replace(text: Any, old: Any, new: Any, count: Any = None) -> None:
    if not isinstance(text, bytes):
        text, old, new = str(_sized(text)), str(_sized(old)), str(_sized(new))
    places = text.count(old)
    if isinstance(count, int) and count >= 0:
        places = min(places, count)
    _limits.get().allow(len(text) + places * max(0, len(new) - len(old)))


def _check_table(text: Any, table: Any, *_: Any) -> None:
    if isinstance(table, Mapping):
        _limits.get().allow(len(text) * max(map(_size, table.values()), default=1))


def _check_split(text: Any, sep: Any = None, *_: Any, **__: Any) -> None:
    # Words are about so long; without a separator they are not counted.
    parts = text.count(sep) if sep and isinstance(sep, str | bytes) else len(text) // 8
    if parts > _MAX_ITEMS:
        raise LimitExceeded("it makes a list of more than a million items")


_TEXT_METHODS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _check_width),
    **dict.fromkeys(("split", "rsplit", "splitlines"), _check_split),
    "expandtabs": _check_tabs,
    "replace": _check_replace,
    "translate": _check_table,
}


def _checked_method(method: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
    """Check the size of a builtin method's result; return its arguments."""
    name, owner = method.__name__, method.__self__
    if isinstance(owner, str | bytes):
        if name == "join" and args:
            pieces = list(args[0])
            _limits.get().allow(sum(map(_size, pieces)) + len(owner) * len(pieces))
            return (pieces, *args[1:])
        if name in _TEXT_METHODS:
            _TEXT_METHODS[name](owner, *args, **kwargs)
    elif name == "to_bytes":
        _limits.get().allow(_largest((*args, *kwargs.values())))
    elif name in {"index", "count"}:
        _sized((owner, args))
    return args


def _raise(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _strftime_now(pattern: str) -> str:
    if len(pattern) > 1000 or _DIGITS.search(pattern):
        raise LimitExceeded("it holds a date format with a width")
    return datetime.now().strftime(pattern)  # noqa: DTZ005 - the local date, as transformers gives it


def _tojson(value: Any, ensure_ascii: Any = None, indent: Any = None, separators: Any = None, **options: Any) -> str:
    width = indent if isinstance(indent, int) else len(indent or "")
    between = sum(map(len, separators)) if separators else 4
    # An indent stands before every item once for each level above it; schemas have less than a dozen levels.
    _limits.get().allow(_size(value) * (2 + between + 12 * max(0, width)))
    sort_keys = options.get("sort_keys", False)
    return json.dumps(value, ensure_ascii=bool(ensure_ascii), indent=indent, separators=separators, sort_keys=sort_keys)


def _check_all(*args: Any, **kwargs: Any) -> None:
    """Check the input of a filter whose result is at most a few times as large."""
    _sized((args, list(kwargs.values())))


def _check_indent(text: Any, width: Any = 4, *_: Any, **__: Any) -> None:
    indent = width if isinstance(width, int) else len(width)
    _limits.get().allow(_size(text) + (str(text).count("\n") + 2) * max(0, indent))


def _check_wrap(text: Any, width: int = 79, *args: Any, **kwargs: Any) -> None:
    wrapstring = kwargs.get("wrapstring", args[1] if len(args) > 1 else None)
    lines = _size(text) // max(1, width) + str(text).count(" ") + str(text).count("\n") + 1
    _limits.get().allow(_size(text) + lines * len(wrapstring or "\n"))


def _check_percent_filter(text: Any, *args: Any, **kwargs: Any) -> None:
    _check_percent(str(_sized(text)), kwargs or args)


def _check_parts(_: Any, count: int, *__: Any, **___: Any) -> None:
    if count > _MAX_WIDTH:
        raise LimitExceeded("it makes a list of more than a hundred thousand parts")


def _check_precision(_: Any, precision: int = 0, *__: Any, **___: Any) -> None:
    if abs(precision) > _MAX_DECIMALS:
        raise LimitExceeded("it rounds to a huge number of digits")


@jinja2.pass_environment
def _join(environment: Any, value: Any, d: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(filters.make_attrgetter(environment, attribute), value)
    items = list(value)
    _limits.get().allow(sum(map(_size, items)) + _size(d) * len(items))
    return str(d).join(map(str, items))


@jinja2.pass_environment
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if attribute is not None:
        iterable = map(filters.make_attrgetter(environment, attribute), iterable)
    for item in iterable:
        # A sum of lists copies every partial sum.
        if not isinstance(item, int | float):
            _sized((start, item))
        start = start + item
    return start


def _checked(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    """Return a filter or test of Jinja's that is checked before it is called."""
    is_context_passed = hasattr(function, "jinja_pass_arg")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        check(*(args[1:] if is_context_passed else args), **kwargs)
        return function(*args, **kwargs)

    return wrapper


_CHECKS: dict[str, Callable[..., None]] = {
    **dict.fromkeys(
        (
            *("capitalize", "dictsort", "e", "escape", "forceescape", "groupby", "lower", "max", "min", "pprint"),
            *("sort", "string", "striptags", "title", "trim", "truncate", "unique", "upper", "urlencode", "urlize"),
            *("wordcount", "xmlattr"),
        ),
        _check_all,
    ),
    **dict.fromkeys(("batch", "slice"), _check_parts),
    "center": _check_width,
    "format": _check_percent_filter,
    "indent": _check_indent,
    "replace": _check_replace,
    "round": _check_precision,
    "wordwrap": _check_wrap,
}
# jinja2 leaves the types of what it registers open.
_JINJA_FILTERS: Mapping[str, Any] = filters.FILTERS
_JINJA_TESTS: Mapping[str, Any] = tests.TESTS
_FILTERS = {name: _checked(_JINJA_FILTERS[name], check) for name, check in _CHECKS.items()}
_FILTERS |= {"join": _join, "sum": _sum, "tojson": _tojson}
_COMPARISONS = (
    *("in", "eq", "equalto", "==", "ne", "!=", "lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan"),
    *("ge", ">="),
)
_TESTS = {name: _checked(_JINJA_TESTS[name], _check_all) for name in _COMPARISONS}
