"""Evidence of any shape gives a report or one typed error, and every form of a report can be made."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings, strategies as st

import openmodels as om

NAMES = ["name", "url", "text", "fact", "links", "claims", "rfilename", "total"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "mit", "a/b", "x](y"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
FIELDS = [
    "gated", "tags", "sha", "siblings", "siblings_status", "cardData", "readme", "license_texts", "refs", "unknown",
    "provenance", "gathered_at", "safetensors", "config", "library_name", "checkpoint_repository", "pipeline_tag",
]  # fmt: skip


def judged(folder, page):
    (folder / "models").mkdir(exist_ok=True)
    (folder / "models" / "a__b.json").write_bytes(page if isinstance(page, bytes) else json.dumps(page).encode())
    return om.openness("a/b", evidence=folder)


@settings(max_examples=80, deadline=None)
@given(page=st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
def test_any_shape_is_judged(tmp_path_factory, page):
    folder = tmp_path_factory.mktemp("evidence")
    try:
        report = judged(folder, {"id": "a/b"} | page)
    except om.OpenModelsError:
        return
    json.loads(report.to_json())
    assert report.to_markdown()
    assert report._repr_html_()
    assert report.badge()
    assert report.to_bom()


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", b"[]", b'{"a": ' + b"9" * 6000 + b"}{", b"\0" * 9])
def test_damaged_files_are_a_typed_error(tmp_path, content):
    with pytest.raises(om.InvalidRequest, match=r"a__b\.json"):
        judged(tmp_path, content)
