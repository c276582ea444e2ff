"""Families: what is declared, what is inferred and from what, over all hops."""

from __future__ import annotations

from datetime import date

import pytest

import openmodels as om
from loopback_hub import LoopbackHub
from openmodels.catalog import lineage
from openmodels.catalog.index import update
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.sources import hub_records
from openmodels.errors import ModelNotFound, Offline

DAY = date(2026, 11, 1)
RELATED = [
    ("meta-llama/Llama-2-7b-hf", "elyza/ELYZA-japanese-Llama-2-7b"),
    ("meta-llama/Llama-2-7b-hf", "TencentARC/LLaMA-Pro-8B"),
    ("mistralai/Mistral-7B-v0.1", "BioMistral/BioMistral-7B"),
    ("mistralai/Mistral-7B-v0.1", "nvidia/OpenMath-Mistral-7B-v0.1-hf"),
    ("tiiuae/falcon-40b", "OpenAssistant/falcon-40b-sft-top1-560"),
    ("tiiuae/falcon-7b", "nomic-ai/gpt4all-falcon"),
]


def made(name, **fields):
    return hub_records.build_record({"id": name, **fields}, DAY)


def parent(record, *others, card=None):
    edges = lineage.inferred(record, in_memory([record, *others]), card)
    return edges[0].parent if edges else None


@pytest.mark.parametrize(("root", "below"), RELATED)
class TestTheLessonsFamilies:
    def test_live(self, snapshot_hub, root, below):
        family = om.family(root)
        assert below in family.descendants
        assert root in om.family(below).ancestors

    def test_offline_from_the_index(self, snapshot_hub, monkeypatch, root, below):
        update.update(catalogs=["hub"])
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        family = om.family(root)
        assert below in family.descendants
        (edge,) = family.parents(below)
        assert edge.confidence < 1
        assert edge.evidence

    def test_and_from_facts_alone(self, hub, root, below):
        assert below in om.family(root).descendants


class TestDeclared:
    def test_all_hops_and_relations(self, monkeypatch):
        chain = ["org/a", "org/b", "org/c", "other/d-GGUF"]
        rows = [{"id": "org/a", "cardData": {"license": "mit"}, "downloads": 1}]
        for above, name, relation in zip(chain, chain[1:], ("finetune", "merge", "quantized"), strict=False):
            rows.append(
                {"id": name, "tags": [f"base_model:{above}", f"base_model:{relation}:{above}", "license:llama2"]}
            )
        with LoopbackHub(rows) as server:
            monkeypatch.setenv("HF_ENDPOINT", server.address)
            family = om.family("org/b")
        assert family.ancestors == ["org/a"]
        assert family.descendants == ["org/c", "other/d-GGUF"]
        assert family.roots == ["org/a"]
        assert [edge.relation for edge in family.edges if edge.child == "other/d-GGUF"] == ["quantized"]
        assert all(edge.confidence == 1 for edge in family.edges)
        assert family.license_of("org/a") == "MIT"
        assert str(family).splitlines() == [
            "org/a [MIT]",
            "└─ org/b * [llama2] (finetune)",
            "   └─ org/c [llama2] (merge)",
            "      └─ other/d-GGUF [llama2] (quantized)",
        ]
        assert "org/b *" in family._repr_html_()

    def test_a_circle_ends(self, monkeypatch):
        rows = [{"id": "org/a", "tags": ["base_model:org/b"]}, {"id": "org/b", "tags": ["base_model:org/a"]}]
        with LoopbackHub(rows) as server:
            monkeypatch.setenv("HF_ENDPOINT", server.address)
            family = om.family("org/a")
        assert set(family.models) == {"org/a", "org/b"}
        assert len(str(family)) < 1000

    def test_a_base_that_nobody_lists_is_named(self, hub):
        family = om.family("meta-llama/Llama-3.3-70B-Instruct")
        assert family.ancestors == ["meta-llama/Llama-3.1-70B"]
        assert family.models["meta-llama/Llama-3.1-70B"] is None
        assert family.license_of("meta-llama/Llama-3.1-70B") is None

    def test_many_children_are_cut_off_with_a_note(self, monkeypatch):
        rows = [{"id": "org/base"}, *({"id": f"org/child{n}", "tags": ["base_model:org/base"]} for n in range(30))]
        with LoopbackHub(rows) as server:
            monkeypatch.setenv("HF_ENDPOINT", server.address)
            family = om.family("org/base", limit=10)
        assert len(family.models) == 10
        assert family.notes == ["cut off at 10 models"]

    def test_unknown_models(self, hub, monkeypatch):
        with pytest.raises(ModelNotFound):
            om.family("no/such")
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        with pytest.raises(Offline):
            om.family("no/such")


