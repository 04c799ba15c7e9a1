"""The one way to say "the same answer" of two runs that were batched differently.

Kernels differ with batch shape, so logits differ in their low bits and a greedy answer may part where two tokens are
nearly as good. What must hold: alone, given the answer so far, every token of it is the best one, or as good within
what batch numerics explain. That is τ, measured where it is used: 1.5 times the largest logit difference between
evaluating one text token by token and in one batch, and at most 2.

The text must be long enough that one batch of it takes the kernels that a batch of several sequences takes: llama.cpp's
flash attention on the CPU has others from 64 tokens on, and gives bit-equal logits below.
"""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

FACTOR, MOST = 1.5, 2.0
LEAST = 100  # tokens of a text to measure on


class Scorer(Protocol):
    """A model of its own, with the settings of the engine under test, that shows its logits."""

    def logits(self, tokens: list[int], steps: list[int]) -> np.ndarray:
        """From an empty cache, compute the tokens in steps of these lengths. Logits after each token of all steps but
        the first, and after the last token of that: float32 [tokens − steps[0] + 1, vocabulary]."""


def tolerance(scorer: Scorer, text: list[int]) -> float:
    """τ, in logits, measured on `text`."""
    assert len(text) >= LEAST, "too short to measure batch numerics on"
    one_by_one = scorer.logits(text, [1] * len(text))
    batched = scorer.logits(text, [1, len(text) - 1])
    return min(FACTOR * float(np.abs(one_by_one - batched).max()), MOST)


def gaps(scorer: Scorer, prompt: list[int], answer: list[int]) -> np.ndarray:
    """How far each token of the answer is below the best one, in logits, with the prompt alone in the model."""
    rows = scorer.logits(prompt + answer[:-1], [len(prompt)] + [1] * (len(answer) - 1))
    return rows.max(axis=1) - rows[np.arange(len(answer)), answer]


def assert_same_answer(scorer: Scorer, prompt: list[int], answer: list[int], tolerance: float) -> None:
    """The answer is what the prompt gets alone at temperature 0, up to batch numerics."""
    gap = gaps(scorer, prompt, answer)
    worst = int(gap.argmax())
    assert gap[worst] <= tolerance, (
        f"token {worst} of the answer ({answer[worst]}) is {gap[worst]:.3f} below the best, "
        f"and batch numerics explain {tolerance:.3f}"
    )


def assert_identical(differences: Iterable[str]) -> None:
    """Under --deterministic there is no tolerance: tokens and logprobs are the same, bit by bit. `differences`: what is
    not, in words (soak/hammer.py)."""
    first = next(iter(differences), None)
    assert first is None, first
