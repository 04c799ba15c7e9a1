"""Requests that run together each get what they get alone, up to batch numerics."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_scorer import LlamaScorer
from running import RunningServer
from same_answer import assert_same_answer, gaps

from nitro.engines.types import Sampling
from nitro.text.template import ChatTemplate

QUESTIONS = [
    "What is the capital of France?",
    "Write one sentence about the sea.",
    "Name three colours.",
    "How do I boil an egg?",
    "Translate 'good morning' into Spanish.",
    "Tell me a short story about a fox who wanted to learn how to swim across the wide river.",
    "What is 12 plus 30?",
    "Explain in two sentences why the sky is blue during the day and dark at night.",
]


@pytest.fixture(scope="module")
def scorer(smollm: Path) -> Iterator[LlamaScorer]:
    scorer = LlamaScorer(smollm)
    yield scorer
    scorer.close()


async def answer(engine, prompt: str, length: int) -> list[int]:
    """The ids of a greedy answer."""
    tokens = []
    async for burst in await engine.generate(prompt, Sampling(temperature=0), length):
        tokens += [token for _, output in burst for token in output.tokens]
    return tokens


def test_eight_greedy_requests_at_once(smollm_server: RunningServer, scorer: LlamaScorer) -> None:
    engine = smollm_server.engine
    template = ChatTemplate(engine.info.template)
    prompts = [template.render([{"role": "user", "content": question}]) for question in QUESTIONS]

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(answer(engine, prompt, 24) for prompt in prompts))

    before = len(engine.steps)
    answers = smollm_server.run(all_at_once())
    assert max(len(record.rows) for record in list(engine.steps)[before:]) == 8, "all eight ran in one batch"
    for prompt, tokens in zip(prompts, answers, strict=True):
        assert_same_answer(scorer, scorer.tokenizer.encode(prompt), tokens)


def test_another_answer_is_told_apart(scorer: LlamaScorer) -> None:
    """The helper can fail: one wrong token in an otherwise greedy answer."""
    prompt = scorer.tokenizer.encode(
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    greedy: list[int] = []
    while len(greedy) < 6:
        greedy.append(int(scorer.logits(prompt + greedy, len(prompt) + len(greedy))[-1].argmax()))
    assert_same_answer(scorer, prompt, greedy)
    (wrong,) = scorer.tokenizer.encode(" London")
    with pytest.raises(AssertionError, match="below the best"):
        assert_same_answer(scorer, prompt, [*greedy[:3], wrong, *greedy[4:]])
    gap, tolerance = gaps(scorer, prompt, greedy)
    assert 0 < tolerance <= 2 and (gap >= 0).all()
