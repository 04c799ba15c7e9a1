"""Opens a model, whatever its form: a folder in mlx-lm's layout, or a GGUF file."""

from pathlib import Path

from nitro.engines.backends.mlx.folder_loader import open_folder
from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.engines.backends.mlx.model import MlxModel


def open_model(path: Path) -> MlxModel:
    """The model, its weights loaded. Raises LoadError, and CannotOpen for a GGUF file that only llama.cpp opens."""
    return open_folder(path) if path.is_dir() else open_gguf(path)
