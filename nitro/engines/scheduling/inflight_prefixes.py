"""A prefix is shared while it is still being computed: who waits for whom. Pure.

A sequence whose prompt begins as one in prefill does (its leader) waits for their common part, and copies it then. The
leader's chunk ends where that part does, since the state of some models can be copied only where it ends.
"""

from collections.abc import Iterable

from nitro.engines.scheduling.prefix_cache import BusySlot, PrefixCache
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.scheduling.slots import shared_prefix


class InFlightPrefixes:
    """Decides, anew for each step, which sequences wait for the prefix that another one computes."""

    def __init__(self, prefixes: PrefixCache):
        self._prefixes = prefixes
        self.stops: dict[int, int] = {}  # by the leader's id: the position where its next chunk has to end

    def begin_step(self) -> None:
        """Nobody follows anybody, until asked again."""
        self.stops = {}

    def should_wait(self, sequence: Sequence, running: Iterable[Sequence], busy: list[BusySlot]) -> bool:
        """Whether a waiting sequence should wait for a prefix of one that runs. If so, that one stops where it ends."""
        if sequence.bypass_cache:
            return False
        limit = len(sequence.tokens) - 1  # its last token must be computed to sample
        leader, shared = sequence, 0
        for other in running:
            if other.pending > 1 and shared < limit and other.adapters == sequence.adapters:
                length = min(shared_prefix(other.tokens, sequence.tokens, shared + 1), limit)
                leader, shared = (other, length) if length > shared else (leader, shared)
        shared = self._prefixes.grid.reusable(shared, leader.prompt_length)
        if shared <= leader.computed:
            return False
        if sequence.leader != leader.id and not self._prefixes.is_gain(
            sequence.tokens, busy, shared, sequence.adapters
        ):
            return False
        sequence.leader = leader.id
        self.stops[leader.id] = min(shared, self.stops.get(leader.id, shared))
        return True
