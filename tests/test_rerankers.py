"""Rerankers on both engines: the scores of transformers, and what would be scored wrongly is refused by name."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import tiny_encoders
from tiny_models import write_gguf

from nitro.engines.backends import loading
from nitro.engines.embedder import Pair
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

PAIRS = [Pair(first + second, len(first)) for first, second in tiny_encoders.PAIRS]
KIND = "xlm-roberta, cross"
CLOSE = 3e-3  # llama.cpp reads GELU from a table of 16-bit floats


def scored(engine: str, model: Path) -> np.ndarray:
    runner = loading.load(EngineSpec(engine=engine, model=str(model)))
    try:
        assert runner.info.rerank and not runner.info.embedding and not runner.info.generates
        together = runner.score(PAIRS)
        assert np.allclose(together, [runner.score([pair])[0] for pair in PAIRS], atol=CLOSE)
        return np.array(together)
    finally:
        runner.close()


@pytest.mark.parametrize("pooling", [gguf.PoolingType.RANK, gguf.PoolingType.NONE, None])
def test_llama_scores_as_transformers(pooling: gguf.PoolingType | None, tmp_path: Path) -> None:
    found = scored("llama", tiny_encoders.write_gguf(tmp_path / "ranks.gguf", KIND, pooling))
    assert np.abs(found - np.array(tiny_encoders.record()[KIND]["logits"])[:, 0]).max() < CLOSE


def test_both_engines_score_the_same(tmp_path: Path) -> None:
    on_llama = scored("llama", tiny_encoders.write_gguf(tmp_path / "ranks.gguf", KIND))
    on_mlx = scored("mlx", tiny_encoders.write(tmp_path / "folder", KIND))
    assert np.abs(on_llama - on_mlx).max() < CLOSE


def test_both_engines_put_the_same_around_a_pair(tmp_path: Path) -> None:
    llama = loading.load(EngineSpec("llama", str(tiny_encoders.write_gguf(tmp_path / "ranks.gguf", KIND))))
    mlx = loading.load(EngineSpec("mlx", str(tiny_encoders.write(tmp_path / "folder", KIND))))
    one, other = llama.info.rerank, mlx.info.rerank
    assert one and other
    assert (one.before, one.between, one.after) == (other.before, other.between, other.after) == ([2], [3], [3])
    assert one.longest == other.longest == tiny_encoders.POSITIONS - 2
    llama.close()


TEMPLATE = "<|im_start|>{query} and\n{document}<|im_end|>\nyes?"


def qwen3(path: Path, **settings: Any) -> Path:
    """A Qwen3 with a head for "yes" and "no", if it is a reranker."""
    norms = {f"blk__{layer}__attn_{part}_norm__weight": np.ones(16, np.float32) for layer in (0, 1) for part in "qk"}
    return write_gguf(path, architecture="qwen3", **norms, **settings)


def test_a_qwen3_reranker(tmp_path: Path) -> None:
    """The logit is what its head's two rows make of the last token's vector."""
    head = np.random.default_rng(3).standard_normal((2, 64)).astype(np.float32)

    def embeds(writer: gguf.GGUFWriter) -> None:
        writer.add_pooling_type(gguf.PoolingType.LAST)

    def ranks(writer: gguf.GGUFWriter) -> None:
        writer.add_pooling_type(gguf.PoolingType.RANK)
        writer.add_classifier_output_labels(["yes", "no"])

    rows = [[(7 * i * k + 3) % 90 + 5 for i in range(length)] for k, length in enumerate([3, 40, 300], 1)]
    embedder = loading.load(EngineSpec("llama", str(qwen3(tmp_path / "embeds.gguf", also=embeds))))
    vectors = np.array([np.frombuffer(vector, "<f4") for vector in embedder.embed(rows)])
    embedder.close()
    templates = [{"name": "default", "template": "x"}, {"name": "rerank", "template": TEMPLATE}]
    made = qwen3(tmp_path / "ranks.gguf", also=ranks, templates=templates, cls__output__weight=head)
    ranker = loading.load(EngineSpec("llama", str(made)))
    about = ranker.info.rerank
    assert about and about.text == "<|im_start|>{query} and\n{document}"
    assert about.after == ranker.tokenizer.encode("<|im_end|>\nyes?")
    found = ranker.score([Pair(row, len(row)) for row in rows])
    ranker.close()
    assert np.allclose(found, vectors @ (head[0] - head[1]), atol=0.02), "llama.cpp multiplies in 16 bits"


@pytest.mark.parametrize(
    ("kind", "labels", "problem"),
    [
        ("bert, cross", 1, "without its pooler"),
        ("bert, two labels", 2, "without its pooler"),
    ],
)
def test_what_llama_scores_wrongly_is_refused(kind: str, labels: int, problem: str, tmp_path: Path) -> None:
    model = tiny_encoders.write_gguf(tmp_path / "ranks.gguf", kind, gguf.PoolingType.RANK, labels)
    with pytest.raises(LoadError, match=problem):
        loading.load(EngineSpec("llama", str(model)))


def test_deterministic(tmp_path: Path) -> None:
    """A pair's score is bit by bit the same, whatever is beside it."""
    model = tiny_encoders.write_gguf(tmp_path / "ranks.gguf", KIND)
    runner = loading.load(EngineSpec("llama", str(model), deterministic=True))
    assert runner.info.deterministic
    assert runner.score(PAIRS) == [runner.score([pair])[0] for pair in PAIRS]
    runner.close()
