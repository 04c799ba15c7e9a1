"""Guessed tokens: where they come from, that a sequence guesses less when it is wrong, and that no answer changes."""

from pathlib import Path

import httpx
import pytest
from driving import Driver, prepared
from llama_scorer import LlamaScorer
from msgspec.structs import replace
from running import RunningServer
from same_answer import assert_same_answer, tolerance

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.scheduling.speculation import FIRST_DRAFT, MAX_BREAK_EVEN, MAX_DRAFT, MIN_DRAFT, Drafter
from nitro.engines.types import EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import encode_work

BREAK_EVEN = 0.6  # the share that must come true
TEXT = list(range(100, 180))


def test_a_prediction_is_guessed_from_its_beginning() -> None:
    assert Drafter(TEXT).draft([1, 2, 3], 0, MAX_DRAFT, BREAK_EVEN) == TEXT[:FIRST_DRAFT]
    assert Drafter(TEXT).draft([1, 2, 3], 0, 5, BREAK_EVEN) == TEXT[:5]


def test_a_prediction_goes_on_where_the_answer_is() -> None:
    drafter = Drafter(TEXT)
    assert drafter.draft([1, 2, 3, *TEXT[:2]], 2, 4, BREAK_EVEN) == TEXT[2:6]
    drafter.settle(4, 4)
    assert drafter.draft([1, 2, 3, *TEXT[:7]], 7, 4, BREAK_EVEN) == TEXT[7:11]


@pytest.mark.parametrize(
    ("instead", "goes_on"), [([7], 5), ([7, 8, 9], 5), ([], 7), ([7], 12), ([*range(300, 390)], 5)]
)
def test_a_prediction_that_was_left_is_met_again(instead: list[int], goes_on: int) -> None:
    """Another word for one, a longer one, one left out, or several; or much that was put in."""
    drafter, said = Drafter(TEXT), [1, 2, 3, *TEXT[:4]]
    assert drafter.draft(said, 4, 4, BREAK_EVEN) == TEXT[4:8]
    drafter.settle(4, 0)
    said += instead
    assert drafter.draft(said, len(said) - 3, 4, BREAK_EVEN) == []
    said += TEXT[goes_on : goes_on + 2]
    assert drafter.draft(said, len(said) - 3, 4, BREAK_EVEN) == TEXT[goes_on + 2 : goes_on + 6]


def followed(drafter: Drafter, answer: list[int]) -> int:
    """How many tokens of an answer come by guesses."""
    said, came = [1, 2, 3], 0
    while (generated := len(said) - 3) < len(answer):
        guess = drafter.draft(said, generated, len(answer) - generated - 1, BREAK_EVEN)
        right = next((i for i, token in enumerate(guess) if token != answer[generated + i]), len(guess))
        said += answer[generated : generated + right + 1]
        came += right
        if guess:
            drafter.settle(len(guess), right)
    return came


@pytest.mark.parametrize("before", [[], [7] * 200, [*TEXT[:2], *[7] * 50], [*[7] * 50, *TEXT[:2], *[7] * 50]])
def test_a_prediction_is_met_behind_reasoning(before: list[int]) -> None:
    assert followed(Drafter(TEXT), before + TEXT) > 0.8 * len(TEXT)


def test_where_a_prediction_is_of_no_use_what_was_said_before_is_guessed() -> None:
    again = [*range(300, 320)] * 5
    drafter = Drafter(TEXT)
    assert followed(drafter, again) > len(again) / 2 and not drafter.predicted
    assert followed(Drafter(TEXT), again + TEXT + again) > (len(again) + len(TEXT)) / 2


def test_a_prediction_that_is_over_guesses_nothing() -> None:
    assert Drafter(TEXT[:2]).draft([5, *TEXT[:2]], 2, 9, BREAK_EVEN) == []
    assert Drafter(TEXT[:2]).draft([5, 6, 7, 8, 9], 4, 9, BREAK_EVEN) == []


def test_without_a_prediction_what_was_said_before_is_guessed() -> None:
    drafter = Drafter()
    assert drafter.draft([1, 2, 3, 4, 5, 6, 9, 2, 3, 4], 1, 3, BREAK_EVEN) == [5, 6, 9]
    assert drafter.draft([1, 2, 3, 4, 5, 6, 9, 2, 3, 4, 5], 2, 2, BREAK_EVEN) == [6, 9]


def test_the_last_place_counts_and_never_the_end_itself() -> None:
    tokens = [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3]
    assert Drafter().draft(tokens, 1, 2, BREAK_EVEN) == [5, 9]
    assert Drafter().draft([1, 2, 3], 1, 4, BREAK_EVEN) == []
    assert Drafter().draft([7, 7, 7, 7], 1, 4, BREAK_EVEN) == [7]


