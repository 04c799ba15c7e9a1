"""What clients ask of a server, each in its own way. A workload plays one round, with prompts no round before had."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from bench import client
from bench.client import Address, Answer, Load
from bench.prompts import Prompts

Play = Callable[[Address, Prompts], Awaitable[Load]]


@dataclass(frozen=True)
class Workload:
    """`slots`: requests that the servers take at once, each with `context` tokens."""

    title: str
    slots: int
    context: int
    play: Play


def alone(clients: int, tokens: int, words: int = 200, requests: int = 2) -> Play:
    """Each client sends requests that share nothing, one after another."""

    async def play(address: Address, prompts: Prompts) -> Load:
        bodies = [[client.chat_body(prompts.next(words), tokens) for _ in range(requests)] for _ in range(clients)]
        return await timed([client.chats(address, some) for some in bodies])

    return play


def shared_prefix(clients: int, requests: int, words: int, tokens: int) -> Play:
    """One long system prompt for all, and a short question each."""

    async def play(address: Address, prompts: Prompts) -> Load:
        system = prompts.words(words)
        bodies = [client.chat_body(chat(system, prompts.words(12)), tokens) for _ in range(requests)]
        return await timed([client.chats(address, bodies[i::clients]) for i in range(clients)])

    return play


def conversations(clients: int, turns: int, words: int, tokens: int) -> Play:
    """Each client talks on, with all that was said before. Only the last turn's TTFT counts."""

    async def talk(address: Address, system: str, questions: list[str]) -> list[Answer]:
        answers, messages = [], chat(system)
        for question in questions:
            messages.append({"role": "user", "content": question})
            answers.append(await client.chat(address, client.chat_body(messages, tokens), keep_text=True))
            messages.append({"role": "assistant", "content": answers[-1].text})
        return [*(replace(answer, first=None) for answer in answers[:-1]), answers[-1]]

    async def play(address: Address, prompts: Prompts) -> Load:
        talks = [(prompts.words(words), [prompts.words(words // 4) for _ in range(turns)]) for _ in range(clients)]
        return await timed([talk(address, system, questions) for system, questions in talks])

    return play


def long_prompt(streams: int, tokens: int, words: int) -> Play:
    """A long prompt arrives among streams; the answers are theirs, so that the worst gap is."""

    async def play(address: Address, prompts: Prompts) -> Load:
        flowing = asyncio.Semaphore(0)
        bodies = [client.chat_body(prompts.next(30), tokens) for _ in range(streams)]

        async def newcomer() -> list[Answer]:
            for _ in bodies:
                await flowing.acquire()
            await client.chat(address, client.chat_body(prompts.next(words), 4))
            return []

        async def stream(body: bytes) -> list[Answer]:
            return [await client.chat(address, body, on_text=flowing.release)]

        return await timed([*map(stream, bodies), newcomer()])

    return play


def rewrite(words: int, tokens: int, predicted: bool) -> Play:
    """A text is asked for that the client knows but for one word in thirty: its own answer of just before."""

    async def play(address: Address, prompts: Prompts) -> Load:
        messages = prompts.next(words)
        first = await client.chat(address, client.chat_body(messages, tokens), keep_text=True)
        known = [word if i % 30 else "other" for i, word in enumerate(first.text.split(" "))]
        prediction = {"prediction": {"type": "content", "content": " ".join(known)}} if predicted else {}
        return await timed([client.chats(address, [client.chat_body(messages, tokens, **prediction)])])

    return play


async def timed(clients: list[Awaitable[list[Answer]]]) -> Load:
    """All at once."""
    began, cpu = time.perf_counter(), time.process_time()
    answers = await asyncio.gather(*clients)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Load([answer for some in answers for answer in some], seconds, cpu)


def chat(system: str, *questions: str) -> list[dict[str, Any]]:
    asked = [{"role": "user", "content": question} for question in questions]
    return [{"role": "system", "content": system}, *asked]


WORKLOADS = {
    "1": Workload("1 client", 8, 1024, alone(1, 96)),
    "8": Workload("8 clients", 8, 1024, alone(8, 96)),
    "32": Workload("32 clients", 32, 512, alone(32, 64, words=100, requests=1)),
    "shared": Workload("600-word prefix shared by 8 clients", 8, 2048, shared_prefix(8, 16, 600, 16)),
    "talk": Workload("4 conversations of 5 turns", 8, 2048, conversations(4, 5, 60, 48)),
    "long": Workload("4,000-token prompt among 6 streams", 8, 4608, long_prompt(6, 160, 3900)),
}
OWN = {
    "rewrite": (
        Workload("rewrite with prediction", 8, 1024, rewrite(40, 300, predicted=True)),
        Workload("rewrite without", 8, 1024, rewrite(40, 300, predicted=False)),
    )
}
