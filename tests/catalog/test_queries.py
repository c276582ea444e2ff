"""How queries are read: tasks, memory, context, sizes, languages, other tongues, spelling, and what is left out."""

from __future__ import annotations

import time
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.catalog import query
from openmodels.catalog.index import reader, writer
from openmodels.catalog.search import execute as searching
from openmodels.catalog.search.amounts import read_amounts
from openmodels.catalog.search.phrases import parse_phrases
from openmodels.catalog.search.task_words import TASKS
from openmodels.catalog.search.translate import Translation
from openmodels.catalog.sources import hub_records

AS_OF = date(2026, 11, 1)


def model(name, task="text-generation", *, total=None, languages=(), tags=(), downloads=1000, **fields):
    return hub_records.build_record(
        {
            "id": name, "pipeline_tag": task, "downloads": downloads, "likes": 10, "tags": [*tags, *languages],
            "cardData": {"language": list(languages), "license": "mit"},
            "safetensors": {"total": total, "parameters": {}} if total else None, **fields,
        },
        AS_OF,
    )  # fmt: skip


def search(records, text="", **filters):
    index = records if isinstance(records, reader.Index) else writer.in_memory(records)
    return searching.search(index, query.build_query(text, **filters))


def found(records, text="", **filters):
    return [record.id for _, record in search(records, text, **filters).hits]


def meanings(text):
    return dict(parse_phrases(text).meanings)


class TestTasks:
    @pytest.mark.parametrize("task", sorted(TASKS))
    def test_each_of_the_hub_is_understood_by_its_name(self, task):
        # The others are liked more, and have words of the task in their names.
        noise = [model(f"toys/{word}-bear", "other", downloads=10**6) for word in task.split("-") if word != task]
        index = writer.in_memory([*noise, model("toys/teddy", task, downloads=5)])
        for text in (task, task.replace("-", " "), task.replace("-", "_").upper()):
            assert found(index, text)[0] == "toys/teddy", text

    @pytest.mark.parametrize(
        ("text", "task"),
        [
            ("turn speech to text", "automatic-speech-recognition"), ("detecting objects", "object-detection"),
            ("segmenting pictures", None), ("segment images", "image-segmentation"),
            ("diarisation", "voice-activity-detection"),
            ("classification of images", "image-classification"), ("caption an image", "image-to-text"),
            ("estimate depth maps", "depth-estimation"), ("forecasts", "time-series-forecasting"),
            ("vqa", "visual-question-answering"),
            ("machine translation", "translation"), ("text-to-music", "text-to-audio"),
            ("nli", "zero-shot-classification"),
            ("llm", "text-generation"), ("a large language model", "text-generation"), ("embeddings", None),
        ],
    )  # fmt: skip
    def test_everyday_words(self, text, task):
        tasks = [phrase.tasks[0] for phrase in parse_phrases(text).phrases if phrase.kind == "task"]
        assert tasks == ([task] if task else [])

    def test_a_name_is_not_taken_for_a_task(self):
        assert "task" not in {phrase.kind for phrase in parse_phrases("toys/object-detection").phrases}
        assert {phrase.kind for phrase in parse_phrases("bear-text-classification-v2").phrases} == {"word"}


