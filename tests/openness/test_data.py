"""Data count only with proof: a named set that exists, is whole, public and large enough."""

from itertools import permutations

import pytest
from fake_sites import FakeSites
from made_up import context, dataset, evidence, page

import openmodels as om
from openmodels.hub.card import parse_outline
from openmodels.openness import card_claims
from openmodels.openness.findings import Verdict
from openmodels.openness.model_context import ModelContext

OPEN, PARTIAL, CLOSED, UNKNOWN = Verdict
GLOW = "acme/Glow-7B"


def model(*sentences, name=GLOW, datasets=("acme/glow-corpus",), headings=("Training",), links=(), **fields):
    """A model whose card says these sentences and whose front matter names these data sets."""
    front = {"license": "apache-2.0"} | ({"datasets": list(datasets)} if datasets else {})
    readme = {"headings": list(headings), "links": list(links), "claims": [{"fact": text} for text in sentences]}
    return page(name, cardData=front | fields.pop("front", {}), readme=readme, tags=fields.pop("tags", []), **fields)


def finding(page, *others, datasets=(), criterion="training_data"):
    return context(page, *others, datasets=datasets).finding(criterion)


def files(*names):
    return [{"rfilename": name} for name in names]


class TestAccess:
    @pytest.mark.parametrize(
        ("fields", "verdict", "words"),
        [
            ({"siblings": files("README.md", ".gitattributes", "LICENSE")}, CLOSED, "holds no data any more"),
            ({"siblings": files(".gitattributes", "dataset_infos.json")}, CLOSED, "holds no data any more"),
            ({"disabled": True}, CLOSED, "disabled"),
            ({"private": True}, CLOSED, "private"),
            ({"exists": False}, CLOSED, "does not exist"),
            ({"gated": "manual"}, PARTIAL, "gated"),
            ({"siblings": files("README.md", "loader.py")}, UNKNOWN, "was not seen"),
            ({"siblings": files("README.md", "loader.py", "urls/part-1.txt")}, OPEN, "public"),
            ({"siblings": files("README.md", "data/part-0.parquet")}, OPEN, "public"),
            ({"siblings": []}, OPEN, "public"),  # no repository is without a file: the list was not given
            ({"siblings": files("README.md"), "siblings_status": {"coverage": "partial"}}, OPEN, "public"),
        ],
    )
    def test_a_set_that_holds_no_data_is_none(self, fields, verdict, words):
        one = finding(model("It was pre-trained on Glow-Corpus."), datasets=[dataset(**fields)])
        assert one.verdict is verdict
        assert words in one.reason

    def test_one_set_of_two_that_is_gone_leaves_a_part(self):
        named = model("Pre-trained on glow-corpus and glow-books.", datasets=("acme/glow-corpus", "acme/glow-books"))
        one = finding(named, datasets=[dataset(), dataset("acme/glow-books", disabled=True)])
        assert (one.verdict, "glow-books is disabled" in one.reason) == (PARTIAL, True)

    def test_it_is_gathered_from_the_hub(self, monkeypatch, tmp_path):
        monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path))
        sites = FakeSites()
        sites.pages["/api/datasets/acme/glow-corpus"] |= {
            "siblings": files("README.md", ".gitattributes"),
            "description": "Once 2T tokens.",
            "usedStorage": 12_000,
            "cardData": {"license": "odc-by", "size_categories": ["n<1K"], "configs": "of no use here"},
        }
        with sites.serve() as address:
            monkeypatch.setenv("HF_ENDPOINT", address)
            monkeypatch.setenv("OPENMODELS_GITHUB_API", address)
            report = om.openness(GLOW)
        assert report["training_data"].verdict is CLOSED
        report.save(tmp_path / "saved")
        assert om.openness(GLOW, evidence=tmp_path / "saved")["training_data"] == report["training_data"]


