"""Which model is loaded and which gives way: the policy alone, on a clock of the test's own."""

import math
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro.engines.shares import FLEX, WEIGHTS, Tier
from nitro.models import keep_alive
from nitro.models.residency import MIB, Decisions, Limits, Resident, Waiting, decide

quick = settings(deadline=None, database=None)

PATIENCE = 3.0
LIMITS = Limits(bytes=100, patience=PATIENCE)


def resident(name: str, size: int = 40, leases: int = 0, ready_since: float | None = 0.0, **more: object) -> Resident:
    """Its leases are people's."""
    told = {"used": math.inf if leases else more.get("idle_since", -math.inf), **more}
    return Resident(name=name, bytes=size, leases=leases, ready_since=ready_since, **told)


def wants(name: str, size: int = 40, since: float = 0.0, tier: Tier = "default") -> Waiting:
    return Waiting(name, size, since, tier=tier)


def test_what_fits_is_loaded_at_once() -> None:
    assert decide([resident("a")], [wants("b")], LIMITS, 0.0) == Decisions(loads=["b"])


def test_the_longest_idle_one_gives_way() -> None:
    """And the load waits until its memory is back."""
    there = [resident("a", idle_since=5.0), resident("b", idle_since=2.0)]
    decided = decide(there, [wants("c", since=9.0)], LIMITS, 10.0)
    assert (decided.loads, decided.ends) == ([], ["b"])
    there = [resident("a", idle_since=5.0), resident("b", idle_since=2.0, ending=True)]
    decided = decide(there, [wants("c", since=9.0)], LIMITS, 10.0)
    assert (decided.loads, decided.ends) == ([], [])
    assert decide(there[:1], [wants("c", since=9.0)], LIMITS, 10.0).loads == ["c"]


def test_nothing_ends_in_vain() -> None:
    """The longest idle one is small, and its going would not help."""
    there = [resident("small", 10, idle_since=1.0), resident("large", 80, idle_since=2.0)]
    assert decide(there, [wants("c", 60)], LIMITS, 3.0).ends == ["large"]


@pytest.mark.parametrize("kept", [{"pinned": True}, {"leases": 1}, {"ready_since": None}])
def test_what_stays(kept: dict[str, object]) -> None:
    """What is pinned, runs or loads."""
    there = [resident("a", 70, idle_since=1.0, **kept), resident("b", 30, idle_since=2.0)]
    decided = decide(there, [wants("c", 30)], LIMITS, 3.0)
    assert decided.ends == ["b"]
    assert decide(there, [wants("c", 31)], LIMITS, 3.0).ends == []


def test_one_that_works_is_drained_when_its_time_is_up() -> None:
    there = [resident("a", 80, leases=2)]
    early = decide(there, [wants("b", since=10.0)], LIMITS, 12.0)
    assert early == Decisions(again=10.0 + PATIENCE)
    late = decide(there, [wants("b", since=10.0)], LIMITS, 13.0)
    assert late == Decisions(drained=frozenset({"a"}))
    assert decide([resident("a", 80, idle_since=14.0)], [wants("b", since=10.0)], LIMITS, 14.0).ends == ["a"]


def test_what_has_just_been_loaded_gets_its_time() -> None:
    """However long the next one has waited."""
    there = [resident("a", 80, leases=2, ready_since=100.0)]
    assert not decide(there, [wants("b", since=10.0)], LIMITS, 102.9).drained
    assert decide(there, [wants("b", since=10.0)], LIMITS, 103.0).drained == {"a"}


def test_small_ones_go_ahead_only_for_a_while() -> None:
    there = [resident("a", 70, leases=1)]
    waiting = [wants("large", 60, since=0.0), wants("small", 10, since=1.0)]
    assert decide(there, waiting, LIMITS, 2.0).loads == ["small"]
    assert decide(there, waiting, LIMITS, 3.0).loads == []


def test_what_can_never_fit_is_told_with_the_numbers() -> None:
    limits = Limits(bytes=1000 * MIB)
    (why,) = decide([], [wants("a", 1001 * MIB)], limits, 0.0).refused.values()
    assert why == "The model 'a' needs 1,001 MiB of memory. This server may use 1,000 MiB (--memory)."
    there = [resident("p", 700 * MIB, pinned=True)]
    (why,) = decide(there, [wants("a", 400 * MIB)], limits, 0.0).refused.values()
    assert why.endswith("may use 1,000 MiB (--memory), of which pinned models take 700 MiB.")
    (why,) = decide(there, [wants("a", MIB)], Limits(bytes=1000 * MIB, count=1), 0.0).refused.values()
    assert "--models-max" in why and why.endswith("all are pinned: p.")


