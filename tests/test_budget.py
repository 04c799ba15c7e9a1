"""The step budget: its bounds, what it learns from measured steps, and what it ignores."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from nitro.engines.scheduling.step_budget import LONGEST, MIN_TOKENS, PREFILL_ONLY, STREAMING, StepBudget

FIRST = 256  # before anything was measured
TINY = MIN_TOKENS // 2 - 1  # prompt tokens of the largest step that teaches nothing

sizes = st.integers(1, 10_000)
durations = st.floats(1e-6, 1e4)
any_durations = st.floats(5e-324, allow_subnormal=True)  # whatever a clock's difference may be
tiles = st.sampled_from([0, 16, 64])
steps = st.lists(st.tuples(st.integers(0, 10_000), durations), max_size=20)

quick = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


def learned(most: int, *observed: tuple[int, float], tile: int = 0, well: int = 0) -> StepBudget:
    budget = StepBudget(most, min(tile, most), well)
    for prompt_tokens, seconds in observed:
        budget.observe(prompt_tokens, seconds)
    return budget


def both(budget: StepBudget) -> tuple[int, int]:
    return budget.tokens(streaming=True), budget.tokens(streaming=False)


@quick
@given(sizes, st.lists(st.tuples(st.integers(0, 10_000), any_durations), max_size=20), tiles)
@example(1000, [(100, 5e-324)], 0)  # a time per token of zero
@example(1000, [(100, 1e-310)], 0)  # so short that a second holds infinitely many
@example(1000, [(100, 1e308), (100, 1e-310)], 64)
@example(1000, [(100, float("inf")), (100, 1.0)], 64)
@example(17, [(16, 1.0)], 16)
def test_it_stays_within_its_bounds(most: int, observed: list[tuple[int, float]], tile: int) -> None:
    streaming, alone = both(learned(most, *observed, tile=tile, well=3 * tile))
    least = min(MIN_TOKENS, most)
    if 0 < tile < least:
        least -= least % tile  # complete tiles
    assert least <= streaming <= most
    assert least <= alone <= most


@quick
@given(sizes, steps, tiles)
def test_prompts_get_no_less_when_nobody_streams(most: int, observed: list[tuple[int, float]], tile: int) -> None:
    streaming, alone = both(learned(most, *observed, tile=tile, well=2 * tile))
    assert streaming <= alone


@pytest.mark.parametrize(
    "per_token, streaming, alone",
    [
        (0.0009, 256, 1088),  # 277 and 1111 would fit: whole tiles
        (0.003, 64, 320),
        (0.008, 64, 64),  # 31 would fit
        (PREFILL_ONLY / 64, 64, 64),
        (LONGEST / 64, 64, 64),
        (0.020, MIN_TOKENS, 50),  # a tile would last longer than anybody should wait
        (1.0, MIN_TOKENS, MIN_TOKENS),
    ],
)
def test_tiles_are_filled_unless_one_lasts_too_long(per_token: float, streaming: int, alone: int) -> None:
    assert both(learned(4096, (1000, 1000 * per_token), tile=64)) == (streaming, alone)


@pytest.mark.parametrize(
    "per_token, streaming, alone",
    [
        (0.003, 64, 320),  # a tile lasts no longer than it should
        (STREAMING / 64, 64, 256),
        (0.005, 128, 192),
        (LONGEST / 128, 128, 128),
        (0.012, 64, 64),  # two tiles would last longer than anybody should wait
        (0.020, MIN_TOKENS, 50),
    ],
)
def test_tiles_are_computed_together_where_one_lasts_long(per_token: float, streaming: int, alone: int) -> None:
    assert both(learned(4096, (1000, 1000 * per_token), tile=64, well=128)) == (streaming, alone)


def test_less_than_the_best_are_complete_tiles() -> None:
    """Four would last too long."""
    assert both(learned(4096, (1000, 7.0), tile=64, well=256)) == (128, 128)


@pytest.mark.parametrize("streaming", [True, False])
def test_the_first_step_is_moderate(streaming: bool) -> None:
    assert StepBudget(10_000).tokens(streaming) == FIRST
    assert StepBudget(100).tokens(streaming) == 100
    assert StepBudget(1).tokens(streaming) == 1


@pytest.mark.parametrize("per_token", [0.0005, 0.001, 0.002])
def test_the_first_measurement_is_believed(per_token: float) -> None:
    budget = learned(100_000, (1000, 1000 * per_token))
    assert budget.tokens(streaming=True) == pytest.approx(STREAMING / per_token, abs=1)
    assert budget.tokens(streaming=False) == pytest.approx(PREFILL_ONLY / per_token, abs=1)


def test_a_fast_device_gets_the_most_and_a_slow_one_the_least() -> None:
    assert both(learned(512, (500, 0.0001))) == (512, 512)
    assert both(learned(512, (500, 500.0))) == (MIN_TOKENS, MIN_TOKENS)


def test_most_wins_over_least() -> None:
    assert both(learned(MIN_TOKENS - 10, (500, 500.0))) == (MIN_TOKENS - 10, MIN_TOKENS - 10)
    assert both(learned(MIN_TOKENS - 10, (500, 0.0001))) == (MIN_TOKENS - 10, MIN_TOKENS - 10)


@quick
@given(sizes, steps, st.integers(MIN_TOKENS // 2, 10_000), st.floats(1.01, 100), tiles)
def test_a_slower_step_never_raises_it_and_a_faster_one_never_lowers_it(
    most: int, observed: list[tuple[int, float]], prompt_tokens: int, factor: float, tile: int
) -> None:
    start = (1000, 1.0)
    low, high = 0.001, 0.001  # bounds of what was measured per token
    for tokens, seconds in observed:
        if tokens > TINY:
            low, high = min(low, seconds / tokens), max(high, seconds / tokens)
    before = both(learned(most, start, *observed, tile=tile))
    slower = both(learned(most, start, *observed, (prompt_tokens, prompt_tokens * high * factor), tile=tile))
    faster = both(learned(most, start, *observed, (prompt_tokens, prompt_tokens * low / factor), tile=tile))
    assert all(after <= old for after, old in zip(slower, before, strict=True))
    assert all(after >= old for after, old in zip(faster, before, strict=True))


def test_one_odd_step_moves_it_only_a_part_of_the_way() -> None:
    calm = [(1000, 1.0)] * 5
    before = learned(100_000, *calm).tokens(streaming=False)
    after_slow = learned(100_000, *calm, (1000, 2.0)).tokens(streaming=False)
    after_fast = learned(100_000, *calm, (1000, 0.5)).tokens(streaming=False)
    assert before == pytest.approx(1000, abs=1)
    assert 500 < after_slow < before
    assert before < after_fast < 2000


@pytest.mark.parametrize("was, now", [(0.001, 0.004), (0.004, 0.001)])
def test_it_follows_a_device_that_changes(was: float, now: float) -> None:
    budget = learned(100_000, *[(200, 200 * was)] * 10, *[(200, 200 * now)] * 20)
    assert budget.tokens(streaming=False) == pytest.approx(PREFILL_ONLY / now, rel=0.01)


@pytest.mark.parametrize("streaming, target", [(True, STREAMING), (False, PREFILL_ONLY)])
def test_steps_come_to_last_as_long_as_wanted(streaming: bool, target: float) -> None:
    """Though a step has a fixed cost besides its tokens', and the budget does not know it."""
    budget = StepBudget(100_000)

    def seconds(tokens: int) -> float:
        return 0.05 + tokens * 0.0002

    for _ in range(60):
        tokens = budget.tokens(streaming)
        budget.observe(tokens, seconds(tokens))
    assert seconds(budget.tokens(streaming)) == pytest.approx(target, rel=0.05)


@quick
@given(steps, st.lists(st.tuples(st.integers(0, TINY), durations)))
def test_steps_with_few_prompt_tokens_teach_nothing(
    observed: list[tuple[int, float]], tiny: list[tuple[int, float]]
) -> None:
    assert both(learned(4096, *observed, *tiny)) == both(learned(4096, *observed))


def test_the_smallest_step_that_teaches() -> None:
    assert both(learned(4096, (TINY + 1, 10.0))) == (MIN_TOKENS, MIN_TOKENS)
    assert both(learned(4096, (TINY, 10.0))) == (FIRST, FIRST)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_a_clock_that_stood_still_or_went_back_teaches_nothing(seconds: float) -> None:
    budget = learned(4096, (1000, 1.0), (1000, seconds))
    assert both(budget) == both(learned(4096, (1000, 1.0)))
    assert both(learned(4096, (1000, seconds))) == (FIRST, FIRST)
