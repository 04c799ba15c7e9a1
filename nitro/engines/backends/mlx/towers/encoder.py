"""Pictures or sounds → rows of a model that sees or hears. Every call is on one thread, which is not the engine's (see
MediaEncoder)."""

from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from nitro.engines.backends.mlx.towers.family import TowerInput
from nitro.engines.backends.mlx.towers.readers import Reader
from nitro.engines.media import Media, MediaKind
from nitro.engines.media_encoder import MediaRun
from nitro.engines.runner import Tokenizer


@dataclass(frozen=True, slots=True)
class TowerRows:
    """Rows [tokens, width] of a run, and their places on its grid, int32 [3, tokens], where there is one."""

    embeddings: mx.array
    grid: np.ndarray | None

    @property
    def nbytes(self) -> int:
        """Bytes that it takes in memory."""
        return int(self.embeddings.nbytes)


class TowerEncoder:
    """Of a network with a tower, and what reads media for it."""

    def __init__(self, network: Any, tokenizer: Tokenizer, reader: Reader):
        self._network = network
        self._tokenizer = tokenizer
        self._reader = reader
        self.kind: MediaKind = network.family.kind

    def pieces(self, media: Media) -> list[list[int] | MediaRun]:
        """See MediaEncoder."""
        family = self._network.family
        found: list[list[int] | MediaRun] = []
        for piece in family.pieces(self._network, self._reader.read(media)):
            if isinstance(piece, str):
                found.append(self._tokenizer.encode(piece))
            else:
                found.append(MediaRun(piece.tokens, piece.positions, family.atomic, piece))
        return found

    def encode(self, run: MediaRun) -> TowerRows:
        """See MediaEncoder."""
        part: TowerInput = run.source
        rows = self._network.family.encode(self._network, self._reader.finished(part.arrays))
        mx.eval(rows)
        assert rows.shape[0] == run.tokens, f"{rows.shape[0]} rows of a medium, {run.tokens} places"
        return TowerRows(rows, part.grid)
