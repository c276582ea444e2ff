"""Code counts with a recipe of the very model; a framework trains any."""

import pytest
from made_up import evidence, page, repository

from openmodels.openness.findings import Verdict
from openmodels.openness.model_context import ModelContext
from openmodels.openness.model_shape import read_shape
from openmodels.openness.recipes import ModelName, is_framework

OPEN, PARTIAL, CLOSED, UNKNOWN = Verdict

NEOX = [
    "LICENSE",
    "README.md",
    "train.py",
    "megatron/training.py",
    "configs/7B.yml",
    "configs/llama2/7B.yml",
    "configs/local_setup.yml",
    "post-training/dpo_data.py",
    "configs/finetuning_configs/7B.yml",
    "eval_tasks/eval_adapter.py",
    "eval_tasks/eval_runner.py",
]


def linking(*links, name="north-ai/Borealis-7B", **fields):
    """A model whose card links repositories as its training code."""
    urls = [f"https://github.com/{link}" for link in links]
    readme = {
        "headings": ["Training"],
        "links": [{"url": url, "text": "our training code", "section": "Training"} for url in urls],
        "claims": [],
    }
    return page(name, readme=readme) | fields


def judged(criterion, model, *repositories, others=()):
    return ModelContext(evidence(model, *others, repositories=repositories)).finding(criterion)


def files(finding):
    return [proof.url.partition("/blob/")[2].partition("/")[2] for proof in finding.evidence if "/blob/" in proof.url]


class TestNames:
    @pytest.mark.parametrize(
        ("model", "path"),
        [
            ("aurora/Lumen-2-1124-7B", "configs/official-1124/Lumen2-7B-stage1.yaml"),
            ("aurora/lumen2-7b-hf", "scripts/train_lumen_2_7b.sh"),
            ("aurora/Lumen_v1.5_13B", "recipes/LUMEN-v1.5/13b.toml"),
            ("north-ai/Borealis-6.9B", "configs/borealis-6-9b.yml"),
            ("lab/open_quokka_3b", "configs/open-quokka-3b.yaml"),
            ("kappa/qk-sw2-1.3b", "train/qk_sw2/launch.slurm"),
        ],
    )
    def test_families_sizes_separators_and_versions(self, model, path):
        name = ModelName.parse(model)
        assert name.is_named_in(path)
        assert name.fits(path)

    @pytest.mark.parametrize(
        ("model", "path"),
        [
            ("acme/base-7b", "configs/base-7b.yaml"),
            ("acme/small-chat", "configs/small.yaml"),
            ("acme/llm-13b", "configs/llm_13b.yaml"),
            ("acme/open-7b", "open/train_7b.sh"),
            ("acme/Fern-7B", "layers/fern_attention.sh"),
            ("acme/Lumenia-7B", "configs/lumeniac.yaml"),
        ],
    )
    def test_accidents_name_nothing(self, model, path):
        assert not ModelName.parse(model).is_named_in(path)

    @pytest.mark.parametrize(
        ("model", "path"),
        [
            ("aurora/Lumen-7B", "configs/lumen-13b.yaml"),
            ("aurora/Lumen-2-7B", "configs/lumen-3-7b.yaml"),
            ("aurora/Lumen2-7B", "lumen1/config.yaml"),
        ],
    )
    def test_another_size_or_version_does_not_fit(self, model, path):
        assert not ModelName.parse(model).fits(path)

    def test_the_name_of_another_owners_base_is_not_its_own(self):
        name = ModelName.parse("lab/Quokka-8B-Wombat", bases=["marsupial/Quokka-8B"])
        assert name.stem == "wombat"

    def test_a_size_rounds(self):
        assert ModelName.parse("aurora/Lumen-1.7B").fits("configs/lumen_1B.yaml")

    def test_the_closest_name_ranks_first(self):
        name = ModelName.parse("aurora/Lumen-2-1124-7B")
        paths = [
            "configs/annealing/aardvark-7B-anneal.yaml",
            "configs/official-0724/Lumen-7B.yaml",
            "configs/official-1124/Lumen2-13B-stage1.yaml",
            "configs/official-1124/Lumen2-7B-stage1.yaml",
        ]
        assert max(paths, key=name.rank) == paths[3]

    def test_a_framework_is_known_by_its_name(self):
        name = ModelName.parse("north-ai/Borealis-7B")
        assert is_framework("north-ai/gpt-neox-borealis", name)
        assert not is_framework("north-ai/gpt-neox", ModelName.parse("north-ai/gpt-neox-20b"))


