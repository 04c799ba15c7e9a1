"""What /metrics shows after known requests."""

import os
import signal

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from runners import Gate
from running import CEILING, RunningServer

from nitro.engines.scheduling.scheduler import MAX_SCORED
from nitro.engines.types import ChunkRecord, StepRecord
from nitro.service.events import TokenUsage
from nitro.service.metrics import Metrics

MESSAGES = [{"role": "user", "content": "Hello"}]


def shown(server: RunningServer) -> dict[str, float]:
    """Samples by name, with the labels of those that have some besides their model."""
    reply = httpx.get(f"{server.url}/metrics")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/plain")
    return {
        sample.name + "".join(f" {value}" for label, value in sample.labels.items() if label != "model"): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


@pytest.fixture
def gated(serve, gate: Gate) -> RunningServer:
    """A server whose engine takes a step when the gate lets it."""
    server = serve(engine="runners:GatedRunner", model=gate.path)
    gate.accept()
    return server.ready()


def test_a_server_that_has_done_nothing(serve) -> None:
    before = shown(serve().ready())
    assert before["nitro_generated_tokens_total"] == 0 and before["nitro_engine_restarts_total"] == 0


def test_requests(serve) -> None:
    server = serve().ready()
    client = server.client()
    replies = [
        client.chat.completions.create(model="", messages=MESSAGES, max_tokens=tokens, n=n)
        for tokens, n in ((5, 1), (3, 2))
    ]
    for _ in client.chat.completions.create(model="", messages=MESSAGES, max_tokens=4, stream=True):
        pass
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="", messages=MESSAGES, n=0)
    httpx.get(f"{server.url}/nowhere")
    httpx.get(f"{server.url}/v1/models/{'x' * 100}")
    after = shown(server)
    prompt = replies[0].usage.prompt_tokens
    assert after["nitro_prompt_tokens_total"] == 3 * prompt
    assert after["nitro_generated_tokens_total"] == 5 + 6 + 4
    cached = sum(reply.usage.prompt_tokens_details.cached_tokens for reply in replies)
    assert cached <= after["nitro_cached_tokens_total"] <= cached + prompt
    assert after["nitro_requests_total /v1/chat/completions 200"] == 3
    assert after["nitro_requests_total /v1/chat/completions 400"] == 1
    assert after["nitro_requests_total other 404"] == 1 and after["nitro_requests_total /v1/models 404"] == 1
    for name in ("queue_seconds", "time_to_first_token_seconds", "time_per_output_token_seconds"):
        assert after[f"nitro_{name}_count"] == 3
    assert after["nitro_batch_size_count"] == after["nitro_step_seconds_count"] == len(server.engine.steps)
    assert after["nitro_batch_size_sum"] == sum(len(record.rows) for record in server.engine.steps)
    assert after["nitro_kv_tokens_used"] > prompt and after["nitro_sequences_running"] == 0


def test_a_request_that_was_queued_only(serve, gate: Gate) -> None:
    """It has no first token and no time of one."""
    server = serve(engine="runners:GatedRunner", model=gate.path, parallel=1)
    gate.accept()
    server.ready()
    running = server.client().chat.completions.create(model="", messages=MESSAGES, stream=True, max_tokens=2)
    gate.wait_inside()
    server.client().chat.completions.create(model="", messages=MESSAGES, stream=True).close()
    while "client=left" not in server.log_line():
        pass
    assert shown(server)["nitro_time_to_first_token_seconds_count"] == 0
    gate.open()
    list(running)
    assert shown(server)["nitro_time_to_first_token_seconds_count"] == 1


def leave(server: RunningServer, stream: openai.Stream) -> None:
    """The client goes, and the engine has been told: it answers what it was sent after the abort."""
    stream.close()
    while "client=left" not in server.log_line():
        pass
    too_long = {"prompt": "a" * 5000, "max_tokens": 1}
    assert httpx.post(f"{server.url}/v1/completions", json=too_long, timeout=CEILING).status_code == 400


def test_a_prompt_that_is_being_scored_has_no_first_token(gated: RunningServer, gate: Gate) -> None:
    scored = {"model": "", "prompt": "a" * 400, "echo": True, "logprobs": 1, "max_tokens": 0, "stream": True}
    stream = gated.client().completions.create(**scored)
    gate.step(2)  # of 128 tokens each
    gate.wait_inside()
    while shown(gated)["nitro_step_seconds_count"] < 2:
        pass
    leave(gated, stream)
    gate.open()
    assert shown(gated)["nitro_time_to_first_token_seconds_count"] == 0


def test_a_server_whose_last_request_was_cut_is_idle(gated: RunningServer, gate: Gate) -> None:
    """No step tells of it."""
    stream = gated.client().chat.completions.create(model="", messages=MESSAGES, stream=True)
    gate.step(2)
    next(stream)
    gate.wait_inside()
    while (before := shown(gated))["nitro_step_seconds_count"] < 2:
        pass
    assert before["nitro_sequences_running"] == 1
    leave(gated, stream)
    gate.open()
    while (after := shown(gated))["nitro_sequences_running"]:
        pass
    for name in ("nitro_step_seconds_count", "nitro_batch_size_count"):
        assert after[name] - before[name] == 1


