"""OpenTelemetry's spans and metrics for generative AI.

Names and meanings are those of https://opentelemetry.io/docs/specs/semconv/gen-ai/ (status: development).
"""

import json
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from opentelemetry import metrics, trace
from opentelemetry.metrics import Histogram, MeterProvider
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from openmodels import settings
from openmodels.backends.base import Backend, Outcome, Request
from openmodels.errors import OpenModelsError
from openmodels.types.decisions import DecideRequest
from openmodels.types.embeddings import Embeddings, EmbedRequest
from openmodels.types.messages import Message, ToolCall
from openmodels.types.rankings import RerankRequest
from openmodels.types.reply import Reply
from openmodels.types.request import ChatRequest
from openmodels.types.scores import ScoreRequest

CAPTURE = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The environment variable that lets spans hold prompts and answers: "true", "SPAN_ONLY" or "SPAN_AND_EVENT"."""

_PROVIDERS = {"azure": "azure.ai.inference", "hf": "huggingface"}
_REQUEST = ("temperature", "top_p", "top_k", "max_tokens", "seed", "frequency_penalty", "presence_penalty")
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class _Instruments(NamedTuple):
    duration: Histogram
    tokens: Histogram
    first_chunk: Histogram


def is_active() -> bool:
    """Return whether the application has set up tracing or metrics."""
    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    return any(
        not type(provider).__module__.startswith(("opentelemetry.trace", "opentelemetry.metrics"))
        for provider in providers
    )


class CallSpan:
    """The span of a call, and the metrics recorded when it ends.

    `capture` is whether to record prompts and answers; None leaves it to the environment (`CAPTURE`).
    """

    def __init__(self, backend: Backend, request: Request, *, capture: bool | None = None) -> None:
        self._request = request
        self._capture = _captures_content() if capture is None else capture
        self._common = _common_attributes(backend, request)
        operation, model = self._common["gen_ai.operation.name"], self._common.get("gen_ai.request.model")
        self._start = time.perf_counter()
        self._first_chunk: float | None = None
        self._span = _get_tracer(trace.get_tracer_provider()).start_span(
            f"{operation} {model}" if model else operation,
            kind=SpanKind.CLIENT if "server.address" in self._common else SpanKind.INTERNAL,
            attributes=self._common,
        )
        if self._span.is_recording():
            self._span.set_attributes(_request_attributes(request))
            if self._capture and isinstance(request, ChatRequest):
                self._span.set_attributes(_content_attributes(request))

    def record_first_chunk(self) -> None:
        """Record the time of the first chunk of the answer."""
        if self._first_chunk is None:
            self._first_chunk = time.perf_counter() - self._start

    def end(self, reply: Outcome | None, error: BaseException | None) -> None:
        """End the span of an answer, or of a part of it, and record the metrics."""
        seconds = time.perf_counter() - self._start
        is_stream = isinstance(self._request, ChatRequest) and self._request.stream
        first_chunk = self._first_chunk if is_stream else None
        span, about = self._span, dict(self._common)
        if reply is not None and reply.model:
            about["gen_ai.response.model"] = reply.model
        if span.is_recording():
            span.set_attributes(about if reply is None else about | _reply_attributes(reply))
            if first_chunk is not None:
                span.set_attribute("gen_ai.response.time_to_first_chunk", first_chunk)
            if self._capture and isinstance(reply, Reply):
                span.set_attribute("gen_ai.output.messages", _dump_json(list(map(_output_message, _answers(reply)))))
        instruments = _make_instruments(metrics.get_meter_provider())
        if reply is not None:
            counts = {"input": reply.usage.input_tokens, "output": reply.usage.output_tokens}
            for kind, count in counts.items():
                if count is not None:
                    instruments.tokens.record(count, about | {"gen_ai.token.type": kind})
        if first_chunk is not None:
            instruments.first_chunk.record(first_chunk, about)
        if error is not None:
            about["error.type"] = type(error).__name__
            span.set_attribute("error.type", type(error).__name__)
            # Errors of this package hold neither keys nor prompts; of others only the kind is recorded.
            description = error.cause if isinstance(error, OpenModelsError) else type(error).__name__
            span.set_status(Status(StatusCode.ERROR, description))
        instruments.duration.record(seconds, about)
        span.end()


def _common_attributes(backend: Backend, request: Request) -> dict[str, Any]:
    if isinstance(request, ChatRequest):
        operation = "chat" if request.prompt is None else "text_completion"
    else:
        names = {EmbedRequest: "embeddings", RerankRequest: "rerank", ScoreRequest: "score", DecideRequest: "decide"}
        operation = names[type(request)]
    common: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": _PROVIDERS.get(backend.name, backend.name),
    }
    if backend.rest:
        common["gen_ai.request.model"] = backend.rest
    if (address := getattr(backend, "address", None)) is not None:
        common |= {"server.address": address.host, "server.port": address.port}
    return common


def _request_attributes(request: Request) -> dict[str, Any]:
    if not isinstance(request, ChatRequest):
        return {}
    attributes: dict[str, Any] = {f"gen_ai.request.{name}": getattr(request, name) for name in _REQUEST}
    attributes |= {
        "gen_ai.request.stop_sequences": request.stop or None,
        "gen_ai.request.choice.count": None if request.n == 1 else request.n,
        "gen_ai.request.stream": request.stream or None,
    }
    if request.output is not None:
        attributes["gen_ai.output.type"] = "json" if request.output.kind == "schema" else "text"
    return _without_none(attributes)


def _reply_attributes(reply: Outcome) -> dict[str, Any]:
    usage = reply.usage
    attributes: dict[str, Any] = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens,
    }
    if isinstance(reply, Embeddings):
        attributes["gen_ai.embeddings.dimension.count"] = int(reply.vectors.shape[1])
    elif isinstance(reply, Reply):
        attributes["gen_ai.response.finish_reasons"] = [
            answer.finish_reason for answer in _answers(reply) if answer.finish_reason
        ] or None
        if isinstance(reply.raw, Mapping) and isinstance(key := reply.raw.get("id"), str):
            attributes["gen_ai.response.id"] = key
    return _without_none(attributes)


def _without_none(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _answers(reply: Reply) -> tuple[Reply, ...]:
    return reply, *reply.alternatives


def _content_attributes(request: ChatRequest) -> dict[str, str]:
    if request.prompt is not None:
        messages = [{"role": "user", "parts": [{"type": "text", "content": request.prompt}]}]
    else:
        messages = list(map(_input_message, request.messages))
    attributes = {"gen_ai.input.messages": _dump_json(messages)}
    if request.tools:
        tools = [{"type": "function", **tool.model_dump(exclude={"strict"})} for tool in request.tools]
        attributes["gen_ai.tool.definitions"] = _dump_json(tools)
    return attributes


def _input_message(message: Message) -> dict[str, Any]:
    if message.role == "tool":
        answer = {"type": "tool_call_response", "id": message.tool_call_id, "response": message.text}
        return {"role": message.role, "parts": [answer]}
    return {"role": message.role, "parts": _make_parts("", message.text, message.tool_calls)}


def _output_message(reply: Reply) -> dict[str, Any]:
    parts = _make_parts(reply.reasoning, reply.text, reply.tool_calls)
    return {"role": "assistant", "parts": parts, "finish_reason": reply.finish_reason or "unknown"}


def _make_parts(reasoning: str, text: str, calls: tuple[ToolCall, ...]) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "reasoning", "content": reasoning}] if reasoning else []
    parts += [{"type": "text", "content": text}] if text else []
    return parts + [
        {"type": "tool_call", "id": call.id, "name": call.name, "arguments": call.arguments} for call in calls
    ]


def _dump_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _captures_content() -> bool:
    value = os.environ.get(CAPTURE, "")
    return settings.is_true(value) or value.strip().upper() in {"SPAN_ONLY", "SPAN_AND_EVENT"}


@lru_cache(maxsize=4)
def _get_tracer(provider: TracerProvider) -> trace.Tracer:
    return provider.get_tracer("openmodels")


@lru_cache(maxsize=4)
def _make_instruments(provider: MeterProvider) -> _Instruments:
    meter = provider.get_meter("openmodels")

    def histogram(name: str, unit: str, what: str, steps: tuple[float, ...]) -> Histogram:
        return meter.create_histogram(name, unit=unit, description=what, explicit_bucket_boundaries_advisory=steps)

    return _Instruments(
        histogram("gen_ai.client.operation.duration", "s", "GenAI operation duration.", _SECONDS),
        histogram("gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.", _TOKENS),
        histogram("gen_ai.client.operation.time_to_first_chunk", "s", "Time to receive the first chunk.", _FIRST),
    )
