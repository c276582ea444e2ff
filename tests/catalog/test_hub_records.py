"""Rows of the Hub, whatever shape they come in."""

from __future__ import annotations

import json
from datetime import date

import pytest
from hypothesis import given, strategies as st

from openmodels import licenses
from openmodels.catalog.index.writer import in_memory
from openmodels.catalog.record import Base
from openmodels.catalog.sources import hub_records
from openmodels.hub.offers import parse_router_list
from openmodels.openness.evidence_pages import DatasetEvidence, ModelEvidence

DAY = date(2026, 11, 1)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    "author",
    "cardData",
    "config",
    "createdAt",
    "downloads",
    "evalResults",
    "gated",
    "gguf",
    "inferenceProviderMapping",
    "lastModified",
    "likes",
    "library_name",
    "pipeline_tag",
    "safetensors",
    "siblings",
    "tags",
    "trendingScore",
    "baseModels",
]


def row(**fields):
    return {"id": "org/model-7b", **fields}


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_no_value_of_any_field_breaks_a_row(fields):
    record = hub_records.build_record(row(**fields), DAY)
    assert record.ids.hub == "org/model-7b"


@given(st.dictionaries(st.sampled_from(KEYS), VALUES))
def test_every_record_comes_back_from_the_index(fields):
    record = hub_records.build_record(row(**fields), DAY)
    assert in_memory([record]).get("ORG/model-7b") == record


@pytest.mark.parametrize(
    "bad", [None, [], "x", {}, {"id": None}, {"id": 3}, {"id": "a/b/c"}, {"id": "a b"}, {"id": ""}]
)
def test_rows_without_a_usable_id_are_refused(bad):
    with pytest.raises(ValueError, match=r"id|object"):
        hub_records.build_record(bad, DAY)


def test_terminal_escapes_in_an_id_are_refused_and_elsewhere_removed():
    with pytest.raises(ValueError, match=r"\\x1b"):
        hub_records.build_record({"id": "org/\x1b[31mred"}, DAY)
    record = hub_records.build_record(row(tags=["a\x1b]0;x\x07b", "\u202etxt"], library_name="l\x9bib"), DAY)
    assert record.tags == ("a]0;xb", "txt")
    assert record.library == "lib"


def test_numbers_and_nesting_without_end_are_left_out():
    record = hub_records.build_record(row(likes=10**30, downloads=float("inf"), cardData="{" + '"a":[' * 10**5), DAY)
    assert (record.likes, record.downloads) == (None, None)


def test_norwegian_is_not_false():
    assert hub_records.build_record(row(cardData={"language": [False, "en"]}), DAY).languages == ("no", "en")
    assert hub_records.build_record(row(cardData={"language": "Japanese"}), DAY).languages == ("ja",)


def test_what_is_unknown_is_none():
    record = hub_records.build_record({"id": "org/model"}, DAY)
    known = {name for name in type(record).model_fields if getattr(record, name) not in (None, {}, ())}
    assert known == {"ids", "author", "provenance"}


def test_license_may_be_a_list_or_a_name_only():
    assert (
        hub_records.build_record(row(cardData={"license": ["apache-2.0", "mit"]}), DAY).license.id
        == "Apache-2.0 AND MIT"
    )
    named = hub_records.build_record(
        row(cardData={"license": "other", "license_name": "falcon-llm-license"}), DAY
    ).license
    assert (named.id, named.license_class) == ("other", "restricted")
    assert hub_records.build_record(row(tags=["license:odc-by"]), DAY).license.id == "ODC-By-1.0"


def test_bases_from_every_place_are_one_list():
    record = hub_records.build_record(
        row(
            baseModels={"relation": "finetune", "models": [{"_id": "1", "id": "a/x"}]},
            tags=["base_model:a/x", "base_model:finetune:a/x", "base_model:adapter:b/y"],
            cardData={"base_model": ["c/z"]},
        ),
        DAY,
    )
    assert record.base_models == (
        Base(id="a/x", relation="finetune"),
        Base(id="b/y", relation="adapter"),
        Base(id="c/z"),
    )


def test_the_size_in_a_name_is_known_to_be_that():
    record = hub_records.build_record(row(), DAY)
    assert record.parameters.total == 7_000_000_000
    assert record.provenance["parameters"].source == "name"
    counted = hub_records.build_record(row(safetensors={"parameters": {"BF16": 6_800_000_000}}), DAY)
    assert counted.parameters.total == 6_800_000_000
    assert counted.provenance["parameters"].source == "hub"
    packed = hub_records.build_record({"id": "o/m-7b-GPTQ", "safetensors": {"total": 1_100_000_000}}, DAY)
    assert packed.parameters.total == 7_000_000_000
    assert hub_records.build_record(row(tags=["lora"]), DAY).parameters is None


