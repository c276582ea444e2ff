"""Streams: the assembler, what is kept of an unfinished answer, and who stops the work."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from hypothesis import given, strategies as st

import openmodels as om
from openmodels.backends.base import Backend
from openmodels.core.stream import ReplyAssembler
from openmodels.testing import SURFACES, Driver, wait_until

DELTAS = st.lists(
    st.builds(
        om.Delta,
        text=st.text(max_size=5),
        reasoning=st.text(max_size=5),
        tool_calls=st.just(()) | st.just((om.ToolCall(id="1", name="f", arguments={}, raw="{}"),)),
        usage=st.none() | st.builds(om.Usage, output_tokens=st.integers(0, 9)),
        model=st.none() | st.just("m"),
    )
)


@given(DELTAS)
def test_fold_keeps_everything_in_order(deltas):
    assembler = ReplyAssembler("echo:")
    for delta in deltas:
        assembler.add(delta)
    reply = assembler.snapshot()
    assert reply.text == "".join(delta.text for delta in deltas)
    assert reply.reasoning == "".join(delta.reasoning for delta in deltas)
    assert reply.tool_calls == tuple(call for delta in deltas for call in delta.tool_calls)
    assert reply.usage == next((delta.usage for delta in reversed(deltas) if delta.usage), om.Usage())
    with pytest.raises(om.StreamInterrupted) as caught:
        assembler.finish()
    assert caught.value.partial.text == reply.text


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ([om.Delta(text="whole", finish_reason="stop")], "stop"),
        ([om.Delta(text="whole"), om.Delta(end=True)], None),
        ([om.Delta(text="whole"), om.Delta(finish_reason="eos_token")], "eos_token"),
    ],
)
def test_finish_reason_is_never_invented(surface, script, reason):
    reply = Driver(om.Model("echo:", script=[script]), surface)("hello").reply
    assert reply.text == "whole"
    assert reply.finish_reason == reason


class CutBackend(Backend):
    """Ends without a finish reason, as a broken connection does."""

    name = "cut"

    def run(self, request):
        yield from (om.Delta(text=word) for word in self.rest.split())


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("words", ["", "half", "half an"])
def test_cut_answer_is_no_answer(surface, words):
    with pytest.raises(om.StreamInterrupted) as caught:
        Driver(om.Model(CutBackend(words)), surface)("hello")
    assert caught.value.partial.text == words.replace(" ", "")
    assert caught.value.partial.finish_reason is None
    assert caught.value.reference == f"cut:{words}"


def test_reply_only_after_the_end():
    with om.Model("echo:").stream("one two") as stream:
        assert next(stream).text == "one"
        assert not stream.finished
        assert stream.snapshot.text == "one"
        with pytest.raises(om.StreamInterrupted) as caught:
            _ = stream.reply
        assert caught.value.partial.text == "one"
        assert [delta.text for delta in stream] == [" two", ""]
    assert stream.finished
    assert stream.reply == stream.snapshot
    assert stream.reply is stream.reply
    assert list(stream) == []


def test_work_begins_with_the_first_delta_read():
    model = om.Model("echo:")
    stream = model.stream("hello")
    assert model.backend.requests == []
    stream.close()
    assert model.backend.requests == []
    assert model.backend.closed == 0


def test_break_without_a_block_stops_the_work():
    model = om.Model("echo:")
    for _ in model.stream("one two three"):
        break
    assert model.backend.closed == 1


def test_async_break_without_a_block_stops_the_work():
    model = om.Model("echo:")

    async def main():
        async for _ in model.astream("one two three"):
            break

    asyncio.run(main())
    assert model.backend.closed == 1


@pytest.mark.parametrize("surface", ["stream", "astream"])
def test_error_in_the_block_stops_the_work_and_comes_through(surface):
    model = om.Model("echo:")

    def leave():
        with model.stream("one two three") as stream:
            next(stream)
            raise LookupError("mine")

    async def aleave():
        async with model.astream("one two three") as stream:
            await anext(stream)
            raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        leave() if surface == "stream" else asyncio.run(aleave())
    assert model.backend.closed == 1


class SteppedBackend(Backend):
    """Takes each step only when told to, so that a test can act while one runs."""

    name = "stepped"

    def __init__(self, rest=""):
        super().__init__(rest)
        self.inside = threading.Event()
        self.go_on = threading.Event()
        self.ended = threading.Event()
        self.threads = set()
        self.error = None

    def run(self, request):
        try:
            yield om.Delta(text="first")
            self.threads.add(threading.current_thread())
            self.inside.set()
            self.go_on.wait(10)
            if self.error:
                raise self.error
            yield om.Delta(text="second", finish_reason="stop")
        finally:
            self.ended.set()


@pytest.mark.parametrize("error", [None, om.ServerFailed("Too late.")])
def test_closing_from_another_thread_stops_the_work_after_the_step_that_runs(error):
    backend, told = SteppedBackend(), []
    backend.error = error

    def read():
        try:
            told.extend(delta.text for delta in stream)
        except om.OpenModelsError as failure:
            told.append(type(failure))

    stream = om.Model(backend).stream("hello")
    reader = threading.Thread(target=read)
    reader.start()
    assert backend.inside.wait(10)
    stream.close()
    stream.close()
    assert not backend.ended.is_set()
    backend.go_on.set()
    assert backend.ended.wait(10)
    reader.join()
    assert told == (["first", om.ServerFailed] if error else ["first", "second"])
    assert stream.finished == (error is None)


def test_closing_from_threads_while_another_reads_raises_nothing():
    for _ in range(200):
        model, told = om.Model("echo:"), []

        def read(stream, told):
            try:
                told.extend(stream)
            except om.StreamInterrupted:
                told.append(None)

        stream = model.stream("one two three four five six seven eight nine ten")
        threads = [threading.Thread(target=read, args=(stream, told))]
        threads += [threading.Thread(target=stream.close) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert stream.finished or told[-1] is None
        assert stream._deltas.gi_frame is None


def test_closing_in_the_midst_of_its_own_step():
    class Interrupted(Backend):
        name = "interrupted"

        def run(self, request):
            yield om.Delta(text="one")
            stream.close()  # as a signal handler may
            yield om.Delta(text="two")
            raise AssertionError("the work went on")

    stream = om.Model(Interrupted()).stream("x")
    with pytest.raises(om.StreamInterrupted) as caught:
        list(stream)
    assert caught.value.partial.text == "onetwo"


@pytest.mark.parametrize("surface", ["achat", "astream"])
@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("error", [None, om.ServerFailed("Too late.")])
def test_default_arun_closes_the_backend_after_a_cancelled_step(surface, cancels, error):
    backend = SteppedBackend()
    backend.error = error

    async def main():
        task = asyncio.create_task(Driver(om.Model(backend), surface).within_loop("hello"))
        await asyncio.to_thread(backend.inside.wait, 10)
        for _ in range(cancels):
            task.cancel()
            # Let the task meet the cancellation while the step still runs.
            await asyncio.wait([task], timeout=0.01)
        assert not backend.ended.is_set()
        backend.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(backend.ended.wait, 10)

    asyncio.run(main())
    assert backend.ended.is_set()
    wait_until(lambda: not any(thread.is_alive() for thread in backend.threads))


def test_default_arun_leaves_the_loop_free():
    backend = SteppedBackend()

    async def main():
        task = asyncio.create_task(om.Model(backend).achat("hello"))
        await asyncio.to_thread(backend.inside.wait, 10)
        backend.go_on.set()  # only a free loop gets here
        return await task

    assert asyncio.run(main()).text == "firstsecond"


def test_default_arun_serves_more_calls_than_the_loops_pool_has_threads():
    backends = [SteppedBackend() for _ in range(64)]

    async def main():
        tasks = [asyncio.create_task(om.Model(backend).achat("hello")) for backend in backends]
        for backend in backends:
            await asyncio.to_thread(backend.inside.wait, 10)
        assert all(backend.inside.is_set() for backend in backends)
        for backend in backends:
            backend.go_on.set()
        return await asyncio.gather(*tasks)

    assert {reply.text for reply in asyncio.run(main())} == {"firstsecond"}


@pytest.mark.parametrize("surface", SURFACES)
@pytest.mark.parametrize("error", [om.ContentFiltered("No."), ZeroDivisionError("a bug"), StopIteration("odd")])
def test_errors_cross_to_the_caller_once(surface, error):
    backend = SteppedBackend()
    backend.error = error
    backend.go_on.set()
    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    with pytest.raises(expected) as caught:
        Driver(om.Model(backend), surface)("hello")
    assert error in (caught.value, caught.value.__cause__)
    if isinstance(error, om.ContentFiltered):
        assert caught.value.partial.text == "first"
        assert caught.value.reference == "stepped:"


class LateBackend(Backend):
    """Does not look at the deadline, which the test moves."""

    name = "late"
    finish = None
    closed = False

    def run(self, request):
        try:
            yield om.Delta(text="in time")
            self.on_late()
            yield om.Delta(text=" too late", finish_reason=self.finish)
            yield om.Delta(usage=om.Usage(output_tokens=4))
        finally:
            self.closed = True


@pytest.mark.parametrize("surface", SURFACES)
def test_core_ends_an_answer_whose_backend_forgets_the_deadline(surface, monkeypatch):
    backend = LateBackend()
    now = [1000.0]
    monkeypatch.setattr("openmodels.core.stream.time.monotonic", lambda: now[0])
    backend.on_late = lambda: now.__setitem__(0, 1700.0)
    with pytest.raises(om.DeadlineExceeded) as caught:
        Driver(om.Model(backend), surface)("hello", timeout=600)
    assert caught.value.partial.text == "in time too late"
    assert backend.closed


@pytest.mark.parametrize("surface", ["stream", "astream"])
def test_core_stops_the_work_of_a_late_answer_without_a_block(surface, monkeypatch):
    backend = LateBackend()
    now = [1000.0]
    monkeypatch.setattr("openmodels.core.stream.time.monotonic", lambda: now[0])
    backend.on_late = lambda: now.__setitem__(0, 1700.0)
    stream = getattr(om.Model(backend), surface)("hello", timeout=600)

    async def read():
        async for _ in stream:
            pass

    with pytest.raises(om.DeadlineExceeded):
        list(stream) if surface == "stream" else asyncio.run(read())
    assert backend.closed


@pytest.mark.parametrize("surface", SURFACES)
def test_whole_answer_is_given_even_if_late(surface, monkeypatch):
    backend = LateBackend()
    backend.finish = "stop"
    now = [1000.0]
    monkeypatch.setattr("openmodels.core.stream.time.monotonic", lambda: now[0])
    backend.on_late = lambda: now.__setitem__(0, 1700.0)
    reply = Driver(om.Model(backend), surface)("hello", timeout=600).reply
    assert reply.text == "in time too late"
    assert reply.usage.output_tokens == 4


@given(st.lists(st.builds(om.Delta, text=st.text(max_size=3), index=st.integers(0, 2)), max_size=12))
def test_each_answer_is_folded_by_itself(deltas):
    assembler = ReplyAssembler("echo:")
    for delta in deltas:
        assembler.add(delta)
    reply = assembler.snapshot()
    begun = sorted({delta.index for delta in deltas} - {0})
    for index, folded in zip([0, *begun], [reply, *reply.alternatives], strict=True):
        assert folded.text == "".join(delta.text for delta in deltas if delta.index == index)


@pytest.mark.parametrize("surface", SURFACES)
def test_more_answers_than_one(surface):
    answer = Driver(om.Model("echo:", script=["one fish", "two", "red"]), surface)("x", n=3, logprobs=1)
    reply = answer.reply
    assert [reply.text, *(other.text for other in reply.alternatives)] == ["one fish", "two", "red"]
    assert {other.finish_reason for other in reply.alternatives} == {"stop"}
    assert reply.usage.output_tokens == 4
    assert [entry.token for entry in reply.alternatives[1].logprobs] == ["red"]
    assert reply.logprobs[1] == om.TokenLogprob(" fish", 0.0, ((" fish", 0.0),))


def test_an_answer_that_breaks_off_keeps_the_others():
    model = om.Model("echo:", script=["whole", ["half ", om.ServerFailed("gone.", retryable=False)]])
    with pytest.raises(om.ServerFailed) as caught:
        model.chat("x", n=2)
    assert caught.value.partial.text == "whole"
    assert caught.value.partial.alternatives[0].text == "half "


def test_one_answer_without_an_end_interrupts_the_call():
    assembler = ReplyAssembler("echo:")
    assembler.add(om.Delta(text="a", finish_reason="stop"))
    assembler.add(om.Delta(text="b", index=1))
    with pytest.raises(om.StreamInterrupted):
        assembler.finish()


class Upper:
    """A validator that parses a text as itself in capitals."""

    def check_reply(self, reply):
        return reply.model_copy(update={"parsed": reply.text.upper()})


def test_the_check_sees_every_answer():
    assembler = ReplyAssembler("echo:", validators=[Upper()])
    assembler.add(om.Delta(text="a", finish_reason="stop"))
    assembler.add(om.Delta(text="b", index=1, finish_reason="stop"))
    reply = assembler.finish()
    assert (reply.parsed, reply.alternatives[0].parsed) == ("A", "B")


STREAM_LEFT_OPEN = """
import sys, threading
import __main__
sys.keeps_main = __main__  # as dill does
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import openmodels as om

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        self.wfile.write(b'data: {"choices": [{"index": 0, "delta": {"content": "word"}}]}\\n\\n')
        self.wfile.flush()
        never.wait()

    def log_message(self, *_):
        pass

never = threading.Event()
server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()
stream = om.Model("server:m", base_url=f"http://127.0.0.1:{server.server_port}/v1").stream("hello")
print(next(stream).text)
"""


def test_a_stream_left_open_ends_with_the_process():
    command = [sys.executable, "-c", STREAM_LEFT_OPEN]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (run.stdout, run.stderr, run.returncode) == ("word\n", "", 0)
