"""Embeddings per second beside llama-server, on one GGUF of all-MiniLM-L6-v2 in F32; and what text keeps of its speed
while embeddings are made beside it, by the same chat model in the same process, which llama-server does not do.

Run: `python -m bench.embeddings`.
"""

import argparse
import http.client
import json
import random
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import build_llama_server, encode_limit, files, minilm, processes, report
from bench.encode_limit import LIMIT
from bench.processes import Server
from nitro.engines.hardware import memory
from nitro.models import default_model

OURS, THEIRS = "Nitro", "llama-server"
LENGTHS = (64, 400)  # tokens of an input, [CLS] and [SEP] among them
CLIENTS = (1, 8)
AROUND = 2
# Words that are one token of MiniLM's vocabulary.
WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
    "problem",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "government",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
]
CHAT = {"messages": [{"role": "user", "content": "Tell me a long story."}], "temperature": 0, "ignore_eos": True}
TOKENS = 256
BESIDE = 4  # clients that embed beside a chat
TIMEOUT = 120.0


class Client:
    """One connection, which is kept."""

    def __init__(self, server: Server):
        self._connection = http.client.HTTPConnection(processes.HOST, server.port, timeout=TIMEOUT)

    def post(self, path: str, body: bytes) -> bytes:
        """The reply. Raises OSError, RuntimeError."""
        self._connection.request("POST", path, body, {"content-type": "application/json"})
        reply = self._connection.getresponse()
        read = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"{reply.status}: {read[:300]!r}")
        return read


def body(tokens: int, chance: random.Random) -> bytes:
    """A request for one new text."""
    text = " ".join(chance.choices(WORDS, k=tokens - AROUND))
    return json.dumps({"input": text, "model": "any", "encoding_format": "base64"}).encode()


def rate(server: Server, clients: int, tokens: int, seconds: float, seed: int) -> float:
    """Embeddings a second of so many clients, each of which asks again as soon as it is answered."""
    end = time.perf_counter() + seconds

    def ask(number: int) -> int:
        chance, client, count = random.Random(seed * 100 + number), Client(server), 0
        while time.perf_counter() < end:
            client.post("/v1/embeddings", body(tokens, chance))
            count += 1
        return count

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        counts = list(pool.map(ask, range(clients)))
    return sum(counts) / (time.perf_counter() - began)


def chat_speed(server: Server) -> float:
    """Tokens a second of one answer, its prompt included."""
    began = time.perf_counter()
    Client(server).post("/v1/chat/completions", json.dumps({**CHAT, "max_tokens": TOKENS}).encode())
    return TOKENS / (time.perf_counter() - began)


def beside(server: Server, tokens: int, seed: int) -> tuple[float, float, float]:
    """Tokens a second of text alone and beside clients that embed; and embeddings a second meanwhile."""
    chat_speed(server)
    alone = chat_speed(server)
    stop = threading.Event()

    def ask(number: int) -> int:
        chance, client, count = random.Random(seed * 100 + number), Client(server), 0
        while not stop.is_set():
            client.post("/v1/embeddings", body(tokens, chance))
            count += 1
        return count

    with ThreadPoolExecutor(BESIDE) as pool:
        asking = [pool.submit(ask, number) for number in range(BESIDE)]
        began = time.perf_counter()
        together = chat_speed(server)
        stop.set()
        count = sum(each.result() for each in asking)
    return alone, together, count / (time.perf_counter() - began)


def commands(options: argparse.Namespace, model: Path) -> dict[str, processes.Command]:
    """Both servers, with equal settings. llama-server has a slot for each client."""
    binary = options.llama_server or build_llama_server.build()
    slots, threads = max(CLIENTS), str(options.threads)
    theirs = [str(binary), "--model", str(model), "--embeddings", "--threads", threads, "--threads-batch", threads]
    theirs += ["--parallel", str(slots), "--ctx-size", str(512 * slots), "--ubatch-size", "2048", "--no-webui"]
    return {
        OURS: processes.nitro(str(model), "--engine", "llama", "--threads", threads),
        THEIRS: processes.listening(theirs),
    }


