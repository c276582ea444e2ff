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
_FRONT = re.compile(r"\A---\s*\n.*?\n---\s*(?:\n|\Z)", re.DOTALL)
_FENCE = re.compile(r"^(`{3,}|~{3,}).*?^\1\s*$", re.DOTALL | re.MULTILINE)
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r"^(?:#{1,6}\s+(.+?)\s*#*|<h[1-6][^>]*>(.+?)</h[1-6]>)\s*$", re.IGNORECASE)
_LINK = re.compile(
    r"\[([^\]\n]{0,200})\]\(\s*<?(https://[^\s)>]{1,500})|href=[\"'](https://[^\"'\s]{1,500})[\"'][^>]*>([^<]{0,200})|<?(https://[^\s)>\]\"'`]{1,500})"
)
_MARKUP = re.compile(r"<[^>]{0,500}>|!\[[^\]]*\]\([^)]*\)|[*_`]{1,3}|^\s*(?:[-*+>]|\d+\.)\s+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9“\"(])|\n\s*\n|\n(?=\s*(?:[-*+|]|\d+\.)\s)")
_TELLING = re.compile(
    r"data|corpus|corpora|token|train|tun|code|script|licen[cs]e|commercial|checkpoint|log|w&b|wandb|tensorboard|evaluat|"
    r"based on|base model|merge|release|open|weights|access",
    re.IGNORECASE,
)


def parse(text: str) -> dict[str, Any]:
    """Return `headings`, `links` and `claims` of a card's Markdown, in the layout of an evidence file."""
    text = _COMMENT.sub(" ", _FRONT.sub("", text[:LONGEST].replace("\r\n", "\n")))
    text = _FENCE.sub("\n", text)
    headings: list[str] = []
    links: list[dict[str, Any]] = []
    prose: list[str] = []
    section = None
    for line in text.split("\n"):
        if found := _HEADING.match(line.strip()):
            section = _bare(found[1] or found[2] or "")[:200]
            headings.append(section)
            prose.append("")
        else:
            prose.append(line)
        for label, url, href, inner, naked in _LINK.findall(line):
            address = (url or href or naked).rstrip(".,;")
            if KNOWN_HOSTS.search(host(address)):
                # A naked address is introduced by the words before it: "Training code: https://…".
                words = label or inner or line.partition(address)[0][-120:]
                links.append({"text": _bare(words).rstrip(" :<("), "url": address, "section": section})
    sentences = (_bare(one) for one in _SENTENCE.split("\n".join(prose)))
    claims = [{"fact": one} for one in sentences if 15 <= len(one) <= 1000 and _TELLING.search(one)]
    return {
        "headings": [one for one in headings if one][:MOST_SENTENCES],
        "links": list({(one["url"], one["text"]): one for one in links}.values())[:MOST_LINKS],
        "claims": claims[:MOST_SENTENCES],
    }


def _bare(text: str) -> str:
    """Return text without markup: links by their words, blanks folded."""
    text = re.sub(r"\[([^\]]{0,300})\]\([^)]{0,600}\)", r"\1", text)
    return " ".join(_MARKUP.sub(" ", text).split())
