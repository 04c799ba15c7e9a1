"""How good the simulation's predictions are (`nitro/simulation`): for 8 and 32 clients, beside what is measured in the
same run. Run: `python -m bench.scale`. Results go into the section "Simulation" of bench/results.md.

    steps of an engine alone ──► step costs ─┐
    1, 4, 16 clients, recorded ──► traffic ──┼──► prediction for 8 and 32 ──┐
              └─► what a server adds ────────┘                              ├──► ratio
    8 and 32 clients, measured with other prompts ─────────────────────────┘

What a server adds, since it, the engine and the clients share the cores: seconds of each request, from the times to the
first token of one client; a factor of each step, from the tokens/s of four; and seconds of each sequence that decodes,
whose tokens are sampled, made text and sent, from those of sixteen. The exit status is 1 where a prediction of tokens/s
is off by more than 15 %.
"""

import argparse
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from bench import peers, processes, report
from bench.serve import log
from nitro.bench import client
from nitro.bench.client import LoadResult
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import Scenario, real_texts
from nitro.bench.stats import percentile
from nitro.engines.types import EngineSpec
from nitro.simulation import calibration, recorded
from nitro.simulation.costs import StepCosts
from nitro.simulation.fleet import Plan, Prediction, simulate
from nitro.simulation.traffic import Traffic

SLOTS, CONTEXT, TOKENS = 32, 512, 24  # as in workloads.MANY and "32-text"
ALONE, FEW, MORE = 1, 4, 16  # clients while it is calibrated
RECORDED = {ALONE: 6, FEW: 6, MORE: 2}  # requests of each client
MEASURED = {8: 4, 32: 2}  # the same of what is predicted
FITTED = 4  # times that one figure is fitted after the other
BOUND = 0.15  # of the measured tokens/s


@dataclass(frozen=True)
class Compared:
    """`measured`: a round each."""

    clients: int
    measured: list[LoadResult]
    predicted: Prediction

    @property
    def speed(self) -> float:
        """Measured tokens/s, the median of the rounds."""
        return statistics.median(result.tokens / result.seconds for result in self.measured)

    @property
    def ratio(self) -> float:
        """Predicted ÷ measured tokens/s."""
        return self.predicted.tokens_per_second / self.speed

    def first(self, share: float) -> float:
        """A percentile of the measured times to the first token, in seconds."""
        return percentile([a.ttft for result in self.measured for a in result.answers if a.ttft is not None], share)

    @property
    def row(self) -> list[str]:
        """As in the table."""
        found = self.predicted
        speeds = f"{self.speed:.1f}", f"{found.tokens_per_second:.1f}", f"{self.ratio:.2f}"
        times = (self.first(0.5), found.ttft_p50, self.first(0.95), found.ttft_p95)
        return [str(self.clients), "texts", *speeds, *(f"{seconds:.2f}" for seconds in times)]


HEADER = [
    *("clients", "requests", "tokens/s measured", "predicted", "ratio"),
    *("TTFT p50 measured, s", "predicted", "TTFT p95 measured, s", "predicted"),
]


def compare(options: argparse.Namespace) -> list[Compared]:
    """Calibrate, predict, measure."""
    log("step costs of an engine alone")
    spec = EngineSpec(
        engine="llama",
        model=str(options.model),
        context=CONTEXT,
        parallel=SLOTS,
        threads=options.threads,
        lookup="off",
    )
    costs = calibration.measure(spec)
    log(f"decode {costs.decode}\nprompt {costs.prompt}\nloose {costs.loose}")
    flags = ["--ctx", str(CONTEXT), "--parallel", str(SLOTS), "--threads", str(options.threads), "--engine", "llama"]
    with tempfile.TemporaryDirectory(prefix="nitro-records-") as folder:
        command = processes.nitro(str(options.model), *flags, "--record", folder)
        with processes.running(command) as server:
            client.run(texts(FEW, 1)(server.endpoint, Prompts("warm-up")))
            log("1, 4 and 16 clients")
            few = {n: client.run(texts(n, each)(server.endpoint, Prompts(n))) for n, each in RECORDED.items()}
        traffic = recorded.read(Path(folder))
    costs = with_server(costs, traffic, few)
    predictions = {n: simulate(traffic, costs, Plan(clients=n, requests=each)) for n, each in MEASURED.items()}
    for n, found in predictions.items():
        log(f"{n} clients, predicted: {found.tokens_per_second:.1f} tokens/s")
    with processes.running(processes.nitro(str(options.model), *flags)) as server:
        client.run(texts(FEW, 1)(server.endpoint, Prompts("warm-up")))
        return [
            Compared(n, [measured(server, n, each, number) for number in range(options.rounds)], predictions[n])
            for n, each in MEASURED.items()
        ]


def texts(clients: int, each: int) -> Scenario:
    """So many requests of each client."""
    return real_texts(clients, TOKENS, each)


def measured(server: processes.Server, clients: int, each: int, number: int) -> LoadResult:
    """A round of so many clients."""
    result = client.run(texts(clients, each)(server.endpoint, Prompts(f"{clients} {number}")))
    log(f"{clients} clients, round {number + 1}: {result.tokens / result.seconds:.1f} tokens/s")
    return result


def with_server(costs: StepCosts, traffic: Traffic, few: dict[int, LoadResult]) -> StepCosts:
    """The costs with what a server adds."""

    def simulated(costs: StepCosts, clients: int) -> Prediction:
        return simulate(traffic, costs, Plan(clients=clients, requests=RECORDED[clients]))

    alone, factor, row = costs, 1.0, 0.0
    for _ in range(FITTED):
        by_few = simulated(alone.slower(factor).with_rows(row), FEW)
        factor *= by_few.tokens_per_second * few[FEW].seconds / few[FEW].tokens
        by_more = simulated(alone.slower(factor), MORE)
        row = max(few[MORE].seconds / few[MORE].tokens - 1 / by_more.tokens_per_second, 0.0)
    costs = alone.slower(factor).with_rows(row)
    first = statistics.median(a.ttft for a in few[ALONE].answers if a.ttft is not None)
    request = max(first - simulated(costs, ALONE).ttft_p50, 0.0)
    log(f"a server: each step takes {factor:.2f} times as long, and {1000 * row:.2f} ms more for each sequence that")
    log(f"decodes; each request {request:.3f} s more")
    return replace(costs, request=request)


def main() -> None:
    """Compare, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    peers.add_options(parser)
    options = parser.parse_args()
    found = compare(options)
    table = report.table(HEADER, [each.row for each in found])
    print(table)
    if not options.no_write:
        how = f"{options.model.name}, {options.threads} threads, {TOKENS} tokens an answer, rounds: {options.rounds}"
        goal = f"Goal: tokens/s predicted within {100 * BOUND:.0f} % of measured."
        report.write("Simulation", f"{report.setting('bench.scale')}\n- {how}\n\n{goal}\n\n{table}")
    sys.exit(any(abs(each.ratio - 1) > BOUND for each in found))


if __name__ == "__main__":
    main()
