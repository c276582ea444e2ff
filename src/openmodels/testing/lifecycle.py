"""Conformance: cancellation, deadlines, threads, event loops and processes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from openmodels.errors import DeadlineExceeded, StreamInterrupted
from openmodels.model import Model
from openmodels.testing.driver import PATHS, Driver, wait_until
from openmodels.testing.suite import Suite
from openmodels.types.reply import Reply

Working = Callable[[], int]


class LifecycleTests(Suite):
    """Tests of cancellation, deadlines, threads, tasks, processes and closing."""

    @pytest.mark.parametrize("surface", ["stream", "astream"])
    def test_leaving_a_stream_stops_the_work(self, slow_model: Model, surface: str, working: Working) -> None:
        """Leaving the block after the first delta stops the work.

        The model answers the next call at once.
        """

        def leave() -> Reply:
            with slow_model.stream(self.slow_prompt, **self.slow_options) as stream:
                next(stream)
                assert working()
            with pytest.raises(StreamInterrupted):
                _ = stream.reply
            return stream.snapshot

        async def aleave() -> Reply:
            async with slow_model.astream(self.slow_prompt, **self.slow_options) as stream:
                await anext(stream)
                assert working()
            with pytest.raises(StreamInterrupted):
                _ = stream.reply
            return stream.snapshot

        partial = leave() if surface == "stream" else asyncio.run(aleave())
        assert partial.finish_reason is None
        wait_until(lambda: not working(), self.stops_within)
        assert slow_model.chat(self.prompt, **self.calm(slow_model)).text

    @pytest.mark.parametrize("surface", ["achat", "astream"])
    def test_cancelling_a_task_stops_the_work(self, slow_model: Model, surface: str, working: Working) -> None:
        """Cancelling a task stops its work; the model answers the next call at once."""
        ask = Driver(slow_model, surface)

        async def cancel() -> None:
            task = asyncio.create_task(ask.within_loop(self.slow_prompt, **self.slow_options))
            await asyncio.to_thread(wait_until, working)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(wait_until, lambda: not working(), self.stops_within)
            assert (await slow_model.achat(self.prompt, **self.calm(slow_model))).text

        asyncio.run(cancel())

    def test_deadline_ends_the_call(self, slow_model: Model, surface: str, working: Working) -> None:
        """A call ends soon after its deadline; the error holds the partial reply."""
        slow_model.load()
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            Driver(slow_model, surface)(self.slow_prompt, **self.slow_options, timeout=self.deadline)
        assert time.monotonic() - start < self.deadline + self.overrun
        assert caught.value.reference == slow_model.reference
        assert caught.value.partial is not None
        assert caught.value.partial.text
        assert caught.value.partial.finish_reason is None
        wait_until(lambda: not working(), self.stops_within)

    def test_inside_a_running_loop(self, ask: Driver) -> None:
        """Every surface works inside a running event loop, as in a notebook."""
        inside = asyncio.run(ask.within_loop(self.prompt, **self.calm(ask.model)))
        assert inside.reply.text == self.usual(ask.model).text

    def test_one_model_in_many_loops(self, ask: Driver) -> None:
        """One model serves `asyncio.run` again and again."""
        options, text = self.calm(ask.model), self.usual(ask.model).text
        assert [ask(self.prompt, **options).reply.text for _ in range(3)] == [text] * 3

    def test_many_threads_at_once(self, ask: Driver) -> None:
        """Threads share a model; each gets the reply to its own prompt."""
        options = self.calm(ask.model)
        prompts = [f"{self.prompt} {number}" for number in range(4)]
        alone = [self.usual(ask.model, prompt).text for prompt in prompts]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda prompt: ask(prompt, **options).reply.text, prompts))
        self.compare(together, alone)

    @pytest.mark.parametrize("surface", ["achat", "astream"])
    def test_eight_tasks_at_once(self, model: Model, surface: str) -> None:
        """Concurrent tasks get the texts that sequential calls get."""
        ask, options = Driver(model, surface), self.calm(model)
        prompts = [f"{self.prompt} {number}" for number in range(8)]

        alone = [self.usual(model, prompt).text for prompt in prompts]

        async def main() -> list[str]:
            together = await asyncio.gather(*(ask.within_loop(prompt, **options) for prompt in prompts))
            return [answer.reply.text for answer in together]

        self.compare(asyncio.run(main()), alone)

    def compare(self, together: list[str], alone: list[str]) -> None:
        """Assert that concurrent calls give the texts of calls made alone.

        Where `rounds_alike` is False, only that each has a text.
        """
        assert all(text.strip() for text in together)
        if self.rounds_alike:
            assert together == alone

    if hasattr(os, "fork"):

        @pytest.mark.parametrize("surface", PATHS)
        @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
        def test_answers_after_a_fork(self, ask: Driver) -> None:
            """A model that has answered also answers in a forked child, which exits with 0."""
            options = self.calm(ask.model)
            text = ask(self.prompt, **options).reply.text

            def child() -> None:
                assert ask(self.prompt, **options).reply.text == text

            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join(60)
            process.kill()
            process.join()
            assert process.exitcode == 0
            assert ask(self.prompt, **options).reply.text == text

    def test_pickled_model_answers(self, model: Model) -> None:
        """A pickled and unpickled model gives the same answer."""
        with pickle.loads(pickle.dumps(model)) as copy:  # noqa: S301 - our own bytes
            assert copy.reference == model.reference
            assert copy.chat(self.prompt, **self.calm(model)).text == self.usual(model).text

    @pytest.mark.parametrize("surface", PATHS)
    def test_closed_model_opens_again(self, ask: Driver) -> None:
        """`close` is idempotent, and the next call opens the model again."""
        options = self.calm(ask.model)
        text = ask(self.prompt, **options).reply.text
        ask.model.close()
        ask.model.close()
        assert ask(self.prompt, **options).reply.text == text

    def test_loading_twice_does_no_harm(self, model: Model) -> None:
        """`load` is idempotent and returns the model."""
        assert model.load() is model.load()
        assert model.chat(self.prompt, **self.calm(model)).text
