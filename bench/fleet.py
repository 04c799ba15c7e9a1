"""What the simulation says of routing rules: the table of docs/scale.md. Run: `python -m bench.fleet`.

Step costs are those of a file (`nitro simulate costs`) or, without one, of a machine of round numbers. Traffic is made:
conversations of several turns, each of which begins with one of a number of system prompts.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

from bench import report
from nitro.simulation import costs
from nitro.simulation.costs import Room, StepCosts
from nitro.simulation.fleet import Plan, Prediction, simulate
from nitro.simulation.routing import RULES
from nitro.simulation.traffic import Made

CLIENTS, REPLICAS = 1024, 16
CUSTOMERS = 100
MADE = Made(CLIENTS, turns=4, customers=CUSTOMERS, system=800, question=60, answer=100)
ROUND = StepCosts(
    form=costs.FORM,
    engine="none",
    device="a GPU of round numbers",
    model="none",
    room=Room(slots=96, parallel=64, context=8192, kv_tokens=96_000, step_tokens=2048),
    decode=[(1, 0.010), (64, 0.020)],  # a step of one takes 10 ms, one of 64 twice as long
    prompt=[(64, 0.010), (2048, 0.205)],  # 10,000 tokens of prompts a second
    decode_depth=1e-7,
    prompt_depth=1e-9,
    request=0.005,
)
HEADER = ["traffic", "route", "tokens/s", "TTFT p50, s", "TTFT p95, s", "longest queue", "cached", "busy"]


def row(title: str, route: str, found: Prediction) -> list[str]:
    """As in the table."""
    busy = f"{100 * found.idlest:.0f}–{100 * found.busiest:.0f} %"
    figures = f"{found.tokens_per_second:,.0f}", f"{found.ttft_p50:.2f}", f"{found.ttft_p95:.2f}"
    return [title, route, *figures, str(found.longest_queue), f"{100 * found.cached:.0f} %", busy]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.fleet", description=__doc__)
    parser.add_argument("--costs", type=Path, help="file of step costs")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument("--replicas", type=int, default=REPLICAS)
    parser.add_argument("--think", type=float, default=0.0, help="seconds between an answer and the next question")
    options = parser.parse_args()
    known = costs.read(options.costs) if options.costs else ROUND
    began = time.perf_counter()
    rows = []
    for title, skewed in (("alike", False), ("skewed", True)):
        made = replace(MADE, conversations=options.clients, skewed=skewed).traffic(1)
        for route in RULES:
            plan = Plan(clients=options.clients, replicas=options.replicas, route=route, think=options.think)
            rows.append(row(title, route, simulate(made, known, plan)))
    print(report.table(HEADER, rows))
    print(f"\n{len(rows)} simulations of {options.clients} clients took {time.perf_counter() - began:.0f} s.")


if __name__ == "__main__":
    main()