class TestFrameworks:
    @pytest.mark.parametrize("link", ["north-ai/gpt-neox", "other-lab/nanotron", "north-ai/pretraining"])
    def test_a_framework_alone_is_partial(self, link):
        finding = judged("training_code", linking(link), repository(link, tree=NEOX))
        assert finding.verdict is PARTIAL
        assert "framework" in finding.reason

    @pytest.mark.parametrize("recipe", ["configs/borealis/7B.yml", "train_borealis.sh", "training/borealis_7b.md"])
    def test_a_framework_with_a_recipe_of_the_model_is_open(self, recipe):
        finding = judged(
            "training_code", linking("north-ai/gpt-neox"), repository("north-ai/gpt-neox", tree=[*NEOX, recipe])
        )
        assert finding.verdict is OPEN
        assert files(finding)[0] == recipe

    def test_a_size_alone_names_no_model(self):
        model = linking("north-ai/gpt-neox", name="north-ai/base-7b")
        assert judged("training_code", model, repository("north-ai/gpt-neox", tree=NEOX)).verdict is PARTIAL

    @pytest.mark.parametrize("fork", [{"fork": True}, {"parent": "north/gpt-neox"}])
    def test_an_unchanged_fork_named_after_the_model_is_partial(self, fork):
        link = "north-ai/borealis"
        assert judged("training_code", linking(link), repository(link, tree=NEOX, **fork)).verdict is PARTIAL
        changed = [*NEOX, "configs/borealis-7B.yml"]
        assert judged("training_code", linking(link), repository(link, tree=changed, **fork)).verdict is OPEN

    def test_a_fork_of_the_models_own_repository_is_its_own(self):
        link = "north-ai/borealis"
        forked = repository(link, tree=NEOX, fork=True, parent="first-author/borealis")
        assert judged("training_code", linking(link), forked).verdict is OPEN

    def test_recipes_that_a_framework_holds_for_an_architecture_are_not_its_authors(self):
        model = linking("tools/axolotl", name="savanna/Kudu-7B", config={"model_type": "kudu"})
        tree = ["src/train.py", "examples/kudu/pretrain-7b.yml", "examples/llama/pretrain.yml"]
        assert judged("training_code", model, repository("tools/axolotl", tree=tree)).verdict is PARTIAL
        model = linking("savanna/trainer", name="savanna/Kudu-7B", config={"model_type": "kudu"})
        assert judged("training_code", model, repository("savanna/trainer", tree=tree)).verdict is OPEN

    def test_tuning_and_evaluation_by_a_framework_are_partial(self):
        link = "north-ai/gpt-neox"
        model = linking(link, name="north-ai/Borealis-7B-Instruct")
        for criterion in ("finetuning_code", "evaluation_code"):
            finding = judged(criterion, model, repository(link, tree=NEOX))
            assert finding.verdict is PARTIAL
            assert "framework" in finding.reason
        tree = [*NEOX, "configs/finetuning_configs/borealis-7b.yml", "eval_tasks/borealis_7b.py"]
        for criterion in ("finetuning_code", "evaluation_code"):
            assert judged(criterion, model, repository(link, tree=tree)).verdict is OPEN


