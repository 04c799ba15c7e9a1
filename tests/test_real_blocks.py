"""Real models with ggml's blocks on MLX, beside llama.cpp: gemma3-270m as it is, and the embedded model requantised to
every type by llama.cpp's quantiser. Each is computed once, on few tokens."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gguf
import mlx.core as mx
import numpy as np
import pytest
import stored_tensors
from doctored import doctor
from gguf import GGMLQuantizationType as Type
from kept_files import quantized
from llama_scorer import LlamaScorer
from mlx import nn
from mlx_scorer import MlxScorer
from test_same_file import random_tokens

from bench import limits
from bench.quantized_models import FILE_TYPES, quantize
from nitro.engines.backends.mlx import block_layers
from nitro.engines.backends.mlx.gguf_loader import open_gguf

pytestmark = pytest.mark.skipif(not block_layers.is_installed(), reason="mlx-kquant is not installed")

CONTEXT = 64
BEGIN = 2  # Gemma's first token
KINDS = [kind for kind in FILE_TYPES if kind != "F32"]


@dataclass(frozen=True)
class Case:
    """A model and the tokens that it reads. What computes it is kept."""

    file: Path
    tokens: list[int]

    def __hash__(self) -> int:
        return hash(self.file)

    @cache  # noqa: B019 - two of them, for a module
    def shares(self, by: str) -> np.ndarray:
        """Log-probabilities after each token, float64 [tokens, vocabulary]. `by`: an engine; "exact" is llama.cpp with
        the weights that it unpacked to float32, and any other the fault that MLX's file has."""
        if by == "exact":
            return self._scored(LlamaScorer(quantize(self.file, self._beside(by), "F32"), context=CONTEXT, exact=True))
        if by == "llama":
            return self._scored(LlamaScorer(self.file, context=CONTEXT, exact=True))
        file = self.file if by == "mlx" else doctor(self.file, self._beside(by), by)
        return self._scored(MlxScorer(file, context=CONTEXT))

    def divergence(self, theirs: str, ours: str) -> float:
        """Mean, in nats."""
        shares, other = self.shares(theirs), self.shares(ours)
        return float((np.exp(shares) * (shares - other)).sum(axis=1).mean())

    def _beside(self, name: str) -> Path:
        return self.file.with_name(f"{name}.gguf")

    def _scored(self, scorer: LlamaScorer | MlxScorer) -> np.ndarray:
        logits = scorer.logits(self.tokens, [1, len(self.tokens) - 1]).astype(np.float64)
        scorer.close()
        return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def smollm_in_all(smollm: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """One matrix of each layer, whose rows are 1536 wide, in another type; the others in one that is soon written."""
    file = tmp_path_factory.mktemp("smollm") / "all.gguf"
    others = {rf"blk\.{layer}\.ffn_down": kind for layer, kind in enumerate(KINDS)}
    return Case(quantized(smollm, file, "Q8_0", others, pure=False), random_tokens(16))


@pytest.fixture(scope="module")
def gemma_as_it_is(gemma: Path) -> Case:
    return Case(gemma, [BEGIN, *random_tokens(16)])


def test_every_bit_of_every_type_is_gguf_pys(smollm_in_all: Case) -> None:
    """As the model that serves has them."""
    stored, types = (read(smollm_in_all.file) for read in (stored_tensors.packed, stored_tensors.types))
    layers = open_gguf(smollm_in_all.file).network.model.layers
    found = []
    for layer in range(len(layers)):
        name = f"blk.{layer}.ffn_down.weight"
        theirs = gguf.quants.dequantize(stored[name], types[name]).astype(np.float32)
        ours = numbers(layers[layer].mlp.down_proj)
        assert (ours == theirs).all(), types[name]  # but for the sign of a zero, which MLX's own layout has not
        found.append(types[name])
    assert {Type[kind] for kind in KINDS} == {*found}


def numbers(layer: nn.Module) -> np.ndarray:
    """What its packed weights stand for, float32 [outputs, inputs]."""
    from nitro.engines.backends.mlx import block_products

    if isinstance(layer, block_products.BlockLinear):
        return np.array(block_products.unpack(layer.weight, layer.codec))
    if isinstance(layer, nn.QuantizedLinear):
        parts = (layer.weight, *(layer[name].astype(mx.float32) for name in ("scales", "biases")))
        return np.array(mx.dequantize(*parts, layer.group_size, layer.bits))
    return np.array(layer.weight.astype(mx.float32))


def test_the_embedded_model_in_every_type(smollm_in_all: Case) -> None:
    """With the same numbers in float32, and as llama.cpp serves it."""
    assert smollm_in_all.divergence("exact", "mlx") < limits.SMOLLM.nats
    assert smollm_in_all.divergence("exact", limits.SMOLLM.fault) > 100 * limits.SMOLLM.nats
    assert smollm_in_all.divergence("llama", "mlx") < limits.SERVED.nats
    assert smollm_in_all.divergence("llama", limits.SERVED.fault) > 2 * limits.SERVED.nats


def test_gemma(gemma_as_it_is: Case) -> None:
    """As it is, with tensors of four types; and with the same numbers in float32."""
    assert gemma_as_it_is.divergence("exact", "mlx") < limits.GEMMA.nats
    assert gemma_as_it_is.divergence("exact", limits.GEMMA.fault) > 2 * limits.GEMMA.nats
    assert gemma_as_it_is.divergence("llama", "mlx") < limits.SERVED.nats
