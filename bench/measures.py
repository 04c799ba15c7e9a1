"""The metrics of a server's turns: the rows of the tables."""

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from nitro.bench import client
from nitro.bench.stats import Ratio, percentile


@dataclass(frozen=True)
class Turn:
    """What was measured of one server in one round."""

    result: client.LoadResult
    cpu: float | None  # seconds, of all processes of the server; None: unknown
    peak: float | None  # MiB, of all processes; None: unknown


def answers(turns: list[Turn]) -> list[client.MeasuredAnswer]:
    """The answers of all turns."""
    return [answer for turn in turns for answer in turn.result.answers]


def server_cpu(turns: list[Turn]) -> float | None:
    """Milliseconds of CPU time per token, median of the turns."""
    known = [1000 * turn.cpu / turn.result.tokens for turn in turns if turn.cpu is not None]
    return statistics.median(known) if known else None


def peak(turns: list[Turn]) -> float | None:
    """The highest memory of all turns, in MiB."""
    return max((turn.peak for turn in turns if turn.peak is not None), default=None)


def ttft(share: float) -> Callable[[list[Turn]], float]:
    """A percentile of the times to the first token, in milliseconds."""

    def measure(turns: list[Turn]) -> float:
        return 1000 * percentile([a.ttft for a in answers(turns) if a.ttft is not None], share)

    return measure


def per_token(share: float) -> Callable[[list[Turn]], float]:
    """A percentile of the times per output token, in milliseconds."""
    return lambda turns: 1000 * percentile([a.per_token for a in answers(turns)], share)


def longest_gap(turns: list[Turn]) -> float:
    """The longest gap between two tokens of a stream, in milliseconds, median of the turns."""
    return 1000 * statistics.median(max(a.longest_gap for a in turn.result.answers) for turn in turns)


METRICS: dict[str, Callable[[list[Turn]], float | None]] = {
    "TTFT p50, ms": ttft(0.5),
    "TTFT p90, ms": ttft(0.9),
    "TTFT p99, ms": ttft(0.99),
    "time per output token p50, ms": per_token(0.5),
    "time per output token p90, ms": per_token(0.9),
    "time per output token p99, ms": per_token(0.99),
    "longest gap between tokens, ms": longest_gap,
    "tokens/s": lambda turns: statistics.median(t.result.tokens / t.result.seconds for t in turns),
    "server CPU per token, ms": server_cpu,
    "client CPU per token, ms": lambda turns: (
        1000 * statistics.median(t.result.client_cpu / t.result.tokens for t in turns)
    ),
    "peak memory, MiB": peak,
}
DRAFTED_TOKENS, ACCEPTED = "drafted tokens", "accepted tokens of drafts"
HIGHER_IS_BETTER = (
    *("tokens/s", "frames/s", "requests/s"),
    *("eight about one picture, requests/s", "one about a picture, requests/s"),
)


def rows(title: str, sides: list[list[Turn]]) -> list[list[str]]:
    """The table's rows for one workload: ours, then each other side and our ratio to it. A metric that could not be
    measured on all sides is left out."""
    ours, *others = sides
    table = []
    for name, measure in METRICS.items():
        values = [measure(side) for side in sides]
        if None in values:
            continue
        cells = [f"{value:.4g}" for value in values]
        ratios = [str(Ratio.of(by_round(measure, ours), by_round(measure, other))) for other in others]
        table.append([title, name, cells[0], *(cell for pair in zip(cells[1:], ratios, strict=True) for cell in pair)])
    descriptions = {
        "tokens of a prompt": prompt_lengths,
        "tokens of predictions": predictions,
        "drafted tokens": acceptance,
    }
    for name, describe in descriptions.items():
        cells = [describe(side) for side in sides]
        if any(cells):
            table.append([title, name, cells[0], *(cell for other in cells[1:] for cell in (other, ""))])
    return table


def by_round(measure: Callable[[list[Turn]], float | None], turns: list[Turn]) -> list[float]:
    """The metric of each turn by itself."""
    return [measure([turn]) or math.nan for turn in turns]


def values(sides: dict[str, list[Turn]]) -> dict[str, dict[str, list[float]]]:
    """By metric and server one figure per round. A metric that could not be measured on all sides is left out."""
    counts: dict[str, Callable[[list[Turn]], float | None]] = {
        DRAFTED_TOKENS: lambda turns: turns[0].result.drafts[0],
        ACCEPTED: lambda turns: turns[0].result.drafts[1],
    }
    found = {
        metric: {name: [measure([turn]) for turn in turns] for name, turns in sides.items()}
        for metric, measure in {**METRICS, **counts}.items()
    }
    return {
        metric: {name: [value for value in of_side if value is not None] for name, of_side in by_side.items()}
        for metric, by_side in found.items()
        if not any(None in of_side for of_side in by_side.values())
    }


def prompt_lengths(turns: list[Turn]) -> str:
    """The range of prompt lengths, and how many tokens were cached. Empty where the server reports no usage."""
    lengths = [answer.prompt_tokens for answer in answers(turns)]
    cached = statistics.mean(answer.cached_tokens for answer in answers(turns))
    return f"{min(lengths)}–{max(lengths)}, cached {cached:.0f}" if max(lengths) else ""


def predictions(turns: list[Turn]) -> str:
    """How many predicted tokens were accepted and rejected. Empty where nothing was predicted."""
    accepted = sum(answer.accepted for answer in answers(turns))
    rejected = sum(answer.rejected for answer in answers(turns))
    return f"{accepted} accepted, {rejected} rejected" if accepted + rejected else ""


def acceptance(turns: list[Turn]) -> str:
    """How many drafted tokens were accepted, whatever guessed them. Empty where the server tells of none."""
    drafted, accepted = (sum(numbers) for numbers in zip(*(turn.result.drafts for turn in turns), strict=True))
    return f"{accepted} of {drafted} accepted" if drafted else ""


def check(turn: Turn) -> None:
    """Raises RuntimeError where answers have different lengths, though the same was requested of all. A server that
    reports no usage is not checked, since its pieces of text may differ."""
    lengths = {answer.tokens for answer in turn.result.answers if answer.prompt_tokens}
    if len(lengths) > 1:
        raise RuntimeError(f"answers have {lengths} tokens, and the same number was requested of all")


def summary(turn: Turn) -> str:
    """All metrics of one turn, on one line."""
    values = {name: measure([turn]) for name, measure in METRICS.items()}
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items() if value is not None)
