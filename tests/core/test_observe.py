"""Hooks, and OpenTelemetry's spans and metrics, as the SDK's in-memory exporters see them."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import subprocess
import sys

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import openmodels as om
from openmodels.core import telemetry
from openmodels.testing import SURFACES, Driver
from openmodels.testing.faults import FaultServer


@pytest.fixture
def spans(monkeypatch):
    """The finished spans of a tracer provider that the application has set."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter.get_finished_spans
    provider.shutdown()


@pytest.fixture
def measured(monkeypatch):
    """What a meter provider that the application has set has measured: name and attributes to points."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: provider)

    def read():
        (resource,) = reader.get_metrics_data().resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: list(metric.data.data_points) for metric in scope.metrics}

    yield read
    provider.shutdown()


@pytest.mark.parametrize("surface", SURFACES)
def test_a_call_is_a_span(spans, measured, surface):
    model = om.Model("echo:parrot", script=[["two", " words"]])
    Driver(model, surface)("secret question", temperature=0.5, max_tokens=9, stop="x", seed=3, n=1)
    (span,) = spans()
    assert span.name == "chat parrot"
    assert span.kind is SpanKind.INTERNAL
    assert span.status.status_code is StatusCode.UNSET
    seen = dict(span.attributes)
    first = seen.pop("gen_ai.response.time_to_first_chunk", None)
    streamed = seen.pop("gen_ai.request.stream", False)
    assert streamed == (first is not None) == surface.endswith("stream")
    assert seen == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "echo",
        "gen_ai.request.model": "parrot",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.stop_sequences": ("x",),
        "gen_ai.request.seed": 3,
        "gen_ai.response.model": "parrot",
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 2,
        "gen_ai.usage.output_tokens": 2,
    }
    points = measured()
    (duration,) = points["gen_ai.client.operation.duration"]
    assert duration.count == 1
    assert "error.type" not in duration.attributes
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in points["gen_ai.client.token.usage"]}
    assert tokens == {"input": 2, "output": 2}
    assert len(points.get("gen_ai.client.operation.time_to_first_chunk", [])) == streamed


def test_several_answers_and_completions(spans):
    model = om.Model("echo:")
    model.chat("x", n=2)
    model.complete("y")
    chat, complete = spans()
    assert (chat.name, complete.name) == ("chat", "text_completion")
    assert chat.attributes["gen_ai.request.choice.count"] == 2
    assert chat.attributes["gen_ai.response.finish_reasons"] == ("stop", "stop")


@pytest.mark.parametrize("surface", SURFACES)
def test_an_error_ends_the_span(spans, measured, surface):
    model = om.Model("echo:", script=[["half ", om.ContentFiltered("Blocked.")]])
    with pytest.raises(om.ContentFiltered):
        Driver(model, surface)("x")
    (span,) = spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "Blocked."
    assert span.attributes["error.type"] == "ContentFiltered"
    (duration,) = measured()["gen_ai.client.operation.duration"]
    assert duration.attributes["error.type"] == "ContentFiltered"


def test_an_answer_that_is_cut_off_ends_the_span(spans):
    class Cut(om.Model("echo:").backend.__class__):
        def run(self, request):
            yield om.Delta(text="half")

    with pytest.raises(om.StreamInterrupted):
        om.Model(Cut()).chat("x")
    (span,) = spans()
    assert span.attributes["error.type"] == "StreamInterrupted"


def test_a_foreign_error_tells_only_its_kind(spans):
    with pytest.raises(KeyboardInterrupt):
        om.Model("echo:", script=[["half ", KeyboardInterrupt("secret")]]).chat("x")
    (span,) = spans()
    assert (span.status.description, span.attributes["error.type"]) == ("KeyboardInterrupt", "KeyboardInterrupt")


@pytest.mark.parametrize("way", ["with", "close", "garbage"])
def test_a_stream_that_is_left_ends_the_span_without_an_error(spans, way):
    stream = om.Model("echo:").stream("one two three")
    assert next(stream).text == "one"
    assert spans() == ()
    if way == "with":
        with stream:
            pass
    elif way == "close":
        stream.close()
    else:
        del stream
        gc.collect()
    (span,) = spans()
    assert span.status.status_code is StatusCode.UNSET
    assert "gen_ai.response.finish_reasons" not in span.attributes


def test_a_cancelled_task_ends_the_span(spans):
    async def main():
        model = om.Model("echo:", script=[["one ", 30.0]])
        async with model.astream("x") as stream:
            await anext(stream)
            task = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    from openmodels.backends import echo

    before, echo.time.sleep = echo.time.sleep, lambda seconds: None
    try:
        asyncio.run(main())
    finally:
        echo.time.sleep = before
    (span,) = spans()
    assert span.attributes["error.type"] == "CancelledError"


def test_a_stream_that_is_never_read_is_no_call(spans):
    om.Model("echo:").stream("x").close()
    assert spans() == ()


def test_a_span_is_part_of_the_applications(spans):
    with trace.get_tracer_provider().get_tracer("app").start_as_current_span("work"):
        om.Model("echo:").chat("x")
    call, work = spans()
    assert call.parent.span_id == work.context.span_id


@pytest.mark.parametrize("method", ["embed", "aembed"])
def test_embeddings_and_the_servers_address(spans, measured, method):
    with FaultServer() as server, om.Model("server:tiny", base_url=server.url("ok")) as model:
        found = getattr(model, method)(["a", "b"])
        found = asyncio.run(found) if method == "aembed" else found
        port = server.port
        with pytest.raises(om.OpenModelsError):
            om.Model("server:tiny", base_url=server.url("404-model"), max_retries=0).embed("x")
    span, failed = spans()
    assert span.name == "embeddings tiny"
    assert span.kind is SpanKind.CLIENT
    assert span.attributes["server.address"] == "127.0.0.1"
    assert span.attributes["server.port"] == port
    assert span.attributes["gen_ai.embeddings.dimension.count"] == found.vectors.shape[1]
    assert span.attributes["gen_ai.usage.input_tokens"] == found.usage.input_tokens
    assert failed.status.status_code is StatusCode.ERROR
    (tokens,) = measured()["gen_ai.client.token.usage"]
    assert tokens.attributes["gen_ai.token.type"] == "input"


@pytest.mark.parametrize(
    ("argument", "variable", "captured"),
    [
        (None, None, False),
        (None, "true", True),
        (None, "SPAN_ONLY", True),
        (None, "span_and_event", True),
        (None, "EVENT_ONLY", False),
        (None, "NO_CONTENT", False),
        (True, None, True),
        (False, "true", False),
    ],
)
def test_content_is_off_by_default(spans, monkeypatch, argument, variable, captured):
    if variable is None:
        monkeypatch.delenv(telemetry.CAPTURE, raising=False)
    else:
        monkeypatch.setenv(telemetry.CAPTURE, variable)
    script = [[om.Delta(text="secret answer", reasoning="secret thought"), om.Delta(finish_reason="stop")]]
    om.Model("echo:", script=script, capture_content=argument).chat([om.system("secret rule"), "secret question"])
    (span,) = spans()
    assert ("secret" in json.dumps(dict(span.attributes))) == captured
    if captured:
        assert json.loads(span.attributes["gen_ai.input.messages"]) == [
            {"role": "system", "parts": [{"type": "text", "content": "secret rule"}]},
            {"role": "user", "parts": [{"type": "text", "content": "secret question"}]},
        ]
        assert json.loads(span.attributes["gen_ai.output.messages"]) == [
            {
                "role": "assistant",
                "parts": [
                    {"type": "reasoning", "content": "secret thought"},
                    {"type": "text", "content": "secret answer"},
                ],
                "finish_reason": "stop",
            }
        ]


@pytest.mark.parametrize("imported", ["", "import opentelemetry.trace, opentelemetry.metrics; "])
def test_nothing_is_done_where_no_provider_is_set(imported):
    code = (
        f"{imported}import sys, openmodels as om; om.Model('echo:').chat('x'); "
        "print([name for name in sys.modules if name.startswith('opentelemetry.sdk')], "
        "'openmodels.core.telemetry' in sys.modules, "
        "om.Model('echo:')._hooks.observe(om.Model('echo:').backend, None))"
    )
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"[] {bool(imported)} None"


@pytest.mark.parametrize("surface", SURFACES)
def test_hooks_see_the_request_and_the_reply(surface):
    seen = []
    model = om.Model("echo:", on_request=seen.append, on_reply=seen.append)
    reply = Driver(model, surface)("hello", temperature=0).reply
    request, told = seen
    assert request.messages[0].content == "hello"
    assert request.temperature == 0
    assert told == reply


@pytest.mark.parametrize("surface", SURFACES)
def test_a_hook_may_prevent_the_call(surface):
    def refuse(request):
        raise PermissionError("over budget")

    model = om.Model("echo:", on_request=refuse)
    with pytest.raises(PermissionError, match="over budget"):
        Driver(model, surface)("x")
    assert model.backend.requests == []


def test_what_a_reply_hook_raises_goes_to_the_caller_and_the_answer_stays():
    def fail(reply):
        raise ValueError(reply.text)

    stream = om.Model("echo:", on_reply=fail).stream("hello")
    with pytest.raises(ValueError, match="hello"), stream:
        list(stream)
    assert stream.snapshot.text == "hello"


def test_a_failed_call_has_no_reply():
    seen = []
    model = om.Model("echo:", script=[[om.ContentFiltered("Blocked.")]], on_reply=seen.append)
    with pytest.raises(om.ContentFiltered):
        model.chat("x")
    assert seen == []


async def _later(_):
    """No hook."""


@pytest.mark.parametrize("hook", [_later, 5])
@pytest.mark.parametrize("name", ["on_request", "on_reply"])
def test_a_hook_is_a_plain_function(name, hook):
    with pytest.raises(om.InvalidRequest, match=name):
        om.Model("echo:", **{name: hook})


def test_hooks_are_kept_by_pickle():
    model = pickle.loads(pickle.dumps(om.Model("echo:", on_reply=print, capture_content=False)))
    assert model._hooks.on_reply is print
    assert model._hooks.capture_content is False
