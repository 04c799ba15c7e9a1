"""What clients request from a server, each scenario in its own way.

A scenario is one round. It sends prompts that no earlier round has sent, and returns what the clients measured.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from nitro.bench import client
from nitro.bench.client import LoadResult, MeasuredAnswer
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import Prompts

Scenario = Callable[[BenchEndpoint, Prompts], Awaitable[LoadResult]]

REPEAT_PENALTY = 1.0  # frequency and presence penalty: without, a small model's greedy answers go round in circles
# Of texts: all that decides is said, since defaults differ. Greedy answers of small models go round in circles.
SAMPLING = {"temperature": 0.8, "top_p": 0.95, "top_k": 40, "min_p": 0.05}
WARM = {**SAMPLING, "temperature": 0.7, "top_p": 1.0, "top_k": 0, "min_p": 0.0}  # nothing but the temperature
WORDS_PER_CHANGE = 30  # one word in so many of a prediction is wrong


def independent(clients: int, tokens: int, words: int = 200, requests: int = 2, seeded: bool = False) -> Scenario:
    """Each client sends requests that share nothing, one after another: random words.

    `seeded`: sampled at temperature 1, each with a seed of its own.
    """

    def body(endpoint: BenchEndpoint, prompts: Prompts) -> bytes:
        sampling = {"temperature": 1.0, "seed": prompts.number()} if seeded else {}
        return endpoint.chat_body(prompts.next(words), tokens, **sampling)

    return _each(clients, requests, body)


def real_texts(clients: int, tokens: int, requests: int = 2, sampling: dict[str, Any] = SAMPLING) -> Scenario:
    """Each client sends requests of several kinds (texts.py), one after another. Each has a seed of its own."""

    def body(endpoint: BenchEndpoint, prompts: Prompts) -> bytes:
        return endpoint.chat_body(prompts.text(), tokens, **sampling, seed=prompts.number())

    return _each(clients, requests, body)


def _each(clients: int, requests: int, body: Callable[[BenchEndpoint, Prompts], bytes]) -> Scenario:
    async def scenario(endpoint: BenchEndpoint, prompts: Prompts) -> LoadResult:
        bodies = [[body(endpoint, prompts) for _ in range(requests)] for _ in range(clients)]
        return await timed([client.chats(endpoint, of_client) for of_client in bodies])

    return scenario


def shared_prefix(clients: int, requests: int, words: int, tokens: int) -> Scenario:
    """One long system prompt of `words` words for all requests, and a short question in each."""

    async def scenario(endpoint: BenchEndpoint, prompts: Prompts) -> LoadResult:
        system = prompts.words(words)
        bodies = [endpoint.chat_body(chat(system, prompts.words(12)), tokens) for _ in range(requests)]
        return await timed([client.chats(endpoint, bodies[i::clients]) for i in range(clients)])

    return scenario


@dataclass(frozen=True)
class _Plan:
    """One conversation: the system prompt, the questions, and what each request says of sampling."""

    system: str
    questions: list[str]
    sampling: list[dict[str, Any]]


def conversations(clients: int, turns: int, words: int, tokens: int) -> Scenario:
    """Each client continues its conversation, with the whole history each time: random words. Only the last turn's
    TTFT counts."""

    def plan(prompts: Prompts) -> _Plan:
        return _Plan(prompts.words(words), [prompts.words(words // 4) for _ in range(turns)], [{}] * turns)

    return _conversations(clients, tokens, plan)


def real_conversations(clients: int, turns: int, tokens: int) -> Scenario:
    """The same, with questions as people ask them, sampled with seeds."""

    def plan(prompts: Prompts) -> _Plan:
        system, first = (message["content"] for message in prompts.text())
        questions = [first, *(prompts.follow_up() for _ in range(turns - 1))]
        return _Plan(system, questions, [{**SAMPLING, "seed": prompts.number()} for _ in range(turns)])

    return _conversations(clients, tokens, plan)


def _conversations(clients: int, tokens: int, plan: Callable[[Prompts], _Plan]) -> Scenario:
    async def converse(endpoint: BenchEndpoint, planned: _Plan) -> list[MeasuredAnswer]:
        answers: list[MeasuredAnswer] = []
        messages = chat(planned.system)
        for question, sampling in zip(planned.questions, planned.sampling, strict=True):
            messages.append({"role": "user", "content": question})
            body = endpoint.chat_body(messages, tokens, **sampling)
            answers.append(await client.chat(endpoint, body, keep_text=True))
            messages.append({"role": "assistant", "content": answers[-1].text})
        return [*(replace(answer, ttft=None) for answer in answers[:-1]), answers[-1]]

    async def scenario(endpoint: BenchEndpoint, prompts: Prompts) -> LoadResult:
        plans = [plan(prompts) for _ in range(clients)]
        return await timed([converse(endpoint, planned) for planned in plans])

    return scenario


def long_prompt(streams: int, tokens: int, words: int) -> Scenario:
    """A prompt of `words` words arrives while `streams` others stream. Only the streams' answers count, so that the
    longest gap is theirs."""

    async def scenario(endpoint: BenchEndpoint, prompts: Prompts) -> LoadResult:
        streaming = asyncio.Semaphore(0)
        bodies = [endpoint.chat_body(prompts.next(30), tokens) for _ in range(streams)]

        others: list[MeasuredAnswer] = []

        async def newcomer() -> list[MeasuredAnswer]:
            for _ in bodies:
                await streaming.acquire()
            others.append(await client.chat(endpoint, endpoint.chat_body(prompts.next(words), 4)))
            return []

        async def stream(body: bytes) -> list[MeasuredAnswer]:
            return [await client.chat(endpoint, body, on_text=streaming.release)]

        return replace(await timed([*map(stream, bodies), newcomer()]), others=others)

    return scenario


def beside_request(clients: int, tokens: int, params: dict[str, Any]) -> Scenario:
    """Streams beside one more request, which has `params`, writes for longer than they do, and does not count."""

    async def scenario(endpoint: BenchEndpoint, prompts: Prompts) -> LoadResult:
        streaming = asyncio.Event()
        bodies = [endpoint.chat_body(prompts.next(30), tokens) for _ in range(clients)]
        other_body = endpoint.chat_body(prompts.next(30), 5 * tokens, **{"ignore_eos": False, **params})
        other = asyncio.ensure_future(client.chat(endpoint, other_body, on_text=streaming.set))
        other.add_done_callback(lambda _: streaming.set())
        try:
            await streaming.wait()
            result = await timed([client.chats(endpoint, [body]) for body in bodies])
            if other.done():
                other.result()  # raises where it failed
            return result
        finally:
            other.cancel()

    return scenario


def rewrite(requests: int, tokens: int, predicted: bool) -> Scenario:
    """Requests for a text that the client has, except for one word in WORDS_PER_CHANGE, and the prompt has not: what
    the server wrote just before. The text does not repeat itself, or prompt look-up would find as much as the
    prediction does.

    `predicted`: send the client's text as a prediction.
    """

    async def scenario(endpoint: BenchEndpoint, prompts: Prompts) -> LoadResult:
        results = []
        for _ in range(requests):  # each right after its text: later its KV lies elsewhere, and near ties differ
            messages = prompts.story()
            params: dict[str, Any] = {"frequency_penalty": REPEAT_PENALTY, "presence_penalty": REPEAT_PENALTY}
            first = await client.chat(endpoint, endpoint.chat_body(messages, tokens, **params), keep_text=True)
            if predicted:
                params["prediction"] = {"type": "content", "content": _with_changes(first.text)}
            results.append(await timed([client.chats(endpoint, [endpoint.chat_body(messages, tokens, **params)])]))
        return LoadResult(
            answers=[answer for result in results for answer in result.answers],
            seconds=sum(result.seconds for result in results),
            client_cpu=sum(result.client_cpu for result in results),
        )

    return scenario


def _with_changes(text: str) -> str:
    """The text with one word in WORDS_PER_CHANGE replaced."""
    words = text.split(" ")
    for i in range(WORDS_PER_CHANGE // 2, len(words), WORDS_PER_CHANGE):
        words[i] = "other"
    return " ".join(words)


async def timed(clients: list[Awaitable[list[MeasuredAnswer]]]) -> LoadResult:
    """Run all clients at once and measure them together. Where one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in clients]
    began = time.perf_counter()
    cpu_began = time.thread_time()
    try:
        answers = await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
    seconds = time.perf_counter() - began
    client_cpu = time.thread_time() - cpu_began
    return LoadResult([answer for of_client in answers for answer in of_client], seconds, client_cpu)


def chat(system: str, *questions: str) -> list[dict[str, Any]]:
    """The messages of a chat: a system prompt, then questions."""
    return [
        {"role": "system", "content": system},
        *({"role": "user", "content": question} for question in questions),
    ]
