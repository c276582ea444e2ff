"""The time to read a card or a name grows with its length and not with its square."""

from __future__ import annotations

import time

import pytest

from openmodels import licenses
from openmodels.hub import card
from openmodels.licenses import extra_words, identification, phrases, statements, templates

UNITS = [
    "```\n", "~~~a\n", "`" * 50 + "\n" + "~" * 30 + "\n", "<!-- ", "-->", "[", "![", "[a](", "](https://", "[[a]",
    "href='https://x/", "<h2>", "<a ", "# # ", "#", "> ", "- ", "1. ", "1", " \n", "\t", "data. ", ". ", "“", "---\n",
    "--- \n\n", "https://arxiv.org/", "huggingface.co/a/", "a/b ", "a-/", "A-", "based on ", "continual ", "chatglm-",
    "train", "outputs ", "only for a ", "\u00a0", "*_`",
]  # fmt: skip
READERS = {
    "card": card.parse_outline,
    "bases": lambda text: card.find_base_mentions(text, "a/b"),
    "links": card.find_model_links,
    "front matter": card.parse_front_matter,
    "matter of units": lambda text: card.parse_front_matter(f"---\na: |\n {text}\n---\n"),
    # A fifth of the text: a hundred patterns in ten languages look through it.
    "restrictions": lambda text: phrases.find_restrictions(text[: len(text) // 5]),
    "terms": lambda text: phrases.is_about_terms(text[: len(text) // 5]),
    "statements": lambda text: list(statements.read_statements(text)),
    "words": templates.split_words,
    "extra words": lambda text: extra_words.find_conditions(text[: len(text) // 5], ["MIT"]),
    "titles": lambda text: [pattern.search(text) for pattern, _ in identification._TITLE_PATTERNS],
    "license": licenses.find,
}


def seconds(read, text):
    began = time.process_time()
    read(text)
    return time.process_time() - began


@pytest.mark.parametrize("name", READERS)
def test_time_is_linear_in_the_length(name):
    read = READERS[name]
    for unit in UNITS:
        text = unit * (40_000 // len(unit))
        taken = seconds(read, text)
        if taken > 0.1:
            # Only the ratio tells: of four times the text a quadratic reader takes sixteen times as long.
            quarter = min(seconds(read, text[:10_000]) for _ in range(2))
            assert min(taken, seconds(read, text)) < 8 * max(quarter, 0.01), unit


def test_fences_are_those_that_close():
    text = "a\n```py\n# no heading\n```\n## b\n````\n```\n## no\n````\n~~~\n## c\n```\n## d\n"
    assert card.parse_outline(text)["headings"] == ["b", "c", "d"]


def test_aliases_stand_for_no_more_than_is_read():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 10)]
    assert card.parse_front_matter("---\n" + "\n".join([*lines, "license: *a9"]) + "\n---\n") == {}
    assert card.parse_front_matter("---\nlicense: &l mit\nname: *l\nday: 2026-01-02\n1: x\n---\n") == {
        "license": "mit", "name": "mit", "day": "2026-01-02", "1": "x",
    }  # fmt: skip