def test_a_place_may_be_what_is_missing() -> None:
    limits = Limits(bytes=1000, count=2)
    there = [resident("a", idle_since=2.0), resident("b", idle_since=1.0)]
    assert decide(there, [wants("c")], limits, 3.0).ends == ["b"]


def test_idle_models_are_unloaded_in_time() -> None:
    there = [
        resident("a", idle_since=10.0, keep_alive=5.0),
        resident("busy", leases=1, keep_alive=0.0),
        resident("pinned", keep_alive=0.0, pinned=True),
        resident("for ever", keep_alive=math.inf),
    ]
    assert decide(there, [], LIMITS, 14.0) == Decisions(again=15.0)
    assert decide(there, [], LIMITS, 15.0) == Decisions(ends=["a"])


# Tiers


def flex(name: str, size: int = 40, since: float = 0.0) -> Waiting:
    return wants(name, size, since, "flex")


def test_flex_waits_for_a_model_that_people_use() -> None:
    """And for a while after that; a model that only flex had it may have."""
    busy, idle = resident("a", 80, leases=1), resident("a", 80, idle_since=100.0)
    assert decide([busy], [flex("b")], LIMITS, 1e6) == Decisions()
    assert decide([idle], [flex("b")], LIMITS, 399.0) == Decisions(again=400.0)
    assert decide([idle], [flex("b")], LIMITS, 400.0).ends == ["a"]
    theirs = resident("a", 80, idle_since=100.0, used=-math.inf)
    assert decide([theirs], [flex("b")], LIMITS, 100.0).ends == ["a"]
    assert decide([idle], [wants("b")], LIMITS, 100.0).ends == ["a"]


def test_flex_takes_turns_with_flex() -> None:
    theirs = resident("a", 80, leases=1, used=-math.inf)
    assert decide([theirs], [flex("b", since=10.0)], LIMITS, 12.0) == Decisions(again=13.0)
    assert decide([theirs], [flex("b", since=10.0)], LIMITS, 13.0).drained == {"a"}


def test_who_is_above_does_not_wait_for_a_turn_of_flex() -> None:
    theirs = resident("a", 80, leases=1, used=5.0)
    assert decide([theirs], [wants("b", since=10.0)], LIMITS, 10.0).drained == {"a"}
    loading = resident("a", 80, leases=1, used=5.0, ready_since=None)
    assert not decide([loading], [wants("b", since=10.0)], LIMITS, 10.0).drained


def test_what_only_flex_had_goes_first() -> None:
    there = [resident("a", idle_since=1.0), resident("b", idle_since=2.0, used=-math.inf)]
    assert decide(there, [wants("c", since=3.0)], LIMITS, 3.0).ends == ["b"]


def test_higher_tiers_go_first() -> None:
    room = Limits(bytes=100, count=1)
    waiting = [flex("a", since=0.0), wants("b", since=1.0), wants("c", since=2.0, tier="priority")]
    assert decide([], waiting, room, 2.0).loads == ["c"]
    assert decide([], waiting[:2], room, 2.0).loads == ["b"]
    late = wants("c", since=1.0 + room.ahead, tier="priority")
    assert decide([], [*waiting[:2], late], room, 14.0).loads == ["b"], "nobody is overtaken for ever"


def test_flex_takes_no_room_that_others_wait_for() -> None:
    """Nor does it keep other flex from room while it waits for people itself."""
    there = [resident("a", 70, leases=1)]
    assert decide(there, [wants("large", 60, since=1.0), flex("small", 10)], LIMITS, 1.0).loads == []
    assert decide(there, [flex("large", 60), flex("small", 10)], LIMITS, 1e6).loads == ["small"]


tiers = st.sampled_from(["flex", "flex", "default", "priority"])
states_of = st.sampled_from([(False, False), (True, False), (False, True)])  # pinned, ending
pictures = st.tuples(
    st.integers(1, 60),
    st.integers(0, 1),
    st.sampled_from([None, 0.0, 399.0]),
    st.sampled_from([50.0, 390.0]),
    st.sampled_from([-math.inf, 50.0, 390.0, math.inf]),
    states_of,
)


