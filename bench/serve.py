"""Nitro and llama.cpp's llama-server in turn: same weights, same kernels, same requests. `python -m bench.serve`.

Every round gives both the same new prompts, first to one, then to the other, and the next round the other way round.
Both are up all the time; an idle one takes no CPU. What is equal and what is not stands in `EQUAL`.
"""

import argparse
import math
import shlex
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import build_llama_server, client, processes, report
from bench.prompts import Prompts
from bench.stats import Ratio, percentile, turns
from bench.workloads import OWN, WORKLOADS, Workload
from nitro.engines import fit
from nitro.models import embedded

OURS, THEIRS = "Nitro", "llama-server"
EQUAL = """\
Equal: GGUF, kernels, threads, requests at once, context of each in one unified KV cache, n_batch 2048, flash attention
auto, prompts (random words, never twice), length of the answers (`ignore_eos`), temperature 0; idle slots of both move
to RAM. Else each is as a user starts it: llama-server's n_ubatch is 512, Nitro's 64 on the CPU; its threads spin as
long as OpenMP likes where Nitro sets `GOMP_SPINCOUNT`; and Nitro has tokens checked that it guesses from what was said
(prompt look-up), which helps where greedy answers repeat themselves, as these do."""
READING = """\
Times are medians over all requests (of conversations TTFT is that of the last turn; the longest gap is that of the
worst stream); tokens/s counts those of all clients and the time of the prompts, median of the rounds. CPU is that of
all processes of a server, and of the client. Ratios are Nitro ÷ llama-server within a round: median (least–most). For
tokens/s more is better, for the rest less."""


@dataclass(frozen=True)
class Turn:
    """What one server did in one round."""

    load: client.Load
    cpu: float | None  # seconds, of all of the server's processes; None: not to be had


def answers(turns: list[Turn]) -> list[client.Answer]:
    return [answer for turn in turns for answer in turn.load.answers]


def server_cpu(turns: list[Turn]) -> float | None:
    """Milliseconds per token."""
    known = [1000 * turn.cpu / turn.load.tokens for turn in turns if turn.cpu is not None]
    return statistics.median(known) if known else None


def firsts(turns: list[Turn]) -> list[float]:
    return [answer.first for answer in answers(turns) if answer.first is not None]


MEASURES: dict[str, Callable[[list[Turn]], float | None]] = {
    "TTFT, ms": lambda turns: 1000 * statistics.median(firsts(turns)),
    "TTFT p90, ms": lambda turns: 1000 * percentile(firsts(turns), 0.9),
    "longest gap between tokens, ms": lambda turns: (
        1000 * statistics.median(max(a.gap for a in turn.load.answers) for turn in turns)
    ),
    "time per output token, ms": lambda turns: 1000 * statistics.median(a.per_token for a in answers(turns)),
    "tokens/s": lambda turns: statistics.median(t.load.tokens / t.load.seconds for t in turns),
    "server CPU per token, ms": server_cpu,
    "client CPU per token, ms": lambda turns: (
        1000 * statistics.median(t.load.client_cpu / t.load.tokens for t in turns)
    ),
}


def rows(title: str, ours: list[Turn], theirs: list[Turn]) -> list[list[str]]:
    """The table's rows for one workload; what could not be measured is left out."""
    made = []
    for name, measure in MEASURES.items():
        both = measure(ours), measure(theirs)
        if None in both:
            continue
        ratio = Ratio.of(*([measure([turn]) or math.nan for turn in turns] for turns in (ours, theirs)))
        made.append([title, name, *(f"{value:.4g}" for value in both), str(ratio)])
    made.append([title, "tokens of a prompt", prompt_lengths(ours), prompt_lengths(theirs), ""])
    return made


def prompt_lengths(turns: list[Turn]) -> str:
    """And how many of them were found in a cache."""
    lengths = [answer.prompt_tokens for answer in answers(turns)]
    cached = statistics.mean(answer.cached_tokens for answer in answers(turns))
    return f"{min(lengths)}–{max(lengths)}, cached {cached:.0f}"


