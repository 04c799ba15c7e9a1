"""How many guesses of which sequence to check in a step, so that all get most tokens a second. Pure.

The likeliest guess comes first, whosever it is, then the next. For each number of them it is known how many tokens may
be expected of the step and what it costs, so the best number is found by trying all: where kernels compute in tiles, a
few guesses may not pay and a few more do.

Nobody may wait for another's guesses: a step may take longer only as far as each sequence gets more tokens of it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from itertools import islice

PATIENCE = 1.08  # times as long as without drafts: what any sequence may wait for its next token, in the mean
LEAST_GAIN = 1.03  # times as many tokens a second: less is noise


@dataclass(slots=True)
class Chain:
    """Guesses for one sequence. `chances`: that each and all before it are right; so none is larger than the last."""

    chances: list[float]
    modelled: bool = False  # the draft model has yet to guess them


@dataclass(slots=True)
class Plan:
    """How many guesses of each chain to check, and what to expect of it."""

    lengths: list[int]
    tokens: float  # of the step
    rate: float  # tokens a second

    @property
    def drafted(self) -> int:
        """Guesses of all chains."""
        return sum(self.lengths)


def best_plan(streams: int, chains: list[Chain], step: list[float], guess: list[float]) -> Plan:
    """The best one for so many sequences that decode, of which those with guesses have a chain.

    `step`: seconds of the step without any guess, with one, with two, and so on, as many as may be checked.
    `guess`: seconds of the draft model's pass for no sequence, for one, for two, and so on.
    """
    lengths = [0] * len(chains)
    expected = [1.0] * len(chains)  # tokens, by chain
    rounds: list[int] = []  # of the draft model's passes: for how many sequences
    tokens = float(streams)
    guessing = 0.0  # seconds
    best, best_tokens, best_rate = lengths.copy(), tokens, LEAST_GAIN * streams / step[0]
    for index, seconds in zip(_by_chance(chains), step[1:], strict=False):
        chain, at = chains[index], lengths[index]
        lengths[index] += 1
        expected[index] += chain.chances[at]
        tokens += chain.chances[at]
        if chain.modelled:
            if at == len(rounds):
                rounds.append(0)
            guessing += guess[rounds[at] + 1] - guess[rounds[at]]
            rounds[at] += 1
        rate = tokens / (seconds + guessing)
        if rate > best_rate and seconds + guessing <= PATIENCE * step[0] * _worst(streams, lengths, expected):
            best, best_tokens, best_rate = lengths.copy(), tokens, rate
    return Plan(best, best_tokens, best_rate)


def _worst(streams: int, lengths: list[int], expected: list[float]) -> float:
    """The tokens that the sequence may expect that gets the fewest."""
    return min(expected) if len(lengths) == streams and all(lengths) else 1.0


def likeliest(streams: int, chains: list[Chain], count: int) -> Plan:
    """So many guesses, the likeliest, whatever they cost; fewer where there are not as many."""
    lengths = [0] * len(chains)
    tokens = float(streams)
    for index in islice(_by_chance(chains), count):
        tokens += chains[index].chances[lengths[index]]
        lengths[index] += 1
    return Plan(lengths, tokens, 0.0)


def _by_chance(chains: list[Chain]) -> Iterator[int]:
    """The chains' indices, one for each guess, the likeliest first."""
    heap = [(-chain.chances[0], index, 0) for index, chain in enumerate(chains) if chain.chances]
    heapify(heap)
    while heap:
        _, index, at = heap[0]
        yield index
        chances = chains[index].chances
        if at + 1 < len(chances):
            heapreplace(heap, (-chances[at + 1], index, at + 1))
        else:
            heappop(heap)
