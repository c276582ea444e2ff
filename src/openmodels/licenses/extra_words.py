"""Words beside a standard license: which of them change nothing.

A text is a known license only if every word beside it belongs to a class of `HARMLESS`. A class is a
vocabulary or a form in which no condition can be written, not a search for bad words: what is not
foreseen is not harmless.
"""

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from openmodels.licenses.expressions import find
from openmodels.licenses.templates import own_sentences, split_sentences, split_words

MAX_QUOTED = 160  # characters of words beside a license that are quoted


class HarmlessClass(NamedTuple):
    """A kind of words that change nothing about the license they stand beside."""

    name: str
    reason: str
    matches: Callable[[str, Sequence[str]], bool]  # of a passage and the SPDX ids of the licenses beside it


def find_conditions(passage: str, license_ids: Sequence[str]) -> list[str]:
    """Return the sentences of a passage that are not known to be harmless."""
    conditions: list[str] = []
    for paragraph in re.split(r"\n[ \t>#*/]*\n", passage):
        lines = [line for line in paragraph.split("\n") if re.search(r"\w", line)]
        if is_harmless(_join(lines), license_ids):
            continue
        if not (unexplained := _find_in_sentences(lines, license_ids)):
            continue
        # A notice may stand above a sentence without an empty line.
        others = [line for line in lines if not is_harmless(line, license_ids)]
        if len(others) == len(lines) or (others and _find_in_sentences(others, license_ids)):
            conditions += unexplained
    return conditions


def _find_in_sentences(lines: Sequence[str], license_ids: Sequence[str]) -> list[str]:
    return [text.strip() for text in split_sentences(_join(lines)) if not is_harmless(text, license_ids)]


def _join(lines: Sequence[str]) -> str:
    return " ".join(line.strip(" \t#*/>|") for line in lines)


def is_harmless(passage: str, license_ids: Sequence[str]) -> bool:
    """Return whether a passage is of one of the harmless classes."""
    if not re.search(r"\w", passage):
        return True
    return any(known.matches(passage.strip(), license_ids) for known in HARMLESS)