@quick
@given(
    st.lists(pictures, max_size=5),
    st.lists(st.tuples(st.integers(1, 100), st.sampled_from([380.0, 398.0, 400.0]), tiers), max_size=6),
    st.sampled_from([None, 1, 2, 4]),
)
def test_for_who_is_above_flex_is_as_if_it_did_not_wait(
    made: list[tuple[Any, ...]], asked: list[tuple[int, float, Tier]], count: int | None
) -> None:
    """Whatever else is decided because flex waits is taken from nobody but flex."""
    limits, now = Limits(100, count, PATIENCE), 400.0
    there = [
        resident(f"r{n}", size, leases, ready, idle_since=idle, used=used, pinned=pinned, ending=ending)
        for n, (size, leases, ready, idle, used, (pinned, ending)) in enumerate(made)
    ]
    waiting = [wants(f"w{n}", *each) for n, each in enumerate(asked)]
    alone = decide(there, [each for each in waiting if each.tier != FLEX], limits, now)
    beside = decide(there, waiting, limits, now)
    above = {each.name for each in waiting if each.tier != FLEX}
    assert [name for name in beside.loads if name in above] == alone.loads
    assert set(alone.ends) <= set(beside.ends) and alone.drained <= beside.drained
    for each in there:
        if each.used + limits.quiet > now:
            assert (each.name in beside.ends) <= (each.name in alone.ends)
            assert (each.name in beside.drained) <= (each.name in alone.drained)


# A server simulated: what is decided is done


@dataclass
class Model:
    size: int
    pinned: bool
    state: str = "none"  # loading, ready, ending
    since: float = 0.0  # when its load or its end will be done; when it was ready
    idle_since: float = 0.0
    running: dict[float, Tier] = field(default_factory=dict)  # when each request will be done
    waiting: dict[float, Tier] = field(default_factory=dict)  # when each request came
    used: float = -math.inf
    loads: int = 0


class World:
    """Loads and ends take a second each, and a request takes what it says."""

    def __init__(self, models: dict[str, Model], limits: Limits):
        self.models, self.limits = models, limits
        self.now = 0.0
        self.waits: list[float] = []
        self.waits_above: list[float] = []  # of these, those above flex
        self.refused = 0
        self.drained: frozenset[str] = frozenset()
        self.lengths: dict[float, float] = {}

    def pictures(self) -> list[Resident]:
        return [
            Resident(
                name=name,
                bytes=model.size,
                leases=len(model.running),
                ready_since=model.since if model.state == "ready" else None,
                idle_since=model.idle_since,
                pinned=model.pinned,
                ending=model.state == "ending",
                used=math.inf if {*model.running.values(), *model.waiting.values()} - {FLEX} else model.used,
            )
            for name, model in self.models.items()
            if model.state != "none"
        ]

    def turn(self) -> float | None:
        """Decide and do until nothing is left to decide: when to look again."""
        while True:
            wanted = [
                self.wanted(name, model)
                for name, model in self.models.items()
                if model.waiting and model.state == "none"
            ]
            there = self.pictures()
            decided = decide(there, wanted, self.limits, self.now)
            self.check(there, decided)
            if all(each.tier == FLEX for each in wanted):
                self.check_flex(there, decided)
            for name, _ in decided.refused.items():
                self.refused += len(self.models[name].waiting)
                self.models[name].waiting.clear()
            for name in decided.ends:
                self.models[name].state, self.models[name].since = "ending", self.now + 1.0
            for name in decided.loads:
                model = self.models[name]
                assert model.waiting, "a load in vain"
                model.state, model.since = "loading", self.now + 1.0
                model.loads += 1
            granted = False
            for name, model in self.models.items():
                if model.state in ("loading", "ready") and model.waiting and name not in decided.drained:
                    granted = True
                    for came, tier in model.waiting.items():
                        begins = model.since if model.state == "loading" else self.now
                        self.waits.append(begins - came)
                        if tier != FLEX:
                            self.waits_above.append(begins - came)
                        model.running[begins + self.lengths[came]] = tier
                    model.waiting.clear()
            if not (granted or decided.ends or decided.loads or decided.refused):
                return decided.again

    def wanted(self, name: str, model: Model) -> Waiting:
        above = [came for came, tier in model.waiting.items() if tier != FLEX]
        tier = max(model.waiting.values(), key=lambda tier: WEIGHTS[tier])
        return Waiting(name, model.size, min(above or model.waiting), tier=tier)

    def check_flex(self, there: list[Resident], decided: Decisions) -> None:
        for each in there:
            if each.used + self.limits.quiet > self.now:
                assert each.name not in decided.ends and each.name not in decided.drained, "people use it"

    def check(self, there: list[Resident], decided: Decisions) -> None:
        held = {each.name: each for each in there}
        for name in decided.ends:
            assert held[name].idle and not held[name].pinned, "it runs, or is pinned"
        loaded = sum(self.models[name].size for name in decided.loads)
        if decided.loads:
            total = sum(each.bytes for each in there) + loaded
            assert total <= self.limits.bytes, "beyond the budget"
            assert self.limits.count is None or len(there) + len(decided.loads) <= self.limits.count

    def advance(self, until: float) -> None:
        """Let time pass, event by event."""
        while True:
            again = self.turn()
            events = [again] if again is not None and again > self.now else []
            for model in self.models.values():
                events += model.running
                if model.state in ("loading", "ending"):
                    events.append(model.since)
            coming = min((at for at in events if at > self.now), default=math.inf)
            if coming > until or coming == math.inf:
                break
            self.now = coming
            for model in self.models.values():
                if model.state == "loading" and model.since <= self.now:
                    model.state = "ready"
                if model.state == "ending" and model.since <= self.now:
                    model.state = "none"
                if any(at <= self.now for at in model.running):
                    if any(at <= self.now and tier != FLEX for at, tier in model.running.items()):
                        model.used = self.now
                    model.running = {at: tier for at, tier in model.running.items() if at > self.now}
                    model.idle_since = self.now
        if until < math.inf:
            self.now = until

    def request(self, name: str, at: float, length: float, tier: Tier = "default") -> None:
        self.advance(at)
        came = at + len(self.lengths) * 1e-7  # each of its own
        self.lengths[came] = length
        self.models[name].waiting[came] = tier