class TestSamples:
    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("acme/glow-corpus-sample", {}),
            ("acme/Glow_Corpus_Preview", {}),
            ("acme/glow-corpus-mini", {}),
            ("acme/glow-corpus-subset", {}),
            ("acme/glow-corpus", {"description": "This dataset is a small sample of the data of Glow."}),
            ("acme/glow-corpus", {"description": "A randomly sampled subset of our corpus."}),
        ],
    )
    def test_a_sample_is_not_the_data(self, name, fields):
        link = {"url": f"https://huggingface.co/datasets/{name}", "text": "sample", "section": "Training data"}
        named = model("Glow was pre-trained on 3T tokens.", datasets=(name,), links=[link])
        one = finding(named, datasets=[dataset(name, **fields)])
        assert (one.verdict, one.rule) == (PARTIAL, "data.sample")

    def test_a_released_sample_of_the_data_is_not_the_data(self):
        named = model("A sample of the training data is released as glow-corpus-sample.", datasets=())
        link = {"url": "https://huggingface.co/datasets/acme/glow-corpus-sample", "text": "sample"}
        named["readme"]["links"] = [link]
        assert finding(named, datasets=[dataset("acme/glow-corpus-sample")]).verdict is PARTIAL

    def test_a_model_may_be_trained_on_a_sample(self):
        named = model("It was pre-trained on glow-corpus-sample.", datasets=("acme/glow-corpus-sample",))
        assert finding(named, datasets=[dataset("acme/glow-corpus-sample")]).verdict is OPEN

    def test_a_filtered_part_of_another_set_is_a_set(self):
        about = {"description": "Glow-corpus is a filtered subset of the web, 2T tokens."}
        assert finding(model("Pre-trained on glow-corpus."), datasets=[dataset(**about)]).verdict is OPEN


class TestSize:
    @pytest.mark.parametrize(
        ("name", "fields", "numbers"),
        [
            ("acme/glow-corpus", {"usedStorage": 4_000_000_000}, ("12T", "4B bytes")),
            ("acme/glow-corpus", {"cardData": {"dataset_info": {"dataset_size": 9_000_000}}}, ("12T", "9M")),
            ("acme/glow-corpus", {"cardData": {"size_categories": ["1K<n<10K"]}}, ("12T", "10K rows")),
            ("acme/glow-corpus", {"tags": ["size_categories:n<1K"]}, ("12T", "1K rows")),
            ("acme/glow-corpus-10BT", {}, ("12T", "10B")),
            ("acme/glow-corpus-1B", {}, ("12T", "1B")),
        ],
    )
    def test_a_set_too_small_for_the_tokens_claimed_is_a_part(self, name, fields, numbers):
        named = model(f"It was pre-trained on {name[5:]}, 12 trillion tokens.", datasets=(name,))
        one = finding(named, datasets=[dataset(name, **fields)])
        assert (one.verdict, one.rule) == (PARTIAL, "data.size")
        assert all(number in one.reason for number in numbers)

    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("acme/glow-corpus", {"usedStorage": 6_000_000_000_000}),
            ("acme/glow-corpus-4T", {}),
            ("acme/glow-7b-corpus", {}),  # the size of the model
            ("acme/glow-corpus", {"cardData": {"size_categories": ["1B<n<10B"]}}),
        ],
    )
    def test_several_passes_over_the_data_are_plausible(self, name, fields):
        named = model(f"It was pre-trained on {name[5:]}, 12T tokens.", datasets=(name,))
        assert finding(named, datasets=[dataset(name, **fields)]).verdict is OPEN

    def test_a_size_not_known_never_counts_against(self):
        one = finding(model("It was pre-trained on glow-corpus, 12T tokens."), datasets=[dataset()])
        assert one.verdict is OPEN
        assert "size not known" in one.reason

    def test_sizes_add_up(self):
        names = ("acme/glow-web", "acme/glow-code")
        named = model("It was pre-trained on glow-web and glow-code, 12T tokens.", datasets=names)
        small = [dataset(name, usedStorage=5_000_000_000) for name in names]
        assert finding(named, datasets=small).rule == "data.size"
        assert finding(named, datasets=[small[0], dataset(names[1])]).verdict is OPEN

    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("trained on 15 trillion tokens", 15e12),
            ("1,259B tokens in all", 1.259e12),
            ("a mix of 2.5T high-quality tokens", 2.5e12),
            ("300 million training tokens", 3e8),
            ("a 7B model", None),
        ],
    )
    def test_claimed_tokens(self, text, count):
        assert card_claims.claimed_tokens([text]) == (count and pytest.approx(count))


