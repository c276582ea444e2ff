"""The verdict on the license: what proves it, what contradicts it, what was not read."""

import pytest

from openmodels.openness.evidence import Evidence
from openmodels.openness.findings import Verdict
from openmodels.openness.gather import from_folder
from openmodels.openness.model_context import ModelContext

MIT = """MIT License

Copyright (c) 2026 Petrel

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without
limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the
Software, and to permit persons to whom the Software is furnished to do so, subject to the following
conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions
of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL
THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF
CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER
DEALINGS IN THE SOFTWARE.
"""


def judge(license_id="mit", says=(), texts=None, files=(), criterion="license", **card):
    texts = texts or {}
    matter = {"license": license_id} | card if license_id else card
    page = {
        "id": "petrel/tern-1b",
        "cardData": matter,
        "tags": [],
        "siblings": [{"rfilename": name} for name in ["README.md", "model.safetensors", *texts, *files]],
        "readme": {"headings": [], "links": [], "claims": [{"fact": fact} for fact in says]},
        "license_texts": texts,
        "gated": False,
        "unknown": [],
    }
    evidence = Evidence("petrel/tern-1b")
    evidence.pages["models"]["petrel/tern-1b"] = page
    return ModelContext(evidence).finding(criterion)


def test_a_bare_declaration_stands_where_nothing_contradicts_it():
    finding = judge()
    assert (finding.verdict, finding.rule) == (Verdict.OPEN, "license.osi-stated")
    assert "front matter" in finding.reason


def test_a_text_alone_is_not_called_front_matter():
    finding = judge(None, texts={"COPYING": MIT})
    assert finding.verdict is Verdict.OPEN
    assert "front matter" not in finding.reason
    assert "COPYING" in finding.reason


def test_words_beyond_the_license_are_counted_and_quoted():
    finding = judge(texts={"LICENSE": MIT + "\nBlankets shall be folded at noon.\n"})
    assert finding.verdict is Verdict.UNKNOWN
    assert "6 words beyond MIT: “Blankets shall be folded at noon" in finding.reason


@pytest.mark.parametrize(
    "says",
    [
        "The weights are shared under CC BY-NC 4.0.",
        "Die Gewichte sind nur für die Forschung bestimmt.",
        "Companies with more than 90 employees must contact us for a license.",
    ],
)
def test_a_sentence_about_the_weights_binds(says):
    assert judge(says=[says]).verdict is Verdict.CLOSED


def test_a_sentence_about_the_data_concerns_all_parts_alone():
    says = ["The recordings may be used for non-commercial purposes only."]
    assert judge(says=says).verdict is Verdict.OPEN
    assert judge(says=says, criterion="license_all_parts").verdict is Verdict.PARTIAL


def test_sentences_that_were_not_read_are_counted():
    finding = judge(says=["Модель доступна по некоммерческой лицензии."] * 2)
    assert finding.verdict is Verdict.UNKNOWN
    assert "the card has 2 sentences in Russian" in finding.reason
    assert "about licenses that were not read" in finding.reason


@pytest.mark.parametrize("name", ["Tern Model License.pdf", "EULA.docx", "legal/Tern Terms of Use.txt"])
def test_terms_of_its_own_that_were_not_read_keep_it_unknown(name):
    finding = judge(files=[name])
    assert finding.verdict is Verdict.UNKNOWN
    assert name in finding.reason


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        ("version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        ("<html><body>404", "an HTML page"),
    ],
)
def test_files_that_are_no_text_are_named_as_what_they_are(text, kind):
    finding = judge(texts={"LICENSE": text})
    assert f"LICENSE was not read: {kind}" in finding.reason


def test_every_license_file_counts():
    assert (
        judge(texts={"LICENSE": MIT, "docs/legal/weights license.txt": "Research use only."}).verdict is Verdict.CLOSED
    )
    assert judge(texts={"LICENSE": MIT, "USE_POLICY.md": "You must not use it for gambling."}).verdict is Verdict.CLOSED
    assert (
        judge(texts={"LICENSE": MIT, "third_party/LICENSE": "Research use only for this font."}).verdict is Verdict.OPEN
    )


@pytest.mark.parametrize(
    ("license_id", "card"),
    [
        (["mit", "cc-by-nc-4.0"], {}),
        (["apache-2.0", "other"], {}),
        ("mit", {"license_name": "tern-terms"}),
        ("apache-2.0", {"license_name": "Apache 2.0 with Commons Clause"}),
    ],
)
def test_front_matter_of_several_licenses_binds_as_a_whole(license_id, card):
    assert judge(license_id, **card).verdict is not Verdict.OPEN
    assert judge("mit", license_name="MIT License").verdict is Verdict.OPEN


def test_a_sentence_alone_declares_with_little_confidence():
    finding = judge(None, says=["The model is released under the Apache 2.0 license."])
    assert (finding.verdict, finding.confidence) == (Verdict.OPEN, 0.7)
    assert judge(None).verdict is Verdict.CLOSED


def test_a_folder_is_read_with_all_its_terms(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n## 许可\n\n禁止商用。\n", "utf-8")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "legal").mkdir()
    (tmp_path / "legal" / "TERN LICENSE.TXT").write_text(MIT)
    context = ModelContext(from_folder(tmp_path))
    assert list(context.model.license_texts) == ["legal/TERN LICENSE.TXT"]
    assert context.finding("license").verdict is Verdict.CLOSED


def test_short_lines_under_a_heading_about_licenses_are_read(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n## License\n\nCC BY-NC 4.0\n", "utf-8")
    (tmp_path / "config.json").write_text("{}")
    assert ModelContext(from_folder(tmp_path)).finding("license").verdict is Verdict.CLOSED
