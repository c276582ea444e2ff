"""Which license a text is.

Titles of model licenses are searched first, anywhere in the text: several of these licenses contain
all of MIT or Apache-2.0 with terms added. Then the text is compared with the SPDX texts, word by word:
each word beside a license must belong to a class of `extra_words.HARMLESS`, or the text is not that license.
"""

import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files

from openmodels.licenses import table
from openmodels.licenses.expressions import find
from openmodels.licenses.extra_words import MAX_QUOTED, digest, find_conditions, is_name, is_notice
from openmodels.licenses.phrases import find_restrictions
from openmodels.licenses.table import LicenseClass, LicenseTerms, Restriction, most_restrictive
from openmodels.licenses.templates import Word, compare, find_nearest, split_words

LONGEST = 100_000  # characters of a text that are looked at; a text of so many was cut

_TABLE = json.loads((files("openmodels.licenses") / "titles.json").read_text(encoding="utf-8"))
_TITLE_PATTERNS = [(re.compile(rf"\b(?:{pattern})", re.IGNORECASE), name) for pattern, name in _TABLE["titles"].items()]

# The law holds without a license, and a wish binds nobody.
_ASKS_NOTHING = re.compile(
    r"(?i)\bcomply with (?:all )?(?:applicable )?(?:laws?|regulations?)"
    r"|^\W*we (?:aim|hope|encourage|believe|strive|welcome)\b"
)
_HEADING = re.compile(r"[\W_]*(?:[\w.-]+[\W_]+){0,8}(?i:polic(?:y|ies)|usage|use)[\W_]*")
_SHORTEST_LICENSE = 20  # words; a shorter passage holds no license of its own


@dataclass(frozen=True, slots=True)
class IdentifiedLicense:
    """The license that a text was recognised as."""

    license: LicenseTerms  # its terms; of class "unknown" for a text that is not known here
    how: str  # "title", "text", "altered" or "none"
    restrictions: tuple[Restriction, ...] = ()  # restrictions that stand outside of a recognised text
    nearest: str = ""  # the SPDX id of the license that an altered text was made from, or ""
    additions: tuple[str, ...] = ()  # the sentences of an altered text that are not that license's
    missing: int = 0  # words of that license that an altered text lacks

    @property
    def description(self) -> str:
        """What the text is, in words: "Apache-2.0", "7 words beyond MIT: “…”"."""
        if self.how == "none":
            return self.license.name
        if self.how != "altered":
            return self.license.id
        if not self.additions:
            return f"{self.nearest} without {self.missing} of its words"
        count = sum(len(split_words(text)) for text in self.additions)
        quoted = " ".join(" … ".join(self.additions).split())
        quoted = quoted if len(quoted) <= MAX_QUOTED else quoted[: MAX_QUOTED - 1] + "…"
        return f"{count} words beyond {self.nearest}: “{quoted}”"


def identify(text: str) -> IdentifiedLicense:
    """Return the license a text is; an altered text is never the open original."""
    # A character reference shows its character to a reader, so it is read as that.
    is_cut, text = len(text) >= LONGEST, html.unescape(text.removeprefix("\ufeff")[:LONGEST])
    if (title := find_title(re.sub(r"[\s*_#>\"“”'’]+", " ", text))) is not None:
        return IdentifiedLicense(title[0], "title")
    ids = _candidates(text)
    strictest = most_restrictive(find(license_id) for license_id in ids)
    if strictest is not None and strictest.restrictive:
        return IdentifiedLicense(strictest, "text")
    if "openmdw" in text.lower() and "openmdw-1.1" not in ids:
        ids.append("openmdw-1.1")  # its template is not among those that are searched
    words = split_words(text)
    exact, conditions = _explain(text, words, ids)
    if is_cut:
        conditions.append(f"[what follows after {LONGEST} characters]")
    if exact and not conditions:
        terms = most_restrictive(map(find, exact))
        return IdentifiedLicense(terms or find(exact[0]), "text")
    if (published := _TABLE["published"].get(_digest(text))) is not None:
        return IdentifiedLicense(find(published), "text")
    nearest, missing = exact[0] if exact else "", 0
    # A few words of a license, as of its short notice, do not name a text that is mostly others.
    is_part = 2 * sum(len(sentence.split()) for sentence in conditions) > len(words)
    if (not exact or is_part) and (near := find_nearest(words, _well_known())) is not None:
        nearest, missing = near.license_id, near.missing
        passages = [passage for passage, _ in _passages(text, words, near.added)]
        conditions = [sentence for passage in passages for sentence in find_conditions(passage, [nearest])]
    elif is_part:
        nearest, conditions = "", []
    # Without a license beside it, all of the text is read for restrictions.
    added = find_restrictions("\n".join(conditions) if nearest else text)
    how = "altered" if nearest else "none"
    return IdentifiedLicense(_own_terms(nearest, added), how, added, nearest, tuple(conditions), missing)


