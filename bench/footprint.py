"""What Nitro costs before it computes, compared with llama-server with equal settings: the time until the first answer,
and memory. Also how exact its attention is. Linux only.

Run: `python -m bench.footprint`.
"""

import argparse
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench import attention, peers, processes, report
from bench.workloads import Workload
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import independent
from nitro.bench.stats import turns

REPEATS = 5  # of what takes less than a second
WORDS = 100
TOKENS = 16
SETTING = Workload("footprint", 8, 2048, independent(1, TOKENS))
ATTENTION = "KL(flash attention off ‖ as Nitro sets it)"


def start_rows() -> list[list[str]]:
    """The time of the command line, and of Python alone, measured in turn."""
    commands = {"`nitro --help`": ["-m", "nitro", "--help"], "`python -c pass`": ["-c", "pass"]}
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(REPEATS):
        for name, arguments in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-P", *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    medians = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    return [[name, f"median of {REPEATS}", f"{median:.0f} ms"] for name, median in medians.items()]


@dataclass(frozen=True)
class Start:
    """What one start of a server cost. `seconds`: from the start of the process to the first text of an answer.
    `memory`: PSS in MiB of all its processes, idle after that answer."""

    seconds: float
    memory: float


def start_once(command: processes.Command, idle: float = 0.0) -> Start:
    """Start a server, have it answer one request, and end it. `idle`: seconds before the memory is read."""
    began = time.perf_counter()
    with processes.running(command) as server:
        body = server.endpoint.chat_body(Prompts(1).next(WORDS), TOKENS)
        answer = client.run(client.chat(server.endpoint, body))
        seconds = time.perf_counter() - began - answer.duration + (answer.ttft or 0.0)
        time.sleep(idle)
        return Start(seconds, server.memory() or 0.0)


def first_answers(options: argparse.Namespace) -> list[list[str]]:
    """Start both in turn, and compare the time to the first text of an answer, and the memory after it."""
    sides = peers.sides(options, SETTING)
    starts: list[list[Start]] = [[] for _ in sides]
    for order in turns(options.rounds, len(sides)):
        for number in order:
            command = sides[number].command
            assert command
            starts[number].append(start_once(command))
    seconds = [[start.seconds for start in of_side] for of_side in starts]
    memory = [[start.memory for start in of_side] for of_side in starts]
    measured = {f"start to the first token of {WORDS} words' answer, s": seconds, "PSS after that answer, MiB": memory}
    return [[name, f"median of {options.rounds}", *_compared(*values)] for name, values in measured.items()]


def _compared(ours: list[float], theirs: list[float]) -> list[str]:
    our_median = statistics.median(ours)
    their_median = statistics.median(theirs)
    return [f"{our_median:.4g}", f"{their_median:.4g}", f"{our_median - their_median:+.3g}"]


def memory_rows(model: Path) -> list[list[str]]:
    """PSS of the server process and the engine process after an answer, started without options."""
    with processes.running(processes.nitro(str(model))) as server:
        body = server.endpoint.chat_body(Prompts(1).next(WORDS), TOKENS)
        client.run(client.chat(server.endpoint, body))
        pids = {"server process": server.pid, "engine process": processes.children(server.pid)[0]}
        by_process = {name: processes.pss(pid) for name, pid in pids.items()}
    sizes = {
        name: f"{memory['Pss']:.0f} MiB ({memory['Pss_Anon']:.0f} anonymous)" for name, memory in by_process.items()
    }
    return [[f"PSS of the {name}", "idle, after an answer", size] for name, size in sizes.items()]


def attention_rows(model: Path) -> list[list[str]]:
    """How far the model's output is from that without flash attention."""
    return [
        [ATTENTION, f"{len(kl)} positions {how}", f"mean {kl.mean():.1e}, largest {kl.max():.1e} nats"]
        for how, kl in attention.compare(model).items()
    ]


def main() -> None:
    """Measure everything, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__)
    peers.add_options(parser)
    options = parser.parse_args()
    compared = report.table(["what", "how", "Nitro", "llama-server", "more"], first_answers(options))
    print(compared, flush=True)
    rows = [*start_rows(), *memory_rows(options.model), *attention_rows(options.model)]
    ours = report.table(["what", "how", "measured"], rows)
    print(ours)
    if not options.no_write:
        room = f"{SETTING.slots} slots of {SETTING.context} tokens, {options.threads} threads"
        setting = f"{report.setting('bench.footprint')}\n- {options.model.name}; compared with llama-server: {room}"
        report.write("Footprint", f"{setting}; below: `nitro serve` without options\n\n{compared}\n\n{ours}")


if __name__ == "__main__":
    main()
