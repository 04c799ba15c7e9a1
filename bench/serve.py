"""All figures of some workloads, of Nitro and other servers in turn: same weights, same kernels, same requests. Run:
`python -m bench.serve`; `python -m bench.table` measures everything, and shows less of each.

In every round all servers get the same new prompts, one after another; the next round goes in reverse order. A server
that is measured twice gets other prompts the second time. All run all the time, and an idle one takes no CPU. `EQUAL`
says for each peer what is equal and what is not.
"""

import argparse
import contextlib
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bench import attention, peers, processes, report
from bench.measures import Turn, check, rows, summary
from bench.peers import OURS, Side
from bench.workloads import EXAMPLE, MLX, OLD, OURSELVES, SERVER, TUNED, UNFLAGGED, WORKLOADS, Workload
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.stats import turns
from nitro.errors import BenchError

EQUAL = {
    SERVER: """\
**llama-server.** Equal: GGUF, kernels, threads, requests at once, context of each in one unified KV cache, n_batch
2048, flash attention auto, prompts (never twice), length of the answers (`ignore_eos`), samplers and seeds; idle slots
of both move to RAM. Otherwise each runs with its defaults: llama-server's n_ubatch is 512; its threads spin as long as
OpenMP's default, while Nitro sets `GOMP_SPINCOUNT`; and Nitro drafts tokens from the text so far (prompt look-up),
which helps where greedy answers repeat themselves, as those to random words do.""",
    TUNED: """\
**llama-server tuned.** The same with the options that its users set to be fast (`TUNED_…` in bench/peers.py).""",
    OLD: """\
**Nitro before.** An older source tree, with the same libraries.""",
    EXAMPLE: """\
**example server**, from llama-cpp-python's source distribution. Equal: GGUF, the library itself, threads, requests at
once, context in one unified KV cache, n_batch, prompts, temperature 0. It has no `ignore_eos`, so the tokens that end
an answer are banned by `logit_bias`. Its streams report no usage, so each piece of text counts as a token, and how much
was cached is unknown. n_ubatch is 512; flash attention is llama.cpp's default, auto.""",
    MLX: """\
**mlx_lm.server.** Equal: the folder (float32, made from the GGUF by `nitro convert`'s own code), MLX, requests at once,
prompts, length of the answers (end tokens are banned by `logit_bias`), temperature 0, or 1 with a different seed for
each request. Both cache prompts, but these are new. Nitro's context is limited, that of mlx_lm.server is not.""",
    OURSELVES: """\
**with and without.** The same server, requests of the same kind, new prompts. In "rewrite" the difference is a
prediction: the server's own answer from just before, with one word in thirty changed. The prompt contains nothing of
that text, and penalties keep the model from repeating itself, so that prompt look-up, which is on in both, finds
little. The gain depends on what a checked token costs the CPU compared with a step of its own, which differs between
types. In "streams beside one" the difference is a JSON schema that the one request must follow; without it that request
writes freely. It does not count; tokens/s are the streams'.""",
    UNFLAGGED: """\
**without the flag.** Two servers with the same settings and the same prompts, one of them with the flag.""",
}
USUAL = "1,1-text,8,8-text,shared,talk,talk-text,32-text,long"
READING = """\
Times are percentiles over all requests (in conversations TTFT is that of the last turn; the longest gap is that of the
worst stream); with few requests p99 is the worst. tokens/s counts the tokens of all clients over the whole time,
prompts included, median of the rounds. CPU and memory (the highest PSS, read once per second) are those of all
processes of a server. Ratios are Nitro ÷ the other within a round: median (lowest–highest). Higher is better for
tokens/s, lower for the rest."""


async def measure(
    servers: list[processes.Server],
    sides: list[Side],
    workload: Workload,
    rounds: int,
    seed: int,
    broken: dict[int, str] | None = None,
    after_round: Callable[[Turn], None] = lambda turn: None,
) -> list[list[Turn]]:
    """The turns of every side. A warm-up round before the first is not counted.

    `broken`: takes the reason where a side other than the first fails, whose turns then end; and there is no warm-up.
    Without it a failure is raised. `after_round`: called after each round that counts, with the first side's turn.
    """
    measured: list[list[Turn]] = [[] for _ in sides]
    warm_up = [tuple(range(len(sides)))] if broken is None else []
    for number, order in enumerate([*warm_up, *turns(rounds, len(sides))], start=1 - len(warm_up)):
        for i in order:
            if broken is not None and i in broken:
                continue
            side = sides[i]
            other = " without" if side.command is None else ""  # else the shared server would have them cached
            prompts = Prompts(f"{workload.title}{other} {seed} {number}")
            try:
                turn = await take_turn(servers[i], side, prompts)
                check(turn)
            except (BenchError, RuntimeError) as error:
                if broken is None or i == 0:
                    raise
                broken[i] = str(error)
                log(f"{workload.title}, {side.name} is given up: {error}")
                continue
            if number > 0:
                measured[i].append(turn)
                log(f"{workload.title}, round {number}, {side.name}: {summary(turn)}")
        if number > 0:
            after_round(measured[0][-1])
    return measured