class TestAmounts:
    @pytest.mark.parametrize(
        ("text", "memory"),
        [
            ("chat for 6 gb of vram", 6), ("fits into 48GB", 48), ("24 gigs of ram", 24), ("macbook with 18gb", 18),
            ("rtx 4070", 12), ("two words on a single 5090", 32), ("4x a100", 160), ("0.5 tb memory", 500),
            ("16-gb card", 16),
            ("an iphone", 4), ("6g of vram", 6), ("ram 48g", 48), ("a 3070", 8), ("rtx3080ti", 12), ("rx 6800 xt", 16),
            ("an m3 pro mac with 18gb", 18),
        ],
    )  # fmt: skip
    def test_memory(self, text, memory):
        amounts = read_amounts(text.lower())
        assert amounts.filters["fits"] == memory * 10**9
        assert not any(char.isdigit() for char in amounts.rest)

    @pytest.mark.parametrize("text", ["on my pc", "runs on my macbook", "locally", "a local model", "my own gpu"])
    def test_this_machine(self, text):
        assert read_amounts(text).filters["fits"] == "here"

    def test_of_several_amounts_that_of_the_graphics_card_counts(self):
        amounts = read_amounts("96gb ram and 20gb vram")
        assert amounts.filters["fits"] == 20 * 10**9
        assert [text.endswith("ram") for text, _ in amounts.meanings] == [True, True]

    def test_memory_that_is_stated_beats_the_machine(self):
        assert read_amounts("locally on my laptop with 12gb ram").filters["fits"] == 12 * 10**9

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            ("16k context", 16_384), ("context window of 64k", 65_536), ("256k tokens", 262_144),
            ("10000 tokens", 10_000),
            ("1m context window", 2**20), ("at least 200k ctx", 204_800), ("long context", 32_768),
            ("64k+ context", 65_536), ("ctx len 16k", 16_384), ("50.000 tokens", 50_000),
        ],
    )  # fmt: skip
    def test_context(self, text, tokens):
        assert list(read_amounts(text).contexts.values()) == [tokens]

    def test_a_model_may_say_a_context_in_thousands(self):
        config = {"config": {"max_position_embeddings": 128_000}}
        records = [model("toys/far", **config), model("toys/near", config={"max_position_embeddings": 4096})]
        assert found(records, "chat with 128k context")[0] == "toys/far"

    @pytest.mark.parametrize(
        ("text", "low", "high"),
        [
            ("under 2b", None, 2), ("sub-3b", None, 3), ("4b or less", None, 4),
            ("no larger than 5 billion parameters", None, 5),
            ("less than a billion", None, 1), ("13b+", 13, None), ("30b or bigger", 30, None),
            ("over 1b and below 9b", 1, 9),
            ("between 2 and 6b", 2, 6), ("<= 0.5b", None, 0.5), ("nothing over 4b", None, 4), ("models of 3-9b", 3, 9),
        ],
    )  # fmt: skip
    def test_sizes(self, text, low, high):
        bounds = read_amounts(text).filters["parameters"]
        assert bounds == tuple(None if end is None else end * 10**9 for end in (low, high))

    def test_a_price_and_a_year(self):
        assert read_amounts("chat under $0.40 per million tokens").filters == {"max_price": Decimal("0.40")}
        assert read_amounts("bert since 2024").filters == {"updated_after": date(2024, 1, 1)}
        assert read_amounts("bert newer than 2024").filters == {"updated_after": date(2025, 1, 1)}

    def test_amounts_beside_an_id_are_read(self):
        read = parse_phrases("toys/bear-3b for 12gb with 16k context")
        assert read.filters["fits"] == 12 * 10**9
        assert read.ids == ["toys/bear-3b"]
        assert [phrase.tokens for phrase in read.phrases if phrase.kind == "context"] == [16_384]

    def test_a_filter_alone_finds_the_models_that_satisfy_it(self):
        records = [model("toys/small", total=9 * 10**8), model("toys/large", total=9 * 10**9)]
        for text in ("under 2B", "a model with fewer than 2 billion parameters", "models below 2b"):
            assert found(records, text) == ["toys/small"], text

    def test_weights_of_fewer_bits_fit_in_less_memory(self):
        size = {"total": 8 * 10**9}
        records = [model("toys/bear-8b", **size), model("toys/bear-8b-AWQ", **size), model("toys/bear-8b-FP8", **size)]
        assert found(records, "bear 6gb") == ["toys/bear-8b-AWQ"]
        assert found(records, "bear fp8 12gb")[0] == "toys/bear-8b-FP8"
        assert found(records, "bear 24gb")[0] == "toys/bear-8b"
        shown = search(records, fits="12GB")
        assert shown.count() == 2
        assert sum(shown.counts()[0].values()) == 2

    @given(
        st.text(alphabet="0123456789 bgkm.,<>x-/$+", max_size=30),
        st.sampled_from(["", "context", "tokens", "or", "than"]),
    )
    def test_any_numbers_are_read(self, text, word):
        parse_phrases(f"{text} {word} {text}")


