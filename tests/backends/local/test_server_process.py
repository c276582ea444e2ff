"""Servers in processes of ours: started, watched, logged, stopped, never outliving us."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

import openmodels as om
from openmodels import errors, retry
from openmodels.backends.local.engines import server_process
from openmodels.backends.local.engines.server_process import READY, ManagedServer, ServerCommand
from openmodels.backends.local.engines.vllm import engine as vllm_engine
from openmodels.testing.driver import SURFACES, Driver, wait_until

KEY = "a-key-that-nobody-may-see"
SLOW = {"temperature": 0, "extra": {"ignore_eos": True}}

HELLO = f"""
import os, sys
print("hello", {KEY!r}, flush=True)
print({READY!r} + "http://127.0.0.1:1", flush=True)
sys.stdin.read()
print("good bye", flush=True)
"""


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    """Logs of these tests alone; the weights stay in the user's cache."""
    monkeypatch.setattr(server_process, "settings", SimpleNamespace(openmodels_cache_folder=lambda: tmp_path))
    return tmp_path / "logs"


@pytest.fixture
def server():
    made = []

    def make(code, **options):
        command = [sys.executable, "-c", textwrap.dedent(code), *options.pop("arguments", ())]
        made.append(ManagedServer("toy", lambda deadline: ServerCommand(command, key=KEY, **options)))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def address(server, deadline=None):
    return server.ensure(deadline).address.result()


def alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class TestLife:
    def test_starts_once_and_stops(self, server):
        toy = server(HELLO)
        assert toy.pid is None
        assert address(toy) == address(toy) == "http://127.0.0.1:1"
        pid = toy.pid
        assert alive(pid)
        toy.stop()
        toy.stop()
        assert not alive(pid)
        assert toy.pid is None

    def test_starts_again_after_a_stop(self, server):
        toy = server(HELLO)
        toy.ensure(None)
        first = toy.pid
        toy.stop()
        toy.ensure(None)
        assert alive(toy.pid)
        assert toy.pid != first

    def test_a_killed_one_is_noticed_and_started_again(self, server):
        toy = server(HELLO)
        toy.ensure(None)
        first = toy.pid
        os.kill(first, signal.SIGKILL)
        assert toy._launch.has_ended(30)
        assert "killed by SIGKILL" in toy._launch.last_words()
        assert "hello ***" in toy._launch.last_words()
        assert toy.pid is None
        toy.ensure(None)
        assert alive(toy.pid)
        assert not toy._launch.has_ended(0)

    def test_one_that_does_not_end_is_killed_with_what_it_started(self, server, monkeypatch):
        monkeypatch.setattr(server_process, "_GRACE", 0.2)
        toy = server(
            f"""
            import subprocess, sys, time
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            print("child", child.pid, flush=True)
            print({READY!r} + "http://127.0.0.1:1", flush=True)
            time.sleep(600)
            """
        )
        toy.ensure(None)
        both = toy.pid, int(toy._launch.tail[-1].split()[1])
        assert all(map(alive, both))
        toy.stop()
        wait_until(lambda: not any(map(alive, both)), 30)

    def test_the_log_is_kept_without_the_key_and_bounded(self, server, logs, monkeypatch):
        monkeypatch.setattr(server_process, "_LOG_BYTES", 10_000)
        toy = server(f"print('x' * 99 + '\\n', end='', flush=True)\nfor i in range(900): print('y' * 99)\n{HELLO}")
        toy.ensure(None)
        toy.stop()
        assert KEY not in "".join(path.read_text() for path in logs.iterdir())
        assert "good bye" in toy.log.read_text()
        assert sum(path.stat().st_size for path in logs.iterdir()) < 21_000

    def test_old_logs_go(self, server, logs, monkeypatch):
        monkeypatch.setattr(server_process, "_LOGS", 2)
        for _ in range(8):
            toy = server(HELLO)
            toy.ensure(None)
            toy.stop()
        assert len(list(logs.iterdir())) <= 5

    def test_the_key_is_in_no_representation(self, server):
        start = ServerCommand(["x"], key=KEY, stdin=KEY, environment={"A": KEY})
        assert KEY not in repr(start)


