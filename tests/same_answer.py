"""The one way to say "the same answer" of two runs that were batched differently.

Kernels differ with batch shape, so logits differ in their low bits and a greedy answer may part where two tokens are
nearly as good. What must hold: given the answer so far, every token of it is the best one, or as good within what batch
numerics explain. The text is evaluated alone, teacher-forced, token by token; the tolerance τ is measured on the same
text: 1.5 times the largest difference between evaluating it token by token and in one batch, and at most 2.
"""

from typing import Protocol

import numpy as np

FACTOR, MOST = 1.5, 2.0


class Scorer(Protocol):
    """A model of its own, with the settings of the engine under test, that shows its logits."""

    def logits(self, tokens: list[int], at_once: int) -> np.ndarray:
        """Logits after each token, float32 [tokens, vocabulary], `at_once` tokens a step from an empty cache."""


def gaps(scorer: Scorer, prompt: list[int], answer: list[int]) -> tuple[np.ndarray, float]:
    """How far each token of a greedy answer is below the best one, and τ: both in logits, the gaps as [answer]."""
    text = prompt + answer[:-1]
    alone = scorer.logits(text, 1)
    batched = scorer.logits(text, len(text))
    tolerance = min(FACTOR * float(np.abs(alone - batched).max()), MOST)
    rows = alone[len(prompt) - 1 :]
    assert len(rows) == len(answer)
    return rows.max(axis=1) - rows[np.arange(len(answer)), answer], tolerance


def assert_same_answer(scorer: Scorer, prompt: list[int], answer: list[int]) -> None:
    """The answer is what the prompt gets alone at temperature 0, up to batch numerics."""
    gap, tolerance = gaps(scorer, prompt, answer)
    worst = int(gap.argmax())
    assert gap[worst] <= tolerance, (
        f"token {worst} of the answer ({answer[worst]}) is {gap[worst]:.3f} below the best, "
        f"and batch numerics explain {tolerance:.3f}"
    )
