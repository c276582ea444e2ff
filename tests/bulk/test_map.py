"""`Model.map`: order, bounds, errors, files, and what stops it."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import threading

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels import retry
from openmodels.backends.base import Backend
from openmodels.bulk.journal import Journal
from openmodels.bulk.run import LOOK_AHEAD
from openmodels.testing import wait_until

SYNC, ASYNC = "map", "amap"
both = pytest.mark.parametrize("surface", [SYNC, ASYNC])


def mapped(model, surface, prompts, **options):
    """Return a run's items and its summary."""
    if surface == SYNC:
        with model.map(prompts, **options) as run:
            return list(run), run.summary

    async def items():
        async with model.amap(prompts, **options) as run:
            return [item async for item in run], run.summary

    return asyncio.run(items())


def texts(items):
    return [item.reply.text if item.reply else type(item.error).__name__ for item in items]


async def until(condition):
    for _ in iter(condition, True):
        await asyncio.sleep(0)


class Gate(Backend):
    """Answers with the prompt, in an order that a test decides; counts who is inside."""

    name = "gate"
    options = frozenset({"max_tokens", "seed"})

    def __init__(self, rest="", *, hold=0):
        super().__init__(rest)
        self.hold = hold
        self.inside = self.most = self.begun = self.cancelled = 0

    def run(self, request):
        raise AssertionError("bulk work is asynchronous")
        yield

    async def arun(self, request):
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        said = request.messages[-1].text
        try:
            # Later prompts answer sooner; none of the first ones before `hold` are inside together.
            await until(lambda: self.begun >= self.hold)
            for _ in range(40 - int(said) % 40 if said.isdigit() else 0):
                await asyncio.sleep(0)
            if said == "bad":
                raise om.ContentFiltered("No.")
            if said == "for ever":
                await asyncio.Event().wait()
            if said == "key":
                raise om.AuthenticationFailed("Refused.")
            if said == "bug":
                raise LookupError("a bug")
            yield om.Delta(text=said, finish_reason="stop", usage=om.Usage(input_tokens=2, output_tokens=3))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.inside -= 1


@both
def test_items_come_in_the_order_of_the_prompts(surface):
    model = om.Model(Gate(hold=8))
    items, summary = mapped(model, surface, (str(number) for number in range(100)), concurrency=8)
    assert texts(items) == [str(number) for number in range(100)]
    assert [item.index for item in items] == list(range(100))
    assert [item.prompt for item in items] == texts(items)
    assert (summary.succeeded, summary.failed, summary.resumed) == (100, 0, 0)
    assert (summary.input_tokens, summary.output_tokens, summary.cost) == (200, 300, None)
    assert summary.seconds > 0
    assert summary.tokens_per_second == pytest.approx(300 / summary.seconds)


@both
@pytest.mark.parametrize("concurrency", [1, 3, 16])
def test_never_more_than_so_many_at_once(surface, concurrency):
    backend = Gate(hold=concurrency)
    mapped(om.Model(backend), surface, map(str, range(200)), concurrency=concurrency)
    assert backend.most == concurrency


@both
def test_input_is_read_lazily(surface):
    read = []

    def endless():
        for number in itertools.count():
            read.append(number)
            yield str(number)

    model = om.Model("echo:")
    if surface == SYNC:
        with model.map(endless(), concurrency=2) as run:
            first = list(itertools.islice(run, 5))
    else:

        async def some():
            async with model.amap(endless(), concurrency=2) as run:
                return [await anext(run) for _ in range(5)]

        first = asyncio.run(some())
    assert texts(first) == list("01234")
    assert len(read) <= 5 + 2 * LOOK_AHEAD


@both
def test_nothing_is_done_before_it_is_asked_for(surface):
    model = om.Model("echo:")
    read = []
    getattr(model, surface)(read.append(number) or "x" for number in range(3))
    assert (read, model.backend.requests) == ([], [])


@both
def test_failures_stay_beside_the_answers(surface):
    prompts = ["1", "bad", "", 5, "2"]
    items, summary = mapped(om.Model(Gate()), surface, prompts)
    assert texts(items) == ["1", "ContentFiltered", "InvalidRequest", "InvalidRequest", "2"]
    assert (summary.succeeded, summary.failed) == (2, 3)
    assert items[0].result().text == "1"
    with pytest.raises(om.ContentFiltered) as caught:
        items[1].result()
    assert caught.value.reference == "gate:"
    assert "bad" not in repr(items[1])


@both
@pytest.mark.parametrize("word", ["key", "bug"])
def test_what_would_fail_all_ends_the_run_after_what_came_before(surface, word):
    backend, items = Gate(), []

    def run():
        with om.Model(backend).map(prompts, concurrency=2) as run:
            while True:
                items.append(next(run))

    async def arun():
        async with om.Model(backend).amap(prompts, concurrency=2) as run:
            while True:
                items.append(await anext(run))

    prompts = ["0", "1", word, *map(str, range(1000))]
    with pytest.raises(om.AuthenticationFailed if word == "key" else LookupError):
        run() if surface == SYNC else asyncio.run(arun())
    assert texts(items) == ["0", "1"]
    assert backend.begun < 10


