"""What a prompt's tokens take by their position: learnt from simulated devices, and the steps that follow from it."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nitro.engines.scheduling.prompt_time import PromptTime
from nitro.engines.scheduling.step_budget import LONGEST, MIN_TOKENS, STREAMING, StepBudget

TILE, WELL = 64, 128
PROMPT = 4000


class Device:
    """A token at position p takes first + further · p seconds; every step up to `noise` of that longer, by chance."""

    def __init__(self, first: float, further: float, noise: float = 0.0):
        self.first, self.further, self._noise = first, further, noise
        self._chance = Random(1)

    def seconds(self, start: int, tokens: int) -> float:
        return tokens * (self.first + self.further * (start + tokens / 2)) * (1 + self._noise * self._chance.random())


def steps(budget: StepBudget, device: Device, prompt: int = PROMPT) -> list[tuple[int, int, float]]:
    """A prompt beside streams: start, tokens and seconds of each step."""
    taken, start = [], 0
    while start < prompt:
        tokens = min(budget.tokens(True, start), prompt - start)
        seconds = device.seconds(start, tokens)
        budget.observe_prompts([(start, start + tokens)], seconds)
        taken.append((start, tokens, seconds))
        start += tokens
    return taken


def learned(device: Device, *positions: int, tokens: int = TILE) -> PromptTime:
    time = PromptTime()
    for start in positions:
        time.observe(start + tokens / 2, device.seconds(start, tokens) / tokens)
    return time


def test_it_learns_the_line_from_one_prompt() -> None:
    device = Device(0.003, 3e-6)
    time = learned(device, *range(0, PROMPT, WELL))
    for start in (0, 1000, 3000, 4000, 5000):
        assert time.seconds(start, WELL) == pytest.approx(device.seconds(start, WELL), rel=0.12)


def test_prompts_at_one_position_tell_nothing_of_others() -> None:
    time = learned(Device(0.003, 3e-6), *[100] * 50)
    assert time.seconds(4000, 64) == time.seconds(100, 64)


def test_short_prompts_do_not_make_it_forget_how_long_ones_grow() -> None:
    device = Device(0.003, 3e-6, noise=0.1)
    chance = Random(2)
    short = [chance.randrange(200) for _ in range(200)]
    time = learned(device, *range(0, PROMPT, WELL), *short)
    assert time.seconds(PROMPT, WELL) == pytest.approx(device.seconds(PROMPT, WELL), rel=0.35)


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_it_follows_a_device_that_changes(factor: float) -> None:
    time = learned(Device(0.003, 3e-6), *range(0, PROMPT, WELL))
    changed = Device(0.003 * factor, 3e-6 * factor)
    for start in range(0, PROMPT, WELL):
        time.observe(start + WELL / 2, changed.seconds(start, WELL) / WELL)
        if start > 2000:
            assert time.seconds(start + WELL, WELL) == pytest.approx(changed.seconds(start + WELL, WELL), rel=0.25)
    for start in (0, 50, 100) * 5:
        time.observe(start + TILE / 2, changed.seconds(start, TILE) / TILE)
    assert time.seconds(0, TILE) == pytest.approx(changed.seconds(0, TILE), rel=0.1)


@settings(deadline=None, database=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e5), st.floats(1e-7, 10)), min_size=1, max_size=30),
    st.integers(0, 100_000),
    st.floats(1e-3, 10),
    st.integers(1, 10_000),
)
def test_what_is_within_a_time_takes_no_longer(
    observed: list[tuple[float, float]], start: int, seconds: float, most: int
) -> None:
    time = PromptTime()
    for position, token in observed:
        time.observe(position, token)
    tokens = time.tokens(start, seconds, most)
    assert 0 <= tokens <= most
    assert time.seconds(start, tokens) <= seconds * 1.001
    assert tokens == most or time.seconds(start, tokens + 1) > seconds * 0.999
    assert 0 < time.seconds(start, 1) <= time.seconds(start + 1000, 1) or not tokens


@pytest.mark.parametrize("slower", [0.3, 0.6, 1.0, 1.2])
def test_no_step_beside_streams_lasts_longer_than_anybody_should_wait(slower: float) -> None:
    device = Device(0.0035 * slower, 2.5e-6 * slower, noise=0.1)
    budget = StepBudget(2048, TILE, WELL)
    for _ in range(3):
        taken = steps(budget, device)
        assert max(seconds for _, _, seconds in taken[1:]) <= 1.1 * LONGEST
        sizes = {tokens for _, tokens, _ in taken[1:-1]}
        assert all(tokens % TILE == 0 for tokens in sizes)


def test_steps_use_the_time_that_there_is() -> None:
    """Else attention would be cut into more pieces than it must be."""
    device = Device(0.0035, 2.5e-6)
    budget = StepBudget(2048, TILE, WELL)
    steps(budget, device)
    for start, tokens, _ in steps(budget, device)[1:-1]:
        if tokens == TILE and device.seconds(start, TILE) > STREAMING:
            assert device.seconds(start, WELL) > 0.9 * LONGEST


def test_a_long_prompt_at_its_beginning_has_large_steps_though_another_has_just_ended() -> None:
    device = Device(0.0005, 2.5e-6)
    budget = StepBudget(2048, TILE, WELL)
    first, second = steps(budget, device), steps(budget, device)
    assert STREAMING / 2 < device.seconds(0, second[0][1]) < STREAMING
    assert second[0][1] > first[-2][1]


class CutDevice(Device):
    """One whose attention takes so many times as long for a row that fills no tile."""

    def __init__(self, first: float, further: float, dearer: float):
        super().__init__(first, further)
        self._loose = Device(first, further * dearer)

    def seconds(self, start: int, tokens: int) -> float:
        whole = tokens // TILE * TILE
        return super().seconds(start, whole) + self._loose.seconds(start + whole, tokens - whole)


def loose_steps(budget: StepBudget, device: Device, start: int, prompt: int) -> list[tuple[int, float]]:
    """The same as `steps`, but the budget knows what is wanted: tokens and seconds."""
    taken = []
    while start < prompt:
        tokens = min(budget.tokens(True, start, prompt - start), prompt - start)
        seconds = device.seconds(start, tokens)
        budget.observe_prompts([(start, start + tokens)], seconds)
        taken.append((tokens, seconds))
        start += tokens
    return taken


def test_what_fills_no_tile_is_computed_in_small_steps_where_it_takes_long() -> None:
    device, budget = CutDevice(0.0035, 2e-6, 10), StepBudget(2048, TILE, WELL)
    loose_steps(budget, device, 0, 50)
    for rest in (22, 63, 100):
        taken = loose_steps(budget, device, 0, 3840 + rest)
        assert max(seconds for _, seconds in taken) <= 1.3 * LONGEST, "eight rows take as long"
        assert sum(tokens for tokens, _ in taken) == 3840 + rest
        tiles = [tokens for tokens, _ in taken if tokens >= TILE]
        assert all(tokens % TILE == 0 for tokens in tiles) and sum(tiles) == (3840 + rest) // TILE * TILE


def test_what_fills_no_tile_goes_along_where_that_takes_no_time() -> None:
    device, budget = CutDevice(0.0005, 2e-8, 1), StepBudget(2048, TILE, WELL)
    loose_steps(budget, device, 0, 3840 + 22)
    assert loose_steps(budget, device, 0, 150) == [(150, device.seconds(0, 150))]


@pytest.mark.parametrize("loose, tokens", [(15.0, TILE), (0.1, MIN_TOKENS)])
def test_less_than_a_tile_is_taken_only_where_it_takes_less(loose: float, tokens: int) -> None:
    budget = StepBudget(2048, TILE, WELL)
    budget.observe(TILE, 1.6 * LONGEST)
    budget.observe(32, 1.6 * LONGEST * loose)
    assert budget.tokens(True) == tokens


def test_where_even_the_least_takes_too_long_it_is_taken() -> None:
    assert {tokens for _, tokens, _ in steps(StepBudget(2048, TILE, WELL), Device(1.0, 0.0), 512)[1:]} == {MIN_TOKENS}
