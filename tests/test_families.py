"""Every architecture that nitro/gguf knows: a GGUF is the same model on llama.cpp, served by MLX, and converted."""

from pathlib import Path

import numpy as np
import pytest
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from test_same_file import random_tokens
from tiny_families import FAMILIES, write_family
from tiny_models import CONTEXT

from nitro.convert import gguf_to_mlx

MOST = 1e-6  # nats, of the mean divergence


def shares(scorer: LlamaScorer | MlxScorer, tokens: list[int]) -> np.ndarray:
    """Log-probabilities after each token, float64 [tokens, vocabulary]."""
    logits = scorer.logits(tokens, [1, len(tokens) - 1]).astype(np.float64)
    scorer.close()
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def divergence(theirs: np.ndarray, ours: np.ndarray) -> float:
    return float((np.exp(theirs) * (theirs - ours)).sum(axis=1).mean())


@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_is_the_same_model_on_both_engines_and_converted(name: str, tmp_path: Path) -> None:
    file, folder = write_family(tmp_path / "tiny.gguf", name), tmp_path / "converted"
    folder.mkdir()
    assert gguf_to_mlx.convert(file, folder, lambda count: None) == []
    tokens = random_tokens(200)
    theirs = shares(LlamaScorer(file, context=CONTEXT, exact=True), tokens)
    served, converted = (shares(MlxScorer(path, context=CONTEXT), tokens) for path in (file, folder))
    assert theirs.std() > 1, "a model that says nothing"
    assert divergence(theirs, served) < MOST
    assert np.array_equal(served, converted)