def measure(options: argparse.Namespace, model: Path) -> dict[tuple[int, int], dict[str, list[float]]]:
    """By clients and tokens: the rates of each server, a value for each round."""
    found: dict[tuple[int, int], dict[str, list[float]]] = {}
    for turn in range(options.rounds):
        servers = list(commands(options, model).items())
        for name, command in servers if turn % 2 == 0 else reversed(servers):
            with processes.running(command) as server:
                rate(server, max(CLIENTS), LENGTHS[0], 0.5, 99)
                for clients in CLIENTS:
                    for tokens in LENGTHS:
                        value = rate(server, clients, tokens, options.seconds, turn)
                        found.setdefault((clients, tokens), {}).setdefault(name, []).append(value)
        with encode_limit.running(model, options.threads) as alone:
            for (clients, tokens), values in found.items():
                work = encode_limit.Work(clients, tokens, options.seconds)
                values.setdefault(LIMIT, []).append(alone.rate(work))
    return found


def rows(found: dict[tuple[int, int], dict[str, list[float]]]) -> list[list[str]]:
    """The first table."""
    lines = []
    for (clients, tokens), by_server in found.items():
        ours, theirs, alone = by_server[OURS], by_server[THEIRS], by_server[LIMIT]
        ratios = [_shown([one / other for one, other in zip(each, theirs, strict=True)]) for each in (ours, alone)]
        figures = [_shown(ours), _shown(theirs), ratios[0], _shown(alone), ratios[1]]
        lines.append([f"{clients} clients", f"{tokens} tokens", *figures])
    return lines


def _shown(values: list[float]) -> str:
    return f"{statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def beside_rows(options: argparse.Namespace) -> list[list[str]]:
    """The second table."""
    lines = []
    command = processes.nitro(str(default_model.path()), "--engine", "llama", "--threads", str(options.threads))
    measure_all: Callable[[Server, int], list[tuple[float, float, float]]] = lambda server, tokens: [  # noqa: E731
        beside(server, tokens, turn) for turn in range(options.rounds)
    ]
    with processes.running(command) as server:
        for tokens in LENGTHS:
            alone, together, rates = zip(*measure_all(server, tokens), strict=True)
            ratios = [one / other for one, other in zip(together, alone, strict=True)]
            shown = [_shown(list(values)) for values in (alone, together, ratios, rates)]
            lines.append([f"{BESIDE} clients embed", f"{tokens} words", *shown])
    return lines


def main() -> None:
    """Measure, print, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.embeddings", description=__doc__)
    parser.add_argument("--llama-server", type=Path, help="path of llama-server; default: build it")
    parser.add_argument("--rounds", type=int, default=5, help="in each, both servers have a turn (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each figure (%(default)s)")
    parser.add_argument("--threads", type=int, default=memory.physical_cores(), help="default: the physical cores")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    model = files.MODELS / "minilm-F32.gguf"
    if not model.is_file():
        model.parent.mkdir(parents=True, exist_ok=True)
        minilm.write_gguf(minilm.folder(), model.with_suffix(".part")).rename(model)
    header = ["clients", "an input", OURS, THEIRS, "ratio", LIMIT, "limit"]
    first = report.table(header, rows(measure(options, model)))
    print(first, flush=True)
    header = ["beside", "an input", "chat alone, tokens/s", "beside, tokens/s", "ratio", "embeddings/s"]
    second = report.table(header, beside_rows(options))
    print(second)
    how = (
        f"Embeddings a second: all-MiniLM-L6-v2 in F32, one text a request, {options.seconds:g} seconds a figure. "
        f"Medians of {options.rounds} rounds, with the least and the most; in every round each server has a turn. "
        f'To reach: 1.2. "{LIMIT}" is what the engine makes of as many texts at a time, with no server around '
        'them (bench/encode_limit.py), and "limit" is that ÷ llama-server: what a server on these kernels could reach.'
    )
    chat = (
        f"A chat of {TOKENS} tokens by the embedded model, and embeddings by the same model in the same process. To "
        "reach: 0.8 of the speed alone."
    )
    if not options.no_write:
        body = f"{report.setting('bench.embeddings')}\n\n{how}\n\n{first}\n\n{chat}\n\n{second}"
        report.write("Embeddings", body)


if __name__ == "__main__":
    main()
