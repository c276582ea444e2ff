"""Formats of strings, as patterns of what every reader of a format accepts."""

_YEAR = "(?:[0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_DATE = (
    f"{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    "|02-(?:0[1-9]|1[0-9]|2[0-8]))"
)
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_ZONE = "(?:Z|[+-](?:0[0-9]|1[0-3]):[0-5][0-9])"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_GROUP = "[0-9a-f]{1,4}"
_LABEL = "[a-z][a-z0-9]{0,14}(?:-[a-z0-9]{1,6})?"
_HOST = rf"(?:{_LABEL}\.){{1,3}}[a-z]{{2,6}}"
_HEX = "[0-9a-f]"
_PATH = r"(?:/[A-Za-z0-9._~-]{0,40}){0,8}"
_EMAIL = rf"[A-Za-z0-9_]{{1,20}}(?:[.+-][A-Za-z0-9_]{{1,12}}){{0,2}}@{_HOST}"
_QUERY = r"(?:\?[A-Za-z0-9._~=&-]{1,60})?"
_URI = rf"https?://{_HOST}{_PATH}{_QUERY}"


def _uuid(version: str) -> str:
    return f"{_HEX}{{8}}-{_HEX}{{4}}-{version}{_HEX}{{3}}-[89ab]{_HEX}{{3}}-{_HEX}{{12}}"


PATTERNS = {
    "date": _DATE,
    "time": f"{_CLOCK}{_ZONE}",
    "date-time": f"{_DATE}T{_CLOCK}{_ZONE}",
    "naive-time": _CLOCK,
    "naive-date-time": f"{_DATE}T{_CLOCK}",
    "duration": "P(?:[1-9][0-9]{0,3}D(?:T(?:[0-9]|1[0-9]|2[0-3])H)?|T[1-9][0-9]{0,3}[HMS])",
    "email": _EMAIL,
    "idn-email": _EMAIL,
    "hostname": _HOST,
    "idn-hostname": _HOST,
    "ipv4": _IPV4,
    "ipv6": f"{_GROUP}(?::{_GROUP}){{7}}|::{_GROUP}(?::{_GROUP}){{0,5}}",
    "uuid": _uuid("[1-8]"),
    **{f"uuid{version}": _uuid(str(version)) for version in (1, 2, 3, 4, 5, 6, 7, 8)},
    **dict.fromkeys(("uri", "uri-reference", "iri", "iri-reference", "uri-template"), _URI),
    "ipv4network": rf"{_IPV4}/32",
    "ipv6network": f"{_GROUP}(?::{_GROUP}){{7}}/128",
    "ipv4interface": rf"{_IPV4}/(?:[12]?[0-9]|3[0-2])",
    "ipv6interface": f"{_GROUP}(?::{_GROUP}){{7}}/(?:[1-9]?[0-9]|1[01][0-9]|12[0-8])",
    **dict.fromkeys(("ipvanyaddress", "ipvanyinterface", "ipvanynetwork"), _IPV4),
    "byte": "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?",
    "json-pointer": "(?:/[A-Za-z0-9_.-]{0,20}){0,8}",
    "relative-json-pointer": "(?:0|[1-9][0-9]{0,3})(?:#|(?:/[A-Za-z0-9_.-]{0,20}){0,8})",
    "regex": "[A-Za-z0-9_ -]{0,40}",
}
"""Patterns of JSON Schema's formats and of pydantic's own, by name; each matches a format's whole text."""
