"""Measures everything that bench/results.md compares, in one run. Run: `python -m bench.table`.

Rows of one setting share their servers, which run all the time; an idle one takes no CPU. A row that fails says why,
and the others go on. With --old an older source tree of Nitro takes its turn as well. Results go into the section
"Table" of bench/results.md and, with every value, into bench/results.json. Rows that are not measured stay there as
they are, with the run that they are from.
"""

import argparse
import contextlib
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import batches, build_llama_server, kernel_limit, measures, peers, processes, record, report, serve
from bench.kernel_limit import LIMIT
from bench.peers import OURS, Side
from bench.rows import ROWS, Outcome, Row
from bench.serve import log
from bench.workloads import OLD, TUNED, Workload
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import independent, real_texts

WARM_UP = real_texts(4, 8, requests=1)  # before a setting's first row
WARM_UP_MLX = independent(1, 8, words=12, requests=1)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line's options."""
    usual = ",".join(name for name, row in ROWS.items() if not row.extra)
    parser = argparse.ArgumentParser(prog="python -m bench.table", description=__doc__)
    peers.add_options(parser)
    parser.add_argument("--rows", default=usual, help=f"some of {','.join(ROWS)}; default: %(default)s")
    parser.add_argument("--without", default="", help=f"peers to leave out, such as: {TUNED},{LIMIT}")
    parser.add_argument("--json", type=Path, default=record.FILE, help="where every value goes (bench/results.json)")
    parser.add_argument("--section", default="Table", help="section of bench/results.md to replace (%(default)s)")
    parser.add_argument("--lines", type=int, default=batches.LINES, help="of a batch (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts (%(default)s)")
    options = parser.parse_args(arguments)
    unknown = set(options.rows.split(",")) - set(ROWS)
    if unknown:
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    return options


def workload_of(row: Row, options: argparse.Namespace) -> Workload:
    """The row's workload, beside those peers that take part."""
    assert isinstance(row.work, Workload)
    others = [OLD] if options.old and row.with_old else []
    left_out = options.without.split(",")
    return dataclasses.replace(row.work, peers=tuple(p for p in (*others, *row.work.peers) if p not in left_out))


def groups(options: argparse.Namespace) -> Iterator[list[str]]:
    """The names of the rows, those that can share servers together."""

    def room(name: str) -> object:
        row = ROWS[name]
        return workload_of(row, options).room if isinstance(row.work, Workload) else name

    chosen = options.rows.split(",")
    for _, names in itertools.groupby((name for name in ROWS if name in chosen), key=room):
        yield list(names)


def measure_special(name: str, options: argparse.Namespace) -> Outcome:
    """A row that starts its servers itself."""
    row = ROWS[name]
    outcome = Outcome(name, row.name)
    assert not isinstance(row.work, Workload)
    began = time.monotonic()
    try:
        outcome.values = row.work(options)
    except Exception as error:  # the other rows go on
        outcome.failed[row.name] = f"{type(error).__name__}: {error}"
    outcome.seconds = time.monotonic() - began
    return outcome


def measure_group(names: list[str], options: argparse.Namespace) -> Iterator[Outcome]:
    """The outcomes of rows that share their servers."""
    pending = list(names)
    try:
        with contextlib.ExitStack() as stack:
            started = Started(workload_of(ROWS[names[0]], options), options, stack)
            for name in names:
                outcome = started.measure(name)
                pending.remove(name)
                yield outcome
    except Exception as error:  # our server does not start, or a file cannot be made
        for name in pending:
            yield Outcome(name, ROWS[name].name, failed={ROWS[name].name: f"{type(error).__name__}: {error}"})


