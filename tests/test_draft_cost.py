"""A draft never costs: whatever rows cost and however often guesses are right, all streams together get as many tokens
a second as without, and none gets its own much later. Simulated: see draft_simulation.py."""

from functools import cache
from math import ceil

import pytest
from draft_simulation import Curve, Luck, Streams, simulate

from nitro.engines.scheduling.draft_plan import Chain, best_plan, likeliest

STEPS = 300  # without drafts
LEAST = 0.98  # of the tokens a second of all without drafts
MOST_LATER = 1.1  # times as long for a token: any stream

CURVES: dict[str, Curve] = {
    "a CPU that computes": lambda rows: 0.15 + rows,
    "a CPU that reads as long as it computes": lambda rows: 1.0 + rows,
    "half and half": lambda rows: 1.0 + 0.25 * rows,
    "a GPU": lambda rows: 1.0 + 0.004 * rows,
    "kernels with tiles of 4": lambda rows: 1.0 + 1.2 * ceil(rows / 4) + 0.05 * rows,
    "kernels with tiles of 8": lambda rows: 1.0 + 3.0 * ceil(rows / 8) + 0.02 * rows,
}
LUCKS: dict[str, list[Luck]] = {
    **{f"{chance} are right": [lambda at, chance=chance: chance] for chance in (0.0, 0.3, 0.6, 0.8, 0.95, 1.0)},
    "by turns": [lambda at: 0.95 if at % 120 < 40 else 0.05],
    "it ends": [lambda at: 0.95 if at < 150 else 0.0],
    "it begins": [lambda at: 0.95 if at >= 150 else 0.0],
    "one of four": [lambda at: 0.95, *[lambda at: 0.05] * 3],
    "one of two": [lambda at: 0.95, lambda at: 0.4],
}


def duration(streams: int, curve: Curve, noise: float) -> float:
    """Seconds."""
    return STEPS * curve(streams) * (1 + noise)


@cache
def without_drafts(streams: int, curve: Curve, noise: float) -> Streams:
    """Luck has no part in it."""
    luck: list[Luck] = [lambda at: 0.0]
    return simulate(streams, luck, curve, duration(streams, curve, noise), noise=noise, drafts=False)


def compared(
    streams: int, luck: list[Luck], curve: Curve, noise: float = 0.0, passes: Curve | None = None
) -> tuple[float, float, Streams]:
    """Tokens a second of all, and the time per token of the stream that has to wait most, both beside those without
    drafts; and what became of the drafts."""
    drafting = simulate(streams, luck, curve, duration(streams, curve, noise), noise=noise, pass_curve=passes)
    plain = without_drafts(streams, curve, noise)
    assert plain.drafted == 0
    rates = sum(drafting.tokens) / drafting.seconds, sum(plain.tokens) / plain.seconds
    waits = [
        (drafting.seconds / own) / (plain.seconds / other)
        for own, other in zip(drafting.tokens, plain.tokens, strict=True)
    ]
    return rates[0] / rates[1], max(waits), drafting


@pytest.mark.parametrize("streams", [1, 4, 8])
@pytest.mark.parametrize("curve", CURVES)
def test_no_look_up_costs(curve: str, streams: int) -> None:
    for name, luck in LUCKS.items():
        faster, later, _ = compared(streams, luck, CURVES[curve])
        assert faster >= LEAST and later <= MOST_LATER, name


@pytest.mark.parametrize("curve", CURVES)
def test_no_look_up_costs_many_streams(curve: str) -> None:
    for name in ("0.8 are right", "by turns", "one of two"):
        faster, later, _ = compared(32, LUCKS[name], CURVES[curve])
        assert faster >= LEAST and later <= MOST_LATER, name


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("share", [0.05, 0.5])
@pytest.mark.parametrize("curve", ["a CPU that reads as long as it computes", "a GPU", "kernels with tiles of 4"])
def test_no_draft_model_costs(curve: str, share: float, streams: int) -> None:
    """`share`: of a step's time, what a pass of it takes."""
    for name, luck in LUCKS.items():
        faster, later, _ = compared(streams, luck, CURVES[curve], passes=lambda rows: share * CURVES[curve](rows))
        assert faster >= LEAST and later <= MOST_LATER, name


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_draft_model_that_is_no_longer_sure_does_not_cost(share: float, streams: int) -> None:
    """A guess that it does not give took a pass too."""
    seconds = 2000 * CURVES["a GPU"](streams)
    luck = [lambda at: 0.9]
    drafting, plain = (
        simulate(streams, luck, CURVES["a GPU"], seconds, drafts=drafts, pass_curve=lambda _: share, sure_until=(150,))
        for drafts in (True, False)
    )
    assert sum(drafting.tokens) >= LEAST * sum(plain.tokens)


def test_a_stream_of_which_the_draft_model_is_never_sure_does_not_wait() -> None:
    """While it is of another, so that guesses are known to be good."""
    curve, luck = CURVES["a GPU"], [lambda at: 0.9]
    sure: tuple[int, ...] = (10_000, 0)
    drafting, plain = (
        simulate(2, luck, curve, 2000.0, drafts=drafts, pass_curve=lambda rows: 0.05 * rows, sure_until=sure)
        for drafts in (True, False)
    )
    assert drafting.tokens[0] > 1.5 * plain.tokens[0]
    assert MOST_LATER * drafting.tokens[1] >= plain.tokens[1]


