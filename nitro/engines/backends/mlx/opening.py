"""Opens a model, whatever its form: a folder in mlx-lm's layout, or a GGUF file."""

from pathlib import Path

from nitro.engines.backends.mlx import weight_layout
from nitro.engines.backends.mlx.folder_loader import open_folder
from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.engines.backends.mlx.model import MlxModel


def open_model(path: Path) -> MlxModel:
    """The model, its weights laid out for what computes here. Raises LoadError, and CannotOpen for a GGUF file that
    only llama.cpp opens."""
    model = open_folder(path) if path.is_dir() else open_gguf(path)
    weight_layout.arrange(model.network, model.dtype)
    return model
