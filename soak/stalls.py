"""Does `/health` answer while a large body is read, checked and refused? Every body is sent in every way, to Nitro and
to llama-server. What breaks the bound is measured again, since a stall of the server itself recurs."""

import argparse
import contextlib
import resource
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench import peers, processes
from bench.report import table
from bench.workloads import SERVER, Workload
from nitro.bench import client
from nitro.bench.scenarios import independent
from soak import bodies, sending, servers
from soak.health import Health, Watch
from soak.report import Figure, Findings

BOUND = 100.0  # milliseconds, of the p99
TRIES = 3  # at most, where our server breaks the bound; the best counts
HOPELESS = 10 * BOUND  # above it there is no second try
REST_TIMEOUT = 120.0  # seconds until a server is idle after a body
MORE_MEMORY = 600.0  # MiB at the end: what allocators and caches keep of the largest bodies, not of all
MEMORY = 8 * 2**30  # bytes of a server's process, so that a body cannot bring down this machine
REPLY_TIMEOUT = 60.0  # seconds
PEER_TIMEOUT = 10.0  # seconds
WATCH_AFTER = 0.2  # seconds for which `/health` is watched after the reply
WORST = 15  # bodies that are shown
OURS = "Nitro"
SETTING = Workload("bodies", 8, 2048, independent(1, 1))
HOW = f"""\
Each body is sent to a server that is otherwise idle, while another process polls `/health` a hundred times per second.
Late polls count from when they were due. The polls from the first byte to {WATCH_AFTER} s after the reply count, and
the reply must be honest. llama-server gets the same model, bodies and polls, and is restarted after a body that it does
not answer within {PEER_TIMEOUT:g} s; the bound is for Nitro. A process may use {MEMORY >> 30} GiB. If Nitro breaks the
bound, the best of {TRIES} turns counts. Times are in milliseconds; the table has Nitro's {WORST} worst bodies, and all
above the bound."""

Sent = tuple[str, str, str]  # body, order, way


@dataclass
class Side:
    """A server, which runs after `start`, with its measurements."""

    name: str
    command: processes.Command
    timeout: float  # seconds for the reply to a body; then the client disconnects
    turns: dict[Sent, Health] = field(default_factory=dict)
    outcomes: dict[Sent, list[str]] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)  # bodies that ended its process
    memory: float = 0.0  # MiB, after its start
    peak_memory: float = 0.0  # MiB, the highest after a body

    def start(self) -> None:
        """Start the server and its polling."""
        self._stack = contextlib.ExitStack()
        with servers.limited(resource.RLIMIT_DATA, MEMORY):
            self.server = self._stack.enter_context(processes.running(self.command))
        self.memory = self.server.memory() or 0.0
        self._watch = self._stack.enter_context(Watch(self.server.port))

    def close(self) -> None:
        """End the polling and the server."""
        self._stack.close()

    @property
    def unanswered(self) -> int:
        """The number of bodies without a reply."""
        return sum(not all(map(_is_reply, outcomes)) for outcomes in self.outcomes.values())

    def idle(self, seconds: float) -> Health:
        """`/health` with nothing to do, for so many seconds."""
        began = time.monotonic()
        time.sleep(seconds)
        return self._watch.between(began, began + seconds)

    def take(self, sent: Sent, path: str, body: bytes, tries: int) -> Health:
        """Send a body, up to `tries` times while the bound is broken, and return the best turn."""
        for _ in range(tries):
            health, outcomes = self._turn(path, body, sent[2])
            if sent not in self.turns or health.p99 < self.turns[sent].p99:
                self.turns[sent] = health
            self.outcomes[sent] = outcomes
            self.peak_memory = max(self.peak_memory, self.server.memory() or 0.0)
            if not servers.lives(self.server):
                self.ends.append(", ".join(sent))
                self._again()
            elif self.name != OURS and not all(map(_is_reply, outcomes)):
                self._again()  # else work for clients that have left would count for the next body
            self._rest()
            if health.p99 <= BOUND or health.p99 > HOPELESS:
                break
        return self.turns[sent]

    def _again(self) -> None:
        self.close()
        self.start()

    def _rest(self) -> None:
        """Wait until the server is idle."""
        end = time.monotonic() + REST_TIMEOUT
        while self.idle(WATCH_AFTER).p99 > BOUND and time.monotonic() < end:
            pass

    def _turn(self, path: str, body: bytes, way: str) -> tuple[Health, list[str]]:
        began = time.monotonic()
        outcomes = client.run(sending.WAYS[way](self.server.port, path, body, self.timeout))
        ended = time.monotonic()
        time.sleep(WATCH_AFTER)
        return self._watch.between(began, ended + WATCH_AFTER), outcomes


def run(options: argparse.Namespace) -> Findings:
    """The section."""
    sides = [Side(OURS, _ours(options), REPLY_TIMEOUT)]
    if options.peer and (peer := peers.PEERS[SERVER](options, SETTING).command):
        sides.append(Side(SERVER, peer, PEER_TIMEOUT))
    with contextlib.ExitStack() as stack:
        for side in sides:
            side.start()
            stack.callback(side.close)
        idle = [side.idle(1) for side in sides]
        for kind, order, ways in plan(options):
            _measure(sides, kind, order, ways, options.seed)
        last = [_grown(sides[0]), servers.ended(OURS, sides[0].server)]
    return findings(sides, idle, last)


