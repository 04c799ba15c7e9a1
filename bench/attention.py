"""How much llama.cpp's attention as Nitro sets it (flash attention: auto) changes the model's output.

KL(off ‖ auto) of the next token's distribution, at every position of a fixed text: computed once in one batch, as
prompts are, and once token by token, as answers are, since the kernels differ.
"""

from itertools import chain
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.hardware.memory import KVPlan
from nitro.engines.runner import Chunk
from nitro.engines.types import EngineSpec, SamplingParams

TEXT = Path(__file__).with_name("text.txt").read_text().replace("\n", " ")
POSITIONS = 300
SLOT = 0


class Scorer(LlamaRunner):
    """Nitro's runner with a chosen flash attention type (llama.h), and logits for all tokens."""

    def __init__(self, model: Path, flash_attention: int, gpu_layers: int | None = None):
        self._flash_attention = flash_attention
        spec = EngineSpec("llama", str(model), context=2 * POSITIONS, parallel=1, gpu_layers=gpu_layers)
        super().__init__(spec)

    def _context_parameters(self, spec: EngineSpec, plan: KVPlan) -> Any:
        parameters = super()._context_parameters(spec, plan)
        parameters.flash_attn_type = self._flash_attention
        return parameters

    def log_probabilities(self, tokens: list[int], step: int) -> np.ndarray:
        """The log-probabilities after each token, computed `step` tokens at a time: float64 [tokens, vocabulary]."""
        self.trim(SLOT, 0)
        rows = []
        for start in range(0, len(tokens), step):
            count = min(step, len(tokens) - start)
            calls = self._kv.arrange([Chunk(1, SLOT, tokens, start, start + count, sampling=SamplingParams())])
            batch = self._tokens.fill(list(chain(*calls)), self._kv.sequence)
            for i in range(count):
                batch.logits[i] = 1
            assert lib.llama_decode(self._context.pointer, batch) == 0
            pointers = (lib.llama_get_logits_ith(self._context.pointer, i) for i in range(count))
            rows += [np.ctypeslib.as_array(row, (self.info.vocabulary,)).astype(np.float64) for row in pointers]
        return np.stack([log_softmax(row) for row in rows])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """The log-probabilities of one position: [vocabulary]."""
    shifted = logits - logits.max()
    result: np.ndarray = shifted - np.log(np.exp(shifted).sum())
    return result


def divergence(reference: np.ndarray, other: np.ndarray) -> np.ndarray:
    """KL(reference ‖ other) in nats, of each row of log-probabilities."""
    kl: np.ndarray = (np.exp(reference) * (reference - other)).sum(axis=1)
    return kl


def compare(model: Path) -> dict[str, np.ndarray]:
    """The KL divergence at every position, by how the text was computed."""
    off, auto = (Scorer(model, kind) for kind in (lib.LLAMA_FLASH_ATTN_TYPE_DISABLED, lib.LLAMA_FLASH_ATTN_TYPE_AUTO))
    tokens = off.tokenizer.encode(TEXT)[:POSITIONS]
    steps = {"in one batch": len(tokens), "token by token": 1}
    divergences = {
        how: divergence(*(scorer.log_probabilities(tokens, step) for scorer in (off, auto)))
        for how, step in steps.items()
    }
    off.close()
    auto.close()
    return divergences
