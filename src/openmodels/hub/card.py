"""Model cards: front matter, outline, and the base models that the prose names.

Cards are written by strangers. Links are kept only if they are https to hosts where evidence lives, and
none is followed here; sizes and counts are capped.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from typing import Any, Literal
from urllib.parse import urlsplit

from openmodels import files
from openmodels.hub.model_names import normalize_name
from openmodels.licenses.phrases import is_about_terms

Relation = Literal["finetune", "adapter", "quantized", "merge", "distilled"]  # how a model was made from its base

LONGEST = 400_000  # characters of a card that are read
MAX_LINKS = 300
MAX_SENTENCES = 400
_LONGEST_SENTENCE = 2_000
_LONGEST_FACT = 1_000
_SHORT = 40  # characters; shorter ones under a heading are read with it
_SHORTEST = 15  # bytes: Chinese says in five characters what other languages say in fifteen letters
_SHORTEST_TERMS = 4  # characters: Chinese forbids commercial use in four
_LONGEST_MATTER = 100_000
_MAX_VALUES = 20_000
_NESTED = (dict, list, tuple, set)

KNOWN_HOSTS = re.compile(
    r"(?:^|\.)(?:huggingface\.co|hf\.co|github\.com|arxiv\.org|wandb\.ai|comet\.com|neptune\.ai|tensorboard\.dev"
    r"|gitlab\.com|"
    r"zenodo\.org|doi\.org|openreview\.net|aclanthology\.org|kaggle\.com|modelscope\.cn|commoncrawl\.org"
    r"|eleuther\.ai|"
    r"opensource\.org|creativecommons\.org|apache\.org|spdx\.org)$"
)
# Every repetition below is bounded or followed by something it cannot match: the time to read a card must
# grow with its length, not with the square of it.
_MATTER = re.compile(r"\A\ufeff?---[ \t]*\r?\n((?:.*?\n)??)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_FENCE = re.compile(r"(`{3,}|~{3,})([^\n]*)")
_FENCED = "```"  # the line that stands for a block of code
_HEADING = re.compile(r"#{1,6}[ \t]+|<h[1-6][^>]{0,500}>", re.IGNORECASE)
_LINK = re.compile(
    r"\[([^\[\]\n]{0,200}+)\]\(\s{0,20}<?(https://[^\s)>]{1,500})"
    r"|href=[\"'](https://[^\"'\s]{1,500})[\"'][^>]{0,500}>([^<]{0,200})|<?(https://[^\s)>\]\"'`]{1,500})"
)
_MARKUP = re.compile(
    r"<[^<>]{0,500}+>|!\[[^\[\]]{0,300}+\]\([^)]{0,600}+\)|[*_`]{1,3}|^[ \t]{0,40}(?:[-*+>]|\d{1,9}\.)[ \t]+",
    re.MULTILINE,
)
_PARAGRAPH = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9“\"(])|(?<=[。！？])|\n\s*\n|\n(?=\s*(?:[-*+|]|\d+\.)\s)")
_INFORMATIVE = re.compile(
    r"data|corpus|corpora|token|train|tun|code|script|licen[cs]e|commercial|checkpoint|log|w&b|wandb|tensorboard"
    r"|evaluat|"
    r"based on|base model|merge|release|open|weights|access|books|crawl|sources?\b|proprietary|private|internal"
    r"|acquired|"
    r"disclos|withh|paper|report|publication|arxiv"
    r"|数据|數據|语料|語料|训练|訓練|论文|論文|データ|コーパス|学習|데이터|말뭉치|코퍼스|학습|논문|daten|korpus|données"
    r"|entraîn|\bdatos\b|entren|\bdados\b|\bdati\b|addestr",
    re.IGNORECASE,
)
_PLACEHOLDER = re.compile(
    r"more information (?:is )?needed|^[\W_]*(?:todo|tbd|tba|n/?a|none|wip|coming soon)[\W_]*$|\{\{.*\}\}"
    r"|\[(?:needs|add|insert|your|fill)\b[^\]]*\]",
    re.IGNORECASE,
)
"""What stands where nobody has written anything yet, as in the Hub's template of a card."""
_BOILERPLATE = re.compile(
    r"^Use the code below to get started with the model\.$|^Carbon emissions can be estimated using the\b"
    r"|\bmodel ?card (?:aims to be a base template|has been (?:automatically )?generated)"
    r"|^[\s*-]*(?:licen[cs]e|language(?:\(s\))?(?: \(NLP\))?|fine-?tuned from model)(?: \[optional\])?\W*:",
    re.IGNORECASE,
)
"""What the Hub's template says by itself, and lines that only repeat the front matter."""
_LABEL = re.compile(r"[^:\n]{0,60}:\W*")
_BIBTEX = re.compile(r"^[ \t]{0,20}@\w{1,20}\{", re.MULTILINE)
_BIBTEX_FIELD = re.compile(
    r"^[ \t,]{0,20}(title|author|eprint|url|journal)\s{0,9}=\s{0,9}([^\n]{1,600})", re.MULTILINE | re.IGNORECASE
)
_MAX_CITATIONS = 20

