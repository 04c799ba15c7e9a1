"""A model that embeds or, a cross-encoder, scores pairs; it generates nothing. Encoders are computed in float32.

Sequences of about one length are computed together, padded to the longest.
"""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from nitro.checkpoints import encoders, files
from nitro.engines.backends.mlx import library
from nitro.engines.backends.mlx.encoders import heads
from nitro.engines.backends.mlx.encoders.batches import of_similar_length, padded
from nitro.engines.backends.mlx.encoders.decoder import Decoder
from nitro.engines.backends.mlx.encoders.decoder_loader import open_decoder
from nitro.engines.backends.mlx.encoders.loader import EncoderModel, open_encoder
from nitro.engines.embedder import EmbedsOnly, Pair
from nitro.engines.runner import LoadError, Tokenizer
from nitro.engines.types import EmbeddingInfo, EngineSpec, ModelInfo, RerankInfo

STEP_TOKENS = 4096
STEP_INPUTS = 64
BATCH_TOKENS = 2048  # that are computed together, with their padding


class EncoderRunner(EmbedsOnly):
    """One loaded model."""

    def __init__(self, spec: EngineSpec):
        """Raises LoadError."""
        library.check_gpu(spec)
        library.check_deterministic(spec)
        library.set_limits(spec)
        if spec.draft:
            raise LoadError(f"--draft is for models that generate text, and {spec.model} is none. Leave it out.")
        path = Path(spec.model)
        known = encoders.is_encoder(files.read(path / "config.json"))
        self._model = open_encoder(path) if known else open_decoder(path)
        self._batch_tokens = 0 if spec.deterministic else BATCH_TOKENS  # 0: each sequence alone
        self.tokenizer: Tokenizer = self._model.tokenizer
        self.info = _describe(self._model, spec)
        self._try_out(spec.model)

    def embed(self, sequences: list[list[int]], meanwhile: Callable[[], None] = lambda: None) -> list[bytes]:
        """See Embedder."""
        model = self._model
        network: Callable[..., mx.array] = model.network
        pauses = {"meanwhile": meanwhile} if isinstance(model.network, Decoder) else {}

        def pool(tokens: mx.array, lengths: mx.array, _: mx.array) -> mx.array:
            hidden = network(tokens, lengths, **pauses)
            vectors: mx.array = model.dense(heads.pool(hidden, lengths, model.sentence.pooling))
            return vectors[:, : model.width]

        vectors = self._computed(sequences, [len(tokens) for tokens in sequences], pool)
        return [vector.astype("<f4").tobytes() for vector in vectors]

    def score(self, pairs: list[Pair]) -> list[float]:
        """See Scorer."""
        model = self._model
        assert model.head
        head = model.head

        def score(tokens: mx.array, lengths: mx.array, seconds: mx.array) -> mx.array:
            types = (mx.arange(tokens.shape[1])[None, :] >= seconds[:, None]).astype(mx.int32)
            return head(model.network(tokens, lengths, types if model.uses_types else None), lengths)

        scores = self._computed([pair.tokens for pair in pairs], [pair.second for pair in pairs], score)
        return [float(score[0]) for score in scores]

    def release_idle_memory(self) -> None:
        """Give back the memory that MLX keeps for reuse."""
        mx.clear_cache()

    def close(self) -> None:
        """Free the weights, once the device is done."""
        mx.synchronize()
        del self._model
        mx.clear_cache()

    def _computed(
        self,
        sequences: Sequence[list[int]],
        seconds: list[int],
        compute: Callable[[mx.array, mx.array, mx.array], mx.array],
    ) -> list[np.ndarray]:
        """What `compute` gives for each sequence; it gets [rows, length], and two numbers for each row."""
        found: list[np.ndarray] = [np.empty(0)] * len(sequences)
        for places in of_similar_length([len(tokens) for tokens in sequences], self._batch_tokens):
            rows = [sequences[place] for place in places]
            lengths = mx.array([len(row) for row in rows])
            results = compute(mx.array(padded(rows)), lengths, mx.array([seconds[place] for place in places]))
            for place, result in zip(places, np.array(results.astype(mx.float32)), strict=True):
                found[place] = result
        return found

    def _try_out(self, path: str) -> None:
        """Raises LoadError for a model that does not compute."""
        tokens = [*self._model.around.before, 0, *self._model.around.after]
        found = (
            [self.score([Pair(tokens, 1)])[0]] if self._model.head else np.frombuffer(self.embed([tokens])[0], "<f4")
        )
        if not np.isfinite(found).all():
            raise LoadError(f"{path} computes what is no number: its weights are damaged.")


def _describe(model: EncoderModel, spec: EngineSpec) -> ModelInfo:
    longest = min(model.longest, spec.context or model.longest)
    room: dict[str, Any] = {
        "longest": longest,
        "step_tokens": max(longest, STEP_TOKENS),
        "step_inputs": STEP_INPUTS,
    }
    gpu = library.gpu_kind()
    place = "GPU" if gpu else "CPU"
    return ModelInfo(
        engine=f"MLX {version('mlx')}",
        device=f"{library.device_name()} ({place})",
        layers=f"all {model.layers} on the {place}",
        slots=spec.parallel,
        parallel=spec.parallel,
        context=longest,
        trained_context=model.longest,
        kv_tokens=longest,
        kv_bytes=0,
        step_tokens=max(room["step_tokens"], spec.parallel + 1),
        vocabulary=model.vocabulary,
        eog=frozenset(),
        fingerprint=model.fingerprint,
        deterministic=spec.deterministic,
        kv_place="unified memory" if gpu == "Metal" else place,
        embedding=None if model.head else _embedding(model, room),
        rerank=_rerank(model, room) if model.head else None,
    )


def _embedding(model: EncoderModel, room: dict[str, Any]) -> EmbeddingInfo:
    sentence, around = model.sentence, model.around
    return EmbeddingInfo(
        width=model.width,
        pooling=sentence.pooling,
        before=around.before,
        after=around.after,
        dimensions=model.settings.dimensions,
        prefixes=model.settings.prefixes,
        default_prefix=model.settings.default_prefix,
        encoder_only=True,
        pauses=isinstance(model.network, Decoder),
        **room,
    )


def _rerank(model: EncoderModel, room: dict[str, Any]) -> RerankInfo:
    before, between, after = model.around.pair
    return RerankInfo(before=before, between=between, after=after, **room)
