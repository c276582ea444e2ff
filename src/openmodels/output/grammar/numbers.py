"""Numbers between limits, as expressions of their digits.

Whole numbers are exact at any size. Other numbers are written with at most 15 significant digits, which every reader
of JSON gives back as they were.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

from openmodels.output.grammar.expression import NEVER, Expression, chars, optional, repeat, sequence, text, union

Limit = int | float | Decimal

_DIGITS = 15
"""Significant digits that a double always gives back."""
_WIDTH = 18
"""Digits of a whole number without a limit."""
_DECIMALS = 6
"""Decimals of a number between limits, where the limits have no more themselves."""
_ENUMERATED = 2_000
"""Multiples that are listed one by one at most."""
_ROUND = 10**3
"""A step that divides this is written by its last digits."""
_LONGEST = 400
"""Digits of a limit at most."""
_EXACT = 40
"""Digits of a whole number that are compared; longer limits are rounded inwards."""


class NumberRefused(ValueError):
    """Limits that have no grammar; the message says why."""


def integer(low: int | None, high: int | None, step: int = 1) -> Expression:
    """Return the whole numbers from `low` to `high` that `step` divides.

    Raises:
        NumberRefused: There are too many multiples for a grammar.
    """
    low, high = _closed(low, high, 10**_WIDTH - 1)
    if max(abs(low), abs(high)) >= 10**_LONGEST:
        raise NumberRefused(f"a limit has more than {_LONGEST} digits")
    first, last = -(-low // step), high // step
    if first > last:
        return NEVER
    low, high = _rounded(low, high)
    first, last = -(-low // step), high // step
    if step == 1:
        return _signed(low, high, _natural)
    if last - first < _ENUMERATED:
        return union(text(str(number * step)) for number in range(first, last + 1))
    if _ROUND % step:
        raise NumberRefused(f"multiples of {step} need limits with at most {_ENUMERATED:,} multiples between them")
    return _signed(low, high, lambda least, most: _multiples(least, most, step))


def decimal(
    low: Decimal | None, high: Decimal | None, *, above: bool, below: bool, step: Decimal | None = None
) -> Expression:
    """Return the numbers between limits, integers included, without an exponent.

    Args:
        low: The lower limit, or None.
        high: The upper limit, or None.
        above: Whether the lower limit itself is left out.
        below: Whether the upper limit itself is left out.
        step: What divides every number, or None.

    Raises:
        NumberRefused: There are too many multiples for a grammar.
    """
    if low is None and high is None and step is None:
        return _unlimited()
    with localcontext() as context:
        context.prec = 2 * _LONGEST
        size = max((limit.adjusted() + 1 for limit in (low, high) if limit), default=1)
        if size > _LONGEST:
            raise NumberRefused(f"a limit has more than {_LONGEST} digits")
        wanted = max([-_exponent(limit) for limit in (low, high, step) if limit is not None] + [0])
        if step is not None:
            places = [max(0, -_exponent(step))]
        else:
            # Small limits like 1e-9 need decimals of their own.
            finest = wanted + 1 if size <= 0 else min(wanted, _DIGITS - 1)
            places = [*range(max(_DECIMALS, finest) + 1)]
            places = places if len(places) <= _DIGITS else [0, *places[wanted - 2 :]]
        return union(_scaled(low, high, decimals, (above, below), step) for decimals in places)


def _scaled(
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
    first = None if low is None else int((low * scale).to_integral_value(ROUND_CEILING))
    last = None if high is None else int((high * scale).to_integral_value(ROUND_FLOOR))
    margins = [_margin(limit) for limit in (low, high)]
    if low is not None and first is not None and left_out[0]:
        first += max(int(margins[0] * scale), 1 if first == low * scale else 0)
    if high is not None and last is not None and left_out[1]:
        last -= max(int(margins[1] * scale), 1 if last == high * scale else 0)
    if step is not None:
        by = int(step * scale)
        if by < 1:
            raise NumberRefused("a step of so many digits cannot be followed")
        first, last = _closed(first, last, 10**_DIGITS - 1)
        return _multiples_with_point(first, last, by, decimals)
    first, last = _closed(first, last, 10**_DIGITS - 1)
    if first > last:
        return NEVER
    first, last = _rounded(first, last)
    return _signed(first, last, lambda least, most: _pointed(least, most, decimals))


def _multiples_with_point(first: int, last: int, by: int, decimals: int) -> Expression:
    least, most = -(-first // by), last // by
    if most < least:
        return NEVER
    if by == 1:
        return _signed(first, last, lambda low, high: _pointed(low, high, decimals))
    if most - least < _ENUMERATED:
        return union(text(_with_point(number * by, decimals)) for number in range(least, most + 1))
    if decimals == 0:
        return integer(first, last, by)
    raise NumberRefused(f"multiples need limits with at most {_ENUMERATED:,} multiples between them")


def _with_point(number: int, decimals: int) -> str:
    digits = str(abs(number)).rjust(decimals + 1, "0")
    point = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
    return f"-{point}" if number < 0 else point


def _unlimited() -> Expression:
    digits = chars([(0x30, 0x39)])
    integer_part = union([text("0"), sequence([chars([(0x31, 0x39)]), repeat(digits, 0, _DIGITS - 1)])])
    fraction = sequence([text("."), repeat(digits, 1, _DIGITS)])
    exponent = sequence([text("e"), optional(chars([(0x2B, 0x2B), (0x2D, 0x2D)])), repeat(digits, 1, 2)])
    return sequence([optional(text("-")), integer_part, optional(fraction), optional(exponent)])


def _exponent(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _margin(limit: Decimal | None) -> Decimal:
    """Return how far from a limit that is left out a double is certainly another one."""
    return Decimal(0) if limit is None else abs(limit).scaleb(-_DIGITS)


def _closed(low: int | None, high: int | None, usual: int) -> tuple[int, int]:
    """Return both limits; a missing one is the furthest number of the usual length."""
    if low is None:
        low = -usual if high is None or high > -usual // 10 else high * 10
    if high is None:
        high = usual if low < usual // 10 else low * 10
    return low, high


def _rounded(low: int, high: int) -> tuple[int, int]:
    """Return limits of many digits moved inwards.

    The lower one ends in zeros, the upper one in nines.

    Raises:
        NumberRefused: Nothing is left between them.
    """
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


def _signed(low: int, high: int, natural: object) -> Expression:
    assert callable(natural)  # noqa: S101 - narrows the type
    parts: list[Expression] = []
    if low < 0:
        parts.append(sequence([text("-"), natural(max(1, -high), -low)]))
    if high >= 0:
        parts.append(natural(max(0, low), high))
    return union(part for part in parts if part != NEVER) if parts else NEVER


def _natural(low: int, high: int) -> Expression:
    """Return the integers from `low` to `high`, at least 0, without leading zeros."""
    parts: list[Expression] = []
    shortest, longest = len(str(low)), len(str(high))
    if longest - shortest > 2:
        # Every number of the widths between.
        parts.append(sequence([_digits(1, 9, 1), repeat(chars([(0x30, 0x39)]), shortest, longest - 2)]))
    for width in range(shortest, longest + 1) if longest - shortest <= 2 else (shortest, longest):
        least = max(low, 10 ** (width - 1) if width > 1 else 0)
        most = min(high, 10**width - 1)
        parts.append(_padded(str(least), str(most)))
    return union(parts)


def _pointed(low: int, high: int, decimals: int) -> Expression:
    """Return the numbers from `low` to `high`, counted in the last of some decimals."""
    if decimals == 0:
        return _natural(low, high)
    parts: list[Expression] = []
    width = max(len(str(low)), decimals + 1)
    while 10 ** (width - 1) <= high or width == decimals + 1:
        least = max(low, 10 ** (width - 1) if width > decimals + 1 else 0)
        most = min(high, 10**width - 1)
        if least <= most:
            parts.append(_padded(str(least).rjust(width, "0"), str(most).rjust(width, "0"), width - decimals))
        width += 1
    return union(parts)


def _padded(low: str, high: str, point: int = -1) -> Expression:
    """Return the digits from `low` to `high`, with a point before the digit `point`.

    Both are texts of the same length.
    """
    return _Padded(low, high, point).after(0, is_low=True, is_high=True)


class _Padded:
    """Compares digits with two limits of the same length, from the first to the last."""

    def __init__(self, low: str, high: str, point: int) -> None:
        self._low, self._high, self._point = low, high, point

    def after(self, place: int, *, is_low: bool, is_high: bool) -> Expression:
        """Return the digits from a place, after those of the lower or the upper limit."""
        # A limit that ends in zeros, or an upper one that ends in nines, binds no further.
        is_low = is_low and self._low[place:].strip("0") != ""
        is_high = is_high and self._high[place:].strip("9") != ""
        if not (is_low or is_high):
            return self._any(place)
        least = int(self._low[place]) if is_low else 0
        most = int(self._high[place]) if is_high else 9
        parts: list[Expression] = []
        if is_low and is_high and least == most:
            parts.append(sequence([text(str(least)), self.after(place + 1, is_low=True, is_high=True)]))
            least += 1
        else:
            if is_low:
                parts.append(sequence([text(str(least)), self.after(place + 1, is_low=True, is_high=False)]))
                least += 1
            if is_high:
                parts.append(sequence([text(str(most)), self.after(place + 1, is_low=False, is_high=True)]))
                most -= 1
        if least <= most:
            parts.append(sequence([_digits(least, most, 1), self._any(place + 1)]))
        return sequence([text("." if place == self._point else ""), union(parts)])

    def _any(self, place: int) -> Expression:
        length = len(self._low)
        if place <= self._point < length:
            before = _digits(0, 9, self._point - place)
            return sequence([before, text("."), _digits(0, 9, length - self._point)])
        return _digits(0, 9, length - place)


def _digits(least: int, most: int, count: int) -> Expression:
    return repeat(chars([(0x30 + least, 0x30 + most)]), count, count)


def _multiples(low: int, high: int, step: int) -> Expression:
    """Return the multiples of a step that divides `_ROUND`, by their last digits."""
    width = len(str(_ROUND)) - 1
    head_first, head_last = low // _ROUND, high // _ROUND

    def tails(first: int, last: int, *, padded: bool) -> Expression:
        numbers = range(-(-first // step) * step, last + 1, step)
        return union(text(str(number).rjust(width, "0") if padded else str(number)) for number in numbers)

    parts: list[Expression] = []
    if head_first == 0:
        parts.append(tails(low, min(high, _ROUND - 1), padded=False))
        head_first, low = 1, _ROUND
    if head_first <= head_last:
        edge = tails(low % _ROUND, _ROUND - 1 if head_last > head_first else high % _ROUND, padded=True)
        parts.append(sequence([text(str(head_first)), edge]))
    if head_last > head_first:
        parts.append(sequence([text(str(head_last)), tails(0, high % _ROUND, padded=True)]))
    if head_last - head_first > 1:
        parts.append(sequence([_natural(head_first + 1, head_last - 1), tails(0, _ROUND - 1, padded=True)]))
    return union(part for part in parts if part != NEVER)
