"""Languages by what people call them, and the codes that models state."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from openmodels.catalog import languages, vocabulary


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("danish", "da"), ("dansk", "da"), ("nederlands", "nl"), ("niederländisch", "nl"), ("ukrainien", "uk"),
        ("ukrainische", "uk"), ("suomi", "fi"), ("ελληνικά", "el"), ("español", "es"), ("espanol", "es"),
        ("portuguesa", "pt"), ("ภาษาไทย", None), ("ไทย", "th"), ("हिन्दी", "hi"), ("hindi", "hi"), ("日语", "ja"),
        ("中文", "zh"), ("한국어", "ko"), ("farsi", "fa"), ("jp", "ja"), ("fr", "fr"), ("es-mx", "es-mx"),
        ("zh-hk", "zh-hk"), ("sr-latn", "sr-latn"), ("de-en", None), ("it", None), ("id", None), ("llama", None),
        ("summarisation", None), ("second", None), ("java", None), ("", None), ("\ud83d", None),
    ],
)  # fmt: skip
def test_words(word, code):
    assert languages.code_of(word) == code


@pytest.mark.parametrize(
    ("wanted", "stated", "is_one"),
    [
        ("es", "spa", True), ("es", "es-419", True), ("es-mx", "es", True), ("es-mx", "es-es", False),
        ("zh", "zho", True), ("zh", "cmn-hans", True), ("zh-hk", "zh-hans", False), ("zh-hk", "zh-hant", True),
        ("no", "nob", True), ("nb", "nno", False), ("tl", "fil", True), ("sr", "sr-cyrl", True),
        ("sr-latn", "sr-cyrl", False), ("id", "ms", False), ("de", "multilingual", False), ("de", "code", False),
    ],
)  # fmt: skip
def test_codes(wanted, stated, is_one):
    assert languages.matches(wanted, stated) == is_one


@pytest.mark.parametrize(("word", "code"), [("swe", "sv"), ("nld", "nl"), ("rag", None), ("tts", None), ("vit", None)])
def test_codes_of_three_letters(word, code):
    assert languages.three_letter_code(word) == code


def test_a_record_keeps_the_code_that_is_stated():
    assert vocabulary.language("zh-Hant") == "zh-hant"
    assert vocabulary.language("deu") == "deu"
    assert vocabulary.language("Finnish") == "fi"
    assert vocabulary.language(False) == "no"


@given(st.text(max_size=12))
def test_any_word_is_read(word):
    languages.code_of(word.lower())
    languages.three_letter_code(word)
