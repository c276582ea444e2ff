"""`om.compare`: the grid of calls, its errors, its cache, its ceiling, what is read and shown."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.compare import calls, identity, spending
from openmodels.errors import AuthenticationFailed, ContentFiltered, ServerFailed
from openmodels.hub.offers import Provider
from openmodels.types.messages import Message

QUIET = {"progress": False}
CAPITALS = [
    {"prompt": "France", "reference": "Paris"},
    {"prompt": "Norway", "reference": ["Oslo", "Christiania"]},
    {"prompt": "Japan", "reference": "Tokyo"},
]
ANSWERS = {"France": "It is Paris.", "Norway": "oslo", "Japan": "Kyoto"}


class Oracle(Backend):
    """Answers from a table, else with the prompt; an exception in the table is raised."""

    name = "oracle"
    options = frozenset({"max_tokens", "temperature", "seed"})

    def __init__(self, rest="", *, answers=None, cost=None):
        super().__init__(rest)
        self.answers, self.cost = answers or {}, cost
        self.requests = []
        self.inside = self.most = 0

    def run(self, request):
        raise AssertionError("a comparison's calls are asynchronous")
        yield

    async def arun(self, request):
        self.requests.append(request)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(0)
            prompt = request.messages[-1].text
            answer = self.answers.get(prompt, prompt)
            if isinstance(answer, BaseException):
                raise answer
            cost = self.cost(prompt) if callable(self.cost) else self.cost
            usage = om.Usage(input_tokens=len(prompt.split()), output_tokens=len(answer.split()))
            yield om.Delta(text=answer, finish_reason="stop", usage=usage, cost=cost)
        finally:
            self.inside -= 1


def model(rest="", **options):
    return om.Model(Oracle(rest, **options), max_retries=0)


def compare(models, prompts, **options):
    return om.compare(models, prompts, **QUIET, **options)


def rows_of(comparison, name):
    return [row for row in comparison.rows if row["model"] == name]


def test_each_model_answers_each_prompt_and_is_scored():
    good, echo = model("good", answers=ANSWERS), om.Model("echo:")
    comparison = compare([good, echo], CAPITALS)
    assert comparison.models == ("oracle:good", "echo")
    assert comparison.metrics == ("contains",)
    assert [row["text"] for row in rows_of(comparison, "oracle:good")] == ["It is Paris.", "oslo", "Kyoto"]
    assert [row["scores"]["contains"] for row in rows_of(comparison, "oracle:good")] == [1, 1, 0]
    assert [row["index"] for row in comparison.rows] == [0, 1, 2, 0, 1, 2]
    row = comparison.rows[0]
    assert row["seconds"] >= row["first_token_seconds"] > 0
    assert (row["finish_reason"], row["input_tokens"], row["output_tokens"]) == ("stop", 1, 3)
    assert row["error"] is row["cost"] is None
    (pair,) = comparison.pairs
    assert (pair.a, pair.b, pair.metric, pair.wins, pair.losses, pair.ties) == (*comparison.models, "contains", 2, 0, 1)
    assert pair.verdict == "not told apart"
    assert comparison.summary[0].startswith("oracle:good answered 2 of 3, echo 0: not told apart; about ")


def test_answers_stream_so_that_the_first_token_has_its_time():
    backend = Oracle()
    compare([om.Model(backend)], ["x"])
    assert [request.stream for request in backend.requests] == [True]


def test_in_a_running_loop_and_its_twin():
    async def main():
        plain = compare([model()], ["one"])
        twin = await om.acompare([model()], ["one"], **QUIET)
        return plain.rows[0]["text"], twin.rows[0]["text"]

    assert asyncio.run(main()) == ("one", "one")


def test_models_by_name_and_twice():
    named = compare({"small": "echo:", "large": model()}, ["x"])
    assert named.models == ("small", "large")
    assert compare(["echo:", "echo:"], ["x"]).models == ("echo #1", "echo #2")


def test_a_combined_model_is_a_model_like_others(tmp_path):
    broken, spare = Oracle("broken", answers={"x": ContentFiltered("No.")}), Oracle("spare", cost=0.02)
    both = om.fallback([om.Model(broken), om.Model(spare)], on=(om.ContentFiltered,))
    comparison = compare({"combined": both, "echo": "echo:"}, ["x"], save=tmp_path / "cache.jsonl")
    assert comparison.rows[0]["text"] == "x"
    other = om.fallback([om.Model(broken)], on=(om.ContentFiltered,))
    assert calls.identify(both) != calls.identify(other)
    remote = om.fallback(["echo:", om.Model("server:m", base_url="https://models.example/v1")])
    with pytest.raises(om.InvalidRequest, match="no price"):
        compare({"combined": remote}, ["x"], max_usd=1)


class TestErrors:
    def test_a_failing_model_is_a_column_of_errors(self):
        broken = model("broken", answers={"b": ContentFiltered("No."), "c": LookupError("a bug")})
        comparison = compare([broken, "echo:"], ["a", "b", "c"])
        assert [row["error"] for row in rows_of(comparison, "oracle:broken")] == [
            None,
            "ContentFiltered: No.",
            "LookupError: a bug",
        ]
        assert [row["text"] for row in rows_of(comparison, "echo")] == ["a", "b", "c"]
        assert "oracle:broken failed on 2 of 3: ContentFiltered: No." in comparison.summary

    def test_what_would_fail_every_call_ends_the_calls_of_that_model(self):
        refused = Oracle("refused", answers=dict.fromkeys(map(str, range(30)), AuthenticationFailed("Refused.")))
        comparison = compare([om.Model(refused), "echo:"], [str(n) for n in range(30)], concurrency=2)
        assert len(refused.requests) <= 3
        assert all(row["error"] for row in rows_of(comparison, "oracle:refused"))
        assert comparison.rows[29]["error"] == "not asked after AuthenticationFailed: Refused."

    def test_a_server_that_stays_away_is_not_asked_on(self):
        away = Oracle(answers=dict.fromkeys(map(str, range(50)), ServerFailed("Down.", retryable=False)))
        compare([om.Model(away, max_retries=0)], [str(n) for n in range(50)], concurrency=2)
        assert len(away.requests) < 12

    def test_an_option_that_one_backend_refuses_is_its_error_alone(self):
        comparison = compare([model(), "echo:"], ["x"], top_p=0.5)
        assert rows_of(comparison, "oracle")[0]["error"].startswith("UnsupportedFeature: ")
        assert rows_of(comparison, "echo")[0]["text"] == "x"

    @pytest.mark.weights
    def test_a_combination_of_local_models_waits_its_turn(self):
        local = om.Model("local:org/none")
        assert calls._lane("both", om.fallback(["echo:", om.vote([local])])) == calls._lane("local", local)
        assert calls._lane("both", om.fallback(["echo:"])) == "model both"

    def test_what_every_model_refuses_is_raised(self):
        with pytest.raises(om.UnsupportedFeature, match="metric"):
            compare([model(), om.Model("echo:")], ["a"], metric=["exact"])

    def test_without_any_answer_nothing_is_told_apart(self):
        failing = model("a", answers={"France": ContentFiltered("No."), "Norway": ContentFiltered("No.")})
        comparison = compare([failing, "echo:"], CAPITALS[:2])
        (pair,) = comparison.pairs
        assert (pair.verdict, pair.prompts_needed, pair.count) == ("not told apart", None, 0)
        assert "have no prompt with a score of both" in comparison.summary[0]

    @pytest.mark.parametrize(
        ("models", "prompts", "options", "part"),
        [
            ("echo:", ["x"], {}, "models"),
            ([], ["x"], {}, "models: there is none"),
            (["echo:"], [], {}, "prompts: there is none"),
            (["echo:"], [5], {}, "item 0 is no prompt"),
            (["echo:"], [{"text": "x"}], {}, 'item 0 has no "prompt"'),
            (["echo:"], ["x"], {"metrics": ["exact"]}, "no prompt has one"),
            (["echo:"], ["x"], {"metrics": ["nearly"]}, "'nearly' is unknown"),
            (["echo:"], ["x"], {"metrics": ["regex:("]}, "no regular expression"),
            (["echo:"], ["x"], {"metrics": ["embedding"]}, '"embedding" needs a model'),
            (["echo:"], ["x"], {"repeats": 0}, "repeats"),
            (["echo:"], ["x"], {"max_usd": -1}, "max_usd"),
            (["echo:"], ["x"], {"prices": {"echo:": 5}}, "has no price"),
            (["echo:"], ["x"], {"prices": {"other:": (1, 1)}}, "none of the compared models"),
            (["server:m"], ["x"], {"max_usd": 1}, "base_url"),
        ],
    )
    def test_wrong_arguments_are_said_before_anything_is_asked(self, models, prompts, options, part):
        with pytest.raises(om.OpenModelsError, match=part.replace("(", r"\(")):
            compare(models, prompts, **options)


class TestPrompts:
    def test_files_and_rows_and_what_is_not_read(self, tmp_path):
        lines = [{**row, "cluster": "map", "tags": ["easy", "europe"], "author": "me"} for row in CAPITALS]
        jsonl = tmp_path / "p.jsonl"
        jsonl.write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
        table = tmp_path / "p.csv"
        table.write_text('prompt,reference,cluster,tags\n"Fran""ce, now",Paris,map,"easy, europe"\nJapan,,,\n')
        comparison = compare(["echo:"], str(jsonl))
        assert comparison.notes == ("Fields of the prompts that are not read: author.",)
        assert comparison.prompts[1].reference == ["Oslo", "Christiania"]
        assert (comparison.prompts[0].cluster, comparison.prompts[0].tags) == ("map", ("easy", "europe"))
        first, second = compare(["echo:"], table).prompts
        assert (first.prompt, first.reference, first.tags) == ('Fran"ce, now', "Paris", ("easy", "europe"))
        assert (second.reference, second.cluster, second.tags) == (None, None, ())

    def test_conversations_and_the_field_of_clusters(self):
        prompts = [
            {"messages": [om.system("Be brief."), om.user("one")], "document": 7},
            {"role": "user", "content": "two"},
            [Message(role="user", content="three")],
        ]
        comparison = compare(["echo:"], prompts, cluster="document")
        assert [row["text"] for row in comparison.rows] == ["one", "two", "three"]
        assert [prompt.cluster for prompt in comparison.prompts] == ["7", None, None]
        assert [prompt.text for prompt in comparison.prompts] == ["one", "two", "three"]

    @pytest.mark.parametrize(
        ("name", "text"), [("p.jsonl", "{"), ("p.txt", "x"), ("p.csv", 'prompt\n"x'), ("q.csv", "prompt\na,b\n")]
    )
    def test_a_bad_file_is_named(self, tmp_path, name, text):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(om.InvalidRequest, match=name):
            compare(["echo:"], path)

    def test_missing_values_of_a_data_frame(self):
        rows = [
            {"prompt": "x", "reference": math.nan, "cluster": math.nan, "tags": math.nan},
            {"prompt": "y", "reference": "y", "cluster": math.nan, "tags": 7},
        ]
        prompts = compare([model()], rows).prompts
        assert [(item.reference, item.cluster, item.tags) for item in prompts] == [
            (None, None, ()),
            ("y", None, ("7",)),
        ]

    def test_names_in_the_head_of_a_csv_file_are_stripped(self, tmp_path):
        path = tmp_path / "p.csv"
        path.write_text("prompt, reference\nx, x\n")
        comparison = compare([model()], path)
        assert comparison.notes == ()
        assert comparison.scores["contains"]["oracle"].mean == 1


class TestMetrics:
    @pytest.mark.parametrize(
        ("metric", "reference"), [("regex", "(open"), ("schema", {"type": "circle"}), ("schema", None)]
    )
    def test_a_bad_reference_is_said_before_anything_is_asked(self, metric, reference):
        backend = Oracle()
        with pytest.raises(om.InvalidRequest):
            compare([om.Model(backend)], ["a", {"prompt": "b", "reference": reference}], metrics=[metric])
        assert backend.requests == []

    def test_a_number_that_is_none_is_said(self):
        comparison = compare([model()], ["a", "b"], metrics=[lambda text: math.inf if text == "a" else 0.5])
        assert [row["scores"]["<lambda>"] for row in comparison.rows] == [None, 0.5]
        assert "failed on 1 answers; the first: ValueError: inf is no score" in comparison.notes[0]

    def test_an_embedder_that_fails_loses_no_answer(self):
        rows = [{"prompt": "a", "reference": "b"}]
        comparison = compare([model()], rows, metrics=["embedding"], embedder="echo:")
        assert comparison.rows[0]["text"] == "a"
        assert "The metric 'embedding' failed: UnsupportedFeature" in comparison.notes[0]

    def test_several_patterns(self):
        scores = compare([model()], ["ab"], metrics=["regex:a", "regex:c"]).rows[0]["scores"]
        assert scores == {"regex": 1.0, "regex:c": 0.0}

    @pytest.mark.parametrize(
        ("metric", "text", "reference", "score"),
        [
            ("exact", " PARIS ", "Paris", 1),
            ("exact", "Paris.", "Paris", 0),
            ("contains", "It is\n new  york", "New York", 1),
            ("regex", "id 42", r"\d{2}$", 1),
            ("regex:^id", "id 42", None, 1),
            ("numeric", "So it is 1,234.50 in all", "1234.5", 1),
            ("numeric", "−3", -3, 1),
            ("numeric", "none", 3, 0),
            ("json", '{"a": 1}', None, 1),
            ("json", "{a: 1}", None, 0),
            ("schema", '{"a": 1}', {"type": "object", "required": ["a"]}, 1),
            ("schema", '{"b": 1}', {"type": "object", "required": ["a"]}, 0),
            ("rouge_l", "the cat sat", "the cat sat", 1),
            ("chrf", "the cat sat", "the cat sat", 1),
            ("bleu", "the cat sat on the mat", "the cat sat on the mat", 1),
            ("rouge_l", "dogs", "the cat sat", 0),
        ],
    )
    def test_scores(self, metric, text, reference, score):
        comparison = compare([model(answers={"x": text})], [{"prompt": "x", "reference": reference}], metrics=[metric])
        name = metric.partition(":")[0]
        assert comparison.rows[0]["scores"][name] == pytest.approx(score)

    def test_functions_with_one_and_two_arguments(self):
        def length(text):
            return len(text)

        def same(text, reference):
            return text == reference

        def broken(text, reference):
            raise KeyError(text)

        comparison = compare(["echo:"], [{"prompt": "abc", "reference": "abc"}], metrics=[length, same, broken])
        assert comparison.rows[0]["scores"] == {"length": 3, "same": 1, "broken": None}
        assert comparison.notes == ("The metric 'broken' failed on 1 answers; the first: KeyError: 'abc'",)

    def test_a_prompt_without_reference_has_no_score(self):
        comparison = compare(["echo:"], [CAPITALS[0], "Japan"], metrics=["exact"])
        assert [row["scores"]["exact"] for row in comparison.rows] == [0, None]

    def test_embeddings_are_near_or_far(self):
        class Embedder(Backend):
            name = "embedder"
            features = frozenset({"embed"})

            def run(self, request):
                raise AssertionError
                yield

            def embed(self, request):
                table = {"Paris": [1, 0], "It is Paris.": [3, 4], "Oslo": [0, 2], "no": [0, -1]}
                return om.Embeddings(np.array([table[text] for text in request.texts], dtype=np.float32))

        answers = model(answers={"France": "It is Paris.", "Norway": "no", "Peru": " "})
        prompts = [
            {"prompt": "France", "reference": "Paris"},
            {"prompt": "Norway", "reference": "Oslo"},
            {"prompt": "Peru", "reference": "Lima"},
        ]
        comparison = compare([answers], prompts, metrics=["embedding"], embedder=om.Model(Embedder()))
        assert [row["scores"]["embedding"] for row in comparison.rows] == pytest.approx([0.6, 0, 0])

    def test_schema_of_the_call_scores_answers_that_do_not_fit(self):
        echo = om.Model("echo:", script=['{"a": 1}', "none"])
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        comparison = compare([echo], ["x", "y"], metrics=["schema"], schema=schema, concurrency=1)
        assert [row["scores"]["schema"] for row in comparison.rows] == [1, 0]
        assert comparison.rows[1]["error"].startswith("OutputInvalid")

    def test_a_missing_package_is_named_before_anything_is_asked(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "sacrebleu", None)
        asked = Oracle()
        with pytest.raises(om.MissingExtra, match=r"sacrebleu.*\[compare\]"):
            compare([om.Model(asked)], CAPITALS, metrics=["chrf"])
        assert asked.requests == []


class TestRepeats:
    def test_are_averaged_and_have_seeds_of_their_own(self):
        backend = Oracle(answers={"France": "Paris"})
        comparison = compare([om.Model(backend), "echo:"], CAPITALS, repeats=3, seed=5)
        assert len(comparison.rows) == 18
        assert sorted({request.seed for request in backend.requests}) == [5, 6, 7]
        assert comparison.pairs[0].count == 3


class TestCache:
    def test_nothing_is_asked_twice(self, tmp_path):
        file, prompts = tmp_path / "cache.jsonl", ["a", "b", "b"]
        first, again = Oracle(), Oracle()
        before = compare([om.Model(first)], prompts, save=file)
        after = compare([om.Model(again)], [*prompts, "c"], save=file)
        assert (len(first.requests), len(again.requests)) == (3, 1)
        assert [row["resumed"] for row in after.rows] == [True, True, True, False]
        assert after.rows[0]["first_token_seconds"] == before.rows[0]["first_token_seconds"]

    def test_order_and_place_do_not_count_but_content_does(self, tmp_path):
        file = tmp_path / "cache.jsonl"
        compare([model()], ["a", "b"], save=file, temperature=0.0)
        same, warmer, other = Oracle(), Oracle(), Oracle("other")
        compare([om.Model(same)], ["b", "a"], save=file, temperature=0.0)
        compare([om.Model(warmer)], ["b", "a"], save=file, temperature=0.5)
        compare([om.Model(other)], ["b", "a"], save=file, temperature=0.0)
        assert [len(backend.requests) for backend in (same, warmer, other)] == [0, 2, 2]

    def test_errors_are_asked_again(self, tmp_path):
        file = tmp_path / "cache.jsonl"
        compare([model(answers={"a": ContentFiltered("No.")})], ["a", "b"], save=file)
        again = Oracle()
        comparison = compare([om.Model(again)], ["a", "b"], save=file)
        assert [request.messages[-1].text for request in again.requests] == ["a"]
        assert comparison.rows[0]["error"] is None

    def test_two_models_that_nothing_tells_apart_are_both_asked(self, tmp_path):
        one, other = Oracle(), Oracle()
        compare([om.Model(one), om.Model(other)], ["a"], save=tmp_path / "cache.jsonl")
        assert (len(one.requests), len(other.requests)) == (1, 1)

    def test_settings_of_a_combination_count(self, tmp_path):
        def least(length):
            return lambda reply: len(reply.text) >= length

        members = [model("small", answers={"q": "sm"}), model("large", answers={"q": "large"})]
        file = tmp_path / "cache.jsonl"
        texts, resumed = [], []
        for length in (3, 1, 3):
            comparison = compare([om.cascade(members, accept=least(length))], ["q"], save=file)
            texts.append(comparison.rows[0]["text"])
            resumed.append(comparison.rows[0]["resumed"])
        assert texts == ["large", "sm", "large"]
        assert resumed == [False, False, True]

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (om.vote(["echo:a", "echo:b"]), om.vote(["echo:a", "echo:b"], how="first")),
            (
                om.vote(["echo:a"], how="judge", judge="echo:x"),
                om.vote(["echo:a"], how="judge", judge=om.Model("echo:y")),
            ),
            (om.route("fastest", ["echo:a"]), om.route("most_open", ["echo:a"])),
            (om.route(lambda _: 0, ["echo:a", "echo:b"]), om.route(lambda _: 1 - 0, ["echo:a", "echo:b"])),
        ],
    )
    def test_another_setting_is_another_model(self, one, other):
        assert identity.identify(one) == identity.identify(one)
        assert identity.identify(one) != identity.identify(other)

    @pytest.mark.weights
    def test_files_of_a_local_model_count(self, tmp_path):
        (tmp_path / "config.json").write_text("{}")
        before = calls.identify(om.Model(tmp_path))
        assert calls.identify(om.Model(tmp_path)) == before
        (tmp_path / "config.json").write_text('{"a": 1}')
        assert calls.identify(om.Model(tmp_path)) != before

    def test_keys_are_no_part_of_an_identity(self):
        models = [om.Model("server:m", base_url="http://127.0.0.1:9/v1", api_key=key) for key in ("one", "two")]
        assert calls.identify(models[0]) == calls.identify(models[1])
        other = om.Model("server:m", base_url="http://127.0.0.1:8/v1", api_key="one")
        assert calls.identify(other) != calls.identify(models[0])

    def test_a_file_of_something_else_is_left_alone(self, tmp_path):
        file = tmp_path / "letter.txt"
        file.write_text("Dear reader\n")
        with pytest.raises(om.InvalidRequest, match=r"letter\.txt"):
            compare(["echo:"], ["a"], save=file)
        assert file.read_text() == "Dear reader\n"


RUN = """
import asyncio
import sys
import openmodels as om
import openmodels.backends.base

