"""Who goes first where several users want the engine: who has had the least of it. Pure.

Each share has a clock: the tokens that were computed for it, divided by its weight. (As "virtual token counters" in
Sheng et al., 2024, Fairness in Serving Large Language Models, arXiv:2401.00588.) A share that comes begins with the
least clock of those that are there, so nobody saves up tokens by being away, and nobody pays for having been alone.

A sequence's place is its share's clock, and a quantum for each older sequence of the share that runs, or is before it.
So rows go round the users, one each. Where all rows are taken, a running sequence whose place is more than a quantum
behind that of one that waits gives way to it: a user with many requests to one with few at once, and users that are
alike to each other in turn, a quantum of tokens each.
"""

from collections import Counter
from collections.abc import Iterable

from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.shares import FLEX, Share

QUANTUM = 256  # tokens


class FairShares:
    """The clocks of those who want the engine. As long as there is one share, everything is in order of age."""

    def __init__(self) -> None:
        self._clocks: dict[Share, float] = {}  # of those present, and of the absent who have had more than the least
        self._present: Counter[Share] = Counter()  # sequences that run or wait

    @property
    def contested(self) -> bool:
        """Whether there is more than one share."""
        return len(self._present) > 1

    def join(self, share: Share) -> None:
        """It has one more sequence."""
        if share not in self._present:
            self._clocks[share] = max(self._clocks.get(share, 0.0), self._least)
        self._present[share] += 1

    def leave(self, share: Share) -> None:
        """It has one less."""
        self._present[share] -= 1
        if not self._present[share]:
            del self._present[share]
            least = self._least if self._present else float("inf")
            self._clocks = {
                each: clock for each, clock in self._clocks.items() if each in self._present or clock > least
            }

    def charge(self, share: Share, tokens: int) -> None:
        """So many tokens were computed for it."""
        self._clocks[share] += tokens / share.weight

    def in_order(self, sequences: list[Sequence], ahead: Iterable[Sequence] = ()) -> list[Sequence]:
        """Sequences, given oldest first, in the order in which they are served. `ahead`: those that run, where these
        wait."""
        if not self.contested:
            return sequences
        return [sequence for _, sequence in sorted(self._places(sequences, ahead), key=lambda placed: placed[0])]

    def gives_way(self, first: Sequence, running: list[Sequence]) -> Sequence | None:
        """Which of the running sequences, given oldest first, ends its turn for one that waits."""
        if not self.contested:
            return None
        ((place, _),) = self._places([first], running)
        last, sequence = max(self._places(running), key=lambda placed: placed[0])
        return sequence if last > place + QUANTUM / first.share.weight else None

    def present(self, running: list[Sequence]) -> list[Sequence]:
        """Which of the running sequences, given oldest first, the next step may have. The tier "flex" stands back from
        steps in which a prompt of another tier is computed, unless it has had far less than its share: who waits for a
        first token waits as long as without it."""
        prompts = [s for s in running if s.pending > 1 and s.share.tier != FLEX] if self.contested else []
        if not prompts:
            return running
        most = max(self._clocks[sequence.share] for sequence in prompts)
        return [s for s in running if s.share.tier != FLEX or self._clocks[s.share] + QUANTUM / s.share.weight < most]

    def in_a_hurry(self, running: list[Sequence]) -> bool:
        """Whether the next step is to be a short one: somebody waits for the next token of a stream; or nobody waits
        for anything, but somebody may come."""
        if all(share.tier == FLEX for share in self._present):
            return bool(running)
        return any(sequence.pending == 1 and sequence.share.tier != FLEX for sequence in running)

    @property
    def _least(self) -> float:
        return min((self._clocks[share] for share in self._present), default=0.0)

    def _places(self, sequences: Iterable[Sequence], ahead: Iterable[Sequence] = ()) -> list[tuple[float, Sequence]]:
        older = Counter(sequence.share for sequence in ahead)
        places = []
        for sequence in sequences:
            share = sequence.share
            places.append((self._clocks[share] + older[share] * QUANTUM / share.weight, sequence))
            older[share] += 1
        return places