def test_a_hundred_requests_that_alternate_load_a_handful_of_times() -> None:
    """Two models that do not fit together; a request each 50 ms, and a load takes a second."""
    world = World({"a": Model(80, False), "b": Model(80, False)}, LIMITS)
    for number in range(100):
        world.request("ab"[number % 2], number * 0.05, 0.2)
    world.advance(math.inf)
    assert len(world.waits) == 100
    assert sum(model.loads for model in world.models.values()) <= 8


requests = st.lists(
    st.tuples(st.sampled_from("abcd"), st.floats(0.0, 2.0), st.floats(0.01, 5.0), tiers), min_size=1, max_size=40
)
models = st.lists(st.tuples(st.integers(1, 120), st.sampled_from([False, False, False, True])), min_size=4, max_size=4)


@quick
@given(models, requests, st.sampled_from([None, 1, 2, 3]))
def test_every_request_is_answered_or_refused(
    made: list[tuple[int, bool]], asked: list[tuple[str, float, float, Tier]], count: int | None
) -> None:
    """Never beyond the budget, nothing ends that runs or is pinned, and nobody waits for ever: `check` sees to it. Flex
    gets its turn once others have been quiet."""
    world = World({name: Model(*each) for name, each in zip("abcd", made, strict=True)}, Limits(100, count, PATIENCE))
    at = 0.0
    for name, pause, length, tier in asked:
        at += pause
        world.request(name, at, length, tier)
    world.advance(math.inf)
    assert len(world.waits) + world.refused == len(asked)
    assert not any(model.waiting or model.running for model in world.models.values())


@quick
@given(
    st.lists(
        st.tuples(st.sampled_from("aabbc"), st.floats(0.0, 0.5), st.floats(0.01, 1.0), tiers), min_size=1, max_size=80
    )
)
def test_nobody_above_flex_starves(asked: list[tuple[str, float, float, Tier]]) -> None:
    """Three models, of which one fits at a time: each of the two before gets its time, and ends what it has; with
    priority they may come before twice."""
    world = World({name: Model(80, False) for name in "abc"}, LIMITS)
    at = 0.0
    for name, pause, length, tier in asked:
        at += pause
        world.request(name, at, length, tier)
    world.advance(math.inf)
    turn = 1.0 + PATIENCE + 1.0 + 1.0  # load, its time, its last request, end
    assert max(world.waits_above, default=0.0) <= LIMITS.ahead + 3 * turn + 1.0


# keep_alive


@pytest.mark.parametrize(
    "value, seconds",
    [
        (300, 300), (0, 0), (-1, math.inf), (2.5, 2.5), ("300", 300), ("5m", 300), ("1h30m", 5400), ("-1", math.inf),
        ("-1m", math.inf), ("0", 0), ("0s", 0), ("300ms", 0.3), ("1.5h", 5400), ("+5s", 5), (" 5m ", 300),
    ],
)  # fmt: skip
def test_keep_alive(value: object, seconds: float) -> None:
    assert keep_alive.parse(value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "m", "5 m", "five", "5d", "--5", True, None, [], math.nan, "1h30", "٣"])
def test_what_is_no_keep_alive(value: object) -> None:
    with pytest.raises(ValueError, match="5m"):
        keep_alive.parse(value)