def identify_policy(text: str) -> IdentifiedLicense | None:
    """Return the terms of a use policy; None where it asks for the law alone."""
    if (title := find_title(" ".join(text.split()))) is not None:
        return IdentifiedLicense(title[0], "title")
    sentences = [sentence for sentence in re.split(r"(?<=[.!?])\s+|\n+", text) if re.search(r"\w{2}", sentence)]
    beyond = [sentence for sentence in sentences if not _asks_nothing(sentence) and not _HEADING.fullmatch(sentence)]
    if not beyond:
        return None
    added = find_restrictions("\n".join(beyond))
    terms = _own_terms("", added)
    quoted = " ".join(" ".join(beyond).split())[:MAX_QUOTED]
    kind = f"demands {', '.join(added)}" if added else "holds terms that are not known here"
    return IdentifiedLicense(replace(terms, id="LicenseRef-use-policy", name=f"{kind}: “{quoted}”"), "none", added)


def _asks_nothing(sentence: str) -> bool:
    return _ASKS_NOTHING.search(sentence) is not None and not find_restrictions(sentence)


def find_title(text: str) -> tuple[LicenseTerms, int] | None:
    """Return the model license whose title a text holds, and where, or None."""
    for pattern, name in _TITLE_PATTERNS:
        if match := pattern.search(text):
            return find(name), match.start()
    return None


@cache
def _well_known() -> tuple[str, ...]:
    """Return the SPDX ids of the open licenses that the Hub knows."""
    return tuple(dict.fromkeys(terms.spdx for terms in table.listed() if terms.spdx and terms.open))


def _own_terms(nearest: str, added: tuple[Restriction, ...]) -> LicenseTerms:
    """Return the terms of a text that the table does not list."""
    kind, eu_gpai = LicenseClass.UNKNOWN, "unknown"
    if {Restriction.NON_COMMERCIAL, Restriction.RESEARCH_ONLY} & set(added):
        kind, eu_gpai = LicenseClass.NON_COMMERCIAL, "no"
    elif added:
        kind = LicenseClass.RESTRICTED
    if nearest:
        return LicenseTerms(f"LicenseRef-altered-{nearest}", f"{nearest}, altered", None, kind, added, eu_gpai)
    return LicenseTerms("LicenseRef-unrecognised", "a text that is no license known here", None, kind, added, eu_gpai)


def _candidates(text: str) -> list[str]:
    """Return the SPDX ids of licenses whose words a text holds."""
    from licenseclassifier import identify_license

    return list(dict.fromkeys(region.id for region in identify_license(text, coverage_threshold=0.0)))


def _explain(
    text: str, words: Sequence[Word], ids: Sequence[str], around: Sequence[str] = ()
) -> tuple[list[str], list[str]]:
    """Return the licenses that words hold whole, and the conditions beside them."""
    comparisons = [comparison for license_id in ids if (comparison := compare(license_id, words)) is not None]
    if not comparisons:
        return [], []
    closest = min(comparisons, key=lambda comparison: len(comparison.added))
    exact, conditions = [closest.license_id], []
    others = [license_id for license_id in ids if license_id != closest.license_id]
    for passage, (first, last) in _passages(text, words, closest.added):
        is_gap = first > 0 and last < len(words) - 1
        if is_gap and is_name(passage):
            continue
        rest = find_conditions(passage, [*ids, *around])
        if rest and others and last - first >= _SHORTEST_LICENSE:
            also, beside = _explain(passage, split_words(passage), others, [closest.license_id, *around])
            if also:
                exact, rest = exact + also, beside
        conditions += rest
    return exact, conditions


def _passages(text: str, words: Sequence[Word], added: Sequence[int]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the passages of added words, with their first and last place."""
    runs: list[list[int]] = []
    for place in added:
        if runs and runs[-1][1] == place - 1:
            runs[-1][1] = place
        else:
            runs.append([place, place])
    for first, last in runs:
        start = words[first].start
        # The template may know "Copyright" and no more of a notice: the word belongs to the passage.
        if first and words[first - 1].form == "copyright":
            start = words[first - 1].start
        line = text.rfind("\n", 0, start) + 1
        if not re.search(r"\w", text[line:start]):
            start = line
        yield text[start : words[last].end], (first, last)


def _digest(text: str) -> str:
    """Return the digest of a text without its copyright notices."""
    return digest("\n".join(line for line in text.splitlines() if not is_notice(line)))
