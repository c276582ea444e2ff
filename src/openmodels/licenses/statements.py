"""What sentences of a card say about the terms of weights, code and data.

Text by strangers: matched, never obeyed. A sentence can restrict; that it permits something proves nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from openmodels.licenses import table
from openmodels.licenses.expressions import find
from openmodels.licenses.identification import find_title
from openmodels.licenses.phrases import find_restrictions, first_restriction, languages
from openmodels.licenses.table import LicenseClass, LicenseTerms, Restriction

MAX_SENTENCE = 2_000  # characters of a sentence that are read


class Part(StrEnum):
    """What terms are about."""

    WEIGHTS = "weights"
    CODE = "code"
    DATA = "data"


@dataclass(frozen=True, slots=True)
class LicenseStatement:
    """Terms that a sentence states, and what for."""

    license: LicenseTerms
    parts: frozenset[Part]


_CLAUSE = re.compile(
    r"[;。；]|[.!?](?=\s)|,?\s+\b(?:while|whereas|however|although|though)\b|,\s*(?:but|which|whose|and (?:its?"
    r"|the|our|their))\b"
    r"|\b(?:and|but) (?:is|are|may|must|can|should|shall|has|have)\b|[，、](?!和)|、(?=但)|,?\s+\b(?:während"
    r"|mientras|tandis que|alors que|enquanto|mentre|mens)\b",
    re.IGNORECASE,
)  # fmt: skip
_RELATIVE = re.compile(r"(?i)^\W*(?:which|whose|that is|licensed|under)\b")
_OTHERS = re.compile("|".join(language.others for language in languages()), re.IGNORECASE)
_PAST = re.compile("|".join(language.past for language in languages()), re.IGNORECASE)
_CONTRAST = re.compile(
    rf"(?:{'|'.join(language.contrast for language in languages())})[^.;。]{{0,60}}$",  # right before a name
    re.IGNORECASE,
)
_NOUNS = {
    Part.WEIGHTS: re.compile("|".join(language.weights for language in languages()), re.IGNORECASE),
    Part.CODE: re.compile("|".join(language.code for language in languages()), re.IGNORECASE),
    Part.DATA: re.compile("|".join(language.data for language in languages()), re.IGNORECASE),
}
# "trained on papers (CC0, CC BY-ND)": the names that follow are the data's, until a verb takes up the model again.
_TRAINED_ON = re.compile(
    r"(?i)\b(?:pre-?|fine-?)?train(?:ed|ing) (?:\w+ ){0,3}(?:on|with|using)\b"
    r"(?!.*\b(?:is|are|may|can|licensed|released)\b)"
)
_COORDINATION = re.compile(
    r"(?i)^[\s,/&+]*(?:(?:and|or|as well as|along with|und|sowie|et|ainsi que|y|e|ed|og|samt|和|与|及"
    r"|以及|、|と|および|및|와|과|all|the|our|its|die"
    r"|der|das|les|le|la|los|las|el|o|os|a|as|i|gli|il|pre-?trained|trained|training|released|model|source"
    r"|associated|accompanying)[\s,/&+]*)*$"
)  # fmt: skip
# Weaker wishes are advice to users, as the templates of model cards have them; these words make them terms.
_BINDING = re.compile(
    r"(?i)licen[cs]|lizenz|licen[çz]|lisens|terms|\bmust\b|\bshall\b|may not|not (?:permitted|allowed)|prohibit"
    r"|forbid|\brequires?\b"
    r"|\brequired\b|\bneed(?:s|ed)?\b|subject to|only (?:with|after|by)|exclud|agree|please (?:register|contact"
    r"|apply|obtain)|have to|without|free for"
    r"|muss|müssen|darf|dürfen|untersagt|verboten|erforderlich|doi[tv]|interdit|requi|nécess|oblig|prohib|debe"
    r"|deve|vietat|proib|krever|må\b|forbudt"
    r"|须|須|需|必须|不得|禁止|请|請|许可|許可|授权|授權|同意|ください|必要|できません|なければ|해야|필요|금지|없습니다|받아"
)
_ADVICE = re.compile(
    r"(?i)\bshould (?:not )?(?:be )?us|\bout[- ]of[- ]scope\b|not (?:intended|recommended|suitable|designed"
    r"|meant|advised)\b|sollte[n]?\b"
)
_ALWAYS = frozenset({Restriction.NON_COMMERCIAL, Restriction.RESEARCH_ONLY})
_LAWFUL = re.compile(
    r"(?i)\b(?:illegal|unlawful|applicable laws?|laws and regulations|legal requirements)\b|违法|非法|違法|불법"
)
_NC_NAME = re.compile(
    r"(?i)\bcc[-_ ]?by[-_ ]?nc(?:[-_ ]?(?:sa|nd))?(?:[-_ ]?\d(?:\.\d)?)?\b"
    r"|\bcreative ?commons[^.;]{0,40}non-?commercial[^.;]{0,30}"
    r"|\bcc[-_ ]?by[-_ ]?nd(?:[-_ ]?\d(?:\.\d)?)?\b|\bpolyform[- ]noncommercial\b"
)
_NAMED = re.compile(
    r"(?:under|by|with|to|is|licen[cs]e:?|licen[cs]e is)\s+(?:a |an |the |our )?[“\"‘']?((?:[A-Z0-9][\w.+-]*\s+){1,6}"
    r"(?:Licen[cs]e(?: Agreement)?|Terms of Use|License Agreement|Agreement))"
)  # fmt: skip
_OPEN_NAME = re.compile(
    r"(?i)\b(apache(?:[- ]licen[cs]e)?,?[- ]?(?:v|version )?[- ]?2(?:\.0)?|mit(?: licen[cs]e)?"
    r"|bsd[- ][23](?:[- ]clause)?|openmdw[- ]1\.[01]"
    r"|gpl-?v?3(?:\.0)?|lgpl-?v?3(?:\.0)?|mpl[- ]2\.0|cc[- ]by(?:[- ]sa)?[- ]4\.0|cc0(?:[- ]1\.0)?)(?![\w-])"
)
_TITLE_WORDS = frozenset({"the", "license", "licence", "agreement", "terms", "of", "use", "this"})
_UNDER = re.compile(
    r"(?i)\blicen[cs]|\bunder\b|许可|許可|协议|授权|ライセンス|라이선스|lizenz|licencia|licença|licenza|lisens"
)


def read_statements(sentence: str) -> Iterator[LicenseStatement]:
    """Yield the restrictive or unknown terms that the clauses of a sentence state."""
    subject: frozenset[Part] = frozenset()
    is_others = False
    for clause in _split_clauses(sentence[:MAX_SENTENCE]):
        parts, others = _subject(clause)
        is_others = others or (is_others and _RELATIVE.match(clause) is not None)
        subject = parts or subject
        if is_others or _PAST.search(clause):
            continue
        if (terms := _terms(clause)) is not None:
            yield LicenseStatement(terms, subject or frozenset({Part.WEIGHTS}))


def find_open_license(sentence: str) -> LicenseTerms | None:
    """Return the open license that a sentence names for the weights, None for none."""
    for clause in _split_clauses(sentence[:MAX_SENTENCE]):
        match = _OPEN_NAME.search(clause)
        if (
            match is None
            or not _UNDER.search(clause)
            or _PAST.search(clause)
            or _CONTRAST.search(clause[: match.start()])
        ):
            continue
        parts, is_others = _subject(clause)
        terms = find(re.sub(r"(?i)^bsd[- ](\d)$", r"bsd-\1-clause", match[1]))
        if not is_others and (not parts or Part.WEIGHTS in parts) and terms.open:
            return terms
    return None


def _split_clauses(sentence: str) -> Iterator[str]:
    start = 0
    for match in _CLAUSE.finditer(sentence):
        if sentence[start : match.start()].strip():
            yield sentence[start : match.start()]
        start = match.start() if match[0].strip(" ,;.。；，、!?") else match.end()
    if sentence[start:].strip():
        yield sentence[start:]


def _terms(clause: str) -> LicenseTerms | None:
    """Return the terms that one clause states."""
    for terms, start in _names(clause):
        if not _CONTRAST.search(clause[:start]):
            return terms
    restrictions = find_restrictions(clause)
    is_binding = _BINDING.search(clause) and not _ADVICE.search(clause) and not _LAWFUL.search(clause)
    binding = tuple(kind for kind in restrictions if kind in _ALWAYS or is_binding)
    if not binding:
        return None
    if _ALWAYS & set(binding):
        name = "research only" if Restriction.RESEARCH_ONLY in binding else "non-commercial"
        return LicenseTerms(name, f"{name} use", None, LicenseClass.NON_COMMERCIAL, binding, "no")
    return LicenseTerms("restricted by the card", "terms of its own", None, LicenseClass.RESTRICTED, binding)


def _names(clause: str) -> Iterator[tuple[LicenseTerms, int]]:
    """Yield the licenses in a clause that are not open, and where they begin."""
    if match := _NC_NAME.search(clause):
        yield find(_normal_cc(match[0])), match.start()
    if re.search(r"(?i)licen[cs]|terms|agreement|\brail\b", clause) and (title := find_title(clause)) is not None:
        yield title
    for name in _NAMED.finditer(clause):
        terms = find(name[1])
        is_model_license = terms.restrictive or (terms.kind is LicenseClass.UNKNOWN and not _OPEN_NAME.search(name[1]))
        if is_model_license and _has_own_name(name[1]):
            yield terms, name.start(1)


def _has_own_name(name: str) -> bool:
    """Return whether a title has words beside "Model License" and the like."""
    words = set(re.findall(r"[a-z\d]+", name.lower())) - _TITLE_WORDS
    return bool(words) and not words <= _standard_words()


@cache
def _standard_words() -> frozenset[str]:
    """Return the words of the titles of open licenses."""
    names = " ".join(f"{terms.id} {terms.name} {terms.spdx}" for terms in table.listed() if terms.open)
    return frozenset(re.findall(r"[a-z\d]+", names.lower()))


def _normal_cc(name: str) -> str:
    """Return "cc-by-nc-sa-4.0" for any way to write it; 4.0 is the default."""
    low = name.lower()
    if "polyform" in low:
        return "PolyForm-Noncommercial-1.0.0"
    parts = [part for part in ("nc", "nd", "sa") if re.search(rf"[-_ ]?{part}\b|[-_ ]{part}", low)]
    if re.search("non-?commercial", low):
        parts = list(dict.fromkeys(["nc", *(["sa"] if "alike" in low else []), *(["nd"] if "deriv" in low else [])]))
    version = re.search(r"\d(?:\.\d)?", low)
    number = version[0] if version else "4.0"
    return f"cc-by-{'-'.join(parts)}-{number if '.' in number else number + '.0'}"


def _subject(clause: str) -> tuple[frozenset[Part], bool]:
    """Return what a clause is about, and whether it is about work of others.

    The first noun before the terms counts, with those joined to it; behind them where none is before.
    """
    starts = [first_restriction(clause)]
    starts += [start for _, start in _names(clause)]
    predicate = min(starts)
    nouns = sorted(
        (match.start(), match.end(), part) for part, pattern in _NOUNS.items() for match in pattern.finditer(clause)
    )
    before = [noun for noun in nouns if noun[0] < predicate]
    is_others = _OTHERS.search(clause[:predicate]) is not None
    if _TRAINED_ON.search(clause[:predicate]):
        return frozenset({Part.DATA}), is_others
    parts: list[Part] = []
    end = 0
    for start, stop, part in before or nouns:
        if parts and not _COORDINATION.match(clause[end:start]):
            break
        parts.append(part)
        end = stop
    return frozenset(parts), is_others
