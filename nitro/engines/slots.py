"""Which slot holds what: the idle ones are the prefix cache. Pure bookkeeping; the scheduler moves the KV itself."""


class Slots:
    """`count` slots, each busy (a sequence owns it) or idle (it holds the tokens its last sequence left)."""

    def __init__(self, count: int):
        self._idle: dict[int, list[int]] = {slot: [] for slot in range(count)}  # least recently used first
        self._busy: set[int] = set()

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def held(self) -> int:
        """Tokens that the idle slots hold."""
        return sum(map(len, self._idle.values()))

    def take(self, tokens: list[int]) -> tuple[int, int]:
        """Make an idle slot busy: (slot, how many of its leading tokens to keep). There must be one.

        The best slot shares the longest prefix with `tokens` and loses at most half of what it holds by being cut;
        else an empty slot, else the least recently used. The last token is never kept: it must be computed to sample.
        """
        best, kept = None, 0
        for slot, held in self._idle.items():
            shared = min(shared_prefix(held, tokens), len(tokens) - 1)
            if shared > kept and 2 * shared >= len(held):
                best, kept = slot, shared
        if best is None:
            best = next((slot for slot, held in self._idle.items() if not held), next(iter(self._idle)))
            kept = min(shared_prefix(self._idle[best], tokens), len(tokens) - 1)
        del self._idle[best]
        self._busy.add(best)
        return best, kept

    def release(self, slot: int, held: list[int]) -> None:
        """A busy slot becomes idle, holding `held`."""
        self._busy.remove(slot)
        self._idle[slot] = held

    def oldest_held(self) -> int | None:
        """The least recently used idle slot that holds anything."""
        return next((slot for slot, held in self._idle.items() if held), None)

    def clear(self, slot: int) -> None:
        """An idle slot was emptied."""
        self._idle[slot] = []


def shared_prefix(a: list[int], b: list[int]) -> int:
    """How many leading tokens two lists share. By bisection: comparing slices is much faster than a loop."""
    shared, most = 0, min(len(a), len(b))
    while shared < most:
        middle = (shared + most + 1) // 2
        if a[shared:middle] == b[shared:middle]:
            shared = middle
        else:
            most = middle - 1
    return shared
