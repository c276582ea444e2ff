"""Think tags: what is reasoning and what is answer, however the text is cut into pieces."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from openmodels.output.text_scan import (
    REASONING_TAGS,
    ReasoningSplitter,
    ReasoningTags,
    find_reasoning_tags,
    opens_reasoning,
)

THINK = REASONING_TAGS[0]


def split(pieces, *tags, inside=False):
    splitter = ReasoningSplitter(*(tags or (THINK,)), inside=inside)
    parts = [splitter.feed(piece) for piece in pieces] + [splitter.flush()]
    return "".join(reasoning for reasoning, _ in parts), "".join(answer for _, answer in parts)


@pytest.mark.parametrize(
    ("text", "inside", "reasoning", "answer"),
    [
        ("<think>why</think>because", False, "why", "because"),
        ("\n<think>\nwhy\n</think>\n\nbecause\n", False, "why", "because\n"),
        ("why</think>because", True, "why", "because"),
        ("<think>why</think>because", True, "why", "because"),
        ("<think>\n\n</think>\n\nbecause", False, "", "because"),
        ("\n</think>because", True, "", "because"),
        ("<think>why", False, "why", ""),
        ("why", True, "why", ""),
        ("<think>why</thi", False, "why</thi", ""),
        ("<think>", False, "", ""),
        ("<think>a</think><think>b</think>c", False, "a\n\nb", "c"),
        ("<think></think><think>b</think>c", False, "b", "c"),
        ("no <think>tags</think> here", False, "", "no <think>tags</think> here"),
        ("<think>a</think>b<think>c</think>", False, "a", "b<think>c</think>"),
        ("a</think>b", False, "", "a</think>b"),
        ("<thi", False, "", "<thi"),
        ("  plain", False, "", "  plain"),
        (" \n ", False, "", " \n "),
        ("", False, "", ""),
        ("", True, "", ""),
        ("a < b\n\n<c", True, "a < b\n\n<c", ""),
        ("<think><think>", True, "<think>", ""),
    ],
)
def test_what_is_reasoning(text, inside, reasoning, answer):
    assert split([text], inside=inside) == (reasoning, answer)
    assert split(list(text), inside=inside) == (reasoning, answer)


@pytest.mark.parametrize("tags", REASONING_TAGS)
def test_each_models_tags(tags):
    text = f"{tags.open}why{tags.close}because"
    assert split(list(text), tags) == ("why", "because")
    assert split(list(text), *REASONING_TAGS) == ("why", "because")
    assert find_reasoning_tags(f"... split('{tags.close}')") == tags
    assert opens_reasoning(f"<|assistant|>{tags.open}\n", tags)
    assert not opens_reasoning(f"{tags.open}\n\n{tags.close}\n\n", tags)


def test_a_template_without_tags():
    assert find_reasoning_tags("{% for message in messages %}{{ message.content }}{% endfor %}") is None


WORDS = st.sampled_from(
    ["<think>", "</think>", "<", "/", "think", ">", "</thi", "a", "ü🎉", " ", "\n", "[THINK]", "[/"]
)


@st.composite
def pieces(draw):
    text = "".join(draw(st.lists(WORDS, max_size=12)))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(pieces(), st.booleans(), st.sampled_from([(THINK,), REASONING_TAGS]))
def test_pieces_give_what_the_whole_gives(cut, inside, tags):
    assert split(cut, *tags, inside=inside) == split(["".join(cut)], *tags, inside=inside)


@given(pieces(), st.booleans())
def test_nothing_but_tags_and_space_is_lost(cut, inside):
    text = "".join(cut)
    reasoning, answer = split(cut, inside=inside)
    given_out = "".join((reasoning + answer).split())
    without = "".join(text.split())
    while given_out != without:
        # Only a tag at the place where the two differ may be missing.
        at = next((i for i, (a, b) in enumerate(zip(given_out, without, strict=False)) if a != b), len(given_out))
        tag = next(
            tag
            for tag in THINK
            if any(without.startswith(tag, start) for start in range(max(0, at - len(tag) + 1), at + 1))
        )
        start = next(s for s in range(max(0, at - len(tag) + 1), at + 1) if without.startswith(tag, s))
        without = without[:start] + without[start + len(tag) :]


@given(st.lists(st.text(st.characters(exclude_characters="<[◁"), min_size=1), max_size=6))
def test_an_answer_without_tags_is_passed_on_as_it_comes(cut):
    splitter = ReasoningSplitter(*REASONING_TAGS)
    begun = False
    for piece in cut:
        reasoning, answer = splitter.feed(piece)
        assert reasoning == ""
        assert not begun or answer == piece
        begun = begun or splitter.is_over
    assert "".join(split(cut, *REASONING_TAGS)) == "".join(cut)


def test_reasoning_streams_while_it_comes():
    splitter = ReasoningSplitter(ReasoningTags("<think>", "</think>"))
    assert [splitter.feed(piece)[0] for piece in ("<think>", "first ", "second")] == ["", "first", " second"]
    assert splitter.is_inside
    assert splitter.feed("</think>") == ("", "")
    assert not splitter.is_inside
