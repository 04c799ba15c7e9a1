"""What a draft model's KV cache holds: a stream for each sequence, and which stream a new sequence gets. Pure.

The draft model follows the target by tokens alone. Whatever became of a sequence (an accepted or a rejected draft, a
prefix from the cache, a preemption), its stream keeps what it has in common with the sequence's tokens now, and the
rest is computed. A stream whose sequence has ended keeps its tokens for the next sequence that begins like it.
"""

from dataclasses import dataclass, field

from nitro.engines.scheduling.slots import shared_prefix

MIN_COPIED = 32  # tokens: to compute fewer takes about as long as to copy them
LOSES_LITTLE = 16  # a stream is taken over if it loses at most one token in so many


@dataclass(slots=True)
class Stream:
    """A row of the KV cache. `tokens`: the draft model's ids of what it holds."""

    id: int
    tokens: list[int] = field(default_factory=list)
    sequence: int | None = None  # whose it is, or was last
    idle: bool = True  # that sequence has ended
    confirmed: int = 0  # leading tokens that are known to be the sequence's
    used: int = 0  # when: the number of the call

    def follow(self, tokens: list[int]) -> int:
        """How many of its tokens stay: those it shares with `tokens`, whose first `confirmed` are known to be shared.
        All others are forgotten."""
        self.confirmed += shared_prefix(self.tokens[self.confirmed :], tokens[self.confirmed :])
        self.keep(self.confirmed)
        return self.confirmed

    def keep(self, length: int) -> None:
        """Forget all but its first `length` tokens."""
        del self.tokens[length:]
        self.confirmed = min(self.confirmed, length)

    def add(self, tokens: list[int]) -> None:
        """These tokens of its sequence were computed."""
        self.tokens += tokens
        self.confirmed += len(tokens)


@dataclass(frozen=True, slots=True)
class Placed:
    """The stream that a sequence gets. What `source` holds is to be copied to it, where one is set."""

    stream: Stream
    source: Stream | None = None


class Streams:
    """`count` of them, one for each sequence that runs."""

    def __init__(self, count: int):
        self.all = [Stream(id) for id in range(count)]
        self._calls = 0

    def begin(self) -> None:
        """A call begins: streams that are used from here on are newer than those before."""
        self._calls += 1

    def place(self, sequence: int, tokens: list[int]) -> Placed | None:
        """The stream of this sequence, or one that it takes over; None where all are in use in this call."""
        placed = self._own(sequence) or self._take(sequence, tokens)
        if placed:
            placed.stream.used = self._calls
        return placed

    def end(self, sequence: int) -> None:
        """The sequence has ended. Its stream keeps its tokens."""
        for stream in self.all:
            if stream.sequence == sequence:
                stream.idle = True

    def _own(self, sequence: int) -> Placed | None:
        return next((Placed(stream) for stream in self.all if stream.sequence == sequence and not stream.idle), None)

    def _take(self, sequence: int, tokens: list[int]) -> Placed | None:
        """Of the idle streams, else of those that this call does not use, one beside a stream that runs: llama.cpp
        computes only streams with consecutive ids together. The one that shares most with the tokens where that loses
        little, else the least recently used, with a copy of what is shared."""
        free = [stream for stream in self.all if stream.idle] or [s for s in self.all if s.used < self._calls]
        if not free:
            return None
        running = {stream.id for stream in self.all if not stream.idle}
        free = [stream for stream in free if {stream.id - 1, stream.id + 1} & running] or free
        shared = [shared_prefix(stream.tokens, tokens) for stream in self.all]
        source = max(self.all, key=lambda stream: shared[stream.id])
        common = shared[source.id]
        lost = len(source.tokens) - common
        loses_little = lost * LOSES_LITTLE <= len(source.tokens)
        taken = source if source in free and loses_little else min(free, key=lambda stream: stream.used)
        gains = common - shared[taken.id] >= MIN_COPIED
        taken.sequence, taken.idle, taken.confirmed = sequence, False, 0
        return Placed(taken, source if gains else None)
