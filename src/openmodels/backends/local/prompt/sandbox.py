"""A Jinja environment for chat templates that have not been reviewed.

Jinja's sandbox keeps a template from the interpreter, not from the machine's memory: one filter, one operator or one
string method can make gigabytes in a single call, which cannot be interrupted. Here the size of its result is computed
before the call. Loops are stopped by a trace function, which sees every line of the compiled template: a timer could
not, for Python code that loops can only be stopped from inside its thread. The names and filters are those that
transformers offers to chat templates, so a template renders to the same text.
"""

import functools
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from operator import eq, ge, gt, le, lt, ne
from types import BuiltinMethodType, FrameType
from typing import Any

import jinja2
import jinja2.ext
import psutil
from jinja2 import filters, nodes, sandbox, tests, utils, visitor

SECONDS = 2.0  # seconds of its thread that rendering may take
CHARACTERS = 16 * 1024 * 1024
"""Characters of the rendered text, and of any text on the way to it, beyond what the messages hold."""
MEGABYTES = 1024  # how much the process may grow while rendering

_ITEM_CHARACTERS = 16
"""Characters that an item of a list or mapping counts as, beside its text; so a list has a million items at most."""
_MAX_BITS = 10_000  # bits of an integer at most; Python prints about as many
_LARGE_TEXT = 1 << 16  # characters from which the memory is checked before a text is made
_MEMORY_CHECK_LINES = 64  # lines of the template between two checks of the memory; a check takes about 10 us

_NAME = "<template>"
_DIGITS = re.compile(r"\d+")
_NESTED_FIELD = re.compile(r"\{[^{}]*:[^{}]*\{")


class LimitExceeded(BaseException):
    """Raised inside a template that exceeds a limit.

    It is not an `Exception`, so that code between the template and `render` does not catch it.
    """


class _RenderLimits:
    """The limits of one rendering, whose longest text has so many characters."""

    def __init__(self, characters: int) -> None:
        self.characters = characters
        # The time of this thread: what others compute meanwhile, holding the interpreter's lock, is not the template's.
        self._until = time.thread_time() + SECONDS
        self._process = psutil.Process()
        self._max_rss = self._process.memory_info().rss + MEGABYTES * 10**6
        self._lines = 0

    def check_time(self) -> None:
        if time.thread_time() > self._until:
            raise LimitExceeded(f"rendering takes more than {SECONDS:.0f} seconds")

    def check_memory(self) -> None:
        if self._process.memory_info().rss > self._max_rss:
            raise LimitExceeded(f"rendering takes more than {MEGABYTES} MB")

    def allow(self, size: int) -> None:
        """Check that a result of `size` characters may be made."""
        if size > self.characters:
            raise LimitExceeded("it makes far more text than the messages hold")
        if size > _LARGE_TEXT:
            self.check_time()
            self.check_memory()

    def trace_call(self, frame: FrameType, _: str, __: Any) -> Any:
        """Trace the lines of a frame that belongs to the template."""
        return self._trace_line if frame.f_code.co_filename == _NAME else None

    def _trace_line(self, _: FrameType, __: str, ___: Any) -> Any:
        self._lines += 1
        self.check_time()
        if self._lines % _MEMORY_CHECK_LINES == 0:
            self.check_memory()
        return self._trace_line


_limits: ContextVar[_RenderLimits] = ContextVar("limits")


def render(template: str, length: int, variables: Mapping[str, Any]) -> str:
    """Render a chat template in bounded time and memory.

    Characters of the messages, `length`, are added to the limits; the variables are of plain JSON types.

    Raises:
        LimitExceeded: The template takes too much time or memory.
        jinja2.TemplateError: It is broken, tries to leave its sandbox or refuses the messages.
    """
    limits = _RenderLimits(CHARACTERS + length)
    token, trace = _limits.set(limits), sys.gettrace()
    sys.settrace(limits.trace_call)
    try:
        return _compile(template).render(variables)
    finally:
        sys.settrace(trace)
        _limits.reset(token)


@functools.lru_cache(maxsize=64)
def _compile(template: str) -> jinja2.Template:
    environment = _Environment()
    tree = _Rewriter().visit(environment.parse(template))
    code = environment.compile(tree, filename=_NAME)
    return environment.template_class.from_code(environment, code, environment.make_globals(None))


