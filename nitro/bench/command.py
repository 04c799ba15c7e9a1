"""`nitro bench`: measures any server that speaks the OpenAI API from outside, and prints tables."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from nitro.bench import client
from nitro.bench.client import BenchRefused, LoadResult, MeasuredAnswer
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import SAMPLING, Scenario, chat, conversations, independent, real_texts, shared_prefix
from nitro.bench.stats import percentile
from nitro.system import terminal

SHARES = (0.5, 0.9, 0.99)
UNKNOWN_FIELD_STATUSES = (400, 422)  # with which a server refuses a parameter that it does not know
OPTIONAL = {"ignore_eos": True, **SAMPLING, "seed": 1}  # parameters that a server may not know
NOTE = "pN: N % of the answers were at least this good."


@dataclass(frozen=True)
class Metric:
    """A row of the table. `value`: that of one answer; None where it does not count."""

    title: str
    value: Callable[[MeasuredAnswer], float | None]
    higher_is_better: bool = False

    def percentiles(self, answers: list[MeasuredAnswer]) -> list[str]:
        """The cells of the row, one per share; each is counted from the better end."""
        sign = -1 if self.higher_is_better else 1
        values = [sign * value for value in map(self.value, answers) if value is not None]
        return [number(sign * percentile(values, share)) for share in SHARES]


def number(value: float) -> str:
    """With four digits, but never fewer than stand before the point: 0.01234, 1.5, 20,760."""
    digits = 0 if value == 0 else max(3 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


METRICS = (
    Metric("TTFT, ms", lambda a: None if a.ttft is None else 1000 * a.ttft),
    Metric("time per output token, ms", lambda a: 1000 * a.per_token if a.tokens > 1 else None),
    Metric("tokens/s of an answer", lambda a: a.tokens / a.duration, higher_is_better=True),
)


def scenarios(clients: int, tokens: int) -> dict[str, Scenario]:
    """The scenarios by title, in the order in which they run."""
    title = f"{clients} client{'s' if clients > 1 else ''}"
    return {
        f"{title}, 200 words each": independent(clients, tokens),
        f"{title}, 600 words shared": shared_prefix(clients, 2 * clients, 600, tokens),
        f"{title}, 3 turns of a conversation": conversations(clients, 3, 60, tokens),
        f"{title}, requests as people write them": real_texts(clients, tokens),
    }


def bench(server: BenchEndpoint, clients: int, tokens: int) -> None:
    """Run the scenarios against a server, and print a table for each. Raises BenchError."""
    client.run(_bench(server, clients, tokens))


async def _bench(server: BenchEndpoint, clients: int, tokens: int) -> None:
    console = Console(stderr=True)
    (server,) = await negotiate_all([server])
    prompts = Prompts(random.randrange(2**31))  # none that an earlier run has left in a cache
    for title, scenario in scenarios(clients, tokens).items():
        with console.status(title):
            result = await scenario(server, prompts)
        show(title, result)
    terminal.say(NOTE)


def tell_refused(server: BenchEndpoint) -> None:
    """Say what a server does not know, and what that means for the figures."""
    if "ignore_eos" in server.refused:
        terminal.say("The server does not accept ignore_eos, so answers may be shorter than requested.", err=True)
    others = sorted(server.refused - {"ignore_eos"})
    if others:
        terminal.say(f"It does not accept {', '.join(others)} either, and chooses them itself.", err=True)


async def negotiate(server: BenchEndpoint) -> BenchEndpoint:
    """The endpoint, with ignore_eos in every request, and without the parameters that the server does not know.

    Its first request also shows whether URL, key and model are right. Raises BenchError.
    """
    server = without(server, frozenset())
    if await _accepts(server, OPTIONAL):
        return server
    refused = without(server, frozenset(OPTIONAL))
    await client.chat(refused, _greeting(refused, {}))  # raises where it is something else that is refused
    unknown = [
        name
        for name in OPTIONAL
        if not await _accepts(without(server, refused.refused - {name}), {name: OPTIONAL[name]})
    ]
    return without(server, frozenset(unknown))


async def negotiate_all(servers: list[BenchEndpoint]) -> list[BenchEndpoint]:
    """The same of several servers, all without what one of them refuses: they get the same requests. Tells what is
    refused. Raises BenchError."""
    known = [await negotiate(server) for server in servers]
    refused = frozenset[str]().union(*(server.refused for server in known))
    tell_refused(without(servers[0], refused))
    return [without(server, refused) for server in servers]


def without(server: BenchEndpoint, refused: frozenset[str]) -> BenchEndpoint:
    """The endpoint with ignore_eos in every request, and without the parameters that are refused."""
    return replace(server, fields={**server.fields, "ignore_eos": True}, refused=refused)


async def _accepts(server: BenchEndpoint, params: dict[str, Any]) -> bool:
    try:
        await client.chat(server, _greeting(server, params))
    except BenchRefused as refusal:
        if refusal.status not in UNKNOWN_FIELD_STATUSES:
            raise
        return False
    return True


def _greeting(server: BenchEndpoint, params: dict[str, Any]) -> bytes:
    return server.chat_body(chat("Be brief.", "Say hello."), 8, **params)


def accepted(drafted: int, accepted: int) -> str:
    """How many of the drafted tokens were accepted; empty where nothing was drafted."""
    return f"{accepted:,} of {drafted:,} ({100 * accepted / drafted:.0f} %)" if drafted else ""


def show(title: str, result: LoadResult) -> None:
    """Print the result of one scenario."""
    prompt_tokens = sum(a.prompt_tokens for a in result.answers)
    cached_tokens = sum(a.cached_tokens for a in result.answers)
    cached = f"; {100 * cached_tokens / prompt_tokens:.0f} % of the prompts cached" if cached_tokens else ""
    drafts = f"; {told} drafted tokens accepted" if (told := accepted(*result.drafts)) else ""
    speed = result.tokens / result.seconds
    terminal.say(
        f"{title}: {result.tokens:,} tokens in {result.seconds:,.1f} s, {number(speed)} per second{cached}{drafts}"
    )
    table = Table("", *(f"p{100 * share:.0f}" for share in SHARES))
    for metric in METRICS:
        table.add_row(metric.title, *metric.percentiles(result.answers))
    Console().print(table)