class TestStart:
    def test_one_that_ends_says_why(self, server):
        toy = server("import sys; print('no such weights'); sys.exit(3)")
        with pytest.raises(errors.LoadFailed, match=r"exit status 3.*no such weights") as caught:
            toy.ensure(None)
        assert not caught.value.retryable

    def test_an_address_behind_half_a_line_of_the_log(self, server):
        toy = server(f"""
            import sys
            print("0.01 ", end="")
            print({READY!r} + "http://127.0.0.1:1", flush=True)
            sys.stdin.read()
        """)
        assert address(toy, time.monotonic() + 60) == "http://127.0.0.1:1"

    def test_a_program_that_is_not_there(self):
        toy = ManagedServer("toy", lambda deadline: ServerCommand(["/no/such/program"], key=KEY))
        with pytest.raises(errors.LoadFailed, match="cannot be started"):
            toy.ensure(None)

    def test_a_deadline_ends_the_wait_and_not_the_start(self, server, tmp_path):
        go = tmp_path / "go"
        toy = server(f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(0.01)\n{HELLO}")
        with pytest.raises(errors.DeadlineExceeded, match="starting"):
            toy.ensure(time.monotonic() + 0.3)
        pid = toy.pid
        go.touch()
        toy.ensure(None)
        assert toy.pid == pid

    def test_a_stranger_on_the_port_is_not_taken_for_the_server(self, server):
        with socket.create_server(("127.0.0.1", 0)) as stranger:
            toy = server("import sys; sys.exit('port taken')", port=stranger.getsockname()[1])
            with pytest.raises(errors.LoadFailed, match="port taken"):
                toy.ensure(None)


HANGING = "import sys; print('reading', flush=True); sys.stdin.read()"


class TestHangingStart:
    """A server that lives and never gets ready."""

    @pytest.fixture
    def hanging(self, server):
        toy = server(HANGING)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(toy.ensure, None)
            wait_until(lambda: toy.pid and toy._launch.tail, 30)
            yield toy, first
            toy.stop()

    def test_every_caller_waits_until_its_own_deadline(self, hanging):
        toy, first = hanging
        began = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded, match="reading"):
            toy.ensure(time.monotonic() + 0.2)
        assert time.monotonic() - began < 5
        assert not first.done()
        assert toy.pid

    def test_stop_ends_it_and_those_who_wait(self, hanging):
        toy, first = hanging
        pid = toy.pid
        toy.stop()
        with pytest.raises(errors.StreamInterrupted, match="closed while"):
            first.result(30)
        assert not alive(pid)

    def test_a_process_ends_while_its_server_starts(self, tmp_path):
        code = f"""
            import sys, threading, time
            from openmodels.backends.local.engines.server_process import ManagedServer, ServerCommand
            command = ServerCommand([sys.executable, "-c", {HANGING!r}], key="k" * 9)
            toy = ManagedServer("toy", lambda deadline: command)
            threading.Thread(target=toy.ensure, args=(None,), daemon=True).start()
            while toy.pid is None:
                time.sleep(0.01)
            print(toy.pid)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, check=True
        )
        wait_until(lambda: not alive(int(done.stdout)), 30)

    def test_files_that_are_still_being_fetched_hold_nobody(self):
        go = threading.Event()

        def prepare(deadline):
            go.wait(60)
            return ServerCommand([sys.executable, "-c", HELLO], key=KEY)

        toy = ManagedServer("toy", prepare)
        with pytest.raises(errors.DeadlineExceeded):
            toy.ensure(time.monotonic() + 0.1)
        toy.stop()
        go.set()
        assert toy.pid is None
        assert address(toy) == "http://127.0.0.1:1"
        toy.stop()

    def test_a_caller_with_more_time_starts_again_what_another_had_no_time_for(self):
        deadlines = []

        def prepare(deadline):
            deadlines.append(deadline)
            if deadline is not None:
                raise errors.DeadlineExceeded("The time was up before the model was here.")
            return ServerCommand([sys.executable, "-c", HELLO], key=KEY)

        toy = ManagedServer("toy", prepare)
        with pytest.raises(errors.DeadlineExceeded):
            toy.ensure(time.monotonic() + 0.01)
        assert toy.ensure(None)
        assert None in deadlines
        toy.stop()


class TestRestarts:
    DEAD = "import sys; sys.exit('no room on the device')"

    def test_callers_share_the_starts_of_one_that_dies_at_once(self, logs):
        starts = []

        def prepare(deadline):
            starts.append(deadline)
            return ServerCommand([sys.executable, "-c", self.DEAD], key=KEY)

        def call(_):
            with pytest.raises(errors.LoadFailed, match="no room on the device") as caught:
                toy.ensure(time.monotonic() + 60)
            return caught.value

        toy = ManagedServer("toy", prepare)
        with ThreadPoolExecutor(16) as pool:
            raised = list(pool.map(call, range(48)))
        assert len(starts) <= server_process._STARTS
        assert len(set(map(id, raised))) == len(raised), "each caller has an error of its own"

    def test_one_that_keeps_dying_is_left_alone_until_it_is_stopped(self, server):
        toy = server(self.DEAD)
        for _ in range(server_process._STARTS):
            with pytest.raises(errors.LoadFailed, match="did not start"):
                toy.ensure(None)
        with pytest.raises(
            errors.LoadFailed, match=rf"{server_process._STARTS} times .*no room on the device"
        ) as caught:
            toy.ensure(None)
        assert "seconds" in caught.value.next_step
        toy.stop()
        with pytest.raises(errors.LoadFailed, match="did not start"):
            toy.ensure(None)

    def test_a_dead_one_is_no_zombie(self, server):
        toy = server(HELLO)
        toy.ensure(None)
        pid = toy.pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(pid), 30)


class TestWhoAnswers:
    """Who prints an address or holds a port is not by that the server."""

    def test_an_address_behind_another_mark_is_a_line_of_the_log(self, server):
        code = f"print({READY!r} + 'http://127.0.0.1:9', flush=True); print('own:http://127.0.0.1:2', flush=True)"
        toy = server(f"{code}; import sys; sys.stdin.read()", ready="own:")
        assert address(toy) == "http://127.0.0.1:2"

    @pytest.mark.parametrize("address", ["http://192.0.2.7:80", "http://127.0.0.1:80@192.0.2.7", "https://[::1]:3"])
    def test_an_address_elsewhere_is_refused(self, server, address):
        toy = server(f"print({READY!r} + {address!r}, flush=True)")
        with pytest.raises(errors.LoadFailed, match="did not start"):
            toy.ensure(None)

    @pytest.mark.parametrize("listens", [True, False])
    def test_the_key_goes_to_the_servers_own_port_only(self, server, listens):
        """The child hands its listening socket's port back by serving there; else this process listens."""
        serve = """
            import http.server, json, sys, threading
            class Handler(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    body = json.dumps({"data": [{"id": "model"}]}).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
            here = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
            threading.Thread(target=here.serve_forever, daemon=True).start()
            sys.stdin.read()
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            if listens:
                taken.close()
                toy = server(serve, port=port, arguments=[str(port)])
                assert address(toy, time.monotonic() + 60) == f"http://127.0.0.1:{port}"
                return
            toy = server(HANGING, port=port)
            with pytest.raises(errors.DeadlineExceeded):
                toy.ensure(time.monotonic() + 0.5)
            taken.settimeout(0.2)
            with pytest.raises(TimeoutError):
                taken.accept()


PARENT = """
import os, sys, time
import openmodels as om
model = om.Model({reference!r}, **{options!r})
model.load()
print(model.backend.describe()["pid"], flush=True)
if sys.argv[1] == "fork":
    if os.fork() == 0:
        print(model.backend.describe()["pid"], flush=True)
        time.sleep(600)