async def measure(
    servers: list[processes.Server], workloads: list[Workload], rounds: int, seed: int
) -> list[list[Turn]]:
    """The turns of both sides, each with its server and its workload. A round before the first is not counted: it
    wakes what sleeps."""
    measured: list[list[Turn]] = [[], []]
    for number, order in enumerate([(0, 1), *turns(rounds)]):
        for which in order:
            turn = await take_turn(servers[which], workloads[which], Prompts(seed * 1000 + number))
            check(turn)
            if number > 0:
                measured[which].append(turn)
                say(f"{workloads[which].title}, round {number}, {(OURS, THEIRS)[which]}: {summary(turn)}")
    return measured


async def take_turn(server: processes.Server, workload: Workload, prompts: Prompts) -> Turn:
    before = server.cpu_seconds()
    load = await workload.play(server.address, prompts)
    after = server.cpu_seconds()
    return Turn(load, None if before is None or after is None else after - before)


def check(turn: Turn) -> None:
    """Raises RuntimeError where the work was not what was asked for."""
    if len(lengths := {answer.tokens for answer in turn.load.answers}) > 1:
        raise RuntimeError(f"answers have {lengths} tokens, asked for the same of all")


def summary(turn: Turn) -> str:
    values = {name: measure([turn]) for name, measure in MEASURES.items()}
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)


def commands(options: argparse.Namespace, workload: Workload) -> list[list[str]]:
    """Ours and theirs, with equal settings."""
    binary = options.llama_server or build_llama_server.build()
    ours = {"ctx": workload.context, "parallel": workload.slots, "threads": options.threads, "engine": "llama"}
    theirs = {
        "model": options.model,
        "ctx-size": workload.context * workload.slots,
        "parallel": workload.slots,
        "threads": options.threads,
        "threads-batch": options.threads,
        "batch-size": 2048,
        "ubatch-size": 512,
        "flash-attn": "auto",
        "gpu-layers": "all",
        "fit": "off",
    }
    return [
        processes.nitro(str(options.model), *_flags(ours), *shlex.split(options.nitro_args)),
        processes.llama_server(binary, *_flags(theirs), "--kv-unified", *shlex.split(options.llama_args)),
    ]


def _flags(values: dict[str, object]) -> list[str]:
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.serve", description=__doc__)
    parser.add_argument("--model", type=Path, default=embedded.path(), help="a GGUF file; default: the embedded model")
    parser.add_argument("--llama-server", type=Path, help="its binary; default: built, which takes a few minutes")
    everything = ",".join([*WORKLOADS, *OWN])
    parser.add_argument("--workloads", default=everything, help="some of %(default)s; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="each with a turn of both (%(default)s)")
    parser.add_argument("--threads", type=int, default=fit.physical_cores(), help="default: the physical cores")
    parser.add_argument("--seed", type=int, default=1, help="of the prompts (%(default)s)")
    parser.add_argument("--nitro-args", default="", help="more options for nitro serve")
    parser.add_argument("--llama-args", default="", help="more options for llama-server")
    parser.add_argument("--no-write", action="store_true", help="leave bench/results.md as it is")
    return parser.parse_args(arguments)


def beside(options: argparse.Namespace, workload: Workload) -> list[list[str]]:
    """The rows of one workload, ours beside theirs."""
    ours, theirs = commands(options, workload)
    with processes.running(ours) as nitro, processes.running(theirs) as llama_server:
        work = measure([nitro, llama_server], [workload, workload], options.rounds, options.seed)
        return rows(workload.title, *client.run(work))


def with_and_without(options: argparse.Namespace, pair: tuple[Workload, Workload]) -> list[list[str]]:
    """The rows of one workload of ours, done in two ways."""
    ours, _ = commands(options, pair[0])
    with processes.running(ours) as nitro:
        work = measure([nitro, nitro], list(pair), options.rounds, options.seed)
        return rows(pair[0].title, *client.run(work))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    options = parse(sys.argv[1:])
    asked = options.workloads.split(",")
    peers = [row for name in asked if name in WORKLOADS for row in beside(options, WORKLOADS[name])]
    own = [row for name in asked if name in OWN for row in with_and_without(options, OWN[name])]
    made = report.table(["workload", "", OURS, THEIRS, "ratio"], peers)
    if own:
        made += "\n\n" + report.table(["workload", "", "with", "without", "ratio"], own)
    print(made)
    if not options.no_write:
        work = f"{options.model.name}, {options.threads} threads, {options.rounds} rounds"
        report.write("Serving", f"{report.setting('bench.serve')}\n- {work}\n\n{EQUAL}\n\n{READING}\n\n{made}")


if __name__ == "__main__":
    main()