class Counting(openmodels.backends.base.Backend):
    name = "counting"
    async def arun(self, request):
        text = request.messages[-1].text
        print(text, flush=True)
        if text == sys.argv[2]:
            await asyncio.Event().wait()
        yield om.Delta(text=text, finish_reason="stop")
    def run(self, request):
        raise AssertionError

try:
    comparison = om.compare([om.Model(Counting())], [f"p{n}" for n in range(60)], save=sys.argv[1], concurrency=1)
except KeyboardInterrupt as interrupt:
    comparison = interrupt.comparison
    print("stopped", sum(row["error"] is None for row in comparison.rows), file=sys.stderr)
"""


def start(file, stop):
    command = [sys.executable, "-c", RUN, str(file), stop]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_or_stopped_and_resumed(tmp_path, number):
    file = tmp_path / "cache.jsonl"
    with start(file, "p40") as process:
        asked = [process.stdout.readline().strip() for _ in range(41)]
        if number == signal.SIGINT:
            process.send_signal(number)
            assert process.stderr.read().split() == ["stopped", "40"]
        else:
            os.kill(process.pid, number)
    with start(file, "none") as process:
        out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert asked[:40] == [f"p{n}" for n in range(40)]
    assert out.split() == [f"p{n}" for n in range(40, 60)]


class TestCeiling:
    def test_known_prices_hold_with_many_calls_at_once(self):
        # 5 words of 1,000 $ a million are 0.005 $; the bound of a call is its bytes and max_tokens.
        backend = Oracle(answers={str(n): "one two three four" for n in range(60)})
        options = {"prices": {"oracle": (1000.0, 1000.0)}, "max_tokens": 10, "concurrency": 8}
        comparison = compare([om.Model(backend)], [str(n) for n in range(60)], max_usd=0.9, **options)
        done = [row for row in comparison.rows if row["error"] is None]
        assert backend.most > 1
        assert 0 < len(done) == len(backend.requests) < 60 * 3
        assert comparison.cost == pytest.approx(0.005 * len(done))
        assert comparison.cost <= 0.9
        built = om.Model(backend)._build_call("chat", "7", {"max_tokens": 10}, stream=False)
        bound = spending.ModelPrice((1000.0, 1000.0)).worst_cost(built.request, 1)
        tight = compare([om.Model(Oracle())], ["7"] * 30, max_usd=bound + 0.01, **options)
        errors = [row["error"] for row in tight.rows]
        # A call of 0.002 $ is made while the bound of the next is left: the sixth begins at 0.01.
        assert errors.count(None) == 6
        assert set(errors) == {None, f"not asked: it could cost more than is left of max_usd={bound + 0.01:g}"}

    @pytest.mark.parametrize(
        "costs", [lambda _: 0.01, lambda prompt: 0.001 * (1 + int(prompt) % 7)], ids=["even", "uneven"]
    )
    def test_costs_that_only_replies_state(self, costs):
        comparison = compare([model(cost=costs)], [str(n) for n in range(100)], max_usd=0.1)
        done = [row for row in comparison.rows if row["error"] is None]
        assert len(done) > 5
        assert sum(row["cost"] for row in done) == pytest.approx(comparison.cost)
        assert comparison.cost <= 0.1

    def test_a_free_model_is_not_held_back(self):
        backend = Oracle()
        comparison = compare([om.Model(backend)], [str(n) for n in range(40)], max_usd=0.01)
        assert all(row["error"] is None for row in comparison.rows)
        assert backend.most > 1

    def test_a_remote_model_without_a_price_is_refused(self):
        remote = om.Model("server:m", base_url="https://models.example/v1")
        with pytest.raises(om.InvalidRequest, match="no price of server:m is known"):
            compare([remote], ["x"], max_usd=1)

    def test_what_is_kept_costs_nothing_again(self, tmp_path):
        file = tmp_path / "cache.jsonl"
        assert compare([model(cost=0.01)], ["a", "b"], save=file, max_usd=1).cost == pytest.approx(0.02)
        comparison = compare([model(cost=0.01)], ["a", "b"], save=file, max_usd=0)
        assert comparison.cost is None
        assert [row["cost"] for row in comparison.rows] == [0.01, 0.01]

    def test_a_call_that_broke_after_work_is_counted(self):
        price = spending.ModelPrice((10.0, 10.0))
        assert spending.may_have_cost(om.StreamInterrupted("Cut."))
        assert not spending.may_have_cost(om.RateLimited("Later."))
        request = om.Model("echo:")._build_call("chat", "hello", {"max_tokens": 100, "n": 2}, stream=False).request
        tokens = spending.worst_tokens(request)
        assert tokens[0] >= 5
        assert tokens[1] == 200
        assert price.worst_cost(request, 2) == pytest.approx(2 * 10 * sum(tokens) / 1e6)

    def test_a_call_whose_members_worked_in_vain_is_counted(self):
        broken = model("b", answers={"x": ServerFailed("It is down.")})
        cascade = om.cascade([om.Model(Oracle("a", cost=0.1)), broken], accept=lambda _: False)
        with pytest.raises(om.AllModelsFailed) as caught:
            asyncio.run(cascade.achat("x"))
        assert spending.may_have_cost(caught.value)
        assert not spending.may_have_cost(om.AllModelsFailed("No member was asked."))

    def test_dry_run_asks_nothing(self, tmp_path):
        backend = Oracle()
        file = tmp_path / "cache.jsonl"
        compare([om.Model(backend)], ["aaaa" * 10], save=file)
        prices = {"oracle": (1.0, 2.0)}
        prompts = ["aaaa" * 10, "bbbb" * 10, "cccc" * 10]
        estimate = compare([om.Model(backend)], prompts, save=file, dry_run=True, prices=prices).estimate[0]
        assert len(backend.requests) == 1
        assert (estimate.calls, estimate.kept, estimate.input_tokens, estimate.output_tokens) == (2, 1, 20, 2048)
        assert 2048 * 2e-6 < estimate.cost < 2048 * 2e-6 + 1000e-6
        shown = compare([om.Model(backend)], ["x"], dry_run=True, prices=prices)
        assert "oracle: 1 call, about 0 tokens in, at most 1,024 out, at most $" in str(shown)

    @pytest.mark.parametrize(
        ("reference", "price"),
        [("hf:org/priced", (0.3, 0.9)), ("hf:org/priced:one", (0.3, 0.4)), ("hf:org/part", None)],
    )
    def test_the_highest_prices_that_the_router_may_choose_count(self, reference, price, monkeypatch):
        terms = {"one": ("0.3", "0.4"), "two": ("0.1", "0.9"), "free": (None, None), "unknown": (None, None)}

        def offers(model, *names):
            return [
                Provider(model=model, provider=name, price_in=into, price_out=out, is_free=name == "free")
                for name in names
                for into, out in [terms[name]]
            ]

        listed = {
            "org/priced": offers("org/priced", "one", "two", "free"),
            "org/part": offers("org/part", "one", "unknown"),
        }
        monkeypatch.setattr(spending, "list_router", lambda _: listed)
        models = {"m": om.Model(reference, api_key="key")}
        prices = spending.read_prices(None, models)
        assert spending.complete_prices(prices, models, []) == ([] if price else ["m"])
        assert prices["m"].price == price


class TestJudge:
    PROMPTS = ["a", "b", "c", "d"]

    def judge(self, verdict):
        class Judge(Oracle):
            name = "judge"
            options = frozenset({"temperature"})

            async def arun(self, request):
                self.requests.append(request)
                text = request.messages[-1].text
                first = text.partition("[Answer A]\n")[2].partition("\n\n[Answer B]")[0]
                second = text.partition("[Answer B]\n")[2].partition("\n\n[End]")[0]
                yield om.Delta(text=verdict(first, second), finish_reason="stop")

        return Judge()

    def test_longer_wins_in_both_orders(self):
        judge = self.judge(lambda first, second: "Answer B is a winner: B" if len(second) > len(first) else "A")
        long = model("long", answers={text: f"{text} at length" for text in self.PROMPTS})
        comparison = compare([long, "echo:"], self.PROMPTS, judge=om.Model(judge))
        (pair,) = comparison.pairs
        assert (pair.metric, pair.wins, pair.losses, pair.ties) == ("judge", 4, 0, 0)
        assert len(judge.requests) == 8
        assert comparison.judge.consistency == 1
        assert comparison.judge.first_slot_share == 0.5
        assert comparison.judge.ratings["oracle:long"][0] > comparison.judge.ratings["echo"][0]
        assert [row["scores"]["judge"] for row in comparison.rows] == [1, 1, 1, 1, 0, 0, 0, 0]

    def test_a_judge_that_likes_the_first_place_tells_nothing(self):
        judge = self.judge(lambda first, second: "A")
        other = model("other", answers={"a": "x", "b": "y", "c": "c"})
        comparison = compare([other, "echo:"], self.PROMPTS, judge=om.Model(judge))
        (pair,) = comparison.pairs
        assert (pair.wins, pair.losses, pair.ties) == (0, 0, 4)
        assert (comparison.judge.consistency, comparison.judge.first_slot_share) == (0, 1)
        assert comparison.judge.identical == 2
        assert "kept its verdict in 0% of 2 pairs" in str(comparison)

    def test_no_verdict_is_said(self):
        judge = self.judge(lambda first, second: "I cannot say.")
        comparison = compare([model("m", answers={"a": "x"}), "echo:"], ["a"], judge=om.Model(judge))
        assert comparison.judge.unreadable == 2
        assert comparison.pairs[0].count == 0

    def test_why_a_judge_fails_is_said(self):
        broken = om.Model("echo:", script=[[AuthenticationFailed("No key.")]] * 9)
        comparison = compare([model("a"), model("b", answers={"q": "x"})], ["q"], judge=broken)
        assert "No key" in str(comparison.judge)
        assert len([row for row in comparison.rows if row["text"]]) == 2

    def test_calls_are_kept_and_paid(self, tmp_path):
        file, models = tmp_path / "cache.jsonl", [model("m", answers={"a": "x"}), "echo:"]
        judge = self.judge(lambda first, second: "tie")
        compare(models, ["a"], judge=om.Model(judge), save=file)
        compare(models, ["a"], judge=om.Model(judge), save=file)
        assert len(judge.requests) == 2


class TestShown:
    def comparison(self):
        return compare(
            {"<b>good</b>": model(answers=ANSWERS, cost=0.5), "echo": "echo:"}, CAPITALS, metrics=["contains", "exact"]
        )

    def test_table_and_html_of_a_notebook(self):
        comparison = self.comparison()
        table = comparison.table().splitlines()
        assert table[0].split()[:3] == ["model", "contains", "exact"]
        assert "67% [21%, 94%]" in table[1]
        assert "$1.5000" in table[1]
        html = comparison._repr_html_()
        assert "&lt;b&gt;good" in html
        assert "<b>" not in html

    def test_rows_as_a_file_and_a_data_frame(self, tmp_path):
        comparison = self.comparison()
        comparison.save(tmp_path / "rows.jsonl")
        rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
        assert [row["text"] for row in rows] == [row["text"] for row in comparison.rows]
        assert rows[1]["prompt"] == "Norway"
        assert rows[1]["reference"] == ["Oslo", "Christiania"]
        frame = (
            pytest.importorskip("pandas", reason="to_pandas is for those who have pandas") and comparison.to_pandas()
        )
        assert list(frame["contains"]) == [1, 1, 0, 0, 0, 0]

    def test_plot(self):
        pytest.importorskip("matplotlib", reason="plot needs matplotlib")
        axes = self.comparison().plot()
        assert [label.get_text() for label in axes.get_yticklabels()] == ["<b>good</b>", "echo"]

    def test_groups_of_three(self):
        right = {str(n): "yes" for n in range(12)}
        prompts = [{"prompt": str(n), "reference": "yes"} for n in range(12)]
        nearly = right | {"3": "no"}
        comparison = compare({"a": model(answers=right), "b": model(answers=nearly), "c": "echo:"}, prompts)
        assert comparison.groups["contains"] == [("a", "b"), ("c",)]
        assert comparison.summary[-1] == "from the best down: a and b are not told apart; c alone."
        assert [pair.verdict for pair in comparison.pairs] == ["not told apart", "better", "better"]
        assert math.isclose(comparison.pairs[1].p_adjusted, 3 * comparison.pairs[1].p_value)
