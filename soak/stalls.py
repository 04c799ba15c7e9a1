"""Whether `/health` answers while a large body is read, checked and refused: every body, in every way, ours beside
llama-server. What breaks the bound is measured again: what is the server's own comes back."""

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
TRIES = 3  # at most, where ours breaks the bound: the best counts
BEYOND = 10 * BOUND  # what is above it needs no second try
CALM = 120.0  # seconds that a server has to come to rest after a body
MORE_MEMORY = 600.0  # MiB at the end: what allocators and caches keep of the largest bodies, not of all
MEMORY = 8 * 2**30  # bytes that a server's process may take for itself: what takes more is not to end this machine
CEILING, CEILING_OF_PEER = 60.0, 10.0  # seconds
BETWEEN = 0.2  # seconds that are watched after the reply
WORST = 15  # bodies that are shown
OURS = "Nitro"
SETTING = Workload("bodies", 8, 2048, independent(1, 1))
HOW = f"""\
Each body goes to a server that does nothing else, while another process asks `/health` a hundred times a second. Polls
that are late count from when they were due; counted are those from the first byte sent to {BETWEEN} s after the reply,
which has to be honest. llama-server gets the same model, bodies and polls, and is started anew after a body that it
does not answer within {CEILING_OF_PEER:g} s; the bound is ours. A process may take {MEMORY >> 30} GiB.
Of a body of ours that breaks the bound the best of {TRIES} turns counts. Milliseconds; the table has the {WORST} worst
of ours, and all above the bound."""

Sent = tuple[str, str, str]  # body, order, way


@dataclass
class Side:
    """A server, running after `start`, with what it showed."""

    name: str
    command: processes.Command
    ceiling: float  # seconds that a body's reply may take; its client leaves then
    turns: dict[Sent, Health] = field(default_factory=dict)
    outcomes: dict[Sent, list[str]] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)  # bodies that ended its process
    memory: float = 0.0  # MiB, when it had started
    most_memory: float = 0.0  # MiB, after a body

    def start(self) -> None:
        self._stack = contextlib.ExitStack()
        with servers.limited(resource.RLIMIT_DATA, MEMORY):
            self.server = self._stack.enter_context(processes.running(self.command))
        self.memory = self.server.memory() or 0.0
        self._watch = self._stack.enter_context(Watch(self.server.port))

    def close(self) -> None:
        self._stack.close()

    @property
    def unanswered(self) -> int:
        return sum(not all(map(_is_reply, outcomes)) for outcomes in self.outcomes.values())

    def idle(self, seconds: float) -> Health:
        began = time.monotonic()
        time.sleep(seconds)
        return self._watch.between(began, began + seconds)

    def take(self, sent: Sent, path: str, body: bytes, tries: int) -> Health:
        for _ in range(tries):
            health, outcomes = self._turn(path, body, sent[2])
            if sent not in self.turns or health.p99 < self.turns[sent].p99:
                self.turns[sent] = health
            self.outcomes[sent] = outcomes
            self.most_memory = max(self.most_memory, self.server.memory() or 0.0)
            if not servers.lives(self.server):
                self.ends.append(", ".join(sent))
                self._again()
            elif self.name != OURS and not all(map(_is_reply, outcomes)):
                self._again()  # what it computes for those who have left is not for the next body's figures
            self._rest()
            if health.p99 <= BOUND or health.p99 > BEYOND:
                break
        return self.turns[sent]

    def _again(self) -> None:
        self.close()
        self.start()

    def _rest(self) -> None:
        """Until it has done with what went before."""
        end = time.monotonic() + CALM
        while self.idle(BETWEEN).p99 > BOUND and time.monotonic() < end:
            pass

    def _turn(self, path: str, body: bytes, way: str) -> tuple[Health, list[str]]:
        began = time.monotonic()
        outcomes = client.run(sending.WAYS[way](self.server.port, path, body, self.ceiling))
        ended = time.monotonic()
        time.sleep(BETWEEN)
        return self._watch.between(began, ended + BETWEEN), outcomes


