"""What /metrics shows after known requests."""

import os
import signal

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families
from runners import Gate
from running import RunningServer

MESSAGES = [{"role": "user", "content": "Hello"}]


def shown(server: RunningServer) -> dict[str, float]:
    """Samples by name, with the labels of those that have some."""
    reply = httpx.get(f"{server.url}/metrics")
    assert reply.status_code == 200 and reply.headers["content-type"].startswith("text/plain")
    return {
        sample.name + "".join(f" {value}" for value in sample.labels.values()): sample.value
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
    """The client goes, and the server has noticed."""
    stream.close()
    while "client=left" not in server.log_line():
        pass


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
    before = shown(gated)
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
