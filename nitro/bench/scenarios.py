"""What clients ask of a server, each in its own way. A play is one round, with prompts that no round before had."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from nitro.bench import client
from nitro.bench.client import Answer, Load
from nitro.bench.endpoint import Endpoint
from nitro.bench.prompts import Prompts

Play = Callable[[Endpoint, Prompts], Awaitable[Load]]

PLAIN = 1.0  # of the penalties for words said already: a small model's greedy answers go round in circles without
CHANGED = 30  # of so many words of a prediction one is wrong


def alone(clients: int, tokens: int, words: int = 200, requests: int = 2, seeded: bool = False) -> Play:
    """Each client sends requests that share nothing, one after another; `seeded`: drawn at temperature 1, each with a
    seed of its own."""

    async def play(endpoint: Endpoint, prompts: Prompts) -> Load:
        def ask() -> bytes:
            drawn = {"temperature": 1.0, "seed": prompts.number()} if seeded else {}
            return endpoint.ask(prompts.next(words), tokens, **drawn)

        bodies = [[ask() for _ in range(requests)] for _ in range(clients)]
        return await timed([client.chats(endpoint, some) for some in bodies])

    return play


def shared_prefix(clients: int, requests: int, words: int, tokens: int) -> Play:
    """One long system prompt for all, and a short question each."""

    async def play(endpoint: Endpoint, prompts: Prompts) -> Load:
        system = prompts.words(words)
        bodies = [endpoint.ask(chat(system, prompts.words(12)), tokens) for _ in range(requests)]
        return await timed([client.chats(endpoint, bodies[i::clients]) for i in range(clients)])

    return play


def conversations(clients: int, turns: int, words: int, tokens: int) -> Play:
    """Each client talks on, with all that was said before. Only the last turn's TTFT counts."""

    async def talk(endpoint: Endpoint, system: str, questions: list[str]) -> list[Answer]:
        answers, messages = [], chat(system)
        for question in questions:
            messages.append({"role": "user", "content": question})
            answers.append(await client.chat(endpoint, endpoint.ask(messages, tokens), keep_text=True))
            messages.append({"role": "assistant", "content": answers[-1].text})
        return [*(replace(answer, ttft=None) for answer in answers[:-1]), answers[-1]]

    async def play(endpoint: Endpoint, prompts: Prompts) -> Load:
        talks = [(prompts.words(words), [prompts.words(words // 4) for _ in range(turns)]) for _ in range(clients)]
        return await timed([talk(endpoint, system, questions) for system, questions in talks])

    return play


def long_prompt(streams: int, tokens: int, words: int) -> Play:
    """A long prompt arrives among streams; the answers are theirs, so that the worst gap is."""

    async def play(endpoint: Endpoint, prompts: Prompts) -> Load:
        flowing = asyncio.Semaphore(0)
        bodies = [endpoint.ask(prompts.next(30), tokens) for _ in range(streams)]

        async def newcomer() -> list[Answer]:
            for _ in bodies:
                await flowing.acquire()
            await client.chat(endpoint, endpoint.ask(prompts.next(words), 4))
            return []

        async def stream(body: bytes) -> list[Answer]:
            return [await client.chat(endpoint, body, on_text=flowing.release)]

        return await timed([*map(stream, bodies), newcomer()])

    return play


def beside(clients: int, tokens: int, asked: dict[str, Any]) -> Play:
    """Streams beside one more request, which is `asked` for something more, writes for longer than they do and does
    not count."""

    async def play(endpoint: Endpoint, prompts: Prompts) -> Load:
        flows = asyncio.Event()
        bodies = [endpoint.ask(prompts.next(30), tokens) for _ in range(clients)]
        body = endpoint.ask(prompts.next(30), 5 * tokens, **{"ignore_eos": False, **asked})
        other = asyncio.ensure_future(client.chat(endpoint, body, on_text=flows.set))
        other.add_done_callback(lambda _: flows.set())
        try:
            await flows.wait()
            load = await timed([client.chats(endpoint, [body]) for body in bodies])
            if other.done():
                other.result()  # raises where it failed
            return load
        finally:
            other.cancel()

    return play


def rewrite(requests: int, tokens: int, predicted: bool) -> Play:
    """A text is asked for that the client has, but for one word in thirty, and the prompt has not: what the server
    wrote just before. The text does not repeat itself, or looking back would find as much as the prediction does."""

    async def play(endpoint: Endpoint, prompts: Prompts) -> Load:
        loads = []
        for _ in range(requests):  # each right after its text: later its KV lies elsewhere, and near ties differ
            messages, penalties = prompts.story(), {"frequency_penalty": PLAIN, "presence_penalty": PLAIN}
            first = await client.chat(endpoint, endpoint.ask(messages, tokens, **penalties), keep_text=True)
            words = first.text.split(" ")
            words[CHANGED // 2 :: CHANGED] = ["other"] * len(words[CHANGED // 2 :: CHANGED])
            prediction = {"prediction": {"type": "content", "content": " ".join(words)}} if predicted else {}
            loads.append(
                await timed([client.chats(endpoint, [endpoint.ask(messages, tokens, **penalties, **prediction)])])
            )
        answers = [answer for load in loads for answer in load.answers]
        return Load(answers, sum(load.seconds for load in loads), sum(load.client_cpu for load in loads))

    return play


async def timed(clients: list[Awaitable[list[Answer]]]) -> Load:
    """All at once. Where one fails, the others end with it."""
    tasks = [asyncio.ensure_future(work) for work in clients]
    began, cpu = time.perf_counter(), time.thread_time()
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    seconds, cpu = time.perf_counter() - began, time.thread_time() - cpu
    return Load([answer for some in answers for answer in some], seconds, cpu)


def chat(system: str, *questions: str) -> list[dict[str, Any]]:
    asked = [{"role": "user", "content": question} for question in questions]
    return [{"role": "system", "content": system}, *asked]
