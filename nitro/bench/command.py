"""`nitro bench`: any server that speaks the OpenAI API, measured from outside, as a table."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from nitro.bench import client, endpoint
from nitro.bench.client import Answer, Load, Refused
from nitro.bench.endpoint import Endpoint
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import Play, alone, chat, conversations, shared_prefix
from nitro.bench.stats import percentile

SHARES = (0.5, 0.9, 0.99)
TOO_STRICT = (400, 422)  # the statuses of a request that the server does not take
NOTE = "pN: of N % of the answers it was at least as good."


@dataclass(frozen=True)
class Measure:
    """Of one answer; None where it does not count."""

    title: str
    of: Callable[[Answer], float | None]
    more_is_better: bool = False

    def shown(self, answers: list[Answer]) -> list[str]:
        sign = -1 if self.more_is_better else 1
        values = [sign * value for answer in answers if (value := self.of(answer)) is not None]
        return [f"{sign * percentile(values, share):.4g}" for share in SHARES]


MEASURES = (
    Measure("TTFT, ms", lambda a: None if a.ttft is None else 1000 * a.ttft),
    Measure("time per output token, ms", lambda a: 1000 * a.per_token if a.tokens > 1 else None),
    Measure("tokens/s of an answer", lambda a: a.tokens / a.duration, more_is_better=True),
)


def plays(clients: int, tokens: int) -> dict[str, Play]:
    """What is played, in this order."""
    title = f"{clients} client{'s' if clients > 1 else ''}"
    return {
        f"{title}, 200 words each": alone(clients, tokens),
        f"{title}, 600 words shared": shared_prefix(clients, 2 * clients, 600, tokens),
        f"{title}, 3 turns of a conversation": conversations(clients, 3, 60, tokens),
    }


def bench(url: str, model: str | None, key: str | None, clients: int, tokens: int) -> None:
    """Raises BenchError."""
    named = {"model": model} if model else {}
    client.run(_bench(endpoint.parse(url, key, named), clients, tokens))


async def _bench(at: Endpoint, clients: int, tokens: int) -> None:
    console = Console(stderr=True)
    at = await agreed(at)
    if not at.fields.get("ignore_eos"):
        console.print("The server takes no ignore_eos: answers may be shorter than asked for.", highlight=False)
    prompts = Prompts(random.randrange(2**31))  # none that an earlier run has left in a cache
    for title, play in plays(clients, tokens).items():
        with console.status(title):
            load = await play(at, prompts)
        show(title, load)
    print(NOTE)


async def agreed(at: Endpoint) -> Endpoint:
    """With what the server takes. The first question shows whether URL, key and model are right. Raises BenchError."""
    full = replace(at, fields={**at.fields, "ignore_eos": True})
    for trial in (full, at):
        try:
            await client.chat(trial, trial.ask(chat("Be brief.", "Say hello."), tokens=8))
            return trial
        except Refused as refusal:
            if trial is at or refusal.status not in TOO_STRICT:
                raise
    raise AssertionError


def show(title: str, load: Load) -> None:
    """What came of one play."""
    asked, told = sum(a.prompt_tokens for a in load.answers), sum(a.cached_tokens for a in load.answers)
    cached = f"; {100 * told / asked:.0f} % of the prompts cached" if told else ""
    print(f"{title}: {load.tokens} tokens in {load.seconds:.1f} s, {load.tokens / load.seconds:.4g} a second{cached}")
    table = Table("", *(f"p{100 * share:.0f}" for share in SHARES))
    for measure in MEASURES:
        table.add_row(measure.title, *measure.shown(load.answers))
    Console().print(table)
