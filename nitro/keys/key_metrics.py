"""What `GET /metrics` shows of keys: what this server has counted since its start, by the keys' names."""

from collections.abc import Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from nitro.keys.ring import KeyRing
from nitro.state.usage import Counts

KEY = ["key"]
# name, help, which of the counts
COUNTERS = (
    ("nitro_key_requests", "Requests of a key that have ended.", "requests"),
    ("nitro_key_prompt_tokens", "Tokens of its prompts and of its inputs to be embedded.", "prompt"),
    ("nitro_key_cached_tokens", "Those of them found in the cache.", "cached"),
    ("nitro_key_generated_tokens", "Tokens of its answers.", "completion"),
)


def families(keys: KeyRing) -> Iterator[Metric]:
    """As they are now."""
    totals: dict[str, Counts] = dict(keys.ledger.totals())
    for name, help, field in COUNTERS:
        counter = CounterMetricFamily(name, help, labels=KEY)
        for account in keys.accounts:
            counter.add_metric([account.name], getattr(totals.get(account.name, Counts()), field))
        yield counter
    refused = CounterMetricFamily("nitro_key_refused", "Requests that met a limit.", labels=[*KEY, "code"])
    running = GaugeMetricFamily("nitro_key_requests_running", "Requests under way.", labels=KEY)
    for account in keys.accounts:
        running.add_metric([account.name], account.at_once)
        for code, count in account.refused.items():
            refused.add_metric([account.name, code], count)
    yield refused
    yield running
