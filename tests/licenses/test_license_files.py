"""Files that hold terms: by name, by what they speak of, and those that are no text."""

import pytest

from openmodels.licenses.files import FileRole, find_role, has_own_terms, is_license_file, why_unreadable
from openmodels.licenses.identification import identify_policy


@pytest.mark.parametrize(
    "path",
    [
        "LICENSE", "license.txt", "LICENCE.md", "COPYING", "COPYING.LESSER", "Petrel Model License v2.md",
        "MODEL_LICENSE", "LICENSE-WEIGHTS", "LICENSE.zh-CN.md", "docs/legal/terms.txt",
        "LICENSES/Apache-2.0.txt", "license/agreement.rst", "EULA.pdf", "Terms_of_Service.html",
        "USE_POLICY.md", "ACCEPTABLE-USE-POLICY.txt", "NOTICE", "UNLICENSE", "Licence agreement.docx",
        "weights/LICENSE", "LIZENZ.txt", "licencia.txt", "模型许可协议.txt", "model.license",
        "PetrelLicense.txt", "License (final).md",
    ],
)  # fmt: skip
def test_names_of_files_that_hold_terms(path):
    assert is_license_file(path)


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        "license_plate_detector.md",
        "model.safetensors",
        "license.py",
        "config.json",
        "licenses.csv",
        "notes.txt",
    ],
)
def test_names_of_other_files(path):
    assert not is_license_file(path)


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("LICENSE", "license"),
        ("LICENSE-CODE", "code"),
        ("DATA_LICENSE.txt", "data"),
        ("LICENSE-MODEL", "license"),
        ("model_code_license.md", "license"),
        ("third_party/LICENSE", "others"),
        ("NOTICE.md", "notice"),
        ("Usage Policy.md", "policy"),
    ],
)
def test_what_a_file_speaks_of(path, role):
    assert find_role(path) is FileRole(role)


def test_a_name_of_its_own_says_that_terms_are_its_own():
    assert has_own_terms("Petrel Model License.pdf")
    assert has_own_terms("EULA")
    for name in (
        "LICENSE",
        "LICENSE.md",
        "COPYING",
        "license-apache-2.0.txt",
        "MIT-LICENSE.txt",
        "NOTICE",
        "LICENSE.zh-CN.txt",
    ):
        assert not has_own_terms(name), name


def test_files_that_cannot_be_read_say_why():
    assert why_unreadable("LICENSE.pdf") == "a PDF"
    assert why_unreadable("LICENSE", "%PDF-1.7 ...") == "a PDF"
    assert (
        why_unreadable("LICENSE", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        == "a Git LFS pointer"
    )
    assert why_unreadable("LICENSE", "\n <!DOCTYPE html><html>") == "an HTML page"
    assert why_unreadable("LICENSE", " \n\n") == "empty"
    assert why_unreadable("LICENSE", "\0\1\2") == "not a text"
    assert why_unreadable("LICENSE", "MIT License") == ""


def test_a_use_policy_that_asks_for_the_law_alone_restricts_nothing():
    assert (
        identify_policy(
            "# Usage policy\n\nWe hope you build nice things. You agree to comply with all applicable laws."
        )
        is None
    )
    policy = identify_policy("# Use policy\n\nYou may not use the model for gambling.")
    assert policy.license.restrictive
    assert "gambling" in policy.description
    assert not identify_policy("Blankets are issued at noon.").license.open
