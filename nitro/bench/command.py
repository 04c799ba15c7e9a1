"""`nitro bench`: measures any server that speaks the OpenAI API from outside, and prints tables."""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from nitro.bench import client, endpoint
from nitro.bench.client import BenchRefused, LoadResult, MeasuredAnswer
from nitro.bench.endpoint import BenchEndpoint
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import Scenario, chat, conversations, independent, shared_prefix
from nitro.bench.stats import percentile

SHARES = (0.5, 0.9, 0.99)
UNKNOWN_FIELD_STATUSES = (400, 422)  # with which a server refuses a parameter that it does not know
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
    }


def bench(url: str, model: str | None, api_key: str | None, clients: int, tokens: int) -> None:
    """Run the scenarios against a server, and print a table for each. Raises BenchError."""
    fields = {"model": model} if model else {}
    client.run(_bench(endpoint.parse(url, api_key, fields), clients, tokens))


async def _bench(server: BenchEndpoint, clients: int, tokens: int) -> None:
    console = Console(stderr=True, soft_wrap=True)
    server = await negotiate(server)
    if not server.fields.get("ignore_eos"):
        console.print(
            "The server does not accept ignore_eos, so answers may be shorter than requested.", highlight=False
        )
    prompts = Prompts(random.randrange(2**31))  # none that an earlier run has left in a cache
    for title, scenario in scenarios(clients, tokens).items():
        with console.status(title):
            result = await scenario(server, prompts)
        show(title, result)
    print(NOTE)


async def negotiate(server: BenchEndpoint) -> BenchEndpoint:
    """The endpoint, with ignore_eos in every request where the server accepts it.

    Its first request also shows whether URL, key and model are right. Raises BenchError.
    """
    with_ignore_eos = replace(server, fields={**server.fields, "ignore_eos": True})
    messages = chat("Be brief.", "Say hello.")
    try:
        await client.chat(with_ignore_eos, with_ignore_eos.chat_body(messages, 8))
        return with_ignore_eos
    except BenchRefused as refusal:
        if refusal.status not in UNKNOWN_FIELD_STATUSES:
            raise
    await client.chat(server, server.chat_body(messages, 8))
    return server


def show(title: str, result: LoadResult) -> None:
    """Print the result of one scenario."""
    prompt_tokens = sum(a.prompt_tokens for a in result.answers)
    cached_tokens = sum(a.cached_tokens for a in result.answers)
    cached = f"; {100 * cached_tokens / prompt_tokens:.0f} % of the prompts cached" if cached_tokens else ""
    speed = result.tokens / result.seconds
    print(f"{title}: {result.tokens:,} tokens in {result.seconds:,.1f} s, {number(speed)} per second{cached}")
    table = Table("", *(f"p{100 * share:.0f}" for share in SHARES))
    for metric in METRICS:
        table.add_row(metric.title, *metric.percentiles(result.answers))
    Console().print(table)
