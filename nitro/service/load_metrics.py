"""How loaded each model is, for routers that choose a server by it, in our names and in vLLM's.

vLLM's names and meanings: vllm/v1/metrics/loggers.py, where `gpu_…` are the older names of the same. Who reads which:
production-stack the older ones (src/vllm_router/stats/engine_stats.py); the Kubernetes endpoint picker and llm-d
`num_requests_waiting`, `num_requests_running` and `kv_cache_usage_perc` (gateway-api-inference-extension,
docs/proposals/003-model-server-protocol).
"""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import astuple
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from nitro.models.pool import Pool
from nitro.service.live.requests import Requests
from nitro.service.live.state import Phase
from nitro.service.metrics import MODEL, Metrics

WAITING: tuple[Phase, ...] = ("reading", "queued")
RUNNING: tuple[Phase, ...] = ("prompt", "answer")
UNKNOWN = "-"  # the model of a request that waits for it


class Load(NamedTuple):
    """Of one model. Tokens: of all requests that have ended."""

    model: str
    running: int
    waiting: int
    kv_ratio: float
    prompt_tokens: int
    cached_tokens: int
    generated_tokens: int


# name, help, field of Load
OURS = (
    ("nitro_requests_running", "Requests that are computed.", "running"),
    ("nitro_requests_waiting", "Requests that are read, or wait for their model or a slot.", "waiting"),
    ("nitro_kv_ratio", "Share of the KV pool that running sequences take, from 0 to 1.", "kv_ratio"),
)
VLLM_GAUGES = (
    ("vllm:num_requests_running", "Requests that are computed.", "running"),
    ("vllm:num_requests_waiting", "Requests that wait.", "waiting"),
    ("vllm:kv_cache_usage_perc", "Share of the KV cache that is in use; 1 is all of it.", "kv_ratio"),
    ("vllm:gpu_cache_usage_perc", "The same, by its older name.", "kv_ratio"),
)
VLLM_COUNTERS = (
    ("vllm:prefix_cache_queries", "Tokens that were looked for in the prefix cache.", "prompt_tokens"),
    ("vllm:prefix_cache_hits", "Those of them that were found.", "cached_tokens"),
    ("vllm:gpu_prefix_cache_queries", "As prefix_cache_queries, by its older name.", "prompt_tokens"),
    ("vllm:gpu_prefix_cache_hits", "As prefix_cache_hits, by its older name.", "cached_tokens"),
    ("vllm:prompt_tokens", "Tokens of prompts.", "prompt_tokens"),
    ("vllm:generation_tokens", "Tokens sampled.", "generated_tokens"),
)
VLLM_LABELS = ["model_name", "engine"]
ENGINE = "0"  # vLLM's number of an engine among several of one model


class LoadMetrics:
    """Of one server."""

    def __init__(self, models: Pool, requests: Requests, metrics: Metrics):
        self._models, self._requests, self._metrics = models, requests, metrics

    def families(self) -> Iterator[Metric]:
        """In our names, as it is now."""
        loads = self._loads()
        for name, help, field in OURS:
            gauges = GaugeMetricFamily(name, help, labels=MODEL)
            for load in loads:
                gauges.add_metric([load.model], getattr(load, field))
            yield gauges

    def vllm_families(self) -> Iterator[Metric]:
        """In vLLM's names, as it is now."""
        loads = self._loads()
        for kind, rows in ((GaugeMetricFamily, VLLM_GAUGES), (CounterMetricFamily, VLLM_COUNTERS)):
            for name, help, field in rows:
                family = kind(name, help, labels=VLLM_LABELS)
                for load in loads:
                    family.add_metric([load.model, ENGINE], getattr(load, field))
                yield family

    def _loads(self) -> list[Load]:
        """Of each model that was wanted so far. A request whose model is not known yet counts as the default's, since
        it takes part in what this server has to do."""
        phases = self._requests.phases()
        default = self._models.default
        loads = []
        for entry in self._models.entries():
            names = (entry.id, UNKNOWN) if default and default.source.id == entry.id else (entry.id,)
            metrics = self._metrics.of(entry.id)
            info = entry.served.engine.info if entry.served and entry.resident else None
            loads.append(
                Load(
                    entry.id,
                    sum(phases[name, phase] for name in names for phase in RUNNING),
                    sum(phases[name, phase] for name in names for phase in WAITING),
                    metrics.kv_running / info.kv_tokens if info and info.kv_tokens else 0.0,
                    *astuple(metrics.totals),
                )
            )
        return loads
