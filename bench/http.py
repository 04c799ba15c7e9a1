"""HTTP and delivery alone: Nitro with a runner that computes nothing, compared with a bare app that streams ready-made
frames. In both a frame carries one token. Run: `python -m bench.http`.
"""

import argparse
import statistics
import sys

from bench import frames, processes, report
from nitro.bench import client
from nitro.bench.scenarios import timed
from nitro.bench.stats import Ratio, turns

STREAMS = 64
TOKENS = 400
VOLLEYS = 8  # of STREAMS requests each, one after another: one alone takes a quarter of a second
SINGLE_REQUESTS = 30  # of one client, for the time to the first token
HOW = """\
Both run on uvicorn with one event loop; Nitro's engine is a process of its own. Measured are frames per second of 64
streams at once, and the time to the first token of a single client. The bare app writes each frame by itself; Nitro
writes what has come for a stream together, which is more than one frame where the engine is ahead. Medians of the
rounds; ratio: Nitro ÷ bare. The second table is of Nitro alone: events a second of other routes beside chat's, in
turns; ratio: route ÷ chat."""


def bare(port: int) -> list[str]:
    """The command of the bare app."""
    return [sys.executable, "-m", "bench.bare", str(port)]


async def frames_per_second(server: processes.Server) -> float:
    """Of STREAMS streams together, again and again."""
    body = server.endpoint.chat_body([{"role": "user", "content": "a"}], TOKENS)
    volleys = [await timed([client.chats(server.endpoint, [body]) for _ in range(STREAMS)]) for _ in range(VOLLEYS)]
    return sum(volley.tokens for volley in volleys) / sum(volley.seconds for volley in volleys)


async def first_token(server: processes.Server) -> float:
    """The median time to the first token, in milliseconds."""
    body = server.endpoint.chat_body([{"role": "user", "content": "a"}], 2)
    answers = await client.chats(server.endpoint, [body] * SINGLE_REQUESTS)
    return 1000 * statistics.median(answer.ttft or 0.0 for answer in answers)


async def measure(servers: list[processes.Server], rounds: int) -> list[list[str]]:
    """The table's rows. A round before the first is not counted."""
    rows = []
    for name, work in (("frames/s, 64 streams", frames_per_second), ("TTFT of a single client, ms", first_token)):
        values: list[list[float]] = [[], []]
        for number, order in enumerate([(0, 1), *turns(rounds)]):
            for side in order:
                value = await work(servers[side])
                if number:
                    values[side].append(value)
        medians = (f"{statistics.median(of_side):.4g}" for of_side in values)
        rows.append([name, *medians, str(Ratio.of(*values))])
    return rows


async def measure_routes(server: processes.Server, rounds: int) -> list[list[str]]:
    """The rows of the routes beside chat. A round before the first is not counted."""
    rows = []
    for route in frames.ROUTES:
        if route == "chat":
            continue
        sides = (route, "chat")
        values: list[list[float]] = [[], []]
        for number, order in enumerate([(0, 1), *turns(rounds)]):
            for side in order:
                value = await frames.per_second(server, sides[side], STREAMS, TOKENS)
                if number:
                    values[side].append(value)
        medians = (f"{statistics.median(of_side):.4g}" for of_side in values)
        rows.append([f"{route}, frames/s, {STREAMS} streams", *medians, str(Ratio.of(*values))])
    return rows


def main() -> None:
    """Measure both, and write the section."""
    parser = argparse.ArgumentParser(prog="python -m bench.http", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    options = parser.parse_args()
    fake = ["--engine", "nitro.engines.backends.fake:FakeRunner", "--parallel", str(STREAMS), "--ctx", "1024"]
    with processes.running(processes.nitro(*fake)) as nitro, processes.running(bare) as other:
        rows = client.run(measure([nitro, other], options.rounds))
        routes = client.run(measure_routes(nitro, options.rounds))
    table = report.table(["", "Nitro", "bare", "ratio"], rows)
    table += "\n\n" + report.table(["", "route", "chat", "ratio"], routes)
    print(table)
    if not options.no_write:
        report.write("HTTP alone", f"{report.setting('bench.http')}\n\n{HOW}\n\n{table}")


if __name__ == "__main__":
    main()
