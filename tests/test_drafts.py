"""Guessed tokens: where they come from, what is learnt of them, and that no answer changes."""

from pathlib import Path

import httpx
import pytest
from driving import Driver, prepared
from llama_scorer import LlamaScorer
from msgspec.structs import replace
from running import RunningServer
from same_answer import assert_same_answer, tolerance

from nitro.engines.backends.fake import FakeRunner
from nitro.engines.scheduling.draft_chances import SourceName, own_chances, shared_chances
from nitro.engines.scheduling.speculation import MAX_DRAFT, NGRAM, Drafter
from nitro.engines.types import EngineSpec, GenerationParams, SamplingParams
from nitro.engines.work import encode_work

TEXT = list(range(100, 180))


def guessed(drafter: Drafter, tokens: list[int], generated: int, source: SourceName = "lookup") -> list[int]:
    """What that source says."""
    guess = drafter.look(tokens, generated).get(source)
    return guess.tokens if guess else []


def test_a_prediction_is_guessed_from_its_beginning() -> None:
    assert guessed(Drafter(TEXT), [1, 2, 3], 0, "prediction") == TEXT[:MAX_DRAFT]


def test_a_prediction_goes_on_where_the_answer_is() -> None:
    drafter = Drafter(TEXT)
    for said in (0, 2, 7, 8, 40, 79):
        follows = TEXT[said : said + MAX_DRAFT]
        assert guessed(drafter, [1, 2, 3, *TEXT[:said]], said, "prediction") == follows
        assert drafter.guesses["prediction"].agreement == said


@pytest.mark.parametrize(
    ("instead", "goes_on"), [([7], 5), ([7, 8, 9], 5), ([], 7), ([7], 12), ([*range(300, 390)], 5)]
)
def test_a_prediction_that_was_left_is_met_again(instead: list[int], goes_on: int) -> None:
    """Another word for one, a longer one, one left out, or several; or much that was put in. A guess at once, as if one
    token were replaced, is all until some agree."""
    drafter, said = Drafter(TEXT), [1, 2, 3, *TEXT[:4]]
    assert guessed(drafter, said, 4, "prediction") == TEXT[4 : 4 + MAX_DRAFT]
    for i, token in enumerate(instead):
        said.append(token)
        at_once = [] if i else TEXT[5 : 5 + MAX_DRAFT]
        assert guessed(drafter, said, len(said) - 3, "prediction") == at_once
        assert not at_once or drafter.guesses["prediction"].agreement == 0
    said += TEXT[goes_on : goes_on + 2]
    assert guessed(drafter, said, len(said) - 3, "prediction") == TEXT[goes_on + 2 :][:MAX_DRAFT]
    assert drafter.guesses["prediction"].agreement == 2


@pytest.mark.parametrize(
    ("instead", "goes_on", "misses"),
    [([7], 5, 0), ([7], 4, 1), ([7, 8], 5, 2), ([7, 8], 6, 2), ([7], 7, 1), ([], 6, 0)],
)
def test_soon_after_a_prediction_was_left_one_token_tells_where_the_answer_is(
    instead: list[int], goes_on: int, misses: int
) -> None:
    """One for one, one put in, two for one, two for two, one for three, and two left out; `misses`: tokens for which
    there is no right guess, after the first that was not as predicted."""
    drafter = Drafter(TEXT)
    answer = [*TEXT[:4], *instead, *TEXT[goes_on:]]
    missed = []
    for at in range(5, 20):
        if guessed(drafter, [1, 2, 3, *answer[:at]], at, "prediction")[:1] != [answer[at]]:
            missed.append(at)
    assert len(missed) == misses, missed


def followed(drafter: Drafter, answer: list[int]) -> int:
    """How many tokens of an answer the likeliest source guesses rightly."""
    said, right = [1, 2, 3], 0
    for at, token in enumerate(answer):
        guesses = drafter.look(said, at)
        for name in guesses:
            drafter.chances.setdefault(name, own_chances(shared_chances(name)))
        best = max(guesses, key=lambda name: drafter.chances[name].chance(guesses[name].agreement), default=None)
        right += best is not None and guesses[best].tokens[0] == token
        drafter.settle(len(said), [token])
        said.append(token)
    return right


@pytest.mark.parametrize("before", [[], [7] * 200, [*TEXT[:2], *[7] * 50], [*[7] * 50, *TEXT[:2], *[7] * 50]])
def test_a_prediction_is_met_behind_reasoning(before: list[int]) -> None:
    assert followed(Drafter(TEXT), before + TEXT) > 0.8 * (len(before) + len(TEXT))


def test_where_a_prediction_is_of_no_use_what_was_said_before_is_guessed() -> None:
    again = [*range(300, 320)] * 5
    assert followed(Drafter(TEXT), again) > len(again) / 2
    assert followed(Drafter(TEXT), again + TEXT + again) > (2 * len(again) + len(TEXT)) / 2


def test_a_prediction_that_is_over_guesses_nothing() -> None:
    assert guessed(Drafter(TEXT[:2]), [5, *TEXT[:2]], 2, "prediction") == []
    assert guessed(Drafter(TEXT[:2]), [5, 6, 7, 8, 9], 4, "prediction") == []


def test_without_a_prediction_what_was_said_before_is_guessed() -> None:
    drafter = Drafter()
    assert guessed(drafter, [1, 2, 3, 4, 5, 6, 9, 2, 3, 4], 1)[:3] == [5, 6, 9]
    assert guessed(drafter, [1, 2, 3, 4, 5, 6, 9, 2, 3, 4, 5], 2)[:2] == [6, 9]


