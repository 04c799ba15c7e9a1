"""Whose adapters a step has, where it can have one set only: everybody's in turn, each as long as the switch pays."""

from itertools import pairwise

import pytest
from driving import Driver

from nitro.engines.adapters import AdapterSet, adapter_set
from nitro.engines.backends.fake import FakeRunner
from nitro.engines.runner import Chunk
from nitro.engines.scheduling.adapter_turns import FIRM, FIRST_STEPS, LONGEST_TURN, AdapterTurns
from nitro.engines.scheduling.sequence import Sequence
from nitro.engines.types import EngineSpec, SamplingParams

A, B, C = ((0, 1.0),), ((1, 1.0),), ((2, 1.0),)
SAMPLING = SamplingParams()


def running(*sets: AdapterSet) -> list[Sequence]:
    return [Sequence(id, [1, 2], 9, SAMPLING, adapters=adapters) for id, adapters in enumerate(sets)]


def steps(turns: AdapterTurns, sequences: list[Sequence], count: int, seconds: float, price: float) -> list[AdapterSet]:
    """Whose turn it was in so many steps, each of which takes so long, and after a switch by the price longer."""
    chosen = []
    for _ in range(count):
        before = turns.current
        batch = turns.next(sequences)
        assert batch and {each.adapters for each in batch} == {turns.current}
        chunks = [Chunk(each.id, each.id, each.tokens, 1, 2, SAMPLING, adapters=each.adapters) for each in batch]
        turns.observe(chunks, seconds + price * (turns.current != before))
        chosen.append(turns.current)
    return chosen


def lengths(chosen: list[AdapterSet]) -> list[int]:
    """Steps of each turn."""
    ends = [i for i in range(1, len(chosen)) if chosen[i] != chosen[i - 1]]
    return [stop - start for start, stop in zip([0, *ends], [*ends, len(chosen)], strict=True)]


def test_a_set_is_sorted_and_has_no_zeros() -> None:
    assert adapter_set([(3, 0.5), (1, 1.0), (2, 0.0)]) == ((1, 1.0), (3, 0.5))


def test_without_adapters_all_run() -> None:
    sequences = running((), (), ())
    assert AdapterTurns(True).next(sequences) is sequences
    assert AdapterTurns(False).next(everybody := running((), A, B)) is everybody


def test_sets_take_turns_and_the_model_alone_is_one() -> None:
    chosen = steps(AdapterTurns(True), running((), A, B, A), 60, seconds=0.01, price=0.0)
    turns = [chosen[0], *(after for before, after in pairwise(chosen) if after != before)]
    assert all(set(turns[i : i + 3]) == {(), A, B} for i in range(len(turns) - 3))


def test_the_price_makes_turns_longer_and_no_longer_than_anybody_waits() -> None:
    """A dear switch is made seldom, as far as those who wait allow; a cheap one after each step."""
    sequences = running(A, A, B)
    dear, cheap, slow = AdapterTurns(True), AdapterTurns(True), AdapterTurns(True)
    first = lengths(steps(dear, sequences, 100, seconds=0.01, price=0.004))
    assert first[:2] == [FIRST_STEPS, FIRST_STEPS]
    assert dear.price == pytest.approx(0.004)
    assert set(first[FIRM + 2 : -1]) == {5}  # 0.004 · (1 / 0.08 − 1) / 0.01
    assert set(lengths(steps(cheap, sequences, 100, seconds=0.01, price=0.0))[FIRM + 2 : -1]) == {1}
    seconds = 0.04
    assert max(lengths(steps(slow, sequences, 100, seconds=seconds, price=0.04))) * seconds < LONGEST_TURN + 3 * seconds


def test_new_sets_keep_nobody_waiting() -> None:
    """Every step brings a set that nobody has had: those that wait come all the same."""
    turns = AdapterTurns(True)
    waited = 0
    for number in range(300):
        sequences = running(A, B, ((number, 0.5),))
        waited = 0 if steps(turns, sequences, 1, seconds=0.01, price=0.001) == [B] else waited + 1
        assert waited <= 6 * FIRST_STEPS


def test_prompts_and_decodes_of_each_set_take_turns() -> None:
    """Long prompts of one set, decodes of both: none waits for ever, and each answer is right."""
    runner = FakeRunner(EngineSpec("fake", "", context=400, parallel=6))
    runner._shifts = {0: 0, 1: 0}
    driver = Driver(runner, budget=16)
    for id, (length, adapters) in enumerate([(5, A), (200, A), (5, B), (200, B), (200, ()), (5, ())], 1):
        driver.add(id, [65] * length, 20, adapters=adapters)
    answers = driver.run()
    assert all(answer == list(range(66, 86)) for answer in answers.values())


def test_a_prefix_is_shared_within_a_set_alone() -> None:
    """The same prompt under two sets is computed twice, and once for all of one; FakeRunner refuses other KV."""
    runner = FakeRunner(EngineSpec("fake", "", context=400, parallel=4))
    runner._shifts = {0: 1, 1: 2}
    driver = Driver(runner)
    prompt = [65] * 100
    for id, adapters in enumerate([A, A, B, ()], 1):
        driver.add(id, prompt, 4, adapters=adapters)
    cached: dict[int, int] = {}
    while driver.scheduler.busy:
        driver.step()
        cached |= {sequence.id: tokens for sequence, tokens in driver.scheduler.admitted}
    assert cached == {1: 0, 2: 99, 3: 0, 4: 0}
    assert driver.answers == {1: [67, 69, 71, 73], 2: [67, 69, 71, 73], 3: [68, 71, 74, 77], 4: [66, 67, 68, 69]}
    for id, adapters in enumerate([B, A, (), ((0, 0.5),)], 5):
        driver.add(id, prompt, 1, adapters=adapters)
        driver.step()
        assert driver.scheduler.admitted[0][1] == (99 if id < 8 else 0), "an idle slot of its own set, or none"
        driver.run()