class TestProof:
    def test_front_matter_alone_does_not_say_that_there_are_no_more(self):
        one = finding(model("Glow is a language model."), datasets=[dataset()])
        assert (one.verdict, one.rule) == (PARTIAL, "data.front-matter-only")

    def test_a_link_in_the_section_on_training_data_says_it(self):
        link = {"url": "https://huggingface.co/datasets/acme/lamps", "text": "Lamps", "section": "Training data"}
        assert finding(model(links=[link], datasets=()), datasets=[dataset("acme/lamps")]).verdict is OPEN

    @pytest.mark.parametrize(
        "sentences",
        [
            ("It was pre-trained on glow-corpus.", "The rest of the data is proprietary."),
            ("It was pre-trained on glow-corpus.", "In addition, we used books licensed from two publishers."),
            ("It was pre-trained on glow-corpus.", "The remaining documents cannot be redistributed."),
            ("It was pre-trained on glow-corpus.", "It also saw an in-house crawl of web pages.", "MIT license."),
            ("It was pre-trained on glow-corpus.", "Glow is bright.", "Half of the data was acquired from partners."),
        ],
    )
    def test_what_the_next_sentences_say_of_data_counts(self, sentences):
        one = finding(model(*sentences), datasets=[dataset()])
        assert (one.verdict, one.rule) == (PARTIAL, "data.incomplete")

    def test_sentences_about_other_things_do_not(self):
        sentences = (
            "It was pre-trained on glow-corpus.",
            "Its tokenizer has 32,000 entries.",
            "It outperforms proprietary models trained on more data.",
            "We do not share your private data.",
        )
        assert finding(model(*sentences), datasets=[dataset()]).verdict is OPEN

    @pytest.mark.parametrize(
        "sentence",
        [
            "The training data cannot be released for legal reasons.",
            "Our pre-training corpus can't be shared.",
            "We are unable to publish the training set.",
            "The corpus that it was trained on remains private.",
            "We do not disclose the sources of the training data.",
            "For copyright reasons we may not redistribute the training data.",
            "Contracts prevent us from sharing the training data.",
            "There are no plans to release the pre-training data.",
            "The training data have not been made public.",
            "Training data: undisclosed.",
            "It was trained on an in-house corpus.",
        ],
    )
    def test_data_that_are_withheld(self, sentence):
        assert finding(model(sentence, datasets=())).verdict is CLOSED
        both = model("It was pre-trained on glow-corpus.", sentence)
        assert finding(both, datasets=[dataset()]).verdict is PARTIAL

    @pytest.mark.parametrize(
        "sentence",
        [
            "It was pre-trained on glow-corpus and on no proprietary data.",
            "It was pre-trained on glow-corpus; nothing of the data is withheld.",
            "It was pre-trained on glow-corpus, which does not contain personal data and is public.",
            "It was pre-trained on glow-corpus rather than on licensed data.",
            "It was pre-trained on glow-corpus. The training data is public but the code is not yet released.",
        ],
    )
    def test_data_of_which_nothing_is_withheld(self, sentence):
        assert finding(model(sentence), datasets=[dataset()]).verdict is OPEN

    @pytest.mark.parametrize(
        "sentence",
        [
            "由于版权原因，训练数据暂不公开。",
            "我们不会发布预训练语料。",
            "训练数据和代码均未公开。",
            "Daten und Code werden nicht veröffentlicht.",
            "模型使用内部数据集训练。",
            "学習データは公開していません。",
            "権利の都合により、コーパスを配布することはできません。",
            "社内データで学習しました。",
            "학습 데이터는 공개하지 않습니다.",
            "사전 학습에 쓰인 말뭉치는 비공개입니다.",
            "Die Trainingsdaten werden aus rechtlichen Gründen nicht veröffentlicht.",
            "Wir dürfen den Datensatz nicht weitergeben.",
            "Trainiert wurde auf vertraulichen Firmendaten.",
            "Les données d'entraînement ne sont pas publiées.",
            "Nous ne pouvons pas partager le corpus.",
            "Le modèle a été entraîné sur des données confidentielles.",
            "Los datos de entrenamiento no son públicos.",
            "No podemos compartir nuestro corpus.",
            "Se entrenó con datos privados de la empresa.",
            "Os dados de treinamento não estão disponíveis publicamente.",
            "Não divulgamos os dados.",
            "I dati di addestramento non sono stati rilasciati.",
            "Il modello è addestrato su dati riservati.",
            "Treningsdataene er ikke offentlig tilgjengelige.",
            "Vi kan ikke dele korpuset, men det er ikke publisert.",
        ],
    )
    def test_data_that_are_withheld_in_other_languages(self, sentence):
        assert finding(model(sentence, datasets=())).rule == "data.withheld"
        both = model("It was pre-trained on glow-corpus.", sentence)
        assert finding(both, datasets=[dataset()]).verdict is PARTIAL
        read = parse_outline(f"# Glow\n## Training\n{sentence}\n")
        assert finding(model(datasets=()) | {"readme": read}).rule == "data.withheld"

    @pytest.mark.parametrize(
        "sentence",
        [
            "训练数据全部公开，代码暂不公开。",
            "训练数据不仅公开，而且附有说明。",
            "我们没有使用内部数据。",
            "学習データはすべて公開しています。",
            "학습 데이터는 모두 공개되어 있습니다.",
            "Die Trainingsdaten sind öffentlich.",
            "Es wurden keine vertraulichen Daten verwendet.",
            "Les données sont publiques et le code ne l'est pas encore, il n'est pas disponible.",
            "Aucune donnée interne, que des données publiques.",
            "Los datos son públicos.",
            "Entrenado sin datos privados.",
            "Os dados estão disponíveis publicamente.",
            "I dati sono pubblici, il codice non è pubblico.",
            "Treningsdataene er offentlig tilgjengelige.",
        ],
    )
    def test_data_that_other_languages_call_public(self, sentence):
        both = model("It was pre-trained on glow-corpus.", sentence)
        assert finding(both, datasets=[dataset()]).verdict is OPEN

    @pytest.mark.parametrize(
        "text", ["内部" + "模型" * 499, "不公开" * 333, "proprietär " + "a" * 989, "no public " * 100]
    )
    def test_long_sentences_without_a_stop_are_read_in_time(self, text):
        assert not card_claims.WITHHELD_DATA.matches(text)

    def test_data_on_request_are_partial(self):
        assert finding(model("The training data are available upon request.", datasets=())).verdict is PARTIAL