@both
def test_an_error_of_the_input_comes_after_what_came_before(surface):
    items = []

    def broken():
        yield from ("a", "b")
        raise LookupError("mine")

    def run():
        with om.Model("echo:").map(broken()) as run:
            while True:
                items.append(next(run))

    async def arun():
        async with om.Model("echo:").amap(broken()) as run:
            while True:
                items.append(await anext(run))

    with pytest.raises(LookupError, match="mine"):
        run() if surface == SYNC else asyncio.run(arun())
    assert texts(items) == ["a", "b"]


@both
def test_a_server_that_stays_away_ends_the_run(surface):
    model = om.Model("server:m", base_url="http://127.0.0.1:9")
    with retry.override_retries(), pytest.raises(om.ConnectionFailed):
        mapped(model, surface, map(str, itertools.count()), concurrency=2)


@both
@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 0},
        {"concurrency": True},
        {"concurrency": "2"},
        {"method": "embed"},
        {"temperature": -1},
        {"tempo": 1},
        {"grammar": 'start: "a"'},
        {"prompts": "text"},
        {"prompts": 5},
    ],
)
def test_wrong_options_are_errors_at_once(surface, options):
    options = {"prompts": ["x"]} | options
    with pytest.raises(om.InvalidRequest):
        getattr(om.Model("echo:"), surface)(**options)


@both
def test_options_and_conversations_reach_the_backend(surface):
    model = om.Model("echo:")
    talk = [om.system("brief"), {"role": "user", "content": "one two three"}]
    items, _ = mapped(model, surface, [talk, om.user("x")], max_tokens=2, seed=7)
    assert texts(items) == ["one two", "x"]
    assert {(request.max_tokens, request.seed) for request in model.backend.requests} == {(2, 7)}
    assert mapped(model, surface, ["Once"], method="complete")[0][0].reply.text == "Once"
    assert model.backend.requests[-1].prompt == "Once"


def test_sync_works_inside_a_running_loop():
    async def main():
        with om.Model(Gate()).map(["1", "2"]) as run:
            return texts(run)

    assert asyncio.run(main()) == ["1", "2"]


@both
def test_leaving_stops_the_work_and_leaves_no_thread(surface, tmp_path):
    backend = Gate()
    before = set(threading.enumerate())
    prompts = ["1", *["for ever"] * 5]

    def leave():
        with om.Model(backend).map(prompts, save=tmp_path / "out.jsonl") as run:
            next(run)
            wait_until(lambda: backend.inside == 5)
        run.close()

    async def aleave():
        async with om.Model(backend).amap(prompts, save=tmp_path / "out.jsonl") as run:
            await anext(run)
            await until(lambda: backend.inside == 5)

    leave() if surface == SYNC else asyncio.run(aleave())
    assert (backend.inside, backend.cancelled) == (0, 5)
    assert set(threading.enumerate()) == before
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 1


