"""The texts of the SPDX list, from a package that is not part of the project: which are open, and which are not."""

from openmodels.licenses import LicenseClass, find
from openmodels.licenses.identification import identify


def test_every_text_that_the_osi_approved_is_identified(spdx_licenses):
    approved = {entry["licenseId"]: entry["text"] for entry in spdx_licenses if entry["isOsiApproved"]}
    assert len(approved) > 130
    found = {spdx_id: identify(text).license for spdx_id, text in approved.items()}
    assert {spdx_id for spdx_id, terms in found.items() if terms.kind is not LicenseClass.OSI_APPROVED} == set()
    # "Or later" and the like are no part of a text; the published one of the LGPL 3.0 ends with that of the GPL 3.0.
    others = {spdx_id for spdx_id, terms in found.items() if not spdx_id.lower().startswith(terms.id.lower())}
    assert others <= {"LGPL-3.0-only", "LGPL-3.0-or-later"}


def test_no_other_text_is_taken_for_an_open_license(spdx_licenses):
    others = [entry for entry in spdx_licenses if not entry["isOsiApproved"]]
    assert len(others) > 500
    found = {entry["licenseId"]: identify(entry["text"]).license for entry in others}
    opened = {spdx_id for spdx_id, terms in found.items() if terms.open}
    # Licenses of open data and content have classes of their own. These three are permissive ones in other words.
    permissive = {"BSD-2-Clause-pos-unchanged", "dtoa", "HPND-Netrek"}
    assert {spdx_id for spdx_id in opened if not find(spdx_id).open} <= permissive
