"""Folders with a repository of the hub each, and how the models in one are called: "org/name" for a checkpoint,
"org/name:Q4_K_M" for a GGUF, or "org/name:FILE" where several models are of this type."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from msgspec.structs import replace

from nitro.models import quantizations
from nitro.models.stores import folder as folders
from nitro.models.stores import model_files, walking
from nitro.models.stores.store import Found

DEPTH = 2  # folders below the repository's


def models(repository: str, folder: Path) -> Iterator[Found]:
    """The models in the folder of a repository. A projector may lie above its models."""
    listed = [*walking.folders(folder, DEPTH)]
    names = listed[0][1] if listed else []
    if folders.is_checkpoint(names):
        yield Found(name=repository, path=folder)
    ggufs = [found for place, files in listed for found in folders.files_in(place, files)]
    above = [name for name in names if model_files.is_projector(name)]
    tags = [quantizations.tag(found.name) or quantizations.tag(found.path.parent.name) for found in ggufs]
    bases = {(tag, quantizations.base(found.name)) for tag, found in zip(tags, ggufs, strict=True)}
    alike = Counter(tag for tag, _ in bases)
    for tag, found in zip(tags, ggufs, strict=True):
        tag = tag if tag and alike[tag] == 1 else found.name  # as `nitro pull` calls it
        others = (found.name, f"{repository}:{found.name}", *((repository,) if len(ggufs) == 1 else ()))
        general = None if found.projector else model_files.projector_of(found.name, above)
        yield replace(
            found,
            name=f"{repository}:{tag}",
            names=others,
            projector=folder / general if general else found.projector,
        )
