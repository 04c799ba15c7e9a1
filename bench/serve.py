"""Nitro and other servers in turn: same weights, same kernels, same requests. `python -m bench.serve`.

Every round gives all the same new prompts, one server after another, and the next round the other way round; a server
that is measured twice gets others the second time. All are up all the time; an idle one takes no CPU. What is equal and
what is not stands in `EQUAL`, by peer.
"""

import argparse
import contextlib
import sys
from dataclasses import replace
from pathlib import Path

from bench import attention, peers, processes, report
from bench.measures import Turn, check, rows, summary
from bench.peers import OURS, Side
from bench.workloads import EXAMPLE, MLX, OURSELVES, SERVER, WORKLOADS, Workload
from nitro.bench import client
from nitro.bench.prompts import Prompts
from nitro.bench.stats import turns

EQUAL = {
    SERVER: """\
**llama-server.** Equal: GGUF, kernels, threads, requests at once, context of each in one unified KV cache, n_batch
2048, flash attention auto, prompts (random words, never twice), length of the answers (`ignore_eos`), temperature 0;
idle slots of both move to RAM. Else each is as a user starts it: llama-server's n_ubatch is 512, Nitro's 64 on the CPU;
its threads spin as long as OpenMP likes where Nitro sets `GOMP_SPINCOUNT`; and Nitro has tokens checked that it guesses
from what was said (prompt look-up), which helps where greedy answers repeat themselves, as these do.""",
    EXAMPLE: """\
**example server**, of llama-cpp-python's source distribution. Equal: the GGUF, the very library, threads, requests at
once, context in one unified KV cache, n_batch, prompts, temperature 0. It knows no `ignore_eos`: the tokens that end an
answer are banned by `logit_bias` instead. Its streams tell no usage: pieces of text are counted as tokens, and what it
found cached is not known. n_ubatch is 512; flash attention is llama.cpp's default, auto.""",
    MLX: """\
**mlx_lm.server.** Equal: the folder (float32, made of the GGUF by `nitro convert`'s own code), MLX, requests at once,
prompts, answers' lengths (its ends are banned by `logit_bias`), temperature 0, or 1 with a seed of each request's own.
Both cache prompts, which are new here. Nitro's context is limited, that of mlx_lm.server is not.""",
    OURSELVES: """\
**with and without.** The same server, requests of the same kind, prompts that it has not heard. Of rewriting: a
prediction, which is the server's own answer of just before with one word in thirty changed. The prompt has nothing of
that text, and penalties keep the model from repeating itself, so that prompt look-up, which is on in both, finds
little. What is gained depends on what the CPU pays for a checked token beside a step of its own, which differs between
types. Of streams beside one request more: a JSON schema that this one keeps, where it writes what it likes without. It
is not counted; tokens/s are the streams'.""",
}
OWN = 500  # added to the number of a round, for prompts of one side's own
READING = """\
Times are percentiles over all requests (of conversations TTFT is that of the last turn; the longest gap is that of the
worst stream); with few requests p99 is the worst. tokens/s counts those of all clients and the time of the prompts,
median of the rounds. CPU and memory (PSS, the most that a look a second saw) are those of all processes of a server.
Ratios are Nitro ÷ the other within a round: median (least–most). For tokens/s more is better, for the rest less."""


async def measure(
    servers: list[processes.Server], sides: list[Side], workload: Workload, rounds: int, seed: int
) -> list[list[Turn]]:
    """The turns of every side. A round before the first is not counted: it wakes what sleeps."""
    measured: list[list[Turn]] = [[] for _ in sides]
    for number, order in enumerate([tuple(range(len(sides))), *turns(rounds, len(sides))]):
        for which in order:
            own = OWN if sides[which].command is None else 0  # what the same server has heard already would be cached
            turn = await take_turn(servers[which], sides[which], Prompts(seed * 1000 + own + number))
            check(turn)
            if number > 0:
                measured[which].append(turn)
                say(f"{workload.title}, round {number}, {sides[which].name}: {summary(turn)}")
    return measured


async def take_turn(server: processes.Server, side: Side, prompts: Prompts) -> Turn:
    endpoint = replace(server.endpoint, fields=side.fields) if side.fields else server.endpoint
    before = server.cpu_seconds()
    with processes.Peak(server) as peak:
        load = await side.play(endpoint, prompts)
    after = server.cpu_seconds()
    return Turn(load, None if before is None or after is None else after - before, peak.mib)


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    peers.add_options(parser)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="some of %(default)s; default: all")
    parser.add_argument("--without", default="", help="peers to leave out: " + ", ".join(EQUAL))
    parser.add_argument("--section", default="Serving", help="of bench/results.md, to be replaced (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts (%(default)s)")
    return parser.parse_args(arguments)


def beside(options: argparse.Namespace, workload: Workload) -> list[list[str]]:
    """The rows of one workload, ours beside all others."""
    sides = peers.sides(options, workload)
    with contextlib.ExitStack() as stack:
        servers: list[processes.Server] = []
        for side in sides:
            servers.append(stack.enter_context(processes.running(side.command)) if side.command else servers[0])
        work = measure(servers, sides, workload, options.rounds, options.seed)
        return rows(workload.title, client.run(work))


def tables(options: argparse.Namespace) -> str:
    """One for each set of peers."""
    left_out = options.without.split(",")
    made: dict[tuple[str, ...], list[list[str]]] = {}
    for name in options.workloads.split(","):
        workload = WORKLOADS[name]
        if problem := peers.usable(workload):
            say(f"{workload.title} is left out: {problem}")
        elif others := tuple(peer for peer in workload.peers if peer not in left_out):
            made.setdefault(others, []).extend(beside(options, replace(workload, peers=others)))
    parts = []
    for others, lines in made.items():
        notes = [EQUAL[peer] for peer in others]
        header = [
            "workload",
            "",
            OURS if others != (OURSELVES,) else "with",
            *(w for o in others for w in (o, "ratio")),
        ]
        parts.append("\n\n".join([*notes, report.table(header, lines)]))
    return "\n\n".join(parts)


def exactness(model: Path) -> str:
    """How far llama.cpp is from itself without flash attention, as we set it: no speed was bought by that."""
    kl = {how: f"{values.mean():.1e} nats {how}" for how, values in attention.compare(model).items()}
    return (
        f"Mean KL of Nitro's llama.cpp against flash attention off: {', '.join(kl.values())}.\n"
        "llama-server's is set alike, auto, and computes with the same kernels."
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    options = parse(sys.argv[1:])
    made = tables(options)
    if any(WORKLOADS[name].engine == "llama" for name in options.workloads.split(",")):
        made += f"\n\n{exactness(options.model)}"
    print(made)
    if not options.no_write:
        work = f"{options.model.name}, {options.threads} threads, rounds: {options.rounds}"
        report.write(options.section, f"{report.setting('bench.serve')}\n- {work}\n\n{READING}\n\n{made}")


if __name__ == "__main__":
    main()
