"""`om.choose` and `om.pareto`: what they rank, reject, show and refuse."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.catalog.record import Ids, License, Lifecycle, Modalities, ModelRecord, Offer, Parameters, Score
from openmodels.choose import choosing, costs, prices
from openmodels.choose.ranking import rank
from openmodels.cli.group import cli
from openmodels.hub.offers import Provider

DAY = date(2026, 11, 30)
FACTS = json.loads(Path(__file__).with_name("choice_facts.json").read_text(encoding="utf-8"))["models"]
SMALL, UNPRICED, LARGE, UNSCORED = FACTS


def model(name, score=None, price=None, speed=None, *, benchmark="TIGER-Lab/MMLU-Pro", **fields):
    """Return a record with one score and one offer; `price` is a number, or one for input and one for output."""
    price_in, price_out = price if isinstance(price, tuple) else (price, price)
    offer = Offer(
        provider="acme",
        price_in=None if price_in is None else Decimal(str(price_in)),
        price_out=None if price_out is None else Decimal(str(price_out)),
        throughput=speed,
        as_of=DAY,
    )
    return ModelRecord(
        ids=Ids(hub=name),
        **{
            "scores": None if score is None else (Score(value=score, benchmark=benchmark, source="card", date=DAY),),
            "offers": None if price is None and speed is None else (offer,),
            **fields,
        },
    )


def real(name):
    facts = FACTS[name]
    price = (facts["price_in"], facts["price_out"]) if "price_in" in facts else None
    return model(name, facts.get("score"), price, context_length=facts.get("context"))


REAL = [real(name) for name in FACTS]
HALVES = {"quality": 0.6, "price": 0.4}


def ids(selection):
    return [choice.id for choice in selection.ranked]


class TestRanking:
    def test_published_figures_give_the_hand_checked_order(self):
        # 3:1 blends: 0.0275, 0.20125 and 0.0675. Between the two undominated models the scales are whole.
        selection = om.choose(among=REAL, prefer=HALVES)
        assert ids(selection) == [LARGE, SMALL, UNPRICED, UNSCORED]
        points = [round(choice.points, 4) for choice in selection]
        assert points == [0.6, 0.4, round(0.6 * (66.4 - 48.3) / (68.9 - 48.3), 4), 0.3079]
        assert selection.ranked[0].axes == {"quality": 68.9, "price": 0.20125}
        assert selection.ranked[1].percentiles == {"quality": pytest.approx(100 / 3), "price": 100}
        assert [choice.pareto for choice in selection] == [True, True, None, None]
        assert selection.coverage == {"quality": 3, "price": 3}

    def test_weights_turn_it_round(self):
        assert ids(om.choose(among=REAL, prefer={"quality": 4, "price": 6}))[:2] == [SMALL, LARGE]

    def test_a_weight_of_zero_drops_the_axis(self):
        with_zero = om.choose(among=REAL, prefer={"quality": 1, "price": 0})
        assert ids(with_zero) == ids(om.choose(among=REAL, prefer={"quality": 1})) == [LARGE, UNPRICED, SMALL, UNSCORED]
        assert list(with_zero.weights) == list(with_zero.ranked[0].axes) == ["quality"]

    def test_weights_count_by_their_shares_however_large(self):
        weights = om.choose(among=REAL, prefer={"quality": 1e308, "price": 1e308}).weights
        assert weights == {"price": 0.5, "quality": 0.5}

    def test_the_ratio_blends_the_price(self):
        for ratio, price in (("1:0", 0.135), ("0:1", 0.4), ((1, 1), 0.2675), (3, 0.20125)):
            (choice,) = om.choose(among=[real(LARGE)], prefer={"price": 1}, ratio=ratio)
            assert choice.axes["price"] == pytest.approx(price)

    def test_price_and_speed_are_of_one_provider(self):
        offers = (
            Offer(provider="slow", price_in=Decimal(1), price_out=Decimal(1), throughput=10),
            Offer(provider="silent", price_in=Decimal("0.1"), price_out=Decimal("0.1")),
            Offer(provider="fast", price_in=Decimal(2), price_out=Decimal(2), throughput=90),
            Offer(provider="dead", status="error", price_in=Decimal(0), price_out=Decimal(0), throughput=999),
        )
        record = model("org/a", offers=offers)
        (choice,) = om.choose(among=[record], prefer={"price": 0.6, "speed": 0.4})
        assert choice.axes == {"price": 1, "speed": 10}
        (choice,) = om.choose(among=[record], prefer={"price": 0.4, "speed": 0.6})
        assert choice.axes == {"price": 2, "speed": 90}

    def test_a_price_of_nothing_is_the_best_and_an_unknown_one_the_last(self):
        models = [model("org/paid", 50, 1), model("org/unknown", 50), model("org/free", 50, 0)]
        assert ids(om.choose(among=models, prefer=HALVES)) == ["org/free", "org/paid", "org/unknown"]

    def test_quality_is_the_benchmark_that_most_have(self):
        models = [model("org/a", 10, benchmark="few/gpqa"), model("org/b", 60), model("org/c", 70)]
        selection = om.choose(among=models, prefer={"quality": 1})
        assert selection.axes["quality"].benchmark == "TIGER-Lab/MMLU-Pro"
        assert ids(selection) == ["org/c", "org/b", "org/a"]
        assert "2 of 3" in selection.legend
        assert ids(om.choose(among=models, prefer={"score:gpqa": 1}))[0] == "org/a"

    def test_a_lower_error_rate_is_better(self):
        models = [
            model("org/a", 9.5, benchmark="speech/librispeech:wer"),
            model("org/b", 4.1, benchmark="speech/librispeech:wer"),
        ]
        assert ids(om.choose(among=models, prefer={"quality": 1})) == ["org/b", "org/a"]

    def test_shares_of_one_are_not_ranked_among_per_cent(self):
        models = [model("org/a", 0.9), model("org/b", 40.0)]
        selection = om.choose(among=models, prefer={"quality": 1})
        assert ids(selection) == ["org/b", "org/a"]
        assert selection.ranked[1].axes["quality"] is None
        assert any("org/a" in note for note in selection.notes)
        counts = [model("org/a", 1), model("org/b", 3)]
        assert om.choose(among=counts, prefer={"quality": 1}).ranked[1].axes["quality"] == 1

    def test_retirement_and_replacement_stand_in_the_reasons(self):
        life = Lifecycle(status="Deprecated", retires_on=date(2999, 1, 1), replacement="org/new")
        (choice,) = om.choose(among=[model("org/old", 1, 1, lifecycle=life)], prefer=HALVES)
        assert "2999-01-01" in str(choice)
        assert "org/new" in str(choice)


NUMBERS = st.integers(1, 40)
UNKNOWN = st.one_of(st.none(), NUMBERS)
POOLS = st.lists(st.tuples(UNKNOWN, UNKNOWN, UNKNOWN), min_size=1, max_size=7)
WEIGHTS = st.tuples(*[st.integers(0, 5)] * 3).filter(any)


def pool(rows):
    return [model(f"org/m{place}", score, price, speed) for place, (score, price, speed) in enumerate(rows)]


def preference(weights):
    return dict(zip(("score:TIGER-Lab/MMLU-Pro", "price", "speed"), weights, strict=True))


class TestProperties:
    @given(POOLS, WEIGHTS, st.randoms(use_true_random=False))
    def test_order_of_the_input_does_not_matter(self, rows, weights, random):
        models = pool(rows)
        shuffled = random.sample(models, len(models))
        assert ids(om.choose(among=models, prefer=preference(weights))) == ids(
            om.choose(among=shuffled, prefer=preference(weights))
        )

    @given(POOLS, WEIGHTS, st.data())
    def test_a_dominated_model_changes_nothing_for_the_others(self, rows, weights, data):
        models = pool(rows)
        best = data.draw(st.sampled_from(rows))
        worse = [
            None if value is None or data.draw(st.booleans()) else value - data.draw(st.integers(0, value - 1))
            for value in (best[0], best[2])
        ]
        price = None if best[1] is None else best[1] + data.draw(st.integers(0, 20))
        row = (worse[0], price, worse[1])
        before = om.choose(among=models, prefer=preference(weights))
        after = om.choose(among=[*models, model("org/worse", *row)], prefer=preference(weights))
        assert [name for name in ids(after) if name != "org/worse"] == ids(before)
        if row != best:
            assert ids(after).index("org/worse") >= 1

    @given(POOLS, WEIGHTS)
    def test_a_model_stands_before_those_it_dominates(self, rows, weights):
        selection = om.choose(among=pool(rows), prefer=preference(weights))
        used = [name for name, weight in preference(weights).items() if weight]
        for place, worse in enumerate(selection.ranked):
            for better in selection.ranked[place + 1 :]:
                values = [(better.axes[name], worse.axes[name], -1 if name == "price" else 1) for name in used]
                if all(high is not None and low is not None for high, low, _ in values):
                    assert not (
                        all(sign * high >= sign * low for high, low, sign in values)
                        and any(high != low for high, low, _ in values)
                    )

    @given(NUMBERS, NUMBERS, WEIGHTS.filter(lambda weights: weights[1]))
    def test_an_unknown_price_never_ranks_as_free(self, score, speed, weights):
        models = [model("org/a", score, None, speed), model("org/b", score, 10**6, speed)]
        assert ids(om.choose(among=models, prefer=preference(weights))) == ["org/b", "org/a"]

    @given(POOLS, WEIGHTS)
    def test_weights_of_zero_drop_the_axis(self, rows, weights):
        stated = preference(weights)
        without = {name: weight for name, weight in stated.items() if weight}
        models = pool(rows)
        assert ids(om.choose(among=models, prefer=stated)) == ids(om.choose(among=models, prefer=without))


def test_points_of_equal_models_are_equal():
    ranked = rank({"a": {"x": 2.0}, "b": {"x": 2.0}, "c": {"x": 0.0}}, {"x": 1.0})
    assert [(place.id, place.points) for place in ranked] == [("a", 1.0), ("b", 1.0), ("c", 0.0)]


class TestNeeds:
    CHAT = model(
        "org/chat",
        60,
        (0.2, 0.6),
        license=License(id="apache-2.0"),
        context_length=32768,
        languages=("en", "pt-BR"),
        modalities=Modalities(input=("text", "image"), output=("text",)),
        capabilities=("tool-calling",),
        parameters=Parameters(total=8 * 10**9),
        gated=False,
    )

    @pytest.mark.parametrize(
        ("need", "reason"),
        [
            ({"license": "mit"}, "Apache-2.0"),
            ({"license_class": "non-commercial"}, "open"),
            ({"context": "64k"}, "32,768"),
            ({"languages": ["en", "ja"]}, "ja"),
            ({"modalities": "audio"}, "audio"),
            ({"modalities": {"output": "image"}}, "image"),
            ({"schema": True}, "not known"),
            ({"provider": "other"}, "acme"),
            ({"max_price": 0.25}, "0.3"),
            ({"max_price_in": 0.1}, "0.2"),
            ({"max_price_out": "0.5"}, "0.6"),
            ({"parameters": "<=3B"}, "8,000,000,000"),
            ({"gated": True}, "no"),
            ({"region": "eu"}, "not known"),
        ],
    )
    def test_what_fails_is_named(self, need, reason):
        selection = om.choose(among=[self.CHAT], need=need)
        (rejection,) = selection.rejected
        assert not selection
        assert rejection.id == "org/chat"
        assert rejection.constraints == tuple(need)
        assert next(iter(need)) in rejection.failed
        assert reason in rejection.failed

    def test_a_region_is_known_of_no_model_and_a_note_says_so(self):
        selection = om.choose(among=[self.CHAT], need={"region": "eu"})
        assert any("no source that is read states regions" in note for note in selection.notes)
        assert "states regions" in selection.to_text()

    def test_a_provider_is_not_known_where_none_is_listed(self):
        (rejection,) = om.choose(among=[model("org/alone", 5)], need={"provider": "acme"}).rejected
        assert rejection.failed.startswith("provider: not known")

    def test_what_is_met_passes(self):
        need = {
            "license": ["mit", "apache-2.0"], "license_class": "open", "context": 32768, "language": "portuguese",
            "modality": "image", "tools": True, "provider": "ACME", "max_price": 0.3, "gated": False, "schema": False,
        }  # fmt: skip
        assert ids(om.choose(among=[self.CHAT], need=need)) == ["org/chat"]

    def test_one_provider_must_meet_all_that_providers_must_meet(self):
        offers = (
            Offer(provider="cheap", price_in=Decimal("0.1"), price_out=Decimal("0.1"), tools=False),
            Offer(provider="able", price_in=Decimal(1), price_out=Decimal(1), tools=True),
        )
        record = model("org/a", offers=offers)
        assert om.choose(among=[record], need={"tools": True}).ranked[0].offer.provider == "able"
        (rejection,) = om.choose(among=[record], need={"tools": True, "max_price": 0.5}).rejected
        assert "together" in rejection.failed

    def test_a_provider_that_failed_its_probe_meets_nothing(self):
        offers = (Offer(provider="acme", status="error", price_in=Decimal(0), price_out=Decimal(0), tools=True),)
        (rejection,) = om.choose(among=[model("org/a", offers=offers)], need={"tools": True, "max_price": 1}).rejected
        assert rejection.failed == "tools: not known; max_price: no price known"

    def test_a_class_of_licenses_is_understood_as_a_license(self):
        assert ids(om.choose(among=[self.CHAT], need={"license": "open"})) == ["org/chat"]
        (rejection,) = om.choose(among=[self.CHAT], need={"license": "non-commercial"}).rejected
        assert rejection.constraints == ("license_class",)

    def test_where_nothing_is_ranked_no_axis_is_missed(self):
        assert om.choose(among=[self.CHAT], need={"license": "mit"}).notes == ()

    def test_every_failed_constraint_is_listed(self):
        (rejection,) = om.choose(among=[self.CHAT], need={"license": "mit", "context": "64k"}).rejected
        assert rejection.constraints == ("license", "context")

    def test_another_task_is_rejected(self):
        (rejection,) = om.choose(among=[model("org/a", task="fill-mask")], task="chat-completion").rejected
        assert rejection.failed == "task: fill-mask, not text-generation"

    def test_openness_and_fit_are_judged(self, monkeypatch):
        from openmodels.openness import api

        monkeypatch.setattr(api, "openness", lambda record, profile: (_ for _ in ()).throw(om.Offline("no network")))
        (rejection,) = om.choose(among=[self.CHAT], need={"openness": "lesson"}).rejected
        assert rejection.failed == "openness: not known: no network"
        (rejection,) = om.choose(among=[ModelRecord(ids=Ids(azure="registry/service"))], need={"fit": "24GB"}).rejected
        assert rejection.constraints == ("fit",)

    @pytest.mark.parametrize(
        ("openness", "passed", "verdict", "reason"),
        [
            ("lesson", True, "closed", None),
            ("osaid-1.0", False, "open", "openness: does not meet the profile osaid-1.0: training data"),
            ("default", None, "open", "openness: is not shown to meet the profile default: training data"),
            ("training_data", False, "open", None),
            (["training_data", "default"], False, "open", "openness: does not meet the profile default: training data"),
            ("training_data", True, "partial", "openness: training_data is partial: half of it"),
        ],
    )
    def test_openness_takes_profiles_and_criteria(self, monkeypatch, openness, passed, verdict, reason):
        from openmodels.openness import api

        class FixedReport(dict):
            unmet, grade = ("training data",), "open weights"

        report = FixedReport(training_data=SimpleNamespace(verdict=verdict, reason="half of it"))
        report.passed = passed
        monkeypatch.setattr(api, "openness", lambda record, profile: report)
        selection = om.choose(among=[self.CHAT], need={"openness": openness})
        assert [item.failed for item in selection.rejected] == ([] if reason is None else [reason])

    @pytest.mark.parametrize(
        ("arguments", "known"),
        [
            ({"need": {"licence": "mit"}}, "license_class"),
            ({"need": ["tools"]}, "openness"),
            ({"need": {"openness": "wide"}}, "osaid-1.0"),
            ({"need": {"modalities": "smell"}}, "audio"),
            ({"prefer": {"cheapness": 1}}, "price"),
            ({"prefer": {"price": -1}}, "0 or more"),
            ({"prefer": {"price": float("nan")}}, "0 or more"),
            ({"prefer": {"price": 0}}, "speed"),
            ({"ratio": "cheap"}, "3:1"),
            ({"ratio": "0:0"}, "3:1"),
        ],
    )
    def test_wrong_arguments_are_refused_and_known_ones_named(self, arguments, known):
        with pytest.raises(om.InvalidRequest) as caught:
            om.choose(among=[self.CHAT], **arguments)
        assert known in f"{caught.value.cause} {caught.value.next_step}"


class TestPareto:
    def test_published_figures_give_the_hand_checked_front(self):
        result = om.pareto(REAL, x="price", y="score:MMLU-Pro")
        assert [point.id for point in result.front] == [SMALL, LARGE]
        assert result.missing == {UNPRICED: ("price",), UNSCORED: ("score:MMLU-Pro",)}
        assert "2 of 4" in result.coverage

    def test_what_is_bettered_is_no_front(self):
        models = [model("org/a", 50, 1), model("org/b", 50, 2), model("org/c", 40, 1), model("org/d", 50, 1)]
        result = om.pareto(models, x="price", y="quality")
        assert {point.id for point in result.front} == {"org/a", "org/d"}
        assert len(result) == 4

    def test_svg_holds_each_point_and_is_escaped(self):
        result = om.pareto(REAL, x="price", y="quality")
        root = ET.fromstring(result.to_svg())
        assert len(root.findall("{http://www.w3.org/2000/svg}circle")) == 2
        assert "<svg" in result._repr_html_()
        assert ET.fromstring(om.pareto([], x="price", y="speed").to_svg()).tag.endswith("svg")

    def test_a_selection_can_be_charted(self):
        selection = om.choose(among=REAL)
        assert len(om.pareto(selection, x="price", y="quality")) == 2
        assert ids(om.choose(among=selection, prefer={"price": 1}))[0] == SMALL

    def test_wrong_axes_are_refused(self):
        for axes in ({"x": "cost"}, {"x": "price", "y": "price"}, {"y": "score:"}):
            with pytest.raises(om.InvalidRequest):
                om.pareto(REAL, **axes)


def test_async_twins_return_the_same():
    async def both():
        return await om.achoose(among=REAL), await om.apareto(REAL, x="price", y="quality")

    selection, front = asyncio.run(both())
    assert selection.to_dict() == om.choose(among=REAL).to_dict()
    assert front.to_dict() == om.pareto(REAL, x="price", y="quality").to_dict()


class TestScores:
    def test_a_frozen_leaderboard_is_marked_archived(self, tmp_path):
        file = tmp_path / "contents.csv"
        file.write_text("fullname,IFEval,MMLU-PRO,Submission Date\norg/a,40.5,20.25,2024-06-12\norg/b,50,,2024-06-12\n")
        (choice, other) = om.choose(among=[model("org/a"), model("org/b")], prefer={"score:ifeval": 1}, tables=[file])
        assert (choice.id, other.id) == ("org/b", "org/a")
        assert choice.values["score:ifeval"].source == "Open LLM Leaderboard v2 (archived)"
        assert choice.values["score:ifeval"].as_of == date(2024, 6, 12)

    def test_names_are_joined_by_an_alias_or_not_at_all(self, tmp_path):
        file = tmp_path / "board.json"
        file.write_text(json.dumps([{"model": "Model A", "x_score": 7}, {"model": "Model B", "x_score": 8}]))
        table = om.read_table(file, aliases={"model a": "org/a"})
        selection = om.choose(among=[model("org/a"), model("org/Model-B")], prefer={"score:x": 1}, tables=table)
        assert selection.ranked[0].axes == {"score:x": 7}
        assert selection.ranked[1].axes == {"score:x": None}
        assert any("Model B" in note for note in selection.notes)

    def test_a_model_is_found_by_its_former_id(self, tmp_path):
        file = tmp_path / "board.jsonl"
        file.write_text('{"model_id": "old/name", "gpqa_score": 30, "mmluPro_score": 40, "aggregate_score": 35}\n')
        (choice,) = om.choose(among=[model("new/name", renamed_from=("old/name",))], tables=file)
        assert choice.values["quality"].license == "MIT"
        assert choice.axes["quality"] == 30

    @pytest.mark.parametrize(
        ("listed", "asked"),
        [
            ("meta-llama/Meta-Llama-3.1-70B-Instruct", "meta-llama/Llama-3.1-70B-Instruct"),
            ("THUDM/glm-4-9b-chat-hf", "zai-org/glm-4-9b-chat-hf"),
            ("CohereLabs/aya-23-8B", "CohereForAI/aya-23-8B"),
        ],
    )
    def test_former_ids_of_a_table_are_joined_either_way(self, tmp_path, listed, asked):
        file = tmp_path / "board.csv"
        file.write_text(f"fullname,IFEval,MMLU-PRO\n{listed},61.5,30\nmeta-llama/Meta-Llama-3-8B,1,1\n")
        prefer = {"score:ifeval": 1}
        assert om.choose(among=[model(asked)], prefer=prefer, tables=file).ranked[0].axes == {"score:ifeval": 61.5}
        other = om.choose(among=[model("meta-llama/Llama-3-8B")], prefer=prefer, tables=file)
        assert other.ranked[0].axes == {"score:ifeval": None}

    def test_of_several_runs_the_verified_and_then_the_newest_counts(self):
        runs = [(50, None, date(2026, 1, 1)), (60, True, date(2025, 1, 1)), (70, None, date(2026, 2, 1))]
        listed = tuple(Score(value=v, benchmark="b/x", verified=ok, date=day) for v, ok, day in runs)
        (choice,) = om.choose(among=[model("org/a", scores=listed)])
        assert choice.axes["quality"] == 60

    @pytest.mark.parametrize("text", ["a,b\n1,2\n", ""])
    def test_a_file_without_scores_is_refused(self, tmp_path, text):
        file = tmp_path / "board.csv"
        file.write_text(text)
        with pytest.raises(om.InvalidRequest):
            om.read_table(file)


class TestCommands:
    @pytest.fixture(autouse=True)
    def catalog(self, monkeypatch):
        def info(name):
            if name not in FACTS:
                raise om.ModelNotFound(f"No catalog has {name}.")
            return ModelRecord(ids=Ids(hub=name), scores=real(name).scores)

        listed = {
            name.lower(): [
                Provider(
                    model=name,
                    provider="novita",
                    price_in=Decimal(facts["price_in"]),
                    price_out=Decimal(facts["price_out"]),
                ),
                Provider(model=name, provider="nobody"),
            ]
            for name, facts in FACTS.items()
            if "price_in" in facts
        }
        monkeypatch.setattr(choosing, "info", info)
        monkeypatch.setattr(costs, "info", info)
        monkeypatch.setattr(prices, "list_router", lambda notes: listed)
        monkeypatch.setattr(prices, "_packaged", dict)

    def run(self, *arguments):
        return CliRunner().invoke(cli, list(arguments), catch_exceptions=False)

    def test_choose(self):
        result = self.run("choose", "--among", LARGE, "--among", SMALL, "--prefer", "quality=.6,price=.4")
        assert result.exit_code == 0
        assert result.stdout.index(LARGE) < result.stdout.index(SMALL)
        assert "quality (score:TIGER-Lab/MMLU-Pro) 60% (2 of 2 have it)" in " ".join(result.stdout.split())
        assert max(map(len, result.stdout.splitlines())) <= 80

    def test_choose_as_json(self):
        result = self.run("choose", "--among", LARGE, "--among", SMALL, "--max-price", "0.1", "--json")
        answer = json.loads(result.stdout)
        assert [choice["id"] for choice in answer["ranked"]] == [SMALL]
        assert answer["rejected"][0]["constraints"] == ["max_price"]
        assert answer["ranked"][0]["values"]["price"]["source"]

    def test_exit_codes_of_choose(self):
        assert self.run("choose", "--among", LARGE, "--max-price", "0.001").exit_code == 3
        assert self.run("choose", "--among", "org/none").exit_code == 3
        assert self.run("choose", "--among", LARGE, "--prefer", "quality").exit_code == 2

    def test_cost(self):
        result = self.run("cost", LARGE, "--in", "5k", "--out", "1k", "--calls", "100k", "--json")
        answer = json.loads(result.stdout)
        # 5,000 at $0.135 and 1,000 at $0.40 a million: $0.001075 a call.
        assert [item["provider"] for item in answer["costs"]] == ["novita", "nobody"]
        assert answer["costs"][0]["cost_per_call"] == 0.001075
        assert answer["costs"][0]["cost"] == 107.5
        assert answer["costs"][1]["cost"] is None
        table = self.run("cost", LARGE, "--in", "5k", "--out", "1k", "--calls", "100k")
        assert "$107.50" in table.stdout

    def test_exit_codes_of_cost(self):
        assert self.run("cost", UNPRICED).exit_code == 3
        assert self.run("cost", LARGE, "--in", "many").exit_code == 2
