"""Requests are prepared beside the engine's thread, in fair order, within their deadlines and their context."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError
from types import SimpleNamespace

import pytest

import openmodels as om
from openmodels.backends.local.cancellable_thread import CancellableThread
from openmodels.backends.local.engines import engine_loop
from openmodels.backends.local.engines.engine_loop import EngineLoop
from openmodels.backends.local.prompt import length_check
from openmodels.testing.driver import wait_until
from openmodels.types.reply import Delta
from openmodels.types.request import ChatRequest, ResponseFormat

SCHEMA = ResponseFormat(kind="schema", json_schema={"type": "object"})


class Toy(EngineLoop):
    """Answers each prepared prompt in one step; preparing the prompt "wait" takes until `go` is set."""

    thread_name = "toy"

    def __init__(self) -> None:
        self.go = threading.Event()
        self.prepared: list[str] = []
        self.threads: set[str] = set()
        super().__init__()

    @property
    def max_running(self) -> int:
        return 2

    def _open_model(self, deadline):
        return "model"

    def _prepare(self, model, queued):
        prompt = queued.request.prompt
        if prompt.startswith("wait"):
            self.go.wait(60)
        if prompt == "wrong":
            raise om.InvalidRequest("wrong")
        self.prepared.append(prompt)
        self.threads.add(threading.current_thread().name)
        return SimpleNamespace(queued=queued, prompt=prompt)

    def _step(self, model):
        for sequence in self._running:
            sequence.queued.put(Delta(sequence.prompt, finish_reason="stop"))
        self._running.clear()

    def _translate_error(self, error, action):
        return error


@pytest.fixture
def toy():
    engine = Toy()
    yield engine
    engine.go.set()
    engine.stop(timeout=30)


def ask(engine, prompt, **options):
    out: list[object] = []
    job = engine.submit(ChatRequest(prompt=prompt, **options), out.append)
    return job, out


class TestPreparing:
    def test_one_that_takes_long_holds_no_other(self, toy):
        _, slow = ask(toy, "wait", output=SCHEMA)
        _, quick = ask(toy, "quick")
        wait_until(lambda: quick, 30)
        assert not slow
        toy.go.set()
        wait_until(lambda: slow, 30)
        assert "toy" not in toy.threads, "nothing is prepared on the engine's own thread"

    def test_many_that_take_long_leave_places_for_others(self, toy):
        slow = [ask(toy, "wait" + "x" * (engine_loop._SHORT_PROMPT + 1)) for _ in range(30)]
        _, quick = ask(toy, "quick")
        wait_until(lambda: quick, 30)
        toy.go.set()
        wait_until(lambda: all(out for _, out in slow), 30)

    def test_they_keep_their_order(self, toy):
        prompts = [str(number) for number in range(40)]
        answers = [ask(toy, prompt)[1] for prompt in prompts]
        wait_until(lambda: all(answers), 30)
        assert toy.prepared == prompts

    def test_one_that_cannot_be_prepared_ends_alone(self, toy):
        _, wrong = ask(toy, "wrong")
        _, right = ask(toy, "right")
        wait_until(lambda: wrong and right, 30)
        assert isinstance(wrong[0], om.InvalidRequest)

    def test_one_that_is_cancelled_leaves_the_queue(self, toy):
        for _ in range(engine_loop._LONG_AHEAD):
            ask(toy, "wait", output=SCHEMA)
        wait_until(lambda: len(toy._preparing) == engine_loop._LONG_AHEAD, 30)
        job, out = ask(toy, "wait later", output=SCHEMA)
        wait_until(lambda: job in toy._waiting, 30)
        job.cancel()
        assert job not in toy._waiting
        toy.go.set()
        wait_until(lambda: not toy._preparing and not toy._running, 30)
        assert not out
        assert "wait later" not in toy.prepared

    def test_stopping_ends_those_that_are_being_prepared(self, toy):
        _, out = ask(toy, "wait")
        wait_until(lambda: toy._preparing, 30)
        toy.stop()
        wait_until(lambda: out, 30)
        assert isinstance(out[0], om.StreamInterrupted)

    def test_no_prompt_stands_in_a_representation(self, toy):
        job, out = ask(toy, "a secret prompt")
        assert "secret" not in repr(job)
        wait_until(lambda: out, 30)


class TestWorker:
    """Pieces of work take turns."""

    def test_a_small_piece_does_not_wait_for_the_end_of_a_large_one(self):
        worker, steps = CancellableThread(), []
        started = threading.Event()

        def large():
            while not steps or steps[-1] != "small":
                started.set()
                steps.append("large")
                yield
            return "large"

        def small():
            steps.append("small")
            return "small"
            yield

        first = worker.submit(large())
        assert started.wait(30)
        assert worker.call(small(), time.monotonic() + 30) == "small"
        assert first.result(30) == "large"
        worker.stop(30)

    def test_a_failing_piece_harms_no_other(self):
        worker = CancellableThread()

        def fails():
            yield
            raise om.InvalidRequest("no")

        def works():
            yield
            yield
            return 7

        failed, worked = worker.submit(fails()), worker.submit(works())
        assert worked.result(30) == 7
        assert isinstance(failed.exception(30), om.InvalidRequest)
        worker.stop(30)

    def test_what_is_not_done_when_it_stops_is_interrupted(self):
        worker, go = CancellableThread(), threading.Event()

        def forever():
            while True:
                go.wait(0.01)
                yield

        running = [worker.submit(forever()) for _ in range(20)]
        running[3].cancel()
        worker.stop(30)
        for number, future in enumerate(running):
            with pytest.raises(CancelledError if number == 3 else om.StreamInterrupted):
                future.result(30)


class Letters:
    """A tokenizer whose tokens are letters; it counts the letters that it was given."""

    def __init__(self, width=1):
        self.width, self.seen = width, 0

    def __call__(self, texts, add_special_tokens=True):
        self.seen += sum(map(len, texts))
        return {"input_ids": [[0] * (len(text) // self.width) for text in texts]}


class TestLengths:
    def test_a_text_far_too_long_is_read_as_far_as_needed(self):
        tokenizer = Letters()
        with pytest.raises(om.ContextTooLong, match=r"more than \d+ tokens and .* holds 50000"):
            length_check.check_length(tokenizer, "x" * 5_000_000, 50_000, None)
        assert tokenizer.seen < 100_000

    @pytest.mark.parametrize("size", [10, 40_000, 400_000])
    def test_one_that_may_fit_is_not_refused(self, size):
        length_check.check_length(Letters(width=10), "x" * size, 40_000, None)

    def test_a_short_one_costs_nothing(self):
        tokenizer = Letters()
        length_check.check_length(tokenizer, "x" * 1000, 10, None)
        assert tokenizer.seen == 0

    def test_its_time_is_up(self):
        with pytest.raises(om.DeadlineExceeded):
            length_check.check_length(Letters(width=100), "x" * 900_000, 100_000, time.monotonic() - 1)
