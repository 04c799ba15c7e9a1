"""One GGUF file on both engines: how far apart are they? llama.cpp without flash attention and with float32 KV."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from doctored import doctor
from gguf import GGMLQuantizationType as Type
from llama_scorer import LlamaScorer
from mlx_scorer import MlxScorer
from tiny_models import CONTEXT, HEADS, WIDTH, write_gguf

from bench import limits
from bench.limits import Limit

PACKED = ("Q4_0", "Q4_1", "Q8_0")
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


def assert_within(limit: Limit, file: Path, tokens: list[int]) -> None:
    """A file keeps this limit, and with the limit's fault it does not."""
    assert divergence(file, tokens).mean() < limit.nats
    wrong = doctor(file, file.with_name("wrong.gguf"), limit.fault)
    assert divergence(wrong, tokens, file).mean() > 2 * limit.nats


@pytest.mark.parametrize(
    ("type", "limit"),
    [(Type.F32, limits.PLAIN), (Type.F16, limits.HALF), *((Type[name], limits.PACKED) for name in PACKED)],
    ids=lambda value: getattr(value, "name", ""),
)
def test_weights(tmp_path: Path, type: Type, limit: Limit) -> None:
    """The same weights in the same order: what differs is rounding."""
    assert_within(limit, write_gguf(tmp_path / "tiny.gguf", type=type), random_tokens(200))


def test_rotary_factors(tmp_path: Path) -> None:
    """As Llama 3.1 and later have them. Without them the divergence is far above."""
    factors = np.linspace(1, 8, WIDTH // HEADS // 2).astype(np.float32)
    file = write_gguf(tmp_path / "tiny.gguf", rope_freqs__weight=factors)
    assert divergence(file, random_tokens(200)).mean() < limits.PLAIN.nats


def test_the_name_of_the_file_does_not_matter(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "sha256-1234")
    assert divergence(file, random_tokens(20)).mean() < limits.PLAIN.nats


def test_linear_scaling(tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf", linear_scaling=4.0)
    assert divergence(file, random_tokens(200)).mean() < limits.PLAIN.nats


def test_the_embedded_model(smollm: Path, tmp_path: Path) -> None:
    scorer = LlamaScorer(smollm, context=CONTEXT)
    tokens = scorer.tokenizer.encode(TEXT)
    scorer.close()
    assert len(tokens) > 20
    assert_within(limits.PACKED, Path(shutil.copy(smollm, tmp_path / "smollm.gguf")), tokens)
