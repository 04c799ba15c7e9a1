"""A batch of lines with one system prompt beside the same lines sent by clients to llama-server; and how long somebody
waits for a first token while a batch runs, and without.

A row of bench.table: `python -m bench.table --rows batch`; `--lines` says how many there are.
"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import processes
from bench.peers import OURS
from bench.processes import Server
from bench.workloads import SERVER
from nitro.batch_client.files import InputFile
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import chat, timed
from nitro.bench.stats import percentile, turns
from nitro.chat.client import Client

SPEED = "tokens/s"
FIRST = "TTFT p50 of who asks beside it, ms"
ALONE = f"{OURS}, alone"
CLIENTS, CONTEXT = 8, 2048
LINES = 1000
SYSTEM, QUESTION, TOKENS = 600, 12, 16  # words, words, tokens of an answer
ASKED, WORDS, SHORT = 12, 200, 8  # requests beside a batch, words of each, tokens of an answer
ENDPOINT = "/v1/chat/completions"
ENDED = ("completed", "failed", "expired", "cancelled")
POLL = 0.1  # seconds

Values = dict[str, dict[str, list[float]]]  # as in rows.py


def commands(options: argparse.Namespace) -> dict[str, processes.Command]:
    """Both servers, with equal settings."""
    threads, model = str(options.threads), str(options.model)
    ours = [model, "--ctx", str(CONTEXT), "--parallel", str(CLIENTS), "--threads", threads, "--engine", "llama"]
    theirs = ["--model", model, "--ctx-size", str(CONTEXT * CLIENTS), "--no-webui", "--parallel", str(CLIENTS)]
    theirs += ["--threads", threads, "--threads-batch", threads, "--kv-unified"]
    return {
        OURS: processes.nitro(*ours),
        SERVER: processes.listening([str(options.llama_server), *theirs]),
    }


def bodies(server: Server, prompts: Prompts, lines: int) -> list[bytes]:
    """The requests: one system prompt, and a question of its own in each."""
    system = prompts.words(SYSTEM)
    endpoint = server.endpoint
    return [endpoint.chat_body(chat(system, prompts.words(QUESTION)), TOKENS) for _ in range(lines)]


def _begin(server: Server, requests: list[bytes]) -> tuple[Client, str]:
    """A batch of them."""
    api = Client(f"http://{processes.HOST}:{server.port}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lines.jsonl"
        with file.open("w", encoding="utf-8") as out:
            for number, request in enumerate(requests):
                body = {name: value for name, value in json.loads(request).items() if not name.startswith("stream")}
                out.write(
                    json.dumps({"custom_id": f"{number}", "method": "POST", "url": ENDPOINT, "body": body}) + "\n"
                )
        id = InputFile(file).send(api)
    asked = {"input_file_id": id, "endpoint": ENDPOINT, "completion_window": "24h"}
    return api, api.call("POST", "/batches", asked)["id"]


def _wait(api: Client, id: str, done: int | None = None) -> dict[str, Any]:
    """Until it has ended, or so many lines are done."""
    while True:
        batch = api.call("GET", f"/batches/{id}")
        if batch["status"] in ENDED or (done is not None and batch["request_counts"]["completed"] >= done):
            return batch
        time.sleep(POLL)


def batched(server: Server, requests: list[bytes]) -> float:
    """Tokens per second of a batch, from its upload to its end."""
    began = time.perf_counter()
    api, id = _begin(server, requests)
    batch = _wait(api, id)
    assert batch["request_counts"]["completed"] == len(requests), batch
    return float(batch["usage"]["output_tokens"] / (time.perf_counter() - began))


async def by_clients(server: Server, requests: list[bytes]) -> float:
    """The same of as many clients as we have places, one request after the other."""
    result = await timed([client.chats(server.endpoint, requests[i::CLIENTS]) for i in range(CLIENTS)])
    return result.tokens / result.seconds


async def _asks(server: Server, prompts: Prompts) -> float:
    """The median of the first token's time, in ms, over a few requests."""
    answers = []
    for _ in range(ASKED):
        answers.append(await client.chat(server.endpoint, server.endpoint.chat_body(prompts.next(WORDS), SHORT)))
        await asyncio.sleep(0.05)  # who reads what was said
    return 1000 * percentile([answer.ttft or 0.0 for answer in answers], 0.5)


def beside(server: Server, seed: int) -> tuple[float, float]:
    """The first token's time beside a batch, and alone."""
    prompts = Prompts(seed)
    alone = client.run(_asks(server, prompts))
    api, id = _begin(server, bodies(server, prompts, LINES))
    _wait(api, id, done=CLIENTS)
    found = client.run(_asks(server, prompts))
    assert api.call("POST", f"/batches/{id}/cancel")["status"] == "cancelling", "the batch was over too early"
    _wait(api, id)
    return found, alone


def measured(options: argparse.Namespace) -> Values:
    """A row's work. In each round both servers have a turn; the first one, of few lines, is not counted."""
    both = commands(options)
    names = list(both)
    values: Values = {SPEED: {name: [] for name in names}, FIRST: {OURS: [], ALONE: []}}
    with processes.all_running(list(both.values())) as servers:
        for number, order in enumerate([tuple(range(len(names))), *turns(options.rounds, len(names))]):
            for i in order:
                requests = bodies(servers[i], Prompts(number), options.lines if number else 2 * CLIENTS)
                if names[i] == OURS:
                    speed = batched(servers[i], requests)
                    found, alone = beside(servers[i], number)
                else:
                    speed = client.run(by_clients(servers[i], requests))
                if number:
                    values[SPEED][names[i]].append(speed)
                    if names[i] == OURS:
                        values[FIRST][OURS].append(found)
                        values[FIRST][ALONE].append(alone)
    return values
