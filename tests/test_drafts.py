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
from nitro.engines.scheduling.speculation import FIRST, HOPELESS, LEAST, MOST, Drafts
from nitro.engines.types import EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import encode_work

PAYS = 0.6  # the share that must come true
TEXT = list(range(100, 180))


def test_a_prediction_is_guessed_from_its_beginning() -> None:
    assert Drafts(TEXT).guess([1, 2, 3], 0, MOST, PAYS) == TEXT[:FIRST]
    assert Drafts(TEXT).guess([1, 2, 3], 0, 5, PAYS) == TEXT[:5]


def test_a_prediction_goes_on_where_the_answer_is() -> None:
    drafts = Drafts(TEXT)
    assert drafts.guess([1, 2, 3, *TEXT[:2]], 2, 4, PAYS) == TEXT[2:6]
    drafts.settle(4, 4)
    assert drafts.guess([1, 2, 3, *TEXT[:7]], 7, 4, PAYS) == TEXT[7:11]


@pytest.mark.parametrize(
    ("instead", "goes_on"), [([7], 5), ([7, 8, 9], 5), ([], 7), ([7], 12), ([*range(300, 390)], 5)]
)
def test_a_prediction_that_was_left_is_met_again(instead: list[int], goes_on: int) -> None:
    """Another word for one, a longer one, one left out, or several; or much that was put in."""
    drafts, said = Drafts(TEXT), [1, 2, 3, *TEXT[:4]]
    assert drafts.guess(said, 4, 4, PAYS) == TEXT[4:8]
    drafts.settle(4, 0)
    said += instead
    assert drafts.guess(said, len(said) - 3, 4, PAYS) == []
    said += TEXT[goes_on : goes_on + 2]
    assert drafts.guess(said, len(said) - 3, 4, PAYS) == TEXT[goes_on + 2 : goes_on + 6]


def followed(drafts: Drafts, answer: list[int]) -> int:
    """How many tokens of an answer come by guesses."""
    said, came = [1, 2, 3], 0
    while (generated := len(said) - 3) < len(answer):
        guess = drafts.guess(said, generated, len(answer) - generated - 1, PAYS)
        right = next((i for i, token in enumerate(guess) if token != answer[generated + i]), len(guess))
        said += answer[generated : generated + right + 1]
        came += right
        if guess:
            drafts.settle(len(guess), right)
    return came


@pytest.mark.parametrize("before", [[], [7] * 200, [*TEXT[:2], *[7] * 50], [*[7] * 50, *TEXT[:2], *[7] * 50]])
def test_a_prediction_is_met_behind_reasoning(before: list[int]) -> None:
    assert followed(Drafts(TEXT), before + TEXT) > 0.8 * len(TEXT)


def test_where_a_prediction_is_of_no_use_what_was_said_before_is_guessed() -> None:
    again = [*range(300, 320)] * 5
    drafts = Drafts(TEXT)
    assert followed(drafts, again) > len(again) / 2 and not drafts.predicted
    assert followed(Drafts(TEXT), again + TEXT + again) > (len(again) + len(TEXT)) / 2


def test_a_prediction_that_is_over_guesses_nothing() -> None:
    assert Drafts(TEXT[:2]).guess([5, *TEXT[:2]], 2, 9, PAYS) == []
    assert Drafts(TEXT[:2]).guess([5, 6, 7, 8, 9], 4, 9, PAYS) == []


def test_without_a_prediction_what_was_said_before_is_guessed() -> None:
    drafts = Drafts()
    assert drafts.guess([1, 2, 3, 4, 5, 6, 9, 2, 3, 4], 1, 3, PAYS) == [5, 6, 9]
    assert drafts.guess([1, 2, 3, 4, 5, 6, 9, 2, 3, 4, 5], 2, 2, PAYS) == [6, 9]


def test_the_last_place_counts_and_never_the_end_itself() -> None:
    tokens = [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3]
    assert Drafts().guess(tokens, 1, 2, PAYS) == [5, 9]
    assert Drafts().guess([1, 2, 3], 1, 4, PAYS) == []
    assert Drafts().guess([7, 7, 7, 7], 1, 4, PAYS) == [7]


def test_short_ones_guess_nothing() -> None:
    assert Drafts().guess([], 0, 4, PAYS) == Drafts().guess([1], 1, 4, PAYS) == []


def test_guesses_grow_while_they_are_right_and_shrink_to_what_was() -> None:
    drafts, tokens = Drafts(), TEXT + TEXT[:3]
    lengths = []
    for right in (4, 6, 9, 12, 9, 1):
        guessed = drafts.guess(tokens, 3, 99, PAYS)
        lengths.append(len(guessed))
        drafts.settle(len(guessed), right)
    assert lengths == [4, 6, 9, 12, 12, 9]


def test_wrong_look_ups_pause_longer_each_time() -> None:
    drafts, tokens = Drafts(), TEXT + TEXT[:3]
    pauses = []
    for _ in range(4):
        pause = 0
        while not (guessed := drafts.guess(tokens, 3, 99, PAYS)):
            pause += 1
        pauses.append(pause)
        assert len(guessed) == LEAST
        drafts.settle(len(guessed), 1)
    assert pauses == [0, 1, 2, 4]


@pytest.mark.parametrize("predicted", [TEXT, []])
def test_what_must_come_true_depends_on_the_step(predicted: list[int]) -> None:
    """Two of eight were right."""
    pauses, before = {}, [1, 2, 3] if predicted else TEXT
    for pays in (0.2, 0.25, 0.26, 0.9):
        drafts = Drafts(predicted)
        assert drafts.guess([*before, *TEXT[:3]], 3, 8, pays)
        drafts.settle(8, 2)
        again = [drafts.guess([*before, *TEXT[:5]], 5, 8, pays) for _ in range(2)]
        pauses[pays] = again.index(TEXT[5 : 5 + len(again[1])])
    assert pauses == {0.2: 0, 0.25: 0, 0.26: 1, 0.9: 1}


def test_where_only_certainty_pays_nothing_is_guessed_nor_learnt() -> None:
    drafts = Drafts(TEXT)
    assert drafts.guess([1], 0, 8, (1 + HOPELESS) / 2) == []
    assert drafts.guess([1], 0, 8, HOPELESS) == TEXT[:8]


def test_a_prediction_ends_before_what_is_no_token_of_the_model() -> None:
    runner = FakeRunner(EngineSpec("fake", "", context=100, parallel=1))
    runner.info = replace(runner.info, vocabulary=120)
    work = encode_work(["a"], GenerationParams(SamplingParams(), 9, prediction="abcéabc"))
    (sequence,) = prepared(runner, work).sequences
    assert sequence.drafts.guess(sequence.tokens, 0, MOST, PAYS) == [*b"abc"]


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
