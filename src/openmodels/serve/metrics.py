"""The counters of a server, in the text format of Prometheus."""

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from openmodels.serve.exchange import HttpExchange

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Counts requests, tokens and seconds, by path and model."""

    content_type = b"text/plain; version=0.0.4; charset=utf-8"

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        names = ("path", "model")
        self.requests = Counter("openmodels_requests", "Requests.", (*names, "status"), registry=self._registry)
        self.tokens = Counter("openmodels_tokens", "Tokens.", ("model", "kind"), registry=self._registry)
        self.dollars = Counter("openmodels_cost_usd", "US dollars.", ("model",), registry=self._registry)
        self.seconds = Histogram(
            "openmodels_request_seconds",
            "Seconds from the request to the end of its answer.",
            names,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.first = Histogram(
            "openmodels_first_event_seconds",
            "Seconds from the request to the first event of a stream.",
            names,
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.running = Gauge("openmodels_requests_running", "Requests that run.", registry=self._registry)
        self.waiting = Gauge("openmodels_requests_waiting", "Requests that wait.", registry=self._registry)
        self.loaded = Gauge("openmodels_models_loaded", "Models that hold memory.", registry=self._registry)

    def record(self, path: str, exchange: "HttpExchange", seconds: float) -> None:
        """Count a request that has ended."""
        model = exchange.model
        self.requests.labels(path, model, str(exchange.status)).inc()
        self.seconds.labels(path, model).observe(seconds)
        if exchange.first_byte is not None:
            self.first.labels(path, model).observe(exchange.first_byte - exchange.began)
        if exchange.usage is not None:
            self.tokens.labels(model, "input").inc(exchange.usage.input_tokens or 0)
            self.tokens.labels(model, "output").inc(exchange.usage.output_tokens or 0)
        if exchange.cost:
            self.dollars.labels(model).inc(exchange.cost)

    def to_text(self) -> bytes:
        """Return all counters in the text format."""
        return generate_latest(self._registry)
