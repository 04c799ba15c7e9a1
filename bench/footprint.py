"""What Nitro costs before it computes, beside llama-server with equal settings: the time until the first answer, and
memory; and how exact its attention is. Linux only.

Run: `python -m bench.footprint`.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import attention, peers, processes, report
from bench.workloads import Workload
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import alone
from nitro.bench.stats import turns

TIMES = 5  # for what takes no second
WORDS, TOKENS = 100, 16
SETTING = Workload("footprint", 8, 2048, alone(1, TOKENS))
ATTENTION = "KL(flash attention off ‖ as Nitro sets it)"


def start_rows() -> list[list[str]]:
    """The command line's time, beside that of Python alone; in turn."""
    commands = {"`nitro --help`": ["-m", "nitro", "--help"], "`python -c pass`": ["-c", "pass"]}
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(TIMES):
        for name, arguments in commands.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-P", *arguments], check=True, stdout=subprocess.DEVNULL)
            taken[name].append(time.perf_counter() - began)
    medians = {name: 1000 * statistics.median(values) for name, values in taken.items()}
    return [[name, f"median of {TIMES}", f"{median:.0f} ms"] for name, median in medians.items()]


def first_answers(options: argparse.Namespace) -> list[list[str]]:
    """Both are started in turn. From the start of the process to the first text of an answer; then the memory of all
    its processes."""
    sides = peers.sides(options, SETTING)
    seconds: list[list[float]] = [[] for _ in sides]
    memory: list[list[float]] = [[] for _ in sides]
    for order in turns(options.rounds, len(sides)):
        for which in order:
            command = sides[which].command
            assert command
            began = time.perf_counter()
            with processes.running(command) as server:
                body = server.endpoint.ask(Prompts(1).next(WORDS), tokens=TOKENS)
                answer = client.run(client.chat(server.endpoint, body))
                seconds[which].append(time.perf_counter() - began - answer.duration + (answer.ttft or 0.0))
                memory[which].append(server.memory() or 0.0)
    what = {f"start to the first token of {WORDS} words' answer, s": seconds, "PSS after that answer, MiB": memory}
    return [[name, f"median of {options.rounds}", *_beside(*values)] for name, values in what.items()]


def _beside(ours: list[float], theirs: list[float]) -> list[str]:
    a, b = statistics.median(ours), statistics.median(theirs)
    return [f"{a:.4g}", f"{b:.4g}", f"{a - b:+.3g}"]


def memory_rows(model: Path) -> list[list[str]]:
    """PSS of the server's and the engine's process as a user starts them, after an answer."""
    with processes.running(processes.nitro(str(model))) as server:
        body = server.endpoint.ask(Prompts(1).next(WORDS), tokens=TOKENS)
        client.run(client.chat(server.endpoint, body))
        pids = {"server process": server.pid, "engine process": processes.children(server.pid)[0]}
        found = {name: processes.pss(pid) for name, pid in pids.items()}
    sizes = {name: f"{memory['Pss']:.0f} MiB ({memory['Pss_Anon']:.0f} anonymous)" for name, memory in found.items()}
    return [[f"PSS of the {name}", "idle, after an answer", size] for name, size in sizes.items()]


def attention_rows(model: Path) -> list[list[str]]:
    return [
        [ATTENTION, f"{len(kl)} positions {how}", f"mean {kl.mean():.1e}, largest {kl.max():.1e} nats"]
        for how, kl in attention.compare(model).items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__)
    peers.add_options(parser)
    options = parser.parse_args()
    both = report.table(["what", "how", "Nitro", "llama-server", "more"], first_answers(options))
    print(both, flush=True)
    own = [*start_rows(), *memory_rows(options.model), *attention_rows(options.model)]
    ours = report.table(["what", "how", "measured"], own)
    print(ours)
    if not options.no_write:
        room = f"{SETTING.slots} slots of {SETTING.context} tokens, {options.threads} threads"
        setting = f"{report.setting('bench.footprint')}\n- {options.model.name}; beside llama-server: {room}"
        report.write("Footprint", f"{setting}; below: `nitro serve` without options\n\n{both}\n\n{ours}")


if __name__ == "__main__":
    main()