if sys.argv[1] == "exit":
    sys.exit()
time.sleep(600)
"""


def parent(tmp_path, how, **options):
    """Start a program that opens a model, as a user's would; return it and its server's number."""
    code = PARENT.format(reference=om.DEFAULT_MODEL, options=options)
    process = subprocess.Popen([sys.executable, "-c", code, how], stdout=subprocess.PIPE, text=True)
    return process, int(process.stdout.readline())


def below(pid):
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_llamacpp_does_not_survive_us(tmp_path, how):
    process, pid = parent(tmp_path, how, engine="llamacpp")
    with process:
        if how == "kill":
            assert alive(pid)
            process.kill()
        process.wait()
        wait_until(lambda: not alive(pid), 30)


def test_a_forked_child_does_not_keep_the_server_alive(tmp_path):
    process, pid = parent(tmp_path, "fork", engine="llamacpp")
    with process:
        assert process.stdout.readline() == "None\n", "the child takes the server for its own"
        (child,) = set(below(process.pid)) - {pid}
        process.kill()
        process.wait()
        wait_until(lambda: not alive(pid), 30)
        assert alive(child)
        os.kill(child, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_key_stands_in_no_list_of_processes(llamacpp):
    llamacpp.load()
    key = llamacpp.backend._engine.server.running_start.key
    assert key
    for process in psutil.process_iter():
        try:
            assert key not in " ".join(process.cmdline())
        except psutil.Error:
            continue


@pytest.fixture
def llamacpp():
    with om.Model(om.DEFAULT_MODEL, engine="llamacpp") as model:
        yield model


@pytest.mark.parametrize("surface", SURFACES)
def test_a_server_killed_in_an_answer(llamacpp, surface):
    """What had arrived is kept, the error quotes the log, and the next call starts the server again."""
    llamacpp.load()
    first = llamacpp.backend.describe()["pid"]

    def told():
        with llamacpp.stream("Tell a story.", **SLOW) as stream:
            next(stream)
            os.kill(first, signal.SIGKILL)
            for _ in stream:
                pass

    async def atold():
        async with llamacpp.astream("Tell a story.", **SLOW) as stream:
            await anext(stream)
            os.kill(first, signal.SIGKILL)
            async for _ in stream:
                pass

    tell = told if surface in ("chat", "stream") else lambda: asyncio.run(atold())
    with pytest.raises(errors.StreamInterrupted, match=r"killed by SIGKILL.*last lines: .*log: ") as caught:
        tell()
    assert caught.value.partial.text
    assert Driver(llamacpp, surface)("What is the capital of France?", temperature=0, max_tokens=16).reply.text
    assert llamacpp.backend.describe()["pid"] != first


def test_a_server_that_dies_before_an_answer(llamacpp):
    """A call that got nothing yet fails with the log's last lines; a retry would have started the server again."""
    llamacpp.load()
    engine = llamacpp.backend._engine
    pid = llamacpp.backend.describe()["pid"]
    send = engine.http.asend

    async def send_and_kill(*arguments):
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not alive(pid), 30)
        return await send(*arguments)

    engine.http.asend = send_and_kill
    with retry.override_retries(attempts=1), pytest.raises(errors.ServerFailed, match=r"SIGKILL.*last lines") as caught:
        llamacpp.chat("Hello", max_tokens=4)
    assert caught.value.retryable
    engine.http.asend = send
    assert llamacpp.chat("Hello", max_tokens=4).text


