"""The simulation: clients that send requests, a router, replicas that take steps, and a clock that jumps from event to
event. The same seed gives the same answer.

    client ── send ──► rule ──(request seconds)──► replica: begin a step … end it ──► a token: first, next, last
       ▲                                                                                              │
       └───────────────────────── the next request of this client ◄────────────────────────────────────┘

What comes while a step is under way waits for its end, as in the engine's loop. A clock's tick has no duration, and
events of one moment come in the order in which they were planned.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from msgspec import Struct

from nitro.bench.stats import percentile
from nitro.errors import SimulationError
from nitro.simulation.costs import StepClock, StepCosts
from nitro.simulation.replica import Replica
from nitro.simulation.routing import PREFIX, RULES
from nitro.simulation.traffic import Request, Traffic


class Plan(Struct, frozen=True, kw_only=True):
    """What is simulated. `clients`: each sends its next request when the last is answered, and it has thought for
    `think` seconds in the mean, as long as chance has it (exponentially distributed, as is when it begins); None:
    requests come at their recorded times, `speed` times as fast. `requests`: of each client; 0: see Traffic.by_client.
    `prefix`: tokens that a router hashes."""

    clients: int | None = None
    replicas: int = 1
    route: str = "conversation"
    seed: int = 1
    requests: int = 0
    speed: float = 1.0
    think: float = 0.0
    prefix: int = PREFIX


class Prediction(Struct, frozen=True, kw_only=True):
    """What came of it. Times are seconds of the simulated clock. `too_long`: requests that fit into no context, and
    `failed` into no KV pool. `waited`: from the engine's queue to a slot. `longest_queue`: requests that waited on one
    replica at once. `cached`: the share of the prompts' tokens that came from a cache. `busiest`, `idlest`: the share
    of the time that a replica computed."""

    requests: int
    answered: int
    too_long: int
    failed: int
    seconds: float
    tokens: int
    tokens_per_second: float
    ttft_p50: float
    ttft_p95: float
    waited_p50: float
    waited_p95: float
    longest_queue: int
    cached: float
    busiest: float
    idlest: float
    steps: int


@dataclass(slots=True)
class _Sent:
    client: int
    request: Request
    replica: int
    at: float
    arrived: float = 0.0
    first: float | None = None
    waited: float | None = None
    cached: int = 0


@dataclass(slots=True)
class _Server:
    replica: Replica
    inbox: list[int] = field(default_factory=list)  # requests that came during a step
    stepping: bool = False


def simulate(traffic: Traffic, costs: StepCosts, plan: Plan) -> Prediction:
    """Play the traffic. Raises SimulationError, which names what of the plan is wrong."""
    _check(plan)
    return _Fleet(traffic, costs, plan).run()


def _check(plan: Plan) -> None:
    least = {"clients": 1, "replicas": 1, "requests": 0, "prefix": 1}
    for name, bound in least.items():
        value = getattr(plan, name)
        if value is not None and value < bound:
            raise SimulationError(f"{name} is {value}, and must be at least {bound}.")
    if not 0 < plan.speed < float("inf"):
        raise SimulationError(f"speed is {plan.speed}, and must be a factor above 0.")
    if plan.route not in RULES:
        raise SimulationError(f"route is {plan.route!r}, and must be one of {', '.join(RULES)}.")
    if not 0 <= plan.think < float("inf"):
        raise SimulationError(f"think is {plan.think}, and must be a number of seconds.")
    for name in ("requests", "think"):
        if plan.clients is None and getattr(plan, name):
            raise SimulationError(f"{name} is about each client, and there is no number of clients.")


class _Fleet:
    """One run."""

    def __init__(self, traffic: Traffic, costs: StepCosts, plan: Plan):
        info, clock = costs.room.info, StepClock(costs)
        self._context = info.context
        self._delay = costs.request
        self._servers = [_Server(Replica(info, clock)) for _ in range(plan.replicas)]
        self._underway = [0] * plan.replicas
        self._rule = RULES[plan.route](plan.replicas, plan.seed, plan.prefix)
        self._random, self._think = Random(plan.seed), plan.think
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._now = 0.0
        self._open: dict[int, _Sent] = {}
        self._done: list[_Sent] = []
        self._requests = self._too_long = self._failed = self._longest_queue = 0
        self._queues: list[deque[Request]] = []
        if plan.clients is None:
            for client, request in traffic.in_time():
                self._plan(request.at / plan.speed, self._send, client, request)
        else:
            self._queues = [deque(sent) for sent in traffic.by_client(plan.clients, plan.requests)]
            for client in range(plan.clients):
                self._plan(self._pause(), self._next, client)

    def run(self) -> Prediction:
        """To the end."""
        while self._events:
            self._now, _, happens = heapq.heappop(self._events)
            happens()
        assert not self._open, "a request that never ends"
        return self._prediction()

    def _plan(self, at: float, happens: Callable[..., None], *arguments: object) -> None:
        heapq.heappush(self._events, (at, next(self._numbers), lambda: happens(*arguments)))

    def _pause(self) -> float:
        """For which a client thinks."""
        return self._random.expovariate(1 / self._think) if self._think else 0.0

    def _next(self, client: int) -> None:
        """A client sends what it has next, if it has anything."""
        if self._queues and (queue := self._queues[client]):
            self._send(client, queue.popleft())

    def _send(self, client: int, request: Request) -> None:
        self._requests += 1
        if request.length > self._context:
            self._too_long += 1  # the server says so at once
            return self._next(client)
        place = self._rule.choose(client, request, self._underway)
        self._underway[place] += 1
        id = next(self._numbers)
        self._open[id] = _Sent(client, request, place, self._now)
        self._plan(self._now + self._delay, self._arrive, id)

    def _arrive(self, id: int) -> None:
        """The engine has it."""
        sent = self._open[id]
        sent.arrived = self._now
        server = self._servers[sent.replica]
        server.inbox.append(id)
        if not server.stepping:
            server.stepping = True  # all that comes in this moment is in the first step
            self._plan(self._now, self._begin, server)

    def _begin(self, server: _Server) -> None:
        replica = server.replica
        for id in server.inbox:
            request = self._open[id].request
            replica.add(id, request.prompt, request.answer, self._now)
        server.inbox.clear()
        server.stepping = replica.scheduler.busy
        if not server.stepping:
            return
        seconds, begun = replica.begin()
        for id, cached in begun:
            sent = self._open[id]
            if sent.waited is None:  # else it was preempted
                sent.waited, sent.cached = self._now - sent.arrived, cached
        self._longest_queue = max(self._longest_queue, len(replica.scheduler.waiting))
        self._plan(self._now + seconds, self._end, server)

    def _end(self, server: _Server) -> None:
        told, ended, failed = server.replica.end()
        for id in told:
            if self._open[id].first is None:
                self._open[id].first = self._now
        for id in (*ended, *failed):
            sent = self._open.pop(id)
            self._underway[sent.replica] -= 1
            if id in failed:
                self._failed += 1
            else:
                self._done.append(sent)
            if self._queues and self._queues[sent.client]:
                self._plan(self._now + self._pause(), self._next, sent.client)
        self._plan(self._now, self._begin, server)  # after those whom the tokens reach in this moment

    def _prediction(self) -> Prediction:
        done, seconds = self._done, self._now
        tokens = sum(len(sent.request.answer) for sent in done)
        prompts = sum(len(sent.request.prompt) for sent in done)
        firsts = [sent.first - sent.at for sent in done if sent.first is not None]
        waited = [sent.waited for sent in done if sent.waited is not None]
        busy = [server.replica.busy_seconds / seconds if seconds else 0.0 for server in self._servers]
        return Prediction(
            requests=self._requests,
            answered=len(done),
            too_long=self._too_long,
            failed=self._failed,
            seconds=seconds,
            tokens=tokens,
            tokens_per_second=tokens / seconds if seconds else 0.0,
            ttft_p50=_of(firsts, 0.5),
            ttft_p95=_of(firsts, 0.95),
            waited_p50=_of(waited, 0.5),
            waited_p95=_of(waited, 0.95),
            longest_queue=self._longest_queue,
            cached=sum(sent.cached for sent in done) / prompts if prompts else 0.0,
            busiest=max(busy),
            idlest=min(busy),
            steps=sum(server.replica.steps for server in self._servers),
        )


def _of(values: list[float], share: float) -> float:
    return percentile(values, share) if values else 0.0