async def take_turn(server: processes.Server, side: Side, prompts: Prompts) -> Turn:
    """Run a side's scenario once."""
    endpoint = replace(server.endpoint, fields=side.fields) if side.fields else server.endpoint
    cpu_before = server.cpu_seconds()
    with processes.Peak(server) as peak:
        result = await side.scenario(endpoint, prompts)
    cpu_after = server.cpu_seconds()
    cpu = None if cpu_before is None or cpu_after is None else cpu_after - cpu_before
    return Turn(result, cpu, peak.mib)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line's options."""
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    peers.add_options(parser)
    parser.add_argument("--workloads", default=USUAL, help=f"some of {','.join(WORKLOADS)}; default: %(default)s")
    parser.add_argument("--also", default="", help="peers to add, such as: " + EXAMPLE)
    parser.add_argument("--without", default="", help="peers to leave out: " + ", ".join(EQUAL))
    parser.add_argument("--section", default="Serving", help="section of bench/results.md to replace (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts (%(default)s)")
    return parser.parse_args(arguments)


def compare(options: argparse.Namespace, workload: Workload) -> list[list[str]]:
    """Start all servers of a workload, measure them, and return the table's rows."""
    sides = peers.sides(options, workload)
    with contextlib.ExitStack() as stack:
        servers: list[processes.Server] = []
        for side in sides:
            servers.append(stack.enter_context(processes.running(side.command)) if side.command else servers[0])
        work = measure(servers, sides, workload, options.rounds, options.seed)
        return rows(workload.title, client.run(work))


def tables(options: argparse.Namespace) -> str:
    """The tables with their notes, one for each set of peers."""
    left_out = options.without.split(",")
    rows_by_peers: dict[tuple[str, ...], list[list[str]]] = {}
    for name in options.workloads.split(","):
        workload = WORKLOADS[name]
        more = [peer for peer in [OLD if options.old else "", options.also] if peer]
        others = tuple(peer for peer in (*workload.peers, *more) if peer not in left_out)
        obstacle = peers.obstacle(workload)
        if obstacle:
            log(f"{workload.title} is left out: {obstacle}")
        elif others:
            rows_by_peers.setdefault(others, []).extend(compare(options, replace(workload, peers=others)))
    parts = []
    for others, lines in rows_by_peers.items():
        notes = [EQUAL[peer] for peer in others if peer in EQUAL]
        header = [
            "workload",
            "",
            OURS if others not in ((OURSELVES,), (UNFLAGGED,)) else "with",
            *(column for other in others for column in (other, "ratio")),
        ]
        parts.append("\n\n".join([*notes, report.table(header, lines)]))
    return "\n\n".join(parts)


def exactness(model: Path) -> str:
    """How far llama.cpp as Nitro sets it is from llama.cpp without flash attention: no speed was bought by that."""
    kl = {how: f"{values.mean():.1e} nats {how}" for how, values in attention.compare(model).items()}
    return (
        f"Mean KL of Nitro's llama.cpp against flash attention off: {', '.join(kl.values())}.\n"
        "llama-server has the same setting, auto, and computes with the same kernels."
    )


def log(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure the workloads, and write the section."""
    options = parse(sys.argv[1:])
    body = tables(options)
    if any(WORKLOADS[name].engine == "llama" for name in options.workloads.split(",")):
        body += f"\n\n{exactness(options.model)}"
    print(body)
    if not options.no_write:
        work = f"{options.model.name}, {options.threads} threads, rounds: {options.rounds}"
        report.write(options.section, f"{report.setting('bench.serve')}\n- {work}\n\n{READING}\n\n{body}")


if __name__ == "__main__":
    main()
