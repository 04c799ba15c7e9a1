"""No prefix is computed twice while a slot holds it: where a sequence's KV comes from, and what gives way for it.

A sequence begins with the longest prefix that any slot holds, idle or busy. An idle slot that loses little by it is cut
and taken over, so that a conversation goes on in its own slot; from all others the prefix is copied. The rest of the
idle slots are the cache. Where the runner wants that, they are offloaded beside the pool while others run.

What was computed under an adapter set is a prefix for sequences under the same one alone: so each search names one.

Caches that cannot be cut, of recurrent models and those with windows, can be continued only where they end. So
snapshots of them are kept where messages end (`Sequence.snapshot_points`), as idle slots like others.

Idle slots give way in the order of their last use, but those that hold a prefix that a request has named come last: see
`kept_prefixes.py`.
"""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from nitro.engines.adapters import AdapterSet
from nitro.engines.scheduling.kept_prefixes import KeptPrefix, KeptPrefixes
from nitro.engines.scheduling.prompt_grid import PromptGrid
from nitro.engines.scheduling.slots import Slots, shared_prefix
from nitro.engines.types import ModelInfo

MIN_PREFIX = 16  # tokens; a shorter prefix is computed again
KEPT_PER_LOST = 16  # a slot is taken over if it loses at most a sixteenth of what it keeps
MAX_RESTORED = 256  # an offloaded slot is restored completely: at most so many tokens for each that is reused


class KVStore(Protocol):
    """What is needed of a runner; see ModelRunner."""

    def trim(self, slot: int, length: int) -> int:
        """See ModelRunner."""

    def offload(self, slot: int) -> None:
        """See ModelRunner."""

    def copy(self, src: int, dst: int, length: int) -> int:
        """See ModelRunner."""


class BusySlot(NamedTuple):
    """A busy slot, which holds the first `computed` of `tokens`, computed under `adapters`."""

    slot: int
    tokens: list[int]
    computed: int
    adapters: AdapterSet = ()


