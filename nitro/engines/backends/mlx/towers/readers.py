"""Media → what a tower is given, prepared as the model's folder says: in preprocessor_config.json, or in
processor_config.json, which has it under a key."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from nitro.checkpoints import files
from nitro.engines.backends.mlx.towers import picture_reader, sound_reader
from nitro.engines.backends.mlx.towers.families import KINDS
from nitro.engines.backends.mlx.towers.family import Arrays, Settings
from nitro.engines.media import Media, MediaKind
from nitro.engines.runner import LoadError

SETTINGS = ("preprocessor_config.json", "processor_config.json")


class Reader(Protocol):
    """Of one model. Both methods are called on the media thread."""

    def read(self, media: Media) -> Arrays:
        """A medium, as its family's `pieces` takes it. Raises MediaRejected."""

    def finished(self, arrays: Arrays) -> Arrays:
        """A piece of it, as its family's `encode` takes it: what takes long. Raises MediaRejected."""


MAKERS: dict[MediaKind, tuple[Callable[[Settings, Any, str], Reader | None], str]] = {
    "image": (picture_reader.of, "image_processor"),
    "audio": (sound_reader.of, "feature_extractor"),
}


def of_folder(folder: Path, network: Any) -> Reader:
    """What the folder names for the tower of its network. Raises LoadError where it is not known."""
    make, key = MAKERS[network.family.kind]
    for name in SETTINGS:
        try:
            found = files.read(folder / name)
        except (OSError, ValueError) as error:
            raise LoadError(f"{folder / name} cannot be read: {error}") from None
        found = found.get(key, found) if name == SETTINGS[1] else found
        if reader := make(found, network, str(folder / name)):
            return reader
    media = KINDS[network.family.kind].media
    raise LoadError(f"{folder} has no {SETTINGS[0]}, which says how {media} must be prepared.")
