"""What a step costs, from those seen, by its rows."""

import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro.engines.scheduling.step_cost import DEFAULT_SHARE, FIRM, MEMORY, PROMPT_SHARE, StepCost


def learned(seconds: Callable[[int], float], rows: Iterable[int], noise: float = 0.0) -> StepCost:
    """Of one sequence, whose other rows are drafts. `noise`: the part by which a step takes longer at most."""
    cost, luck = StepCost(), random.Random(1)
    for count in rows:
        cost.observe(count, seconds(count) * (1 + noise * luck.random()), drafted=count > 1)
    return cost


def tiles(rows: int) -> float:
    return 5e-3 + 8e-3 * -(-rows // 4)


@pytest.mark.parametrize("seconds", [lambda rows: 4.5e-3 + 4.7e-3 * rows, lambda rows: 8e-3 + 5e-5 * rows, tiles])
def test_what_was_seen_is_known(seconds: Callable[[int], float]) -> None:
    cost = learned(seconds, [1, 2, 4, 5, 8] * 20)
    curve = cost.curve(1, 7)
    for rows in (1, 2, 4, 5, 8):
        assert curve[rows - 1] == pytest.approx(seconds(rows), rel=0.01)


def test_between_two_counts_it_is_a_line() -> None:
    cost = learned(lambda rows: 1.0 * rows, [1, 5] * 20)
    assert cost.curve(1, 4) == pytest.approx([1, 2, 3, 4, 5])


def test_beyond_the_last_count_it_goes_on_rising() -> None:
    flat, steep = learned(lambda rows: 1.0, [1, 2] * 20).curve(1, 3), learned(float, [1, 2] * 20).curve(1, 3)
    assert flat[1] < flat[2] < flat[3] < steep[3] <= 4


@pytest.mark.parametrize("rows", [[], [1], [1] * 100])
def test_while_nothing_is_known_a_row_costs_most_of_an_average_one(rows: list[int]) -> None:
    curve = learned(lambda rows: 3e-3, rows).curve(1, 2)
    assert curve[1] / curve[0] == pytest.approx(1 + DEFAULT_SHARE)
    assert curve[2] / curve[0] == pytest.approx(1 + 2 * DEFAULT_SHARE)


def test_fewer_or_more_sequences_than_were_seen() -> None:
    cost = StepCost()
    for rows in (2, 8) * 10:
        cost.observe(rows, 1.0 * rows)
    assert cost.curve(5, 0) == pytest.approx([5.0])
    assert 0 < cost.curve(1, 0)[0] < 2 and 8 < cost.curve(16, 0)[0] < 16


def test_noise_blurs_it_a_little() -> None:
    curve = learned(float, [1, 2, 8, 4] * 50, noise=0.3).curve(1, 3)
    assert curve[1] / curve[0] == pytest.approx(2, rel=0.15) and curve[3] / curve[0] == pytest.approx(4, rel=0.15)


def test_what_changes_for_all_counts_needs_no_new_measurement_of_each() -> None:
    cost = learned(float, [1, 4] * 50)
    for _ in range(100):
        cost.observe(1, 3.0)
    curve = cost.curve(1, 3)
    assert curve[0] == pytest.approx(3.0, rel=0.05) and curve[3] / curve[0] == pytest.approx(4, rel=0.15)


def test_it_follows_a_device_that_changes() -> None:
    cost = learned(float, [1, 8] * 100)
    for _ in range(200):
        for rows in (1, 8):
            cost.observe(rows, 10.0, drafted=rows > 1)
    curve = cost.curve(1, 7)
    assert curve[7] == pytest.approx(curve[0], rel=0.1)


def test_one_slow_step_is_soon_made_up_for() -> None:
    cost = learned(float, [1, 2] * 20)
    cost.observe(2, 500.0, drafted=True)
    assert cost.curve(1, 1)[1] < 3 * cost.curve(1, 1)[0]
    for _ in range(10):
        cost.observe(1, 1.0)
        cost.observe(2, 2.0, drafted=True)
    assert cost.curve(1, 1)[1] == pytest.approx(2, rel=0.15)


def test_steps_with_and_without_drafts_are_kept_apart() -> None:
    cost = StepCost()
    for _ in range(20):
        cost.observe(1, 1.0)
        cost.observe(2, 1.1)
        cost.observe(2, 1.9, drafted=True)
    assert cost.curve(1, 1) == pytest.approx([1.0, 1.9], rel=0.05)
    assert cost.curve(2, 0) == pytest.approx([1.1], rel=0.05)


def test_prompts_tell_what_many_rows_cost_at_most() -> None:
    """Before a step with drafts was measured, and never more than without prompts."""
    dear, unknown = learned(float, [1] * 20), learned(float, [1] * 20)
    cheap = learned(float, [1] * 20)
    for _ in range(3):
        dear.observe_prompt(64, 64.0)
        cheap.observe_prompt(64, 6.4)
    assert dear.curve(1, 16) == unknown.curve(1, 16)
    assert cheap.curve(1, 16)[16] == pytest.approx(1 + 16 * 0.1 * PROMPT_SHARE)
    for _ in range(20):
        cheap.observe(5, 4.0, drafted=True)
    assert cheap.curve(1, 4)[4] == pytest.approx(4.0, rel=0.05), "what was seen counts"


def test_prompts_alone_tell_nothing_of_a_step() -> None:
    cost = StepCost()
    cost.observe_prompt(64, 6.4)
    assert not cost.is_measured and cost.curve(1, 2) == StepCost().curve(1, 2)


def test_what_was_seen_often_enough_is_firm_and_is_forgotten_in_time() -> None:
    cost = learned(float, [1, *[2] * FIRM])
    assert cost.is_firm(2) and not cost.is_firm(1) and not cost.is_firm(3)
    for _ in range(8 * MEMORY):
        cost.observe(1, 1.0)
    assert not cost.is_firm(2)


@given(
    st.lists(st.tuples(st.integers(1, 128), st.floats(0, 1e3), st.booleans()), max_size=30),
    st.integers(1, 130),
    st.integers(0, 48),
)
def test_it_is_always_some_time(steps: list[tuple[int, float, bool]], rows: int, more: int) -> None:
    cost = StepCost()
    for count, seconds, drafted in steps:
        cost.observe(count, seconds, drafted)
    curve = cost.curve(rows, more)
    assert len(curve) == more + 1 and all(0 < seconds < float("inf") for seconds in curve)