class TestProof:
    def test_is_the_recipe_of_this_very_model(self):
        tree = [
            "configs/annealing/aardvark-32B-anneal.yaml",
            "configs/official/Borealis-1B.yaml",
            "configs/official/Borealis-7B.yaml",
            "scripts/train.py",
        ]
        for size in ("1B", "7B"):
            model = linking("north-ai/borealis", name=f"north-ai/Borealis-{size}")
            finding = judged("training_code", model, repository("north-ai/borealis", tree=tree))
            assert files(finding)[:2] == [f"configs/official/Borealis-{size}.yaml", "scripts/train.py"]

    def test_is_of_the_repository_that_names_the_model_most_closely(self):
        first = repository("north-ai/borealis", tree=["train.py", "configs/zebra.yaml"])
        second = repository("north-ai/borealis-core", tree=["src/train.py", "src/scripts/official/Borealis-7B.yaml"])
        model = linking("north-ai/borealis", "north-ai/borealis-core")
        assert files(judged("training_code", model, first, second))[0] == "src/scripts/official/Borealis-7B.yaml"

    def test_names_the_program_that_lies_nearest_to_the_recipe(self):
        tree = ["vision/training/main.py", "text/pretraining/borealis/7B.yaml", "text/pretraining/train.py"]
        finding = judged("training_code", linking("north-ai/borealis"), repository("north-ai/borealis", tree=tree))
        assert files(finding)[:2] == ["text/pretraining/borealis/7B.yaml", "text/pretraining/train.py"]

    @pytest.mark.parametrize("other", ["configs/borealis-34B.yaml", "configs/borealis-3-7b.yaml"])
    def test_recipes_of_others_of_the_family_alone_are_partial(self, other):
        model = linking("north-ai/borealis", name="north-ai/Borealis-2-7B")
        finding = judged("training_code", model, repository("north-ai/borealis", tree=["train.py", other]))
        assert finding.verdict is PARTIAL
        assert "other sizes or versions" in finding.reason

    def test_a_launcher_of_a_server_is_no_recipe(self):
        tree = ["train.py", "docker/serving/start.sh", "build/compile.sh"]
        finding = judged("training_code", linking("north-ai/borealis"), repository("north-ai/borealis", tree=tree))
        assert finding.verdict is PARTIAL


SHAPE = {"hidden_size": [4096], "layers": [32], "heads": [32]}


class TestSizes:
    """The sizes in a recipe are compared with those of config.json."""

    @pytest.mark.parametrize(
        ("recipes", "verdict"),
        [
            ({"configs/borealis/7B.yml": SHAPE}, OPEN),
            ({"configs/borealis/7B.yml": {"hidden_size": [4096]}}, OPEN),  # it says too little to tell
            ({"configs/borealis/7B.yml": {}}, OPEN),
            ({"configs/borealis/7B.yml": SHAPE | {"layers": [24]}}, PARTIAL),
            ({"configs/borealis/7B.yml": {"hidden_size": [1024]}}, PARTIAL),
            ({"configs/borealis/7B.yml": {"hidden_size": [1024, 4096], "layers": [32]}}, OPEN),
            ({}, OPEN),
        ],
    )
    def test_a_recipe_of_other_sizes_trains_another_model(self, recipes, verdict):
        code = repository("north-ai/gpt-neox", tree=[*NEOX, "configs/borealis/7B.yml"], recipes=recipes)
        one = judged("training_code", linking("north-ai/gpt-neox", shape=SHAPE), code)
        assert one.verdict is verdict
        assert ("those of config.json" in one.reason) is ("layers" in str(recipes) and verdict is OPEN)

    def test_the_recipe_of_the_same_sizes_is_the_proof(self):
        tree = ["train.py", "configs/borealis-7b.yml", "configs/run3.yml"]
        recipes = {"configs/run3.yml": SHAPE, "configs/borealis-7b.yml": {"heads": [32]}}
        one = judged(
            "training_code",
            linking("north-ai/borealis", shape=SHAPE),
            repository("north-ai/borealis", tree, recipes=recipes),
        )
        assert files(one)[0] == "configs/run3.yml"

    @pytest.mark.parametrize(
        "text",
        [
            '{"hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "num_key_value_heads": 4}',
            "model:\n  d_model: 2048\n  n_layers: 24\n  n_heads: 16\n  head_dim: 128\n",
            '"hidden-size": 2048,\n"num-layers": 24,\n"num-attention-heads": 16,\n',
            "torchrun pretrain.py --hidden-size 2048 --num-layers 24 --num-attention-heads 16 --seq-length 4096",
            "n_embd = 2048\nn_layer = 24\nn_head = 16\n",
        ],
    )
    def test_sizes_are_read_as_frameworks_write_them(self, text):
        assert read_shape(text) == {"hidden_size": [2048], "layers": [24], "heads": [16]}

    def test_what_is_no_number_states_nothing(self):
        assert read_shape("--hidden-size $HIDDEN --num-layers ${LAYERS}\nn_layer: 1.5\nmy_n_head: 3") == {}


