"""The projector of a GGUF model: the file that lets it see or hear. Which one is chosen, and what it takes."""

import os
from pathlib import Path

from nitro.engines.options import EngineOptions
from nitro.errors import StartError
from nitro.models import files

OFF = "off"  # --mmproj
SUFFIX = ".gguf"
# Bytes beside its weights: what it computes with, and rows of images that are kept (engines/scheduling/media_table.py).
BESIDE = 2**28


def named(option: str | None) -> str | None:
    """The path of --mmproj; None: the one beside the model. Raises StartError."""
    if option is None or option == OFF:
        return option
    file = Path(option).expanduser()
    if problem := files.problem_with(file):
        raise StartError(f"--mmproj {problem}")
    if not file.is_file():
        raise StartError(f"--mmproj {option}: no such file.")
    return str(file)


def beside(model: Path) -> str | None:
    """The projector in the folder of a GGUF, by the names of both; None where there is none that is the model's."""
    from nitro.models.stores import model_files

    if model.suffix.lower() != SUFFIX:
        return None
    try:
        names = [name for name in os.listdir(model.parent) if name.lower().endswith(SUFFIX)]
    except OSError:
        return None
    found = next((found for found in model_files.of(names) if found.first == model.name), None)
    return str(model.parent / found.projector) if found and found.projector else None


def size(options: EngineOptions, found: str | None) -> int:
    """Bytes that the projector takes, and what goes with it; `found`: the one beside the model."""
    path = options.mmproj or found
    if path is None or path == OFF:
        return 0
    try:
        return Path(path).stat().st_size + BESIDE
    except OSError:
        return 0