_TABLE = json.loads((files("openmodels.licenses") / "harmless_words.json").read_text(encoding="utf-8"))
# Words that a name of a holder does not hold, in the languages of `phrases`: where one stands, a passage is read as
# a sentence. They guard titles in capitals and languages that write without blanks.
_CONDITION = re.compile(_TABLE["conditions"])
_PARTY_WORDS = frozenset(_TABLE["names"].split())
_TITLE_WORDS = frozenset(_TABLE["titles"].split())
_SCOPE_WORDS = frozenset(_TABLE["scope notes"].split())
_GAPS = re.compile(r"(?i)\b(?:may be|may not be used|may|nor may|be used|used)\b")
_ADDRESS_OR_NUMBER = re.compile(r"\d[\w.–-]*|[\w.+-]+@[\w.-]+|https?://\S+|www\.\S+|[\w-]+(?:\.[\w-]+)+\S*")
_CJK = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
# Without capitals a name is known by its ending, or by being as short as a person's.
_CJK_BODY = re.compile(
    rf"[{_CJK}]{{1,4}}|[{_CJK}A-Za-z0-9]{{1,24}}(?:公司|大学|大學|研究院|研究所|实验室|實驗室|学院|團隊|团队|集团|集團|机构|機構|基金会|中心|社区"
    r"|株式会社|合同会社|研究室|財団|財団法人|주식회사|대학교|연구소|연구원|재단|팀)|株式会社[\w]{1,20}|주식회사[\w]{1,20}"
)
_MAX_PARTY = 40
_PURPOSE = frozenset({"for", "to", "in", "at"})
# What ends a sentence within a notice, and what has a full stop without ending one.
_SENTENCE_END = re.compile(r"[.!?:](?=\s+[^\W\d])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s.(,])(?:\w|inc|ltd|co|corp|llc|llp|plc|lp|sa|spa|srl|ag|kg|gmbh|ev|dr|prof|st|jr|sr|al|bv|nv|pty|univ|dept"
    r"|inst|bros|intl|mr|mrs|ms|ave|blvd|rd)[.]$|(?:copyright|holders?|authors?|contributors?|by):$",
    re.IGNORECASE,
)
_DASH = re.compile(r"\s[-–—|]+\s+[^\W\d]")
_BRACKETS = re.compile(r"[(\[{<]([^()\[\]{}<>]*)(?:[)\]}>]|$)")
_NOTICE = re.compile(
    r"(?i)^(?:<[\w ]{1,40}>\s+)?"
    r"(?:spdx-filecopyrighttext\s*:?|(?:portions?\s+)?(?:copyright|copr\.|©|\(c\)|&copy;)|版权所有|版權所有|著作権)"
    r"[\s:©,.(c)\[\]–-]*"
)
_RESERVED = re.compile(
    r"(?i)[\s,.;:|-]*(?:all rights? reserved|alle rechte vorbehalten|tous droits réservés"
    r"|todos los derechos reservados"
    r"|todos os direitos reservados|tutti i diritti riservati|保留所有权利|保留所有權利"
    r"|all rights are reserved)[\s.|!]*"
)
_SPDX_TAG = re.compile(r"(?i)^[\W_]*spdx-license-identifier\s*:\s*([\w.+() -]+?)[\W_]*$")
# A path begins where a word does: to look for one at each letter takes time with the square of a long word.
_PATH = re.compile(
    r"(?<![\w.*/-])(?:[\w.*-]{1,100}/){1,20}[\w.*-]{0,100}"
    r"|(?<![\w-])[\w-]{1,100}\.(?:py|json|txt|md|csv|c|h|cpp|js|ya?ml|cu|ttf|png|jpg|wav)\b"
)
_WEIGHT_PATH = re.compile(r"(?i)weight|model|checkpoint|param|ckpt|\.bin|tensor|\.pt|lora|adapter|encoder|decoder")
# Folders and files in which nobody puts the weights.
_OTHERS_PATH = re.compile(
    r"(?i)(?:^|[/_.-])(?:third|vendor|external|deps|dependencies|fonts?|docs?|tests?|assets|examples?|data|eval|bench\w*"
    r"|scripts|static|images?|icons?|submodules?|libs?|include|src|py|txt|md|csv|c|h|cpp|js|cu|ttf|png|jpg|wav)(?:$|[/_.-])"
)
_OTHERS_FILES = re.compile(r"(?i)third[- ]part|\btest data\b|\bdependenc|\bvendored\b|\bbundled\b")
# A pointer to terms that stand elsewhere: "for the weights see the model agreement".
_OTHER_TERMS = re.compile(
    r"(?i)\b(?:see|find|available|follow\w*|can)\b.*\b(?:weights|models?|agreements?|terms)\b"
    r"|\b(?:weights|models?|agreements?|terms)\b.*\b(?:see|find|available here|below)\b"
)
_MODEL_NAME = re.compile(
    r"\W*(?:The )?(?:[\w.-]*(?:\d|[a-z][A-Z]|[A-Z]{2})[\w.-]*\s+){1,2}(?=(?:is|are|released|licen[cs]ed)\b)"
)
_WHOLE = re.compile(r"(?i)\b(?:all|whole|entire|every|this) (?:files?|repositor)")
_OWN_TERMS = re.compile(r"(?i)\blicen[cs]e[sd]?\b")
# What the stewards of licenses print around them: notes for those who choose one, notices about themselves.
_STEWARD_PARAGRAPHS = frozenset(_TABLE["stewards' paragraphs"])


def is_name(passage: str) -> bool:
    """Return whether a passage is a name, as it fills a gap of a standard text."""
    return (_is_party(passage, ()) and not re.search(f"[{_CJK}]", passage)) or _is_marks(passage, ())


def is_notice(line: str) -> bool:
    """Return whether a line is a copyright notice."""
    return _is_notice(line, ())


def digest(text: str) -> str:
    """Return the digest of the words of a text."""
    return hashlib.sha256(_forms(text).encode()).hexdigest()[:32]


@lru_cache(maxsize=256)
def _forms(text: str) -> str:
    return " ".join(word.form for word in split_words(text))


