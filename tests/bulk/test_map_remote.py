"""`Model.map` over a server that misbehaves."""

from __future__ import annotations

import json
import threading

import pytest
from test_map import ASYNC, SYNC, both, mapped, texts

import openmodels as om
from loopback_server import LoopbackServer, Response
from openmodels import retry
from openmodels.bulk.run import RATE_LIMIT_TRIES

TOO_MANY = Response({"error": {"message": "Slow down."}}, 429, {"Retry-After": "0"})


class Echo(LoopbackServer):
    """Answers with the prompt; refuses more than `room` requests at once."""

    def __init__(self, room=10**6):
        super().__init__()
        self.room = room
        self.inside = self.most = 0
        self.lock = threading.Lock()

    def respond(self, request):
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
            refused = self.inside > self.room
        try:
            said = json.loads(request.body)["messages"][-1]["content"]
            if refused:
                return TOO_MANY
            if said == "broken":
                return Response(b"{", headers={"Content-Type": "application/json"})
            if said == "filtered":
                error = {"code": "content_filter", "message": "The content filter was triggered."}
                return Response({"error": error}, 400)
            message = {"role": "assistant", "content": said}
            usage = {"prompt_tokens": 1, "completion_tokens": 2}
            return Response({"choices": [{"message": message, "finish_reason": "stop"}], "usage": usage, "model": "m"})
        finally:
            with self.lock:
                self.inside -= 1


@both
def test_broken_items_and_passing_faults(surface):
    prompts = [*map(str, range(50)), "broken", "filtered", *map(str, range(50, 100))]
    with Echo() as server, retry.override_retries(attempts=3), om.Model("server:m", base_url=server.address) as model:
        for fault in (TOO_MANY, Response({}, 503), Response({}, 500), TOO_MANY):
            server.overrides.append(("", fault))
        items, summary = mapped(model, surface, prompts, concurrency=8)
    expected = [*map(str, range(50)), "InvalidResponse", "ContentFiltered", *map(str, range(50, 100))]
    assert texts(items) == expected
    assert (summary.succeeded, summary.failed, summary.output_tokens) == (100, 2, 200)
    assert server.most <= 8


@both
def test_a_narrow_server_slows_the_run_instead_of_failing_it(surface):
    with Echo(room=2) as server, retry.override_retries(), om.Model("server:m", base_url=server.address) as model:
        items, summary = mapped(model, surface, map(str, range(200)), concurrency=16)
    assert texts(items) == list(map(str, range(200)))
    assert summary.failed == 0


@both
@pytest.mark.parametrize(("retries", "requests"), [(2, 1 + RATE_LIMIT_TRIES), (0, 1)])
def test_a_server_that_refuses_for_ever_is_given_up(surface, retries, requests):
    with Echo(room=0) as server, retry.override_retries(), om.Model("server:m", base_url=server.address) as model:
        items, _ = mapped(model, surface, ["x"], max_retries=retries)
    assert texts(items) == ["RateLimited"]
    assert len(server.requests) == requests


@both
def test_a_wait_of_hours_is_a_refusal(surface):
    with Echo() as server, om.Model("server:m", base_url=server.address) as model:
        server.overrides.append(("", Response({}, 429, {"Retry-After": "7200"})))
        items, _ = mapped(model, surface, ["x", "y"], concurrency=1)
    assert texts(items) == ["RateLimited", "y"]


@both
@pytest.mark.parametrize(("status", "kind"), [(401, om.AuthenticationFailed), (404, om.OpenModelsError)])
def test_a_refused_key_ends_the_run_with_few_requests(surface, status, kind, tmp_path):
    file = tmp_path / "out.jsonl"
    with Echo() as server, om.Model("server:m", base_url=server.address, api_key="k" * 20) as model:
        server.overrides += [("", Response({"error": {"message": "no model m"}}, status))] * 1000
        with pytest.raises(kind):
            mapped(model, surface, map(str, range(1000)), concurrency=4, save=file)
        assert len(server.requests) <= 8
        server.overrides.clear()
        items, summary = mapped(model, surface, map(str, range(20)), save=file)
    assert (len(items), summary.succeeded) == (20, 20)
    assert "k" * 20 not in file.read_text()


@both
def test_one_model_maps_again_and_again(surface):
    with Echo() as server, om.Model("server:m", base_url=server.address) as model:
        for other in (surface, ASYNC, SYNC):
            assert texts(mapped(model, other, ["a", "b"])[0]) == ["a", "b"]
        assert model.chat("c").text == "c"
