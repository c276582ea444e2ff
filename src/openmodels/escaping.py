"""Text of strangers in the syntax of others: terminals, Markdown, HTML.

Names, licenses, reasons, cards and answers of servers are written by people who may mean harm. What
is shown of them goes through the function of the place it is shown in.
"""

import html
import json
import re
from typing import Any
from urllib.parse import quote, urlsplit

# C0 and C1 controls; marks and overrides of the direction of writing; line and paragraph separators; half surrogate
# pairs; tags, which hide text in emoji.
_CONTROLS = dict.fromkeys(
    (
        *range(32), *range(127, 160), 0x61C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F),
        *range(0x2066, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xD800, 0xE000), *range(0xE0000, 0xE0080),
    )
)  # fmt: skip
_IN_JSON = {code: f"\\u{code:04x}" if code <= 0xFFFF else json.dumps(chr(code))[1:-1] for code in _CONTROLS}
_BLANKS = {ord(char): " " for char in "\t\n\v\f\r\u2028\u2029"}
_MARKDOWN = re.compile(r"[\\`*\[\]<>|&]|(?<=\])\(|(?<=\w):(?=//)|(?<=\bwww)\.|(?<=\bWWW)\.")
_REFERENCES = {"<": "&lt;", ">": "&gt;", "&": "&amp;", ":": "&#58;", ".": "&#46;"}


def escape_terminal(text: str) -> str:
    """Return text without control characters and direction marks.

    Of an escape sequence only its letters are left; newlines and tabs stay.
    """
    return text.translate({code: None for code in _CONTROLS if chr(code) not in "\n\t"})


def dump_json(value: Any, *, indent: int | None = None) -> str:
    """Return a value as JSON that is safe on a terminal.

    What `escape_terminal` drops is written as escapes, so nothing is lost.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return "\n".join(part.translate(_IN_JSON) for part in text.split("\n"))


def escape_line(text: str) -> str:
    """Return what `escape_terminal` does on one line: newlines and tabs are blanks."""
    return text.translate(_BLANKS).translate(_CONTROLS)


def escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(_escaped, escape_line(text))


def escape_html(text: str) -> str:
    """Return text for the content or a quoted attribute of HTML and SVG."""
    return html.escape(escape_terminal(text), quote=True)


def quote_https_url(url: str) -> str | None:
    """Return an https address for a link, percent-encoded, or None for any other."""
    try:
        parts = urlsplit(escape_line(url).strip())
        if parts.scheme != "https" or not parts.hostname:
            return None
    except ValueError:
        return None
    return quote(parts.geturl(), safe="%/:?#@!$&*+,;=~-._[]")


def _escaped(match: re.Match[str]) -> str:
    # References where a backslash does not escape in every dialect; "https://" and "www." make links by themselves.
    return _REFERENCES.get(match[0], "\\" + match[0])
