"""Who goes first: older sequences do, but a younger one that fits may pass an older one that does not. Pure.

Sequences take turns in rounds. A round has at most one sequence of each request, so that a request for many sequences
shares the engine with the others; a newcomer begins with the next round. Older means: of an earlier round or, within
one, come earlier.
"""

from nitro.engines.scheduling.sequence import Sequence

MAX_OVERTAKES = 8  # times that a sequence may be passed; after that nobody goes ahead of it


def age(sequence: Sequence) -> tuple[int, int]:
    """The key that sorts sequences, the oldest first."""
    return sequence.age


def may_overtake(passed: list[Sequence]) -> bool:
    """Whether one more sequence may go ahead of all of these."""
    return all(sequence.overtaken < MAX_OVERTAKES for sequence in passed)


def overtake(passed: list[Sequence]) -> None:
    """Another sequence goes ahead of all of these."""
    for sequence in passed:
        sequence.overtaken += 1


def order_prompts(prompts: list[tuple[Sequence, int]], budget: int, enough: float) -> list[tuple[Sequence, int]]:
    """Prompts, given oldest first, in the order in which they share `budget` tokens of a step. Each comes with the
    tokens of its next chunk: to its end, or to where a copy is to be made.

    A younger one whose chunk fits goes ahead of an older one whose does not. The step ends with the first that fits by
    which it has `enough` tokens: nobody waits for an answer's first token until others' prompts are computed.
    """
    ahead: list[tuple[Sequence, int]] = []
    passed: list[tuple[Sequence, int]] = []
    tokens = 0
    for sequence, size in prompts:
        others = [other for other, _ in passed]
        if tokens + size <= budget and may_overtake(others):
            overtake(others)
            ahead.append((sequence, size))
            tokens += size
            if tokens >= enough:
                return ahead
        else:
            passed.append((sequence, size))
    return ahead + passed
