"""Who is connected, in which state, and for how long; who has run out of time, and who gives way to a newcomer.

    newcomer ─► HEAD ──whole head──► BODY ──whole body──► BUSY ──whole reply──► IDLE ──first byte──► HEAD …
                                       └─────── a reply to half of it ──────► REST ──the other half──┘

Pure: it knows no sockets, and no clock but its ticks. What a connection is told to do, its owner does.
"""

from collections import OrderedDict
from enum import Enum, auto
from typing import Generic, TypeVar

from msgspec import Struct

C = TypeVar("C")

LONGEST_TICK = 1.0  # seconds: while the server itself was busy nobody could be heard


class State(Enum):
    IDLE = auto()  # between two requests
    REST = auto()  # what is left of a request that has its reply comes in, and is thrown away
    HEAD = auto()  # of the next request, not all has come, or nothing yet
    BODY = auto()
    BUSY = auto()  # a reply is awaited


GIVE_WAY = (State.IDLE, State.REST, State.HEAD, State.BODY)  # in this order; whoever awaits a reply never does


class Limits(Struct, frozen=True):
    """Times in seconds. A body may take `silence` between two bytes, and in all that and a second per `rate` bytes."""

    head: float = 20.0
    silence: float = 30.0
    rate: int = 500
    rest: float = 60.0
    most: int = 4096  # connections


class _Stay(Struct):
    state: State
    since: float
    bytes: int = 0  # of the body


class Connections(Generic[C]):
    """All open ones. The first of each state is the one that was not heard of for longest."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._now = 0.0
        self._stays: dict[C, _Stay] = {}
        self._queues: dict[State, OrderedDict[C, float]] = {state: OrderedDict() for state in State}  # last heard of

    def __len__(self) -> int:
        return len(self._stays)

    def add(self, connection: C) -> C | None:
        """A newcomer. The one that is to be closed for it, which is itself where nobody gives way."""
        leaves = None
        if len(self) >= self.limits.most:
            leaves = next((other for state in GIVE_WAY for other in self._queues[state]), connection)
            self.remove(leaves)
        if leaves is not connection:
            self._enter(connection, State.HEAD)
        return leaves

    def remove(self, connection: C) -> None:
        """It is closed, or about to be. It may be unknown."""
        if stay := self._stays.pop(connection, None):
            del self._queues[stay.state][connection]

    def move(self, connection: C, state: State) -> None:
        stay = self._stays.get(connection)
        if stay and stay.state is not state:
            self.remove(connection)
            self._enter(connection, state)

    def heard(self, connection: C, count: int) -> bool:
        """So many bytes of a body came. Whether they come fast enough."""
        stay = self._stays.get(connection)
        if stay is None or stay.state is not State.BODY:
            return True
        self._queues[State.BODY][connection] = self._now
        self._queues[State.BODY].move_to_end(connection)
        stay.bytes += count
        return self._now - stay.since <= self.limits.silence + stay.bytes / self.limits.rate

    def tick(self, seconds: float) -> list[C]:
        """So much time has passed: those that have run out of it. Called a few times a second."""
        self._now += min(seconds, LONGEST_TICK)
        late: list[C] = []
        for state, limit in (
            (State.HEAD, self.limits.head),
            (State.BODY, self.limits.silence),
            (State.REST, self.limits.rest),
        ):
            for connection, heard in self._queues[state].items():
                if self._now - heard <= limit:
                    break
                late.append(connection)
        return late

    def state(self, connection: C) -> State | None:
        stay = self._stays.get(connection)
        return stay.state if stay else None

    def _enter(self, connection: C, state: State) -> None:
        self._stays[connection] = _Stay(state, self._now)
        self._queues[state][connection] = self._now
