"""Which slot holds what: the idle ones are the prefix cache. Pure bookkeeping; `prefix_cache.py` moves the KV."""

from collections.abc import Container, Sequence

from nitro.engines.adapters import AdapterSet


class Slots:
    """`count` slots, each busy (a sequence owns it) or idle (it holds the tokens its last sequence left).

    What an idle one holds lies in the KV pool or is offloaded beside it. It was computed under an adapter set, and is
    of use under that one only.
    """

    def __init__(self, count: int):
        self._idle: dict[int, list[int]] = {slot: [] for slot in range(count)}  # least recently used first
        self._adapters: dict[int, AdapterSet] = {}  # of the idle ones, where it is not the model alone
        self._offloaded: set[int] = set()  # some of the idle
        self._busy: set[int] = set()

    @property
    def idle(self) -> int:
        """How many slots are idle."""
        return len(self._idle)

    @property
    def held(self) -> int:
        """Tokens that the idle slots hold in the pool."""
        return sum(map(len, self._idle.values())) - self.offloaded

    @property
    def offloaded(self) -> int:
        """Tokens that are offloaded."""
        return sum(len(self._idle[slot]) for slot in self._offloaded)

    def items(self) -> list[tuple[int, list[int], AdapterSet]]:
        """The idle slots that hold something, what, and under which adapters, the least recently used first."""
        return [(slot, held, self.adapters(slot)) for slot, held in self._idle.items() if held]

    def adapters(self, slot: int) -> AdapterSet:
        """Under which an idle slot's tokens were computed."""
        return self._adapters.get(slot, ())

    def in_pool(self) -> list[tuple[int, int]]:
        """Those of them that hold it in the pool, and how many tokens, in the same order."""
        return [(slot, len(held)) for slot, held in self._idle.items() if held and slot not in self._offloaded]

    def oldest_offloaded(self, exclude: int | None, spared: Container[int] = ()) -> int | None:
        """The least recently used of the offloaded slots other than `exclude`, one of `spared` if there is no other."""
        offloaded = [slot for slot in self._idle if slot in self._offloaded and slot != exclude]
        return next((slot for slot in offloaded if slot not in spared), offloaded[0] if offloaded else None)

    def is_offloaded(self, slot: int) -> bool:
        """Whether what an idle slot holds lies beside the pool."""
        return slot in self._offloaded

    def tokens(self, slot: int) -> list[int]:
        """What an idle slot holds."""
        return self._idle[slot]

    def size(self, slot: int) -> int:
        """Tokens an idle slot holds."""
        return len(self._idle[slot])

    def holds(self, tokens: list[int], adapters: AdapterSet = ()) -> bool:
        """Whether an idle slot holds exactly these, computed under these adapters."""
        return any(held == tokens and self.adapters(slot) == adapters for slot, held in self._idle.items())

    def longest(
        self, tokens: list[int], entire_only: bool = False, adapters: AdapterSet = ()
    ) -> tuple[int | None, int]:
        """The idle slot that shares the longest prefix with `tokens`, computed under these adapters, and its length;
        None and 0 where none does.

        Of equals the one that holds the least beside it, then the oldest. `entire_only`: only slots all of whose tokens
        are shared, and fewer than all of `tokens`.
        """
        best, longest, size = None, 0, 0
        for slot, held in self._idle.items():
            if longest == len(tokens) and len(held) >= size:
                continue  # it holds more beside it
            if self.adapters(slot) != adapters:
                continue
            shared = shared_prefix(held, tokens, longest)
            if entire_only and (shared < len(held) or shared == len(tokens)):
                continue
            if shared > longest or (best is not None and shared == longest and len(held) < size):
                best, longest, size = slot, shared, len(held)
        return best, longest

    def spare(self, exclude: int | None = None, spared: Container[int] = ()) -> int:
        """An idle slot other than `exclude` to be overwritten: an empty one, else the least recently used, one of
        `spared` if there is no other. `exclude` itself where no other is idle."""
        others = [slot for slot in self._idle if slot != exclude]
        if not others:
            return next(iter(self._idle))
        empty = (slot for slot in others if not self._idle[slot])
        return next(empty, next((slot for slot in others if slot not in spared), others[0]))

    def take(self, slot: int) -> None:
        """An idle slot becomes busy."""
        del self._idle[slot]
        self._adapters.pop(slot, None)
        self._offloaded.discard(slot)
        self._busy.add(slot)

    def release(self, slot: int, held: list[int], adapters: AdapterSet = ()) -> None:
        """A busy slot becomes idle, holding `held`, which was computed under these adapters."""
        self._busy.remove(slot)
        self._idle[slot] = held
        if adapters:
            self._adapters[slot] = adapters

    def offload(self, slot: int) -> None:
        """What an idle slot holds was offloaded."""
        self._offloaded.add(slot)

    def cut(self, slot: int, length: int) -> None:
        """An idle slot in the pool was cut to its first `length` tokens."""
        self._idle[slot] = self._idle[slot][:length]

    def clear(self, slot: int) -> None:
        """An idle slot was emptied."""
        self._offloaded.discard(slot)
        self._adapters.pop(slot, None)
        self._idle[slot] = []


def shared_prefix(a: Sequence[int], b: Sequence[int], least: int = 0) -> int:
    """How many leading tokens two lists share, or bytes two strings; 0 if that is less than `least`, which costs little
    to see.

    By bisection: comparing slices is much faster than a loop.
    """
    limit = min(len(a), len(b))
    if least and (limit < least or a[least - 1] != b[least - 1] or a[:least] != b[:least]):
        return 0
    shared = least
    while shared < limit:
        middle = (shared + limit + 1) // 2
        if a[shared:middle] == b[shared:middle]:
            shared = middle
        else:
            limit = middle - 1
    return shared
