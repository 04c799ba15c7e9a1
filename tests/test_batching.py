"""Requests that run together each get what they get alone, up to batch numerics."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from llama_scorer import LlamaScorer
from running import RunningServer
from same_answer import assert_same_answer, gaps, tolerance

from nitro.engines.types import GenerationParams, SamplingParams
from nitro.engines.work import encode_work
from nitro.text.template import ChatTemplate

QUESTIONS = [  # whose answers are long, so that the first still runs when the last begins
    "Tell me a story about a fox who wanted to swim across the wide river.",
    "Explain why the sky is blue during the day and dark at night.",
    "How do I bake a bread at home, from the flour to the oven?",
    "Describe a walk through an old forest in the autumn.",
    "Tell me the story of a clockmaker who lost his glasses.",
    "Explain how a seed becomes a tree, step by step.",
    "Describe the life of a fisherman on a small island.",
    "How does a letter travel from one country to another?",
]
ANSWER = 40  # tokens

SYSTEM = (
    "You are a patient teacher in a small village school. You answer every question truthfully, in plain words that a "
    "child of ten understands, and you never use more than three sentences. Where a question has no answer you say so "
    "kindly. You like examples from the garden, the kitchen and the forest, and you do not like long lists or jokes. "
    "When somebody greets you, you greet back. When somebody asks for a translation, you give only the translation."
)


@pytest.fixture(scope="module")
def scorer(shallow_smollm: Path) -> Iterator[LlamaScorer]:
    scorer = LlamaScorer(shallow_smollm)
    yield scorer
    scorer.close()


def conversation(question: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]


async def answer(engine, prompt: str, length: int) -> list[int]:
    """The ids of a greedy answer."""
    tokens = []
    async for burst in await engine.generate(
        encode_work([prompt], GenerationParams(SamplingParams(temperature=0), length))
    ):
        tokens += [token for _, output in burst for token in output.tokens]
    return tokens


def test_eight_greedy_requests_at_once(shallow_server: RunningServer, scorer: LlamaScorer) -> None:
    engine = shallow_server.engine
    template = ChatTemplate(engine.info.template)
    prompts = [template.render(conversation(question)) for question in QUESTIONS]

    async def all_at_once() -> list[list[int]]:
        return await asyncio.gather(*(answer(engine, prompt, ANSWER) for prompt in prompts))

    engine.steps.clear()
    answers = shallow_server.run(all_at_once())
    assert max(len(record.rows) for record in engine.steps) == 8, "all eight ran in one batch"
    encoded = [scorer.tokenizer.encode(prompt) for prompt in prompts]
    explained = tolerance(scorer, encoded[0] + answers[0])
    for prompt, tokens in zip(encoded, answers, strict=True):
        assert_same_answer(scorer, prompt, tokens, explained)


def test_another_answer_is_told_apart(scorer: LlamaScorer) -> None:
    """The helper can fail: one wrong token in an otherwise greedy answer."""
    template = ChatTemplate(scorer.info.template)
    prompt = scorer.tokenizer.encode(template.render(conversation("What is the capital of France?")))
    greedy: list[int] = []
    while len(greedy) < 6:
        greedy.append(int(scorer.logits(prompt + greedy, [len(prompt)] + [1] * len(greedy))[-1].argmax()))
    explained = tolerance(scorer, prompt + greedy)
    assert 0 < explained <= 2
    assert_same_answer(scorer, prompt, greedy, explained)
    assert (gaps(scorer, prompt, greedy) == 0).all()
    (wrong,) = scorer.tokenizer.encode(" submarine")
    with pytest.raises(AssertionError, match="below the best"):
        assert_same_answer(scorer, prompt, [*greedy[:3], wrong, *greedy[4:]], explained)
