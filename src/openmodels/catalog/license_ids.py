"""License ids of the catalogs: their SPDX form, and what kind of license each is.

The Hub's ids are those of its documentation (repositories-licenses), in lower case; Azure's
spellings are folded into them. What an id or name does not settle is "unknown", never "open".
"""

from __future__ import annotations

import re

from openmodels.catalog.record import LicenseClass

_IDS = """
Apache-2.0 MIT BSD-2-Clause BSD-3-Clause BSD-3-Clause-Clear AFL-3.0 Artistic-2.0 BSL-1.0 ECL-2.0 EPL-1.0 EPL-2.0
EUPL-1.1 EUPL-1.2 AGPL-3.0 GPL-2.0 GPL-3.0 LGPL-2.1 LGPL-3.0 ISC LPPL-1.3c MS-PL MPL-2.0 OSL-3.0 PostgreSQL
OFL-1.1 NCSA Unlicense Zlib WTFPL CC0-1.0 CC-BY-2.0 CC-BY-2.5 CC-BY-3.0 CC-BY-4.0 CC-BY-SA-3.0 CC-BY-SA-4.0 CC-
BY-NC-2.0 CC-BY-NC-3.0 CC-BY-NC-4.0 CC-BY-ND-4.0 CC-BY-NC-ND-3.0 CC-BY-NC-ND-4.0 CC-BY-NC-SA-2.0 CC-BY-NC-SA-3.0
CC-BY-NC-SA-4.0 CDLA-Sharing-1.0 CDLA-Permissive-1.0 CDLA-Permissive-2.0 C-UDA-1.0 PDDL-1.0 ODC-By-1.0 ODbL-1.0
Etalab-2.0 0BSD
"""
_SPDX = {name.lower(): name for name in _IDS.split()}
_SPELLINGS = {
    "apache2.0": "apache-2.0",
    "apache 2.0": "apache-2.0",
    "apache-2": "apache-2.0",
    "apache license 2.0": "apache-2.0",
    "apache": "apache-2.0",
    "mit license": "mit",
    "bsd3": "bsd-3-clause",
    "c-uda": "c-uda-1.0",
    "pddl": "pddl-1.0",
    "odc-by": "odc-by-1.0",
    "odbl": "odbl-1.0",
    "cc0": "cc0-1.0",
    "llama 2": "llama2",
}
# A family ("gpl", "bsd", "cc") does not say which license it is, so it is none of these.
_OPEN = {name for name in _SPDX if "-nc" not in name and "-nd" not in name} | {"openmdw-1.0", "openmdw-1.1"}
_NON_COMMERCIAL = re.compile(
    r"(^|[-_ ])(nc|non-?commercial|noncommercial|research(-only)?|mnpl|mrl)($|[-_ 0-9])"
    r"|h-research|intel-research|apple-amlr|deepfloyd"
)
_RESTRICTED = re.compile(
    r"rail|llama ?-?[2-9]|gemma|falcon|qwen|deepseek|tongyi|grok2|community|stabilityai-ai|databricks-open"
    r"|nvidia-open|jamba-open|lfm1|yi-license|modified-mit|solar|health-ai-developer|dinov3|chatglm"
)
_SAYS_NOTHING = frozenset({"", "other", "unknown", "custom", "none", "null"})


def normalise(stated: str) -> str:
    """Return the SPDX id of a license, or the Hub's id in lower case where SPDX has none."""
    text = stated.strip().lower()
    text = _SPELLINGS.get(text, text)
    return _SPDX.get(text, text)


def says_nothing(license_id: str | None) -> bool:
    """Return whether an id leaves open which license it is ("other", "custom", nothing)."""
    return license_id is None or license_id.strip().lower() in _SAYS_NOTHING


def classify(license_id: str, name: str | None = None) -> LicenseClass:
    """Return what kind of license an id, or else its name, stands for."""
    known = normalise(license_id).lower()
    if says_nothing(known):
        if not name or says_nothing(name):
            return "unknown"
        known = normalise(name).lower()
    if known in _OPEN:
        return "open"
    if _NON_COMMERCIAL.search(known):
        return "non-commercial"
    if _RESTRICTED.search(known):
        return "restricted"
    return "unknown"