def run(options: argparse.Namespace) -> Findings:
    sides = [Side(OURS, _ours(options), CEILING)]
    if options.peer and (peer := peers.PEERS[SERVER](options, SETTING).command):
        sides.append(Side(SERVER, peer, CEILING_OF_PEER))
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
    """Of the long form every kind: in its first order in every way, in the others in one each. With a count, as in the
    short form, so many of these for each kind, others for the next."""
    ways = list(sending.WAYS)
    turns = [*(("forth", way) for way in ways), ("back", "at once"), ("mixed", "in chunks")]
    chosen = [kind for kind in bodies.KINDS if options.only in kind.name]
    for number, kind in enumerate(kind for kind in chosen if kind.quick or not options.short):
        if count := 1 if options.short else options.count:
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
            said = ", ".join(sorted(set(side.outcomes[sent])))
            print(
                f"{side.name:12} {kind.name}, {order}, {way}: p99 {health.p99:.0f}, most {health.most:.0f} ms; {said}; "
                f"{side.server.memory() or 0:.0f} MiB",
                file=sys.stderr,
                flush=True,
            )


def _ours(options: argparse.Namespace) -> processes.Command:
    """The engine of the peer; of the short form the one that computes nothing."""
    engine = servers.FAKE if options.short else (str(options.model), "--engine", "llama")
    room = ("--ctx", str(SETTING.context), "--parallel", str(SETTING.slots), "--threads", str(options.threads))
    return servers.command(*engine, *room, *shlex.split(options.nitro_args))


def _grown(side: Side) -> Figure:
    """Whether bodies that are long answered are still held."""
    more = (side.server.memory() or 0.0) - side.memory
    return Figure.at_most("memory more at the end than in the beginning, MiB", round(more), MORE_MEMORY)


def findings(sides: list[Side], idle: list[Health], last: list[Figure]) -> Findings:
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
        Figure("longest answer of `/health`, ms", f"{max(h.most for h in ours.turns.values()):.0f}"),
        Figure.none("polls that were not answered by 200", sum(h.bad for h in ours.turns.values())),
        Figure.none("bodies without an honest reply", sum(found.faults.values())),
        Figure.none("ends of the server's process", len(ours.ends)),
        Figure("p99 of `/health` with nothing to do, ms", f"{idle[0].p99:.1f}"),
        Figure("most memory after a body, MiB", f"{ours.most_memory:.0f}"),
        *last,
    ]
    for side, quiet in zip(others, idle[1:], strict=True):
        above = sum(health.p99 > BOUND for health in side.turns.values())
        found.figures += [
            Figure(f"{side.name}: worst p99, ms", f"{max(h.p99 for h in side.turns.values()):.1f}"),
            Figure(f"{side.name}: bodies whose p99 is above {BOUND:g} ms", str(above)),
            Figure(f"{side.name}: ends of its process", str(len(side.ends))),
            Figure(f"{side.name}: bodies without a reply within {side.ceiling:g} s", str(side.unanswered)),
            Figure(f"{side.name}: p99 with nothing to do, ms", f"{quiet.p99:.1f}"),
            Figure(f"{side.name}: most memory after a body, MiB", f"{side.most_memory:.0f}"),
        ]
    shown = worst[: max(WORST, len(broken))]
    columns = ["body", "sent", *(f"{side.name} {what}" for side in sides for what in ("p50", "p99", "most"))]
    found.tables = [table(columns, [_row(sent, sides) for sent in shown])]
    return found


def _is_reply(outcome: str) -> bool:
    """Whether a reply came, honest or not."""
    return outcome.isdigit() or outcome.startswith("status")


def _row(sent: Sent, sides: list[Side]) -> list[str]:
    return [sent[0], f"{sent[1]}, {sent[2]}", *(cell for side in sides for cell in side.turns[sent].cells())]
