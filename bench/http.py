"""HTTP and delivery alone: Nitro over a runner that computes nothing, beside a bare app that streams ready-made frames.

`python -m bench.http`. A frame carries one token in both.
"""

import argparse
import statistics
import sys

from bench import processes, report
from nitro.bench import client
from nitro.bench.scenarios import timed
from nitro.bench.stats import Ratio, turns

STREAMS, TOKENS = 64, 400
ALONE = 30  # requests of one client, for the time to the first token
HOW = """\
Both with uvicorn on one event loop; Nitro's engine is a process of its own. Frames a second of 64 streams at once, each
frame sent by itself as tokens come, and the time to the first token of a client that is alone. Medians of the rounds;
ratio: Nitro ÷ bare."""


def bare(port: int) -> list[str]:
    return [sys.executable, "-m", "bench.bare", str(port)]


async def frames_per_second(server: processes.Server) -> float:
    body = server.endpoint.ask([{"role": "user", "content": "a"}], TOKENS)
    load = await timed([client.chats(server.endpoint, [body]) for _ in range(STREAMS)])
    return load.tokens / load.seconds


async def first_token(server: processes.Server) -> float:
    """Milliseconds."""
    body = server.endpoint.ask([{"role": "user", "content": "a"}], 2)
    answers = await client.chats(server.endpoint, [body] * ALONE)
    return 1000 * statistics.median(answer.ttft or 0.0 for answer in answers)


async def measure(servers: list[processes.Server], rounds: int) -> list[list[str]]:
    rows = []
    for name, work in (("frames/s, 64 streams", frames_per_second), ("TTFT alone, ms", first_token)):
        values: list[list[float]] = [[], []]
        for number, order in enumerate([(0, 1), *turns(rounds)]):
            for which in order:
                value = await work(servers[which])
                if number:
                    values[which].append(value)
        medians = (f"{statistics.median(side):.4g}" for side in values)
        rows.append([name, *medians, str(Ratio.of(*values))])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    fake = ["--engine", "nitro.engines.backends.fake:FakeRunner", "--parallel", str(STREAMS), "--ctx", "1024"]
    with processes.running(processes.nitro(*fake)) as nitro, processes.running(bare) as other:
        rows = client.run(measure([nitro, other], options.rounds))
    made = report.table(["", "Nitro", "bare", "ratio"], rows)
    print(made)
    if not options.no_write:
        report.write("HTTP alone", f"{report.setting('bench.http')}\n\n{HOW}\n\n{made}")


if __name__ == "__main__":
    main()