def test_short_ones_guess_nothing() -> None:
    assert Drafter().draft([], 0, 4, BREAK_EVEN) == Drafter().draft([1], 1, 4, BREAK_EVEN) == []


def test_guesses_grow_while_they_are_right_and_shrink_to_what_was() -> None:
    drafter, tokens = Drafter(), TEXT + TEXT[:3]
    lengths = []
    for right in (4, 6, 9, 12, 9, 1):
        guessed = drafter.draft(tokens, 3, 99, BREAK_EVEN)
        lengths.append(len(guessed))
        drafter.settle(len(guessed), right)
    assert lengths == [4, 6, 9, 12, 12, 9]


def test_wrong_look_ups_pause_longer_each_time() -> None:
    drafter, tokens = Drafter(), TEXT + TEXT[:3]
    pauses = []
    for _ in range(4):
        pause = 0
        while not (guessed := drafter.draft(tokens, 3, 99, BREAK_EVEN)):
            pause += 1
        pauses.append(pause)
        assert len(guessed) == MIN_DRAFT
        drafter.settle(len(guessed), 1)
    assert pauses == [0, 1, 2, 4]


@pytest.mark.parametrize("predicted", [TEXT, []])
def test_what_must_come_true_depends_on_the_step(predicted: list[int]) -> None:
    """Two of eight were right."""
    pauses, before = {}, [1, 2, 3] if predicted else TEXT
    for pays in (0.2, 0.25, 0.26, 0.9):
        drafter = Drafter(predicted)
        assert drafter.draft([*before, *TEXT[:3]], 3, 8, pays)
        drafter.settle(8, 2)
        again = [drafter.draft([*before, *TEXT[:5]], 5, 8, pays) for _ in range(2)]
        pauses[pays] = again.index(TEXT[5 : 5 + len(again[1])])
    assert pauses == {0.2: 0, 0.25: 0, 0.26: 1, 0.9: 1}


def test_where_only_certainty_pays_nothing_is_guessed_nor_learnt() -> None:
    drafter = Drafter(TEXT)
    assert drafter.draft([1], 0, 8, (1 + MAX_BREAK_EVEN) / 2) == []
    assert drafter.draft([1], 0, 8, MAX_BREAK_EVEN) == TEXT[:8]


def test_a_prediction_ends_before_what_is_no_token_of_the_model() -> None:
    runner = FakeRunner(EngineSpec("fake", "", context=100, parallel=1))
    runner.info = replace(runner.info, vocabulary=120)
    work = encode_work(["a"], GenerationParams(SamplingParams(), 9, prediction="abcéabc"))
    (sequence,) = prepared(runner, work).sequences
    assert sequence.drafter.draft(sequence.tokens, 0, MAX_DRAFT, BREAK_EVEN) == [*b"abc"]


def test_a_prediction_that_a_constraint_has_no_use_for_is_told(smollm_server: RunningServer) -> None:
    body = {"messages": [{"role": "user", "content": "Yes?"}], "max_tokens": 4}
    body |= {"prediction": {"type": "content", "content": "yes"}}
    for more, ignored in (({}, None), ({"choice": ["yes"]}, "prediction")):
        reply = httpx.post(f"{smollm_server.url}/v1/chat/completions", json=body | more)
        assert (reply.status_code, reply.headers.get("x-nitro-ignored")) == (200, ignored)


TOLD = (
    "Tell me a story about a fox who wanted to swim across the wide river, and about the ferryman who watched it.",
    "Explain why the sky is blue during the day and dark at night, in words that a child understands.",
    "Describe a walk through an old forest in the autumn.",
)


def test_no_answer_is_changed_by_a_draft(smollm: Path) -> None:
    """Three rows in one batch: one predicted rightly, one in part, one not at all."""
    scorer = LlamaScorer(smollm, parallel=3, banned=[0, 2])
    texts = [f"<|im_start|>user\n{said}<|im_end|>\n<|im_start|>assistant\n" for said in TOLD]
    prompts = [scorer.tokenizer.encode(text) for text in texts]
    plain = Driver(scorer, budget=300)
    for id, prompt in enumerate(prompts):
        plain.add(id, prompt, 60)
    answers = plain.run()
    partly = [token if i % 20 else 77 for i, token in enumerate(answers[1])]
    drafting = Driver(scorer, budget=300)
    for id, (prompt, predicted) in enumerate(zip(prompts, (answers[0], partly, ()), strict=True)):
        drafting.add(id, prompt, 60, predicted=predicted)
    again = drafting.run()
    explained = tolerance(scorer, prompts[0] + answers[0] + prompts[1])
    for id, prompt in enumerate(prompts):
        assert_same_answer(scorer, prompt, again[id], explained)
    steps = [sum(id in batch for batch in drafting.batches) for id in range(3)]
    assert steps[0] <= 10 and steps[1] <= 30, steps
    scorer.close()