@pytest.mark.parametrize("surface", ["stream", "astream"])
def test_closing_a_model_that_answers_interrupts_the_answer(surface):
    model = om.Model(om.DEFAULT_MODEL, engine="llamacpp")

    def read():
        with model.stream("Tell a story.", **SLOW) as stream:
            next(stream)
            threading.Thread(target=model.close).start()
            for _ in stream:
                pass

    async def aread():
        async with model.astream("Tell a story.", **SLOW) as stream:
            await anext(stream)
            threading.Thread(target=model.close).start()
            async for _ in stream:
                pass

    with pytest.raises(errors.StreamInterrupted, match="closed while it answered") as caught:
        asyncio.run(aread()) if surface == "astream" else read()
    assert caught.value.partial.text
    model.close()


def test_a_file_that_llamacpp_cannot_read(tmp_path):
    from tiny import tiny_gguf

    file = tiny_gguf(tmp_path / "m.gguf", architecture="nosucharch")
    with om.Model(f"local:{file}", engine="llamacpp") as model, pytest.raises(errors.LoadFailed, match="nosucharch"):
        model.chat("hi")


VLLM = Path(__file__).parent / "vllm_stand_in.py"


@pytest.fixture
def vllm(tmp_path):
    command = tmp_path / "vllm"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {VLLM} "$@"\n')
    command.chmod(0o755)
    return str(command)


