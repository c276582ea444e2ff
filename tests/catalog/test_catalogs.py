"""The Hub and Azure as sources: paging, pacing, faults, dirt."""

from __future__ import annotations

import pytest

from loopback_server import Response
from openmodels.catalog import query
from openmodels.catalog.sources.azure import AzureCatalog
from openmodels.catalog.sources.hub import HubCatalog
from openmodels.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    InvalidRequest,
    InvalidResponse,
    ModelNotFound,
    RateLimited,
    ServerFailed,
)


def listed(source, **filters):
    return [record for page in source.pages(**filters) for record in page.records]


class TestHub:
    def test_lists_everything_over_pages(self, hub, rows):
        assert {record.id for record in listed(HubCatalog())} == {row["id"] for row in rows}

    def test_a_bad_row_is_reported_and_skipped(self, hub):
        hub.rows = [
            {"downloads": 3},
            None,
            {"id": "org/\x1b[2Jx"},
            *hub.rows,
            {"id": "org/last", "safetensors": {"x": 1}},
        ]
        source = HubCatalog()
        assert len(listed(source)) == len(hub.rows) - 3
        assert len(source.skipped) == 3
        assert all("\x1b" not in why for why in source.skipped)

    def test_a_dead_page_ends_the_listing_after_what_came(self, hub):
        hub.overrides = [("cursor", Response({"error": "down"}, 503))] * 2
        pages = HubCatalog().pages()
        assert next(pages).records
        with pytest.raises(ServerFailed, match="503"):
            next(pages)

    def test_a_page_that_fails_once_is_asked_for_again(self, hub, rows):
        hub.overrides = [("cursor", Response(b"", 502))]
        assert len(listed(HubCatalog())) == len(rows)

    def test_a_429_waits_as_long_as_the_hub_says(self, hub):
        slow = Response({"error": "slow down"}, 429, {"RateLimit": '"api";r=0;t=55'})
        hub.overrides = [("/api/models", slow)] * 2
        with pytest.raises(RateLimited) as caught:
            next(HubCatalog().pages())
        assert caught.value.retry_after == 56

    def test_paces_itself_when_nothing_is_left(self, hub):
        source, waits = HubCatalog(), []
        source.client.pacer.sleep = waits.append
        empty = Response(
            [], headers={"RateLimit": '"api";r=0;t=7', "Link": f'<{hub.address}/api/models?cursor=NDA=>; rel="next"'}
        )
        hub.overrides = [("/api/models", empty)]
        listed(source)
        assert 6 < waits[0] <= 7

    def test_a_link_to_another_host_is_not_followed(self, hub):
        away = Response([], headers={"Link": '<http://127.0.0.1:9/api/models?cursor=x>; rel="next"'})
        hub.overrides = [("/api/models", away)]
        with pytest.raises(InvalidResponse, match="another host"):
            listed(HubCatalog(token="hf_secret"))

    def test_a_redirect_to_another_host_is_not_followed_and_one_at_home_is(self, hub):
        hub.overrides = [("/api/models/old/name", Response(b"", 307, {"Location": "http://127.0.0.1:9/x"}))]
        with pytest.raises(InvalidResponse, match="another host"):
            HubCatalog().get("old/name")
        hub.overrides = [
            ("/api/models/old/name", Response(b"", 307, {"Location": "/api/models/openai-community/gpt2?blobs=true"}))
        ]
        with pytest.raises(ModelNotFound):
            # The first of its two requests was led on; the second asks for the old name again.
            HubCatalog().get("old/name")

    def test_a_link_that_leads_back_ends_the_listing(self, hub):
        circle = Response([], headers={"Link": f'<{hub.address}/api/models?cursor=MA==>; rel="next"'})
        hub.overrides = [("/api/models", circle)] * 2
        assert listed(HubCatalog()) == []

    def test_the_token_goes_to_the_hub_and_nowhere_else(self, hub):
        source = HubCatalog(token="hf_secret")
        listed(source)
        source.offers()
        assert all(
            request.headers.get("authorization") == "Bearer hf_secret"
            for request in hub.requests
            if "v1" not in request.path
        )
        assert all("authorization" not in request.headers for request in hub.requests if "v1" in request.path)
        assert "hf_secret" not in repr(source.client)

    def test_errors_are_of_the_tree(self, hub, monkeypatch):
        source = HubCatalog()
        with pytest.raises(ModelNotFound):
            source.get("no/such")
        hub.overrides = [("/api/models", Response({"error": "x"}, 401))]
        with pytest.raises(AuthenticationFailed):
            next(source.pages())
        hub.overrides = [("/api/models", Response(b"<html>", 200))]
        with pytest.raises(InvalidResponse, match="not JSON"):
            next(source.pages())
        with pytest.raises(ConnectionFailed):
            next(HubCatalog("http://127.0.0.1:9").pages())

    def test_get_has_files_and_the_context_length(self, hub):
        hub.rows.append({"id": "org/with-config", "config": {"max_position_embeddings": 4096, "architectures": ["A"]}})
        record = HubCatalog().get("org/with-config")
        assert record.context_length == 4096
        assert {file.name for file in record.files} == {"README.md", "config.json"}
        assert all(file.size is not None for file in record.files)
        hub.rows.pop()

    def test_searches_by_words_and_filters(self, hub):
        wanted = query.build_query("llama chat", license="llama2", author="meta-llama", task="text-generation")
        found = {record.id for record in HubCatalog().search(wanted)}
        assert "meta-llama/Llama-2-7b-chat-hf" in found
        assert all(name.startswith("meta-llama/") for name in found)

    def test_prices_come_from_the_router(self, hub):
        hub.providers = [
            {"id": "openai/gpt-oss-20b", "providers": [{"provider": "groq", "pricing": {"input": 0.1, "output": 0.5}}]},
            {"providers": []},
            None,
        ]
        assert list(HubCatalog().offers()) == ["openai/gpt-oss-20b"]
        assert list(HubCatalog(router=f"{hub.address}/v1/").offers()) == ["openai/gpt-oss-20b"]