_ID = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*[A-Za-z0-9]"
_LINKED = re.compile(rf"huggingface\.co/({_ID})(?=[)\s\]>\"'#?]|$|/(?:tree|blob)/)")
_NAMED = re.compile(rf"(?<![\w./:@-])({_ID})(?![\w/])")
_BARE = re.compile(r"(?<![\w./-])([A-Z][\w.]*(?:-[\w.]*\w)+)")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\[*_#-])|\n+")
_MADE_FROM = re.compile(
    r"\bfine-?\s?tuned?\s+(?:\w+\s+){0,4}?(?:from|of|on top of|version of|variant of|using)\b|\bfinetuned from\b"
    r"|\bfine-?\s?tun(?:ed|e|ing)\b|\bbase[ _-]?model\b|\bbased (?:up)?on\b|\bbuilt (?:up)?on\b"
    r"|\binitiali[sz]ed (?:from|with)\b"
    r"|\bfurther (?:pre-?)?train(?:ed|ing)\b|\bcontinu(?:ed|al|ous|es)\b.{0,30}\b(?:pre-?)?train|\bderived from\b"
    r"|\bpre-?trained (?:from|on top of)\b|\bfoundation model\b|\bexpan(?:ded|sion) (?:of|from)\b|\bversion of\b"
    r"|\b(?:adapted|derived|merged?|quanti[sz]ed|distilled)\b[^.;]{0,30}\b(?:from|of|with|upon)\b",
    re.IGNORECASE,
)
_RELATIONS: tuple[tuple[re.Pattern[str], Relation], ...] = (
    (re.compile(r"\bquanti[sz]|\bgguf\b|\bgptq\b|\bawq\b", re.IGNORECASE), "quantized"),
    (re.compile(r"\bmerge", re.IGNORECASE), "merge"),
    (re.compile(r"\bdistill", re.IGNORECASE), "distilled"),
    (re.compile(r"\b(?:q?lora|adapter)\b", re.IGNORECASE), "adapter"),
)
_PLACES = re.compile(r"(?:datasets|spaces|docs|papers|blog|collections|organizations|learn|models|tasks|tensorboard)/")


@dataclass(frozen=True, slots=True)
class BaseMention:
    """A base model that a sentence of a card names, by its hub id or its name alone.

    `relation` is how the model was made from it, as far as the sentence says; `confidence` is from 0 to 1.
    """

    name: str
    relation: Relation
    sentence: str
    confidence: float


def https_host(url: str) -> str:
    """Return the host of an https address in lower case, "" for anything else."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower() if parts.scheme == "https" else ""
    except ValueError:  # "https://[" is not an address
        return ""


def parse_front_matter(text: str) -> dict[str, Any]:
    """Return the front matter of a card, or {} where there is none that can be read."""
    match = _MATTER.match(text[:LONGEST])
    if not match:
        return {}
    import yaml  # huggingface_hub's own dependency

    # libyaml, where PyYAML was built with it, reads a hundred kilobytes in a tenth of a second, else in ten.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        content = yaml.load(match[1][:_LONGEST_MATTER], Loader=loader)  # noqa: S506 - both are safe loaders
        # A few hundred bytes of aliases stand for billions of values.
        if not isinstance(content, dict) or not _is_small(content):
            return {}
        matter: dict[str, Any] = json.loads(json.dumps(content, default=str, skipkeys=True))
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, IndexError, KeyError, RecursionError):
        return {}
    return matter


def _is_small(content: Any) -> bool:
    """Return whether a value holds at most `_MAX_VALUES`, each alias counted."""
    level, count = [content], 0
    for _ in range(files.DEEPEST):
        nested = (item.values() if isinstance(item, dict) else item for item in level if isinstance(item, _NESTED))
        level = list(islice(chain.from_iterable(nested), _MAX_VALUES + 1))
        count += len(level)
        if not level or count > _MAX_VALUES:
            break
    return not level and count <= _MAX_VALUES


def find_base_mentions(text: str, model_id: str) -> list[BaseMention]:
    """Return the base models that the prose of a card names, the likeliest first."""
    return read_base_mentions(_SENTENCE.split(_MATTER.sub("", text[:LONGEST])), model_id, find_model_links(text))


def read_base_mentions(sentences: Iterable[str], model_id: str, links: Iterable[str]) -> list[BaseMention]:
    """Return the base models that sentences of a card name, the likeliest first.

    `links` are the hub ids of the models that the card links to: a sentence may give their names alone.
    """
    mentions: dict[str, BaseMention] = {}
    own_name = model_id.rpartition("/")[2]
    own_names = {model_id.lower(), own_name.lower()}
    linked = {normalize_name(link.rpartition("/")[2]): link for link in islice(links, MAX_LINKS)}
    linked.pop("", None)
    for long_sentence in sentences:
        sentence = long_sentence[:_LONGEST_SENTENCE]
        if not (phrase := _MADE_FROM.search(sentence)):
            continue
        named = _NAMED.findall(re.sub(r"https?://\S+", " ", sentence))
        ids = [*find_model_links(sentence), *(name for name in named if _is_model_name(name, sentence))]
        candidates = [(name, 0.8) for name in ids]
        if not candidates:
            letters = normalize_name(sentence).replace(normalize_name(own_name), "")
            bare = {normalize_name(name): name for name in _BARE.findall(sentence[phrase.start() :])}
            longer = " ".join(bare)
            bare |= {
                name: link for name, link in linked.items() if name in bare or (name in letters and name not in longer)
            }
            candidates = [(name, 0.6) for name in bare.values()]
        for name, confidence in candidates:
            if name.lower() in own_names:
                continue
            if name not in mentions or mentions[name].confidence < confidence:
                shortened = " ".join(sentence.split())[:200]
                mentions[name] = BaseMention(name, _relation(sentence), shortened, confidence)
    return sorted(mentions.values(), key=lambda mention: -mention.confidence)


def find_model_links(text: str) -> list[str]:
    """Return the hub ids of models that a text links to, in order."""
    return list(dict.fromkeys(name for name in _LINKED.findall(text[:LONGEST]) if not _PLACES.match(name)))


def _is_model_name(name: str, sentence: str) -> bool:
    # "datasets X/Y" and "trained with A/B" name data; an id after such a word is not a base.
    before = sentence[: sentence.find(name)][-40:].lower()
    return not re.search(r"\b(?:data|dataset|datasets|corpus|on|with)\b[^.]{0,20}$", before) or bool(
        re.search(r"\b(?:top of|based (?:up)?on|built (?:up)?on|model)\b[^.]{0,20}$", before)
    )


def _relation(sentence: str) -> Relation:
    return next((relation for pattern, relation in _RELATIONS if pattern.search(sentence)), "finetune")


def parse_outline(text: str) -> dict[str, Any]:
    """Return what an evidence file keeps of a card.

    Returns:
        `headings`; `empty_headings`, those under which nothing is written but placeholders; `links`;
        `claims`, the sentences; `citations`, the title, authors and arXiv id of each BibTeX entry.
    """
    text = _without_comments(_MATTER.sub("", text[:LONGEST]).replace("\r\n", "\n"))
    headings: list[str] = []
    empty: dict[int, int] = {}  # place in `headings` -> level, of those with nothing written so far
    links: list[dict[str, Any]] = []
    prose: list[str] = []
    sections: list[tuple[str | None, list[str]]] = [(None, prose)]
    section = None
    open_sections: dict[int, int] = {}
    for line in _without_fences(text).split("\n"):
        if (heading := _heading(line.strip())) is not None:
            section = _without_markup(heading)[:200]
            level = _heading_level(line.strip())
            # What comes below a heading of the same level or a higher one is no part of the earlier sections.
            open_sections = {place: depth for place, depth in open_sections.items() if depth < level}
            open_sections[len(headings)] = empty[len(headings)] = level
            headings.append(section)
            prose = []
            sections.append((section, prose))
        elif line == _FENCED:
            prose.append("")
        else:
            prose.append(line)
        if heading is None and _is_written(line):
            for place in open_sections:
                empty.pop(place, None)
        for match in _LINK.finditer(line):
            label, url, href, inner, bare_url = match.groups()
            address = (url or href or bare_url).rstrip(".,;")
            if KNOWN_HOSTS.search(https_host(address)):
                # A bare address is introduced by the words before it: "Training code: https://…".
                words = label or inner or line[max(0, match.start() - 120) : match.start()]
                link = {"text": _without_markup(words).rstrip(" :<("), "url": address, "section": section}
                before = _without_markup(line[max(0, match.start() - 120) : match.start()])
                links.append(link | ({"before": before} if before and words == (label or inner) else {}))
    claims = [fact for heading, lines in sections for fact in _facts(heading, "\n".join(lines))]
    if len(claims) > MAX_SENTENCES:
        claims.sort(key=lambda fact: not is_about_terms(fact))  # stable: the order of the card among equals
    return {
        "headings": [heading for heading in headings if heading][:MAX_SENTENCES],
        "empty_headings": [headings[place] for place in sorted(empty) if headings[place]][:MAX_SENTENCES],
        "links": list({(link["url"], link["text"]): link for link in links}.values())[:MAX_LINKS],
        "claims": [{"fact": fact} for fact in claims[:MAX_SENTENCES]],
        "citations": _citations(text),
    }


def _facts(section: str | None, prose: str) -> Iterator[str]:
    """Yield the sentences of a section that may speak of data, code or terms."""
    has_terms = section is not None and is_about_terms(section)
    for sentence in filter(None, (_without_markup(part) for part in _PARAGRAPH.split(prose))):
        if _PLACEHOLDER.search(sentence):
            continue
        if has_terms and len(sentence) < _SHORT and re.search(r"\w{2}", sentence):
            yield f"{section}: {sentence}"  # "CC BY-NC 4.0" under "License"
        elif has_terms or (len(sentence) >= _SHORTEST_TERMS and is_about_terms(sentence)):
            yield from (sentence[at : at + _LONGEST_FACT] for at in range(0, len(sentence), _LONGEST_FACT))
        elif len(sentence.encode()) >= _SHORTEST and len(sentence) <= _LONGEST_FACT and _INFORMATIVE.search(sentence):
            yield sentence


def _is_written(line: str) -> bool:
    """Return whether a line says more than a placeholder, label or boilerplate."""
    bare = _without_markup(line[:_LONGEST_SENTENCE])
    if line == _FENCED:
        return True
    is_empty = not re.search(r"[^\W_]", bare) or _LABEL.fullmatch(bare)
    return not (is_empty or _PLACEHOLDER.search(line[:_LONGEST_SENTENCE]) or _BOILERPLATE.search(bare))


def _citations(text: str) -> list[dict[str, str]]:
    """Return title, author and arXiv id of each BibTeX entry of a card."""
    starts = [match.start() for match in islice(_BIBTEX.finditer(text), _MAX_CITATIONS)]
    citations = []
    for start, end in pairwise([*starts, len(text)]):
        fields = _BIBTEX_FIELD.findall(text[start : min(end, start + 4_000)])
        values = {name.lower(): " ".join(re.sub(r"[{}\"\\]", "", value).strip(" ,").split()) for name, value in fields}
        places = " ".join(values.get(name, "") for name in ("eprint", "url", "journal"))
        arxiv = re.search(r"(?<!\d)\d{4}\.\d{4,5}(?!\d)", places)
        citations.append(
            {"title": values.get("title", ""), "authors": values.get("author", ""), "arxiv": arxiv[0] if arxiv else ""}
        )
    return citations


def _without_comments(text: str) -> str:
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start)) >= 0:
        kept.append(text[at:start])
        at = end + 3
    return " ".join([*kept, text[at:]])


def _without_fences(text: str) -> str:
    """Return text with `_FENCED` in place of each block of code.

    A fence that is never closed opens none.
    """
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
    opened: str | None = None
    for line, longest in zip(lines, after, strict=True):
        fence = _FENCE.match(line)
        if opened is None and fence and longest[fence[1][0]] >= len(fence[1]):
            opened = fence[1]
            kept.append(_FENCED)
        elif opened is None:
            kept.append(line)
        elif fence and fence[1].startswith(opened) and not fence[2].strip():
            opened = None
    return "\n".join(kept)


def _heading(line: str) -> str | None:
    if not (start := _HEADING.match(line)):
        return None
    text = line[start.end() :]
    if start[0][0] == "#":
        return text.rstrip("#").rstrip()
    return text[:-5] if re.fullmatch(r"</h[1-6]>", text[-5:], re.IGNORECASE) else None


def _heading_level(line: str) -> int:
    digits = re.match(r"<h([1-6])", line, re.IGNORECASE)
    return int(digits[1]) if digits else len(line) - len(line.lstrip("#"))


def _without_markup(text: str) -> str:
    """Return text without markup: links by their words, blanks folded."""
    text = re.sub(r"\[([^\[\]]{0,300}+)\]\([^()]{0,600}+\)", r"\1", text)
    return " ".join(_MARKUP.sub(" ", text).split())