def _is_notice(passage: str, license_ids: Sequence[str]) -> bool:
    text = _RESERVED.sub(" ", passage.strip(" \t*#/;%-=|>\"'()[]").strip()).strip()
    if not text:
        return True
    if not (start := _NOTICE.match(text)):
        return False
    rest = text[start.end() :]
    if again := re.search(r"(?i)(?:copyright|\(c\)|©)\s*(?:\(c\)|©)?\s*(?:\d|\[)", rest):
        return is_name(rest[: again.start()]) and _is_notice(rest[again.start() :], license_ids)
    # A holder may write the name small ("karpathy"): then it is the only one.
    return _is_party(rest, license_ids) or re.fullmatch(r"[\d\s,–-]*[a-z][a-z\d_-]{2,30}[\s.]*", rest) is not None


def _is_party(passage: str, _license_ids: Sequence[str]) -> bool:
    """Return whether a passage is names and years, with the words between them.

    The class is small, since a condition may be written in capitals: one sentence of up to 14 words with a capital,
    five a name, without words of conditions, and nothing but a word or an address in brackets or after a dash.
    """
    text = _GAPS.sub(" ", passage).strip()
    if _CONDITION.search(text) or _has_aside(text) or any(unicodedata.category(sign) == "Cf" for sign in text):
        return False
    if any(not _ABBREVIATION.search(text[: end.start() + 1]) for end in _SENTENCE_END.finditer(text)):
        return False
    names = [
        [token for raw in name.split() if (token := raw.strip(".,;:()[]<>{}\"'“”‘’/|*#-–—&+=~`!"))]
        for name in re.split(r"[,;/&]\s|\s(?:and|und|et|y|e|og|by)\s", text)
    ]
    # "Institute for Coasts" is a name; ", for pupils" is a condition.
    if sum(map(len, names)) > _MAX_PARTY or any(name and name[0].lower() in _PURPOSE for name in names[1:]):
        return False
    is_capitals = text.upper() == text and sum(map(len, names)) > 6
    others = [[token for token in name if not _is_party_word(token)] for name in names]
    count = sum(map(len, others))
    is_long = count > (6 if is_capitals else 14) or max(map(len, others)) > 5
    return not is_long and all(_is_proper(token) for name in others for token in name)


def _has_aside(text: str) -> bool:
    """Return whether brackets or a dash introduce several words other than addresses."""
    asides = (aside.split() for aside in _BRACKETS.findall(text) if "@" not in aside and "/" not in aside)
    return _DASH.search(text) is not None or any(
        len(words) > 1 and not all(map(_is_party_word, words)) for words in asides
    )


def _is_party_word(token: str) -> bool:
    parts = [part for part in re.split(r"[^\w']+", token.lower()) if part]
    return all(part in _PARTY_WORDS or part.isdigit() for part in parts)


def _is_proper(token: str) -> bool:
    if len({unicodedata.name(letter, "").partition(" ")[0] for letter in token if letter.isalpha()}) > 1:
        return re.search(f"[{_CJK}]", token) is not None and _CJK_BODY.fullmatch(token) is not None
    if re.search(f"[{_CJK}]", token):
        return _CJK_BODY.fullmatch(token) is not None
    return any(letter.isupper() for letter in token) or _ADDRESS_OR_NUMBER.fullmatch(token) is not None


def _is_spdx_tag(passage: str, license_ids: Sequence[str]) -> bool:
    match = _SPDX_TAG.match(passage)
    return match is not None and find(match[1]).open and _is_title(match[1], license_ids)


def _is_title(passage: str, license_ids: Sequence[str]) -> bool:
    if any(_words(passage) in (_words(find(license_id).name), _words(license_id)) for license_id in license_ids):
        return True
    return not _OTHER_TERMS.search(passage) and not _unexplained(passage, _TITLE_WORDS | _title_words(license_ids))


