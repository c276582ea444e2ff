"""Searching: the judged queries, typing errors, filters, orders, folding, facets, notes."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

import catalog_tables
import openmodels as om
from openmodels.catalog import query
from openmodels.catalog.index import update
from openmodels.catalog.index.writer import in_memory as build_index
from openmodels.catalog.search import execute as searching, query_expansion
from openmodels.catalog.sources import hub_records
from openmodels.errors import InvalidRequest, ModelNotFound, Offline
from openmodels.hub.model_names import search_terms
from openmodels.hub.offers import parse_router_list

HERE = Path(__file__).parent
JUDGED = catalog_tables.judged_queries(HERE / "judged.tsv")
PEOPLE = catalog_tables.judged_queries(HERE / "judged_people.tsv")


def offers_of(offer):
    listed = parse_router_list({"data": [{"id": "org/model", "providers": [offer]}]})
    return hub_records.offers_of(listed["org/model"], date(2026, 11, 1))


def search_ids(index, text="", **filters):
    return [record.id for _, record in searching.search(index, query.build_query(text, **filters)).hits]


def is_packed(record):
    """Return whether a name or a tag says that a parameter has fewer than 16 bits."""
    words = {*search_terms(record.id), *(record.tags or ()), *(record.formats or ())}
    return not words.isdisjoint(["4bit", "4-bit", "awq", "gptq", "gguf", "8bit", "8-bit", "fp8", "mxfp4"])


class TestJudged:
    def test_recall_at_5(self, index):
        assert len(JUDGED) >= 60
        recall, missed = catalog_tables.recall_at_5(JUDGED, lambda text: search_ids(index, text, limit=5))
        assert recall >= 0.95, missed

    def test_every_judged_model_is_in_the_table(self, index):
        for one in JUDGED:
            assert all(index.get(name) for name in one.wanted), one.text


class TestJudgedAsPeopleAsk:
    def test_recall_at_5(self, people_index):
        recall, missed = catalog_tables.recall_at_5(PEOPLE, lambda text: search_ids(people_index, text, limit=5))
        assert recall >= 0.90, missed

    def test_recall_at_5_of_the_first_queries_among_their_models(self, people_index):
        recall, missed = catalog_tables.recall_at_5(JUDGED, lambda text: search_ids(people_index, text, limit=5))
        assert recall >= 0.95, missed

    def test_there_are_enough_queries_and_each_differs(self):
        assert len({judged.text for judged in PEOPLE}) == len(PEOPLE) >= 125

    def test_each_model_stands_in_the_tables_once(self, people_rows, people_index):
        ids = [row["id"] for row in people_rows]
        assert len({name.lower() for name in ids}) == len(ids) == len(people_index)

    def test_every_wanted_model_is_in_the_tables(self, people_index):
        for judged in PEOPLE:
            assert len(set(judged.wanted)) == len(judged.wanted), judged.text
            assert judged.any or len(judged.wanted) <= 5, judged.text
            for name in judged.wanted:
                assert people_index.get(name), (judged.text, name)

    def test_rows_without_a_context_length_have_none(self, people_index):
        assert people_index.get("microsoft/Phi-3-mini-128k-instruct").context_length == 131_072
        assert people_index.get("facebook/musicgen-small").context_length is None


class TestWords:
    @pytest.mark.parametrize(
        ("text", "first"),
        [
            ("mistrl", "mistral"), ("deepsek", "deepseek"), ("lama 2", "llama"), ("qwenn3", "qwen"),
            ("whispr", "whisper"), ("flacon 7b", "falcon"),
            ("smolm2", "smollm"), ("starcodr", "starcoder"), ("bleom", "bloom"),
        ],
    )  # fmt: skip
    def test_typing_errors(self, index, text, first):
        assert first in search_ids(index, text)[0].lower()

    def test_what_was_read_instead_is_told(self, index):
        expanded = searching.search(index, query.build_query("mistrl")).parsed
        assert ("mistrl", "'mistral'") in expanded.interpretation.parts

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("gemma 2 chat", "gemma 2 instruct"), ("qwen code", "qwen coder"), ("ja llama", "japanese llama"),
            ("jp llama", "japanese llama"), ("llama 2 7 billion", "llama 2 7b"), ("ai2 olmo", "allenai olmo"),
            ("summarise", "summarization"),
        ],
    )  # fmt: skip
    def test_the_same_in_other_words(self, index, one, other):
        assert set(search_ids(index, one, limit=3)) & set(search_ids(index, other, limit=3))

    def test_an_exact_id_is_first_whatever_its_case(self, index):
        assert search_ids(index, "ALLENAI/olmo-7b")[0] == "allenai/OLMo-7B"
        assert search_ids(index, "openai-community/gpt2")[0] == "openai-community/gpt2"

    def test_nothing_like_it_finds_nothing(self, index):
        assert search_ids(index, "xyzzyqwertz") == []

    def test_a_text_without_end_is_read_in_part(self, index):
        expanded = query_expansion.expand_query("llama chat " * 10_000, index)
        assert len(expanded.groups) == 2
        many = query_expansion.expand_query(" ".join(f"llama{chr(97 + n)}x" for n in range(26)), index)
        assert "only the first 16 words were read" in many.remarks
        assert len(many.interpretation.ignored) == 10

    @given(text=st.text(max_size=40))
    def test_no_text_breaks_a_search(self, index, text):
        searching.search(index, query.build_query(text, limit=3))

    def test_a_sentence_becomes_words_and_filters(self, index):
        expanded = query_expansion.expand_query("a Japanese chat model under 8 B that I may use commercially", index)
        assert expanded.filters == {"parameters": (None, 8_000_000_000), "license_class": ("open", "restricted")}
        assert [group.word for group in expanded.groups] == ["japanese", "chat"]
        between = query_expansion.expand_query("between 3 and 9 billion parameters", index).filters["parameters"]
        assert between == (3_000_000_000, 9_000_000_000)
        assert query_expansion.expand_query("3b to 9b", index).filters["parameters"] == (3_000_000_000, 9_000_000_000)
        assert query_expansion.expand_query("llama-2-7b-chat", index).filters == {}
        assert query_expansion.expand_query("llama 2-7b", index).filters == {}
        assert query_expansion.expand_query("at least 30b", index).filters["parameters"] == (30_000_000_000, None)
        assert "license_class" not in query_expansion.expand_query("non-commercial llama", index).filters


class TestFilters:
    def test_each_holds_for_all_that_is_found(self, index):
        for filters, holds in (
            ({"license": "llama2"}, lambda r: r.license.id == "llama2"),
            ({"license": "apache-2.0|mit"}, lambda r: r.license.id in ("Apache-2.0", "MIT")),
            ({"license_class": "non-commercial"}, lambda r: r.license.license_class == "non-commercial"),
            ({"license_class": "commercial"}, lambda r: r.license.license_class in ("open", "restricted")),
            ({"language": "Japanese"}, lambda r: "ja" in r.languages),
            ({"parameters": "1B..8B"}, lambda r: 10**9 <= r.parameters.total <= 8 * 10**9),
            ({"parameters": "<=1B"}, lambda r: r.parameters.total <= 10**9),
            ({"parameters": "7B"}, lambda r: 6 * 10**9 < r.parameters.total < 8 * 10**9),
            ({"task": "text-to-image"}, lambda r: r.task == "text-to-image"),
            ({"task": "chat-completion"}, lambda r: r.task == "text-generation" and "conversational" in r.tags),
            ({"author": "ai2"}, lambda r: r.author == "allenai"),
            ({"base_model": "mistralai/Mistral-7B-v0.1"}, lambda r: r.base_models[0].id == "mistralai/Mistral-7B-v0.1"),
            ({"fits": "8GB"}, lambda r: r.parameters.total <= (7.5e9 / 2 if not is_packed(r) else 7.5e9 / 0.5)),
            ({"gated": False}, lambda r: r.gated is False),
        ):
            hits = searching.search(index, query.build_query(**filters, limit=1000)).hits
            assert hits, filters
            for _, record in hits:
                assert holds(record), (filters, record.id)

    def test_nothing_that_holds_is_missed(self, index, records):
        expected = {r.id for r in records if r.parameters and r.parameters.total and 3e9 <= r.parameters.total <= 7e9}
        shown = searching.search(index, query.build_query("", parameters=(3e9, 7e9), limit=1000, base_model=None))
        assert {record.id for _, record in shown.hits} <= expected
        assert shown.count() == len(expected)

    def test_together_and_with_words(self, index):
        assert (
            search_ids(index, "japanese llama chat", license="llama2")[0] == "elyza/ELYZA-japanese-Llama-2-7b-instruct"
        )
        assert search_ids(index, "llama", license="no-such-license") == []

    def test_an_argument_beats_the_text(self, index):
        shown = searching.search(index, query.build_query("llama under 2b", parameters="60B..80B"))
        assert all(record.parameters.total > 6e10 for _, record in shown.hits)

    def test_each_of_several_licenses_is_found_and_the_strictest_is_the_class(self):
        both = hub_records.build_record(
            {"id": "org/both", "cardData": {"license": ["mit", "cc-by-nc-4.0"]}}, date(2026, 11, 1)
        )
        index = build_index([both, hub_records.build_record({"id": "org/free", "tags": ["license:mit"]}, None)])
        assert sorted(search_ids(index, license="mit")) == ["org/both", "org/free"]
        assert search_ids(index, license="cc-by-nc-4.0") == ["org/both"]
        assert search_ids(index, license_class="open") == ["org/free"]
        assert index.get("org/both") == both

    def test_prices_providers_and_lifetimes(self):
        offer = {"provider": "groq", "pricing": {"input": 0.05, "output": 0.08}}
        cheap = hub_records.build_record({"id": "org/cheap"}, date(2026, 11, 1))
        cheap = cheap.model_copy(update={"offers": offers_of(offer)})
        offer |= {"provider": "nscale", "pricing": {"input": 1, "output": 2.5}}
        dear = hub_records.build_record({"id": "org/dear", "lastModified": "2026-10-01"}, date(2026, 11, 1))
        dear = dear.model_copy(update={"offers": offers_of(offer)})
        index = build_index([cheap, dear, hub_records.build_record({"id": "org/free"}, None)])
        assert search_ids(index, max_price="0.5") == ["org/cheap"]
        assert search_ids(index, max_price=3, provider="nscale") == ["org/dear"]
        assert search_ids(index, sort="price") == ["org/cheap", "org/dear"]
        assert search_ids(index, updated_after="2026-09-15") == ["org/dear"]
        assert index.get("org/cheap").offers[0].price_out == Decimal("0.08")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("parameters", "big"), ("parameters", "9B..1B"), ("parameters", True), ("context", "-5"), ("fits", "lots"),
            ("max_price", "cheap"), ("max_price", "nan"), ("max_price", -1), ("updated_after", "soon"), ("limit", 0),
            ("limit", 10**9), ("limit", True), ("sort", "beauty"), ("catalog", "ollama"), ("gated", "yes"),
            ("license_class", "fine"), ("task", ""), ("task", 3), ("language", []),
        ],
    )  # fmt: skip
    def test_wrong_arguments_are_named(self, name, value):
        with pytest.raises(InvalidRequest, match=f"^{name}: "):
            query.build_query("", **{name: value})

    @pytest.mark.parametrize("value", ["24", "7.5", 12, 16000])
    def test_memory_without_a_unit_is_refused_with_it(self, value):
        with pytest.raises(InvalidRequest, match=r"^fits: .*GB"):
            query.build_query("", fits=value)

    @pytest.mark.weights
    def test_this_machines_memory_is_measured(self):
        from openmodels.backends.local.weights import memory

        assert query.build_query("", fits="here").fits == pytest.approx(memory.available(), rel=0.5)

    def test_there_is_no_filter_of_that_name(self):
        with pytest.raises(InvalidRequest, match="licence"):
            query.build_query("", licence="mit")
        with pytest.raises(InvalidRequest, match="text"):
            query.build_query(None)


class TestOrder:
    @pytest.mark.parametrize("sort", ["downloads", "likes", "parameters", "context", "created", "updated", "trending"])
    def test_is_that_of_the_numbers(self, sort):
        made = [
            hub_records.build_record(
                {
                    "id": f"org/m{n}", "downloads": n**3 % 1009, "likes": n**2 % 503, "trendingScore": n % 7 or None,
                    "safetensors": {"total": n * 7919 % 10_007 or None}, "gguf": {"context_length": n * 37 % 4001},
                    "createdAt": f"20{20 + n % 6}-0{1 + n % 9}-1{n % 10}",
                    "lastModified": f"20{20 + n % 5}-0{1 + n % 8}-2{n % 9}",
                },
                date(2026, 11, 1),
            )
            for n in range(300)
        ]  # fmt: skip

        def value(record):
            field = {"context": "context_length"}.get(sort, sort)
            got = getattr(record, field)
            return getattr(got, "total", got)

        index = build_index(made)
        shown = [value(record) for _, record in searching.search(index, query.build_query(sort=sort, limit=20)).hits]
        assert shown == sorted((value(r) for r in made if value(r) is not None), reverse=True)[:20]


@pytest.fixture(scope="module")
def crowd():
    """200 popular conversions, and 200 models of their own that fewer fetch."""
    popular = [{"id": f"org/bear-{n}-GGUF", "downloads": 10**6 - n} for n in range(200)]
    others = [{"id": f"org/bear-den{n}", "downloads": 10**3 - n} for n in range(200)]
    return build_index(hub_records.build_record(row, date(2026, 11, 1)) for row in popular + others)


class TestManyMatches:
    def test_as_many_as_are_asked_for_are_shown(self, crowd):
        assert len(search_ids(crowd, "bear gguf", limit=180)) == 180
        assert len(search_ids(crowd, "bear", limit=350)) == 350

    def test_popular_variants_leave_room_for_models(self, crowd):
        assert search_ids(crowd, "bear")[0] == "org/bear-den0"


class TestFolding:
    def test_conversions_stand_behind_their_model(self, index):
        shown = search_ids(index, "llama 2 7b", limit=10)
        assert "meta-llama/Llama-2-7b-hf" in shown
        assert not [name for name in shown if "GGUF" in name or "GPTQ" in name]

    def test_and_are_counted(self, index):
        hits = {r.id: r.variants for _, r in searching.search(index, query.build_query("llama 2", limit=50)).hits}
        assert hits["meta-llama/Llama-2-7b-hf"] == 2
        assert hits["meta-llama/Llama-2-13b-hf"] is None

    def test_unless_one_asks_for_them(self, index):
        assert "TheBloke/Llama-2-7B-GGUF" in search_ids(index, "llama 2 7b gguf")
        assert "TheBloke/Llama-2-7B-GPTQ" in search_ids(index, base_model="meta-llama/Llama-2-7b-hf")

    def test_a_copy_is_no_second_model(self, index):
        assert "unsloth/Llama-3.1-8B-Instruct" not in search_ids(index, "llama 3.1 8b instruct")

    def test_a_finetune_called_quantized_is_a_model_of_its_own(self, index):
        shown = search_ids(index, "smollm2 135m", limit=10)
        assert {"HuggingFaceTB/SmolLM2-135M", "HuggingFaceTB/SmolLM2-135M-Instruct"} <= set(shown)


class TestTheWholeWay:
    def test_without_an_index_the_catalogs_are_asked(self, hub):
        results = om.search("japanese llama", license="llama2")
        assert results[0].id == "elyza/ELYZA-japanese-Llama-2-7b"
        assert any(note.startswith("azure: ") for note in results.notes)

    def test_and_typing_errors_are_forgiven_there_too(self, hub):
        assert om.search("whispr")[0].author == "openai"

    def test_offline_from_the_index(self, hub, monkeypatch):
        update.update(catalogs=["hub"])
        monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        before = len(hub.requests)
        results = om.search("japanese llama chat", license="llama2")
        assert results[0].id == "elyza/ELYZA-japanese-Llama-2-7b-instruct"
        assert len(hub.requests) == before
        assert any("updated today" in note for note in results.notes)
        assert any("azure is not in the index" in note for note in results.notes)
        assert om.info("allenai/OLMo-7B").license.id == "Apache-2.0"

    def test_offline_without_an_index(self, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(Offline, match="no index"):
            om.search("llama")
        with pytest.raises(Offline):
            om.info("allenai/OLMo-7B")

    @pytest.mark.parametrize("online", [True, False])
    def test_a_bare_name_is_the_only_model_that_has_it(self, hub, monkeypatch, online):
        update.update(catalogs=["hub"])
        if not online:
            monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        assert om.info("olmo-7b") == "allenai/OLMo-7B"

    @pytest.mark.parametrize("online", [True, False])
    @pytest.mark.parametrize("name", ["allenai/OLMo-7", "alenai/OLMo-7B", "ai2/OLMo-7B", "OLMo-7B-Instruct"])
    def test_a_name_that_no_model_has_is_answered_with_those_like_it(self, hub, monkeypatch, online, name):
        update.update(catalogs=["hub"])
        if not online:
            monkeypatch.setenv("OPENMODELS_OFFLINE", "1")
        with pytest.raises(ModelNotFound if online else Offline, match=r"Did you mean .*allenai/OLMo-7B"):
            om.info(name)

    def test_facets_count_all_matches(self, hub):
        update.update(catalogs=["hub"])
        results = om.search("llama", limit=3)
        assert len(results) == 3
        assert results.total > 30
        licenses = results.facets("license")
        assert licenses["llama2"] > licenses["Apache-2.0"]
        assert results.facets("catalog") == {"hub": results.total}
        with pytest.raises(InvalidRequest, match="colour"):
            results.facets("colour")

    def test_results_show_themselves(self, hub, monkeypatch):
        results = om.search("<script>")
        assert results == []
        hub.rows.append({"id": "org/llama-x", "tags": ["llama", "license:<b>bold</b>"], "downloads": 10**9})
        shown = om.search("llama", sort="downloads")._repr_html_()
        hub.rows.pop()
        assert "<b>" not in shown
        assert "&lt;b&gt;" in shown
        assert ">-<" in shown

    def test_results_become_a_data_frame(self, hub):
        pandas = pytest.importorskip("pandas", reason="to_pandas needs pandas")
        frame = om.search("mistral", limit=4).to_pandas()
        assert isinstance(frame, pandas.DataFrame)
        assert len(frame) == 4
        assert set(frame.columns) >= {"model", "license", "parameters", "downloads"}

    def test_info_joins_both_catalogs_without_an_index(self, hub, gallery):
        record = om.info("openai/gpt-oss-120b")
        assert record.ids.azure == "azureml-openai-oss/gpt-oss-120b"
        assert record.catalogs == ("hub", "azure")
        assert om.info("azure:azureml-openai-oss/gpt-oss-120b").likes == record.likes
        assert om.info("meta-llama/Llama-2-7b-hf").lifecycle.retires_on == date(2025, 6, 30)

    def test_records_are_json(self, hub):
        for record in om.search("llama"):
            assert json.loads(record.model_dump_json())["ids"]["hub"] == record.id
            assert om.ModelRecord.model_validate_json(record.model_dump_json()) == record


@pytest.mark.parametrize(
    "arguments",
    [
        {"parameters": "9" * 500 + "t"}, {"parameters": "..1e5"},
         {"fits": "9" * 400 + "TB"}, {"context": "9" * 30 + "k"},
        {"deployment": "\ud83d"}, {"author": "x" * 100_000}, {"provider": "\0"}, {"license": '" OR "'},
        {"text": "over 99999999999999999999999999b"},
        {"text": "between 1b and " + "7" * 300 + "b"}, {"text": "\ud800*"},
        {"text": "NEAR(" * 2_000}, {"text": "9" * 40 + "k context"},
    ],
)  # fmt: skip
def test_no_question_ends_in_an_error_of_another_kind(arguments):
    try:
        om.search(arguments.pop("text", "llama"), live=False, catalog=["cache"], **arguments)
    except om.OpenModelsError as error:
        assert str(error)
