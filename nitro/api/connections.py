"""Tracks who is connected, in which state and for how long: whose time has run out, and who makes room for a newcomer.

    newcomer ─► HEAD ──whole head──► BODY ──whole body──► BUSY ──whole reply──► IDLE ──first byte──► HEAD …
                                       └── a reply before the body ends ──► DRAINING ──the body ends──┘

In any state the client has to read what it is sent: what waits for it may not wait for ever.

Pure: no sockets, and no clock but its ticks. The owner carries out what is decided here.
"""

from collections import OrderedDict
from collections.abc import Iterator
from enum import Enum, auto
from typing import Generic, TypeVar

from msgspec import Struct

C = TypeVar("C")

LONGEST_TICK = 1.0  # seconds: while the server itself was busy it could not receive anything


class ConnectionState(Enum):
    """What a connection is doing."""

    IDLE = auto()  # between two requests
    DRAINING = auto()  # its request already has a reply; what remains of the request is received and thrown away
    HEAD = auto()  # the head of the next request is incomplete, or has not begun
    BODY = auto()  # the head is complete, the body is not
    BUSY = auto()  # the client waits for a reply


GIVE_WAY = (
    ConnectionState.IDLE,
    ConnectionState.DRAINING,
    ConnectionState.HEAD,
    ConnectionState.BODY,
)  # in this order; a client that waits for a reply stays


class ConnectionLimits(Struct, frozen=True):
    """Times are in seconds. A body may pause for `silence`, and in all take `silence` and a second per `rate` bytes. A
    client that reads a reply may do so for `unread`."""

    head: float = 20.0
    head_bytes: int = 2**16  # of the URL and all headers
    silence: float = 30.0
    rate: int = 500  # bytes per second
    rest: float = 60.0  # for what remains of a request that already has a reply
    unread: float = 60.0
    unread_bytes: int = 2**22  # of a stream, held for a client that does not read
    most: int = 4096  # connections


class _Entry(Struct):
    state: ConnectionState
    since: float
    body_bytes: int = 0


class _Unread(Struct):
    """What a client has not read yet: so many bytes wait. Nothing more is written until it has read most of them."""

    since: float
    read_at: float  # when some were last read
    waiting: int
    read: int = 0  # bytes, since then


class Connections(Generic[C]):
    """All open connections. In each state the first one is the one that has been silent for the longest time."""

    def __init__(self, limits: ConnectionLimits):
        self.limits = limits
        self._now = 0.0
        self._entries: dict[C, _Entry] = {}
        # by state: when something was last received from a connection
        self._received_at: dict[ConnectionState, OrderedDict[C, float]] = {
            state: OrderedDict() for state in ConnectionState
        }
        self._unread: dict[C, _Unread] = {}  # those with something to read

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, connection: C) -> C | None:
        """Add a newcomer. Returns the connection to close for it: the newcomer itself if no other can make room."""
        evicted = None
        if len(self) >= self.limits.most:
            evicted = next((other for state in GIVE_WAY for other in self._received_at[state]), connection)
            self.remove(evicted)
        if evicted is not connection:
            self._enter(connection, ConnectionState.HEAD)
        return evicted

    def remove(self, connection: C) -> None:
        """Forget a connection that is closed or about to be. It may be unknown."""
        self._unread.pop(connection, None)
        self._leave(connection)

    def move(self, connection: C, state: ConnectionState) -> None:
        """Change the state of a connection, which may be unknown. A new state starts its time anew."""
        entry = self._entries.get(connection)
        if entry and entry.state is not state:
            self._leave(connection)
            self._enter(connection, state)

    def body_received(self, connection: C, count: int) -> bool:
        """Count bytes of a body. Returns whether the body comes fast enough."""
        entry = self._entries.get(connection)
        if entry is None or entry.state is not ConnectionState.BODY:
            return True
        self._received_at[ConnectionState.BODY][connection] = self._now
        self._received_at[ConnectionState.BODY].move_to_end(connection)
        entry.body_bytes += count
        return self._now - entry.since <= self.limits.silence + entry.body_bytes / self.limits.rate

    def unread(self, connection: C, waiting: int) -> bool:
        """Note, once a second or so, how many bytes wait until the client reads. Returns whether it reads fast enough:
        it may pause for `unread`, and in all take `unread` and a second per `rate` bytes. What is written between two
        calls hides as much that was read."""
        if not waiting or connection not in self._entries:
            self.has_read(connection)
            return True
        known = self._unread.setdefault(connection, _Unread(self._now, self._now, waiting))
        if waiting < known.waiting:
            known.read += known.waiting - waiting
            known.read_at = self._now
        known.waiting = waiting
        limits = self.limits
        total = limits.unread + known.read / limits.rate
        return self._now - known.read_at <= limits.unread and self._now - known.since <= total

    def has_read(self, connection: C) -> None:
        """The client has read what waited, or so much of it that more may be written."""
        self._unread.pop(connection, None)

    def __iter__(self) -> Iterator[C]:
        """All, those too that close as soon as their clients have read what was written."""
        return iter(list(self._entries))

    def tick(self, seconds: float) -> list[C]:
        """Let time pass, a few times a second. Returns the connections whose time has run out."""
        self._now += min(seconds, LONGEST_TICK)
        late: list[C] = []
        for state, limit in (
            (ConnectionState.HEAD, self.limits.head),
            (ConnectionState.BODY, self.limits.silence),
            (ConnectionState.DRAINING, self.limits.rest),
        ):
            for connection, received_at in self._received_at[state].items():
                if self._now - received_at <= limit:
                    break
                late.append(connection)
        return late

    def state(self, connection: C) -> ConnectionState | None:
        """The state of a connection, or None if it is unknown."""
        entry = self._entries.get(connection)
        return entry.state if entry else None

    def _leave(self, connection: C) -> None:
        if entry := self._entries.pop(connection, None):
            del self._received_at[entry.state][connection]

    def _enter(self, connection: C, state: ConnectionState) -> None:
        self._entries[connection] = _Entry(state, self._now)
        self._received_at[state][connection] = self._now
