"""Where `om.choose` gets its facts: the catalogs, the router's list, genai-prices and files of leaderboards."""

from __future__ import annotations

import importlib
import importlib.metadata
import io
import json
import sys
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from click.testing import CliRunner

import openmodels as om
from loopback_hub import LoopbackHub
from openmodels import retry
from openmodels.catalog.record import Ids, ModelRecord, Score
from openmodels.choose import prices
from openmodels.choose.scores import is_lower_better, scores_of
from openmodels.cli.group import cli

MODELS = [
    {
        "id": f"org/{name}",
        "pipeline_tag": "text-generation",
        "tags": ["text-generation"],
        "cardData": {"license": license_},
        "downloads": 100,
        "evalResults": [{"data": {"dataset": {"id": "bench/x", "task_id": "t"}, "value": score}}],
    }
    for name, license_, score in (
        ("able-chat", "mit", 70),
        ("small-chat", "mit", 50),
        ("shut-chat", "cc-by-nc-4.0", 80),
    )
]
OFFERS = [
    {
        "id": "org/able-chat",
        "providers": [
            {"provider": "dear", "status": "live", "pricing": {"input": 2, "output": 2}, "throughput": 9},
            {"provider": "fair", "status": "live", "pricing": {"input": 0.4, "output": 0.8}, "throughput": 40},
        ],
    },
    {"id": "org/small-chat", "providers": [{"provider": "fair", "status": "live", "is_free": True, "throughput": 80}]},
]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "OPENMODELS_OFFLINE", "OPENMODELS_MODEL_FOLDERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENMODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    monkeypatch.setenv("OPENMODELS_AZURE_CATALOG", "http://127.0.0.1:9")
    prices._packaged.cache_clear()
    with retry.override_retries(attempts=1), LoopbackHub(MODELS, providers=OFFERS) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", server.address)
        yield server
    prices._packaged.cache_clear()


class TestCatalogs:
    def test_a_search_is_ranked_with_the_prices_of_today(self, hub):
        prefer = {"quality": 0.4, "price": 0.3, "speed": 0.3}
        selection = om.choose("chat", need={"license_class": "open"}, prefer=prefer)
        assert [choice.id for choice in selection] == ["org/small-chat", "org/able-chat"]
        small, able = selection
        assert small.axes == {"quality": 50, "price": 0, "speed": 80}
        assert able.axes == {"quality": 70, "price": 0.5, "speed": 40}
        assert able.values["price"].as_of is not None
        assert [(item.id, item.constraints) for item in selection.rejected] == [("org/shut-chat", ("license_class",))]

    def test_ids_get_prices_and_records_stay_as_they_are(self, hub):
        (by_id,) = om.choose(among=["org/able-chat"])
        (by_record,) = om.choose(among=[om.info("org/able-chat")])
        assert (by_id.axes["price"], by_record.axes["price"]) == (0.5, None)
        (by_search,) = om.choose(among=om.search("able"))
        assert by_search.axes["price"] == 0.5
        assert len(om.pareto(["org/able-chat", "hf:org/small-chat"], x="price", y="speed")) == 2

    def test_a_selection_is_charted_with_its_prices(self, hub):
        selection = om.choose(among=["org/able-chat", "org/small-chat"])
        chart = om.pareto(selection, x="price", y="speed")
        assert {point.id: point.x.number for point in chart} == {"org/able-chat": 0.5, "org/small-chat": 0}

    def test_a_provider_that_failed_its_probe_is_no_cheapest(self, hub):
        dead = {"provider": "dead", "status": "error", "pricing": {"input": 0.1, "output": 0.1}}
        hub.providers[:] = [{"id": "org/able-chat", "providers": [dead, *OFFERS[0]["providers"]]}]
        run = CliRunner().invoke(cli, ["cost", "org/able-chat", "--json"])
        assert [item["provider"] for item in json.loads(run.stdout)["costs"]] == ["fair", "dear", "dead"]

    def test_a_model_index_counts_for_models_named_by_id(self, hub):
        metric = {"type": "pass@1", "value": 31.5}
        result = {"dataset": {"type": "humaneval"}, "metrics": [metric], "source": {"name": "Open LLM Leaderboard"}}
        hub.rows.append({**MODELS[0], "id": "org/index-chat", "model-index": [{"name": "m", "results": [result]}]})
        (choice,) = om.choose(among=["org/index-chat"], prefer={"score:humaneval": 1})
        assert choice.axes == {"score:humaneval": 31.5}
        assert choice.values["score:humaneval"].source == "Open LLM Leaderboard (archived)"

    def test_a_router_out_of_reach_is_noted(self, hub, monkeypatch):
        monkeypatch.setenv("OPENMODELS_HF_ROUTER", "http://127.0.0.1:9")
        selection = om.choose(among=["org/able-chat"])
        assert selection.ranked[0].axes["price"] is None
        assert any(note.startswith("prices: ") for note in selection.notes)

    def test_an_unknown_id_raises(self, hub):
        with pytest.raises(om.ModelNotFound):
            om.choose(among=["org/none"])

    def test_the_commands(self, hub):
        run = CliRunner().invoke(cli, ["cost", "org/able-chat", "--in", "1M", "--out", "0", "--json"])
        assert [item["cost"] for item in json.loads(run.stdout)["costs"]] == [0.4, 2.0]
        run = CliRunner().invoke(cli, ["cost", "org/shut-chat"])
        assert run.exit_code == 3
        run = CliRunner().invoke(cli, ["choose", "chat", "--license", "mit", "--limit", "1"])
        assert run.exit_code == 0
        # Half the weight is on quality, and of equal points the better on the heaviest axis comes first.
        assert "org/able-chat" in run.stdout
        assert "and 1 more" in run.stdout


