"""What `GET /metrics` shows, in Prometheus' text format. One `Metrics` per server; others feed it.

Times are seconds, lengths tokens. The numbers of every step are only noted, and formatted when somebody asks for them:
the client library's own histograms and gauges would cost more than everything else the server does for a step.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nitro.engines.types import StepRecord
from nitro.service.events import TokenUsage

CONTENT_TYPE = CONTENT_TYPE_LATEST

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters and histograms of one server. It is an engine's `Observer`."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("nitro_requests", "HTTP requests answered.", ["path", "status"], registry=registry)
        self._prompt = Counter("nitro_prompt_tokens", "Tokens of accepted prompts.", registry=registry)
        self._cached = Counter("nitro_cached_tokens", "Those of them found in the cache.", registry=registry)
        self._generated = Counter("nitro_generated_tokens", "Tokens sampled.", registry=registry)
        self._queued = _Histogram("nitro_queue_seconds", "From acceptance to the first slot.", LONG)
        self._first = _Histogram("nitro_time_to_first_token_seconds", "To a request's first token.", LONG)
        self._each = _Histogram("nitro_time_per_output_token_seconds", "Between a request's tokens.", SHORT)
        self._rows = _Histogram("nitro_batch_size", "Sequences computed in a step.", ROWS)
        self._steps = _Histogram("nitro_step_seconds", "A step of the engine.", SHORT)
        self._latest: StepRecord | None = None
        registry.register(_Noted(self._families))
        self._restarts = Counter("nitro_engine_restarts", "Engine processes started anew.", registry=registry)

    def answered(self, path: str, status: int) -> None:
        """An HTTP request was answered. `path`: one of a few known ones."""
        self._requests.labels(path, str(status)).inc()

    def generation(self, usage: TokenUsage, queued: float | None, first: float | None, later: float) -> None:
        """A request has ended. Seconds: in the queue, until its first token, and from there to its last; None: it had
        none."""
        generated = usage.completion_tokens
        self._prompt.inc(usage.prompt_tokens)
        self._cached.inc(usage.cached_tokens)
        self._generated.inc(generated)
        if queued is not None:
            self._queued.observe(queued)
        if first is not None:
            self._first.observe(first)
            if generated > 1:
                self._each.observe(later / (generated - 1))

    def step(self, record: StepRecord) -> None:
        """An engine took a step."""
        if record.rows or record.lost:
            self._rows.observe(len(record.rows))
            self._steps.observe(record.seconds)
        self._latest = record

    def engine_lost(self) -> None:
        """The engine's process ended: nothing runs or waits in it, and its cache is gone."""
        self._latest = None

    def engine_restarted(self) -> None:
        """A new process was started for the engine."""
        self._restarts.inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _families(self) -> Iterator[Metric]:
        for histogram in (self._queued, self._first, self._each, self._rows, self._steps):
            yield histogram.family()
        latest = self._latest
        running, waiting, kv = (latest.running, latest.waiting, latest.kv_used) if latest else (0, 0, 0)
        yield GaugeMetricFamily("nitro_sequences_running", "Sequences that have a slot.", running)
        yield GaugeMetricFamily("nitro_sequences_waiting", "Sequences that wait for one.", waiting)
        yield GaugeMetricFamily("nitro_kv_tokens_used", "Tokens in the KV cache, those of idle slots too.", kv)


class _Noted(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]):
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


class _Histogram:
    def __init__(self, name: str, help: str, bounds: tuple[float, ...]):
        self._name, self._help, self._bounds = name, help, bounds
        self._counts = [0] * (len(bounds) + 1)  # the last: of what exceeds all bounds
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def family(self) -> Metric:
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(names, accumulate(self._counts), strict=True))
        return HistogramMetricFamily(self._name, self._help, buckets, self._sum)