class PrefixCache:
    """Gives slots to sequences, with as much of their KV as any slot holds."""

    def __init__(self, info: ModelInfo, kv: KVStore):
        self.slots = Slots(info.slots)
        self.kept = KeptPrefixes(info)
        self._info = info
        self._kv = kv
        self.grid = PromptGrid(info.prompt_grid)

    def find(self, tokens: list[int], busy: Iterable[BusySlot], adapters: AdapterSet = ()) -> tuple[int | None, int]:
        """The slot with the longest prefix of `tokens` under these adapters that is worth using, and the prefix's
        length; None and 0: none.

        The last token is never in it: it must be computed to sample.
        """
        entire_only = not self._info.can_truncate
        slot, length = self.slots.longest(tokens, entire_only, adapters)
        if slot is not None and not self._is_worth_restoring(slot, length):
            slot, length = None, 0
        for other in busy:
            if other.computed <= length or len(tokens) <= length or other.adapters != adapters:
                continue
            shared = min(shared_prefix(other.tokens, tokens, length + 1), other.computed)
            if entire_only and not shared == other.computed < len(tokens):
                continue
            if shared > length:
                slot, length = other.slot, shared
        length = self.grid.down(min(length, len(tokens) - 1))
        return (slot, length) if length > 0 else (None, 0)

    def is_gain(self, tokens: list[int], busy: Iterable[BusySlot], length: int, adapters: AdapterSet = ()) -> bool:
        """Whether a prefix of this length would be clearly longer than what the slots hold."""
        return length - self.find(tokens, busy, adapters)[1] >= MIN_PREFIX

    def keep(self, tokens: list[int], keeps: Iterable[KeptPrefix], arrived: float, adapters: AdapterSet = ()) -> int:
        """A sequence with these tokens starts: what it names stays. Returns how many of the first do."""
        whole = [keep._replace(length=self.grid.down(keep.length)) for keep in keeps]
        return self.kept.begin(tokens, [keep for keep in whole if keep.length >= MIN_PREFIX], arrived, adapters)

    def place(self, tokens: list[int], busy: list[BusySlot], adapters: AdapterSet = ()) -> tuple[int, int]:
        """Make an idle slot busy: the slot, and how many leading tokens it holds already. There must be an idle one."""
        source, length = self.find(tokens, busy, adapters)
        source_is_busy = any(source == other.slot for other in busy)
        kept = self._kept()
        if source is not None and not source_is_busy and self._may_take_over(source, length, kept):
            return self._take_over(source, length, busy)
        slot = self.slots.spare(exclude=source, spared=kept)
        if source is not None and not source_is_busy and slot in kept and source not in kept:
            slot = source
        if slot == source:
            return self._take_over(slot, length, busy)
        if source is None or length < MIN_PREFIX:
            return self._take_over(slot, 0, busy)
        self._kv.trim(slot, 0)
        self.slots.clear(slot)
        needed = length if source_is_busy else max(length, self.slots.size(source))
        self._make_room(needed, busy, exclude=source)
        self.slots.take(slot)
        return slot, self._kv.copy(source, slot, length)

    def snapshot(self, slot: int, tokens: list[int], busy: list[BusySlot], adapters: AdapterSet = ()) -> None:
        """Keep a copy of a busy slot, which holds exactly `tokens`, in an idle one, unless one holds it already."""
        if not self.slots.idle or self.slots.holds(tokens, adapters):
            return
        kept = self._kept()
        spare = self.slots.spare(spared=kept)
        if spare in kept:
            return
        self._drop(spare)
        self._make_room(len(tokens), busy, exclude=spare)
        if self._kv.copy(slot, spare, len(tokens)):
            self.slots.take(spare)
            self.slots.release(spare, tokens, adapters)

    def release(self, slot: int, tokens: list[int], adapters: AdapterSet = ()) -> None:
        """A busy slot becomes idle, holding `tokens`, computed under these adapters."""
        self.slots.release(slot, tokens, adapters)

    def offload(self, exclude: int | None = None) -> None:
        """Take what idle slots hold out of the pool, where it would slow down every step.

        The slot offloaded first is dropped first to make room, but never `exclude`.
        """
        limit = self._info.offload_tokens
        if not limit:
            return
        for slot, size in self.slots.in_pool():
            if size > limit:
                continue
            while self.slots.offloaded + size > limit and (oldest := self._oldest_offloaded(exclude)) is not None:
                self._drop(oldest)
            if self.slots.offloaded + size <= limit:
                self._kv.offload(slot)
                self.slots.offload(slot)

    def reclaim_kv(self) -> bool:
        """Empty the least recently used idle slot in the pool, or cut it to what is to stay. False where there is
        none."""
        return self._shrink(exclude=None) > 0

    def reclaim_memory(self) -> bool:
        """Drop what was offloaded first. False where nothing is offloaded."""
        oldest = self._oldest_offloaded(exclude=None)
        if oldest is not None:
            self._drop(oldest)
        return oldest is not None

    def empty_idle(self) -> bool:
        """Empty every idle slot. False where all are."""
        held = self.slots.items()
        for slot, _, _ in held:
            self._drop(slot)
        return bool(held)

    def empty(self, slot: int) -> None:
        """Empty a busy slot."""
        self._kv.trim(slot, 0)

    def restart(self) -> None:
        """The runner was reset: every slot is empty."""
        self.slots = Slots(self._info.slots)
        self.kept.clear()

    def _take_over(self, slot: int, length: int, busy: list[BusySlot]) -> tuple[int, int]:
        if length and self.slots.is_offloaded(slot):
            self._make_room(self.slots.size(slot), busy, exclude=slot)
        self.slots.take(slot)
        return slot, self._kv.trim(slot, length)

    def _make_room(self, tokens: int, busy: list[BusySlot], exclude: int) -> None:
        """So many tokens are to be free in the pool, as far as idle slots can give way."""
        if self._used(busy) + tokens <= self._info.kv_tokens:
            return
        self.offload(exclude)
        used = self._used(busy)
        while used + tokens > self._info.kv_tokens and (freed := self._shrink(exclude)):
            used -= freed

    def _shrink(self, exclude: int | None) -> int:
        """Empty an idle slot in the pool other than `exclude`, or cut it to what is to stay. Returns how many tokens
        are free by that; 0: there is none."""
        pool = [(slot, size) for slot, size in self.slots.in_pool() if slot != exclude]
        kept = self._kept() if pool else {}
        for slot, size in sorted(pool, key=lambda held: held[0] in kept):  # stable: the least recently used first
            if (stays := kept.get(slot, 0)) < size:
                self._cut(slot, stays)
                return size - self.slots.size(slot)
        for slot, size in pool:
            self._drop(slot)
            return size
        return 0

    def _cut(self, slot: int, length: int) -> None:
        if length and self._kv.trim(slot, length) == length:
            self.slots.cut(slot, length)
        else:
            self._drop(slot)

    def _kept(self) -> dict[int, int]:
        """The idle slots that give way last, and how many of their tokens are to stay."""
        return self.kept.holders(self.slots.items())

    def _oldest_offloaded(self, exclude: int | None) -> int | None:
        return self.slots.oldest_offloaded(exclude, self._kept())

    def _used(self, busy: list[BusySlot]) -> int:
        return self.slots.held + sum(other.computed for other in busy)

    def _drop(self, slot: int) -> None:
        self._kv.trim(slot, 0)
        self.slots.clear(slot)

    def _may_take_over(self, slot: int, length: int, kept: dict[int, int]) -> bool:
        """Whether a slot that shares `length` tokens with a sequence may become its own."""
        # what is to stay of it would be cut, or could not be cut back to
        if slot in kept and (kept[slot] > length or not self._info.can_truncate):
            return False
        return self._loses_little(slot, length)

    def _loses_little(self, slot: int, length: int) -> bool:
        return KEPT_PER_LOST * (self.slots.size(slot) - length) <= length

    def _is_worth_restoring(self, slot: int, length: int) -> bool:
        return not self.slots.is_offloaded(slot) or self.slots.size(slot) <= MAX_RESTORED * length