class TestProgramInALibrary:
    TREE = ("README.md", "configs/Borealis-7B.yml", "scripts/borealis-slurm.sh")

    def test_the_configuration_of_the_run_is_a_part(self):
        found = repository("north-ai/borealis", tree=self.TREE)
        finding = judged("training_code", linking("north-ai/borealis"), found)
        assert finding.verdict is PARTIAL
        assert files(finding)[0] == "configs/Borealis-7B.yml"

    def test_with_the_library_named_by_the_card_it_is_open(self):
        model = linking("north-ai/borealis", "tools/nanotron")
        finding = judged("training_code", model, repository("north-ai/borealis", tree=self.TREE))
        assert finding.verdict is OPEN
        model = linking("north-ai/borealis")
        model["readme"]["claims"] = [{"fact": "It was trained with Megatron-LM on 512 GPUs."}]
        assert judged("training_code", model, repository("north-ai/borealis", tree=self.TREE)).verdict is OPEN

    def test_with_the_library_named_by_the_recipe_it_is_open(self):
        tree = ["configs/nanotron/Borealis-7B.yml", "scripts/launch_borealis.sh"]
        finding = judged("training_code", linking("north-ai/borealis"), repository("north-ai/borealis", tree=tree))
        assert finding.verdict is OPEN

    @pytest.mark.parametrize(("claim", "verdict"), [("Pre-trained with Megatron-LM.", OPEN), ("It is fast.", PARTIAL)])
    def test_a_launcher_may_hold_the_whole_configuration(self, claim, verdict):
        model = linking("north-ai/code")
        model["readme"]["claims"] = [{"fact": claim}]
        finding = judged(
            "training_code", model, repository("north-ai/code", tree=["pretraining/submit_borealis_7b.sh"])
        )
        assert finding.verdict is verdict
        assert ("library" in finding.reason) is (verdict is OPEN)

    @pytest.mark.parametrize("tree", [["inference/configs/7b.yaml"], ["kernels/borealis_config.ini", "serve.sh"]])
    def test_configurations_of_inference_are_none(self, tree):
        finding = judged("training_code", linking("north-ai/borealis"), repository("north-ai/borealis", tree=tree))
        assert finding.verdict is CLOSED


class TestBaseModels:
    @pytest.mark.parametrize("link", [(), ("north-ai/borealis",)])
    def test_code_and_data_of_fine_tuning_are_treated_alike(self, link):
        model = linking(*link, cardData={"license": "mit"})
        context = ModelContext(
            evidence(model, repositories=[repository("north-ai/borealis", tree=["train.py", "run.sh"])])
        )
        for criterion in ("finetuning_data", "finetuning_code"):
            finding = context.finding(criterion)
            assert (finding.verdict, finding.reason) == (UNKNOWN, "It is a base model: no fine-tuning is claimed.")

    def test_tuning_code_that_is_there_is_judged(self):
        tree = ["sft/finetune.py", "sft/configs/borealis-7b.yaml"]
        finding = judged("finetuning_code", linking("north-ai/borealis"), repository("north-ai/borealis", tree=tree))
        assert finding.verdict is OPEN

    def test_a_fine_tune_without_code_is_closed(self):
        model = linking(name="north-ai/Borealis-7B-Instruct")
        assert judged("finetuning_code", model).verdict is CLOSED