class TestMixtures:
    def test_the_size_of_what_is_active_is_no_size_of_all(self):
        records = [model("toys/Bear-9B-32E"), model("toys/bear-7b", total=7 * 10**9)]
        assert found(records, "bear under 12b") == ["toys/bear-7b"]
        assert found(records, "bear", fits="64GB") == ["toys/bear-7b"]
        assert records[0].parameters.active == 9 * 10**9
        assert records[0].parameters.total is None

    def test_weights_that_were_counted_say_it(self):
        record = model("toys/Bear-9B-32E", total=81 * 10**9)
        assert (record.parameters.total, record.parameters.active) == (81 * 10**9, 9 * 10**9)


class TestLanguages:
    STATED = ("es-419", "spa", "nob", "zh-TW", "cmn", "arb", "fr-CA", "swe")

    @pytest.mark.parametrize(
        ("name", "codes"),
        [
            ("Spanish", {"es-419", "spa"}), ("español", {"es-419", "spa"}), ("norsk", {"nob"}),
            ("Chinese", {"zh-TW", "cmn"}),
            ("zh-Hant", {"zh-TW", "cmn"}), ("Arabic", {"arb"}), ("fr", {"fr-CA"}), ("sv", {"swe"}),
            ("fra", {"fr-CA"}),
        ],
    )  # fmt: skip
    def test_any_name_finds_any_code(self, name, codes):
        index = writer.in_memory([model(f"toys/{code}", languages=[code]) for code in self.STATED])
        assert set(found(index, language=name)) == {f"toys/{code}" for code in codes}

    def test_a_model_made_for_a_language_is_before_those_of_many(self):
        many = ["en", "de", "fr", "it", "pt", "hi", "es", "th", "fi"]
        records = [model("toys/world", languages=many, downloads=10**6), model("toys/bear", languages=["fi", "en"])]
        assert found(records, "suomi") == found(records, "finnish llm") == ["toys/bear", "toys/world"]

    def test_a_word_that_is_also_a_code_is_not_taken_for_it(self):
        records = [model("toys/bear-it"), model("toys/pizza", languages=["it"])]
        assert found(records, "bear it")[0] == "toys/bear-it"
        assert found(records, "italiano") == ["toys/pizza"]


class TestOtherTongues:
    @pytest.mark.parametrize(
        ("text", "english"),
        [
            ("kleines modell für zusammenfassungen", "small model summarization"),
            ("un modèle pour décrire des images", "model image captioning"),
            ("reconocimiento de voz en catalán", "speech recognition catalán"),
            ("geração de imagens", "text to image"),
            ("traduzione dal tedesco", "translation tedesco"),
            ("質問応答のモデル", "question answering model"),
            ("目标检测模型", "object detection model"),
            ("이미지 분류 모델", "image classification model"),
            ("распознавание речи", "speech recognition"),
            ("spraakherkenning voor nederlands", "speech recognition nederlands"),
        ],
    )
    def test_the_words_are_put_into_english(self, text, english):
        translation = Translation(text)
        assert translation.text.split() == english.split()
        assert translation.meanings

    @pytest.mark.parametrize("text", ["mit license bear", "llama en de", "la bear", "bear-mit-base", "go das"])
    def test_english_and_names_stay(self, text):
        assert Translation(text).text == text

    def test_amounts_too(self):
        assert parse_phrases("模型 30亿参数以下").filters["parameters"] == (None, 3 * 10**9)
        assert parse_phrases("ein modell mit weniger als 5 milliarden parametern").filters["parameters"] == (
            None,
            5 * 10**9,
        )
        assert parse_phrases("12GB显存 聊天").filters["fits"] == 12 * 10**9


