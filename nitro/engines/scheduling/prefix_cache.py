"""No prefix is computed twice while a slot holds it: where a sequence's KV comes from, and what gives way for it.

A sequence begins with the longest prefix that any slot holds, idle or busy. An idle slot that loses little by it is cut
and taken over, so that a conversation goes on in its own slot; from all others the prefix is copied. The rest of the
idle slots are the cache. Where the runner wants that, they are offloaded beside the pool while others run.

Caches that cannot be cut, of recurrent models and those with windows, can be gone on from only where they end. So
copies of them are kept at the borders of messages, as idle slots like others.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from nitro.engines.scheduling.slots import Slots, shared_prefix
from nitro.engines.types import ModelInfo

WORTH = 16  # tokens; a shorter prefix is computed again
LITTLE = 16  # a slot is taken over if it loses at most a sixteenth of what is kept
BRINGS = 256  # an offloaded slot comes back whole: at most so many tokens for each that is wanted


class KV(Protocol):
    """What is needed of a runner. Its own docstrings hold."""

    def trim(self, slot: int, length: int) -> int: ...
    def offload(self, slot: int) -> None: ...
    def copy(self, src: int, dst: int, length: int) -> int: ...


class Busy(NamedTuple):
    """A busy slot, which holds the first `computed` of `tokens`."""

    slot: int
    tokens: list[int]
    computed: int


class PrefixCache:
    def __init__(self, info: ModelInfo, kv: KV):
        self.slots = Slots(info.slots)
        self._info, self._kv = info, kv

    def find(self, tokens: list[int], busy: Iterable[Busy]) -> tuple[int | None, int]:
        """The slot with the longest prefix of `tokens` that is worth its while, and the length. The last token is never
        in it: it must be computed to sample."""
        whole = not self._info.can_truncate
        slot, length = self.slots.longest(tokens, whole)
        if slot is not None and not self._worth_bringing(slot, length):
            slot, length = None, 0
        for other in busy:
            shared = min(shared_prefix(other.tokens, tokens), other.computed)
            if whole and not shared == other.computed < len(tokens):
                continue
            if shared > length:
                slot, length = other.slot, shared
        length = min(length, len(tokens) - 1)
        return (slot, length) if length > 0 else (None, 0)

    def gains(self, tokens: list[int], busy: Iterable[Busy], length: int) -> bool:
        """Whether a prefix of this length would be worth its while beside what the slots hold."""
        return length - self.find(tokens, busy)[1] >= WORTH

    def place(self, tokens: list[int], busy: list[Busy]) -> tuple[int, int]:
        """Make an idle slot busy: the slot, and how many leading tokens it holds already. There must be an idle one."""
        source, length = self.find(tokens, busy)
        of_busy = any(source == other.slot for other in busy)
        if source is not None and not of_busy and self._loses_little(source, length):
            return self._take_over(source, length, busy)
        slot = self.slots.spare(but=source)
        if slot == source:
            return self._take_over(slot, length, busy)
        if source is None or length < WORTH:
            return self._take_over(slot, 0, busy)
        self._kv.trim(slot, 0)
        self.slots.clear(slot)
        self._make_room(length if of_busy else max(length, self.slots.size(source)), busy, but=source)
        self.slots.take(slot)
        return slot, self._kv.copy(source, slot, length)

    def keep(self, slot: int, tokens: list[int], busy: list[Busy]) -> None:
        """Keep a copy of a busy slot, which holds exactly `tokens`, in an idle one, unless one holds it already."""
        if not self.slots.idle or self.slots.holds(tokens):
            return
        spare = self.slots.spare()
        self._drop(spare)
        self._make_room(len(tokens), busy, but=spare)
        if self._kv.copy(slot, spare, len(tokens)):
            self.slots.take(spare)
            self.slots.release(spare, tokens)

    def release(self, slot: int, held: list[int]) -> None:
        self.slots.release(slot, held)

    def offload(self, but: int | None = None) -> None:
        """Take what idle slots hold out of the pool, where it would slow down every step. What is offloaded
        longest gives way, but for the slot `but`."""
        most = self._info.offload_tokens
        for slot, size in self.slots.in_pool():
            if size > most:
                continue
            while self.slots.offloaded + size > most and (oldest := self.slots.oldest_offloaded(but)) is not None:
                self._drop(oldest)
            if self.slots.offloaded + size <= most:
                self._kv.offload(slot)
                self.slots.offload(slot)

    def reclaim_kv(self) -> bool:
        """Empty the least recently used idle slot in the pool. False where there is none."""
        for slot, _ in self.slots.in_pool():
            self._drop(slot)
            return True
        return False

    def restart(self) -> None:
        """The runner was reset: every slot is empty."""
        self.slots = Slots(self._info.slots)

    def _take_over(self, slot: int, length: int, busy: list[Busy]) -> tuple[int, int]:
        if length and self.slots.is_offloaded(slot):
            self._make_room(self.slots.size(slot), busy, but=slot)
        self.slots.take(slot)
        return slot, self._kv.trim(slot, length)

    def _make_room(self, tokens: int, busy: list[Busy], but: int) -> None:
        """So many tokens are to be free in the pool, as far as idle slots can give way."""
        if self._used(busy) + tokens > self._info.kv_tokens:
            self.offload(but)
        used = self._used(busy)
        for slot, size in self.slots.in_pool():
            if used + tokens <= self._info.kv_tokens:
                return
            if slot != but:
                self._drop(slot)
                used -= size

    def _used(self, busy: list[Busy]) -> int:
        return self.slots.held + sum(other.computed for other in busy)

    def _drop(self, slot: int) -> None:
        self._kv.trim(slot, 0)
        self.slots.clear(slot)

    def _loses_little(self, slot: int, length: int) -> bool:
        return LITTLE * (self.slots.size(slot) - length) <= length

    def _worth_bringing(self, slot: int, length: int) -> bool:
        return not self.slots.is_offloaded(slot) or self.slots.size(slot) <= BRINGS * length