def test_scores_keep_who_says_so():
    listed = [
        {"verified": True, "data": {"dataset": {"id": "cais/hle", "task_id": "hle"}, "value": 20.9,
                                    "date": "2026-02-01", "source": {"name": "the vendor"}}},
        {"data": {"dataset": {"id": "x"}, "value": "high"}},
        {"data": {"dataset": {}, "value": 1}},
    ]  # fmt: skip
    (score,) = hub_records.build_record(row(evalResults=listed), DAY).scores
    assert (score.value, score.benchmark, score.source, score.verified) == (20.9, "cais/hle:hle", "the vendor", True)
    assert score.date == date(2026, 2, 1)


def test_scores_of_a_cards_model_index_keep_the_metric():
    metrics = [{"type": "acc", "value": 40.5, "verified": True}, {"type": "f1", "value": "n/a"}, {"value": 3}]
    results = [
        {
            "dataset": {"type": "TIGER-Lab/MMLU-Pro", "config": "main"},
            "metrics": metrics,
            "source": {"url": "https://b"},
        },
        {"dataset": {"name": "WikiText"}, "metrics": [{"type": "perplexity", "value": 9}]},
        {"metrics": [{"type": "acc", "value": 1}]},
    ]
    listed = [{"data": {"dataset": {"id": "TIGER-Lab/MMLU-Pro", "task_id": "main:acc"}, "value": 39}}]
    scores = hub_records.build_record(row(**{"model-index": [{"name": "m", "results": results}]}), DAY).scores
    assert [(score.benchmark, score.value, score.source, score.verified) for score in scores] == [
        ("TIGER-Lab/MMLU-Pro:main:acc", 40.5, "https://b", None),
        ("WikiText:perplexity", 9, "the model's card", None),
    ]
    card = {"model-index": [{"results": results}]}
    (first, _) = hub_records.build_record(row(cardData=card, evalResults=listed), DAY).scores
    assert first.value == 39


def test_offers_of_listings_of_single_models_and_of_the_router():
    listed = hub_records.build_record(
        row(inferenceProviderMapping=[{"provider": "together", "status": "live"}, {"x": 1}]), DAY
    )
    single = hub_records.build_record(row(inferenceProviderMapping={"together": {"status": "live"}}), DAY)
    assert listed.offers == single.offers
    routed = {
        "id": "org/model-7b",
        "providers": [
            {"provider": "groq", "pricing": {"input": 0.05, "output": 0.08}, "first_token_latency_ms": 250},
            {},
        ],
    }
    (offer,) = hub_records.offers_of(parse_router_list({"data": [routed]})["org/model-7b"], DAY)
    assert (str(offer.price_in), str(offer.price_out), offer.as_of, offer.latency) == ("0.05", "0.08", DAY, 0.25)


def test_a_dump_with_nested_json_text_reads_like_the_listing():
    nested = {"cardData": {"license": "mit", "language": ["de"]}, "config": {"model_type": "llama"}, "tags": ["x"]}
    flat = {name: json.dumps(value) for name, value in nested.items()}
    assert hub_records.build_record(row(**flat), DAY) == hub_records.build_record(row(**nested), DAY)


@pytest.mark.parametrize(
    ("stated", "gate"),
    [
        (False, False), (None, None), ("auto", "auto"), ("manual", "manual"), (True, "manual"), ("TRUE", "manual"),
        ("false", False), (0, False), (1, "manual"), ("after review", "manual"), ({}, None), ([True], None),
    ],
)  # fmt: skip
def test_a_gate_is_read_in_one_way(stated, gate):
    record = hub_records.build_record({"id": "org/model", "gated": stated}, DAY)
    page = ModelEvidence({"id": "org/model", "gated": stated})
    assert record.gated == gate
    assert page.gated == gate
    assert DatasetEvidence({"id": "org/set", "gated": stated}).gated == (None if gate is None else gate is not False)


@pytest.mark.parametrize(
    "card",
    [
        {"license": "apache-2.0"}, {"license": ["mit", "cc-by-nc-4.0"]}, {"license": ["mit", "unheard-of"]},
        {"license": "other", "license_name": "falcon-llm-license"}, {"license": "other", "license_name": "mit"},
        {"license_name": "llama3"}, {"license": []}, {},
    ],
)  # fmt: skip
def test_a_declared_license_is_read_in_one_way(card):
    stated = hub_records.build_record({"id": "org/model", "cardData": card, "tags": ["license:gemma"]}, DAY).license
    terms = ModelEvidence({"id": "org/model", "cardData": card, "tags": ["license:gemma"]}).declared_license
    assert licenses.license_class(stated.id, stated.name) == terms.kind


def test_licenses_and_sizes_print_as_people_write_them():
    row = {"id": "org/ledger-3b", "tags": ["license:cc-by-4.0"], "safetensors": {"total": 3_200_000_000}}
    record = hub_records.build_record(row, DAY)
    assert str(record.license) == "CC-BY-4.0"
    assert str(record.parameters) == "3,200,000,000"
