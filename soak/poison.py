"""A request that ends the engine's process, sent by people who do not know it: through the OpenAI SDK as it is, which
asks again where it is told to. The server has to live on, for everybody else within seconds."""

import argparse
import time
from collections import Counter

import openai

from bench.processes import HOST, Server
from soak import servers
from soak.report import Figure, Findings
from soak.runners import POISON

SOON = 5.0  # seconds until the next honest request is answered
CEILING = 60.0  # seconds, of the SDK
HOW = f"""\
A runner that kills its own process where a prompt says so. The SDK keeps its usual retries, for the poison and for the
honest request that follows at once; the honest one has to be answered within {SOON:g} s. Poison is the same each
time, as of one client that repeats itself, then another each time, as where a model cannot take a kind of prompt."""


def ask(sdk: openai.OpenAI, prompt: str) -> str:
    """What the SDK makes of it: "answered", or its error's name and status."""
    try:
        sdk.chat.completions.create(model="any", messages=[{"role": "user", "content": prompt}], max_tokens=2)
    except openai.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code}"
    except openai.OpenAIError as error:
        return type(error).__name__
    return "answered"


def run(options: argparse.Namespace) -> Findings:
    found = Findings("Poison", HOW)
    count = options.count or (4 if options.short else 20)
    for kind in ("alike", "different"):
        with servers.serving(*servers.POISONED) as server:
            found.figures += _figures(kind, server, count, found.faults)
    return found


def _figures(kind: str, server: Server, count: int, faults: Counter[str]) -> list[Figure]:
    outcomes: Counter[str] = Counter()
    waits: list[float] = []
    late = deaths = 0
    with openai.OpenAI(base_url=f"http://{HOST}:{server.port}/v1", api_key="none", timeout=CEILING) as sdk:
        for number in range(count):
            engine = servers.engine(server)
            outcomes[ask(sdk, POISON if kind == "alike" else f"{POISON} {number}")] += 1
            began = time.monotonic()
            said = ask(sdk, f"Hello, number {number}.")
            waits.append(time.monotonic() - began)
            deaths += servers.engine(server) != engine
            if said != "answered" or waits[-1] > SOON:
                late += 1
                faults[f"{kind}: the next honest request: {said}{' late' if said == 'answered' else ''}"] += 1
    told = ", ".join(f"{n} × {what}" for what, n in outcomes.most_common())
    return [
        Figure(f"{kind}: poison requests, and what the SDK made of them", told),
        Figure(f"{kind}: after which the engine was another one", str(deaths)),
        Figure.none(f"{kind}: honest requests not answered within {SOON:g} s", late),
        Figure.at_most(f"{kind}: the longest took, s", max(waits), SOON),
        Figure.none(f"{kind}: poison that was answered", outcomes["answered"]),
        servers.ended(kind, server),
    ]