def _is_grant(passage: str, license_ids: Sequence[str]) -> bool:
    """Return whether a sentence says only what is under this license."""
    names = _title_words(license_ids)
    if not set(re.findall(r"[a-z\d]+", passage.lower())) & names or not _OWN_TERMS.search(passage):
        return False
    # The name of a model stands first: "Petrel-7B is released under the MIT License".
    subject, rest = _MODEL_NAME.match(passage), passage
    if subject is not None and not _CONDITION.search(subject[0]):
        rest = passage[subject.end() :]
    return not _OTHER_TERMS.search(rest) and not _unexplained(rest, _TITLE_WORDS | names)


def _is_scope_note(passage: str, license_ids: Sequence[str]) -> bool:
    paths = _PATH.findall(passage)
    if not (paths or _OTHERS_FILES.search(passage)) or any(map(_WEIGHT_PATH.search, paths)):
        return False
    if not _OWN_TERMS.search(passage) or _WHOLE.search(passage) or not all(map(_OTHERS_PATH.search, paths)):
        return False
    rest = _PATH.sub(" ", passage)
    return _unexplained(rest, _SCOPE_WORDS | _title_words(license_ids)) == []


def _is_marks(passage: str, _license_ids: Sequence[str]) -> bool:
    return all(
        re.fullmatch(r"\d+|[ivxlc]+|[a-z]|section|article|exhibit|appendix", word)
        for word in re.findall(r"\w+", passage.lower())
    )


def _is_stewards(passage: str, _license_ids: Sequence[str]) -> bool:
    if digest(passage) in _STEWARD_PARAGRAPHS:
        return True
    rest = _words(passage)
    for sentence in _STEWARD_SENTENCES:
        rest = rest.replace(sentence, "").strip()
    return not rest


def _is_own_sentence(passage: str, license_ids: Sequence[str]) -> bool:
    words = _forms(passage)
    return any(words in own_sentences(license_id) for license_id in license_ids)


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def _is_address(passage: str, _license_ids: Sequence[str]) -> bool:
    host = r"(?:opensource|apache|gnu|fsf|creativecommons|spdx|mozilla)\.org"
    return re.fullmatch(rf"[\W_]*(?:https?://)?(?:www\.)?{host}[\w./#-]*[\W_]*", passage.strip()) is not None


HARMLESS: tuple[HarmlessClass, ...] = (
    HarmlessClass("copyright notice", "It names who holds the rights that the license gives away.", _is_notice),
    HarmlessClass("SPDX identifier", "It names the license again.", _is_spdx_tag),
    HarmlessClass("title", "The license's own title and version, as a heading or a link.", _is_title),
    HarmlessClass("grant", "A sentence that only says what is under this license.", _is_grant),
    HarmlessClass("scope note", "Files of others, by folder, keep their licenses; no weights.", _is_scope_note),
    HarmlessClass("marks", "Numbers of sections and lists.", _is_marks),
    HarmlessClass("the steward's text", "What the author of the license prints around it.", _is_stewards),
    HarmlessClass("own sentence", "A whole sentence of the license, optional ones included.", _is_own_sentence),
    HarmlessClass("address", "A link to the license's page.", _is_address),
)  # fmt: skip
"""The classes of words that change nothing, each with the reason."""

_STEWARD_SENTENCES = tuple(
    " ".join(re.findall(r"[a-z\d]+", sentence.lower()))
    for text in _TABLE["stewards' sentences"]
    for sentence in re.split(r"(?<=[.”])\s+(?=[A-Z])", text)
)


def _title_words(license_ids: Iterable[str]) -> frozenset[str]:
    """Return the words of ids and titles of licenses."""
    return frozenset[str]().union(*map(_words_of_title, license_ids))


@lru_cache(maxsize=256)
def _words_of_title(license_id: str) -> frozenset[str]:
    terms = find(license_id)
    words = re.findall(r"[a-z\d]+", f"{license_id} {terms.name} {terms.id}".lower())
    return frozenset(words) - {"non", "only", "commercial", "noncommercial", "no"}


def _unexplained(passage: str, vocabulary: frozenset[str]) -> list[str]:
    words = re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", passage)
    return [
        word
        for word in words
        if word.lower() not in vocabulary
        and not all(part in vocabulary or part.isdigit() for part in re.split(r"['’-]", word.lower()))
    ]
