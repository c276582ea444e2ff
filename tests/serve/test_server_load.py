"""Queues, clients that leave or do not read, budgets, memory, and the end of the server."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time

import httpx2
import pytest
from fake_backend import FakeBackend
from running_server import KEY, running

import openmodels as om
from openmodels.serve import admission, exchange, served_models
from openmodels.serve.failures import Refusal
from openmodels.serve.keys import ApiKey, digest


def body(text, **fields):
    return {"model": "fake", "messages": [{"role": "user", "content": text}], **fields}


def wait_until(is_so, seconds=3.0):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def connect(server, request, *, size=None):
    """Send a chat, and return the socket without reading the answer."""
    data = json.dumps(request).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-api-key: {KEY}\r\n"
    head += f"content-length: {len(data)}\r\n\r\n"
    connection = socket.socket()
    if size is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    connection.connect(("127.0.0.1", int(server.address.rpartition(":")[2])))
    connection.sendall(head.encode() + data)
    return connection


class TestClients:
    @pytest.mark.parametrize("streams", [True, False])
    def test_one_that_leaves_frees_its_work(self, server, backend, streams):
        with connect(server, body("dawdle", stream=streams)) as connection:
            if streams:
                assert connection.recv(1000)
            wait_until(lambda: backend.running == 1)
        wait_until(lambda: not (backend.running or server.app.state.admission.active), 1.0)

    def test_many_leave_nothing_behind(self, server, backend):
        for _ in range(10):
            crowd = [connect(server, body("dawdle", stream=True)) for _ in range(10)]
            for connection in crowd:
                connection.close()
        state = server.server_state
        wait_until(lambda: not (backend.running or state.connections or state.tasks))
        assert server.app.state.admission.active == server.app.state.admission.waiting == 0

    def test_one_that_leaves_the_queue(self):
        backend = FakeBackend()
        with running({"fake": om.Model(backend)}, max_running=1) as server:
            first = connect(server, body("dawdle", stream=True))
            wait_until(lambda: backend.running == 1)
            with connect(server, body("hi")):
                wait_until(lambda: server.app.state.admission.waiting == 1)
            wait_until(lambda: server.app.state.admission.waiting == 0)
            first.close()
            wait_until(lambda: server.app.state.admission.active == 0)

    def test_one_that_does_not_read(self):
        backend = FakeBackend()
        limits = exchange.RequestLimits(send_seconds=0.3)
        with running({"fake": om.Model(backend)}, limits=limits) as server:
            with connect(server, body("flood", stream=True), size=4096):
                wait_until(lambda: backend.running == 1)
                # The model waits for the reader, and the reader is given up.
                wait_until(lambda: backend.running == 0, 3.0)
            with httpx2.Client(base_url=server.address, headers={"x-api-key": KEY}) as http:
                assert http.post("/v1/chat/completions", json=body("hi")).status_code == 200


class TestQueue:
    def test_more_than_the_queue_holds_are_refused(self):
        backend = FakeBackend()
        with running({"fake": om.Model(backend)}, max_running=1, max_waiting=1, longest_wait=0.3) as server:
            with httpx2.Client(base_url=server.address, headers={"x-api-key": KEY}) as http:
                first = connect(server, body("dawdle", stream=True))
                wait_until(lambda: backend.running == 1)
                second = connect(server, body("hi"))
                wait_until(lambda: server.app.state.admission.waiting == 1)
                answer = http.post("/v1/chat/completions", json=body("hi"))
                assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
                assert int(answer.headers["retry-after"]) >= 1
                assert b"429" in second.recv(100)  # it has waited too long
                first.close()
                wait_until(lambda: server.app.state.admission.active == 0)
                assert http.post("/v1/chat/completions", json=body("hi")).status_code == 200
            second.close()

    def test_each_key_gets_its_turn(self):
        order = []

        async def request(queue, key, number):
            async with queue.enter(key):
                order.append((key, number))
                await asyncio.sleep(0)

        async def run():
            queue = admission.Admission(1, 100, 5.0)
            async with queue.enter("first"):
                many = [asyncio.create_task(request(queue, "many", number)) for number in range(5)]
                await asyncio.sleep(0)
                few = asyncio.create_task(request(queue, "few", 0))
                await asyncio.sleep(0)
            await asyncio.gather(few, *many)
            assert (queue.active, queue.waiting, queue.running) == (0, 0, {})

        asyncio.run(run())
        assert order.index(("few", 0)) <= 1

    def test_one_key_does_not_fill_the_queue(self):
        async def run():
            queue = admission.Admission(1, 4, 5.0)
            async with queue.enter("a"):
                tasks = [asyncio.create_task(queue.enter("b").__aenter__()) for _ in range(1)]
                tasks += [asyncio.create_task(queue.enter("a").__aenter__()) for _ in range(3)]
                await asyncio.sleep(0)
                assert queue.waiting == 3
                refused = [task for task in tasks if task.done()]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                assert [type(task.exception()) for task in refused] == [Refusal]
            assert (queue.active, queue.waiting) == (0, 0)

        asyncio.run(run())


class TestBudgets:
    def test_tokens(self):
        keys = [ApiKey("poor", digest(KEY), max_tokens=60), ApiKey("rich", digest("other"))]
        with (
            running({"fake": om.Model(FakeBackend())}, keys=keys) as server,
            httpx2.Client(base_url=server.address, headers={"x-api-key": KEY}) as http,
        ):
            assert http.post("/v1/chat/completions", json=body("hi", max_tokens=50)).status_code == 200
            assert keys[0].tokens == 10
            answer = http.post("/v1/chat/completions", json=body("hi", max_tokens=51))
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")
            other = {"x-api-key": "other"}
            assert http.post("/v1/chat/completions", json=body("hi", max_tokens=51), headers=other).status_code == 200
            assert keys[0].tokens == 10
            form = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "required": ["other"]}}}
            answer = http.post("/v1/chat/completions", json=body("hi", response_format=form))
            assert (answer.status_code, keys[0].tokens) == (422, 20)

    def test_dollars(self):
        key = ApiKey("poor", b"", max_usd=0.5)
        key.reserve(10)
        key.settle(10, om.Usage(input_tokens=1, output_tokens=2), 0.6)
        assert (key.tokens, key.usd) == (3, 0.6)
        with pytest.raises(Refusal, match=r"\$0.6000 of \$0.5000"):
            key.reserve(0)


class TestMemory:
    def test_the_least_recently_used_is_closed(self, monkeypatch):
        backends = {name: FakeBackend(name) for name in ("a", "b", "c")}
        opened = {name: om.Model(backend) for name, backend in backends.items()}
        monkeypatch.setattr(
            served_models, "measure_memory", lambda: sum(each.loads > each.closes for each in backends.values()) * 100
        )

        async def use(models, *names):
            for name in names:
                async with models.use(models.find(name)):
                    pass

        models = served_models.ServedModels(opened, 250)
        asyncio.run(use(models, "a", "b", "a", "c"))
        assert [backend.loads - backend.closes for backend in backends.values()] == [1, 0, 1]

    def test_one_that_does_not_fit_beside_those_that_answer(self, monkeypatch):
        backends = {name: FakeBackend(name) for name in ("a", "b")}
        monkeypatch.setattr(
            served_models, "measure_memory", lambda: sum(each.loads > each.closes for each in backends.values()) * 100
        )

        async def run():
            models = served_models.ServedModels({name: om.Model(each) for name, each in backends.items()}, 150)
            async with models.use(models.find("a")):
                with pytest.raises(Refusal, match="does not fit into the memory budget of 150 bytes"):
                    async with models.use(models.find("b")):
                        pass
            async with models.use(models.find("b")):
                pass

        asyncio.run(run())
        assert [backend.loads - backend.closes for backend in backends.values()] == [0, 1]

    def test_the_measure_counts_what_is_started(self):
        assert served_models.measure_memory() > 10_000_000


class TestEnd:
    def test_running_requests_end_first(self):
        backend = FakeBackend()
        with running({"fake": om.Model(backend)}) as server:
            answers = []
            thread = threading.Thread(
                target=lambda: answers.append(
                    httpx2.post(
                        f"{server.address}/v1/chat/completions",
                        json=body("wait"),
                        headers={"x-api-key": KEY},
                        timeout=20,
                    )
                )
            )
            thread.start()
            wait_until(lambda: backend.running == 1)
            server.should_exit = True
            wait_until(lambda: server.app.state.is_draining)
            backend.release.set()
            thread.join(10)
        assert answers[0].status_code == 200
        assert backend.closes == 1

    def test_one_that_takes_too_long_is_ended_with_an_error(self):
        backend = FakeBackend()
        began = time.monotonic()
        with running({"fake": om.Model(backend)}, grace=1.5) as server:
            connection = connect(server, body("dawdle", stream=True))
            wait_until(lambda: backend.running == 1)
            server.should_exit = True
            received = b""
            while part := connection.recv(65536):
                received += part
            connection.close()
        assert b"shutting_down" in received
        assert time.monotonic() - began < 8
        assert backend.running == 0


def test_metrics(http, backend):
    http.post("/v1/chat/completions", json=body("hi"))
    http.post("/v1/chat/completions", json=body("hi", stream=True))
    http.post("/v1/chat/completions", json=body("hi", temperature="x"))
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'openmodels_requests_total{model="fake",path="/v1/chat/completions",status="200"}' in answer.text
    assert 'openmodels_tokens_total{kind="output",model="fake"}' in answer.text
    assert 'openmodels_first_event_seconds_count{model="fake",path="/v1/chat/completions"}' in answer.text
    assert "openmodels_requests_running 0.0" in answer.text


def test_the_output_limit(backend):
    with (
        running({"fake": om.Model(FakeBackend("limited"))}, max_output_tokens=2) as server,
        httpx2.Client(base_url=server.address, headers={"x-api-key": KEY}) as http,
    ):
        answer = http.post("/v1/chat/completions", json=body("hi", max_tokens=500)).json()
    assert answer["choices"][0]["finish_reason"] == "length"


def test_the_time_limit():
    with (
        running({"fake": om.Model(FakeBackend())}, timeout=0.2) as server,
        httpx2.Client(base_url=server.address, headers={"x-api-key": KEY}) as http,
    ):
        answer = http.post("/v1/chat/completions", json=body("sleep 0.4"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
