"""A request that kills the engine's process, sent by clients that do not know it: through the OpenAI SDK with its usual
retries. The server must go on, and serve everybody else within seconds."""

import argparse
import time
from collections import Counter

import openai

from bench.processes import HOST, Server
from soak import servers
from soak.report import Figure, Findings
from soak.runners import POISON

HONEST_BOUND = 5.0  # seconds until the next honest request is answered
SDK_TIMEOUT = 60.0  # seconds
HOW = f"""\
A runner that kills its own process where a prompt says so. The SDK has its usual retries, for the poison and for the
honest request that follows at once; the honest one must be answered within {HONEST_BOUND:g} s. The poison is the same
each time, as from one client that repeats itself, then different each time, as where a model fails at some prompts."""


def ask(sdk: openai.OpenAI, prompt: str) -> str:
    """The result in the SDK: "answered", or the name of its error and the status."""
    try:
        sdk.chat.completions.create(model="any", messages=[{"role": "user", "content": prompt}], max_tokens=2)
    except openai.APIStatusError as error:
        return f"{type(error).__name__} {error.status_code}"
    except openai.OpenAIError as error:
        return type(error).__name__
    return "answered"


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    findings = Findings("Poison", HOW)
    count = options.count or (4 if options.short else 20)
    for kind in ("alike", "different"):
        with servers.serving(*servers.POISONED) as server:
            findings.figures += _figures(kind, server, count, findings.faults)
    return findings


def _figures(kind: str, server: Server, count: int, faults: Counter[str]) -> list[Figure]:
    outcomes: Counter[str] = Counter()
    waits: list[float] = []
    late = deaths = 0
    with openai.OpenAI(base_url=f"http://{HOST}:{server.port}/v1", api_key="none", timeout=SDK_TIMEOUT) as sdk:
        for number in range(count):
            engine = servers.engine(server)
            outcomes[ask(sdk, POISON if kind == "alike" else f"{POISON} {number}")] += 1
            began = time.monotonic()
            result = ask(sdk, f"Hello, number {number}.")
            waits.append(time.monotonic() - began)
            deaths += servers.engine(server) != engine
            if result != "answered" or waits[-1] > HONEST_BOUND:
                late += 1
                faults[f"{kind}: the next honest request: {result}{' late' if result == 'answered' else ''}"] += 1
    summary = ", ".join(f"{n} × {what}" for what, n in outcomes.most_common())
    return [
        Figure(f"{kind}: poison requests, and what the SDK made of them", summary),
        Figure(f"{kind}: after which the engine was another one", str(deaths)),
        Figure.none(f"{kind}: honest requests not answered within {HONEST_BOUND:g} s", late),
        Figure.at_most(f"{kind}: the longest took, s", max(waits), HONEST_BOUND),
        Figure.none(f"{kind}: poison that was answered", outcomes["answered"]),
        servers.ended(kind, server),
    ]
