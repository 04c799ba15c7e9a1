"""A model as MlxRunner needs it, and the way to one: from an mlx-lm folder (folder_loader.py) or a GGUF file
(gguf_loader.py)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx.utils import tree_flatten

from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.tokenizer import FastTokenizer
from nitro.engines.backends.mlx.towers import parts
from nitro.engines.backends.mlx.towers.encoder import TowerEncoder
from nitro.engines.runner import Chunk
from nitro.engines.sampling_defaults import NOTHING, SamplingDefaults
from nitro.engines.types import MediaInfo

Share = Callable[[Any], None]  # leaves of a network, whose weights are not read yet, what this process is to have


def whole(network: Any) -> None:
    """All of it."""


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
    encoder: TowerEncoder | None = None  # of one that sees or hears, whose network is a Sensing
    blind: str = ""  # why one that could takes text only

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(array.nbytes for array in dict(tree_flatten(self.network.parameters())).values())

    @property
    def media(self) -> MediaInfo | None:
        """What it takes beside text."""
        if self.encoder:
            return MediaInfo(image=self.encoder.kind == "image", audio=self.encoder.kind == "audio")
        return MediaInfo(why_not=f"It has a tower, but {self.blind}.") if self.blind else None

    def logits(self, tokens: mx.array, caches: Caches, shifts: Sequence[int]) -> mx.array:
        """Text: [rows, length] → [rows, length, vocabulary]. `shifts`: by how much positions of each row differ from
        its places, because of media before."""
        if self.encoder is None:
            logits: mx.array = self.network(tokens, cache=caches)
            return logits
        moved: mx.array = self.network(tokens, cache=caches, shifts=mx.array(list(shifts), mx.int32))
        return moved

    def read(self, chunk: Chunk, start: int, stop: int, caches: Caches) -> mx.array:
        """Tokens [start, stop) of a chunk, whatever they are; `caches` hold those before → [n, vocabulary]."""
        if chunk.media and min(chunk.tokens[start:stop]) < 0:
            seen: mx.array = self.network.read(chunk.tokens, start, stop, caches, chunk.media)
            return seen
        shifts = [parts.shift(chunk.tokens, chunk.media, start)]
        return self.logits(mx.array(chunk.tokens[start:stop])[None], caches, shifts)[0]
