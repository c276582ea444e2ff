"""Text in the columns of a terminal: widths, lines, shortening.

A character of Chinese, Japanese or Korean takes two columns; `rich` has the table.
"""

from collections.abc import Iterator

CUT = "…"


def width(text: str) -> int:
    """Return how many columns a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def shorten(text: str, columns: int) -> str:
    """Return a text of at most so many columns, without its middle if longer."""
    if width(text) <= columns:
        return text
    if columns <= 1:
        return CUT[:columns]
    head = _start(text, columns // 2)
    tail = _start(text[::-1], columns - 1 - width(head))[::-1]
    return head + CUT + tail


def wrap(text: str, columns: int, *, whole_words: bool = True) -> Iterator[str]:
    """Yield the lines of a text, broken only between words.

    Args:
        text: One paragraph.
        columns: The width of a line, at least 1.
        whole_words: Whether a word that is longer than a line, as an address, stands whole on a line of its own.
            Otherwise its middle is left out, or, for a word without Latin letters, its rest stands in the next line:
            Chinese and Japanese write no blanks.
    """
    line = ""
    for word in text.split():
        for part in [word] if whole_words else _fitting(word, columns):
            longer = f"{line} {part}" if line else part
            if line and width(longer) > columns:
                yield line
                longer = part
            line = longer
    if line:
        yield line


def wrap_hanging(text: str, columns: int | None, first: str = "- ") -> Iterator[str]:
    """Yield the lines of a paragraph behind `first`, below which the others begin.

    Args:
        text: One paragraph; an empty one leaves `first` alone.
        columns: The width of a line, of which 20 at least are for the text; None makes one line of it.
        first: What stands before the first line.
    """
    indent = " " * width(first)
    lines = [" ".join(text.split())] if columns is None else list(wrap(text, max(20, columns - len(indent))))
    for number, line in enumerate(lines or [""]):
        yield ((indent if number else first) + line).rstrip()


def _fitting(word: str, columns: int) -> Iterator[str]:
    while width(word) > columns and width(word) > len(word) and columns > 1:
        part = _start(word, columns)
        yield part
        word = word[len(part) :]
    yield shorten(word, columns)


def _start(text: str, columns: int) -> str:
    """Return the longest start of a text that takes at most so many columns."""
    taken = 0
    for place, character in enumerate(text):
        taken += width(character)
        if taken > columns:
            return text[:place]
    return text