class _GenerationTag(jinja2.ext.Extension):
    """Reads transformers' tag `{% generation %}`, which marks the assistant's text."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 reads it from the class

    def parse(self, parser: Any) -> nodes.Node:
        line = next(parser.stream).lineno
        return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)


class _Rewriter(visitor.NodeTransformer):
    """Sends the operations that the environment cannot intercept through its checks."""

    def visit_Concat(self, node: Any) -> Any:  # noqa: N802 - jinja2 names it
        self.generic_visit(node)
        return _call_environment("concatenated", node.nodes)

    def visit_List(self, node: Any) -> Any:  # noqa: N802 - as above
        return _call_environment("sized", [self.generic_visit(node)])

    visit_Dict = visit_List  # noqa: N815 - as above

    def visit_Tuple(self, node: Any) -> Any:  # noqa: N802 - as above
        return self.visit_List(node) if node.ctx == "load" else self.generic_visit(node)

    def visit_Compare(self, node: Any) -> Any:  # noqa: N802 - as above
        self.generic_visit(node)
        for operand in (node, *node.ops):
            operand.expr = _call_environment("sized", [operand.expr])
        return node


def _call_environment(name: str, arguments: list[Any]) -> nodes.Call:
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

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self) -> None:
        # Not optimized: folding constants would compute with them outside of the limits.
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            finalize=_sized,
            extensions=[_GenerationTag, jinja2.ext.loopcontrols],
        )
        self.filters |= {name: _guard(filters.FILTERS[name], size) for name, size in _FILTER_SIZES.items()}
        self.filters |= {"join": _join, "sum": _sum, "tojson": _tojson}
        self.tests |= {name: _guard(test, _size_of_all) for name, test in self.tests.items() if test in _COMPARISONS}
        self.globals |= {"dict": _Dict(), "namespace": _Namespace}
        self.globals |= {"raise_exception": _raise, "strftime_now": _strftime_now}
        del self.globals["lipsum"]
        self.sized, self.concatenated = _sized, _concatenated

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """Join the pieces of a template, a macro, a block or a `set` block."""
        pieces = list(pieces)
        _limits.get().allow(sum(map(len, pieces)))
        return "".join(pieces)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Compute `left operator right` if the result is within the limits."""
        if isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (abs(right) if operator == "**" else 1) + right.bit_length()
            if bits > _MAX_BITS:
                raise LimitExceeded("it makes a huge number")
        elif operator == "+":
            _limits.get().allow(_size(left) + _size(right))
        elif operator == "*":
            sequence, count = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(sequence, str | bytes | list | tuple) and isinstance(count, int):
                _limits.get().allow(_size(sequence) * count)
        elif operator == "%" and isinstance(left, str | bytes):
            _limits.get().allow(_percent_size(left, right))
        return super().call_binop(context, operator, left, right)

    def call(__self, __context: Any, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805, PYI063 - as jinja2 has it
        """Call a function for a template, methods of builtins within the limits."""
        if isinstance(__obj, BuiltinMethodType):
            name, owner, limits = __obj.__name__, __obj.__self__, _limits.get()
            if isinstance(owner, str | bytes):
                if name == "join" and args:
                    args = (list(args[0]), *args[1:])
                    limits.allow(_joined_size(args[0], owner))
                elif name in _METHOD_SIZES:
                    limits.allow(_METHOD_SIZES[name](owner, *args, **kwargs))
            elif name == "to_bytes":
                limits.allow(_largest((args, kwargs)))
            elif name in {"index", "count"}:
                _sized((owner, args))
        return super().call(__context, __obj, *args, **kwargs)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """Return the sandboxed `str.format`, with a check of its size before it formats."""
        formatted = super().wrap_str_format(value)
        return formatted and _guard(formatted, functools.partial(_format_size, value.__self__))


def _iterate_leaves(value: Any) -> Iterator[Any]:
    """Yield a value and all that it holds; of what it holds twice, both."""
    left = _limits.get().characters // _ITEM_CHARACTERS
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        yield item
        if isinstance(item, Mapping):
            item = (*item, *item.values())
        if isinstance(item, _CONTAINERS):
            left -= len(item)
            if left < 0:
                raise LimitExceeded("it makes far longer lists than the messages hold")
            waiting += item


_CONTAINERS: tuple[Any, ...] = (list, tuple, set, frozenset, type({}.keys()), type({}.values()), type({}.items()))


def _size(value: Any) -> int:
    """Return about how many characters a value prints as."""
    if type(value) is str:
        return len(value)
    total = 0
    for item in _iterate_leaves(value):
        total += _ITEM_CHARACTERS
        if isinstance(item, str | bytes):
            total += len(item)
        elif isinstance(item, int):
            total += item.bit_length() // 3
    return total


def _size_of_all(*args: Any, **kwargs: Any) -> int:
    """Return the size of an input whose result is at most a few times as large."""
    return _size((args, kwargs))


def _largest(value: Any) -> int:
    """Return the largest integer that a value holds, by its absolute value."""
    return max((abs(item) for item in _iterate_leaves(value) if isinstance(item, int)), default=0)


def _sized(value: Any) -> Any:
    """Check the size of a value to print, compare or put into another; return it."""
    if type(value) is not str:
        _limits.get().allow(_size(value))
    return value


def _concatenated(*values: Any) -> str:
    _limits.get().allow(sum(map(_size, values)))
    return "".join(map(str, values))


def _joined_size(items: list[Any], separator: Any) -> int:
    return sum(map(_size, items)) + _size(separator) * len(items)


def _percent_size(template: str | bytes, values: Any) -> int:
    text = template if isinstance(template, str) else template.decode("latin-1")
    return _fields_size(text, text.count("%"), values, is_width_a_value="*" in text)


def _format_size(template: str, /, *args: Any, **kwargs: Any) -> int:
    text = template.replace("{{", "")
    return _fields_size(text, text.count("{"), (args, kwargs), is_width_a_value=bool(_NESTED_FIELD.search(text)))


def _fields_size(template: str, fields: int, values: Any, *, is_width_a_value: bool) -> int:
    """Return the size of a formatted text."""
    # Any field may print the largest value in the largest width.
    width = max((int(digits[:12]) for digits in _DIGITS.findall(template)), default=0)
    if is_width_a_value:
        width = max(width, _largest(values))
    # `%r` and `%a` write up to ten characters for one.
    return len(template) + fields * (width + 10 * _size(values))


def _padded_size(text: Any, *args: Any, **kwargs: Any) -> int:
    return max(_size(text), _largest((args, kwargs)))


def _tabs_size(text: Any, *args: Any, **kwargs: Any) -> int:
    tabs: int = text.count(b"\t" if isinstance(text, bytes) else "\t")
    return len(text) + tabs * max(8, _largest((args, kwargs)))


def _replaced_size(text: Any, old: Any, new: Any, count: Any = None) -> int:
    if not isinstance(text, bytes):
        text, old, new = str(_sized(text)), str(_sized(old)), str(_sized(new))
    places: int = text.count(old)
    if isinstance(count, int) and count >= 0:
        places = min(places, count)
    return len(text) + places * max(0, len(new) - len(old))


def _translated_size(text: Any, table: Any, *_: Any) -> int:
    return len(text) * max(map(_size, table.values() if isinstance(table, Mapping) else table), default=1)


def _split_size(text: Any, sep: Any = None, *_: Any, **__: Any) -> int:
    # Words are about so long; without a separator they are not counted.
    return _ITEM_CHARACTERS * (text.count(sep) if sep and isinstance(sep, str | bytes) else len(text) // 8)


_METHOD_SIZES: Mapping[str, Callable[..., int]] = {
    **dict.fromkeys(("center", "ljust", "rjust", "zfill"), _padded_size),
    **dict.fromkeys(("split", "rsplit", "splitlines"), _split_size),
    "expandtabs": _tabs_size,
    "replace": _replaced_size,
    "translate": _translated_size,
}


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


def _indented_size(text: Any, width: Any = 4, *_: Any, **__: Any) -> int:
    indent: int = width if isinstance(width, int) else len(width)
    return _size(text) + (str(text).count("\n") + 2) * max(0, indent)


def _wrapped_size(text: Any, width: int = 79, *args: Any, **kwargs: Any) -> int:
    wrapstring = kwargs.get("wrapstring", args[1] if len(args) > 1 else None)
    lines = _size(text) // max(1, width) + str(text).count(" ") + str(text).count("\n") + 1
    return _size(text) + lines * len(wrapstring or "\n")


def _parts_size(_: Any, *args: Any, **kwargs: Any) -> int:
    return _ITEM_CHARACTERS * _largest((args, kwargs))


@jinja2.pass_environment
def _join(environment: Any, value: Any, d: Any = "", attribute: Any = None) -> str:
    if attribute is not None:
        value = map(filters.make_attrgetter(environment, attribute), value)
    items = list(value)
    _limits.get().allow(_joined_size(items, d))
    return str(d).join(map(str, items))


@jinja2.pass_environment
def _sum(environment: Any, iterable: Any, attribute: Any = None, start: Any = 0) -> Any:
    if attribute is not None:
        iterable = map(filters.make_attrgetter(environment, attribute), iterable)
    for item in iterable:
        start = environment.call_binop(None, "+", start, item)  # a sum of lists copies every partial sum
    return start


def _guard(function: Any, size: Callable[..., int]) -> Callable[..., Any]:
    """Return a function that checks the size of its result before it computes it."""
    is_context_passed = hasattr(function, "jinja_pass_arg")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        _limits.get().allow(size(*(args[1:] if is_context_passed else args), **kwargs))
        return function(*args, **kwargs)

    return wrapper


_FILTER_SIZES: Mapping[str, Callable[..., int]] = {
    **dict.fromkeys(
        (
            *("capitalize", "dictsort", "e", "escape", "forceescape", "groupby", "lower", "max", "min", "pprint"),
            *("sort", "string", "striptags", "title", "trim", "truncate", "unique", "upper", "urlencode", "urlize"),
            *("wordcount", "xmlattr"),
        ),
        _size_of_all,
    ),
    **dict.fromkeys(
        ("batch", "slice", "round"), lambda _, *args, **kwargs: _ITEM_CHARACTERS * _largest((args, kwargs))
    ),
    "center": _padded_size,
    "format": lambda text, /, *args, **kwargs: _percent_size(str(_sized(text)), kwargs or args),
    "indent": _indented_size,
    "replace": _replaced_size,
    "wordwrap": _wrapped_size,
}
_COMPARISONS = {tests.test_in, eq, ne, lt, le, gt, ge}
