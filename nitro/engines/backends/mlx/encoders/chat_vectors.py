"""Vectors of a model that generates text, beside its generations: the mean of its tokens' vectors."""

from collections.abc import Callable

import mlx.core as mx
import numpy as np

from nitro.engines.backends.mlx.encoders import heads
from nitro.engines.backends.mlx.encoders.batches import of_similar_length, padded
from nitro.engines.backends.mlx.encoders.decoder import Decoder
from nitro.engines.types import EmbeddingInfo

STEP_TOKENS = 1024
STEP_INPUTS = 64


class ChatVectors:
    """Embeds with a loaded model's network; slots and their caches are not touched."""

    def __init__(self, decoder: Decoder, batches: bool):
        """`batches`: whether rows may be computed together."""
        self._decoder = decoder
        self._batch_tokens = decoder.part_tokens if batches else 0

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        """See Embedder."""
        found: list[bytes] = [b""] * len(sequences)
        for number, places in enumerate(of_similar_length([len(tokens) for tokens in sequences], self._batch_tokens)):
            if number:
                meanwhile()
            rows = [sequences[place] for place in places]
            lengths = mx.array([len(row) for row in rows])
            hidden = self._decoder(mx.array(padded(rows)), lengths, meanwhile=meanwhile)
            vectors = np.array(heads.pool(hidden, lengths, "mean"))
            for place, vector in zip(places, vectors, strict=True):
                found[place] = vector.astype("<f4").tobytes()
        return found

    def describe(self, longest: int, before: list[int]) -> EmbeddingInfo:
        """`longest`: tokens of an input; `before`: what goes before a text."""
        return EmbeddingInfo(
            width=self._decoder.width,
            pooling="mean",
            longest=longest,
            step_tokens=STEP_TOKENS,
            step_inputs=STEP_INPUTS,
            before=before,
            pauses=True,
        )
