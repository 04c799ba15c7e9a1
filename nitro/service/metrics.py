"""What `GET /metrics` shows, in Prometheus' text format. One `Metrics` per server, with a part for each model.

Times are seconds, lengths tokens. The numbers of every step are only noted, and formatted when somebody asks for them:
the client library's own histograms and gauges would cost more than everything else the server does for a step.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import accumulate

from msgspec import Struct
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nitro.engines.messages import PrefixEvent
from nitro.engines.types import StepRecord
from nitro.service.events import TokenUsage

CONTENT_TYPE = CONTENT_TYPE_LATEST

SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
LONG = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)

MODEL = ["model"]  # the label
# name, help, bounds of the buckets
HISTOGRAMS = (
    ("nitro_queue_seconds", "From acceptance to the first slot.", LONG),
    ("nitro_time_to_first_token_seconds", "To a request's first token.", LONG),
    ("nitro_time_per_output_token_seconds", "Between a request's tokens.", SHORT),
    ("nitro_batch_size", "Sequences computed in a step.", ROWS),
    ("nitro_step_seconds", "A step of the engine.", SHORT),
)
GAUGES = (
    ("nitro_sequences_running", "Sequences that have a slot."),
    ("nitro_sequences_waiting", "Sequences that wait for one."),
    ("nitro_kv_tokens_used", "Tokens in the KV cache, those of idle slots too."),
    ("nitro_inputs_waiting", "Inputs that wait to be embedded."),
)


FOLDER = (
    ("nitro_prefix_cache_files", "Files in the folder of --prefix-cache, of all servers that share it."),
    ("nitro_prefix_cache_bytes", "Their bytes."),
)
OfEvent = Callable[[str], Counter]  # what is counted of one event


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._shown = [registry]
        self._requests = Counter("nitro_requests", "HTTP requests answered.", ["path", "status"], registry=registry)
        self._prompt = Counter("nitro_prompt_tokens", "Tokens of accepted prompts.", MODEL, registry=registry)
        self._cached = Counter("nitro_cached_tokens", "Those of them found in the cache.", MODEL, registry=registry)
        self._generated = Counter("nitro_generated_tokens", "Tokens sampled.", MODEL, registry=registry)
        self._embedded = Counter("nitro_embedded_tokens", "Tokens of accepted inputs.", MODEL, registry=registry)
        self._inputs = Counter("nitro_embedded_inputs", "Inputs accepted, to be embedded.", MODEL, registry=registry)
        event = [*MODEL, "event"]
        self._prefixes = Counter("nitro_prefix_cache_events", "Prefixes in files.", event, registry=registry)
        self._moved = Counter("nitro_prefix_cache_tokens", "Tokens of these prefixes.", event, registry=registry)
        self.prefixes: Callable[[], tuple[int, int]] | None = None  # files and bytes of --prefix-cache
        self._models: dict[str, ModelMetrics] = {}
        registry.register(_Noted(self._families))
        self._restarts = Counter("nitro_engine_restarts", "Engine processes started anew.", MODEL, registry=registry)

    def of(self, model: str) -> "ModelMetrics":
        """Those of one model, by its id."""
        if model not in self._models:
            counters = (
                self._prompt,
                self._cached,
                self._generated,
                self._restarts,
                self._inputs,
                self._embedded,
            )
            events = partial(self._prefixes.labels, model), partial(self._moved.labels, model)
            self._models[model] = ModelMetrics(*(counter.labels(model) for counter in counters), events=events)
        return self._models[model]

    def add(self, families: Callable[[], Iterable[Metric]]) -> None:
        """Show these, too, as they are when somebody asks."""
        self._registry.register(_Noted(families))

    def in_other_names(self, families: Callable[[], Iterable[Metric]], alone: bool) -> None:
        """Show these, too, or `alone`: they say some of the same in the words of another server."""
        others = CollectorRegistry()
        others.register(_Noted(families))
        self._shown = [others] if alone else [self._registry, others]

    def answered(self, path: str, status: int) -> None:
        """An HTTP request was answered. `path`: one of a few known ones."""
        self._requests.labels(path, str(status)).inc()

    def text(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return b"".join(map(generate_latest, self._shown))

    def _families(self) -> Iterator[Metric]:
        for (name, help), value in zip(FOLDER, self.prefixes(), strict=True) if self.prefixes else ():
            yield GaugeMetricFamily(name, help, value)
        for place, (name, help, _) in enumerate(HISTOGRAMS):
            histograms = HistogramMetricFamily(name, help, labels=MODEL)
            for model, metrics in self._models.items():
                metrics.histograms[place].add_to(histograms, model)
            yield histograms
        for place, (name, help) in enumerate(GAUGES):
            gauges = GaugeMetricFamily(name, help, labels=MODEL)
            for model, metrics in self._models.items():
                gauges.add_metric([model], metrics.now[place])
            yield gauges


class Totals(Struct):
    """Tokens of all requests of a model that have ended."""

    prompt: int = 0
    cached: int = 0
    generated: int = 0

    def add(self, usage: TokenUsage) -> None:
        """One has ended."""
        self.prompt += usage.prompt_tokens
        self.cached += usage.cached_tokens
        self.generated += usage.completion_tokens


class ModelMetrics:
    """What is counted of one model. It is its engine's `Observer`."""

    def __init__(self, *counters: Counter, events: tuple[OfEvent, OfEvent]):
        """`counters`: in the order of `Metrics.of`. `events`: counters of prefixes and of their tokens."""
        self._events, self._event_tokens = events
        self._prompt, self._cached, self._generated, self._restarts, self._inputs, self._embedded = counters
        self.histograms = [_Histogram(bounds) for _, _, bounds in HISTOGRAMS]
        self._queued, self._first, self._each, self._rows, self._steps = self.histograms
        self._latest: StepRecord | None = None
        self.totals = Totals()

    def generation(self, usage: TokenUsage, queued: float | None, first: float | None, later: float) -> None:
        """A request has ended. Seconds: in the queue, until its first token, and from there to its last; None: it had
        none."""
        generated = usage.completion_tokens
        self.totals.add(usage)
        self._prompt.inc(usage.prompt_tokens)
        self._cached.inc(usage.cached_tokens)
        self._generated.inc(generated)
        if queued is not None:
            self._queued.observe(queued)
        if first is not None:
            self._first.observe(first)
            if generated > 1:
                self._each.observe(later / (generated - 1))

    def embedding(self, inputs: int, tokens: int) -> None:
        """A request for embeddings has ended."""
        self._inputs.inc(inputs)
        self._embedded.inc(tokens)

    def step(self, record: StepRecord) -> None:
        """An engine took a step."""
        if record.embedded:
            self._steps.observe(record.seconds)
        if record.rows or record.lost:
            self._rows.observe(len(record.rows))
            self._steps.observe(record.seconds)
        self._latest = record

    def engine_lost(self) -> None:
        """The engine's process ended: nothing runs or waits in it, and its cache is gone."""
        self._latest = None

    def prefix(self, event: PrefixEvent) -> None:
        """Something became of a prefix that is kept in a file."""
        self._events(event.event).inc()
        self._event_tokens(event.event).inc(event.tokens)

    def engine_restarted(self) -> None:
        """A new process was started for the engine."""
        self._restarts.inc()

    @property
    def kv_running(self) -> int:
        """Tokens in the KV cache of sequences that run."""
        return self._latest.kv_running if self._latest else 0

    @property
    def now(self) -> tuple[int, int, int, int]:
        """The values of GAUGES."""
        latest = self._latest
        return (latest.running, latest.waiting, latest.kv_used, latest.inputs) if latest else (0, 0, 0, 0)


class _Noted(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]):
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]):
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)  # the last: of what exceeds all bounds
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, model: str) -> None:
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        family.add_metric([model], list(zip(names, accumulate(self._counts), strict=True)), self._sum)
