"""The rows of bench.table: what each measures, which of its figures are shown, and what is to be reached."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field

from bench import adapters, batches, footprint, http, many_models, peers, pictures, prefix_files, processes, two_users
from bench.measures import HIGHER_IS_BETTER
from bench.peers import OURS
from bench.workloads import DRAFTED, FLOAT32, MLX, OLD, OURSELVES, PAIR, SERVER, SWEEP, UNFLAGGED, WORKLOADS, Workload
from nitro.bench import client
from nitro.bench.stats import turns

Values = dict[str, dict[str, list[float]]]  # by metric and server: one figure per round, in one order for all servers

SPEED, FIRST, GAP, P90, PEAK = (
    "tokens/s",
    "TTFT p50, ms",
    "longest gap between tokens, ms",
    "time per output token p90, ms",
    "peak memory, MiB",
)
START, MEMORY = "start to the first token, s", "PSS idle after an answer, MiB"
FRAMES, FIRST_FRAME = "frames/s", "TTFT of a single client, ms"
BARE = "bare Litestar"
IDLE = 2.0  # seconds after an answer before memory is read


@dataclass(frozen=True)
class Goal:
    """What a ratio to these peers should be, at least or at most, as the metric is better. `difference`: it is for ours
    minus theirs."""

    metric: str
    bound: float
    peers: tuple[str, ...] = PAIR
    difference: bool = False

    @property
    def text(self) -> str:
        """As in the table."""
        sign = "≥" if self.metric in HIGHER_IS_BETTER else "≤"
        return f"{sign} {self.bound:+.2f}" if self.difference else f"{sign} {self.bound:.2f}"

    def is_met(self, value: float) -> bool:
        """Whether a ratio, or a difference, reaches the bound."""
        rounded = round(value, 2)
        return rounded >= self.bound if self.metric in HIGHER_IS_BETTER else rounded <= self.bound


@dataclass(frozen=True)
class Row:
    """`work`: a workload, or a function that measures. `extra`: only measured if it is named. `clients`: how many it
    has, each with as many requests, if llama_decode alone is measured as well."""

    work: Workload | Callable[[argparse.Namespace], Values]
    goals: tuple[Goal, ...] = ()
    shown: tuple[str, ...] = (SPEED,)  # metrics
    title: str = ""
    extra: bool = False
    with_old: bool = True  # an older tree takes part, if there is one
    clients: int = 0

    @property
    def name(self) -> str:
        """Its title in the table."""
        return self.title or (self.work.title if isinstance(self.work, Workload) else "")


def starts(options: argparse.Namespace) -> Values:
    """Start to the first token, and memory after it, of servers at their defaults. A first start is not counted."""
    commands = peers.at_defaults(options)
    names = list(commands)
    values: Values = {START: {name: [] for name in names}, MEMORY: {name: [] for name in names}}
    for number, order in enumerate([tuple(range(len(names))), *turns(options.rounds, len(names))]):
        for i in order:
            start = footprint.start_once(commands[names[i]], idle=IDLE if number else 0.0)
            if number:
                values[START][names[i]].append(start.seconds)
                values[MEMORY][names[i]].append(start.memory)
    return values


def http_alone(options: argparse.Namespace) -> Values:
    """HTTP with an engine that computes nothing, beside a bare app."""
    fake = ["--engine", "nitro.engines.backends.fake:FakeRunner", "--parallel", str(http.STREAMS), "--ctx", "1024"]
    commands = {OURS: processes.nitro(*fake)}
    if options.old:
        commands[OLD] = processes.nitro(*fake, tree=options.old.resolve())
    commands[BARE] = http.bare
    with processes.all_running(list(commands.values())) as servers:
        return client.run(_frames(list(commands), servers, options.rounds))


async def _frames(names: list[str], servers: list[processes.Server], rounds: int) -> Values:
    values: Values = {FRAMES: {name: [] for name in names}, FIRST_FRAME: {name: [] for name in names}}
    for number, order in enumerate([tuple(range(len(names))), *turns(rounds, len(names))]):
        for i in order:
            frames = await http.frames_per_second(servers[i])
            first = await http.first_token(servers[i])
            if number:
                values[FRAMES][names[i]].append(frames)
                values[FIRST_FRAME][names[i]].append(first)
    return values


def _row(
    name: str,
    *goals: Goal,
    shown: tuple[str, ...] = (SPEED,),
    extra: bool = False,
    old: bool = True,
    clients: int = 0,
) -> Row:
    return Row(WORKLOADS[name], goals, shown, extra=extra, with_old=old, clients=clients)


def _at_least(bound: float, *peers: str) -> Goal:
    return Goal(SPEED, bound, peers or PAIR)


NO_COST = (_at_least(0.98, UNFLAGGED), Goal(P90, 1.10, (UNFLAGGED,)))
AT_1 = (_at_least(1.5, UNFLAGGED), _at_least(1.1, DRAFTED))
AT_4 = (_at_least(1.15, UNFLAGGED), _at_least(1.1, DRAFTED))

# Neighbours of one room share their servers. An older tree has a turn only where that takes little.
ROWS = {
    "1": _row("1", _at_least(1.0), clients=1),
    "1-text": _row("1-text", _at_least(1.0), clients=1),
    "8": _row("8", _at_least(1.1), clients=8),
    "8-text": _row("8-text", _at_least(1.1), shown=(SPEED, P90), clients=8),
    "shared": _row("shared", _at_least(4.5), Goal(FIRST, 0.6), shown=(SPEED, FIRST)),
    "talk": _row("talk", _at_least(1.2), clients=4),
    "talk-text": _row("talk-text", _at_least(1.2), shown=(SPEED, P90), clients=4),
    "1-q8_0": _row("1-q8_0", _at_least(1.0), old=False),
    "1-text-q8_0": _row("1-text-q8_0", _at_least(1.0), old=False),
    "8-text-q8_0": _row("8-text-q8_0", _at_least(1.1), old=False),
    "8-text-f16": _row("8-text-f16", _at_least(1.1), old=False),
    "8-narrow-q4_0": _row("8-narrow-q4_0", _at_least(1.1), old=False),
    "8-narrow-q4_k": _row("8-narrow-q4_k", _at_least(1.1), old=False),
    "32-text": _row("32-text", _at_least(1.15), shown=(SPEED, FIRST), clients=32),
    "32": _row("32", _at_least(1.15), shown=(SPEED, FIRST), extra=True, clients=32),
    **{f"clients-{n}": _row(f"clients-{n}", shown=(SPEED, FIRST), old=False) for n in SWEEP},
    "long": _row("long", _at_least(1.0), Goal(GAP, 0.10), shown=(SPEED, GAP), old=False, clients=7),
    "draft-1": _row("draft-1", *AT_1, old=False),
    "draft-1-sampled": _row("draft-1-sampled", *AT_1, old=False),
    "draft-4": _row("draft-4", *AT_4, old=False),
    "draft-4-sampled": _row("draft-4-sampled", *AT_4, old=False),
    "rewrite-q8_0": _row("rewrite-q8_0", _at_least(2.0, OURSELVES)),
    "rewrite-f16": _row("rewrite-f16", _at_least(2.0, OURSELVES), extra=True),
    "rewrite": _row("rewrite", extra=True),
    "lookup-1": _row("lookup-1", *NO_COST, shown=(SPEED, P90), extra=True, old=False),
    "lookup-8": _row("lookup-8", *NO_COST, shown=(SPEED, P90), extra=True, old=False),
    "lookup-talk": _row("lookup-talk", *NO_COST, shown=(SPEED, P90), extra=True, old=False),
    "mlx-1": _row("mlx-1", _at_least(2.0, MLX)),
    "mlx-4": _row("mlx-4", _at_least(2.5, MLX)),
    "mlx-seeds": _row("mlx-seeds", _at_least(2.5, MLX)),
    "mlx-bf16": _row("mlx-bf16", _at_least(2.0, MLX), Goal(PEAK, 0.55, (FLOAT32,)), shown=(SPEED, PEAK), old=False),
    "start": Row(
        starts,
        (Goal(START, 0.35, (SERVER,), difference=True), Goal(MEMORY, 1.2, (SERVER,))),
        (START, MEMORY),
        "start, at the defaults of all",
    ),
    "http": Row(http_alone, (Goal(FRAMES, 0.85, (BARE,)),), (FRAMES, FIRST_FRAME), "HTTP alone, 64 streams"),
    "pictures": Row(
        pictures.measured,
        (
            Goal(pictures.EIGHT, 3.0, (SERVER,)),
            Goal(pictures.ONE, 1.0, (SERVER,)),
            Goal(pictures.GAP, 2.0, (pictures.KNOWN,)),
        ),
        (pictures.EIGHT, pictures.ONE, pictures.GAP),
        "questions about a picture",
        extra=True,
    ),
    "adapters": Row(
        adapters.ON_LLAMA,
        (_at_least(0.7, adapters.ALONE),),
        title="8 clients over 4 adapters",
        extra=True,
    ),
    "adapters-mlx": Row(
        adapters.ON_MLX,
        (_at_least(0.85, adapters.ALONE),),
        title="MLX, 8 clients over 4 adapters",
        extra=True,
    ),
    "two-users": Row(
        two_users.measured,
        (Goal(two_users.LIGHT, 1.5, (two_users.OURS_ALONE,)),),
        (two_users.LIGHT,),
        "one user's requests beside 64 of another",
        extra=True,
    ),
    "prefix-files": Row(
        prefix_files.measured,
        (
            Goal(prefix_files.FIRST, 0.05, (prefix_files.COMPUTED,)),
            Goal(prefix_files.FIRST, 1.0, (SERVER,)),
            Goal(prefix_files.STEP, 1.05, (prefix_files.UNKEPT,)),
        ),
        (prefix_files.FIRST, prefix_files.STEP),
        "a system prompt after a restart",
        extra=True,
    ),
    "batch": Row(
        batches.measured,
        (Goal(batches.SPEED, 3.0, (SERVER,)), Goal(batches.FIRST, 1.1, (batches.ALONE,))),
        (batches.SPEED, batches.FIRST),
        "a batch with one system prompt",
        extra=True,
    ),
    "many-models": Row(
        many_models.measured,
        (Goal(many_models.COLD, 1.1, (many_models.ROUTER,)), Goal(many_models.RATE, 1.0, (many_models.ROUTER,))),
        (many_models.COLD, many_models.RATE),
        "three models, room for two",
        extra=True,
    ),
}


@dataclass
class Outcome:
    """What came of a row. `values` of servers that failed are left out; `failed` has the reasons, by server or, under
    the row's own name, of the whole row. `date` and `commit` are those of the measurement."""

    name: str
    title: str
    seconds: float = 0.0
    values: Values = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    date: str = ""
    commit: str = ""