@pytest.fixture
def tables():
    """The tables of Hugging Face's providers in genai-prices, by provider and model."""
    package = pytest.importorskip("genai_prices", reason="packaged prices need genai-prices")
    prices._packaged.cache_clear()
    providers = package.data_snapshot.get_snapshot().providers
    yield {
        table.id.removeprefix("huggingface_"): {model.id: model for model in table.models}
        for table in providers
        if table.id.startswith("huggingface_")
    }
    prices._packaged.cache_clear()


def packaged_cost(provider, model_id, **usage):
    """What the package itself says that tokens cost."""
    package = importlib.import_module("genai_prices")
    return float(
        package.calc_price(package.Usage(**usage), model_id, provider_id=f"huggingface_{provider}").total_price
    )


class TestGenaiPrices:
    def test_prices_are_those_of_the_package(self, tables):
        compared = 0
        for provider, models in tables.items():
            for model_id in list(models)[:2]:
                offers = prices.offers_of(ModelRecord(ids=Ids(hub=model_id)))
                (offer,) = (offer for offer in offers if offer.provider == provider)
                if offer.price_in is None or offer.price_out is None:
                    continue
                due = packaged_cost(provider, model_id, input_tokens=3_000_000, output_tokens=1_000_000)
                assert float(offer.cost(3_000_000, 1_000_000)) == pytest.approx(due)
                assert float(offer.blended(prices.read_ratio("3:1"))) == pytest.approx(due / 4)
                assert offer.source == f"genai-prices {importlib.metadata.version('genai-prices')}"
                assert offer.license == "MIT"
                compared += 1
        assert compared >= 10

    def test_they_are_joined_by_the_exact_id(self, tables):
        name = next(name for name in tables["novita"] if name != name.lower())
        listed = [ModelRecord(ids=Ids(hub=each)) for each in (name.lower(), f"{name}-2")]
        (choice, other) = om.choose(among=listed, prefer={"price": 1})
        assert choice.id == name.lower()
        assert choice.axes["price"] is not None
        assert other.axes == {"price": None}

    def test_each_provider_has_its_own_price(self, tables):
        counts = Counter(name.lower() for models in tables.values() for name in models)
        name, count = counts.most_common(1)[0]
        offers = prices.offers_of(ModelRecord(ids=Ids(hub=name)))
        assert len(offers) == len({offer.provider for offer in offers}) == count > 1

    def test_a_price_that_is_missing_stays_unknown(self, tables):
        silent = [
            (provider, name)
            for provider, models in tables.items()
            for name, model in models.items()
            if model.get_prices(datetime.now(UTC)).input_mtok is None
        ]
        for provider, name in silent:
            offers = prices.offers_of(ModelRecord(ids=Ids(hub=name)))
            (offer,) = (offer for offer in offers if offer.provider == provider)
            assert (offer.price_in, offer.blended(prices.read_ratio("3:1"))) == (None, None)
        unknown = prices.PricedOffer("one", price_in=Decimal(3))
        assert unknown.blended(prices.read_ratio("3:1")) is None
        assert unknown.cost(1_000_000, 0) == 3
        assert unknown.cost(1_000_000, 1) is None

    def test_without_the_package_there_is_none(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "genai_prices", None)
        prices._packaged.cache_clear()
        assert prices.offers_of(ModelRecord(ids=Ids(hub="openai/gpt-oss-120b"))) == []
        prices._packaged.cache_clear()

    def test_prices_of_today_go_before_those_of_the_package(self, hub, tables):
        provider, name = next((provider, name) for provider, models in tables.items() for name in models)
        row = {"provider": provider, "status": "live", "pricing": {"input": 77, "output": 77}}
        hub.rows.append({**MODELS[0], "id": name})
        hub.providers.append({"id": name, "providers": [row]})
        (choice,) = om.choose(among=[name], need={"provider": provider}, prefer={"price": 1})
        assert choice.axes == {"price": 77}
        assert choice.offer.source == "Hugging Face's router"


