"""Numbers between limits, as expressions of their digits.

Whole numbers are exact at any size. Other numbers are written with at most 15 significant digits, which every reader
of JSON gives back as they were.
"""

import math
from collections.abc import Callable
from decimal import Decimal, localcontext

from openmodels.output.grammar import regex
from openmodels.output.grammar.expression import NEVER, Expression, chars, repeat, sequence, text, union

_DIGITS = 15  # significant digits that a double always gives back
_WIDTH = 18  # digits of a whole number without a limit
_DECIMALS = 6  # decimals of a number between limits, where the limits have no more themselves
_ENUMERATED = 2_000  # multiples that are listed one by one at most
_ROUND = 10**3  # A step that divides this is written by its last digits
_LONGEST = 400  # digits of a limit at most
_EXACT = 40  # digits of a whole number that are compared; longer limits are rounded inwards


class NumberRefused(ValueError):
    """Limits that have no grammar; the message says why."""


def build_integer(low: int | None, high: int | None, step: int = 1) -> Expression:
    """Return the whole numbers between limits that `step` divides."""
    low, high = _close_limits(low, high, 10**_WIDTH - 1)
    _check_digits(low, high)
    return _build_multiples(low, high, step, 0)


def build_decimal(
    low: Decimal | None, high: Decimal | None, *, above: bool, below: bool, step: Decimal | None = None
) -> Expression:
    """Return the numbers between limits that `step` divides, without an exponent.

    `above` and `below` leave out the limits themselves.

    Raises:
        NumberRefused: There are too many multiples for a grammar, or a limit has too many digits.
    """
    if low is None and high is None and step is None:
        fraction, exponent = rf"(?:\.[0-9]{{1,{_DIGITS}}})?", "(?:e[+-]?[0-9]{1,2})?"
        return regex.fullmatch(rf"-?(?:0|[1-9][0-9]{{0,{_DIGITS - 1}}}){fraction}{exponent}")
    with localcontext(prec=2 * _LONGEST):
        limits = [limit for limit in (low, high) if limit is not None]
        _check_digits(*limits)
        if step is not None:
            return _with_decimals(low, high, max(0, -_read_exponent(step)), (above, below), step)
        most = max([-_read_exponent(limit) for limit in limits] + [0])
        # Small limits like 1e-9 need decimals of their own.
        is_small = all(abs(limit) < 1 for limit in limits)
        places = [*range(max(_DECIMALS, most + 1 if is_small and any(limits) else min(most, _DIGITS - 1)) + 1)]
        places = places if len(places) <= _DIGITS else [0, *places[most - 2 :]]
        return union(_with_decimals(low, high, decimals, (above, below), None) for decimals in places)


def _check_digits(*limits: int | Decimal) -> None:
    if any(abs(limit) >= 10**_LONGEST for limit in limits):
        raise NumberRefused(f"a limit has more than {_LONGEST} digits")


def _with_decimals(
    low: Decimal | None, high: Decimal | None, decimals: int, left_out: tuple[bool, bool], step: Decimal | None
) -> Expression:
    """Return the numbers with so many decimals."""
    scale = Decimal(10) ** decimals
    if decimals and step is None:
        edge = Decimal(10) ** (_DIGITS - decimals)
        low = -edge if low is None else max(low, -edge)
        high = edge if high is None else min(high, edge)
        if low > high:
            return NEVER
    first = None if low is None else _first_multiple(low, scale, is_left_out=left_out[0])
    last = None if high is None else -_first_multiple(-high, scale, is_left_out=left_out[1])
    unit = 1 if step is None else int(step * scale)
    if unit < 1:
        raise NumberRefused("a step of so many digits cannot be followed")
    return _build_multiples(*_close_limits(first, last, 10**_DIGITS - 1), unit, decimals)