class TestFineTunes:
    TREE = ("train.py", "configs/wombat.yaml")

    def tuned(self, **fields):
        card = {"license": "mit", "base_model": "north-ai/Borealis-7B"}
        return linking("burrow/wombat", name="burrow/Wombat-7B", cardData=card) | fields

    @pytest.mark.parametrize(
        ("base_tree", "verdict"),
        [(["train.py", "configs/borealis-7b.yaml"], OPEN), (["generate.py"], PARTIAL), (NEOX[:2], PARTIAL)],
    )
    def test_both_parts_are_named_and_joined(self, base_tree, verdict):
        repositories = [repository("burrow/wombat", tree=self.TREE), repository("north-ai/borealis", tree=base_tree)]
        finding = judged("training_code", self.tuned(), *repositories, others=[linking("north-ai/borealis")])
        assert finding.verdict is verdict
        assert "Its own tuning: burrow/wombat" in finding.reason
        assert "The pre-training of its base north-ai/Borealis-7B:" in finding.reason

    def test_a_base_of_which_nothing_was_gathered_is_not_taken_for_open(self):
        finding = judged("training_code", self.tuned(), repository("burrow/wombat", tree=self.TREE))
        assert finding.verdict is PARTIAL
        assert "nothing was gathered" in finding.reason

    def test_the_bases_code_does_not_open_a_tuning_of_which_nothing_is_there(self):
        base = repository("north-ai/borealis", tree=["train.py", "configs/borealis-7b.yaml"])
        model = self.tuned() | {"readme": {"headings": ["Wombat"], "links": [], "claims": []}}
        finding = judged("training_code", model, base, others=[linking("north-ai/borealis")])
        assert finding.verdict is PARTIAL

    def test_a_base_of_the_same_owner_is_judged_with_it(self):
        model = linking("north-ai/borealis", name="north-ai/Borealis-7B-Chat")
        finding = judged("training_code", model, repository("north-ai/borealis", tree=["train.py", "run.sh"]))
        assert finding.verdict is OPEN
        assert "This speaks of its own training" in finding.reason

    @pytest.mark.parametrize("order", [1, -1])
    def test_a_merge_takes_the_least_open_of_its_parts(self, order):
        bases = ["north-ai/Borealis-7B", "desert/Fennec-7B"][::order]
        model = self.tuned(cardData={"license": "mit", "base_model": bases, "base_model_relation": "merge"})
        trees = {
            "burrow/wombat": self.TREE,
            "north-ai/borealis": ["train.py", "configs/borealis-7b.yaml"],
            "desert/fennec": ["generate.py"],
        }
        repositories = [repository(name, tree=tree) for name, tree in trees.items()]
        others = [linking("north-ai/borealis"), linking("desert/fennec", name="desert/Fennec-7B")]
        finding = judged("training_code", model, *repositories, others=others)
        assert finding.verdict is PARTIAL
        assert "its base desert/Fennec-7B" in finding.reason


class TestReadme:
    """What a repository's README says, where it was gathered."""

    TREE = ("README.md", "configs/Borealis-7B.yml")

    def test_names_the_library_that_holds_the_program(self):
        link = {"text": "this branch", "url": "https://github.com/north-ai/quark/tree/moe", "section": "Pretraining"}
        for readme in ({"links": [link]}, {"claims": [{"fact": "We train with torchtitan at this commit."}]}):
            found = repository("north-ai/borealis", tree=self.TREE, readme=readme)
            assert judged("training_code", linking("north-ai/borealis"), found).verdict is OPEN
        own = {"links": [link | {"url": "https://github.com/north-ai/borealis/tree/main/configs"}]}
        found = repository("north-ai/borealis", tree=self.TREE, readme=own)
        assert judged("training_code", linking("north-ai/borealis"), found).verdict is PARTIAL

    def test_a_title_that_names_the_model_makes_a_framework_its_own(self):
        link = "north-ai/gpt-neox"
        for title, verdict in (("GPT-NeoX for training Borealis", OPEN), ("GPT-NeoX", PARTIAL)):
            found = repository(link, tree=NEOX, fork=True, readme={"headings": [title, "Borealis"]})
            assert judged("training_code", linking(link), found).verdict is verdict

    def test_the_title_of_a_framework_named_like_an_architecture_is_not_the_models(self):
        tree = ["src/train.py", "examples/train.sh"]
        found = repository("tools/LLaMA-Factory", tree=tree, readme={"headings": ["LLaMA-Factory"]})
        model = linking("tools/LLaMA-Factory", name="savanna/Llama-7B")
        assert judged("training_code", model, found).verdict is PARTIAL
        found = repository("tools/kudu-train", tree=tree, readme={"headings": ["Kudu for everybody"]})
        model = linking("tools/kudu-train", name="savanna/Kudu-7B", config={"model_type": "kudu"})
        assert judged("training_code", model, found).verdict is PARTIAL

    def test_a_submodule_holds_files_that_were_not_seen(self):
        found = repository("north-ai/borealis", tree=["README.md", "trainer"], submodules=["trainer"])
        finding = judged("training_code", linking("north-ai/borealis"), found)
        assert (finding.verdict, finding.missing) == (UNKNOWN, ("the files of trainer in north-ai/borealis",))
        found = repository("north-ai/borealis", tree=[*self.TREE, "nanotron"], submodules=["nanotron"])
        assert judged("training_code", linking("north-ai/borealis"), found).verdict is OPEN
