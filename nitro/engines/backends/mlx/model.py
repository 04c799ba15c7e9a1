"""A model as MlxRunner needs it, and the way to one: from an mlx-lm folder (folder_loader.py) or a GGUF file
(gguf_loader.py)."""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from nitro.engines.backends.mlx.tokenizer import FastTokenizer
from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults


@dataclass(slots=True)
class MlxModel:
    """An open model: its network, its tokenizer, and what its files say of it."""

    network: Any  # an mlx-lm model: tokens [rows, length] and caches → logits [rows, length, vocabulary]
    tokenizer: FastTokenizer
    trained_context: int  # tokens
    eog: frozenset[int]  # end-of-generation token ids
    template: str | None
    bos: str
    eos: str
    fingerprint: str
    dtype: mx.Dtype | None = None  # what a GPU computes in; None: as the weights are
    tool_template: str | None = None  # see ModelInfo
    infill: tuple[str, ...] = ()  # as the metadata has them: see fill_in_middle.py
    adds_bos: bool = False  # see ModelInfo
    sampling: SamplingDefaults = NOTHING  # the model's own
