"""A LlamaRunner that shows the logits of every token: see same_answer.py."""

from itertools import chain
from pathlib import Path

import llama_cpp.llama_cpp as lib
import numpy as np

from nitro.engines.backends.llama.runner import LlamaRunner
from nitro.engines.hardware.memory import KVPlan
from nitro.engines.runner import Chunk
from nitro.engines.types import EngineSpec, SamplingParams

SLOT = 0


class LlamaScorer(LlamaRunner):
    """`slots` and `swa_full`: as the runner decides, if None. `exact`: no flash attention, and KV in float32. `banned`
    tokens are as unlikely as can be."""

    def __init__(
        self,
        model: Path,
        context: int = 2048,
        slots: int | None = None,
        swa_full: bool | None = None,
        exact: bool = False,
        parallel: int = 1,
        banned: list[int] | None = None,
    ):
        self._banned = banned or []
        self._forced = {"n_seq_max": slots, "swa_full": swa_full}
        if exact:
            self._forced |= {"flash_attn_type": lib.LLAMA_FLASH_ATTN_TYPE_DISABLED}
            self._forced |= dict.fromkeys(("type_k", "type_v"), lib.GGML_TYPE_F32)
        super().__init__(EngineSpec("llama", str(model), context=context, parallel=parallel))

    def _context_parameters(self, spec: EngineSpec, plan: KVPlan):
        parameters = super()._context_parameters(spec, plan)
        for name, value in self._forced.items():
            if value is not None:
                setattr(parameters, name, value)
        return parameters

    def logits(self, tokens: list[int], steps: list[int]) -> np.ndarray:
        assert sum(steps) == len(tokens)
        self.trim(SLOT, 0)
        start, rows = 0, []
        for count in steps:
            rows.append(self.extend(SLOT, tokens, start, start + count, rows=count if start else 1))
            start += count
        scores = np.concatenate(rows)
        scores[:, self._banned] = -1e9
        return scores

    def extend(self, slot: int, tokens: list[int], start: int, stop: int, rows: int = 1) -> np.ndarray:
        """Compute tokens [start, stop) in a slot that holds [0, start): the logits after the last `rows` of them."""
        chunks = [Chunk(1, slot, tokens, start, stop, SamplingParams())]
        self._kv.place(chunks)
        calls = self._kv.arrange(chunks)
        batch = self._tokens.fill(list(chain(*calls)), self._kv.sequence)
        wanted = range(stop - start - rows, stop - start)
        for i in wanted:
            batch.logits[i] = 1
        while lib.llama_decode(self._context.pointer, batch) != 0:
            assert self._context.grow({self._kv.sequence(slot): stop - start})
        pointers = (lib.llama_get_logits_ith(self._context.pointer, i) for i in wanted)
        return np.stack([np.ctypeslib.as_array(row, (self.info.vocabulary,)).copy() for row in pointers])
