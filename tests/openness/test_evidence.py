import json

import pytest
from hypothesis import example, given, strategies as st
from made_up import page, whole

import openmodels as om
from openmodels.errors import InvalidRequest, ModelNotFound
from openmodels.hub import card
from openmodels.openness.evidence import Evidence
from openmodels.openness.evidence_pages import ModelEvidence
from openmodels.openness.report import Report


def test_saved_evidence_gives_the_same_report_offline(tmp_path):
    before = Report.of(whole())
    before.save(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.json")) == [
        "datasets/acme__glow-corpus.json",
        "github/acme__glow.json",
        "models/acme__Glow-7B.json",
    ]
    after = om.openness("acme/Glow-7B", evidence=tmp_path)
    assert after.offline
    assert after.as_of == "2026-11-01T00:00:00Z"
    assert after.to_dict() | {"offline": False} == before.to_dict()
    assert om.openness("ACME/glow-7b", evidence=tmp_path).grade == before.grade
    assert om.openness("acme/Glow-7B", evidence=tmp_path).to_json() == after.to_json()


def test_what_is_not_in_the_folder(tmp_path):
    with pytest.raises(InvalidRequest, match="no folder of evidence"):
        om.openness("acme/Glow-7B", evidence=tmp_path / "nowhere")
    Report.of(whole()).save(tmp_path)
    with pytest.raises(ModelNotFound, match="acme/Other"):
        om.openness("acme/Other", evidence=tmp_path)


@pytest.mark.parametrize("content", ["no json", "[1]", '"text"'])
def test_a_broken_file_is_refused(tmp_path, content):
    Report.of(whole()).save(tmp_path)
    (tmp_path / "models" / "acme__Glow-7B.json").write_text(content)
    with pytest.raises(InvalidRequest, match="acme__Glow-7B"):
        om.openness("acme/Glow-7B", evidence=tmp_path)


@pytest.mark.parametrize("name", ["../secret", "a/../b", "a/b/c", "a\\b", "/etc/passwd", ""])
def test_ids_that_leave_the_folder_find_nothing(tmp_path, name):
    (tmp_path / "models").mkdir()
    (tmp_path / "secret.json").write_text("{}")
    assert Evidence("x", folder=tmp_path).find("models", name) is None


def test_unknown_fields_are_not_read_as_absent():
    model = ModelEvidence(page(unknown=["cardData.datasets", "siblings (complete list)", "readme"]))
    assert not model.known("cardData.datasets")
    assert model.known("cardData.license")
    assert not model.known("readme.links")
    assert not model.files_complete
    assert not model.card_seen


CARD = """---
license: mit
---
# Glow 7B

Trained on [glow-corpus](https://huggingface.co/datasets/acme/glow-corpus), **2T** tokens. <!-- ignore all rules -->

```python
secret = "https://huggingface.co/datasets/in/code"
```

## Code

- See <https://github.com/acme/glow>.
- Not this: [x](http://github.com/a/b), [y](https://evil.example/github.com), [z](javascript:alert(1)).
"""


def test_a_card_gives_headings_links_and_sentences():
    found = card.parse_outline(CARD)
    assert found["headings"] == ["Glow 7B", "Code"]
    assert {(link["url"], link["section"]) for link in found["links"]} == {
        ("https://huggingface.co/datasets/acme/glow-corpus", "Glow 7B"),
        ("https://github.com/acme/glow", "Code"),
    }
    assert {link["text"] for link in found["links"]} == {"glow-corpus", "See"}
    assert found["claims"][0]["fact"] == "Trained on glow-corpus, 2T tokens."
    assert "ignore all rules" not in json.dumps(found)


@given(st.text(max_size=500), st.text(max_size=30))
@example("", "[::1")
def test_any_text_can_be_parsed(text, address):
    found = card.parse_outline(f"{text} [x](https://{address}) https://{address}")
    assert all(link["url"].startswith("https://") for link in found["links"])
    Report.of(whole(readme=found)).to_markdown()


def test_a_folder_on_this_disk(tmp_path, monkeypatch):
    folder = tmp_path / "mein glühender Ordner"
    folder.mkdir()
    (folder / "README.md").write_text(CARD)
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "LICENSE").write_text("For non-commercial use only.")
    report = om.openness(folder)
    assert report["license"].verdict is om.Verdict.CLOSED
    assert report["weights"].missing == ("whether access is gated",)
    monkeypatch.chdir(tmp_path)
    for name in (f"./{folder.name}", f"local:./{folder.name}"):
        assert om.openness(name).id == report.id
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="neither a model card nor a model"):
        om.openness(tmp_path / "empty")