class TestLeaderboards:
    def test_a_saved_answer_of_artificial_analysis_needs_aliases(self, tmp_path):
        index = "artificial_analysis_intelligence_index"
        rows = [{"slug": "model-a", "name": "Model A", "evaluations": {index: 30, "other": None}}, {"slug": "b"}]
        file = tmp_path / "analysis.json"
        file.write_text(json.dumps({"data": rows}))
        table = om.read_table(file, aliases={"model-a": "org/a"})
        (choice,) = om.choose(among=[ModelRecord(ids=Ids(hub="org/a"))], prefer={f"score:{index}": 1}, tables=table)
        (value,) = choice.values.values()
        assert (value.number, "attribution" in value.license) == (30, True)
        assert "artificialanalysis.ai" in choice.reasons[0]

    def test_which_metrics_are_better_when_lower(self):
        lower = ("a/b:wer", "WikiText:perplexity", "a/b:word_error_rate", "ppl")
        higher = ("a/error-correction:acc", "a/toxicity", "a/lossless", "bench/x:t", "a/enter")
        assert [name for name in (*lower, *higher) if is_lower_better(name)] == list(lower)

    def test_a_name_that_fits_two_benchmarks_is_refused(self):
        scores = tuple(Score(value=1, benchmark=name) for name in ("a/gpqa:main", "a/gpqa:diamond"))
        record = ModelRecord(ids=Ids(hub="org/a"), scores=scores)
        with pytest.raises(om.InvalidRequest, match="several") as caught:
            om.choose(among=[record], prefer={"score:gpqa": 1})
        assert "a/gpqa:diamond" in caught.value.next_step
        assert om.choose(among=[record], prefer={"score:diamond": 1}).ranked[0].axes == {"score:diamond": 1}

    def test_an_archived_leaderboard_in_a_card_is_marked(self):
        names = ("Open LLM Leaderboard", "https://huggingface.co/spaces/open-llm-leaderboard/open_llm_leaderboard?q=a")
        for name in (*names, "Open Medical-LLM Leaderboard", "the model's card"):
            record = ModelRecord(ids=Ids(hub="org/a"), scores=(Score(value=40, benchmark="b/x", source=name),))
            ((_, score),) = scores_of(record).items()
            assert score.source == (f"{name} (archived)" if name in names else name)


class TestShowing:
    def test_a_chart_of_matplotlib_has_the_points_and_the_front(self):
        pytest.importorskip("matplotlib", reason="plot needs matplotlib")
        listed = [
            ModelRecord(ids=Ids(hub=f"org/{name}"), downloads=x, likes=y)
            for name, x, y in (("a", 10, 1), ("b", 5, 7), ("c", 4, 6), ("d", 1, 9))
        ]
        front = om.pareto(listed, x="downloads", y="likes")
        axes = front.plot()
        points = sorted(tuple(map(float, point)) for dots in axes.collections for point in dots.get_offsets())
        assert points == [(1, 9), (4, 6), (5, 7), (10, 1)]
        (line,) = axes.lines
        assert list(zip(line.get_xdata(), line.get_ydata(), strict=True)) == [(1, 9), (5, 7), (10, 1)]
        assert {text.get_text() for text in axes.texts} == {"a", "b", "d"}
        assert "downloads" in axes.get_xlabel()
        assert "higher is better" in axes.get_ylabel()
        drawn = io.BytesIO()
        axes.figure.savefig(drawn, format="png")
        assert drawn.getvalue().startswith(b"\x89PNG")
        assert front.plot(axes) is axes

    def test_a_chart_without_matplotlib_says_what_to_do(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(om.MissingExtra, match="matplotlib"):
            om.pareto([], x="price", y="speed").plot()

    def test_many_axes_fit_in_the_width(self):
        names = [f"score:bench/{letter * 12}" for letter in "abcdef"]
        scores = tuple(Score(value=1, benchmark=name.removeprefix("score:")) for name in names)
        record = ModelRecord(ids=Ids(hub="organisation/" + "m" * 60), scores=scores)
        text = om.choose(among=[record], prefer=dict.fromkeys(names, 1)).to_text()
        assert "Left out for want of room" in text
        assert max(map(len, text.split("\n\n")[0].splitlines())) <= 80

    def test_names_of_strangers_are_escaped(self):
        record = ModelRecord(ids=Ids(hub="org/a"), scores=(Score(value=1, benchmark="b/<b>\x1b[31m", source="<i>"),))
        selection = om.choose(among=[record])
        assert "<i>" not in selection._repr_html_()
        assert "\x1b" not in selection.to_text()
        assert json.loads(json.dumps(selection.to_dict()))
