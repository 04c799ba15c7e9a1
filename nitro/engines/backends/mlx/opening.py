"""Opens a model, whatever its form: a folder in mlx-lm's layout, or a GGUF file."""

from pathlib import Path

from nitro.engines.backends.mlx import weight_layout
from nitro.engines.backends.mlx.folder_loader import open_folder
from nitro.engines.backends.mlx.gguf_loader import open_gguf
from nitro.engines.backends.mlx.model import MlxModel
from nitro.engines.backends.mlx.sharing import ALONE, Alone
from nitro.engines.runner import LoadError
from nitro.engines.types import EngineSpec

NO_PROJECTOR = "off"  # --mmproj


def open_model(path: Path, spec: EngineSpec | None = None, ranks: Alone = ALONE) -> MlxModel:
    """The model, its weights laid out for what computes here. `spec`: which projector it has; None: it takes text only.
    `ranks`: which share it. Raises LoadError, and CannotOpen for a GGUF file, or a projector, that only llama.cpp
    opens."""
    named = spec.mmproj if spec else NO_PROJECTOR
    if path.is_dir():
        if named not in (None, NO_PROJECTOR):
            raise LoadError(f"{path} is a folder, and has its tower in it. --mmproj is for GGUF files.")
        model = open_folder(path, named is None, ranks.share)
    else:
        projector = named or (spec.projector if spec else None)
        file = None if projector in (None, NO_PROJECTOR) else Path(str(projector))
        model = open_gguf(path, file, named is not None, ranks.share)
    weight_layout.arrange(model.network, model.dtype)
    return model
