"""Cycles in an answer: which end it, which never do, and what looking for them costs."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, strategies as st

from openmodels.backends.local import repetition
from openmodels.backends.local.repetition import REPEATED, RepetitionDetector

LONGEST = 4 * REPEATED
"""Tokens of cycles within which every cycle of at most `REPEATED` tokens is seen."""

tokens = st.integers(0, 49_151)


def ended_at(pieces: Iterable[int | str], most: int = 10 * REPEATED) -> int | None:
    """Return after how many tokens a detector ends an answer, or None."""
    detector = RepetitionDetector()
    for count, piece in enumerate(itertools.islice(pieces, most), 1):
        if detector.add_token(piece) if isinstance(piece, int) else detector.add(piece):
            return count
    return None


@given(st.lists(tokens, max_size=500), st.lists(tokens, min_size=1, max_size=REPEATED))
def test_every_cycle_ends_an_answer(before: list[int], cycle: list[int]) -> None:
    end = ended_at([*before, *itertools.islice(itertools.cycle(cycle), LONGEST + 64)])
    assert end is not None
    assert REPEATED < end <= len(before) + LONGEST + 64


@given(st.lists(tokens, min_size=1, max_size=60))
def test_a_short_cycle_ends_an_answer_soon(cycle: list[int]) -> None:
    end = ended_at(itertools.cycle(cycle))
    assert end is not None
    assert REPEATED + 1 <= end <= REPEATED + len(cycle) + 64


@given(st.lists(tokens, min_size=1, max_size=40), st.lists(tokens, max_size=300), st.lists(tokens, max_size=300))
def test_what_repeats_over_fewer_tokens_never_ends_one(cycle: list[int], before: list[int], after: list[int]) -> None:
    # Text that never repeats on either side, so that only the middle is a cycle.
    fresh = itertools.count(50_000)
    start, end = [next(fresh) for _ in before], [next(fresh) for _ in after]
    assert ended_at([*start, *itertools.islice(itertools.cycle(cycle), REPEATED), *end]) is None


def numbers() -> Iterator[str]:
    for number in itertools.count(1):
        yield from (*str(number), ".", " item", "\n")


def table() -> Iterator[str]:
    for row in itertools.count(1):
        yield from ("|", " row", *str(row), "|", " yes", "|", " 0", "|", " 0", "|", "\n")


def code() -> Iterator[str]:
    for number in itertools.count():
        yield from ("    ", "self", ".", "field", *str(number), " =", " field", *str(number), "\n")


def rule() -> Iterator[str]:
    for section in itertools.count(1):
        yield from ("#", *str(section), "\n", *["-"] * 80, "\n", *[" "] * 120, "text", "\n")


@pytest.mark.parametrize("text", [numbers, table, code, rule])
def test_repetitive_text_that_changes_never_ends_an_answer(text: type[Iterator[str]]) -> None:
    assert ended_at(text(), most=20_000) is None


def test_a_line_may_be_repeated_as_long_as_a_page() -> None:
    line = ["|", " 0", "|", " 0", "|", " 0", "|", "\n"]
    assert ended_at(line * (REPEATED // len(line))) is None
    assert ended_at(itertools.cycle(line)) is not None


def test_pieces_of_several_characters_count_as_one_token_each() -> None:
    # 60 pieces of a hundred characters are few tokens, however long their text.
    assert ended_at(["=" * 100] * 60 + ["end"]) is None
    end = ended_at(itertools.cycle(["=" * 100, "+"]))
    assert end is not None
    assert end > REPEATED


def test_pieces_cut_elsewhere_each_time_are_the_same_text() -> None:
    pieces = itertools.cycle(["la fem", "me au ", "martyre, ", "la ", "femme", " au mar", "tyre, "])
    assert ended_at(pieces) is not None


def test_pieces_without_text_count_for_nothing() -> None:
    assert ended_at(itertools.repeat("")) is None


def test_looking_is_rare_and_keeps_a_bounded_text(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    is_cycle = RepetitionDetector._is_cycle

    def counted(detector: RepetitionDetector) -> bool:
        nonlocal looks
        looks += 1
        assert len(detector._pieces) <= LONGEST
        return is_cycle(detector)

    monkeypatch.setattr(RepetitionDetector, "_is_cycle", counted)
    assert ended_at(itertools.count(50_000), most=20_000) is None
    assert looks <= 20_000 / repetition._INTERVAL
