"""Text of strangers in terminals, Markdown and HTML."""

from __future__ import annotations

import html as html_syntax
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, strategies as st

from openmodels import escaping

HOSTILE = [
    "[a](javascript:x) ![b](https://stranger.example/i.png)",
    "<svg onload=x> & </td>",
    "a | b\n# c\r\n- d",
    "\x1b[2J\x9b31m\x07\u202eabc\u2066\ud800",
    "https://stranger.example www.stranger.example",
    "`code` *bold* \\[x\\](y)",
    '" onmouseover="x',
]


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_begins_nothing(text):
    shown = escaping.escape_markdown(text)
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]`*|<>]", shown)
    assert "](" not in shown
    assert "://" not in shown
    assert "www." not in shown
    assert shown.isprintable()


@given(st.text() | st.sampled_from(HOSTILE))
def test_html_holds_no_element_and_ends_no_attribute(text):
    seen = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: seen.append((tag, attributes))
    parser.feed(f'<p title="{escaping.escape_html(text)}">{escaping.escape_html(text)}</p>')
    assert [tag for tag, _ in seen] == ["p"]
    assert [name for name, _ in seen[0][1]] == ["title"]
    assert html_syntax.unescape(escaping.escape_html(text)) == escaping.escape_terminal(text)


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_terminal_gets_no_controls_and_a_line_is_one(text):
    shown = escaping.escape_terminal(text)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert len(escaping.escape_line(text).splitlines()) <= 1
    assert escaping.escape_terminal("日本 👩‍🚀 é\tx\ny") == "日本 👩‍🚀 é\tx\ny"


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://wandb.ai/a/b?c=d#e", "https://wandb.ai/a/b?c=d#e"),
        ("https://wandb.ai/x) ![b](https://stranger.example/i.png)", "https://wandb.ai/x%29%20![b]%28https://stranger.example/i.png%29"),
        ('https://github.com/a"><script>', "https://github.com/a%22%3E%3Cscript%3E"),
        ("http://github.com/a", None),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("https://", None),
        ("https://[", None),
        ("//github.com", None),
        ("\x01https://github.com/a", "https://github.com/a"),
    ],
)  # fmt: skip
def test_links_are_https_alone(url, link):
    assert escaping.quote_https_url(url) == link


@pytest.mark.parametrize("indent", [None, 2])
@given(text=st.text() | st.sampled_from(HOSTILE))
def test_json_is_lossless_and_moves_no_cursor(indent, text):
    written = escaping.dump_json({text: [text]}, indent=indent)
    assert escaping.escape_terminal(written) == written
    assert json.loads(written) == {text: [text]}
