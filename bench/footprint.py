"""What Nitro costs before it computes: starting, memory when idle; and how exact its attention is. Linux only.

Run: `python -m bench.footprint`.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench import attention, processes, report
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.models import embedded

TIMES = 5
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


def memory_rows(model: Path) -> list[list[str]]:
    """PSS of the server's and the engine's process: loaded, and again after an answer."""
    rows = []
    with processes.running(processes.nitro(str(model))) as server:
        pids = {"server process": server.pid, "engine process": processes.children(server.pid)[0]}
        for when in ("after loading", "after an answer"):
            for name, pid in pids.items():
                memory = processes.pss(pid)
                size = f"{memory['Pss']:.0f} MiB ({memory['Pss_Anon']:.0f} anonymous)"
                rows.append([f"PSS of the {name}", f"idle, {when}", size])
            body = server.endpoint.ask(Prompts(1).next(100), tokens=16)
            client.run(client.chat(server.endpoint, body))
    return rows


def attention_rows(model: Path) -> list[list[str]]:
    return [
        [ATTENTION, f"{len(kl)} positions {how}", f"mean {kl.mean():.1e}, largest {kl.max():.1e} nats"]
        for how, kl in attention.compare(model).items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.footprint", description=__doc__)
    parser.add_argument("--model", type=Path, default=embedded.path(), help="a GGUF file; default: the embedded model")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    rows = [*start_rows(), *memory_rows(options.model), *attention_rows(options.model)]
    made = report.table(["what", "how", "measured"], rows)
    print(made)
    if not options.no_write:
        setting = f"{report.setting('bench.footprint')}\n- {options.model.name}, `nitro serve` without options"
        report.write("Footprint", f"{setting}\n\n{made}")


if __name__ == "__main__":
    main()
