"""Which models are loaded, which give way, which have to wait, and which can never be. Pure: no clock, no process.

    decide(residents, waiting, limits, now)  →  Decisions: end these, then load these; drain these; refuse these

A model that is wanted and not there gets the room that is free; else that of the longest idle ones; else, once it has
waited for `patience`, that of one that works: it is drained, which means that it gets no more requests, and gives way
when those that it has are done. So requests that alternate between two models that do not fit together are answered in
batches. Nothing that runs is ended, and nothing that is pinned gives way.

The tier `flex` takes nothing from others: it waits for a model's room for as long as somebody above it has that model,
and a while longer. Others take what only flex has without waiting for their turn.
"""

import math
from collections.abc import Iterable, Sequence

from msgspec import Struct

from nitro.engines.shares import FLEX, WEIGHTS, Tier

MIB = 2**20


class Resident(Struct, frozen=True, kw_only=True):
    """A model that takes memory. Times are seconds of one clock."""

    name: str
    bytes: int
    leases: int  # requests that run on it, or wait for its load
    ready_since: float | None  # None: it loads
    idle_since: float = 0.0  # since when it has no lease; without meaning where it has one
    keep_alive: float | None = None  # seconds of idleness after which it is unloaded; None: never
    pinned: bool = False
    ending: bool = False  # its memory comes back soon
    used: float = -math.inf  # when somebody above flex had it last; inf: somebody has; -inf: nobody ever had

    @property
    def idle(self) -> bool:
        """Whether it could be ended now."""
        return self.ready_since is not None and not self.leases and not self.ending


class Waiting(Struct, frozen=True):
    """A model that is wanted and not there. `tier`: the highest of the requests for it; `since`: when the oldest came
    of those above flex, if there are any, else of all."""

    name: str
    bytes: int
    since: float
    pinned: bool = False
    tier: Tier = "default"


class Limits(Struct, frozen=True):
    """What may be loaded together. `patience`: seconds that a model goes on taking requests while another one waits for
    its room. `ahead`: priority goes before who came less than so many seconds earlier. `quiet`: seconds since somebody
    above flex had a model, after which flex may have its room."""

    bytes: int
    count: int | None = None
    patience: float = 3.0
    ahead: float = 12.0
    quiet: float = 300.0


class Decisions(Struct, frozen=True):
    """What to do, by name. `drained`: these get no more requests for now. `again`: when to decide anew, if nothing
    happens before."""

    loads: list[str] = []
    ends: list[str] = []
    drained: frozenset[str] = frozenset()
    refused: dict[str, str] = {}  # why, as a sentence
    again: float | None = None


def decide(residents: Iterable[Resident], waiting: Sequence[Waiting], limits: Limits, now: float) -> Decisions:
    """What is loaded by these decisions fits as soon as what `ends` is gone, and what was `ending` before counts until
    then."""
    room = _Room(list(residents), limits, now)
    for wanted in sorted(waiting, key=room.turn):
        if why := room.never(wanted):
            room.refused[wanted.name] = why
        elif not room.closed and WEIGHTS[wanted.tier] >= room.behind:
            room.place(wanted)
    room.expire()
    return Decisions(room.loads, room.ends, frozenset(room.drained), room.refused, room.again)


