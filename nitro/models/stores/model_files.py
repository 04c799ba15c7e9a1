"""Which of the files in a folder are models, and what belongs to each. Goes by names alone.

Types and companions are those of the hub's repositories (quantizations.py, repository.py).
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from nitro.gguf import split_files
from nitro.models import quantizations, repository
from nitro.models.quantizations import base, tag

SUFFIX = ".gguf"
PROJECTOR = "mmproj"
# of a download that goes on, or was ended: huggingface_hub, llama.cpp, Ollama, LM Studio, Jan, browsers, curl
UNFINISHED = (".incomplete", ".downloadInProgress", ".part", ".partial", ".tmp", ".download", ".crdownload")


class ModelFile(Struct, frozen=True):
    """A model among the files of a folder, by the names in it."""

    first: str  # the file, or the first of its parts
    stem: str  # without the suffix and the number of the part
    projector: str | None = None
    missing: tuple[str, ...] = ()  # parts that are not there


def of(names: Sequence[str]) -> list[ModelFile]:
    """The models among these files of one folder."""
    there = set(names)
    weights = [name for name in names if is_gguf(name) and not is_companion(name)]
    projectors = [name for name in names if is_projector(name)]
    found = []
    for stem, first in _first_parts(weights).items():
        parts = _parts(first)
        missing = tuple(part for part in parts if part not in there)
        found.append(ModelFile(first, stem, projector_of(stem, projectors), missing))
    return found


def is_gguf(name: str) -> bool:
    """Whether a file's name says that it is a GGUF."""
    return name.lower().endswith(SUFFIX)


def is_projector(name: str) -> bool:
    """Whether it says that it lets a model see or hear."""
    return is_gguf(name) and PROJECTOR in name.lower()


def is_companion(name: str) -> bool:
    """Whether a file of this name goes with a model, and is none."""
    return bool(repository.companion(name))


def projector_of(stem: str, projectors: Iterable[str]) -> str | None:
    """The projector for a model: the one whose name has the model's in it, else the most exact of them, where all are
    one model's; None where they are other models'."""
    ranked = sorted(projectors, key=lambda name: quantizations.projector_rank(tag(name[: -len(SUFFIX)])))
    own = [name for name in ranked if base(stem).lower() in name.lower()]
    general = [name for name in ranked if not _model_in(name)]
    return next(iter([*own, *general]), None)


def _model_in(projector: str) -> str:
    """The model that a projector's name tells: "mmproj-gemma-3-4b-f16.gguf" is gemma-3-4b's, "mmproj-F16.gguf"
    anyone's."""
    rest = base(projector.lower().removesuffix(SUFFIX))
    return rest.replace(PROJECTOR, "").replace("model", "").strip("-._")


def _first_parts(names: Iterable[str]) -> dict[str, str]:
    """The first file of each model, by its stem. Where the first is not there, its name is made."""
    found: dict[str, str] = {}
    for name in names:
        part = split_files.parse(name)
        stem = part.model if part else name[: -len(SUFFIX)]
        found[stem] = split_files.part_name(part.model, 1, part.count) if part and part.count else name
    return found


def _parts(first: str) -> list[str]:
    part = split_files.parse(first)
    return [split_files.part_name(part.model, n, part.count) for n in range(1, part.count + 1)] if part else [first]
