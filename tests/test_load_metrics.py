"""How loaded a server is, as routers read it: in our names and in vLLM's."""

import threading
from collections.abc import Callable

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from runners import Gate
from running import RunningServer, until

MESSAGES = [{"role": "user", "content": "Hello"}]
Samples = dict[str, float]


def shown(server: RunningServer) -> Samples:
    """By name; there is one model."""
    families = text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text)
    return {sample.name: sample.value for family in families for sample in family.samples if "le" not in sample.labels}


# What production-stack (EngineStats.from_vllm_scrape) and the endpoint picker read; vLLM has a hit rate no more
SCRAPED = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:gpu_prefix_cache_hits_total",
    "vllm:gpu_prefix_cache_queries_total",
    "vllm:gpu_cache_usage_perc",
    "vllm:kv_cache_usage_perc",
    "vllm:prefix_cache_hits_total",
    "vllm:prefix_cache_queries_total",
)


def test_running_waiting_and_the_share_of_the_cache(serve: Callable[..., RunningServer], gate: Gate) -> None:
    server = serve(engine="runners:GatedRunner", model=gate.path, parallel=2, metrics_names="both")
    loading = server.client().chat.completions
    assert shown(server)["nitro_requests_waiting"] == 0
    gate.accept()
    server.ready()
    streams = [loading.create(model="", messages=MESSAGES, stream=True, max_tokens=8) for _ in range(3)]
    gate.step(2)
    gate.wait_inside()
    until(lambda: shown(server)["nitro_requests_running"] == 2)
    now = shown(server)
    assert now["nitro_requests_waiting"] == now["nitro_sequences_waiting"] == 1
    used, pool = now["nitro_kv_tokens_used"], server.engine.info.kv_tokens
    assert used and now["nitro_kv_ratio"] == used / pool
    assert now["vllm:kv_cache_usage_perc"] == now["vllm:gpu_cache_usage_perc"] == now["nitro_kv_ratio"]
    assert (now["vllm:num_requests_running"], now["vllm:num_requests_waiting"]) == (2, 1)
    gate.open()
    for stream in streams:
        list(stream)
    until(lambda: shown(server)["nitro_requests_running"] == 0)
    after = shown(server)
    assert after["nitro_requests_waiting"] == after["nitro_kv_ratio"] == 0
    assert after["nitro_kv_tokens_used"] > 0  # idle slots hold it, and give way
    prompt, cached = after["nitro_prompt_tokens_total"], after["nitro_cached_tokens_total"]
    assert prompt > cached > 0
    for older in ("", "gpu_"):
        assert after[f"vllm:{older}prefix_cache_queries_total"] == prompt
        assert after[f"vllm:{older}prefix_cache_hits_total"] == cached
    assert after["vllm:prompt_tokens_total"] == prompt and after["vllm:generation_tokens_total"] == 24


def test_who_waits_for_the_model_waits(serve: Callable[..., RunningServer], gate: Gate) -> None:
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.hold()
    with httpx.Client(base_url=server.url) as client:
        request = client.build_request("POST", "/v1/chat/completions", json={"messages": MESSAGES, "stream": True})
        request.extensions["timeout"] = {"read": None, "connect": None, "write": None, "pool": None}
        asking = threading.Thread(target=lambda: client.send(request))
        asking.start()
        until(lambda: shown(server)["nitro_requests_waiting"] == 1)
        gate.greet()
        gate.open()
        asking.join()
    until(lambda: shown(server)["nitro_requests_waiting"] == 0)


@pytest.mark.parametrize(("names", "ours", "theirs"), [("nitro", True, False), ("vllm", False, True)])
def test_whose_names(serve: Callable[..., RunningServer], names: str, ours: bool, theirs: bool) -> None:
    server = serve(metrics_names=names).ready()
    found = shown(server)
    assert ("nitro_requests_running" in found) is ours
    assert [name in found for name in SCRAPED] == [theirs] * len(SCRAPED)
    labels = {"model_name": "FakeRunner", "engine": "0"}
    for family in text_string_to_metric_families(httpx.get(f"{server.url}/metrics").text):
        for sample in family.samples:
            if sample.name.startswith("vllm:"):
                assert sample.labels == labels