def plan(options: argparse.Namespace) -> Iterator[tuple[bodies.Kind, str, list[str]]]:
    """What to send: the kind of body, its order, and the ways. In the long form each kind goes in its first order in
    every way, and in the other orders in one way. With a count, as in the short form, only so many of these for each
    kind, and different ones for the next kind."""
    ways = list(sending.WAYS)
    turns = [*(("forth", way) for way in ways), ("back", "at once"), ("mixed", "in chunks")]
    chosen = [kind for kind in bodies.KINDS if options.only in kind.name]
    for number, kind in enumerate(kind for kind in chosen if kind.quick or not options.short):
        count = 1 if options.short else options.count
        if count:
            for i in range(count):
                order, way = turns[(number + i) % len(turns)]
                yield kind, order, [way]
            continue
        yield kind, "forth", ways
        yield kind, "back", ["at once"]
        yield kind, "mixed", ["in chunks"]


def _measure(sides: list[Side], kind: bodies.Kind, order: str, ways: list[str], seed: int) -> None:
    body = kind.body(order, seed)
    for way in ways:
        for side in sides:
            sent = (kind.name, order, way)
            health = side.take(sent, kind.path, body, TRIES if side.name == OURS else 1)
            outcomes = ", ".join(sorted(set(side.outcomes[sent])))
            print(
                f"{side.name:12} {kind.name}, {order}, {way}: p99 {health.p99:.0f}, longest {health.longest:.0f} ms; "
                f"{outcomes}; {side.server.memory() or 0:.0f} MiB",
                file=sys.stderr,
                flush=True,
            )


def _ours(options: argparse.Namespace) -> processes.Command:
    """With the same engine as the peer; in the short form with the one that computes nothing."""
    engine = servers.FAKE if options.short else (str(options.model), "--engine", "llama")
    room = ("--ctx", str(SETTING.context), "--parallel", str(SETTING.slots), "--threads", str(options.threads))
    return servers.command(*engine, *room, *shlex.split(options.nitro_args))


def _grown(side: Side) -> Figure:
    """Is the memory of earlier bodies freed?"""
    more = (side.server.memory() or 0.0) - side.memory
    return Figure.at_most("memory more at the end than in the beginning, MiB", round(more), MORE_MEMORY)


def findings(sides: list[Side], idle: list[Health], last: list[Figure]) -> Findings:
    """The figures and the table. `idle`: of each side; `last`: figures of the end."""
    ours, *others = sides
    found = Findings("Bodies", HOW)
    broken = [sent for sent, health in ours.turns.items() if health.p99 > BOUND]
    for (name, order, way), outcomes in ours.outcomes.items():
        for outcome in outcomes:
            if not outcome.isdigit():
                found.faults[f"{name}, {order}, {way}: {outcome}"] += 1
    worst = sorted(ours.turns, key=lambda sent: -ours.turns[sent].p99)
    found.figures = [
        Figure("bodies sent (an order and a way of each)", str(len(ours.turns))),
        Figure.at_most("worst p99 of `/health`, ms", ours.turns[worst[0]].p99, BOUND),
        Figure.none("bodies whose p99 is above it", len(broken)),
        Figure("longest answer of `/health`, ms", f"{max(h.longest for h in ours.turns.values()):.0f}"),
        Figure.none("polls that were not answered by 200", sum(h.bad for h in ours.turns.values())),
        Figure.none("bodies without an honest reply", sum(found.faults.values())),
        Figure.none("ends of the server's process", len(ours.ends)),
        Figure("p99 of `/health` with nothing to do, ms", f"{idle[0].p99:.1f}"),
        Figure("highest memory after a body, MiB", f"{ours.peak_memory:.0f}"),
        *last,
    ]
    for side, quiet in zip(others, idle[1:], strict=True):
        above = sum(health.p99 > BOUND for health in side.turns.values())
        found.figures += [
            Figure(f"{side.name}: worst p99, ms", f"{max(h.p99 for h in side.turns.values()):.1f}"),
            Figure(f"{side.name}: bodies whose p99 is above {BOUND:g} ms", str(above)),
            Figure(f"{side.name}: ends of its process", str(len(side.ends))),
            Figure(f"{side.name}: bodies without a reply within {side.timeout:g} s", str(side.unanswered)),
            Figure(f"{side.name}: p99 with nothing to do, ms", f"{quiet.p99:.1f}"),
            Figure(f"{side.name}: highest memory after a body, MiB", f"{side.peak_memory:.0f}"),
        ]
    shown = worst[: max(WORST, len(broken))]
    columns = ["body", "sent", *(f"{side.name} {what}" for side in sides for what in ("p50", "p99", "longest"))]
    found.tables = [table(columns, [_row(sent, sides) for sent in shown])]
    return found


def _is_reply(outcome: str) -> bool:
    """Did a reply arrive, honest or not?"""
    return outcome.isdigit() or outcome.startswith("status")


def _row(sent: Sent, sides: list[Side]) -> list[str]:
    return [sent[0], f"{sent[1]}, {sent[2]}", *(cell for side in sides for cell in side.turns[sent].cells())]
