"""Metrics of a server in Prometheus' format: requests, tokens, queues, and how long answers take."""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models.serve.served import Served

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SPEEDS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """The counters of one server."""

    def __init__(self, served: Served):
        self.registry = CollectorRegistry()
        self.registry.register(Engines(served))
        registry = self.registry
        self.requests = Counter("hanlin_requests", "Requests answered, by path and status", ["path", "status"], registry=registry)
        self.left = Counter("hanlin_requests_left", "Requests whose client left before the end", ["model"], registry=registry)
        self.prompt_tokens = Counter("hanlin_prompt_tokens", "Tokens read", ["model"], registry=registry)
        self.tokens = Counter("hanlin_generated_tokens", "Tokens written", ["model"], registry=registry)
        self.first = Histogram(
            "hanlin_time_to_first_token_seconds",
            "Time from a request to its first token",
            ["model"],
            buckets=SECONDS,
            registry=registry,
        )
        self.speed = Histogram(
            "hanlin_tokens_per_second",
            "Tokens a second of one answer after its first token",
            ["model"],
            buckets=SPEEDS,
            registry=registry,
        )

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return generate_latest(self.registry)


class Engines(Collector):
    """Gauges that are read from the engines when they are asked for."""

    def __init__(self, served: Served):
        self.served = served

    def collect(self) -> Iterator[Metric]:
        running = GaugeMetricFamily("hanlin_requests_running", "Answers under way in the engine", labels=["model"])
        waiting = GaugeMetricFamily("hanlin_requests_waiting", "Answers in the queue", labels=["model"])
        changes = CounterMetricFamily(
            "hanlin_model_changes", "Times that a name came to mean another model", labels=["model", "outcome"]
        )
        facts = GaugeMetricFamily("hanlin_model_info", "The model behind a name", labels=["model", "key", "engine"])
        for model in self.served.models:
            load = model.now.engine.load()
            running.add_metric([model.name], load[0])
            waiting.add_metric([model.name], load[1])
            for outcome, number in model.changes.items():
                changes.add_metric([model.name, outcome], number)
            facts.add_metric([model.name, model.now.place.key, model.now.engine.name], 1)
        yield from (running, waiting, changes, facts)


class Counting:
    """The application, with its answers counted and the time noted at which each request came. All paths that there are not count as one."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["began"] = time.monotonic()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = getattr(scope.get("route"), "path", "other")
                self.metrics.requests.labels(path, str(message["status"])).inc()
            await send(message)

        await self.app(scope, receive, sending if scope["type"] == "http" else send)