class TestAzure:
    def test_reads_both_shapes(self, gallery):
        source = AzureCatalog()
        records = {record.ids.azure: record for record in listed(source)}
        assert len(records) == 8
        assert len([why for why in source.skipped if "no usable name" in why or "object" in why]) == 3
        assert all("\x1b" not in why for why in source.skipped)
        oss = records["azureml-openai-oss/gpt-oss-120b"]
        assert oss.context_length == 131072
        assert oss.task == "text-generation"
        assert "conversational" in oss.tags
        assert oss.capabilities == ("agentsV2", "reasoning", "streaming")
        assert oss.deployments == ("standard-paygo", "VM")
        assert oss.license.id == "custom"
        assert oss.license.link == "https://huggingface.co/openai/gpt-oss-120b/blob/main/LICENSE"
        assert records["azureml-meta/Llama-2-7b"].lifecycle.retires_on.isoformat() == "2025-06-30"
        assert records["azureml/gpt2"].author is None
        assert records["azureml/gpt2"].provenance["license"].source == "azure"

    def test_a_date_of_one_blank_is_no_date(self, gallery):
        (oss,) = [record for record in listed(AzureCatalog()) if record.ids.azure == "azureml-openai-oss/gpt-oss-120b"]
        assert oss.lifecycle is None or oss.lifecycle.retires_on is None

    def test_joins_by_stated_ids_and_aliases_only(self, gallery):
        source = AzureCatalog()
        hub_ids = {record.ids.azure: record.ids.hub for record in listed(source)}
        assert hub_ids["azureml-meta/Llama-2-7b"] == "meta-llama/Llama-2-7b-hf"
        assert hub_ids["azureml/mistralai-Mistral-7B-v01"] == "mistralai/Mistral-7B-v0.1"
        assert hub_ids["azureml/gpt2"] == "openai-community/gpt2"
        assert hub_ids["azureml/mistral-community-Mixtral-8x22B-v0-1"] is None
        assert hub_ids["HuggingFace/openai-gpt-oss-120b"] is None
        assert any("which is none" in why for why in source.skipped)

    @pytest.mark.parametrize(
        ("filters", "expected"),
        [
            ({"task": "chat-completion"}, {"gpt-oss-120b", "openai-gpt-oss-120b"}),
            ({"fine_tuning_task": "text-classification"}, {"Llama-2-7b", "mistralai-Mistral-7B-v01"}),
            ({"deployment": "standard-paygo"}, {"gpt-oss-120b", "Phi-4-mini-instruct"}),
            ({"capability": "reasoning"}, {"gpt-oss-120b"}),
            ({"author": "Meta"}, {"Llama-2-7b"}),
        ],
    )
    def test_filters_there(self, gallery, filters, expected):
        found = AzureCatalog().search(query.build_query(**filters))
        assert {record.ids.azure.rpartition("/")[2] for record in found} == expected

    def test_the_hubs_collection_is_a_registry(self, gallery):
        found = [record.ids.azure for record in listed(AzureCatalog(collection="HuggingFace"))]
        assert found == ["HuggingFace/openai-gpt-oss-120b"]

    def test_a_repeated_token_ends_the_listing(self, gallery):
        again = Response({"summaries": [], "continuationToken": "0"})
        gallery.overrides = [("models", again)] * 3
        assert listed(AzureCatalog()) == []
        assert len(gallery.requests) == 2

    def test_gets_one(self, gallery):
        record = AzureCatalog().get("azure:azureml-openai-oss/gpt-oss-120b")
        assert record.ids.hub == "openai/gpt-oss-120b"
        with pytest.raises(ModelNotFound):
            AzureCatalog().get("azureml/none")
        with pytest.raises(InvalidRequest):
            AzureCatalog().get("gpt-oss-120b")

    def test_an_unknown_shape_is_no_empty_listing(self, gallery):
        gallery.overrides = [("models", Response({"items": []}))]
        with pytest.raises(InvalidResponse, match="shape"):
            listed(AzureCatalog())
