"""The tensors of a LoRA in a safetensors file; whatever is wrong with the file is an AdapterError."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nitro.checkpoints import safetensors_file
from nitro.errors import AdapterError


class AdapterTensors:
    """Their names, and the numbers of each."""

    def __init__(self, file: Path):
        """Raises AdapterError."""
        self._file = file
        try:
            self._entries, _ = safetensors_file.read(file)
        except ValueError as error:
            raise AdapterError(str(error)) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    @property
    def types(self) -> set[str]:
        """Of their numbers, as safetensors calls them."""
        return {entry.type for entry in self._entries.values()}

    def numbers(self, name: str) -> np.ndarray:
        """As float32. Raises AdapterError."""
        try:
            return safetensors_file.numbers(self._file, self._entries[name])
        except ValueError as error:
            raise AdapterError(f"{self._file}: tensor {name} cannot be read: {error}.") from None
