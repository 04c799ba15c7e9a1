"""What `GET /metrics` shows, in Prometheus' text format. One `Metrics` per server; it is told, and asks nobody.

Times are seconds, lengths tokens.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from nitro.engines.types import StepRecord

CONTENT_TYPE = CONTENT_TYPE_LATEST

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter("nitro_requests", "HTTP requests answered.", ["path", "status"], registry=registry)
        self._prompt = Counter("nitro_prompt_tokens", "Tokens of accepted prompts.", registry=registry)
        self._cached = Counter("nitro_cached_tokens", "Those of them found in the cache.", registry=registry)
        self._generated = Counter("nitro_generated_tokens", "Tokens sampled.", registry=registry)
        self._queued = _histogram("nitro_queue_seconds", "From acceptance to the first slot.", LONG, registry)
        self._first = _histogram("nitro_time_to_first_token_seconds", "To a request's first token.", LONG, registry)
        self._each = _histogram("nitro_time_per_output_token_seconds", "Between a request's tokens.", SHORT, registry)
        self._rows = _histogram("nitro_batch_size", "Sequences computed in a step.", ROWS, registry)
        self._steps = _histogram("nitro_step_seconds", "A step of the engine.", SHORT, registry)
        self._running = Gauge("nitro_sequences_running", "Sequences that have a slot.", registry=registry)
        self._waiting = Gauge("nitro_sequences_waiting", "Sequences that wait for one.", registry=registry)
        self._kv = Gauge("nitro_kv_tokens_used", "Tokens in the KV cache, those of idle slots too.", registry=registry)
        self._restarts = Counter("nitro_engine_restarts", "Engine processes started anew.", registry=registry)

    def answered(self, path: str, status: int) -> None:
        self._requests.labels(path, str(status)).inc()

    def generation(
        self, prompt: int, cached: int, generated: int, queued: float | None, first: float | None, rest: float
    ) -> None:
        """A request has ended. `first`: until its first token, `rest`: from there to its last; None: it had none."""
        self._prompt.inc(prompt)
        self._cached.inc(cached)
        self._generated.inc(generated)
        if queued is not None:
            self._queued.observe(queued)
        if first is not None:
            self._first.observe(first)
            if generated > 1:
                self._each.observe(rest / (generated - 1))

    def step(self, record: StepRecord) -> None:
        self._rows.observe(len(record.rows))
        self._steps.observe(record.seconds)
        self._running.set(record.running)
        self._waiting.set(record.waiting)
        self._kv.set(record.kv_used)

    def engine_lost(self) -> None:
        """Its process ended: nothing runs or waits in it, and its cache is gone."""
        for gauge in (self._running, self._waiting, self._kv):
            gauge.set(0)

    def engine_restarted(self) -> None:
        self._restarts.inc()

    def text(self) -> bytes:
        return generate_latest(self._registry)


def _histogram(name: str, help: str, buckets: tuple[float, ...], registry: CollectorRegistry) -> Histogram:
    return Histogram(name, help, buckets=buckets, registry=registry)
