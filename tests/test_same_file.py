"""One GGUF file on both engines: how far apart are they? llama.cpp without flash attention and with float32 KV."""

from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from tiny_models import CONTEXT, HEADS, WIDTH, write_gguf

TEXT = "The first printed newspapers of Europe came out about 1605. Their readers wanted to know what ships brought."


def divergence(file: Path, tokens: list[int], theirs_from: Path | None = None) -> np.ndarray:
    """Kullback–Leibler divergence of MLX's next-token distribution from llama.cpp's, in nats, after each token.
    `theirs_from`: what llama.cpp loads, if not the same file."""
    shares = []
    for scorer_class, path, settings in ((LlamaScorer, theirs_from or file, {"exact": True}), (MlxScorer, file, {})):
        scorer = scorer_class(path, context=CONTEXT, **settings)
        logits = scorer.logits(tokens, [1, len(tokens) - 1]).astype(np.float64)
        scorer.close()
        shares.append(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    theirs, ours = shares
    return (np.exp(theirs) * (theirs - ours)).sum(axis=1)


def random_tokens(count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(3).integers(20, 1000, count)]


@pytest.mark.parametrize(("type", "most"), [(Type.F32, 1e-8), (Type.F16, 1e-4)])
def test_plain_weights(tmp_path: Path, type: Type, most: float) -> None:
    """The same weights in the same order: what differs is float noise (llama.cpp rounds to 16 bits for F16)."""
    file = write_gguf(tmp_path / "tiny.gguf", type=type)
    assert divergence(file, random_tokens(200)).mean() < most


@pytest.mark.parametrize("type", [Type.Q4_0, Type.Q4_1, Type.Q8_0])
def test_packed_weights(tmp_path: Path, type: Type) -> None:
    """llama.cpp also rounds what it multiplies them with, to 8 bits."""
    file = write_gguf(tmp_path / "tiny.gguf", type=type)
    assert divergence(file, random_tokens(200)).mean() < 0.01


def test_rotary_factors(tmp_path: Path) -> None:
    """As Llama 3.1 and later have them. Without them the divergence is far above."""
    factors = np.linspace(1, 8, WIDTH // HEADS // 2).astype(np.float32)
    file = write_gguf(tmp_path / "tiny.gguf", rope_freqs__weight=factors)
    assert divergence(file, random_tokens(200)).mean() < 1e-8


def test_the_name_of_the_file_does_not_matter(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "sha256-1234")
    assert divergence(file, random_tokens(20)).mean() < 1e-8


def test_linear_scaling(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", linear_scaling=4.0)
    assert divergence(file, random_tokens(200)).mean() < 1e-8


def test_the_embedded_model(smollm: Path) -> None:
    scorer = LlamaScorer(smollm, context=CONTEXT)
    tokens = scorer.tokenizer.encode(TEXT)
    scorer.close()
    distances = divergence(smollm, tokens)
    assert len(distances) == len(tokens) > 20
    assert distances.mean() <= 0.01
