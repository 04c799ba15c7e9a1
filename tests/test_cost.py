"""What a step costs, from those seen: its rows' share of it."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nitro.engines.scheduling.speculation import MAX_BREAK_EVEN
from nitro.engines.scheduling.step_cost import DEFAULT_SHARE, StepCost


def learned(base: float, per_row: float, rows: list[int], noise: float = 0.0) -> StepCost:
    cost, luck = StepCost(), random.Random(1)
    for count in rows:
        cost.observe(count, base + per_row * count + noise * luck.random())
    return cost


@pytest.mark.parametrize(("base", "per_row"), [(4.5e-3, 4.7e-3), (8e-3, 5e-5), (1e-5, 3e-2), (1.0, 1.0)])
def test_it_finds_base_and_rows(base: float, per_row: float) -> None:
    cost = learned(base, per_row, [1, 2, 8, 4] * 20)
    for rows in (1, 4, 8, 64):
        right = per_row * rows / (base + per_row * rows)
        assert cost.break_even(rows) == pytest.approx(right, abs=abs(right - DEFAULT_SHARE) / 5)


def test_noise_blurs_it_a_little() -> None:
    assert learned(4.5e-3, 4.7e-3, [1, 2, 8, 4] * 50, noise=2e-3).break_even(1) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("rows", [[], [1], [8] * 100])
def test_without_different_steps_nothing_is_known(rows: list[int]) -> None:
    assert learned(1e-3, 1e-3, rows).break_even(4) == DEFAULT_SHARE


def test_it_follows_a_device_that_changes() -> None:
    cost = learned(1e-3, 1e-3, [1, 8] * 100)
    for _ in range(100):
        for rows in (1, 8):
            cost.observe(rows, 10e-3 + 1e-5 * rows)
    assert cost.break_even(8) == pytest.approx(8e-5 / 10.08e-3, abs=0.08)


def test_more_rows_that_take_less_time_cost_nothing() -> None:
    cost = StepCost()
    for _ in range(20):
        cost.observe(1, 10e-3)
        cost.observe(8, 5e-3)
    assert cost.break_even(100) < 0.1


def test_one_slow_step_does_not_end_all_guesses() -> None:
    cost = learned(1e-3, 0.0, [1] * 10)
    cost.observe(9, 100e-3)
    assert DEFAULT_SHARE < cost.break_even(1) <= cost.break_even(9) < MAX_BREAK_EVEN


@given(st.lists(st.tuples(st.integers(1, 2048), st.floats(0, 1e3)), max_size=30), st.integers(1, 4096))
def test_it_is_a_share_that_grows_with_the_rows(steps: list[tuple[int, float]], rows: int) -> None:
    cost = StepCost()
    for count, seconds in steps:
        cost.observe(count, seconds)
    assert 0 <= cost.break_even(rows) <= cost.break_even(rows + 1) <= 1
