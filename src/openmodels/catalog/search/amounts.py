"""Reading the numbers and set phrases of an English text.

Sizes, memory, context, license, gate, order. Each pattern takes its words out of the text and states what they
mean; what is left is read word by word.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from importlib.resources import files
from typing import Any

from openmodels.catalog.query import Range, parse_number

_LESS = (
    r"(?:under|below|less than|fewer than|smaller than|lighter than|up to|at most|max(?:imum)?(?: of)?|within|sub|"
    r"(?:no|not|nothing) (?:over|above|(?:more|bigger|larger|greater) than)|[<≤]=?)"
)
_MORE = r"(?:over|above|more than|larger than|bigger than|greater than|at least|min(?:imum)?(?: of)?|[>≥]=?)"
_OR_LESS = r"(?:,? (?:or|and) (?:less|smaller|below|under|fewer|lower)| max(?:imum)?)\b"
_OR_MORE = r"(?:\+|,? (?:or|and) (?:more|larger|bigger|above|up|greater|higher)\b| min(?:imum)?\b)"
_DIGITS = r"(\d+(?:[.,]\d+)?)"
_UNIT = r" ?(b|m|bn|bill?ions?|mill?ions?)(?![\w-]|\.\d)(?:[ -](?:of )?(?:parameters?|params?|weights)\b)?"
_AMOUNT = rf"({_DIGITS[1:-1]}|an?|one){_UNIT}"
_START = r"(?<![\w.-])"
_BELOW = re.compile(rf"{_START}{_LESS}[ -]?{_AMOUNT}|{_START}{_AMOUNT}{_OR_LESS}")
_ABOVE = re.compile(rf"{_START}(?<!no )(?<!not )(?<!nothing ){_MORE} ?{_AMOUNT}|{_START}{_AMOUNT}{_OR_MORE}")
# A hyphen alone makes no range after a name: "llama 2-7b" names a model, "models of 2-7b" have a size.
_BETWEEN = re.compile(
    rf"\b(?:between|from) {_DIGITS} ?([bm]?) ?(?:and|to|-|–)? ?{_DIGITS}{_UNIT}"
    rf"|{_START}{_DIGITS} ?([bm]) ?(?:to|-|–|\.\.) ?{_DIGITS}{_UNIT}"
    r"|(?:^|~|(?<=\bfor )|(?<=\bof )|(?<=\bin )|(?<=\ba )|(?<=\bthe )|(?<=\bmodel )|(?<=\bmodels )|(?<=\bllm ))"
    rf"(\d+)()[-–](\d+){_UNIT}"
)
_SIZE = re.compile(rf"(?:\b(?:around|about|roughly|approximately|circa) |~ ?)?{_START}{_DIGITS}{_UNIT}")

_RUNS = r"(?:\b(?:(?:that|which|can|will|to) )*(?:runs?|running|fits?|fitting|works?|loads?)(?: (?:it|well|fast))* )?"
_ON = r"(?:\b(?:on|in|into|with|within|for|inside|having|using) )?"
# So many of them at most, each a word of its own: without bounds, "aaaa" and "a a a" are read in cubic time.
_SOME = rf"(?:(?<!\w)(?:(?:a|an|my|one|single|only|just|about|around|less|the)\b|{_LESS}) ?){{0,5}}"
_BYTES = rf"{_START}{_DIGITS}[ -]?([mgt])(?:i?b|igs?|i?o|igabytes?|erabytes?)(?![\w.-]*\w)"
_MEMORY_WORDS = (
    r"(?: ?-?(?:of )?(?:v?-?ram|memory|gpus?|graphics (?:cards?|memory)|video memory|cards?|laptop|notebook|pc|"
    r"machine|computer|mac(?:book)?(?: (?:air|pro|mini|studio))?|m\d(?: (?:pro|max|ultra))?|unified|shared|"
    r"system|ddr\d|nvidia|apple silicon)\b)*"
)
_MEMORY = re.compile(rf"{_RUNS}{_ON}{_SOME}{_MEMORY_WORDS} ?(?:of |with )?{_SOME}{_BYTES}{_MEMORY_WORDS}")
# "16g" alone may be anything; beside a word for memory it is an amount.
_SHORT_GIGABYTES = re.compile(
    rf"{_START}(\d+) ?g(?= ?(?:of )?(?:v?-?ram|memory|gpu|graphics|video|card|laptop|pc|mac|unified)\b)"
    r"|(?<=ram )(\d+) ?g\b(?!-)|(?<=memory )(\d+) ?g\b(?!-)"
)
_MACHINE = (
    r"(?:laptop|machine|computer|pc|mac|macbook(?: (?:air|pro))?|gpu|graphics card|desktop|notebook|hardware|device)"
)
_GRAPHICS = re.compile(r"\b(?:vram|gpus?|graphics|video|cards?|nvidia)\b")
_OWN_MACHINE = re.compile(
    rf"{_RUNS}{_ON}\b(?:my|this|our) (?:(?:own|old|home|local|gaming) )*{_MACHINE}\b"
    rf"|{_RUNS}{_ON}\b(?:locally|on[- ]device|local(?: machine| computer| use)?)\b"
)

_DEVICES = json.loads((files("openmodels.catalog.search") / "devices.json").read_text(encoding="utf-8"))["devices"]
_DEVICE_GB = {name: int(size) for size, names in _DEVICES.items() for name in names}
# People leave out the maker's letters: "a 3060".
_DEVICE_GB |= {name[4:]: size for name, size in _DEVICE_GB.items() if re.fullmatch(r"[gr]tx \d{4}(?: ti)?", name)}
_DEVICE_NAMES = "|".join(name.replace(" ", " ?") for name in sorted(_DEVICE_GB, key=len, reverse=True))
_DEVICE_GB |= {name.replace(" ", ""): size for name, size in _DEVICE_GB.items()}
_DEVICE = re.compile(
    rf"{_RUNS}{_ON}(?:\b(?:an?|one|single|nvidia|geforce|the|free) )*{_START}(?:(\d) ?x ?|\b)"
    rf"((?:{_DEVICE_NAMES})s?)(?![\w-]|\.\d)(?: (?:super|mobile|laptop|gpu|card)\b)*"
)

_TOKENS = rf"{_START}(\d+(?:[.,]\d+)*) ?(k|m|thousand|million)?\+?"
_CONTEXT_WORD = r"(?:context|ctx)(?:[ -](?:window|length|len|size))?\b"
_CONTEXT = re.compile(
    rf"(?:\bwith )?(?:{_MORE} ?|up to )?(?:{_TOKENS}[ -]?(?:tokens? ?)?(?:of )?{_CONTEXT_WORD}"
    rf"|\b{_CONTEXT_WORD} ?(?:(?:of|is|up to|[:=]|{_MORE}) ?)*{_TOKENS}(?: ?tokens?\b)?(?![\w-])"
    rf"|{_START}(\d+(?:[.,]\d+)*) ?(k|m)[ -]?tokens?\b|{_START}(\d{{4,7}}|\d{{1,3}}(?:[.,]\d{{3}})+)() tokens?\b)"
)
_LONG_CONTEXT = re.compile(
    r"\b(?:very )?(?:long|large|big|huge|longer|extended)[ -](?:context|ctx)(?:[ -](?:window|length|len|size))?\b"
)
_LONG = 32_768

_NON_COMMERCIAL = re.compile(r"\b(?:non[- ]?commercial(?:ly)?|not? commercial)(?: use)?\b")
_COMMERCIAL = re.compile(
    r"\b(?:(?:can|may|allowed|usable|free|ok|okay|licensed|use|be|used) )*(?:for )?commercial(?:ly)?"
    r"(?: (?:use|usage|usable|licen[sc]e|purposes?|projects?|products?|applications?))?\b"
)
_OPEN_SOURCE = re.compile(
    r"\b(?:(?:fully|truly|really) )?open[- ]?sourced?\b|\bpermissive(?:ly)?(?: licen[sc](?:ed?|es?))?\b"
)
# Whoever can have the weights can run the model without a service.
_OPEN_WEIGHTS = re.compile(
    r"\b(?:open[- ]?weights?|(?:works? |runs? |usable )?offline|self[- ]?host(?:ed|able|ing)?|on[- ]prem(?:ises?)?)\b"
)
_PRICE = re.compile(
    rf"(?:{_LESS}|cheaper than) ?(?:us)?\$ ?{_DIGITS}"
    r"(?: ?(?:/|per|a) ?(?:1 ?)?(?:m|million)\b(?: (?:output )?tokens?\b)?)?"
)
_SINCE = re.compile(
    r"\b(?:(?:released|published|updated|made|models?|from) )?(?:(after|later than|newer than)|since) (20[12]\d)\b"
    r"|\b(?:released|published|updated) in() (20[12]\d)\b"
    r"|\b(?:from|in)() (20[12]\d) (?:or (?:later|newer)|on(?:wards?)?)\b"
)
_UNGATED = re.compile(
    r"\b(?:ungated|non-?gated|not gated|no gat(?:e|ing)|without (?:a |any )?"
    r"(?:gate|gating|login|registration|approval))\b"
)
_ORDERS = (
    (re.compile(r"\b(?:most[- ]downloaded|most popular|by downloads)\b"), "downloads"),
    (re.compile(r"\b(?:most[- ]liked|by likes)\b"), "likes"),
    (re.compile(r"\btrending\b"), "trending"),
)

FIRST_CONTEXT = 0xE000
"""The character that stands for the first context in the rest of a text; the next for the second, and so on."""


@dataclass(slots=True)
class Amounts:
    """What a text says in numbers and set phrases."""

    rest: str  # the text without them; "7 billion" is the "7b" of names
    # Fields of the query; `fits` is in bytes, or "here" for the memory of this machine.
    filters: dict[str, Any] = field(default_factory=dict)
    meanings: list[tuple[str, str]] = field(default_factory=list)  # parts of the text, and what each means
    contexts: dict[str, int] = field(default_factory=dict)  # least tokens of context, by the words for it

    def take(self, pattern: re.Pattern[str], meaning: str, **filters: Any) -> bool:
        """Take the words of a pattern out, if there are any, and keep what they mean."""
        matches = [match[0].strip() for match in pattern.finditer(self.rest)]
        if matches:
            self.rest = pattern.sub(" ", self.rest)
            self.filters |= filters
            self.meanings += [(words, meaning) for words in matches]
        return bool(matches)


def read_amounts(text: str) -> Amounts:
    """Return the amounts and set phrases of an English text.

    It is in lower case, with single spaces, and without ids and addresses.
    """
    amounts = Amounts(text)
    if price := _PRICE.search(text):
        most = Decimal(price[1].replace(",", "."))
        amounts.take(_PRICE, f"at most ${most} per million output tokens", max_price=most)
    if since := _SINCE.search(amounts.rest):
        after, year = next((a, y) for a, y in zip(since.groups()[::2], since.groups()[1::2], strict=True) if y)
        first = date(int(year) + bool(after), 1, 1)
        amounts.take(_SINCE, f"updated in {first.year} or later", updated_after=first)
    _read_memory(amounts)
    _read_contexts(amounts)
    _read_sizes(amounts)
    if amounts.take(_NON_COMMERCIAL, "not only for commercial use"):
        pass
    elif len(amounts.rest.split()) > 1:
        meaning = "a license that does not forbid commercial use (conditions may apply)"
        amounts.take(_COMMERCIAL, meaning, license_class=("open", "restricted"))
    amounts.take(_OPEN_SOURCE, "an open license", license_class=("open",))
    amounts.take(_OPEN_WEIGHTS, "any model whose weights are listed")
    amounts.take(_UNGATED, "no gate", gated=False)
    for pattern, sort in _ORDERS:
        amounts.take(pattern, f"in the order of {sort}", sort=sort)
    return amounts


def _read_sizes(amounts: Amounts) -> None:
    def between(match: re.Match[str]) -> str:
        low, low_unit, high, unit = (part for part in match.groups() if part is not None)
        return _add_range(amounts, match[0], *sorted((_count(low, low_unit or unit), _count(high, unit))))

    def most(match: re.Match[str]) -> str:
        return _add_range(amounts, match[0], None, _count(*_stated(match)))

    def least(match: re.Match[str]) -> str:
        return _add_range(amounts, match[0], _count(*_stated(match)), None)

    def exact(match: re.Match[str]) -> str:
        # "7 billion" is the "7b" of names.
        word = f"{match[1].replace(',', '.')}{match[2][0]}"
        if match[0] != word:
            amounts.meanings.append((match[0].strip(), word))
        return f" {word} "

    rest = _BETWEEN.sub(between, amounts.rest)
    rest = _BELOW.sub(most, _ABOVE.sub(least, rest))
    amounts.rest = _SIZE.sub(exact, rest)


def _add_range(amounts: Amounts, words: str, low: int | None, high: int | None) -> str:
    before = amounts.filters.get("parameters") or Range(None, None)
    low, high = (low if low is not None else before.low), (high if high is not None else before.high)
    amounts.filters["parameters"] = Range(low, high)
    amounts.meanings.append((words.strip(), _range_text(low, high) + " parameters"))
    return " "


def _range_text(low: int | None, high: int | None) -> str:
    if low is None or high is None:
        return f"at most {_short(high or 0)}" if low is None else f"at least {_short(low)}"
    return f"{_short(low)} to {_short(high)}"


def _short(count: float) -> str:
    return f"{count / 1e9:.3g}B" if count >= 1e9 else f"{count / 1e6:.3g}M"


def _stated(match: re.Match[str]) -> tuple[str, str]:
    digits, unit = (part for part in match.groups() if part is not None)
    return digits, unit


def _count(digits: str, unit: str) -> int:
    return parse_number((digits if digits[0].isdigit() else "1").replace(",", ".") + unit[0])


def _read_memory(amounts: Amounts) -> None:
    """Read an amount of memory, else this machine, else a device that has one."""
    units = {"m": 10**6, "g": 10**9, "t": 10**12}
    amounts.rest = _SHORT_GIGABYTES.sub(lambda match: f"{match[1] or match[2] or match[3]}gb", amounts.rest)
    # Of several amounts that of the graphics card counts.
    stated = list(_MEMORY.finditer(amounts.rest))
    if amount := next((match for match in stated if _GRAPHICS.search(match[0])), next(iter(stated), None)):
        size = min(float(amount[1].replace(",", ".")) * units[amount[2]], 2.0**62)
        amounts.rest = _MEMORY.sub(" ", amounts.rest)
        amounts.filters["fits"] = int(size)
        meaning = f"fits in {size / 1e9:g} GB"
        amounts.meanings += [
            (match[0].strip(), meaning if match is amount else "memory that is not counted") for match in stated
        ]
    memory = {} if amount else {"fits": "here"}
    is_own = amounts.take(_OWN_MACHINE, "fits in the memory of this machine", **memory)
    if device := _DEVICE.search(amounts.rest):
        name = device[2].replace(" ", "")
        total = (_DEVICE_GB.get(name) or _DEVICE_GB.get(name.removesuffix("s")) or 0) * int(device[1] or 1)
        if total and not amount and not is_own:
            amounts.take(_DEVICE, f"fits in {total} GB", fits=total * 10**9)
        elif total:
            amounts.take(_DEVICE, "the memory that is stated")


def _read_contexts(amounts: Amounts) -> None:
    def context(match: re.Match[str]) -> str:
        digits, unit = next((a, b) for a, b in zip(match.groups()[::2], match.groups()[1::2], strict=True) if a)
        first, *parts = re.split("[.,]", digits)
        # "100.000" and "100,000" are the same, "1,5m" is not "1,500".
        is_grouped = not unit and all(len(part) == 3 for part in parts)
        count = float("".join([first, "" if is_grouped else ".", *parts]))
        count *= {"k": 1024, "t": 1000, "m": 1024**2}.get((unit or " ")[0], 1)
        if count < 500 or (unit is None and count < 1000):
            return match[0]  # "in-context 3 shot"
        return keep(match[0], int(min(count, 2.0**62)))

    def keep(words: str, tokens: int) -> str:
        amounts.contexts[words.strip()] = tokens
        return f" {chr(FIRST_CONTEXT + list(amounts.contexts).index(words.strip()))} "

    rest = _LONG_CONTEXT.sub(lambda match: keep(match[0], _LONG), amounts.rest)
    amounts.rest = _CONTEXT.sub(context, rest)
