"""Which prefixes stay in the cache because requests say so: for how long, and how much of it at most. Pure.

A slot that holds one is the last to give way, and before that it is cut to it (`prefix_cache.py`). So that no client
can fill the cache, all of them together have half of the KV pool and half of the spare slots: beyond that the one whose
last use is the longest ago is an ordinary prefix again, and of one that alone is longer only the beginning stays. The
clock is the time at which sequences have arrived: only one that arrives can take anybody's room.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from nitro.engines.scheduling.slots import shared_prefix
from nitro.engines.types import ModelInfo

SHARE = 2  # a half, a third … of the pool and of the spare slots
MAX_ENTRIES = 16  # a conversation that grows names another one in each request


class KeptPrefix(NamedTuple):
    """The first `length` tokens of a sequence are to stay for `seconds` after their last use. `key`: they take the
    place of what was kept under the same one for another sequence."""

    length: int
    seconds: float
    key: str | None = None


@dataclass(slots=True)
class _Entry:
    tokens: list[int]
    seconds: float
    key: str | None
    used: float  # when a sequence that begins with them arrived last


class KeptPrefixes:
    """The prefixes that stay. A slot `holds` one if it can be continued from its end."""

    def __init__(self, info: ModelInfo):
        self._max_tokens = min(info.kv_tokens, info.offload_tokens or info.kv_tokens) // SHARE
        self._max_slots = max((info.slots - info.parallel) // SHARE, 1)
        self._entire_only = not info.can_truncate
        self._entries: list[_Entry] = []

    def begin(self, tokens: list[int], keeps: Iterable[KeptPrefix], arrived: float) -> int:
        """A sequence with this prompt starts. Returns the length of the longest of its prefixes that stay."""
        entries = [entry for entry in self._entries if arrived <= entry.used + entry.seconds]
        for entry in entries:
            if _begins(tokens, entry.tokens):
                entry.used = max(entry.used, arrived)
        asked = [keep for keep in map(self._bounded, keeps) if keep.length <= self._max_tokens]
        if not asked:
            self._entries = entries
            return 0
        keys = {keep.key for keep in asked} - {None}
        entries = [entry for entry in entries if entry.key not in keys]
        for keep in asked:
            prefix = tokens[: keep.length]
            same = [entry for entry in entries if entry.tokens == prefix]
            entries = [entry for entry in entries if entry.tokens != prefix]
            seconds = max([keep.seconds, *(entry.seconds for entry in same)])
            entries.append(_Entry(prefix, seconds, keep.key, arrived))
        self._entries = self._within_bounds(entries)
        lengths = {keep.length for keep in asked}
        stay = (len(e.tokens) for e in self._entries if len(e.tokens) in lengths and _begins(tokens, e.tokens))
        return max(stay, default=0)

    def holders(self, slots: Iterable[tuple[int, list[int]]]) -> dict[int, int]:
        """Which of these slots hold one that no other need hold: by slot, how many of its tokens stay. `slots`: with
        what they hold, the least recently used first."""
        found: dict[int, int] = {}
        if not self._entries:
            return found
        last_first = list(slots)[::-1]
        for entry in sorted(self._entries, key=lambda entry: -len(entry.tokens)):
            able = [slot for slot, held in last_first if self._holds(held, entry.tokens)]
            if able and not found.keys() & set(able):
                found[able[0]] = len(entry.tokens)
        return found

    def clear(self) -> None:
        """No slot holds anything any more."""
        self._entries = []

    def _bounded(self, keep: KeptPrefix) -> KeptPrefix:
        """As much of it as may stay, where a beginning of it is of use."""
        return keep if self._entire_only else keep._replace(length=min(keep.length, self._max_tokens))

    def _holds(self, held: list[int], prefix: list[int]) -> bool:
        return held == prefix if self._entire_only else _begins(held, prefix)

    def _within_bounds(self, entries: list[_Entry]) -> list[_Entry]:
        """Without those that are too many: those that were used the longest ago and, of equals, the longest."""
        kept = sorted(entries, key=lambda entry: (-entry.used, len(entry.tokens)))
        while kept:
            apart = [entry for entry in kept if self._needs_slot(entry, kept)]
            if len(apart) <= self._max_slots and sum(len(entry.tokens) for entry in apart) <= self._max_tokens:
                break
            kept.pop()
        while len(kept) > MAX_ENTRIES:  # then some begin like others
            kept.remove([entry for entry in kept if not self._needs_slot(entry, kept)][-1])
        return kept

    def _needs_slot(self, entry: _Entry, entries: list[_Entry]) -> bool:
        """Whether no slot that holds another one holds it, too."""
        if self._entire_only:
            return True
        return not any(other is not entry and _begins(other.tokens, entry.tokens) for other in entries)


def _begins(tokens: list[int], prefix: list[int]) -> bool:
    return shared_prefix(tokens, prefix, len(prefix)) == len(prefix)