class TestVllmStandIn:
    """Start, health and end of `vllm serve`, by a program that follows its command line; no vLLM runs here."""

    def test_is_started_asked_and_stopped(self, vllm, smol):
        with om.Model(om.DEFAULT_MODEL, engine="vllm", engine_command=vllm) as model:
            reply = model.chat("one two", temperature=0.5, seed=3, stop=["x"], max_tokens=5, top_k=4)
            facts = model.backend.describe()
            pids = [facts["pid"], *below(facts["pid"])]
            assert len(pids) == 2
            assert Path(facts["path"]).is_dir()
            assert "tokens" in reply.text
        wait_until(lambda: not any(map(alive, pids)), 30)
        # What it was asked is its answer.
        for part in ('"top_k": 4', '"seed": 3', '"max_tokens": 5', '"stop": ["x", "<|im_end|>"]', '"temperature": 0.5'):
            assert part in reply.text
        assert reply.usage.input_tokens == smol.chat("one two", max_tokens=1).usage.input_tokens

    def test_scores_are_those_of_a_prompt(self, vllm, smol):
        with om.Model(om.DEFAULT_MODEL, engine="vllm", engine_command=vllm) as model:
            scores = model.score("one", [" two", " three four"])
            with pytest.raises(om.InvalidRequest, match="'prompt_logprobs'"):
                model.score("one", [" two"], extra={"prompt_logprobs": 3})
        due = smol.score("one", [" two", " three four"])
        for score, other in zip(scores, due, strict=True):
            ids = [token.id for token in score.tokens]
            assert ids == [token.id for token in other.tokens]
            assert [token.logprob for token in score.tokens] == [-number / 100 for number in ids]
            assert [token.is_likeliest for token in score.tokens] == [number % 2 == 0 for number in ids]

    def test_does_not_survive_us(self, vllm, tmp_path):
        process, pid = parent(tmp_path, "kill", engine="vllm", engine_command=vllm)
        pids = [pid, *below(pid)]
        assert len(pids) == 2
        with process:
            process.kill()
            process.wait()
            wait_until(lambda: not any(map(alive, pids)), 30)

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child whose parent was killed")
    def test_does_not_survive_its_watcher(self, vllm):
        with om.Model(om.DEFAULT_MODEL, engine="vllm", engine_command=vllm) as model:
            model.load()
            pid = model.backend.describe()["pid"]
            (inner,) = below(pid)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not alive(inner), 30)

    def test_one_that_fails_tells_its_log(self, vllm, monkeypatch):
        monkeypatch.setenv("STAND_IN_FAILS", "1")
        with (
            om.Model(om.DEFAULT_MODEL, engine="vllm", engine_command=vllm) as model,
            pytest.raises(errors.LoadFailed, match="No available memory"),
        ):
            model.chat("hi")

    def test_no_command(self):
        with pytest.raises(errors.NotConfigured, match="engine_command"):
            om.Model(om.DEFAULT_MODEL, engine="vllm", engine_command="/no/such/vllm")


class TestVllmOnACpu:
    """What it is told in variables; by itself it keeps a core idle and wants nearly all memory."""

    NAMES = ("VLLM_CPU_KVCACHE_SPACE", "VLLM_CPU_OMP_THREADS_BIND")

    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch):
        for name in self.NAMES:
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(vllm_engine.memory, "available", lambda *_: 9 * 2**30)
        monkeypatch.setattr(sys, "platform", "linux")
        self.cores(monkeypatch, 2)

    @staticmethod
    def cores(monkeypatch, count):
        monkeypatch.setattr(os, "cpu_count", lambda: count)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(count)), raising=False)

    def test_it_gets_all_of_few_cores_and_a_share_of_the_memory(self):
        assert vllm_engine._cpu_settings() == dict(zip(self.NAMES, ("2", "0-1"), strict=True))

    def test_of_many_cores_it_chooses_by_itself(self, monkeypatch):
        self.cores(monkeypatch, 64)
        assert self.NAMES[1] not in vllm_engine._cpu_settings()

    def test_what_the_user_says_stands(self, monkeypatch):
        monkeypatch.setenv(self.NAMES[0], "7")
        assert list(vllm_engine._cpu_settings()) == [self.NAMES[1]]
