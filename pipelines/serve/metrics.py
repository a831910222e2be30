"""Counters of a replica, for Prometheus."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from pipelines.serve.engine_loop import EngineLoop, Ticket

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """Counters of one replica; every line carries its name.

    Args:
        engine: of the replica.
        replica: its name.
        threads: CPU threads by the library that has them.
    """

    def __init__(self, engine: EngineLoop, replica: str, threads: Mapping[str, int]) -> None:
        self._registry = CollectorRegistry()
        labels = {"replica": replica}

        def counter(name: str, text: str, *more: str) -> Counter:
            return Counter(f"arctic_{name}", text, ["replica", *more], registry=self._registry)

        self._requests = counter("requests", "Requests by status code.", "status")
        self._prompt = counter("prompt_tokens", "Tokens of prompts.").labels(**labels)
        self._shared = counter("shared_prompt_tokens", "Prompt tokens that were not read again.").labels(**labels)
        self._answer = counter("answer_tokens", "Tokens of answers.").labels(**labels)
        self._labels = labels
        latency = Histogram(
            "arctic_request_seconds", "Time of a request.", ["replica"], buckets=SECONDS, registry=self._registry
        )
        self._seconds = latency.labels(**labels)
        for name, text, read in (
            ("running", "Requests that hold a slot.", lambda: engine.num_running),
            ("unfinished", "Requests that are not answered yet.", lambda: engine.num_requests),
        ):
            gauge = Gauge(f"arctic_{name}_requests", text, ["replica"], registry=self._registry)
            gauge.labels(**labels).set_function(read)
        gauge = Gauge("arctic_threads", "CPU threads.", ["replica", "library"], registry=self._registry)
        for library, count in threads.items():
            gauge.labels(library=library, **labels).set(count)

    def count(self, status: int, seconds: float) -> None:
        """Add a request that got its status after `seconds`."""
        self._requests.labels(status=str(status), **self._labels).inc()
        self._seconds.observe(seconds)

    def count_tokens(self, tickets: list[Ticket]) -> None:
        """Add the tokens of answers that ended."""
        for ticket in tickets:
            if ticket.completion is not None:
                self._prompt.inc(len(ticket.completion.request.prompt))
                self._shared.inc(ticket.completion.num_shared)
                self._answer.inc(len(ticket.completion.ids))

    def page(self) -> bytes:
        """The text of /metrics."""
        return generate_latest(self._registry)
