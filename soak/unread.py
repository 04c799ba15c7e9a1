"""Clients that ask for long answers and never read them: what others get beside them, and what the server holds."""

import argparse
import asyncio
import contextlib
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import processes
from bench.processes import HOST, Server
from nitro.bench import client
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import Prompts
from nitro.errors import BenchError
from nitro.models import default_model
from soak import llama_server, replies, servers
from soak.connection import post
from soak.goals import UNREAD
from soak.report import Figure, Findings

DEAF = 200  # clients that never read
DEAF_TOKENS = 128  # of their answers, each with the log probabilities of 20 tokens: about 300 KB
RECEIVE_BUFFER = 4096  # bytes of theirs, in the kernel
OTHERS = 4  # clients that read, from another address
WORDS, TOKENS = 20, 64  # of the others' prompts and answers
SECONDS = 15.0  # for which the others are measured; an answer that has begun is read to its end
TIMEOUT = 60.0  # seconds for one of the others' answers
IDLE_SHARE, IDLE_SECONDS = 0.1, 2.0  # of a core, for so long: the server has nothing more to do for the deaf ones
IDLE_TIMEOUT = 300.0  # seconds until then
ADDRESS = "127.0.0.2"  # of the others: a user of their own
RATIO = 0.95  # of the tokens per second alone
SHORT_RATIO = 0.5  # in the short form, which may share its machine
MIB_EACH = 1.0  # MiB that the server may hold for each of them
CONTEXT, SLOTS = 512, 8
HOW = """\
{deaf} clients ask for streams of {tokens} tokens with the log probabilities of 20 tokens each, which is more than the
kernel's buffers take, and never read. When the server has nothing more to do for them, {others} clients at another
address send requests one after another for {seconds:g} s, as they did before, and do again when the deaf ones have
left: their tokens/s, beside and alone. llama.cpp and llama-server run SmolLM2, MLX a tiny model{short}."""


@dataclass
class Measured:
    """Tokens per second of the others, and what the server held."""

    alone: float  # the mean of before and after
    beside: float
    waiting: int  # connections on which the kernel holds bytes for a client that does not read
    more: float  # MiB while they were there
    after: float  # MiB more when they had left

    @property
    def ratio(self) -> float:
        """Beside ÷ alone."""
        return self.beside / self.alone if self.alone else 0.0

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.beside:.0f} ÷ {self.alone:.0f} tokens/s)"


@contextmanager
def deaf(port: int, count: int) -> Iterator[None]:
    """Clients that never read, for as long as this is entered."""
    message = {"messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": DEAF_TOKENS}
    body = json.dumps({**message, "stream": True, "logprobs": True, "top_logprobs": 20, "ignore_eos": True}).encode()
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(connected(port)).sendall(post(replies.CHAT, body, port=port))
        yield


def connected(port: int) -> socket.socket:
    """A connection with little room for what comes."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    sock.settimeout(TIMEOUT)
    sock.connect((HOST, port))
    return sock


def until_idle(server: Server) -> bool:
    """Wait until the server's processes use hardly any processor time. Returns whether they do."""
    end = time.monotonic() + IDLE_TIMEOUT
    while time.monotonic() < end:
        used, began = server.cpu_seconds() or 0.0, time.monotonic()
        time.sleep(IDLE_SECONDS)
        if ((server.cpu_seconds() or 0.0) - used) / (time.monotonic() - began) < IDLE_SHARE:
            return True
    return False


def waiting(port: int) -> int:
    """Connections of this port on which the kernel holds bytes that the other side has no room for
    (https://docs.kernel.org/networking/proc_net_tcp.html)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and int(line[4].partition(":")[0], 16) > 0 for line in lines)


async def tokens_per_second(server: Server, prompts: Prompts, seconds: float) -> float:
    """What the others get."""
    endpoint = replace(server.endpoint, source=ADDRESS)
    began = time.monotonic()
    counts = await asyncio.gather(*(_asks(endpoint, prompts, began + seconds) for _ in range(OTHERS)))
    return sum(counts) / (time.monotonic() - began)


async def _asks(endpoint: BenchEndpoint, prompts: Prompts, until: float) -> int:
    """How many tokens one of them gets. One that waits too long gives up."""
    tokens = 0
    while time.monotonic() < until:
        came: list[float] = []
        try:
            async with asyncio.timeout(TIMEOUT):
                body = endpoint.chat_body(prompts.next(WORDS), TOKENS)
                tokens += (await client.chat(endpoint, body, times=came)).tokens
        except (TimeoutError, BenchError):
            return tokens + len(came)
    return tokens


def measure(server: Server, count: int, seconds: float, seed: int) -> Measured:
    """One server."""
    prompts = Prompts(seed)

    def others() -> float:
        return client.run(tokens_per_second(server, prompts, seconds))

    client.run(tokens_per_second(server, prompts, 1))  # which is not counted
    before = others()
    memory = server.memory() or 0.0
    with deaf(server.port, count):
        until_idle(server)
        unread = waiting(server.port)
        held = (server.memory() or 0.0) - memory
        beside = others()
        held = max(held, (server.memory() or 0.0) - memory)
    until_idle(server)
    after = (server.memory() or 0.0) - memory
    return Measured((before + others()) / 2, beside, unread, held, after)


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    count = options.count or (DEAF // 2 if options.short else DEAF)
    seconds = 2.0 if options.short else SECONDS
    short = "; the short form has the fake runner" if options.short else ""
    how = HOW.format(deaf=count, tokens=DEAF_TOKENS, others=OTHERS, seconds=seconds, short=short)
    findings = Findings("Clients that never read", how)
    peer = None
    if options.peer:
        with processes.running(llama_server.command(options, str(default_model.path()), SLOTS, CONTEXT)) as server:
            peer = measure(server, count, seconds, options.seed)
    models = {"llama": (str(default_model.path()), "--engine", "llama"), "mlx": servers.tiny("mlx")}
    for engine, model in {"fake": servers.FAKE}.items() if options.short else models.items():
        room = ("--ctx", str(CONTEXT), "--parallel", str(SLOTS), "--max-queue", str(count))
        with servers.serving(*model, *room) as server:
            seen = measure(server, count, seconds, options.seed)
            findings.figures += _figures(engine, seen, peer, count, SHORT_RATIO if options.short else RATIO)
            findings.figures.append(servers.ended(engine, server))
    return findings


def _figures(name: str, seen: Measured, peer: Measured | None, count: int, least: float) -> list[Figure]:
    ratio = Figure(f"{name}: others' tokens/s, beside ÷ alone", str(seen), f"≥ {least:g}", seen.ratio >= least)
    held = Figure.at_most(f"{name}: memory more beside them, MiB", round(seen.more), MIB_EACH * count)
    if peer:
        ratio, held = ratio.beside(str(peer)), held.beside(f"{peer.more:.0f}")
    return [
        ratio.of(UNREAD),
        Figure(f"{name}: connections with bytes that nobody reads", str(seen.waiting)),
        held.of(UNREAD),
        Figure(f"{name}: memory more when they have left, MiB", f"{seen.after:.0f}"),
    ]
