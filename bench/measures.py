"""What a server did in its turns, measured: the rows of the tables."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from nitro.bench import client
from nitro.bench.stats import Ratio, percentile


@dataclass(frozen=True)
class Turn:
    """What one server did in one round."""

    load: client.Load
    cpu: float | None  # seconds, of all of the server's processes; None: not to be had
    peak: float | None  # MiB of them all; None: not to be had


def answers(turns: list[Turn]) -> list[client.Answer]:
    return [answer for turn in turns for answer in turn.load.answers]


def server_cpu(turns: list[Turn]) -> float | None:
    """Milliseconds per token."""
    known = [1000 * turn.cpu / turn.load.tokens for turn in turns if turn.cpu is not None]
    return statistics.median(known) if known else None


def peak(turns: list[Turn]) -> float | None:
    return max((turn.peak for turn in turns if turn.peak is not None), default=None)


def first(share: float) -> Callable[[list[Turn]], float]:
    def measure(turns: list[Turn]) -> float:
        return 1000 * percentile([a.ttft for a in answers(turns) if a.ttft is not None], share)

    return measure


def per_token(share: float) -> Callable[[list[Turn]], float]:
    return lambda turns: 1000 * percentile([a.per_token for a in answers(turns)], share)


def longest_gap(turns: list[Turn]) -> float:
    return 1000 * statistics.median(max(a.longest_gap for a in turn.load.answers) for turn in turns)


MEASURES: dict[str, Callable[[list[Turn]], float | None]] = {
    "TTFT p50, ms": first(0.5),
    "TTFT p90, ms": first(0.9),
    "TTFT p99, ms": first(0.99),
    "time per output token p50, ms": per_token(0.5),
    "time per output token p90, ms": per_token(0.9),
    "time per output token p99, ms": per_token(0.99),
    "longest gap between tokens, ms": longest_gap,
    "tokens/s": lambda turns: statistics.median(t.load.tokens / t.load.seconds for t in turns),
    "server CPU per token, ms": server_cpu,
    "client CPU per token, ms": lambda turns: (
        1000 * statistics.median(t.load.client_cpu / t.load.tokens for t in turns)
    ),
    "peak memory, MiB": peak,
}


def rows(title: str, sides: list[list[Turn]]) -> list[list[str]]:
    """The table's rows for one workload: ours, then each other side and our ratio to it. What could not be measured on
    all sides is left out."""
    ours, *others = sides
    made = []
    for name, measure in MEASURES.items():
        values = [measure(side) for side in sides]
        if None in values:
            continue
        cells = [f"{value:.4g}" for value in values]
        ratios = [str(Ratio.of(by_round(measure, ours), by_round(measure, other))) for other in others]
        made.append([title, name, cells[0], *(cell for pair in zip(cells[1:], ratios, strict=True) for cell in pair)])
    for name, tell in (("tokens of a prompt", prompt_lengths), ("tokens of predictions", predictions)):
        told = [tell(side) for side in sides]
        if any(told):
            made.append([title, name, told[0], *(cell for other in told[1:] for cell in (other, ""))])
    return made


def by_round(measure: Callable[[list[Turn]], float | None], turns: list[Turn]) -> list[float]:
    return [measure([turn]) or math.nan for turn in turns]


def prompt_lengths(turns: list[Turn]) -> str:
    """And how many of them were found in a cache. Nothing where the server tells no usage."""
    lengths = [answer.prompt_tokens for answer in answers(turns)]
    cached = statistics.mean(answer.cached_tokens for answer in answers(turns))
    return f"{min(lengths)}–{max(lengths)}, cached {cached:.0f}" if max(lengths) else ""


def predictions(turns: list[Turn]) -> str:
    accepted, rejected = (sum(getattr(a, kind) for a in answers(turns)) for kind in ("accepted", "rejected"))
    return f"{accepted} accepted, {rejected} rejected" if accepted + rejected else ""


def check(turn: Turn) -> None:
    """Raises RuntimeError where the work was not what was asked for. Pieces of a server without usage may differ."""
    told = [answer for answer in turn.load.answers if answer.prompt_tokens]
    if len(lengths := {answer.tokens for answer in told}) > 1:
        raise RuntimeError(f"answers have {lengths} tokens, asked for the same of all")


def summary(turn: Turn) -> str:
    values = {name: measure([turn]) for name, measure in MEASURES.items()}
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