class TestInferred:
    base = made("tiiuae/falcon-7b", config={"model_type": "falcon"}, downloads=1000)
    big = made("tiiuae/falcon-40b", config={"model_type": "falcon"}, downloads=900)

    def test_from_the_config(self):
        child = made("u/mine", config={"_name_or_path": "tiiuae/falcon-40b", "model_type": "falcon"})
        assert parent(child, self.base, self.big) == "tiiuae/falcon-40b"

    @pytest.mark.parametrize("path", ["./output", "/home/me/falcon", "falcon", "u/mine", ""])
    def test_a_path_on_somebodys_disk_says_nothing(self, path):
        assert made("u/mine", config={"_name_or_path": path}).trained_from is None

    def test_from_the_name_with_its_size(self):
        assert parent(made("u/falcon-40b-dutch"), self.base, self.big) == "tiiuae/falcon-40b"
        assert parent(made("u/Falcon-7B-chat-v3"), self.base, self.big) == "tiiuae/falcon-7b"

    def test_not_from_a_name_of_another_kind(self):
        assert parent(made("u/falcon-7b-x", config={"model_type": "llama"}), self.base) is None
        assert parent(made("u/peregrine-7b"), self.base) is None
        assert (
            parent(made("u/falcon-7b-x", createdAt="2020-01-01"), made("tiiuae/falcon-7b", createdAt="2023-01-01"))
            is None
        )

    def test_not_from_another_version_or_size(self):
        old = made("mistralai/Mistral-7B-v0.1", config={"model_type": "mistral"})
        assert parent(made("mistralai/Mistral-7B-Instruct-v0.2", config={"model_type": "mistral"}), old) is None
        phi = made("microsoft/phi-4", safetensors={"total": 14_659_507_200}, config={"model_type": "phi3"})
        mini = made(
            "microsoft/Phi-4-mini-instruct", safetensors={"total": 3_836_021_760}, config={"model_type": "phi3"}
        )
        assert parent(mini, phi) is None

    def test_from_a_license_granted_with_one_family(self):
        llama = made("meta-llama/Llama-2-7b-hf", config={"model_type": "llama"}, safetensors={"total": 6_738_415_616})
        large = made("meta-llama/Llama-2-70b-hf", config={"model_type": "llama"}, safetensors={"total": 68_976_648_192})
        chat = made(
            "meta-llama/Llama-2-7b-chat-hf", config={"model_type": "llama"}, safetensors={"total": 6_738_415_616}
        )
        child = made("u/pro-8B", tags=["license:llama2"], config={"model_type": "llama"})
        (edge,) = lineage.inferred(child, in_memory([llama, large, chat, child]))
        assert (edge.parent, edge.confidence) == ("meta-llama/Llama-2-7b-hf", 0.5)
        assert "license" in edge.evidence[0]

    def test_from_prose_above_all_but_the_config(self):
        card = "# Mine\n\nA falcon-40b fine-tuned from [Falcon](https://huggingface.co/tiiuae/falcon-7b) on our data."
        (edge,) = lineage.inferred(made("u/falcon-40b-mine"), in_memory([self.base, self.big]), card)
        assert edge.parent == "tiiuae/falcon-7b"
        assert edge.confidence == 0.8
