"""A runner of MLX for the models of tiny_vision.py, which reads prompts of texts, and pictures or sounds."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import tiny_vision
from mlx_lm.models.cache import make_prompt_cache

from nitro.engines.backends.mlx.runner import MlxRunner
from nitro.engines.media import Media
from nitro.engines.media_encoder import EncodedRun, MediaRun
from nitro.engines.runner import Chunk
from nitro.engines.types import EngineSpec, SamplingParams

CLOSE = 5e-5  # logits; they range over 8 to 20
GREEDY = SamplingParams(temperature=0, ignore_eos=True)


class Seer(MlxRunner):
    """A runner that reads prompts as the worker does, on a thread of its own, and shows its logits and chunks."""

    def __init__(self, folder: Path, **options: Any):
        options = {"context": 300, "parallel": 4, **options}
        super().__init__(EngineSpec("mlx", str(folder), **options))
        self.runs: dict[int, EncodedRun] = {}
        self.chunks: list[tuple[int, int, int]] = []  # sequence, start, stop
        self._known: dict[bytes, list[int]] = {}
        self.media_thread = ThreadPoolExecutor(1)

    def read(self, case: tuple[str | int | bytes | list[int], ...]) -> list[int]:
        """Ids of a prompt of texts, and media by number; or of ids and files, around which nothing is written."""
        return self.media_thread.submit(self._read, case).result()

    def _read(self, case: tuple[str | int | bytes | list[int], ...]) -> list[int]:
        tokens: list[int] = []
        family = getattr(self._model.network, "family", None)
        around = self.tokenizer.encode(tiny_vision.AROUND.get(family.module, "") if family else "")
        for part in case:
            if isinstance(part, list):
                tokens += part
            elif isinstance(part, bytes):
                tokens += self._medium(part)
            elif isinstance(part, str):
                tokens += self.tokenizer.encode(part)
            else:
                tokens += around + self._medium(tiny_vision.medium(part, self._hears)) + around
        return tokens

    @property
    def _hears(self) -> bool:
        return bool(self.info.media and self.info.media.audio)

    def _medium(self, file: bytes) -> list[int]:
        assert self.media
        media = Media.of("audio" if self._hears else "image", file, "messages[0].content[0]")
        if media.digest not in self._known:
            tokens: list[int] = []
            for piece in self.media.pieces(media):
                if isinstance(piece, MediaRun):
                    id = -1 - len(self.runs)
                    rows = self.media.encode(piece)
                    self.runs[id] = EncodedRun(id, piece.tokens, piece.positions, piece.atomic, rows)
                    tokens += [id] * piece.tokens
                else:
                    tokens += piece
            self._known[media.digest] = tokens
        return self._known[media.digest]

    def logits(self, tokens: list[int], steps: list[int]) -> np.ndarray:
        """See same_answer.Scorer."""
        caches = make_prompt_cache(self._model.network)
        start, rows = 0, []
        for count in steps:
            chunk = Chunk(0, 0, tokens, start, start + count, GREEDY, media=self.runs)
            logits = self._model.read(chunk, start, start + count, caches)
            rows.append(np.array((logits if start else logits[-1:]).astype(mx.float32)))
            start += count
        return np.concatenate(rows)

    def submit(self, batch: list[Chunk]) -> None:
        self.chunks += [(chunk.sequence_id, chunk.start, chunk.stop) for chunk in batch]
        super().submit(batch)
