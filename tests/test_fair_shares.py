"""Users share an engine by tokens, whatever each asks for: bounds that hold for any load, and what they mean for one
who asks little beside one who asks for much."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_scheduler import Engine, make_info, prompt

from nitro.engines.runner import Chunk
from nitro.engines.scheduling.fair_shares import QUANTUM
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.shares import Share, Tier
from nitro.engines.types import ModelInfo, SamplingParams


class SharedEngine(Engine):
    """For requests of several users, who are not served in order of age. Counts what each gets."""

    def __init__(self, info: ModelInfo):
        super().__init__(info)
        self.computed: Counter[str] = Counter()  # tokens, by user
        self.steps = 0

    def ask(self, user: str, tokens: list[int], max_tokens: int = 1, tier: Tier = "default") -> int:
        id = len(self.told) + 1
        sequence = Sequence(id, tokens.copy(), max_tokens, SamplingParams(seed=id), share=Share(user, tier))
        self.know(sequence, max_tokens)
        self.scheduler.add(sequence)
        return id

    def _check_admission(self) -> None:
        self.preempted = [sequence.id for sequence in self.scheduler.preempted]

    def _check_batch(self, batch: list[Chunk], budget: int) -> None:
        assert batch or not self.scheduler.busy
        self.steps += 1
        for chunk in batch:
            self.computed[self.told[chunk.sequence_id].sequence.share.user] += chunk.stop - chunk.start

    def ends(self, id: int) -> bool:
        return self.told[id].finish is not None


def large(**options: int) -> ModelInfo:
    return make_info(context=1024, kv_tokens=1 << 16, **options)


def steps_until(engine: SharedEngine, id: int, begun: bool = False) -> int:
    before = engine.steps
    while not (engine.told[id].answer if begun else engine.ends(id)):
        engine.step()
    return engine.steps - before


def test_one_with_much_does_not_keep_one_with_little_waiting() -> None:
    engine = SharedEngine(large(parallel=4))
    for first in range(20):
        engine.ask("heavy", prompt(20, first), 200)
    for _ in range(30):
        engine.step()
    for i in range(5):
        light = engine.ask("light", prompt(20, 100 + i), 3)
        assert steps_until(engine, light, begun=True) == 1, "its prompt is computed in the next step"
        steps_until(engine, light)
    running = Counter(sequence.share.user for sequence in engine.scheduler.running)
    assert running["heavy"] >= 3


def test_who_gives_way_goes_on_with_what_it_had_computed() -> None:
    engine = SharedEngine(large(parallel=2, spare=2))
    long = [engine.ask("heavy", prompt(100, first), 50) for first in (1, 2)]
    for _ in range(5):
        engine.step()
    light = engine.ask("light", prompt(10, 3), 4)
    steps_until(engine, light)
    before = engine.computed["heavy"]
    steps_until(engine, long[1])
    steps_until(engine, long[0])
    assert engine.computed["heavy"] - before <= 2 * 50, "no prompt of theirs is computed twice"


def test_alike_users_with_one_row_take_turns() -> None:
    engine = SharedEngine(large(parallel=1, spare=3))
    asked = {user: engine.ask(user, prompt(10, first), 900) for first, user in enumerate("abc")}
    while not any(engine.ends(id) for id in asked.values()):
        engine.step()
        counts = [engine.computed[user] for user in "abc"]
        assert max(counts) - min(counts) <= QUANTUM + 10 + 64


def test_weights_of_tiers() -> None:
    engine = SharedEngine(large(parallel=4, spare=12))
    tiers: tuple[Tier, ...] = ("flex", "default", "priority")
    for i in range(40):
        for tier in tiers:
            engine.ask(tier, prompt(30, i), 100, tier)
    while engine.computed["priority"] < 4_500:
        engine.step()
    shares = {tier: engine.computed[tier] / engine.computed["default"] for tier in tiers}
    assert 2.5 < shares["priority"] < 5 and shares["flex"] < 0.3, shares


@pytest.mark.parametrize("tiles", [False, True])
def test_flex_stands_back_while_a_prompt_of_others_is_computed(tiles: bool) -> None:
    """Their first token comes as early as without it; its own work goes on in between."""
    alone, beside = (SharedEngine(large(parallel=4, attention_tile_rows=32 if tiles else 0)) for _ in range(2))
    for number in range(12):
        beside.ask("batch", prompt(40, number), 400, "flex")
    for _ in range(30):
        beside.step()
    for number in range(5):
        tokens = [50 + number] * 300
        first = [steps_until(each, each.ask("somebody", tokens, 10), begun=True) for each in (alone, beside)]
        assert first[0] == first[1]
        before = beside.computed["batch"]
        for each in (alone, beside):
            steps_until(each, max(each.told))
        assert beside.computed["batch"] > before, "it decodes beside their answer"


def test_flex_gets_its_share_of_an_engine_that_computes_nothing_but_prompts() -> None:
    engine = SharedEngine(large(parallel=4))
    for number in range(4):
        engine.ask("batch", prompt(40, number), 900, "flex")
    for number in range(400):
        engine.ask("somebody", [number % 200, number // 200] + [7] * 298, 1)
    while engine.computed["somebody"] < 60_000:
        engine.step()
    assert engine.computed["batch"] > 60_000 / 16 / 2


def test_steps_are_short_where_somebody_waits_or_may_come() -> None:
    engine = SharedEngine(large(parallel=4))
    shares, running = engine.scheduler.shares, lambda: engine.scheduler.running
    assert not shares.in_a_hurry(running())
    engine.ask("batch", [1] * 300, 400, "flex")
    engine.step()
    assert shares.in_a_hurry(running()), "somebody may come"
    engine.ask("somebody", [2] * 300, 10)
    assert not shares.in_a_hurry(running()), "nobody waits for what flex decodes"
    steps_until(engine, 2, begun=True)
    assert shares.in_a_hurry(running())


def test_nobody_saves_up_tokens_by_being_away() -> None:
    engine = SharedEngine(large(parallel=1, spare=3))
    first = engine.ask("a", prompt(10, 1), 1000)
    for _ in range(300):
        engine.step()
    engine.ask("b", prompt(10, 2), 1000)
    before = engine.computed.copy()
    for _ in range(600):
        engine.step()
    gained = engine.computed - before
    assert abs(gained["a"] - gained["b"]) <= QUANTUM + 64 and not engine.ends(first)


def test_who_comes_back_still_has_had_what_it_had() -> None:
    engine = SharedEngine(large(parallel=1, spare=3))
    engine.ask("b", prompt(10, 9), 1000)
    for i in range(20):  # a new request each time the last one has ended
        steps_until(engine, engine.ask("a", prompt(10, i), 20))
    assert engine.computed["a"] - engine.computed["b"] <= QUANTUM + 64


@settings(max_examples=40, deadline=None)
@given(
    parallel=st.integers(1, 5),
    spare=st.integers(0, 3),
    tiles=st.booleans(),
    can_truncate=st.booleans(),
    pool=st.sampled_from([0, 100, 1000]),
    requests=st.lists(
        st.tuples(
            st.sampled_from("abcd"),
            st.sampled_from(["flex", "default", "priority"]),
            st.integers(1, 120),
            st.integers(1, 100),
            st.integers(0, 30),
        ),
        min_size=1,
        max_size=15,
    ),
)
def test_everybody_is_answered_whatever_others_ask_for(
    parallel: int,
    spare: int,
    tiles: bool,
    can_truncate: bool,
    pool: int,
    requests: list[tuple[str, Tier, int, int, int]],
) -> None:
    """And each answer is right, though its sequence gave way in between. (`Engine` checks that.)"""
    info = make_info(
        *(parallel, spare, 256, 256 + pool),
        can_truncate=can_truncate,
        attention_tile_rows=32 if tiles else 0,
    )
    engine = SharedEngine(info)
    for number, (user, tier, length, max_tokens, pause) in enumerate(requests):
        engine.ask(user, [number % 7] * length, max_tokens, tier)
        for _ in range(pause):
            if engine.scheduler.busy:
                engine.step()
    most = 40 * sum(length + max_tokens for _, _, length, max_tokens, _ in requests)
    while engine.scheduler.busy:
        assert (most := most - 1) > 0, "it never ends"
        engine.step()
    assert not engine.live and not engine.scheduler.shares.contested
