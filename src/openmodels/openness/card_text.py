"""Reading a model card's text: headings, links and sentences, and nothing that is not text.

Cards are written by strangers. Links are kept only if they are https to hosts where evidence lives;
nothing is followed here; sizes and counts are capped.
"""

from __future__ import annotations

import re
from typing import Any

from openmodels.openness.pages import host

LONGEST = 400_000
"""Characters of a card that are read."""
MOST_LINKS = 300
MOST_SENTENCES = 400

KNOWN_HOSTS = re.compile(
    r"(?:^|\.)(?:huggingface\.co|hf\.co|github\.com|arxiv\.org|wandb\.ai|comet\.com|neptune\.ai|tensorboard\.dev|gitlab\.com|"
    r"zenodo\.org|doi\.org|openreview\.net|aclanthology\.org|kaggle\.com|modelscope\.cn|commoncrawl\.org|eleuther\.ai|"
    r"opensource\.org|creativecommons\.org|apache\.org|spdx\.org)$"
)
# Every repetition below is bounded or followed by something it cannot match: cards are written by strangers,
# and the time to read one must grow with its length, not with the square of it.
_FRONT_END = re.compile(r"^---[ \t]*$", re.MULTILINE)
_FENCE = re.compile(r"(`{3,}|~{3,})([^\n]*)")
_HEADING = re.compile(r"#{1,6}[ \t]+|<h[1-6][^>]{0,500}>", re.IGNORECASE)
_LINK = re.compile(
    r"\[([^\[\]\n]{0,200}+)\]\(\s{0,20}<?(https://[^\s)>]{1,500})|href=[\"'](https://[^\"'\s]{1,500})[\"'][^>]{0,500}>([^<]{0,200})|<?(https://[^\s)>\]\"'`]{1,500})"
)
_MARKUP = re.compile(
    r"<[^<>]{0,500}+>|!\[[^\[\]]{0,300}+\]\([^)]{0,600}+\)|[*_`]{1,3}|^[ \t]{0,40}(?:[-*+>]|\d{1,9}\.)[ \t]+",
    re.MULTILINE,
)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9“\"(])|\n\s*\n|\n(?=\s*(?:[-*+|]|\d+\.)\s)")
_TELLING = re.compile(
    r"data|corpus|corpora|token|train|tun|code|script|licen[cs]e|commercial|checkpoint|log|w&b|wandb|tensorboard|evaluat|"
    r"based on|base model|merge|release|open|weights|access",
    re.IGNORECASE,
)


def parse(text: str) -> dict[str, Any]:
    """Return `headings`, `links` and `claims` of a card's Markdown, in the layout of an evidence file."""
    text = _without_fences(_without_comments(_without_front(text[:LONGEST].replace("\r\n", "\n"))))
    headings: list[str] = []
    links: list[dict[str, Any]] = []
    prose: list[str] = []
    section = None
    for line in text.split("\n"):
        if (heading := _heading(line.strip())) is not None:
            section = _bare(heading)[:200]
            headings.append(section)
            prose.append("")
        else:
            prose.append(line)
        for match in _LINK.finditer(line):
            label, url, href, inner, naked = match.groups()
            address = (url or href or naked).rstrip(".,;")
            if KNOWN_HOSTS.search(host(address)):
                # A naked address is introduced by the words before it: "Training code: https://…".
                words = label or inner or line[max(0, match.start() - 120) : match.start()]
                links.append({"text": _bare(words).rstrip(" :<("), "url": address, "section": section})
    sentences = (_bare(one) for one in _SENTENCE.split("\n".join(prose)))
    claims = [{"fact": one} for one in sentences if 15 <= len(one) <= 1000 and _TELLING.search(one)]
    return {
        "headings": [one for one in headings if one][:MOST_SENTENCES],
        "links": list({(one["url"], one["text"]): one for one in links}.values())[:MOST_LINKS],
        "claims": claims[:MOST_SENTENCES],
    }


def _without_front(text: str) -> str:
    first, _, rest = text.partition("\n")
    if first.rstrip() != "---" or not (end := _FRONT_END.search(rest)):
        return text
    return rest[end.end() :]


def _without_comments(text: str) -> str:
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start)) >= 0:
        kept.append(text[at:start])
        at = end + 3
    return " ".join([*kept, text[at:]])


def _without_fences(text: str) -> str:
    """Return text without its blocks of code; a fence that is never closed opens none."""
    lines = text.split("\n")
    # For each line, how long the longest fence after it is that could close one, by its character.
    longest = {"`": 0, "~": 0}
    after = [longest] * len(lines)
    for place in range(len(lines) - 1, -1, -1):
        after[place] = longest
        fence = _FENCE.match(lines[place])
        if fence and not fence[2].strip():
            longest = longest | {fence[1][0]: max(longest[fence[1][0]], len(fence[1]))}
    kept: list[str] = []
    place = 0
    while place < len(lines):
        fence = _FENCE.match(lines[place])
        if fence and after[place][fence[1][0]] >= len(fence[1]):
            kept.append("")
            place = _closing(lines, place + 1, fence[1])
        else:
            kept.append(lines[place])
        place += 1
    return "\n".join(kept)


def _closing(lines: list[str], place: int, opened: str) -> int:
    while not ((fence := _FENCE.match(lines[place])) and fence[1].startswith(opened) and not fence[2].strip()):
        place += 1
    return place


def _heading(line: str) -> str | None:
    if not (start := _HEADING.match(line)):
        return None
    text = line[start.end() :]
    if start[0][0] == "#":
        return text.rstrip("#").rstrip()
    return text[:-5] if re.fullmatch(r"</h[1-6]>", text[-5:], re.IGNORECASE) else None


def _bare(text: str) -> str:
    """Return text without markup: links by their words, blanks folded."""
    text = re.sub(r"\[([^\[\]]{0,300}+)\]\([^()]{0,600}+\)", r"\1", text)
    return " ".join(_MARKUP.sub(" ", text).split())
