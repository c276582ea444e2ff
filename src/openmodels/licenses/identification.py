"""Which license a text is.

Titles of model licenses are searched first, anywhere in the text: several of these licenses contain
all of MIT or Apache-2.0 with terms added. Then `licenseclassifier` compares with the SPDX texts; what
it leaves uncovered must be short and free of restricting words, or the text is not a standard license.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from openmodels.licenses.expressions import find
from openmodels.licenses.table import LicenseClass, LicenseTerms, Restriction, most_restrictive

LONGEST = 200_000
"""Characters of a text that are looked at."""

# Title -> id in the license table. Order matters: the more special title stands first.
_TITLES: tuple[tuple[str, str], ...] = (
    (r"llama\s*4 community license|llama 4 version", "llama4"),
    (r"llama\s*3\.3 community license|llama 3\.3 version", "llama3.3"),
    (r"llama\s*3\.2 community license|llama 3\.2 version", "llama3.2"),
    (r"llama\s*3\.1 community license|llama 3\.1 version", "llama3.1"),
    (r"meta llama 3 community license|llama 3 community license|meta llama 3 version", "llama3"),
    (r"llama 2 community license|llama 2 version release date", "llama2"),
    (r"llama license agreement|meta research license for llama", "llama1"),
    (r"gemma (?:terms of use|prohibited use policy)|\bgemma model derivatives", "gemma"),
    (r"bigscience rail license|bigscience.{0,20}bloom.{0,20}rail", "bigscience-bloom-rail-1.0"),
    (r"bigscience open\s?rail-?m", "bigscience-openrail-m"),
    (r"bigcode open\s?rail-?m", "bigcode-openrail-m"),
    (r"creativeml open rail\s?\+\+-?m", "openrail++"),
    (r"creativeml open\s?rail-?m", "creativeml-openrail-m"),
    (r"stability ai non-?commercial research community license", "stabilityai-nc-research"),
    (r"stability ai community license", "stabilityai-ai-community"),
    (r"flux\.?1?.{0,20}non-?commercial license", "flux-1-dev-non-commercial-license"),
    (r"tongyi qianwen research license", "tongyi-qianwen-research"),
    (r"tongyi qianwen license", "tongyi-qianwen"),
    (r"qwen research license", "qwen-research"),
    (r"qwen license agreement", "qwen"),
    (r"deepseek license agreement|deepseek model license", "deepseek"),
    (r"falcon 180b tii license", "falcon-180b-license"),
    (r"falcon 2 11b tii license", "falcon-2-11b-license"),
    (r"falcon.{0,8} tii license|tii falcon llm license|falcon-?llm license", "falcon-llm-license"),
    (r"nvidia open model license", "nvidia-open-model-license"),
    (r"databricks open model license", "databricks-open-model-license"),
    (r"exaone ai model license", "exaone"),
    (r"open aleph license", "open-aleph-1.0"),
    (r"tencent hunyuan.{0,30}community license", "tencent-hunyuan-community"),
    (r"chatglm[\w.-]{0,40} license", "chatglm-6b"),
    (r"yi series models (?:community )?license", "yi-license"),
    (r"mistral ai non-production license", "mnpl"),
    (r"mistral ai research license", "mrl"),
    (r"jamba open model license", "jamba-open-model-license"),
    (r"apple machine learning research model license", "apple-amlr"),
    (r"fair noncommercial research license", "fair-noncommercial-research-license"),
    (r"opt-175b license", "opt-175b"),
    (r"impact license.{0,40}medium risk", "impact-license-medium-risk"),
    (r"impact license.{0,40}low risk", "impact-license-low-risk"),
    (r"microsoft research license", "msrla"),
    (r"fair ai public license", "fair-ai-public-1.0-sd"),
    (r"modified mit license|prominently display .{0,60} on the user interface", "modified-mit"),
    (r"lfm open license", "lfm1.0"),
    (r"openmdw license agreement, version 1\.1", "openmdw-1.1"),
)
_TITLE_PATTERNS = [(re.compile(rf"\b(?:{pattern})", re.IGNORECASE), name) for pattern, name in _TITLES]

# Standard texts the classifier lacks: title, a sentence near the end, and the length in characters
# (blanks folded) between which the unaltered text lies.
_STANDARD: tuple[tuple[str, str, str, int, int], ...] = (
    ("epl-2.0", r"eclipse public license - v 2\.0", r"general public license, version 2", 13_000, 14_600),
    ("pddl", r"public domain dedication & licen[cs]e", r"meet the intent of this document", 14_500, 16_200),
    ("eupl-1.2", r"european union public licen[cs]e v\. 1\.2", r"governed by belgian law", 12_000, 14_500),
)
_PHRASES = {
    Restriction.NON_COMMERCIAL: (
        r"non-?\s?commercial(?:ly)? (?:use|purpose|research|basis|licen[cs]e|only)|not (?:be )?(?:used )?for commercial"
        r"|for research (?:purposes )?only|no commercial use|commercial use is (?:not|prohibited)|noncommercial"
    ),
    Restriction.RESEARCH_ONLY: (
        r"(?:solely|only|exclusively) for (?:\w+ ){0,3}(?:research|academic|educational)|research[- ]only"
        r"|academic (?:use|research|purposes?) only"
    ),
    Restriction.ACCEPTABLE_USE: (
        r"acceptable use|prohibited use|use[- ]based restrictions|restricted uses?\b|you (?:agree|shall|must|may|will)"
        r" not (?:to )?use(?! this file| (?:this|the) (?:original )?work)|use policy|usage polic"
    ),
    Restriction.USER_THRESHOLD: r"monthly active users|active users",
    Restriction.REVENUE_THRESHOLD: r"annual revenue|monthly revenue|in revenue",
    Restriction.NAMING: r"built with|powered by|prominently display",
    Restriction.OUTPUT_USE: (
        r"(?:improve|train|develop)\w{0,10} any other (?:large )?(?:language |ai )?model"
        r"|(?:outputs?|results)[^.]{0,60}to (?:train|improve)"
    ),
    Restriction.FIELD_OF_USE: r"military|weapons?|nuclear|surveillance",
    Restriction.REGION: r"european union|united kingdom|south korea|export control",
    Restriction.NO_DERIVATIVES: r"no derivatives|noderivatives|not (?:create|make|distribute) (?:any )?derivative",
}
_PHRASE_PATTERNS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in _PHRASES.items()}
# Names of open licenses in whose unaltered text such words stand, in harmless sentences.
_INHERENT_PHRASES = {
    Restriction.NON_COMMERCIAL: ("GPL", "AGPL", "CDLA-Sharing"),
    Restriction.ACCEPTABLE_USE: ("AFL", "OSL"),
    Restriction.REGION: ("EUPL", "ODbL", "CDDL", "CECILL"),
}
_TITLE_ONLY = re.compile(r"(?i)creative ?commons|attribution|public licen[cs]e|copyright|\(c\)|all rights reserved")


@dataclass(frozen=True, slots=True)
class IdentifiedLicense:
    """The license that a text was recognised as."""

    license: LicenseTerms  # of class "unknown" where the text was not recognised
    how: str  # "title", "text" or "phrases"
    restrictions: tuple[Restriction, ...] = ()  # those whose words stand outside of the recognised text


def identify(text: str) -> IdentifiedLicense:
    """Return the license a text is; an altered text is never the open original."""
    text = text[:LONGEST]
    flat = re.sub(r"[\s*_#>\"“”'’]+", " ", text)
    for pattern, name in _TITLE_PATTERNS:
        if pattern.search(flat):
            return IdentifiedLicense(find(name), "title")
    names, uncovered, tail = _classify(text)
    # The classifier lets any words stand in a copyright notice: the full text is searched for restrictions,
    # except for those whose words belong to a recognised license.
    expected = {
        kind for kind, prefixes in _INHERENT_PHRASES.items() if any(name.startswith(prefixes) for name in names)
    }
    added = tuple(kind for kind in restrictions(text) if kind not in expected or kind in restrictions(uncovered))
    strictest = most_restrictive(find(name) for name in names)
    if strictest is not None and strictest.restrictive:
        return IdentifiedLicense(strictest, "text", added)
    if strictest is not None and not added and _is_frame(uncovered, tail, len(text)):
        return IdentifiedLicense(strictest, "text")
    for name, title, ending, shortest, longest in _STANDARD:
        is_unaltered = shortest <= len(flat) <= longest and re.search(ending, flat, re.IGNORECASE)
        if is_unaltered and re.search(title, flat, re.IGNORECASE) and not set(added) - {Restriction.REGION}:
            return IdentifiedLicense(find(name), "title")
    kind, eu_gpai = LicenseClass.RESTRICTED if added else LicenseClass.UNKNOWN, "unknown"
    if {Restriction.NON_COMMERCIAL, Restriction.RESEARCH_ONLY} & set(added):
        kind, eu_gpai = LicenseClass.NON_COMMERCIAL, "no"
    terms = LicenseTerms("custom", "a license of its own", None, kind, added, eu_gpai)
    return IdentifiedLicense(terms, "phrases", added)


def restrictions(text: str) -> tuple[Restriction, ...]:
    """Return the restrictions whose words occur in a text."""
    return tuple(kind for kind, pattern in _PHRASE_PATTERNS.items() if pattern.search(text))


def _classify(text: str) -> tuple[list[str], str, str]:
    """Return the SPDX ids of a text, the text outside of them, and its tail."""
    from licenseclassifier import identify_license

    regions = sorted(identify_license(text, coverage_threshold=0.0), key=lambda region: region.start)
    uncovered, position = [], 0
    for region in regions:
        uncovered.append(text[position : max(position, region.start)])
        position = max(position, region.end)
    uncovered.append(text[position:])
    return list(dict.fromkeys(region.id for region in regions)), "\n".join(uncovered), text[position:]


def _is_frame(uncovered: str, tail: str, length: int) -> bool:
    """Return whether only titles, notices or a preamble surround a standard text.

    A sentence after a short license is a condition added to it.
    """
    if length < 5_000 and len(tail.split()) > 5:
        return False
    is_title = len(uncovered) <= 0.2 * length and _TITLE_ONLY.search(uncovered) is not None
    return len(uncovered.split()) <= 60 or is_title