class Started:
    """The servers of a setting. One that does not start is left out of all rows, one that fails of the row in which it
    does."""

    def __init__(self, workload: Workload, options: argparse.Namespace, stack: contextlib.ExitStack):
        self._options = options
        self._failed: dict[str, str] = {}
        self._servers: dict[str, processes.Server] = {}
        self._stack = stack
        self._kernels: kernel_limit.KernelProcess | None = None  # started by the first row that has it measured
        for side in peers.sides(options, workload):
            try:
                self._start(side, workload)
            except Exception as error:
                if side.name == OURS:
                    raise
                self._failed[side.name] = f"{type(error).__name__}: {error}"
                log(f"{side.name} is left out: {error}")

    def _start(self, side: Side, workload: Workload) -> None:
        if side.command is None:
            self._servers[side.name] = self._servers[OURS]
            return
        server = self._stack.enter_context(processes.running(side.command))
        warm_up = WARM_UP_MLX if workload.engine == "mlx" else WARM_UP
        client.run(serve.take_turn(server, dataclasses.replace(side, scenario=warm_up), Prompts("warm-up")))
        self._servers[side.name] = server

    def measure(self, name: str) -> Outcome:
        """Measure one row."""
        began = time.monotonic()
        workload = workload_of(ROWS[name], self._options)
        outcome = Outcome(name, ROWS[name].name, failed=dict(self._failed))
        sides = [side for side in peers.sides(self._options, workload) if side.name in self._servers]
        servers = [self._servers[side.name] for side in sides]
        broken: dict[int, str] = {}
        alone: list[measures.Turn] = []

        def after_round(ours: measures.Turn) -> None:
            if ROWS[name].clients and LIMIT not in (*self._options.without.split(","), *outcome.failed):
                try:
                    alone.append(self._kernel_process(workload).turn(ours, ROWS[name].clients))
                except Exception as error:  # the servers' figures stand without it
                    outcome.failed[LIMIT] = f"{type(error).__name__}: {error}"

        try:
            rounds, seed = self._options.rounds, self._options.seed
            work = serve.measure(servers, sides, workload, rounds, seed, broken, after_round)
            turns = client.run(work)
        except Exception as error:
            outcome.failed[outcome.title] = f"{type(error).__name__}: {error}"
        else:
            outcome.failed |= {sides[i].name: why for i, why in broken.items()}
            outcome.values = measures.values({side.name: turns[i] for i, side in enumerate(sides) if i not in broken})
            if alone and LIMIT not in outcome.failed:
                kernel_limit.add(outcome.values, alone)
        outcome.seconds = time.monotonic() - began
        return outcome

    def _kernel_process(self, workload: Workload) -> kernel_limit.KernelProcess:
        if self._kernels is None:
            model = peers.model_file(self._options.model, workload)
            command = kernel_limit.running(model, self._options.threads, workload.slots, workload.context)
            self._kernels = self._stack.enter_context(command)
        return self._kernels


def main() -> None:
    """Measure the rows, and write the results."""
    options = parse(sys.argv[1:])
    began = time.monotonic()
    options.llama_server = options.llama_server or build_llama_server.build()
    setting = [
        *report.setting("bench.table").splitlines(),
        *record.versions(options.llama_server, options.old),
        f"- {options.model.name}, {options.threads} threads",
    ]
    commit = record.commit(Path(__file__).parents[1])
    written = record.Record() if options.no_write else record.read(options.json)
    written.begin(record.Run(setting, options.rounds))
    for names in groups(options):
        outcomes = (
            measure_group(names, options)
            if isinstance(ROWS[names[0]].work, Workload)
            else (measure_special(name, options) for name in names)
        )
        for outcome in outcomes:
            outcome.date, outcome.commit = report.today(), commit
            written.put(outcome)
            show(outcome, time.monotonic() - began)
            if not options.no_write:
                written.write(options.json)
    print(written.markdown())
    if not options.no_write:
        report.write(options.section, written.markdown())


def show(outcome: Outcome, elapsed: float) -> None:
    """Say what came of a row."""
    log(f"— {outcome.name} took {outcome.seconds:.0f} s; {elapsed / 60:.1f} minutes so far")
    for line in record.table_lines(outcome):
        log("    " + "  ".join(cell for cell in line[1:] if cell))
    for who, why in outcome.failed.items():
        log(f"    {who} FAILED: {why}")


if __name__ == "__main__":
    main()