class _Room:
    """The memory as it is divided while decisions are made."""

    def __init__(self, residents: list[Resident], limits: Limits, now: float):
        self._limits, self._now = limits, now
        self._there = {resident.name: resident for resident in residents}
        self._promised: list[Waiting] = []  # loads that were decided
        self.loads: list[str] = []
        self.ends: list[str] = []
        self.drained: set[str] = set()
        self.refused: dict[str, str] = {}
        self.again: float | None = None
        self.closed = False  # one has waited too long: nothing goes ahead of it
        self.behind = 0.0  # the weight of a tier that waits for room: what has less does not go ahead of it

    def turn(self, wanted: Waiting) -> tuple[bool, float]:
        """Where it stands among those that wait. Flex is last, and of the others nobody is overtaken for ever."""
        return wanted.tier == FLEX, wanted.since - (self._limits.ahead if wanted.tier == "priority" else 0.0)

    def never(self, wanted: Waiting) -> str | None:
        """Why this one cannot be loaded as long as what is pinned stays; None: it can."""
        pinned = [resident for resident in self._there.values() if resident.pinned and not resident.ending]
        taken = sum(resident.bytes for resident in pinned)
        limits = self._limits
        beside = f", of which pinned models take {_mib(taken)}" if taken else ""
        if wanted.bytes + taken > limits.bytes:
            return (
                f"The model '{wanted.name}' needs {_mib(wanted.bytes)} of memory. This server may use "
                f"{_mib(limits.bytes)} (--memory){beside}."
            )
        if limits.count is not None and len(pinned) >= limits.count:
            names = ", ".join(resident.name for resident in pinned)
            return (
                f"The model '{wanted.name}' cannot be loaded: of {limits.count} models at once (--models-max) all are "
                f"pinned: {names}."
            )
        return None

    def place(self, wanted: Waiting) -> None:
        """Load it, or make room for it, or let it wait."""
        kept = [resident for resident in self._there.values() if resident.name not in self.ends]
        if self._fits(wanted, kept):
            if self._fits(wanted, self._there.values()):
                self.loads.append(wanted.name)
            self._reserve(wanted)
            return self._bound(wanted)
        staying = [resident for resident in kept if not resident.ending]
        if self._fits(wanted, staying):  # once what ends is gone
            self._reserve(wanted)
            return self._bound(wanted)
        free = [resident for resident in staying if not resident.pinned and resident.name not in self.drained]
        theirs = [resident for resident in free if wanted.tier == FLEX and self._in_use(resident)]
        free = _without(free, theirs)
        idle = sorted((r for r in free if r.idle), key=lambda r: (self._in_use(r), r.idle_since))
        chosen = self._enough(wanted, staying, idle)
        if chosen is not None:
            self.ends += [resident.name for resident in chosen]
            self._reserve(wanted)
            return self._bound(wanted)
        self.behind = max(self.behind, WEIGHTS[wanted.tier])
        busy = sorted((r for r in free if not r.idle), key=lambda r: self._time_is_up(r, wanted))
        chosen = self._enough(wanted, staying, [*idle, *busy])
        if chosen is None and theirs:  # it waits for people, who may take hours: others need not wait for it
            return self._look_again(min(resident.used for resident in theirs) + self._limits.quiet)
        for resident in chosen or ():
            at = self._time_is_up(resident, wanted)
            if at <= self._now:
                self.drained.add(resident.name)
            else:
                self._look_again(at)
        self._bound(wanted)

    def _in_use(self, resident: Resident) -> bool:
        """Whether somebody above flex has it, or had it a while ago."""
        return resident.used + self._limits.quiet > self._now

    def _fits(self, wanted: Waiting, beside: Iterable[Resident]) -> bool:
        held = [resident.bytes for resident in beside] + [promised.bytes for promised in self._promised]
        count = self._limits.count
        return sum(held) + wanted.bytes <= self._limits.bytes and (count is None or len(held) < count)

    def _enough(self, wanted: Waiting, staying: list[Resident], order: list[Resident]) -> list[Resident] | None:
        """The first ones in this order whose going makes room, without those that need not go; None: not even all."""
        chosen: list[Resident] = []
        for resident in order:
            if self._fits(wanted, _without(staying, chosen)):
                break
            chosen.append(resident)
        if not self._fits(wanted, _without(staying, chosen)):
            return None
        for resident in list(chosen):
            spared = [other for other in chosen if other is not resident]
            if self._fits(wanted, _without(staying, spared)):
                chosen = spared
        return chosen

    def _reserve(self, wanted: Waiting) -> None:
        """It gets room, or waits for some that is being made: nobody else may take that."""
        self._promised.append(wanted)

    def _time_is_up(self, resident: Resident, wanted: Waiting) -> float:
        """When a resident takes no more requests, for this one's sake. Those that waited for its load are its own."""
        if resident.ready_since is None:
            return math.inf
        if wanted.tier != FLEX and resident.used < math.inf:  # only flex has it
            return -math.inf
        return max(wanted.since, resident.ready_since) + self._limits.patience

    def _bound(self, wanted: Waiting) -> None:
        """Nothing may go ahead of what has waited for too long."""
        if wanted.name not in self.loads:
            limit = wanted.since + self._limits.patience
            if limit <= self._now:
                self.closed = True
            else:
                self._look_again(limit)

    def expire(self) -> None:
        """End what has been idle for as long as it may."""
        for resident in self._there.values():
            if resident.idle and resident.keep_alive is not None and not resident.pinned:
                at = resident.idle_since + resident.keep_alive
                if at > self._now:
                    self._look_again(at)
                elif resident.name not in self.ends:
                    self.ends.append(resident.name)

    def _look_again(self, at: float) -> None:
        if at < math.inf:
            self.again = at if self.again is None else min(self.again, at)


def _without(residents: list[Resident], gone: list[Resident]) -> list[Resident]:
    return [resident for resident in residents if all(resident is not other for other in gone)]


def _mib(count: int) -> str:
    return f"{-(-count // MIB):,} MiB"
