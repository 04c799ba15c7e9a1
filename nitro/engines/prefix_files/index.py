"""Which prefixes there are in files, and which of them a prompt begins with. Pure; tokens are as `form.pack` has them.

A file is read as a whole, and cut to what is of use; so one is no use for much less than it holds (`MAX_READ`). Where a
state cannot be cut (`entire`), a prompt has to begin with all of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from nitro.engines.scheduling.slots import shared_prefix

BYTES = 4  # of a token
MIN_TOKENS = 64  # a shorter prefix is computed again
KEPT_PER_NEW = 16  # nothing is written that has less new than a sixteenth of what files hold of it
MAX_READ = 32  # tokens that are read for each that is reused, at most


class Entry(NamedTuple):
    """A prefix. `is_there`: its file is; else it waits to be written."""

    name: str
    adapters: str
    tokens: bytes
    is_there: bool = True

    @property
    def length(self) -> int:
        """Tokens."""
        return len(self.tokens) // BYTES


class Found(NamedTuple):
    """The first `length` tokens of an entry."""

    entry: Entry
    length: int


class PrefixIndex:
    """Of the files of one identity. `longest`: tokens that a sequence may have."""

    def __init__(self, entire: bool, longest: int):
        self._entire, self._most = entire, longest
        self._entries: dict[str, Entry] = {}  # by name

    @property
    def names(self) -> set[str]:
        """Of those whose files are there."""
        return {entry.name for entry in self._entries.values() if entry.is_there}

    def add(self, entry: Entry) -> None:
        """There is one more, or its file is there now."""
        self._entries[entry.name] = entry

    def remove(self, name: str) -> None:
        """There is none of this name."""
        self._entries.pop(name, None)

    def clear(self) -> None:
        """There is none."""
        self._entries = {}

    def find(self, tokens: bytes, adapters: str) -> Found | None:
        """What is to be read for a prompt: the longest prefix and, of equals, the smallest file. The last token is
        never in it, as it must be computed."""
        limit = len(tokens) // BYTES - 1
        best: Found | None = None
        for entry in self._entries.values():
            least = best.length if best else MIN_TOKENS
            if not entry.is_there or entry.adapters != adapters or entry.length > self._most:
                continue
            shared = min(_shared(entry.tokens, tokens, least), limit)
            if shared < least or entry.length > MAX_READ * shared or (self._entire and shared < entry.length):
                continue
            if best is None or shared > best.length or entry.length < best.entry.length:
                best = Found(entry, shared)
        return best

    def is_worth_writing(self, tokens: bytes, adapters: str) -> bool:
        """Whether what a slot holds is to be written: files have too little of it."""
        length = len(tokens) // BYTES
        if not MIN_TOKENS <= length <= self._most:
            return False
        same = [entry for entry in self._entries.values() if entry.adapters == adapters]
        if self._entire:
            return all(entry.tokens != tokens for entry in same)
        held = max((self._useful(entry, tokens) for entry in same), default=0)
        return length - held >= max(held // KEPT_PER_NEW, MIN_TOKENS)

    def superseded(self, entry: Entry) -> list[Entry]:
        """Those that are read no more, now that there is this one."""
        if self._entire:
            return []
        others = (other for other in self._entries.values() if other.is_there and other.name != entry.name)
        return [other for other in others if self._holds(entry, other)]

    def _useful(self, entry: Entry, tokens: bytes) -> int:
        shared = _shared(entry.tokens, tokens, 0)
        return shared if entry.length <= MAX_READ * shared else 0

    def _holds(self, entry: Entry, other: Entry) -> bool:
        same = entry.adapters == other.adapters and entry.tokens.startswith(other.tokens)
        return same and entry.length <= MAX_READ * other.length


def _shared(a: bytes, b: bytes, least: int) -> int:
    """How many leading tokens two have in common; 0 if fewer than `least`."""
    return shared_prefix(a, b, least * BYTES) // BYTES


def text_length(tokens: Sequence[int]) -> int:
    """How many tokens come before the first that stands for media."""
    if not tokens or min(tokens) >= 0:
        return len(tokens)
    return next(place for place, token in enumerate(tokens) if token < 0)