def test_what_was_said_before_is_not_guessed_where_nobody_wants_it() -> None:
    assert Drafter(lookup=False).look([1, 2, 3, 4] * 4, 1) == {}


def test_the_last_place_counts_and_never_the_end_itself() -> None:
    tokens = [1, 2, 3, 4, 9, 1, 2, 3, 5, 9, 1, 2, 3]
    assert guessed(Drafter(), tokens, 1)[:2] == [5, 9]
    assert guessed(Drafter(), [1, 2, 3], 1) == []


@pytest.mark.parametrize("again", [[7], [7, 8], [7, 8, 9, 10]])
def test_what_repeats_itself_goes_on_so(again: list[int]) -> None:
    assert guessed(Drafter(), (again * 8)[:8], 1) == (again * 2 * MAX_DRAFT)[8 : 8 + MAX_DRAFT]


def test_what_has_not_come_twice_does_not_repeat_itself() -> None:
    assert guessed(Drafter(), [1, 2, 3, 4, 5, 1, 2, 3], 1) == [4, 5, 1, 2, 3]


def test_it_is_known_how_long_a_look_up_agrees() -> None:
    for length in range(NGRAM, 50):
        drafter = Drafter()
        drafter.look([5, *TEXT[:length], 6, *TEXT[:length]], 1)
        assert drafter.guesses["lookup"].agreement == min(length, 32)


def test_short_ones_guess_nothing() -> None:
    assert guessed(Drafter(), [], 0) == guessed(Drafter(), [1], 1) == []


def test_what_was_right_is_likelier_and_what_was_wrong_less_so() -> None:
    """Nothing of it was checked."""
    shared = shared_chances("lookup")
    before, after = shared.chance(NGRAM), {}
    for right in (True, False):
        drafter, said = Drafter(), [1, 2, 3, 4]
        drafter.chances["lookup"] = own_chances(shared_chances("lookup"))
        for new in range(10, 40, 2):
            said += [new, 1, 2, 3]
            assert drafter.look(said, 1)["lookup"].agreement == NGRAM
            drawn = 4 if right else new + 1
            drafter.settle(len(said), [drawn, 5])
            said.append(drawn)
        after[right] = drafter.chances["lookup"].chance(NGRAM)
    assert after[False] < 0.1 < before < 0.8 < after[True]


def test_what_was_drawn_after_other_tokens_teaches_nothing() -> None:
    drafter = Drafter()
    drafter.chances["lookup"] = own_chances(shared_chances("lookup"))
    before = drafter.chances["lookup"].chance(NGRAM)
    drafter.look([1, 2, 3, 4, 1, 2, 3], 1)
    drafter.settle(8, [4])
    drafter.settle(7, [4])
    assert drafter.chances["lookup"].chance(NGRAM) == before


def test_what_a_sequence_has_seen_counts_for_a_new_one() -> None:
    shared = shared_chances("prediction")
    first = own_chances(shared)
    before = own_chances(shared).chance(4)
    for _ in range(300):
        first.note(4, False)
    after = own_chances(shared)
    assert after.chance(4) < 0.1 < before and after.chance(0) == shared.chance(0)
    for _ in range(40):
        after.note(4, True)
    assert after.chance(4) > 0.8


def test_after_more_that_agreed_a_guess_begins_as_no_less_likely() -> None:
    shared = shared_chances("prediction")
    for _ in range(200):
        shared.note(8, True)
    assert shared.chance(16) == shared.chance(32) == shared.chance(8) > 0.98
    for _ in range(200):
        shared.note(16, False)
    assert shared.chance(16) < 0.1, "what was seen counts more"


def test_a_guess_that_is_right_makes_the_next_likelier() -> None:
    chances = own_chances(shared_chances("model"))
    each = [chances.chain(3 + i, 1)[0] for i in range(5)]
    assert all(one < chances.chance(3 + i) for i, one in enumerate(each)), "with caution"
    chain = chances.chain(3, 5)  # one guess after 2 or 3 that agreed, four after 4 to 7
    right, seen = 4 * each[1], 4  # of the second rung, of which nothing was seen
    product = each[0]
    for i, both in enumerate(chain[1:]):
        product *= (right + i) / (seen + i)
        assert both == pytest.approx(product), "what is right makes the next one of its rung likelier"
    assert len(chances.chain(3, 2)) == 2
    for _ in range(100):
        chances.note(3, False)
    assert len(chances.chain(3, 32)) <= 1


def test_a_prediction_ends_before_what_is_no_token_of_the_model() -> None:
    runner = FakeRunner(EngineSpec("fake", "", context=100, parallel=1))
    runner.info = replace(runner.info, vocabulary=120)
    work = encode_work(["a"], GenerationParams(SamplingParams(), 9, prediction="abcéabc"))
    (sequence,) = prepared(runner, work).sequences
    assert guessed(sequence.drafter, sequence.tokens, 0, "prediction") == [*b"abc"]


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


def test_no_answer_is_changed_by_a_draft(shallow_smollm: Path) -> None:
    """Three rows in one batch: one predicted rightly, one in part, one not at all."""
    scorer = LlamaScorer(shallow_smollm, parallel=3, banned=[0, 2])
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
    assert steps[0] <= 15 and steps[1] <= 20, steps
    scorer.close()