def test_cancelling_the_task_stops_the_work():
    backend = Gate()

    async def main():
        async def work():
            async for _ in om.Model(backend).amap(["for ever"] * 5):
                pass

        task = asyncio.create_task(work())
        await until(lambda: backend.inside == 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert (backend.inside, backend.cancelled) == (0, 5)


class TestFile:
    @both
    def test_what_is_done_is_not_done_again(self, surface, tmp_path):
        file, prompts = tmp_path / "out.jsonl", [str(number) for number in range(30)]
        first, second = om.Model(Gate()), om.Model(Gate())
        some, _ = mapped(first, surface, prompts[:20], save=file)
        items, summary = mapped(second, surface, prompts, save=file)
        assert texts(items) == prompts
        assert [item.resumed for item in items] == [True] * 20 + [False] * 10
        assert [item.reply for item in items[:20]] == [item.reply for item in some]
        assert second.backend.begun == 10
        assert (summary.succeeded, summary.resumed, summary.output_tokens) == (10, 20, 30)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        assert sorted(line["index"] for line in lines) == list(range(30))

    @both
    def test_errors_are_tried_again(self, surface, tmp_path):
        file = tmp_path / "out.jsonl"
        script = ["one", [om.ServerFailed("No.", retryable=False)], "three"]
        items, _ = mapped(om.Model("echo:", script=script), surface, ["1", "2", "3"], save=file, concurrency=1)
        assert texts(items) == ["one", "ServerFailed", "three"]
        assert json.loads(file.read_text().splitlines()[1])["error"]["type"] == "ServerFailed"
        again = om.Model("echo:", script=["two"])
        items, summary = mapped(again, surface, ["1", "2", "3"], save=file)
        assert texts(items) == ["one", "two", "three"]
        assert (len(again.backend.requests), summary.resumed) == (1, 2)
        last = om.Model("echo:")
        assert texts(mapped(last, surface, ["1", "2", "3"], save=file)[0]) == ["one", "two", "three"]
        assert last.backend.requests == []

    @both
    @pytest.mark.parametrize(
        "change", [{"prompts": ["1", "3"]}, {"seed": 1}, {"rest": "other"}, {"method": "complete"}]
    )
    def test_a_change_is_noticed(self, surface, tmp_path, change):
        file = tmp_path / "out.jsonl"
        mapped(om.Model("echo:"), surface, ["1", "2"], save=file)
        before = file.read_bytes()
        change = {"prompts": ["1", "2"], "rest": ""} | change
        model = om.Model(f"echo:{change.pop('rest')}")
        with pytest.raises(om.InvalidRequest, match="another prompt or with other options"):
            mapped(model, surface, **change, save=file)
        assert file.read_bytes() == before
        assert model.backend.requests == []

    def test_a_longer_wait_is_no_change(self, tmp_path):
        mapped(om.Model("echo:"), SYNC, ["1"], save=tmp_path / "out.jsonl")
        model = om.Model("echo:", timeout=5)
        mapped(model, SYNC, ["1"], save=tmp_path / "out.jsonl", timeout=7, max_retries=0)
        assert model.backend.requests == []

    @given(cut=st.integers(0, 10_000), garbage=st.sampled_from(["", "a", '"', "ü", "\ud800", "a\u2028b\nc"]))
    def test_a_file_cut_anywhere_goes_on(self, tmp_path_factory, cut, garbage):
        file, prompts = tmp_path_factory.mktemp("bulk") / "out.jsonl", [f"{garbage}{number}" for number in range(5)]
        model = om.Model("echo:", script=[f"{garbage} said"])
        mapped(model, SYNC, [prompt.replace("\ud800", "") for prompt in prompts], save=file)
        whole = file.read_bytes()
        file.write_bytes(whole[: cut % len(whole)])
        prompts = [prompt.replace("\ud800", "") for prompt in prompts]
        items, summary = mapped(om.Model("echo:", script=["new"]), SYNC, prompts, save=file)
        assert len(items) == 5
        assert summary.resumed == [item.reply.text for item in items].count(f"{garbage} said")
        # A line that lost nothing but its newline is whole.
        lines = whole.split(b"\n")
        kept = whole[: cut % len(whole)]
        assert summary.resumed == kept.count(b"\n") + any(line and kept.endswith(b"\n" + line) for line in lines) + (
            kept == lines[0]
        )
        assert len([json.loads(line) for line in file.read_bytes().splitlines()]) == 5

    @pytest.mark.parametrize(
        "content",
        [
            "notes",
            "notes\n",
            "{}\n",
            "[]\n",
            "5\n",
            '{"index": -1, "reply": {}}\n',
            '{"index": "0", "reply": {}}\n',
            '{"index": 0}\n',
            '{"index": 0, "ke\n',
            '{"index": 0, "key": "x", "error": {}}\n\n',
        ],
    )
    def test_another_file_is_left_alone(self, tmp_path, content):
        file = tmp_path / "notes.txt"
        file.write_text(content)
        with pytest.raises(om.InvalidRequest, match="is no item of a bulk run"):
            om.Model("echo:").map(["x"], save=file)
        assert file.read_text() == content

    def test_lines_of_another_version_are_done_again(self, tmp_path):
        file = tmp_path / "out.jsonl"
        mapped(om.Model("echo:"), SYNC, ["1"], save=file)
        line = json.loads(file.read_text())
        file.write_text(json.dumps(line | {"reply": {"new_field": 1}}) + "\n")
        assert texts(mapped(om.Model("echo:"), SYNC, ["1"], save=file)[0]) == ["1"]

    @pytest.mark.skipif(os.name != "posix", reason="the lock is POSIX")
    def test_two_runs_do_not_write_one_file(self, tmp_path):
        file = tmp_path / "out.jsonl"
        with om.Model("echo:").map(["x"], save=file), pytest.raises(om.InvalidRequest, match="another run"):
            om.Model("echo:").map(["x"], save=file)
        mapped(om.Model("echo:"), SYNC, ["x"], save=file)

    def test_a_folder_that_is_not_there_is_an_os_error(self, tmp_path):
        with pytest.raises(OSError, match="No such file"):
            om.Model("echo:").map(["x"], save=tmp_path / "no" / "out.jsonl")

    @both
    def test_a_full_disk_ends_the_run(self, surface, tmp_path, monkeypatch):
        def full(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Journal, "add", full)
        with pytest.raises(OSError, match="No space"):
            mapped(om.Model("echo:"), surface, map(str, itertools.count()), save=tmp_path / "out.jsonl")

    def test_what_json_cannot_hold_is_null(self, tmp_path):
        journal = Journal(tmp_path / "out.jsonl")
        journal.add(0, "k", om.Reply(text="x", parsed=object()))
        journal.close()
        assert json.loads((tmp_path / "out.jsonl").read_text())["reply"]["parsed"] is None