def base(name, *sentences, data=()):
    return model(*sentences, name=name, datasets=data)


PUBLIC = base("good/Clear-7b", "It was pre-trained on clear-text.", data=("good/clear-text",))
HALF = base("half/Mist-7b", "It was pre-trained on clear-text plus licensed books.", data=("good/clear-text",))
SHUT = base("shut/Murk-7b", "The training data are proprietary.")
TEXT = dataset("good/clear-text")


class TestMerges:
    @pytest.mark.parametrize(
        ("parts", "verdict"),
        [
            ((PUBLIC, HALF, SHUT), CLOSED),
            ((PUBLIC, HALF), PARTIAL),
            ((PUBLIC, page("other/Unseen-7b")), UNKNOWN),
            ((SHUT, page("other/Unseen-7b")), CLOSED),
        ],
    )
    def test_the_worst_part_counts_in_any_order(self, parts, verdict):
        gathered = [part for part in parts if part["id"] != "other/Unseen-7b"]
        reasons = set()
        for order in permutations(part["id"] for part in parts):
            merge = model(name="acme/Blend-7b", datasets=(), tags=["merge"], front={"base_model": list(order)})
            one = finding(merge, *gathered, datasets=[TEXT])
            assert one.verdict is verdict
            reasons.add(one.reason)
        assert len(reasons) == 1
        assert "the worst counts" in reasons.pop()

    def test_parts_that_the_prose_names(self):
        sentences = "Blend is a merge of good/Clear-7b and shut/Murk-7b, of which the base models are known."
        merge = model(sentences, name="acme/Blend-7b", datasets=())
        assert finding(merge, PUBLIC, SHUT, datasets=[TEXT]).verdict is CLOSED

    def test_a_conversion_takes_the_tuning_of_what_it_converts(self):
        tuned = model("It was fine-tuned on clear-chats.", name="good/Clear-7b-chat", datasets=("good/clear-chats",))
        quantized = {"base_model": "good/Clear-7b-chat", "base_model_relation": "quantized"}
        conversion = model(name="acme/Clear-7b-chat-GGUF", datasets=(), front=quantized)
        one = finding(conversion, tuned, datasets=[dataset("good/clear-chats")], criterion="finetuning_data")
        assert one.verdict is OPEN
        assert "good/Clear-7b-chat" in one.reason


