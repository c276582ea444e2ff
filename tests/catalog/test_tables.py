"""Tables on narrow terminals, and trees with guides, merges, guesses and circles."""

from __future__ import annotations

import re
import sys

import pytest

import openmodels as om
from openmodels import columns
from openmodels.catalog.family import Family
from openmodels.catalog.index.codec import today
from openmodels.catalog.index.writer import Writer
from openmodels.catalog.lineage import Edge
from openmodels.catalog.sources import hub_records
from pseudo_terminal import offline_cache, run_on_terminal, without_escapes

LONG = "glow-lab/Lantern-13B-Uncensored-Roleplay-DPO-GRPO-Merged-i1-Imatrix-Quality-Max-v3-final"
ROWS = [
    {"id": "glow-lab/Lantern-13B", "downloads": 900_000, "safetensors": {"total": 13_000_000_000}},
    {"id": LONG, "downloads": 7_000, "cardData": {"license": "other", "license_name": "lantern-community-license-2.1"}},
    {"id": "glow-lab/Lantern-13B-Old", "downloads": 500, "disabled": True},
]


@pytest.fixture
def folder(tmp_path):
    with Writer(tmp_path / "catalog.sqlite") as writer:
        for row in ROWS:
            full = {"pipeline_tag": "text-generation", "gated": False, "cardData": {"license": "bsd-3-clause"}} | row
            writer.put(hub_records.build_record(full, today()))
        writer.flush({"hub.as_of": today().isoformat()})
        writer.finish()
    return tmp_path


def on_terminal(folder, width, *arguments):
    code, written = run_on_terminal(*arguments, width=width, **offline_cache(folder))
    assert code == 0, written
    return without_escapes(written).splitlines()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
class TestOnATerminal:
    @pytest.mark.parametrize("width", [80, 100, 140])
    def test_what_a_choice_needs_is_always_there(self, folder, width):
        lines = on_terminal(folder, width, "search", "lantern", "--index")
        assert max(map(columns.width, lines)) <= width
        head = next(line for line in lines if line.startswith("model")).split()
        assert head[:6] == ["model", "task", "size", "license", "open", "downloads"]
        rows = [line for line in lines if line.startswith("glow")]
        assert len(rows) == len(ROWS)
        for cell in ("13B", "BSD-3-Clause", "900k", "yes"):
            assert cell in rows[0]
        assert any("final" in row and "…" in row for row in rows)
        notes = [line for line in lines if line.startswith("left out on")]
        assert bool(notes) == (len(head) < 9)

    def test_a_mark_is_not_cut(self, folder):
        lines = on_terminal(folder, 80, "search", "lantern", "--index")
        assert any("[disabled]" in line for line in lines)

    def test_show_says_whether_it_is_open_and_what_is_wrong(self, folder):
        assert any(re.match(r"open +yes: ", line) for line in on_terminal(folder, 80, "show", ROWS[0]["id"], "--index"))
        old = on_terminal(folder, 80, "show", ROWS[2]["id"], "--index")
        assert any(re.match(r"open +no: ", line) for line in old)
        assert any(re.match(r"note +disabled", line) for line in old)


def test_printed_results_and_notebooks_show_the_same(folder, monkeypatch):
    monkeypatch.setenv("OPENMODELS_CACHE", str(folder))
    results = om.search("lantern", live=False)
    for text in (str(results), results._repr_html_()):
        assert "open" in text
        assert "glow-lab/Lantern-13B-Old [disabled]" in text
    row = next(line for line in str(results).splitlines() if line.startswith("glow-lab/Lantern-13B "))
    assert row.split() == ["glow-lab/Lantern-13B", "text-generation", "13B", "BSD-3-Clause", "yes", "900k"]


def edge(child, parent, relation="finetune", confidence=1.0):
    return Edge(child=child, parent=parent, relation=relation, confidence=confidence, evidence=("name: it says so",))


def drawn(subject, *edges, width=None):
    family = Family(subject)
    family.models = dict.fromkeys([subject, *(end for each in edges for end in (each.parent, each.child))])
    family.edges = list(edges)
    return list(family.draw(width))


class TestTree:
    def test_guides_join_brothers(self):
        assert drawn("a/x", edge("b/y", "a/x"), edge("c/z", "b/y"), edge("d/w", "a/x", "adapter")) == [
            "a/x * [-]",
            "├─ b/y [-] (finetune)",
            "│  └─ c/z [-] (finetune)",
            "└─ d/w [-] (adapter)",
        ]

    def test_an_inferred_child_is_marked(self):
        lines = drawn("a/x", edge("b/y", "a/x", None, 0.6), edge("c/z", "a/x"))
        assert lines[1] == "├─ c/z [-] (finetune)"
        assert lines[2] == "└─ ~ b/y [-] (-, inferred, 60%: name: it says so)"

    def test_a_merge_names_its_other_parents_and_is_continued_once(self):
        lines = drawn("m/q", edge("m/q", "a/x", "merge"), edge("m/q", "b/y", "merge"), edge("n/r", "m/q"))
        assert sum("m/q * [-] (merge with b/y)" in line for line in lines) == 1
        assert sum("m/q * [-] (merge with a/x) (its own are shown above)" in line for line in lines) == 1
        assert sum("n/r" in line for line in lines) == 1

    @pytest.mark.parametrize("subject", ["a/x", "b/y", "c/z"])
    def test_a_circle_ends_with_a_note_and_hides_nothing(self, subject):
        lines = drawn(subject, edge("a/x", "b/y"), edge("b/y", "a/x"), edge("c/z", "a/x"))
        assert sum("a circle" in line for line in lines) == 1
        assert {name for name in ("a/x", "b/y", "c/z") if any(name in line for line in lines)} == {"a/x", "b/y", "c/z"}

    def test_a_circle_beside_a_root_is_shown_too(self):
        lines = drawn("c/z", edge("c/z", "r/oot"), edge("c/z", "a/x"), edge("a/x", "b/y"), edge("b/y", "a/x"))
        assert any(line.startswith("r/oot") for line in lines)
        assert any("a/x" in line for line in lines)
        assert any("b/y" in line for line in lines)

    def test_long_lines_continue_under_their_own(self):
        lines = drawn("a/x", edge("b/" + "y" * 70, "a/x", None, 0.4), edge("c/z", "a/x"), width=40)
        assert max(map(columns.width, lines)) <= 40
        assert "".join(lines).count("…") == 1
