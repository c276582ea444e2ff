"""Which license a text is. The texts come from the ScanCode database at test time, none is kept here."""

import random

import pytest
from hypothesis import given, settings, strategies as st

from openmodels.licenses import LicenseClass, find
from openmodels.licenses.identification import identify

# ScanCode's name of the text -> the id it must be taken for.
MODEL_LICENSES = {
    "bigcode-open-rail-m-v1": "bigcode-openrail-m",
    "bigscience-open-rail-m": "bigscience-openrail-m",
    "bigscience-open-rail-m2": "openrail++",
    "bigscience-rail-1.0": "bigscience-bloom-rail-1.0",
    "deepseek-la-1.0": "deepseek",
    "exaone-ai-model-1.1-nc": "exaone",
    "falcon-2-11b-1.0": "falcon-2-11b-license",
    "flux-1-nc": "flux-1-dev-non-commercial-license",
    "gemma-tou-2024-04-01": "gemma",
    "gemma-tou-2025-03-24": "gemma",
    "llama-license-2023": "llama1",
    "llama-2-license-2023": "llama2",
    "llama-3.1-license-2024": "llama3.1",
    "llama-3.2-license-2024": "llama3.2",
    "llama-3.3-license-2024": "llama3.3",
    "llama-4-license-2025": "llama4",
    "moonshot-ai-modified-mit-2025": "modified-mit",
    "nvidia-open-model-2025-04-28": "nvidia-open-model-license",
    "open-aleph-1.0": "open-aleph-1.0",
    "openmdw-1.0": "openmdw-1.0",
    "qwen-2024": "qwen",
    "stability-ai-community-2024": "stabilityai-ai-community",
    "stability-ai-nc-2023-12-06": "stabilityai-nc-research",
    "stable-diffusion-2022-08-22": "creativeml-openrail-m",
    "tencent-hunyuan-3d-2.0-cla": "tencent-hunyuan-community",
    "tongyi-qianwen-2023": "tongyi-qianwen",
}
STANDARD_LICENSES = {
    "afl-3.0": "afl-3.0",
    "agpl-3.0": "agpl-3.0",
    "apache-2.0": "apache-2.0",
    "artistic-2.0": "artistic-2.0",
    "boost-1.0": "bsl-1.0",
    "bsd-new": "bsd-3-clause",
    "bsd-simplified": "bsd-2-clause",
    "cc-by-4.0": "cc-by-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0",
    "cc-by-nc-nd-4.0": "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-4.0": "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0": "cc-by-nd-4.0",
    "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc0-1.0": "cc0-1.0",
    "cdla-permissive-2.0": "cdla-permissive-2.0",
    "cdla-sharing-1.0": "cdla-sharing-1.0",
    "epl-2.0": "epl-2.0",
    "eupl-1.2": "eupl-1.2",
    "gpl-2.0": "gpl-2.0",
    "gpl-3.0": "gpl-3.0",
    "isc": "isc",
    "lgpl-2.1": "lgpl-2.1",
    "lgpl-3.0": "lgpl-3.0",
    "mit": "mit",
    "mpl-2.0": "mpl-2.0",
    "odbl-1.0": "odbl",
    "odc-by-1.0": "odc-by",
    "pddl-1.0": "pddl",
    "unlicense": "unlicense",
}
EXPECTED = MODEL_LICENSES | STANDARD_LICENSES


def test_there_are_55():
    assert len(EXPECTED) == 55


def test_at_least_54_of_55_are_recognised(license_texts):
    wrong = {}
    for name, expected in EXPECTED.items():
        found = identify(license_texts[name]).license
        if find(found.id).id != find(expected).id:
            wrong[name] = found.id
    assert len(wrong) <= 1, wrong


RESTRICTIVE_KINDS = {"Proprietary Free", "Commercial", "Source-available", "Free Restricted"}


def test_no_restrictive_text_of_the_whole_database_is_open(license_texts, license_kinds):
    restrictive = [name for name, kind in license_kinds.items() if kind in RESTRICTIVE_KINDS]
    assert len(restrictive) > 900
    found = {name for name in restrictive if identify(license_texts[name]).license.open}
    # ScanCode calls the Sun Industry Standards Source License proprietary; the OSI approved it.
    assert found <= {"sun-sissl-1.1"}


RESTRICTIVE = [name for name, expected in EXPECTED.items() if find(expected).restrictive]


@pytest.mark.parametrize("name", RESTRICTIVE)
def test_altering_a_restrictive_text_never_makes_it_open(name, license_texts):
    text, chance = license_texts[name], random.Random(name)
    assert not identify("MIT License\n\n" + text).license.open, name
    for _ in range(15):
        cut = chance.randrange(1, len(text))
        parts, lines = text.split("\n\n"), text.split("\n")
        chance.shuffle(parts)
        chance.shuffle(lines)
        for altered in (text[:cut], text[cut:], "\n\n".join(parts), "\n".join(lines)):
            assert not identify(altered).license.open, (name, cut)


MIT = """Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
persons to whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
CLAUSES = [
    "The Software may be used for non-commercial purposes only.",
    "If you have more than 100 million monthly active users, you must request a license.",
    "You must not use the Software to build weapons or for military ends.",
    "You agree not to use the outputs to train any other model.",
    "Use is subject to the Acceptable Use Policy.",
]


def test_the_plain_text_is_recognised():
    assert identify("MIT License\n\nCopyright (c) 2026 Acme\n\n" + MIT).license.id == "mit"


@given(clause=st.sampled_from(CLAUSES), notice=st.text(max_size=80), above=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_clause_added_to_an_open_text_closes_it(clause, notice, above):
    text = f"{notice}\n{clause}\n{MIT}" if above else f"{notice}\n{MIT}\n{clause}"
    found = identify(text)
    assert not found.license.open
    assert found.restrictions


@given(st.permutations(MIT.split("\n\n")), st.sampled_from(CLAUSES))
@settings(max_examples=20, deadline=None)
def test_shuffled_with_a_clause_it_stays_closed(parts, clause):
    assert not identify("\n\n".join([*parts, clause])).license.open


@given(st.text(max_size=400))
@settings(max_examples=50, deadline=None)
def test_any_other_text_is_not_open(text):
    assert not identify(text).license.open


def test_research_only_prose_is_non_commercial():
    assert (
        identify("These weights are released for research purposes only.").license.kind is LicenseClass.NON_COMMERCIAL
    )
