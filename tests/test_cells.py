"""llama.cpp's cells: what runs is moved together, and neither answers nor shared prefixes suffer."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from driving import Driver
from llama_scorer import LlamaScorer
from same_answer import assert_same_answer, tolerance

from nitro.engines.backends.llama import kv_cells

WORDS = [f"The traveller {number} told of rivers, bridges and a town by the sea." for number in range(4)]


@pytest.fixture
def scorer(smollm: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LlamaScorer]:
    monkeypatch.setattr(kv_cells, "MIN_CHANGED", 8)  # so that much is moved
    scorer = LlamaScorer(smollm, parallel=4, banned=[0, 2])
    yield scorer
    scorer.close()


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The slots, as they are moved."""
    slots: list[int] = []
    restore = kv_cells.restore

    def noted(context: object, slot: int, state: object) -> bool:
        slots.append(slot)
        return restore(context, slot, state)

    monkeypatch.setattr(kv_cells, "restore", noted)
    return slots


def test_answers_stay_the_same_while_cells_are_moved(scorer: LlamaScorer, moved: list[int]) -> None:
    prompts = [scorer.tokenizer.encode(text) for text in WORDS]
    driver = Driver(scorer, budget=300)
    for id, prompt in enumerate(prompts):
        driver.add(id, prompt, 40)
    answers = driver.run()
    assert len(set(moved)) == 4 and len(moved) >= 8
    explained = tolerance(scorer, [token for id, prompt in enumerate(prompts) for token in prompt + answers[id]])
    for id, prompt in enumerate(prompts):
        assert_same_answer(scorer, prompt, answers[id], explained)


def test_what_is_shared_stays_where_it_is(scorer: LlamaScorer, moved: list[int]) -> None:
    """The long common prefix of all lies in the pool once."""
    prompts = [scorer.tokenizer.encode(" ".join(WORDS) * 3 + text) for text in WORDS]
    driver = Driver(scorer, budget=300)
    for id, prompt in enumerate(prompts):
        driver.add(id, prompt, 12)
    driver.run()
    assert len(set(moved)) <= 1


@pytest.mark.parametrize("more", [0, 1])
def test_a_slot_that_shares_at_most_a_fourth_is_moved(scorer: LlamaScorer, moved: list[int], more: int) -> None:
    driver = Driver(scorer, budget=300)
    for id in (1, 2):
        driver.add(id, scorer.tokenizer.encode(WORDS[id]), 8)
    driver.run()
    sizes = {slot: held for slot in range(scorer.info.slots) if (held := kv_cells.held(scorer._context.pointer, slot))}
    (first, second), cells = sizes, kv_cells.Cells(10_000)
    cells.computed(1000)
    cells.copied(first, scorer.info.slots - 1, sizes[first] // kv_cells.ONE_IN_SHARED + more)
    moved.clear()
    cells.gather(scorer._context.pointer, [first])
    assert moved == [], "one that runs alone"
    cells.gather(scorer._context.pointer, [first, second])
    assert moved == ([second] if more else [first, second])
    assert sizes == {slot: kv_cells.held(scorer._context.pointer, slot) for slot in sizes}