def _build_multiples(low: int, high: int, step: int, decimals: int) -> Expression:
    """Return multiples between limits, all counted in the last of some decimals."""
    first, last = -(-low // step), high // step
    if first > last:
        return NEVER
    if step > 1 and last - first < _ENUMERATED:
        return union(text(_with_point(number * step, decimals)) for number in range(first, last + 1))
    low, high = _round_limits(low, high)
    if step == 1:
        return _build_signed(low, high, lambda least, most: _build_natural(least, most, decimals))
    if decimals or _ROUND % step:
        multiple = _with_point(step, decimals)
        raise NumberRefused(f"multiples of {multiple} need limits with at most {_ENUMERATED:,} multiples between them")
    return _build_signed(low, high, lambda least, most: _round_multiples(least, most, step))


def _with_point(number: int, decimals: int) -> str:
    digits = str(abs(number)).rjust(decimals + 1, "0")
    point = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    return f"-{point}" if number < 0 else point


def _read_exponent(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _first_multiple(low: Decimal, scale: Decimal, *, is_left_out: bool) -> int:
    """Return the first number from a limit on, counted in parts of a scale."""
    first = math.ceil(low * scale)
    if is_left_out:
        # So far from the limit a double is certainly another number.
        margin = abs(low).scaleb(-_DIGITS)
        first += max(int(margin * scale), first == low * scale)
    return first


def _close_limits(low: int | None, high: int | None, usual: int) -> tuple[int, int]:
    """Return both limits; a missing one is the furthest number of the usual length."""
    if low is None:
        low = -usual if high is None or high > -usual // 10 else high * 10
    if high is None:
        high = usual if low < usual // 10 else low * 10
    return low, high


def _round_limits(low: int, high: int) -> tuple[int, int]:
    """Return limits of many digits moved inwards, to final zeros and nines."""
    usual = 10**_WIDTH - 1
    wide = 10**_EXACT
    # Where numbers of the usual length lie between the limits, those are enough.
    if high > wide and low < usual // 10:
        high = usual
    if low < -wide and high > -usual // 10:
        low = -usual
    if low > wide or high < -wide:
        unit = 10 ** (len(str(max(abs(low), abs(high)))) - _EXACT // 2)
        low, high = -(-low // unit) * unit, high // unit * unit
        low, high = (low, high - 1) if low > 0 else (low + 1, high)
        if low > high:
            raise NumberRefused("limits of so many digits lie too close together")
    return low, high


def _build_signed(low: int, high: int, natural: Callable[[int, int], Expression]) -> Expression:
    negative = sequence([text("-"), natural(max(1, -high), -low)]) if low < 0 else NEVER
    return union([negative, natural(max(0, low), high) if high >= 0 else NEVER])


def _build_natural(low: int, high: int, decimals: int = 0) -> Expression:
    """Return numbers of at least 0, counted in the last of some decimals."""
    shortest, longest = (max(len(str(limit)), decimals + 1) for limit in (low, high))
    widths = [*range(shortest, longest + 1)]
    parts: list[Expression] = []
    if len(widths) > 3:
        # Every number of the widths between.
        middle = repeat(_build_digits(0, 9, 1), shortest - decimals, longest - 2 - decimals)
        fraction = [text("."), _build_digits(0, 9, decimals)] if decimals else []
        parts.append(sequence([_build_digits(1, 9, 1), middle, *fraction]))
        widths = [shortest, longest]
    for width in widths:
        least = max(low, 10 ** (width - 1) if width > decimals + 1 else 0)
        most = min(high, 10**width - 1)
        parts.append(_build_between(str(least).rjust(width, "0"), str(most).rjust(width, "0"), width - decimals))
    return union(parts)


def _build_between(low: str, high: str, point: int) -> Expression:
    """Return the digits between limits as long, with a point before one of them."""
    length = len(low)

    def unbound(place: int) -> Expression:
        if place <= point < length:
            return sequence([_build_digits(0, 9, point - place), text("."), _build_digits(0, 9, length - point)])
        return _build_digits(0, 9, length - place)

    def after(place: int, *, is_low: bool, is_high: bool) -> Expression:
        """Return the digits from a place, after those of the lower or the upper limit."""
        # A limit that ends in zeros, or an upper one that ends in nines, binds no further.
        is_low = is_low and low[place:].strip("0") != ""
        is_high = is_high and high[place:].strip("9") != ""
        if not (is_low or is_high):
            return unbound(place)
        least = int(low[place]) if is_low else 0
        most = int(high[place]) if is_high else 9
        parts: list[Expression] = []
        edges = {digit for digit, is_bound in ((least, is_low), (most, is_high)) if is_bound}
        for digit in sorted(edges):
            rest = after(place + 1, is_low=is_low and digit == least, is_high=is_high and digit == most)
            parts.append(sequence([text(str(digit)), rest]))
        if least + is_low <= most - is_high:
            parts.append(sequence([_build_digits(least + is_low, most - is_high, 1), unbound(place + 1)]))
        return sequence([text("." if place == point else ""), union(parts)])

    return after(0, is_low=True, is_high=True)


def _build_digits(least: int, most: int, count: int) -> Expression:
    return repeat(chars([(0x30 + least, 0x30 + most)]), count, count)


def _round_multiples(low: int, high: int, step: int) -> Expression:
    """Return the multiples of a step that divides `_ROUND`, by their last digits."""
    first, last = max(low // _ROUND, 1), high // _ROUND

    def tails(least: int, most: int, width: int = len(str(_ROUND - 1))) -> Expression:
        return union(text(str(tail).rjust(width, "0")) for tail in range(-(-least // step) * step, most + 1, step))

    parts = [tails(low, min(high, _ROUND - 1), width=0)]
    for head in sorted({first, last}) if first <= last else ():
        start = head * _ROUND
        parts.append(sequence([text(str(head)), tails(max(low - start, 0), min(high - start, _ROUND - 1))]))
    if last - first > 1:
        parts.append(sequence([_build_natural(first + 1, last - 1), tails(0, _ROUND - 1)]))
    return union(parts)
