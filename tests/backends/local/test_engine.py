"""The step loop with the real default model: concurrency, cancelling, memory, threads, forks."""

import asyncio
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import weakref

import psutil
import pytest
import torch

import openmodels as om
from openmodels.backends.local.engines.torch import scheduler

LONG = "Write a very long story about the sea."


def engine_threads():
    return [thread for thread in threading.enumerate() if thread.name == "openmodels-local"]


@pytest.fixture(scope="module")
def exact():
    """The default model in float32: kernels for bfloat16 round differently for different numbers of rows."""
    with om.Model(om.DEFAULT_MODEL, dtype="float32") as model:
        yield model.load()


def idle(model):
    """Return whether the engine drops what was cancelled by its next step."""
    with model.backend._engine.between_steps:
        jobs = list(model.backend._engine._running)
    return all(job.cancelled for job in jobs)


def test_eight_at_once_say_what_each_says_alone(exact):
    questions = [f"Tell me something about the number {i}." for i in range(8)]
    alone = [exact.chat(question, temperature=0, max_tokens=12).text for question in questions]

    async def together():
        return await asyncio.gather(*(exact.achat(question, temperature=0, max_tokens=12) for question in questions))

    assert [reply.text for reply in asyncio.run(together())] == alone


def test_a_seed_gives_the_same_text_whatever_runs_beside_it(exact):
    options = {"temperature": 1.0, "seed": 42, "max_tokens": 12}
    alone = exact.chat("Name a fruit.", **options).text

    async def crowded():
        others = [exact.achat("Name a tree.", temperature=1.0, max_tokens=12) for _ in range(3)]
        return (await asyncio.gather(*others, exact.achat("Name a fruit.", **options)))[-1]

    assert asyncio.run(crowded()).text == alone


def test_a_cancelled_task_frees_the_engine(smol):
    async def cancel():
        stream = smol.astream(LONG)
        await anext(stream)
        task = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stream.aclose()

    asyncio.run(cancel())
    assert smol.chat("Hi", max_tokens=2, timeout=10).usage.output_tokens <= 2
    assert idle(smol)


def test_a_prompt_is_cancelled_between_two_chunks(smol, monkeypatch):
    words = "sea " * 6000
    stream = smol.stream(words, timeout=0.5)
    with pytest.raises(om.DeadlineExceeded):
        next(stream)
    model_runner = smol.backend._engine.scheduler.runner
    computed = []
    execute = model_runner.execute
    monkeypatch.setattr(
        model_runner, "execute", lambda work: computed.append(sum(len(w[1]) for w in work)) or execute(work)
    )
    smol.chat("Hi", max_tokens=1)
    assert 0 < sum(computed) < 2 * scheduler.PREFILL, "the rest of the cancelled prompt was computed"


def test_usage_counts_tokens(smol):
    tokenizer = smol.backend._engine.loaded.tokenizer
    reply = smol.complete("one two three", max_tokens=5, temperature=0)
    assert reply.usage.input_tokens == len(tokenizer("one two three")["input_ids"])
    assert (reply.usage.output_tokens, reply.finish_reason) == (5, "length")


def test_what_does_not_fit_is_refused_before_the_work(smol):
    with pytest.raises(om.ContextTooLong, match=r"\d+ tokens .* 8192"):
        smol.chat("word " * 9000)


def test_two_hundred_calls_leave_no_memory_behind(smol):
    process = psutil.Process()
    for _ in range(30):
        smol.chat("Hi", max_tokens=1)
    gc.collect()
    before = process.memory_info().rss
    for i in range(200):
        smol.chat(f"Say {i}", max_tokens=1)
    gc.collect()
    assert process.memory_info().rss - before < 20e6


def test_a_forgotten_model_ends_its_thread_and_frees_its_weights():
    others = set(engine_threads())
    model = om.Model(om.DEFAULT_MODEL).load()
    thread = (set(engine_threads()) - others).pop()
    weights = weakref.ref(model.backend._engine.loaded.model)
    del model
    gc.collect()
    thread.join(10)
    gc.collect()
    assert not thread.is_alive()
    assert weights() is None


def test_closing_a_model_that_answers_interrupts_the_answer_and_a_later_call_opens_it_again():
    model = om.Model(om.DEFAULT_MODEL)
    stream = model.stream(LONG)
    next(stream)
    model.close()
    with pytest.raises(om.StreamInterrupted) as caught:
        list(stream)
    assert caught.value.partial.text
    assert model.chat("Hi", max_tokens=2).text
    model.close()


@pytest.mark.parametrize("failure", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError("no memory")])
def test_running_out_of_memory_is_typed_and_the_engine_goes_on(smol, monkeypatch, failure):
    model_runner = smol.backend._engine.scheduler.runner
    calls = []

    def forward(*inputs):
        calls.append(inputs)
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(type(model_runner._fused), "__call__", forward)
        with pytest.raises(om.OutOfMemory):
            smol.chat("Hi")
    assert calls
    assert smol.chat("Hi", max_tokens=2).text


def run_python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **options,
    )


def test_the_allocators_own_failure_is_out_of_memory_and_the_engine_goes_on():
    """A real limit on the process's memory: the prompt's scores do not fit, a short prompt does."""
    out = run_python(
        """
        import resource, psutil, openmodels as om
        model = om.Model(om.DEFAULT_MODEL).load()
        model.chat("Hi", max_tokens=2)
        room = psutil.Process().memory_info().vms + 60_000_000
        resource.setrlimit(resource.RLIMIT_AS, (room, resource.RLIM_INFINITY))
        try:
            model.chat("sea " * 7000, max_tokens=2)
        except om.OutOfMemory as error:
            print("typed:", error.next_step is not None)
        print("after:", model.chat("Hi", max_tokens=2).finish_reason)
        """
    )
    assert "typed: True" in out.stdout, out.stderr
    assert "after:" in out.stdout, out.stderr


def test_control_c_stops_a_call_and_leaves_the_model_usable():
    process = subprocess.Popen(
        [
            sys.executable,
            "-uc",
            textwrap.dedent(
                f"""
                import openmodels as om
                model = om.Model(om.DEFAULT_MODEL).load()
                try:
                    with model.stream({LONG!r}) as stream:
                        for delta in stream:
                            print("going", flush=True)
                except KeyboardInterrupt:
                    print("stopped:", bool(stream.snapshot.text))
                print("after:", model.chat("Hi", max_tokens=2).usage.output_tokens)
                """
            ),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "going\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert "stopped: True" in out
    assert "after: 2" in out


def test_a_process_that_leaves_in_the_middle_of_an_answer_ends_cleanly():
    out = run_python(
        f"""
        import openmodels as om
        stream = om.Model(om.DEFAULT_MODEL).stream({LONG!r})
        print(next(stream).text)
        """
    )
    assert (out.returncode, out.stderr) == (0, "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_in_the_middle_of_an_answer_harms_neither_side(smol):
    with smol.stream(LONG, max_tokens=24, temperature=0) as stream:
        next(stream)
        child = os.fork()
        if child == 0:
            code = 0 if smol.chat("Hi", max_tokens=2, timeout=60).usage.output_tokens else 1
            os._exit(code)
        list(stream)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert stream.reply.text == smol.chat(LONG, max_tokens=24, temperature=0).text
