"""Layers on workers: what is served is what one machine would serve."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from rpc_workers import WorkerProcess, worker
from running import CEILING, RunningServer, until

from nitro.config import ServeConfig

PARIS = [
    {"role": "system", "content": "You are a teacher of geography."},
    {"role": "user", "content": "Complete the sentence: The capital of France is"},
]
TEXT = "The Danube rises in the Black Forest and flows through ten countries before it reaches the sea."


@pytest.fixture(scope="module")
def workers() -> Iterator[list[WorkerProcess]]:
    with worker() as first, worker() as second:
        yield [first, second]


@pytest.fixture(scope="module")
def server(workers: list[WorkerProcess]) -> Iterator[RunningServer]:
    names = ",".join(each.name for each in workers)
    with RunningServer(ServeConfig(engine="llama", port=0, context=512, rpc=names, tensor_split="1,1")) as server:
        yield server.ready()


def scored(client: openai.OpenAI) -> list[object]:
    """The logprobs of a text and of what follows it, whole."""
    options = {"echo": True, "logprobs": 5, "max_tokens": 12, "temperature": 0}
    found = client.completions.create(model="", prompt=TEXT, **options).choices[0].logprobs
    return [found.tokens, found.token_logprobs, found.top_logprobs]


def test_the_logits_are_those_of_one_machine(server: RunningServer) -> None:
    """Exactly: the same kernels compute the same numbers, wherever they are computed."""
    with RunningServer(ServeConfig(engine="llama", port=0, context=512)) as local:
        assert scored(server.client()) == scored(local.ready().client())


def test_where_the_layers_lie(server: RunningServer, workers: list[WorkerProcess]) -> None:
    info = server.engine.info
    assert info.workers == httpx.get(f"{server.url}/health").json()["workers"]
    assert set(info.workers) == {each.name for each in workers}
    assert sum(info.workers.values()) == 31 and min(info.workers.values()) >= 15
    assert all(f"on {each.name}" in info.layers and each.name in info.kv_place for each in workers)


def test_eight_clients(server: RunningServer) -> None:
    def ask(number: int) -> str:
        client = server.client()
        return client.chat.completions.create(model="", messages=PARIS, temperature=0).choices[0].message.content

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(8), timeout=CEILING)) == {"The capital of France is Paris."}
    assert max(map(len, server.rows())) > 1, "none were computed together"


def test_a_client_that_leaves(server: RunningServer) -> None:
    client = server.client()
    stream = client.completions.create(model="", prompt=TEXT, max_tokens=400, stream=True, temperature=0)
    next(iter(stream))
    stream.close()
    until(lambda: not server.engine.generations.computing)
    assert client.completions.create(model="", prompt="One, two,", max_tokens=1).choices[0].text


def test_a_schema(server: RunningServer) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    said = server.client().chat.completions.create(model="", messages=PARIS, response_format=form)
    assert json.loads(said.choices[0].message.content)["city"] in ("Paris", "Rome")


def test_a_draft_model_stays_on_this_machine(shallow_smollm: Path, smollm: Path) -> None:
    """Its guesses would take a way over the network for each token."""
    with worker() as only:
        config = ServeConfig(
            engine="llama", port=0, context=256, parallel=1, model=str(smollm), draft=str(shallow_smollm), rpc=only.name
        )
        with RunningServer(config) as server:
            info = server.ready().engine.info
            assert info.has_draft_model and info.workers == {only.name: 31}
            assert (
                server.client().completions.create(model="", prompt=TEXT, max_tokens=6, temperature=0).choices[0].text
            )