@pytest.mark.parametrize("curve", ["half and half", "a GPU", "kernels with tiles of 8"])
def test_on_a_noisy_machine(curve: str) -> None:
    """A step takes a fifth longer than it should, in the mean. What a step costs is known less well, so somebody may
    wait longer than where it is quiet."""
    for name, luck in LUCKS.items():
        faster, later, _ = compared(4, luck, CURVES[curve], noise=0.2)
        assert faster >= LEAST - 0.02 and later <= MOST_LATER + 0.05, name


@pytest.mark.parametrize(
    ("curve", "streams", "chance", "at_least"),
    [
        ("a GPU", 1, 0.6, 1.8),
        ("a GPU", 8, 0.8, 2.5),
        ("a GPU", 32, 0.95, 1.4),
        ("a CPU that reads as long as it computes", 1, 0.8, 1.1),
        ("a CPU that reads as long as it computes", 4, 1.0, 1.15),
        ("kernels with tiles of 4", 1, 0.8, 2.0),
        ("kernels with tiles of 8", 4, 0.8, 1.35),
    ],
)
def test_where_drafts_pay_they_are_checked(curve: str, streams: int, chance: float, at_least: float) -> None:
    faster, later, _ = compared(streams, [lambda at: chance], CURVES[curve])
    assert faster >= at_least and later <= 1


def test_a_draft_model_pays_where_rows_are_nearly_free() -> None:
    faster, _, _ = compared(1, [lambda at: 0.8], CURVES["a GPU"], passes=lambda rows: 0.1)
    assert faster >= 1.7


@pytest.mark.parametrize(("streams", "at_least"), [(1, 1.3), (4, 1.05)])
def test_a_draft_model_that_was_wrong_is_tried_again(streams: int, at_least: float) -> None:
    """However often it was wrong: only what it is asked tells whether it is right by now."""
    faster, _, _ = compared(streams, LUCKS["it begins"], CURVES["a GPU"], passes=lambda rows: 0.05)
    assert faster >= at_least


def test_guesses_that_are_right_by_turns_are_checked_when_they_are() -> None:
    faster, _, drafting = compared(1, LUCKS["by turns"], CURVES["half and half"])
    assert faster >= 1.15 and drafting.accepted / drafting.drafted > 0.5


def test_a_tile_is_filled() -> None:
    """A second row costs as much as a third and a fourth."""
    plan = best_plan(1, [Chain([0.5, 0.4, 0.3, 0.2, 0.1])], [1.0, 1.5, 1.5, 1.5, 2.5, 2.5], [])
    assert plan.lengths == [3]


def test_the_likeliest_guesses_come_first_whosever_they_are() -> None:
    chains = [Chain([0.5, 0.3]), Chain([0.9, 0.8, 0.4])]
    assert likeliest(2, chains, 3).lengths == [1, 2]
    assert best_plan(2, chains, [1.0, 1.02, 1.04, 1.9, 2.9, 3.9], []).lengths == [0, 2]


def test_nobody_waits_for_the_guesses_of_another() -> None:
    """All together would get more, but one would get its tokens later."""
    step = [1.0, 1.1, 1.2, 1.3]
    assert best_plan(2, [Chain([1.0, 1.0, 1.0])], step, []).lengths == [0]
    assert best_plan(1, [Chain([1.0, 1.0, 1.0])], step, []).lengths == [3]
    assert best_plan(2, [Chain([1.0, 1.0]), Chain([0.9])], step, []).lengths == [2, 1]


def test_no_prompt_waits_for_guesses() -> None:
    chain = [Chain([1.0, 1.0, 1.0])]
    assert best_plan(1, chain, [1.0, 1.05, 1.3, 1.4], [], others_wait=True).lengths == [1]
    assert best_plan(1, chain, [1.0, 1.05, 1.3, 1.4], []).lengths == [3]


def test_a_pass_of_the_draft_model_is_part_of_the_cost() -> None:
    chain = [Chain([0.9, 0.8, 0.7], modelled=True)]
    step = [1.0, 1.0, 1.0, 1.0]
    assert best_plan(1, chain, step, [0.0, 0.1]).lengths == [3]
    assert best_plan(1, [Chain([0.9, 0.6, 0.3], modelled=True)], step, [0.0, 0.5]).lengths == [1]
    assert best_plan(1, chain, step, [0.0, 1.0]).lengths == [0]


def test_a_pass_of_the_draft_model_is_shared() -> None:
    """It pays for two sequences where it would not for one."""
    chains = [Chain([0.6], modelled=True), Chain([0.6], modelled=True)]
    assert best_plan(1, chains[:1], [1.0, 1.0], [0.0, 0.7]).lengths == [0]
    assert best_plan(2, chains, [1.0, 1.0, 1.0], [0.0, 0.5, 0.55]).lengths != [0, 0]