class TestSpelling:
    RECORDS = (
        model("toys/bearish-7b"), model("toys/caption-kit"), model("toys/rabbit", tags=["raggae"]),
        *(model(f"toys/teddy-{n}", downloads=50) for n in range(20)),
    )  # fmt: skip

    def test_a_word_that_is_nothing_is_corrected_and_the_result_says_so(self):
        parsed = search(self.RECORDS, "tedy").parsed
        assert ("tedy", "'teddy'") in parsed.interpretation.parts

    @pytest.mark.parametrize("text", ["raggae", "rabbit", "toys", "finnish", "captions", "reranker", "mit", "gguf"])
    def test_a_word_that_is_something_is_not(self, text):
        parsed = search(self.RECORDS, text).parsed
        assert all(f"'{text}'" == meaning or "'" not in meaning for _, meaning in parsed.interpretation.parts)

    def test_a_task_is_understood_misspelled(self):
        records = [*self.RECORDS, model("toys/eye", "object-detection")]
        assert found(records, "objct detecton")[0] == "toys/eye"


class TestInterpretation:
    def test_no_word_is_dropped_silently(self):
        records = [model("toys/bear-chat", total=10**9, languages=["de"])]
        text = "please recommend a German chat bear under 3B that zzyzx for 12 GB"
        reading = search(records, text).parsed.interpretation
        told = " ".join([*(words for words, _ in reading.parts), *reading.words, *reading.ignored])
        assert set(text.lower().split()) <= set(told.split())
        assert "zzyzx" in reading.ignored

    def test_what_is_not_wanted_is_left_out(self):
        records = [model("toys/bear-chat"), model("toys/wolf-chat", downloads=9000)]
        assert found(records, "chat without wolf") == ["toys/bear-chat"]

    def test_results_carry_it(self, hub):
        results = om.search("mistrl medical under 20b", live=True, catalog="hub")
        assert repr(results.interpretation) in results.notes
        assert ("under 20b", "at most 20B parameters") in results.interpretation.parts
        assert results.interpretation.as_dict()["ignored"] == list(results.interpretation.ignored)
        assert om.search("", live=True, catalog="hub").interpretation.as_dict()["parts"] == []

    def test_an_address_finds_its_model(self, hub):
        for text in ("https://huggingface.co/allenai/OLMo-7B/tree/main", "hf.co/allenai/OLMo-7B:Q4_0"):
            assert om.search(text, live=True, catalog="hub")[0] == "allenai/OLMo-7B"
            assert om.info(text) == "allenai/OLMo-7B"

    @pytest.mark.parametrize(
        ("text", "kept"),
        [
            ("chat not wolf or fox", {"bear"}), ("chat -wolf -fox", {"bear"}), ("non-bear chat", {"wolf", "fox"}),
            ("chat other than bear", {"wolf", "fox"}), ("don't want bear chat", {"wolf", "fox"}),
            ("bear or fox chat", {"bear", "fox"}), ("a chat instead of wolf", {"bear", "fox"}),
        ],
    )  # fmt: skip
    def test_negations_and_choices(self, text, kept):
        records = [model(f"toys/{name}-chat-{n}", downloads=99) for name in ("bear", "wolf", "fox") for n in range(3)]
        assert {name.split("/")[1].split("-")[0] for name in found(records, text)} == kept

    def test_a_phrase_with_a_negation_has_its_own_meaning(self):
        records = [model("toys/bear-uncensored", downloads=5), model("toys/bear-filter", downloads=99)]
        for text in ("bear without censorship", "bear no filter", "ein bear ohne Zensur"):
            assert found(records, text)[0] == "toys/bear-uncensored", text

    def test_a_comparison_names_a_limit_or_what_is_not_wanted(self):
        records = [
            model("toys/bear-9b", total=9 * 10**9, downloads=900), model("toys/wolf", total=4 * 10**9),
            model("toys/fox", total=30 * 10**9), model("toys/eye", "object-detection", total=10**8, downloads=10**6),
        ]  # fmt: skip
        assert found(records, "smaller than bear 9b") == ["toys/wolf"]
        assert set(found(records, "larger than wolf")) == {"toys/bear-9b", "toys/fox"}
        assert set(found(records, "better than bear 9b")) == {"toys/wolf", "toys/fox"}
        assert set(found(records, "a bear 9b alternative")) == {"toys/wolf", "toys/fox"}
        told = str(search(records, "better than bear 9b").parsed.interpretation)
        assert "not compared" in told
        assert "text-generation" in told

    def test_a_model_whose_name_has_no_words_is_ranked_too(self):
        records = [model("toys/___", languages=["fi"]), model("toys/bear", languages=["fi"])]
        assert set(found(records, "suomi")) == {"toys/___", "toys/bear"}

    def test_the_order_of_two_languages_is_that_of_a_translation(self):
        records = [
            model("toys/mt-fi-sv", "translation", languages=["fi", "sv"], downloads=10**5),
            model("toys/mt-sv-fi", "translation", languages=["sv", "fi"], downloads=10**4),
        ]  # fmt: skip
        for text in ("swedish to finnish translation", "sv→fi translation", "translation sv->fi"):
            assert found(records, text)[0] == "toys/mt-sv-fi", text

    def test_a_long_text_is_cut_and_that_is_said(self):
        assert any("characters" in remark for remark in parse_phrases("bear " * 300).remarks)