def test_an_engine_that_was_killed(gated: RunningServer, gate: Gate) -> None:
    stream = gated.client().chat.completions.create(model="", messages=MESSAGES, stream=True)
    gate.step(2)
    next(stream)
    gate.wait_inside()
    os.kill(gated.engine.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError):
        list(stream)
    gate.accept()
    gate.open()
    gated.ready()
    after = shown(gated)
    assert after["nitro_engine_restarts_total"] == 1
    assert after["nitro_sequences_running"] == after["nitro_kv_tokens_used"] == 0


# The numbers themselves


def histogram(text: bytes, name: str) -> tuple[dict[str, float], float, float]:
    """The buckets that hold something more than the one before, the count and the sum."""
    (family,) = (f for f in text_string_to_metric_families(text.decode()) if f.name == name)
    buckets = {s.labels["le"]: s.value for s in family.samples if s.name == f"{name}_bucket"}
    before = dict(zip(buckets, [0.0, *buckets.values()], strict=False))
    values = {s.name.removeprefix(f"{name}_"): s.value for s in family.samples if "le" not in s.labels}
    return {le: n for le, n in buckets.items() if n > before[le]}, values["count"], values["sum"]


def test_sums_and_buckets_of_requests() -> None:
    metrics = Metrics()
    metrics.of("m").generation(TokenUsage(7, 3, 5), queued=0.25, first=2.0, later=8.0)  # a token each 2 s
    metrics.of("m").generation(TokenUsage(11, 0, 3), queued=100.0, first=0.5, later=1.0)  # 0.5 s
    metrics.of("m").generation(TokenUsage(1, 0, 1), queued=0.0, first=1000.0, later=0.0)  # no time between tokens
    metrics.of("m").generation(TokenUsage(1, 0, 0), queued=None, first=None, later=0.0)  # neither
    text = metrics.text()
    queue = {"0.005": 1, "0.25": 2, "300.0": 3}, 3, 100.25
    assert histogram(text, "nitro_queue_seconds") == queue
    first = {"0.5": 1, "2.5": 2, "+Inf": 3}, 3, 1002.5
    assert histogram(text, "nitro_time_to_first_token_seconds") == first
    assert histogram(text, "nitro_time_per_output_token_seconds") == ({"0.5": 1, "+Inf": 2}, 2, 2.5)
    shown = {s.name: s.value for f in text_string_to_metric_families(text.decode()) for s in f.samples}
    totals = [shown[f"nitro_{name}_tokens_total"] for name in ("prompt", "cached", "generated")]
    assert totals == [20, 3, 9]


def step_record(rows: int, seconds: float) -> StepRecord:
    computed = [ChunkRecord(id, id, 0, 1) for id in range(rows)]
    return StepRecord(1, seconds, computed, [], [], [], 0, 0, 0)


def test_sums_and_buckets_of_steps() -> None:
    metrics = Metrics()
    for rows, seconds in ((2, 0.25), (64, 4.0), (200, 0.001)):
        metrics.of("m").step(step_record(rows, seconds))
    metrics.of("m").step(step_record(0, 50.0))  # nothing was computed
    text = metrics.text()
    assert histogram(text, "nitro_batch_size") == ({"2.0": 1, "64.0": 2, "+Inf": 3}, 3, 266)
    assert histogram(text, "nitro_step_seconds") == ({"0.001": 1, "0.25": 2, "+Inf": 3}, 3, 4.251)


@pytest.mark.parametrize("scored", [True, False])
def test_a_prompt_that_is_scored_takes_small_steps(serve, scored: bool) -> None:
    """Each of its tokens takes a row of logits."""
    server = serve().ready()
    options = {"echo": True, "logprobs": 1, "max_tokens": 0} if scored else {"max_tokens": 1}
    body = {"prompt": "a" * 300, **options}
    assert httpx.post(f"{server.url}/v1/completions", json=body, timeout=CEILING).status_code == 200
    steps = [row.stop - row.start for record in server.engine.steps for row in record.rows]
    assert max(steps) == MAX_SCORED == 128 if scored else max(steps) > MAX_SCORED


def test_each_model_has_its_own_numbers() -> None:
    metrics = Metrics()
    metrics.of("a").generation(TokenUsage(7, 3, 5), queued=0.25, first=2.0, later=8.0)
    metrics.of("b").step(step_record(2, 0.25))
    families = list(text_string_to_metric_families(metrics.text().decode()))
    found = {(s.name, s.labels["model"]): s.value for f in families for s in f.samples if "le" not in s.labels}
    assert found["nitro_prompt_tokens_total", "a"] == 7 and found["nitro_prompt_tokens_total", "b"] == 0
    assert found["nitro_step_seconds_count", "a"] == 0 and found["nitro_step_seconds_count", "b"] == 1
