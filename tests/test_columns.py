import pytest

from openmodels import columns


@pytest.mark.parametrize(
    ("text", "room", "shown"),
    [
        ("lighthouse", 10, "lighthouse"),
        ("lighthouse-keeper", 9, "ligh…eper"),
        ("モデル公開", 10, "モデル公開"),
        ("モデル公開", 7, "モ…公開"),
        ("abc", 1, "…"),
        ("abc", 0, ""),
    ],
)
def test_the_middle_is_left_out(text, room, shown):
    assert columns.shorten(text, room) == shown
    assert columns.width(shown) <= max(room, 0)


def test_lines_break_between_words_only():
    text = "a report on https://example.org/a/very/long/address/of-a-file and on others"
    assert list(columns.wrap(text, 20)) == [
        "a report on",
        "https://example.org/a/very/long/address/of-a-file",
        "and on others",
    ]
    assert list(columns.wrap(text, 20, whole_words=False)) == [
        "a report on",
        "https://ex…of-a-file",
        "and on others",
    ]


def test_a_language_without_blanks_loses_nothing():
    text = "この模型の重みは商用利用を認めていません"
    lines = list(columns.wrap(text, 11, whole_words=False))
    assert "".join(lines) == text
    assert max(map(columns.width, lines)) <= 11


def test_a_paragraph_hangs_behind_its_mark():
    text = "tokens of prompt and answer together"
    assert list(columns.wrap_hanging(text, 24, "用 - ")) == ["用 - tokens of prompt and", "     answer together"]
    assert list(columns.wrap_hanging(text, None)) == [f"- {text}"]
    assert list(columns.wrap_hanging("", 80, "name  ")) == ["name"]