class TestPasted:
    RECORDS = (
        model("toys/Bear-3.1-8b", downloads=50), model("facebook/growl", downloads=40),
        *(model(f"other/wolf-{n}", downloads=900) for n in range(9)),
    )  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("https://github.com/toys/bear-3.1-8b", "toys/Bear-3.1-8b"),
            ("github.com/facebookresearch/growl", "facebook/growl"),
            ("https://build.nvidia.com/toys/bear-3_1-8b", "toys/Bear-3.1-8b"),
            ("https://lmstudio.ai/models/toys/bear-3.1-8b", "toys/Bear-3.1-8b"),
            ("https://ai.azure.com/catalog/models/Bear-3.1-8b", "toys/Bear-3.1-8b"),
            ("https://ai.azure.com/explore/models/Bear-3.1-8b/version/4/registry/azureml", "toys/Bear-3.1-8b"),
            ("https://www.kaggle.com/models/toys/bear-3.1/transformers/8b", "toys/Bear-3.1-8b"),
            ("https://catalog.ngc.nvidia.com/orgs/toys/teams/x/models/bear-3.1-8b", "toys/Bear-3.1-8b"),
            ("huggingface.co/models?search=growl", "facebook/growl"),
            ("vllm serve toys/bear-3.1-8b --max-model-len 4096", "toys/Bear-3.1-8b"),
            ('AutoModel.from_pretrained("toys/bear-3.1-8b")', "toys/Bear-3.1-8b"),
        ],
    )
    def test_finds_its_model_and_says_how_it_was_read(self, text, wanted):
        matches = search(self.RECORDS, text)
        assert matches.hits[0][1].id == wanted
        assert matches.parsed.interpretation.parts or matches.parsed.interpretation.ignored

    def test_a_page_of_search_results_states_filters(self):
        address = "https://huggingface.co/models?num_parameters=min:3B,max:8B&license=license:mit&search=bear"
        read = parse_phrases(address)
        assert read.filters["parameters"] == (3 * 10**9, 8 * 10**9)
        assert [phrase.word for phrase in read.phrases] == ["mit", "bear"]


@pytest.mark.parametrize("piece", ["a", "a ", "an a ", "a card ", "only under ", "1 "])
def test_an_amount_is_looked_for_in_time_that_the_length_bounds(piece):
    began = time.process_time()
    read_amounts((piece * 1_000)[:1_000].strip())
    assert time.process_time() - began < 3  # a tenth of a second; in cubic time it was half a minute


@pytest.mark.parametrize("text", ["runs on my one single 16gb card", "for a laptop with only about under 16 gb vram"])
def test_the_words_around_an_amount_belong_to_it(text):
    amounts = read_amounts(text)
    assert amounts.filters["fits"] == 16 * 10**9
    assert not amounts.rest.split()
