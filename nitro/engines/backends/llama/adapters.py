"""The LoRA adapters of a model, and those that a context applies.

llama.cpp applies adapters to all rows of an llama_decode, so a step has one set. Changing it costs what reserving
another graph does (llama-context.cpp:1339). They are freed before the model.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import llama_cpp.llama_cpp as lib

from nitro.checkpoints import adapter_files
from nitro.engines.adapters import AdapterInfo, AdapterSet, AdapterSource
from nitro.engines.backends.llama import adapter_checks
from nitro.engines.backends.llama.batch import Batch
from nitro.engines.backends.llama.context import LlamaContext
from nitro.engines.backends.llama.model import LlamaModel
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec
from nitro.errors import AdapterError

NOT_EXACT = (
    "{path} cannot be loaded now: with it fewer rows at a time are exact than --deterministic computes here. Name it "
    "with --lora when the server starts."
)


class LlamaAdapters:
    """Those of one model."""

    def __init__(self, model: LlamaModel):
        self._model = model
        self._pointers: dict[int, Any] = {}  # by adapter
        self._applied: AdapterSet = ()

    def load_all(self, spec: EngineSpec) -> list[AdapterInfo]:
        """Those that are to be loaded with the model. Raises LoadError."""
        return [self.load(source) for source in spec.adapter_sources]

    @property
    def pointers(self) -> list[Any]:
        """Of all, as llama.cpp knows them."""
        return list(self._pointers.values())

    def load_exact(self, source: AdapterSource, context: LlamaContext, batch: Batch) -> AdapterInfo:
        """The same for --deterministic. `batch` is used for a trial. Raises LoadError, also where the context would
        have to compute fewer rows at a time."""
        info = self.load(source)
        try:
            exact = context.is_exact_with(self._pointers[source.id], batch)
        except LoadError:
            self.drop(source.id)
            raise
        if not exact:
            self.drop(source.id)
            raise LoadError(NOT_EXACT.format(path=source.path))
        return info

    def load(self, source: AdapterSource) -> AdapterInfo:
        """Read an adapter: a GGUF, or a folder of PEFT's or mlx-lm's. Raises LoadError where it is damaged, or none of
        this model's."""
        path = Path(source.path)
        try:
            with _as_gguf(path, self._model.path) as file:
                rank = adapter_checks.check(file, self._model)
                pointer = self._read(file, path)
                size = file.stat().st_size
            identity = adapter_files.fingerprint(path)
        except OSError as error:
            raise LoadError(f"{error.filename or path} cannot be read: {error.strerror}.") from None
        except AdapterError as error:
            raise LoadError(str(error)) from None
        self._pointers[source.id] = pointer
        return AdapterInfo(
            source.id, source.name, source.path, source.scale, rank=rank, bytes=size, fingerprint=identity
        )

    def _read(self, file: Path, path: Path) -> Any:
        """A pointer. `path`: what the file was made of. Raises LoadError."""
        log = self._model.log
        log.begin_attempt()
        pointer = lib.llama_adapter_lora_init(self._model.pointer, str(file).encode())
        if not pointer:
            raise LoadError(f"llama.cpp cannot load the adapter {path}: {log.first_error}".rstrip())
        return pointer

    def drop(self, adapter: int) -> None:
        """Free it. No context applies it."""
        lib.llama_adapter_lora_free(self._pointers.pop(adapter))

    def apply(self, context: LlamaContext, adapters: AdapterSet) -> None:
        """Have the model's context compute with these, and no others."""
        if adapters != self._applied:
            context.apply([(self._pointers[id], scale) for id, scale in adapters])
            self._applied = adapters

    def free(self) -> None:
        """Free all."""
        for adapter in list(self._pointers):
            self.drop(adapter)


@contextmanager
def _as_gguf(path: Path, model: Path) -> Iterator[Path]:
    """The adapter as a GGUF, which a folder's is made for the while. Raises AdapterError, OSError."""
    if not path.is_dir():
        yield path
        return
    from nitro.checkpoints import adapter_base, adapter_reader, gguf_adapter  # what writes files takes long to import

    base = adapter_base.of(model)
    adapter = base.fitted(adapter_reader.read(path))
    with TemporaryDirectory(prefix="nitro-adapter-") as folder:
        file = Path(folder, "adapter.gguf")
        gguf_adapter.write(adapter, base.need_header(), file)
        yield file
