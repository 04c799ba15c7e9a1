"""Logprobs on both engines are those of the model itself: compared with a model of its own that shows its logits."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openai
import pytest
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from running import RunningServer

from nitro.text.template import ChatTemplate

CONTEXT = 512
CLOSE = 0.05  # batch numerics, in logits of the tiny model
HOT = {"temperature": 1.5, "top_p": 0.9, "presence_penalty": 1.0, "logit_bias": {"300": 5}}
HELLO = [{"role": "user", "content": "Příliš žluťoučký kůň 🐎"}]


@pytest.fixture(scope="module")
def scorer(server: RunningServer, model: Path) -> Iterator[LlamaScorer | MlxScorer]:
    scorer = {"llama": LlamaScorer, "mlx": MlxScorer}[server.engine.spec.engine](model, context=CONTEXT)
    yield scorer
    scorer.close()


@pytest.fixture
def client(server: RunningServer) -> openai.OpenAI:
    return server.client(_strict_response_validation=True)


def logprobs(scorer: LlamaScorer | MlxScorer, tokens: list[int]) -> np.ndarray:
    """Of what follows each token: float64 [tokens, vocabulary]."""
    rows = scorer.logits(tokens, [1] * len(tokens)).astype(np.float64)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def ids(scorer: LlamaScorer | MlxScorer, told: list) -> list[int]:
    """Token ids, by how the vocabulary writes them."""
    by_text = {scorer.tokenizer.vocabulary_text(token): token for token in range(scorer.info.vocabulary)}
    return [by_text[bytes(entry.bytes) if entry.bytes is not None else entry.token.encode()] for entry in told]


def test_they_are_the_model_s_own(client: openai.OpenAI, server: RunningServer, scorer) -> None:
    """Whatever bends the draw, and whatever runs beside it; streamed or not."""

    def ask(seed: int, stream: bool = False, **options):
        body = {"max_tokens": 40, "seed": seed, **HOT, **options}
        return client.chat.completions.create(model="", messages=HELLO, stream=stream, **body)

    with ThreadPoolExecutor() as pool:
        plain = [pool.submit(ask, seed) for seed in (1, 2)]
        reply = ask(3, logprobs=True, top_logprobs=5)
        assert all(other.result().choices[0].logprobs is None for other in plain)
    streamed = list(ask(3, stream=True, logprobs=True, top_logprobs=5))
    text = "".join(c.choices[0].delta.content or "" for c in streamed)
    prompt = scorer.tokenizer.encode(ChatTemplate(server.engine.info.template).render(HELLO))
    parts = [chunk.choices[0].logprobs for chunk in streamed]
    assert_own(scorer, prompt, [entry for part in parts if part for entry in part.content], text)
    assert_own(scorer, prompt, reply.choices[0].logprobs.content, reply.choices[0].message.content)


def assert_own(scorer, prompt: list[int], told: list, text: str) -> None:
    """What was told is what the scorer finds, and the text is that of the tokens."""
    assert b"".join(bytes(e.bytes or b"") for e in told).decode(errors="replace") == text
    answer = ids(scorer, told)
    assert len(answer) > 10
    rows = logprobs(scorer, prompt + answer)[len(prompt) - 1 : -1]
    for row, token, entry in zip(rows, answer, told, strict=True):
        assert abs(entry.logprob - row[token]) < CLOSE
        best = np.sort(row)[::-1][:5]
        assert np.abs(best - [top.logprob for top in entry.top_logprobs]).max() < CLOSE
        assert np.abs(row[ids(scorer, entry.top_logprobs)] - best).max() < CLOSE


def test_a_character_of_several_tokens(client: openai.OpenAI, scorer) -> None:
    """Each token has its own bytes, of which only all together are a character."""
    parts = [token for token in scorer.tokenizer.encode("🐎") if len(scorer.tokenizer.token_bytes(token)) == 1]
    bias = {str(parts[0]): 100}
    reply = client.chat.completions.create(model="", messages=HELLO, max_tokens=2, logprobs=True, logit_bias=bias)
    (entry, _) = reply.choices[0].logprobs.content
    assert (bytes(entry.bytes), entry.token) == (scorer.tokenizer.token_bytes(parts[0]), "\ufffd")
