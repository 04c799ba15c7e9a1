"""What an open page of the server (/#server) costs: tokens per second of eight clients while a reader follows
`GET /v1/server/events`, beside those while nobody does. Run: `python -m bench.live`.

The reader is a process of its own, which decodes every event, as a page does; what a browser takes to draw is not
measured, since that is mostly another machine's time.
"""

import argparse
import http.client
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

import msgspec

from bench import processes, report
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.scenarios import independent
from nitro.bench.stats import Ratio, turns

CLIENTS = 8
TOKENS = 100
WORDS = 20  # short prompts: while a long one is read, there is little to tell
ENDED = "the stream of the server has ended"


@contextmanager
def page(server: processes.Server) -> Iterator[None]:
    """A reader that follows the stream, from its first event on."""
    command = [sys.executable, "-m", "bench.live", "--follow", str(server.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as reader:
        assert reader.stdout
        try:
            if not reader.stdout.readline():
                raise RuntimeError(ENDED)
            yield
            if reader.poll() is not None:
                raise RuntimeError(ENDED)
        finally:
            reader.kill()


def follow(port: int) -> None:
    """Decode the events of a server until it ends. Says "listening" after the first."""
    connection = http.client.HTTPConnection(processes.HOST, port)
    connection.request("GET", "/v1/server/events")
    response = connection.getresponse()
    told = False
    while line := response.readline():
        if line.startswith(b"data: "):
            msgspec.json.decode(line[6:])
            if not told:
                print("listening", flush=True)
                told = True


async def turn(server: processes.Server, prompts: Prompts) -> tuple[float, float]:
    """Tokens per second of all clients together, and the CPU time of the server's process, in ms a second."""
    before = processes.cpu_seconds(server.pid)
    result = await independent(CLIENTS, TOKENS, WORDS)(server.endpoint, prompts)
    return result.tokens / result.seconds, 1000 * (processes.cpu_seconds(server.pid) - before) / result.seconds


def measure(server: processes.Server, rounds: int) -> list[list[str]]:
    """The table's rows. A round before the first is not counted."""
    prompts = Prompts("live")
    values: list[list[tuple[float, float]]] = [[], []]
    for number, order in enumerate([(0, 1), *turns(rounds)]):
        for side in order:
            with page(server) if side == 0 else nullcontext():
                value = client.run(turn(server, prompts))
            if number:
                values[side].append(value)
    speeds, times = zip(*(zip(*of_side, strict=True) for of_side in values), strict=True)
    return [_row(f"tokens/s, {CLIENTS} clients", *speeds), _row("CPU of the server's process, ms a second", *times)]


def _row(name: str, watched: Sequence[float], alone: Sequence[float]) -> list[str]:
    ratio = Ratio.of(watched, alone)
    spread = f"{ratio.median:.3f} ({ratio.lowest:.3f}–{ratio.highest:.3f})"  # a hundredth is what may be lost
    return [name, f"{statistics.median(watched):.4g}", f"{statistics.median(alone):.4g}", spread]


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.live", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--engine", default="llama")
    parser.add_argument("--follow", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        return follow(options.follow)
    with processes.running(processes.nitro("--engine", options.engine, "--parallel", str(CLIENTS))) as server:
        rows = measure(server, options.rounds)
    print(report.table(["", "page open", "no page", "ratio"], rows))


if __name__ == "__main__":
    main()
