"""The LoRA adapters of an MLX model: read in any form, and put into its layers (adapted_layers.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx
from mlx import nn
from mlx_lm.models.cache import make_prompt_cache

from nitro.checkpoints import adapter_files
from nitro.engines.adapters import AdapterInfo, AdapterSet, AdapterSource
from nitro.engines.backends.mlx import kv_cache, sampler
from nitro.engines.backends.mlx.adapted_layers import AdaptedLinear, Applied, Rows, adapt
from nitro.engines.backends.mlx.kv_cache import Caches
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.backends.mlx.split_products import SplitEmbedding
from nitro.engines.runner import Chunk, LoadError
from nitro.errors import AdapterError, reason
from nitro.gguf.header import UnreadableGGUF

if TYPE_CHECKING:
    from nitro.checkpoints.adapters import Adapter

EMBEDDINGS = (nn.Embedding, nn.QuantizedEmbedding, SplitEmbedding)
TRIED_TOKENS = 3
Draw = Callable[[mx.array, list[sampler.SamplerRow], mx.array | None], mx.array]


class MlxAdapters:
    """Those of one model. Belongs to its thread."""

    def __init__(self, model: MlxModel, path: Path, batches: bool, draw: Draw = sampler.sample):
        """`path`: the model's. `batches`: whether the network computes several rows at a time. `draw`: from its logits,
        as sampler.sample does."""
        self._model = model
        self._path = path
        self._batches = batches
        self.draw = draw
        self._rows = Rows()
        self._layers: dict[int, list[AdaptedLinear]] = {}  # by adapter

    def logits(
        self, tokens: mx.array, caches: Caches, sets: Sequence[AdapterSet], shifts: Sequence[int] | None = None
    ) -> mx.array:
        """MlxModel.logits, where each row applies its own adapters."""
        with self._applied(sets):
            return self._model.logits(tokens, caches, shifts or [0] * len(sets))

    def read(self, chunk: Chunk, start: int, stop: int, caches: Caches) -> mx.array:
        """MlxModel.read, with the chunk's adapters."""
        with self._applied([chunk.adapters]):
            return self._model.read(chunk, start, stop, caches)

    @contextmanager
    def _applied(self, sets: Sequence[AdapterSet]) -> Iterator[None]:
        """Each row that is computed meanwhile applies its own."""
        if any(sets):
            self._rows.applied = Applied(sets)
        try:
            yield
        finally:
            self._rows.applied = None

    def load(self, source: AdapterSource) -> AdapterInfo:
        """Raises LoadError."""
        path = Path(source.path)
        try:
            adapter = self._fitted(path)
            identity = adapter_files.fingerprint(path)
        except (AdapterError, UnreadableGGUF) as error:
            raise LoadError(str(error)) from None
        except OSError as error:
            raise LoadError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
        self._check(adapter)
        size = self._install(source.id, adapter)
        try:
            self._try(source.id)
        except Exception as error:
            self.drop(source.id)
            raise LoadError(f"{path} does not fit the model: {reason(error)}") from None
        rank = max(change.rank for change in adapter.layers.values())
        return AdapterInfo(
            source.id, source.name, source.path, source.scale, rank=rank, bytes=size, fingerprint=identity
        )

    def drop(self, adapter: int) -> None:
        """Free it. Layers stay as they are for those that may come."""
        for layer in self._layers.pop(adapter):
            layer.drop(adapter)
        mx.clear_cache()

    def _fitted(self, path: Path) -> Adapter:
        """The adapter, with the names of the network's layers. Raises AdapterError, UnreadableGGUF, OSError."""
        from nitro.checkpoints import adapter_base, adapter_kinds, adapter_reader  # few models have adapters
        from nitro.checkpoints.adapters import Adapter
        from nitro.gguf import layer_tensors

        base = adapter_base.of(self._path)
        header = base.need_header() if adapter_kinds.kind(path) == "gguf" else base.header
        found = base.fitted(adapter_reader.read(path, header))
        layers = found.layers
        if base.header is not None:
            layers = {layer_tensors.mlx_layer(base.header, name): change for name, change in layers.items()}
        if self._model.encoder:
            network = self._model.network
            place = network.layer_name if base.header is None else network.text_name
            layers = {place(name): change for name, change in layers.items()}
        return Adapter(found.path, found.kind, layers)

    def _check(self, adapter: Adapter) -> None:
        """Raises LoadError for layers that adapters are not applied to."""
        modules = dict(self._model.network.named_modules())
        for name, change in adapter.layers.items():
            module = modules.get(name)
            if module and self._model.encoder and not name.startswith("language_model."):
                raise LoadError(
                    f"{adapter.path} changes {name}, and media are encoded once for all requests, whatever their "
                    "adapters are."
                )
            if module is None:
                raise LoadError(f"{adapter.path} changes {name}, and the model has no such layer.")
            if change.a.ndim != 2 or isinstance(module, EMBEDDINGS):
                what = "experts" if change.a.ndim != 2 else "an embedding"
                raise LoadError(
                    f"{adapter.path} changes {name}, {what}, which MLX applies to no single row here. "
                    "--engine llama does."
                )

    def _install(self, number: int, adapter: Adapter) -> int:
        """Put it into the layers. Returns how many bytes it takes."""
        layers = self._layers[number] = []
        size = 0
        for name, change in adapter.layers.items():
            a, b = mx.array(change.a.T), mx.array(change.scale * change.b.T, mx.float32)
            mx.eval(a, b)
            layer = adapt(self._model.network, name, self._rows)
            layer.have(number, a, b)
            layers.append(layer)
            size += a.nbytes + b.nbytes
        return size

    def _try(self, number: int) -> None:
        """Compute with it, in one row of two where they may stand in a batch. Raises whatever the network does."""
        sets: list[AdapterSet] = [((number, 1.0),), ()] if self._batches else [((number, 1.0),)]
        caches = [make_prompt_cache(self._model.network) for _ in sets]
        merged = kv_cache.merge(caches) if self._batches else caches[0]
        tokens = mx.zeros((len(sets), TRIED_TOKENS), mx.uint32)
        mx.eval(self.logits(tokens, merged, sets))
