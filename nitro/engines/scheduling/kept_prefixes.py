"""Which prefixes stay in the cache because requests say so: for how long, and how much of it at most. Pure.

A slot that holds one is the last to give way, and before that it is cut to it (`prefix_cache.py`). So that no client
can fill the cache, all of them together have half of the KV pool and half of the spare slots: beyond that the one whose
last use is the longest ago is an ordinary prefix again, and of one that alone is longer only the beginning stays. The
clock is the time at which sequences have arrived: only one that arrives can take anybody's room.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nitro.engines.adapters import AdapterSet
from nitro.engines.types import ModelInfo

SHARE = 2  # a half, a third … of the pool and of the spare slots
MAX_ENTRIES = 16  # a conversation that grows names another one in each request


class KeptPrefix(NamedTuple):
    """The first `length` tokens of a sequence are to stay for `seconds` after their last use. `key`: they take the
    place of what was kept under the same one for another sequence."""

    length: int
    seconds: float
    key: str | None = None


@dataclass(slots=True, eq=False)
class _Entry:
    """The first `length` tokens of `prompt`. Entries of one conversation have the same list: to compare long ones takes
    long."""

    prompt: list[int]
    length: int
    seconds: float
    key: str | None
    used: float  # when a sequence that begins with them arrived last
    adapters: AdapterSet = ()  # under which they are computed

    def begins(self, other: "_Entry") -> bool:
        """Whether the other begins with this one."""
        if self.length > other.length or self.adapters != other.adapters:
            return False
        return self.prompt is other.prompt or _shares(self.prompt, other.prompt, self.length)


class KeptPrefixes:
    """The prefixes that stay. A slot `holds` one if it can be continued from its end."""

    def __init__(self, info: ModelInfo):
        self._max_tokens = min(info.kv_tokens, info.offload_tokens or info.kv_tokens) // SHARE
        self._max_slots = max((info.slots - info.parallel) // SHARE, 1)
        self._entire_only = not info.can_truncate
        self._entries: list[_Entry] = []

    def begin(self, tokens: list[int], keeps: Iterable[KeptPrefix], arrived: float, adapters: AdapterSet = ()) -> int:
        """A sequence with this prompt starts, under these adapters. Returns the length of the longest of its prefixes
        that stay."""
        entries = [entry for entry in self._entries if arrived <= entry.used + entry.seconds]
        begun = _begun(tokens, adapters, entries)
        for entry in begun:
            entry.used = max(entry.used, arrived)
        asked = [keep for keep in map(self._bounded, keeps) if keep.length <= self._max_tokens]
        if not asked:
            self._entries = entries
            return 0
        prompt = tokens[: max(keep.length for keep in asked)]
        for entry in begun:
            if entry.length <= len(prompt):
                entry.prompt = prompt
        keys = {keep.key for keep in asked} - {None}
        entries = [entry for entry in entries if entry.key not in keys]
        for keep in asked:
            same = [entry for entry in entries if entry.prompt is prompt and entry.length == keep.length]
            entries = [entry for entry in entries if entry not in same]
            seconds = max([keep.seconds, *(entry.seconds for entry in same)])
            entries.append(_Entry(prompt, keep.length, seconds, keep.key, arrived, adapters))
        self._entries = self._within_bounds(entries)
        lengths = {keep.length for keep in asked}
        stay = (e.length for e in self._entries if e.prompt is prompt and e.length in lengths)
        return max(stay, default=0)

    def holders(self, slots: Iterable[tuple[int, list[int], AdapterSet]]) -> dict[int, int]:
        """Which of these slots hold one that no other need hold: by slot, how many of its tokens stay. `slots`: with
        what they hold, and under which adapters, the least recently used first."""
        found: dict[int, int] = {}
        if not self._entries:
            return found
        last_first = list(slots)[::-1]
        able: dict[int, list[int]] = {id(entry): [] for entry in self._entries}
        for slot, held, adapters in last_first:
            for entry in self._held(held, adapters):
                able[id(entry)].append(slot)
        for entry in sorted(self._entries, key=lambda entry: -entry.length):
            holders = able[id(entry)]
            if holders and not found.keys() & set(holders):
                found[holders[0]] = entry.length
        return found

    def clear(self) -> None:
        """No slot holds anything any more."""
        self._entries = []

    def _bounded(self, keep: KeptPrefix) -> KeptPrefix:
        """As much of it as may stay, where a beginning of it is of use."""
        return keep if self._entire_only else keep._replace(length=min(keep.length, self._max_tokens))

    def _held(self, held: list[int], adapters: AdapterSet) -> list[_Entry]:
        """Those that can be continued from the end of what a slot holds, or from where it is cut to them."""
        entries = [entry for entry in self._entries if entry.length == len(held) or not self._entire_only]
        return _begun(held, adapters, entries)

    def _within_bounds(self, entries: list[_Entry]) -> list[_Entry]:
        """Without those that are too many: those that were used the longest ago and, of equals, the longest."""
        kept = sorted(entries, key=lambda entry: (-entry.used, entry.length))
        while kept:
            apart = [entry for entry in kept if self._needs_slot(entry, kept)]
            if len(apart) <= self._max_slots and sum(entry.length for entry in apart) <= self._max_tokens:
                break
            kept.pop()
        while len(kept) > MAX_ENTRIES:  # those that begin like others first: they free no room
            others = [entry for entry in kept if not self._needs_slot(entry, kept)]
            kept.remove(others[-1] if others else kept[-1])
        return kept

    def _needs_slot(self, entry: _Entry, entries: list[_Entry]) -> bool:
        """Whether no slot that holds another one holds it, too."""
        if self._entire_only:
            return True
        others = [other for other in entries if other is not entry]
        others.sort(key=lambda other: other.prompt is not entry.prompt)  # what costs nothing to see first
        return not any(entry.begins(other) for other in others)


def _begun(tokens: list[int], adapters: AdapterSet, entries: list[_Entry]) -> list[_Entry]:
    """Those of the entries that these tokens, under these adapters, begin with."""
    begun: list[_Entry] = []
    shared: dict[int, int] = {}  # by the prompt: so much of it is the beginning of `tokens`
    same = [entry for entry in entries if entry.adapters == adapters]
    for entry in sorted(same, key=lambda entry: -entry.length):  # the longest has the others of its prompt
        if entry.length <= shared.get(id(entry.prompt), 0):
            begun.append(entry)
        elif _shares(tokens, entry.prompt, entry.length):
            shared[id(entry.prompt)] = entry.length
            begun.append(entry)
    return begun


def _shares(tokens: list[int], others: list[int], length: int) -> bool:
    """Whether both have the same first tokens, so many at least, which is more than none."""
    if length > min(len(tokens), len(others)) or tokens[length - 1] != others[length - 1]:
        return False
    return tokens[:length] == others[:length]