class TestFineTunes:
    TUNED = model(
        "It was fine-tuned on calf-chats.", name="acme/Calf-7b", datasets=("acme/calf-chats",),
        front={"base_model": "shut/Murk-7b"},
    )  # fmt: skip

    def test_two_findings_each_names_its_model(self):
        found = context(self.TUNED, SHUT, datasets=[dataset("acme/calf-chats")])
        training, tuning = found.finding("training_data"), found.finding("finetuning_data")
        assert (training.verdict, tuning.verdict) == (CLOSED, OPEN)
        assert training.reason.startswith("The pre-training of its base shut/Murk-7b: ")
        assert tuning.reason.startswith("The fine-tuning of acme/Calf-7b itself: ")

    def test_an_own_set_that_the_card_calls_training_data_is_for_tuning(self):
        tuned = model(
            "It was trained on farm-talk.", name="acme/Calf-7b", datasets=(), front={"base_model": "shut/Murk-7b"},
            links=[{"url": "https://huggingface.co/datasets/acme/farm-talk", "text": "data"}],
        )  # fmt: skip
        found = context(tuned, SHUT, datasets=[dataset("acme/farm-talk")])
        assert found.finding("finetuning_data").verdict is OPEN
        assert found.finding("training_data").verdict is CLOSED

    def test_withheld_data_without_a_use_are_those_of_the_tuning(self):
        tuned = model("The data are proprietary.", name="acme/Calf-7b", datasets=(), front={"base_model": PUBLIC["id"]})
        found = context(tuned, PUBLIC, datasets=[TEXT])
        assert found.finding("finetuning_data").verdict is CLOSED
        assert found.finding("training_data").verdict is OPEN

    @pytest.mark.parametrize(
        "sentence",
        [
            "It was pre-trained from scratch.",
            "It was not fine-tuned on instructions.",
            "You can fine-tune it on your own data.",
            "Fine-tuned variants of it are other repositories.",
        ],
    )
    def test_a_base_model_has_one_answer_for_tuning_data_and_code(self, sentence):
        found = context(model(sentence, datasets=()))
        assert {found.finding(name).verdict for name in ("finetuning_data", "finetuning_code")} == {UNKNOWN}


class TestBenchmarks:
    @pytest.mark.parametrize("name", ["acme/super_glue", "acme/gsm8k-train", "acme/hellaswag", "acme/winogrande"])
    @pytest.mark.parametrize("verb", ["fine-tuned on", "a fine-tuned version of lamp on", "trained with"])
    def test_one_that_the_card_says_it_was_trained_on_is_tuning_data(self, name, verb):
        tuned = model(f"This model was {verb} the {name[5:]} dataset.", name="acme/Lamp-sft", datasets=(name,))
        assert finding(tuned, datasets=[dataset(name)], criterion="finetuning_data").verdict is OPEN

    def test_the_front_matter_of_a_fine_tune_says_it_too(self):
        tuned = model("Made by the trainer.", name="acme/Lamp-sft", datasets=("acme/winogrande",))
        assert finding(tuned, datasets=[dataset("acme/winogrande")], criterion="finetuning_data").verdict is OPEN

    def test_one_that_it_was_evaluated_on_is_not(self):
        sentence = "The fine-tuned model was evaluated on hellaswag and reaches 71 percent."
        tuned = model(sentence, name="acme/Lamp-sft", datasets=("acme/hellaswag",))
        assert finding(tuned, datasets=[dataset("acme/hellaswag")], criterion="finetuning_data").verdict is CLOSED


def test_the_openness_of_data_survives_saving(tmp_path):
    found = evidence(model("It was pre-trained on glow-corpus, 12T tokens."), datasets=[dataset(usedStorage=1000)])
    before = ModelContext(found).finding("training_data")
    found.save(tmp_path)
    assert om.openness(GLOW, evidence=tmp_path)["training_data"] == before
